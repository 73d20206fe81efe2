package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// readModel reads the model of a step. What is quantized in it stays as it is, but for weights that are stored as
// floats behind a QuantizeLinear, as tools for quantization-aware training write them: they become integers.
func readModel(path string) (*onnx.Model, error) {
	m, err := onnx.ReadFile(path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	return m, checkModel(m)
}

func validModel(m *onnx.Model) error {
	if err := onnx.Check(m); err != nil {
		return sdk.AttrError("model", "the model is not valid ONNX", err.Error())
	}
	return nil
}

func checkModel(m *onnx.Model) error {
	if err := validModel(m); err != nil {
		return err
	}
	_, err := foldQuantized(m)
	return err
}

// alreadyQuantized is the error of a model in which nothing is left to do because it is quantized, nil for another.
func alreadyQuantized(m *onnx.Model) error {
	n := quantizedNode(m.Graph)
	if n == nil {
		return nil
	}
	return sdk.AttrError("model", "the model is quantized already",
		fmt.Sprintf("Node %q is a %s, and beside what is quantized nothing is left for this step. Quantizing integers again would only lose accuracy: give the float model that this one was made from.", nodeName(n), n.OpType))
}

// foldInstead is what a step does that found nothing else to quantize: a model whose float weights pass through a
// QuantizeLinear is written with integers in their place. For any other model it is the error given.
func foldInstead(ctx context.Context, j job, path string, nothing error, facts func(share float64) any) (*sdk.Result, error) {
	m, err := onnx.ReadFile(path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	_, before := weightBytes(m.Graph)
	n, err := foldQuantized(m)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, nothing
	}
	if err := finish(m); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, after := weightBytes(m.Graph)
	r, err := writeModelTo(j.outDir, m, facts(share(before-after, before)))
	if err != nil {
		return nil, err
	}
	j.warn(sdk.AttrWarning("model", "the model was quantized already",
		fmt.Sprintf("%d of its weights were stored as floats and rounded each time that it was loaded: they are integers now. Scales, and all else, are as they were.", n)))
	return r, nil
}

// foldQuantized is onnx.FoldQuantized with an error that names the argument.
func foldQuantized(m *onnx.Model) (int, error) {
	n, err := onnx.FoldQuantized(m)
	if err != nil {
		return 0, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
	}
	return n, nil
}

// integerOps are operators that only a quantized model has, beside those that begin with QLinear.
var integerOps = []string{
	"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger",
	"QGemm", "QAttention", "MatMulNBits", "MatMulBnb4", "MatMulIntegerToFloat", "MatMulIntegerToFloat16",
	"DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QEmbedLayerNormalization", "QOrderedMatMul", "GatherBlockQuantized",
}

// quantizedNode returns the first node, subgraphs included, that computes with quantized values.
func quantizedNode(g *onnx.Graph) *onnx.Node {
	for n := range g.AllNodes() {
		if isQuantizedOp(n.OpType) {
			return n
		}
	}
	return nil
}

func isQuantizedOp(op string) bool {
	return strings.HasPrefix(op, "QLinear") || slices.Contains(integerOps, op)
}

// maxFloat32 is the largest finite float32.
const maxFloat32 = math.MaxFloat32

// largest is how large a model may be as one file; tests make it small.
var largest int64 = onnx.LargestFile

// writeModelTo writes a step's model into its folder.
func writeModelTo(dir string, m *onnx.Model, facts any) (*sdk.Result, error) {
	name, _, err := m.WriteArtifact(dir, largest)
	if err != nil {
		return nil, fmt.Errorf("the quantized model cannot be written: %w", err)
	}
	r := result(facts)
	r.Outputs["model"] = sdk.Artifact{Kind: "model", Format: "onnx", Path: name}
	return r, nil
}
