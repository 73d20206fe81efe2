package quantize

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// dynamicWeight holds the names of a weight's initializers.
type dynamicWeight struct{ q, scale, zero string }

type dynamicLowering struct {
	graph       *onnx.Graph
	target      *Target
	perChannel  bool
	activations map[scoped][3]string // value to its integers, scale and zero point
	weights     map[dynamicKey]dynamicWeight
	recurrences map[*onnx.Tensor]dynamicWeight
	tables      map[*onnx.Tensor][2]string // integers and scales
	used        func(raw []byte)           // see dynamicOptions
	scratch     []float32
}

// scoped is a value in a graph: subgraphs may use a name again.
type scoped struct {
	graph *onnx.Graph
	value string
}

// A weight is shared by the nodes that read the same tensor in the same way.
type dynamicKey struct {
	weight *onnx.Tensor
	axis   int
	alpha  float32
}

func newDynamicLowering(g *onnx.Graph, t *Target, perChannel bool) *dynamicLowering {
	return &dynamicLowering{graph: g, target: t, perChannel: perChannel,
		activations: map[scoped][3]string{}, weights: map[dynamicKey]dynamicWeight{},
		recurrences: map[*onnx.Tensor]dynamicWeight{}, tables: map[*onnx.Tensor][2]string{}}
}

// done tells that a weight's floats are not looked at again.
func (l *dynamicLowering) done(t *onnx.Tensor) {
	if l.used != nil {
		l.used(t.Raw)
	}
}

// floats returns the elements of a FLOAT tensor: a view, or a copy that lasts until the next call where the file has
// them unaligned. One buffer for all of them keeps the heap small.
func (l *dynamicLowering) floats(t *onnx.Tensor) ([]float32, error) {
	v, err := t.Tensor()
	if err != nil {
		return nil, err
	}
	if n := len(v.Data) / 4; !tensor.Aligned[float32](v.Data) {
		if cap(l.scratch) < n {
			l.scratch = make([]float32, n)
		}
		copied := tensor.Of(v.Shape, l.scratch[:n])
		copy(copied.Data, v.Data)
		v = copied
	}
	return tensor.View[float32](v)
}

// put adds the initializers of a quantized weight. They go to the model's own graph, where subgraphs see them too.
func (l *dynamicLowering) put(t *onnx.Tensor, q tensor.Tensor, scales []float32, shape []int64) dynamicWeight {
	g, name := l.graph, t.Name()
	w := dynamicWeight{g.UniqueName(name + "_quantized"), g.UniqueName(name + "_scale"), g.UniqueName(name + "_zero_point")}
	g.AddInitializer(onnx.NewTensor(w.q, q))
	g.AddInitializer(floats(w.scale, shape, scales))
	g.AddInitializer(onnx.NewTensor(w.zero, zeros(tensor.I8, shape)))
	return w
}

// lower replaces one node.
func (l *dynamicLowering) lower(k *candidate) error {
	n, g := k.node, k.node.Graph()
	w, err := l.weight(k)
	if err != nil {
		return err
	}
	x := l.activation(n, k.data[0])
	name := func(part string) string { return l.graph.UniqueName(nodeName(n) + "/" + part) }
	put := func(op string, inputs []string, output string, attrs ...*onnx.Attribute) string {
		node := name(op)
		if output == "" {
			output = l.graph.UniqueName(node + "_output")
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
	product := l.graph.UniqueName(final.Name + "_output")
	final.SetOutput(0, product)
	g.InsertAfter(last, final)
	g.InsertAfter(final, onnx.NewNode("Add", "", name("Add"), []string{product, bias}, []string{out}))
	return nil
}

// activation quantizes a value once, however many products read it.
func (l *dynamicLowering) activation(before *onnx.Node, value string) [3]string {
	at := scoped{before.Graph(), value}
	if x, ok := l.activations[at]; ok {
		return x
	}
	g := l.graph
	x := [3]string{g.UniqueName(value + "_quantized"), g.UniqueName(value + "_scale"), g.UniqueName(value + "_zero_point")}
	before.Graph().InsertBefore(before, onnx.NewNode("DynamicQuantizeLinear", "", g.UniqueName(value+"_DynamicQuantizeLinear"), []string{value}, x[:]))
	l.activations[at] = x
	return x
}

// weight quantizes a constant operand as [K, N], transposed if the Gemm reads it so.
func (l *dynamicLowering) weight(k *candidate) (dynamicWeight, error) {
	axis := k.axis
	if !l.perChannel {
		axis = perTensor
	}
	key := dynamicKey{k.weight, k.axis, k.alpha}
	if w, ok := l.weights[key]; ok {
		return w, nil
	}
	v, err := l.floats(k.weight)
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
	w := l.put(k.weight, tensor.Of(dims, q), scales, shape)
	l.done(k.weight)
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
