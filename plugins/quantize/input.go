package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
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

// foldQuantized makes integers of the float constants that a QuantizeLinear reads, subgraphs included, and returns how
// many there were. The node's rule is ONNX's: round half to even, then add the zero point and saturate.
func foldQuantized(m *onnx.Model) (int, error) {
	count := 0
	for n := range m.Graph.AllNodes() {
		if !n.Is("QuantizeLinear") || n.Graph().IsOutput(n.Output(0)) || n.IntAttr("block_size", 0) != 0 {
			continue
		}
		g := n.Graph()
		x, scale, zero := g.Constant(n.Input(0)), g.Constant(n.Input(1)), g.Constant(n.Input(2))
		if x == nil || x.DataType != onnx.Float || scale == nil || scale.DataType != onnx.Float || n.Input(2) != "" && zero == nil {
			continue
		}
		elem := onnx.Uint8
		if zero != nil {
			elem = zero.DataType
		} else if o := n.IntAttr("output_dtype", 0); o != 0 {
			elem = onnx.DataType(o)
		}
		if elem != onnx.Uint8 && elem != onnx.Int8 {
			continue
		}
		q, err := roundConstant(n, x, scale, zero, elem)
		if err != nil {
			return 0, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
		}
		out := n.Output(0)
		g.RemoveNode(n)
		g.AddInitializer(onnx.NewTensor(out, q))
		count++
	}
	return count, nil
}

// roundConstant computes a QuantizeLinear of constants.
func roundConstant(n *onnx.Node, x, scale, zero *onnx.Tensor, elem onnx.DataType) (tensor.Tensor, error) {
	fail := func(format string, args ...any) (tensor.Tensor, error) {
		return tensor.Tensor{}, fmt.Errorf("node %q (QuantizeLinear) of %q: "+format, append([]any{nodeName(n), x.Name()}, args...)...)
	}
	v, err := x.Float32s()
	if err != nil {
		return fail("%w", err)
	}
	scales, err := scale.Float32s()
	if err != nil {
		return fail("%w", err)
	}
	zeros := make([]int64, len(scales))
	if zero != nil {
		if zeros, err = zero.Ints(); err != nil {
			return fail("%w", err)
		}
	}
	axis := perTensor
	if len(scales) != 1 || len(scale.Dims) == 1 && len(x.Dims) > 0 {
		if axis = int(n.IntAttr("axis", 1)); axis < 0 {
			axis += len(x.Dims)
		}
	}
	if len(scales) == 1 {
		axis = perTensor
	} else if axis < 0 || axis >= len(x.Dims) || x.Dims[axis] != int64(len(scales)) {
		return fail("%d scales do not fit axis %d of its shape %v", len(scales), axis, x.Dims)
	}
	if len(zeros) != len(scales) {
		return fail("it has %d scales and %d zero points", len(scales), len(zeros))
	}
	lo, hi := 0.0, 255.0
	if elem == onnx.Int8 {
		lo, hi = -128, 127
	}
	for c, s := range scales {
		if !(s > 0 && s <= maxFloat32) {
			return fail("scale %d is %v", c, s)
		}
	}
	if len(v) > 0 {
		if _, err := channelMax(v, channelLayout(x.Dims, perTensor)); err != nil {
			return fail("%w: integers cannot stand for it", err)
		}
	}
	q := make([]byte, len(v))
	l := channelLayout(x.Dims, axis)
	parallel(l.channels, l.outer*l.inner, func(from, to int) {
		for c := from; c < to; c++ {
			s, z := scales[c], float64(zeros[c])
			for o := range l.outer {
				base := (o*l.channels + c) * l.inner
				for i, f := range v[base : base+l.inner] {
					q[base+i] = byte(int(min(max(math.RoundToEven(float64(f/s))+z, lo), hi)))
				}
			}
		}
	})
	d := tensor.U8
	if elem == onnx.Int8 {
		d = tensor.I8
	}
	return tensor.Tensor{DType: d, Shape: slices.Clone(x.Dims), Data: q}, nil
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
