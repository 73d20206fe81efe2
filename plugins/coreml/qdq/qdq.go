// Package qdq rewrites the operators that compute with integers to floats between DequantizeLinear and QuantizeLinear:
// QLinearConv and its like, MatMulInteger and what quantizes activations as the model runs. Core ML has none of them, and
// computes in floats; the weights stay integers.
package qdq

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// Result tells what Rewrite did.
type Result struct {
	Nodes int // that were rewritten
	// Wide are outputs of nodes that compute sums of integers, which half precision cannot hold.
	Wide map[string]bool
}

type rewriter struct {
	g       *onnx.Graph
	wide    map[string]bool
	pending []pending
}

// pending is an output that gets its name when the node that had it is gone.
type pending struct {
	n    *onnx.Node
	i    int
	name string
}

// replace removes a node whose outputs others make now.
func (w *rewriter) replace(n *onnx.Node) {
	w.g.RemoveNode(n)
	for _, p := range w.pending {
		p.n.SetOutput(p.i, p.name)
	}
	w.pending = nil
}

// Rewrite changes the model's graph. What a node computes stays what it was, up to the rounding of floats; but
// DynamicQuantizeLSTM no longer rounds its inputs and states. Nodes that it does not know stay.
func Rewrite(m *onnx.Model) (Result, error) {
	r := Result{Wide: map[string]bool{}}
	if !slices.ContainsFunc(slices.Collect(m.Graph.AllNodes()), func(n *onnx.Node) bool { return rules[n.OpType] != nil }) {
		return r, nil
	}
	const opset = 13 // DequantizeLinear with an axis
	if v := m.Opset(onnx.DefaultDomain); v < opset {
		if err := m.UpgradeOpset(opset); err != nil {
			return r, fmt.Errorf("operators of integers are rewritten in opset %d: %w", opset, err)
		}
	}
	graphs := []*onnx.Graph{m.Graph}
	for n := range m.Graph.AllNodes() {
		graphs = append(graphs, n.Subgraphs()...)
	}
	for _, g := range graphs {
		w := &rewriter{g: g, wide: r.Wide}
		for _, n := range slices.Collect(g.Nodes()) {
			f := rules[n.OpType]
			if f == nil || n.Domain != "" && n.Domain != "ai.onnx" && n.Domain != microsoft {
				continue
			}
			if f(w, n) {
				r.Nodes++
				w.replace(n)
			}
			w.pending = nil // of a rule that gave up: nothing reads what it made
		}
		w.pools()
	}
	return r, nil
}

// rules say how an operator is rewritten: false where it stays. They insert nodes before it; it is removed after.
var rules map[string]func(*rewriter, *onnx.Node) bool

func init() {
	rules = map[string]func(*rewriter, *onnx.Node) bool{
		"QLinearConv":              (*rewriter).conv,
		"QLinearMatMul":            (*rewriter).matMul,
		"QGemm":                    (*rewriter).gemm,
		"QLinearAdd":               binary("Add"),
		"QLinearMul":               binary("Mul"),
		"QLinearSigmoid":           unary("Sigmoid"),
		"QLinearLeakyRelu":         unary("LeakyRelu", "alpha"),
		"QLinearSoftmax":           unary("Softmax", "axis"),
		"QLinearReduceMean":        unary("ReduceMean", "axes", "keepdims"),
		"QLinearAveragePool":       pool("AveragePool"),
		"QLinearGlobalAveragePool": pool("GlobalAveragePool"),
		"QLinearConcat":            (*rewriter).concat,
		"QLinearWhere":             (*rewriter).where,
		"MatMulInteger":            (*rewriter).integers,
		"ConvInteger":              (*rewriter).integers,
		"DynamicQuantizeMatMul":    (*rewriter).dynamicMatMul,
		"MatMulIntegerToFloat":     (*rewriter).toFloat,
		"DynamicQuantizeLSTM":      (*rewriter).lstm,
	}
}

// emit inserts a node of ONNX's own before another one, and gives its output.
func (w *rewriter) emit(at *onnx.Node, op string, in []string, attrs ...*onnx.Attribute) string {
	return w.insert(at, op, in, []string{w.g.UniqueName(at.Label() + "_" + op)}, attrs...).Output(0)
}

// put is emit for an output that has a name.
func (w *rewriter) put(at *onnx.Node, op string, in []string, out string, attrs ...*onnx.Attribute) {
	w.pending = append(w.pending, pending{w.insert(at, op, in, []string{w.g.UniqueName(out + "_new")}, attrs...), 0, out})
}

func (w *rewriter) insert(at *onnx.Node, op string, in, outs []string, attrs ...*onnx.Attribute) *onnx.Node {
	for len(in) > 0 && in[len(in)-1] == "" {
		in = in[:len(in)-1]
	}
	n := onnx.NewNode(op, "", w.g.UniqueName(at.Label()+"/"+op), in, outs, attrs...)
	w.g.InsertBefore(at, n)
	return n
}

// dequantized gives an input as floats. i is its place; its scale and zero point follow. axis is that of vectors of them,
// counted from the end where it is negative.
func (w *rewriter) dequantized(n *onnx.Node, i int, axis int64) string {
	return w.dequantize(n, n.Input(i), n.Input(i+1), n.Input(i+2), axis)
}

func (w *rewriter) dequantize(n *onnx.Node, x, scale, zero string, axis int64) string {
	scale, zero = w.agree(n, x, scale, zero)
	return w.emit(n, "DequantizeLinear", []string{x, scale, zero}, onnx.IntAttr("axis", axis))
}

// agree makes scale and zero point of one shape, a scalar or a vector: operators of integers take one zero point to a vector
// of scales, and the other way.
func (w *rewriter) agree(n *onnx.Node, x, scale, zero string) (string, string) {
	s := w.g.Constant(scale)
	if s == nil {
		return scale, zero
	}
	z := w.g.Constant(zero)
	if s.Elements() == 1 && (z == nil || z.Elements() == 1) {
		return w.reshaped(n, s, scale, nil), w.reshaped(n, z, zero, nil)
	}
	count := max(s.Elements(), 1)
	if z != nil {
		count = max(count, z.Elements())
	}
	return w.reshaped(n, s, scale, []int64{count}), w.reshaped(n, z, zero, []int64{count})
}

// reshaped gives a constant of parameters another shape; one number becomes as many as the shape has.
func (w *rewriter) reshaped(n *onnx.Node, t *onnx.Tensor, name string, shape []int64) string {
	if t == nil || slices.Equal(t.Dims, shape) {
		return name
	}
	v, err := t.Tensor()
	if err != nil {
		return name
	}
	count := int64(1)
	for _, d := range shape {
		count *= d
	}
	data := v.Data
	if t.Elements() == 1 && count > 1 {
		data = slices.Repeat(data, int(count))
	}
	out := w.g.UniqueName(name + "_shaped")
	w.g.AddInitializer(onnx.NewTensor(out, tensor.Tensor{DType: v.DType, Shape: slices.Clone(shape), Data: data}))
	return out
}

// quantize rounds a value to the node's output, whose scale is input i and its zero point the next.
func (w *rewriter) quantize(n *onnx.Node, x string, i int) {
	scale, zero := w.agree(n, "", n.Input(i), n.Input(i+1))
	w.put(n, "QuantizeLinear", []string{x, scale, zero}, n.Output(0))
}

// attributes are copies of some of the node's.
func attributes(n *onnx.Node, names ...string) (out []*onnx.Attribute) {
	for _, name := range names {
		if a := n.Attr(name); a != nil {
			out = append(out, a)
		}
	}
	return out
}

// one is a constant 1, the scale of integers that are taken as they are.
func (w *rewriter) one() string {
	name := w.g.UniqueName("one")
	w.g.AddInitializer(onnx.NewFloats(name, []float32{1}))
	return name
}
