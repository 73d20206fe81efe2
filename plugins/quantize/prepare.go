package quantize

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

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
	// A function for another version of the operators cannot be put in the place of its calls; it stays, as an operator
	// that nothing is known of, and the model is unchanged.
	if n, err := onnx.InlineFunctions(m); err != nil && n > 0 {
		return nil, sdk.AttrError("model", "the functions in the model cannot be put in the place of their calls", err.Error()+". Export the model without functions.")
	}
	if m.Opset(onnx.DefaultDomain) < minOpset {
		if err := m.UpgradeOpset(minOpset); err != nil {
			return nil, sdk.AttrError("model", fmt.Sprintf("the model cannot be raised to opset %d, which 8-bit operators need", minOpset), err.Error())
		}
	}
	m.RaiseIR(7) // what opset 13 came with; the new initializers are no inputs, which IR 3 demands
	for _, pass := range []func(*onnx.Model) (int, error){onnx.ConstantsToInitializers, onnx.EliminateIdentity, onnx.FoldWeights, onnx.FoldBatchNorm} {
		if _, err := pass(m); err != nil {
			return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
		}
	}
	if err := plainWeights(m); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error()+".")
	}
	if err := g.TopoSort(); err != nil {
		return nil, sdk.AttrError("model", "the model's nodes cannot be put in order", err.Error())
	}
	g.Prune()
	if err := dropWrongShapes(m); err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	if err := flatWeights(m, shapes); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error()+".")
	}
	g.Prune()
	return shapes, nil
}

// dropWrongShapes forgets types and shapes that the model declares of values in between and that contradict what its
// inputs and weights give. Engines refuse some of them, and lowering must not build on any.
func dropWrongShapes(m *onnx.Model) error {
	if len(m.Graph.ValueInfos()) == 0 {
		return nil
	}
	own, err := onnx.InferOwnShapes(m)
	if err != nil {
		return err
	}
	for _, v := range slices.Clone(m.Graph.ValueInfos()) {
		elem, dims, ok := own.Of(v.Name())
		if !ok || v.Type == nil || v.Type.Elem == 0 {
			continue
		}
		wrong := elem != 0 && v.Type.Elem != elem
		if v.Type.HasShape && dims != nil {
			wrong = wrong || len(dims) != len(v.Type.Shape)
			for i := 0; !wrong && i < len(dims); i++ {
				d := v.Type.Shape[i]
				wrong = d.Fixed() && dims[i].Fixed() && d.Value != dims[i].Value
			}
		}
		if wrong {
			m.Graph.RemoveValueInfo(v.Name())
		}
	}
	return nil
}

// constant returns a float32 constant, nil when the value is none, and says why it is not one.
func constant(g *onnx.Graph, value string) (*onnx.Tensor, error) {
	t := g.Constant(value)
	switch {
	case value == "":
		return nil, errors.New("is missing")
	case t == nil:
		return nil, errors.New(notConstant(g, value))
	case t.DataType == onnx.Float16:
		return nil, errors.New("is of type FLOAT16: give the model in float32, which this one was made from")
	case t.DataType != onnx.Float:
		return nil, fmt.Errorf("is of type %s, not FLOAT", t.DataType)
	}
	return t, nil
}

// notConstant says what a value is that should be a constant.
func notConstant(g *onnx.Graph, value string) string {
	n := definer(g, value).Producer(value)
	switch {
	case n == nil:
		return "is not a constant"
	case n.Is("DequantizeLinear") && n.Graph().Constant(n.Input(0)) != nil:
		return "is quantized already"
	}
	for _, in := range n.Inputs() {
		if in != "" && n.Graph().Constant(in) == nil {
			return "is not a constant"
		}
	}
	if len(n.Subgraphs()) > 0 || len(n.Inputs()) == 0 || strings.HasPrefix(n.OpType, "Random") || n.Is("Bernoulli") || n.Is("Multinomial") {
		return "is not a constant"
	}
	return fmt.Sprintf("is no constant but worked out from constants by %s %q: let onnxruntime_simplify make a constant of it first, with a max_growth that lets it be as large as it is", n.OpType, nodeName(n))
}

// globs matches node names; * stands for any run of characters, the slash included, and ? for one.
type globs []string

// match returns the index of the first pattern that matches, -1 when none does.
func (gs globs) match(name string) int {
	return slices.IndexFunc(gs, func(p string) bool { return sdk.MatchName(p, name) })
}
