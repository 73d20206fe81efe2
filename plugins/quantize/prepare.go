package quantize

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// readModel reads the model of a step and refuses one that is quantized already.
func readModel(path string) (*onnx.Model, error) {
	m, err := onnx.ReadFile(path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	if err := onnx.Check(m); err != nil {
		return nil, sdk.AttrError("model", "the model is not valid ONNX", err.Error())
	}
	if err := floatOnly(m); err != nil {
		return nil, err
	}
	return m, nil
}

// floatOnly refuses a model that computes with quantized values.
func floatOnly(m *onnx.Model) error {
	if n := quantizedNode(m.Graph); n != nil {
		return sdk.AttrError("model", "the model is quantized already",
			fmt.Sprintf("Node %q is a %s. Quantizing integers again would only lose accuracy: give the float model that this one was made from.", nodeName(n), n.OpType))
	}
	return nil
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

// prepare rewrites the model into the form that lowering works on: constants as initializers, no BatchNormalization
// beside a convolution, operators of opset at least minOpset, nodes in topological order, types and shapes inferred.
func prepare(m *onnx.Model, minOpset int64) (*onnx.Shapes, error) {
	g := m.Graph
	// An initializer that is an input too is a default that a caller may override. Nobody does so with weights, and
	// weights that may change cannot become integers.
	for _, in := range slices.Clone(g.Inputs()) {
		if g.Initializer(in.Name()) != nil {
			g.RemoveInput(in.Name())
		}
	}
	if m.Opset(onnx.DefaultDomain) < minOpset {
		if err := m.UpgradeOpset(minOpset); err != nil {
			return nil, sdk.AttrError("model", fmt.Sprintf("the model cannot be raised to opset %d, which 8-bit operators need", minOpset), err.Error())
		}
	}
	m.RaiseIR(7) // what opset 13 came with; the new initializers are no inputs, which IR 3 demands
	for _, pass := range []func(*onnx.Model) (int, error){onnx.ConstantsToInitializers, onnx.EliminateIdentity, onnx.FoldBatchNorm} {
		if _, err := pass(m); err != nil {
			return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
		}
	}
	if err := g.TopoSort(); err != nil {
		return nil, sdk.AttrError("model", "the model's nodes cannot be put in order", err.Error())
	}
	g.Prune()
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	return shapes, nil
}

// constant returns a float32 constant, nil when the value is none, and says why it is not one.
func constant(g *onnx.Graph, value string) (*onnx.Tensor, error) {
	t := g.Initializer(value)
	switch {
	case value == "":
		return nil, errors.New("is missing")
	case t == nil:
		return nil, errors.New("is not a constant")
	case t.DataType != onnx.Float:
		return nil, fmt.Errorf("is of type %s, not FLOAT", t.DataType)
	}
	return t, nil
}

// globs matches node names; * stands for any run of characters, the slash included, and ? for one.
type globs []string

// match returns the index of the first pattern that matches, -1 when none does.
func (gs globs) match(name string) int {
	return slices.IndexFunc(gs, func(p string) bool { return globMatch(p, name) })
}

// globMatch backtracks to the last star only, so that it takes at most len(pattern)*len(name) steps.
func globMatch(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
