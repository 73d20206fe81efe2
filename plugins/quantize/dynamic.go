package quantize

import (
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// Reasons why a node stays in float under dynamic quantization.
const (
	reasonConv      = "a dynamic convolution runs 4 to 5 times slower than float on this engine; quantize_static makes it faster"
	reasonRecurrent = "quantize_dynamic lowers MatMul and Gemm only"
	reasonTable     = "its table is looked up, not multiplied"
)

// dynamicResult is what lowerDynamic did.
type dynamicResult struct {
	weights map[string]bool
	nodes   []*onnx.Node // as they were; they are in no graph any more
	floats  []floatNode
	others  []string
	unused  []string
	macs    int64
	total   int64
}

// lowerDynamic turns every MatMul and Gemm with a constant weight into integers whose activation scale is measured at
// run time: DynamicQuantizeLinear, MatMulInteger, Cast, Mul and, with a bias, Add, which ONNX Runtime fuses into one
// or two kernels.
func lowerDynamic(m *onnx.Model, shapes *onnx.Shapes, t *Target, o placeOptions, perChannel bool) (*dynamicResult, error) {
	d := &dynamicResult{weights: map[string]bool{}}
	l := newDynamicLowering(m.Graph, t, perChannel)
	total, macs := countWork(m, shapes)
	d.total = total
	c := &classifier{graph: m.Graph, shapes: shapes, opset: m.Opset(onnx.DefaultDomain), target: t,
		placeOptions: o, used: make([]bool, len(o.Keep)), macs: macs}
	convs := 0
	for n := range m.Graph.Nodes() {
		k, no := c.classify(n)
		if n.Is("Conv") || n.Is("ConvTranspose") {
			convs++
		}
		switch {
		case no != nil && strings.HasPrefix(no.reason, "kept by "):
			d.floats = append(d.floats, floatNode{n, no.reason})
		case n.Is("Conv") || n.Is("ConvTranspose"):
			d.floats = append(d.floats, floatNode{n, reasonConv})
		case recurrent[n.OpType] && (n.Domain == "" || n.Domain == "ai.onnx"):
			d.floats = append(d.floats, floatNode{n, reasonRecurrent})
		case n.Is("Gather") && m.Graph.Initializer(n.Input(0)) != nil && m.Graph.Initializer(n.Input(0)).DataType.DType().IsFloat():
			d.floats = append(d.floats, floatNode{n, reasonTable})
		case no != nil && no.worth:
			d.floats = append(d.floats, floatNode{n, no.reason})
		case no == nil && k.rule.Role == RoleMatrix:
			if err := l.lower(k); err != nil {
				return nil, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
			}
			d.nodes = append(d.nodes, n)
			d.weights[k.weight.Name()] = true
			d.macs += macs[n]
		}
	}
	for i, u := range c.used {
		if !u {
			d.unused = append(d.unused, o.Keep[i])
		}
	}
	if len(d.nodes) == 0 {
		return nil, nothingDynamic(d, convs)
	}
	return d, finish(m)
}

func nothingDynamic(d *dynamicResult, convs int) error {
	detail := "It has no MatMul or Gemm with constant float weights outside of keep_float."
	if convs > 0 {
		detail += fmt.Sprintf(" Its %d convolutions would run 4 to 5 times slower with dynamic quantization: use quantize_static, which takes a calibration dataset.", convs)
	} else {
		detail += " Use quantize_static with a calibration dataset, if its operators take part there."
	}
	const most = 3
	for i, f := range d.floats {
		if i == most {
			detail += fmt.Sprintf("\n%d more", len(d.floats)-most)
			break
		}
		detail += "\n" + f.String()
	}
	return sdk.AttrError("model", "the model has nothing that quantize_dynamic can quantize", detail)
}

// dynamicWeight holds the names of a weight's initializers.
type dynamicWeight struct{ q, scale, zero string }

type dynamicLowering struct {
	graph       *onnx.Graph
	target      *Target
	perChannel  bool
	activations map[string][3]string // value to its integers, scale and zero point
	weights     map[weightKey]dynamicWeight
}

func newDynamicLowering(g *onnx.Graph, t *Target, perChannel bool) *dynamicLowering {
	return &dynamicLowering{graph: g, target: t, perChannel: perChannel,
		activations: map[string][3]string{}, weights: map[weightKey]dynamicWeight{}}
}

// lower replaces one node.
func (l *dynamicLowering) lower(k *candidate) error {
	n, g := k.node, l.graph
	w, err := l.weight(k)
	if err != nil {
		return err
	}
	x := l.activation(n, k.data[0])
	name := func(part string) string { return g.UniqueName(nodeName(n) + "/" + part) }
	put := func(op string, inputs []string, output string, attrs ...*onnx.Attribute) string {
		node := name(op)
		if output == "" {
			output = g.UniqueName(node + "_output")
		}
		g.InsertBefore(n, onnx.NewNode(op, "", node, inputs, []string{output}, attrs...))
		return output
	}
	var bias string
	if k.bias != nil {
		if bias, err = l.bias(k); err != nil {
			return err
		}
	}
	acc := put("MatMulInteger", []string{x[0], w.q, x[2], w.zero}, "")
	acc = put("Cast", []string{acc}, "", onnx.IntAttr("to", int64(onnx.Float)))
	scale := put("Mul", []string{x[1], w.scale}, "")
	out := n.Output(0)
	// The node must go before another makes its value.
	last := n.Prev()
	g.RemoveNode(n)
	final := onnx.NewNode("Mul", "", name("Mul"), []string{acc, scale}, []string{out})
	if bias == "" {
		g.InsertAfter(last, final)
		return nil
	}
	product := g.UniqueName(final.Name + "_output")
	final.SetOutput(0, product)
	g.InsertAfter(last, final)
	g.InsertAfter(final, onnx.NewNode("Add", "", name("Add"), []string{product, bias}, []string{out}))
	return nil
}

// activation quantizes a value once, however many products read it.
func (l *dynamicLowering) activation(before *onnx.Node, value string) [3]string {
	if x, ok := l.activations[value]; ok {
		return x
	}
	g := l.graph
	x := [3]string{g.UniqueName(value + "_quantized"), g.UniqueName(value + "_scale"), g.UniqueName(value + "_zero_point")}
	g.InsertBefore(before, onnx.NewNode("DynamicQuantizeLinear", "", g.UniqueName(value+"_DynamicQuantizeLinear"), []string{value}, x[:]))
	l.activations[value] = x
	return x
}

// weight quantizes a constant operand as [K, N], transposed if the Gemm reads it so.
func (l *dynamicLowering) weight(k *candidate) (dynamicWeight, error) {
	axis := k.axis
	if !l.perChannel {
		axis = perTensor
	}
	key := weightKey{name: k.weight.Name(), axis: k.axis, alpha: k.alpha}
	if w, ok := l.weights[key]; ok {
		return w, nil
	}
	v, err := k.weight.Float32s()
	if err != nil {
		return dynamicWeight{}, fmt.Errorf("weight of node %q: %w", nodeName(k.node), err)
	}
	lay := channelLayout(k.weight.Dims, axis)
	absmax, err := channelMax(v, lay)
	if err != nil {
		return dynamicWeight{}, fmt.Errorf("weight %q of node %q: %w: integers cannot stand for it", k.weight.Name(), nodeName(k.node), err)
	}
	scales := l.target.Weight.weightScales(absmax)
	q := l.target.Weight.quantizeWeights(v, lay, scales)
	dims := k.weight.Dims
	if k.axis == 0 { // [N, K]
		q = transpose(q, int(dims[0]), int(dims[1]))
		dims = []int64{dims[1], dims[0]}
	}
	for i := range scales {
		scales[i] *= k.alpha
	}
	shape := []int64{int64(len(scales))}
	if !l.perChannel {
		shape = nil
	}
	g, name := l.graph, k.weight.Name()
	w := dynamicWeight{g.UniqueName(name + "_quantized"), g.UniqueName(name + "_scale"), g.UniqueName(name + "_zero_point")}
	g.AddInitializer(onnx.NewTensor(w.q, tensor.Of(dims, q)))
	g.AddInitializer(floats(w.scale, shape, scales))
	g.AddInitializer(onnx.NewTensor(w.zero, zeros(tensor.I8, shape)))
	l.weights[key] = w
	return w, nil
}

// bias returns the initializer to add: the model's own, or its product with beta.
func (l *dynamicLowering) bias(k *candidate) (string, error) {
	if k.beta == 1 {
		return k.bias.Name(), nil
	}
	v, err := k.biasValues()
	if err != nil {
		return "", err
	}
	name := l.graph.UniqueName(k.bias.Name() + "_scaled")
	l.graph.AddInitializer(floats(name, []int64{int64(len(v))}, v))
	return name, nil
}

// transpose turns a row-major [rows, cols] into [cols, rows].
func transpose(q []int8, rows, cols int) []int8 {
	out := make([]int8, len(q))
	parallel(cols, rows, func(from, to int) {
		for c := from; c < to; c++ {
			for r := range rows {
				out[c*rows+r] = q[r*cols+c]
			}
		}
	})
	return out
}
