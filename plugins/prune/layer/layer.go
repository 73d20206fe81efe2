// Package layer finds the products of a model's weights with activations, and shows each weight as what it is there: a
// matrix of outputs and inputs, whatever the operator and the order in which it is stored.
package layer

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// Layer is a weight with the nodes that multiply with it. A convolution has Groups of N outputs each, whose K inputs are
// Channels at each place of the kernel; other layers have one group and one place.
type Layer struct {
	Weight          *onnx.Tensor
	Nodes           []*onnx.Node
	Groups, N, K    int
	Channels        int
	byColumn, inSub bool
}

// Kept is a node whose weight is left as it is.
type Kept struct{ Name, Op, Reason string }

// String is the form in which reports list it.
func (k Kept) String() string { return fmt.Sprintf("%s (%s): %s", k.Name, k.Op, k.Reason) }

// Find lists the layers of Conv, Gemm and MatMul in the order of the graph, subgraphs included, and the nodes with a
// constant float weight that are none, with the reason. keep says why the user wants a node left alone, "" when not.
// Constants are initializers (onnx.ConstantsToInitializers).
func Find(m *onnx.Model, keep func(name string) string) (layers []*Layer, kept []Kept) {
	found := map[*onnx.Tensor]*Layer{}
	spoiled := map[*onnx.Tensor]bool{}
	for n := range m.Graph.AllNodes() {
		at := 1
		if n.Is("Gather") || n.Is("Einsum") {
			continue // a table, or what only its equation tells
		}
		if n.Is("LSTM") || n.Is("GRU") || n.Is("RNN") {
			at = 2
		}
		w := n.Graph().Constant(n.Input(at))
		if w == nil || len(w.Dims) < 2 || !w.DataType.DType().IsFloat() {
			continue
		}
		l, reason := of(n, w)
		if reason == "" && keep != nil {
			reason = keep(NodeName(n))
		}
		if reason == "" && w.DataType.Bits() < 16 {
			reason = fmt.Sprintf("its weight is of type %s", w.DataType)
		}
		old := found[w]
		switch {
		case l == nil && reason == "":
			continue
		case reason == "" && old != nil && (old.byColumn != l.byColumn || old.Groups != l.Groups || old.Channels != l.Channels):
			reason = "its weight is shared with a node that multiplies with it in another way"
		}
		if reason != "" {
			kept = append(kept, Kept{NodeName(n), n.OpType, reason})
			spoiled[w] = true
			continue
		}
		l.inSub = n.Graph() != m.Graph
		if old != nil {
			old.Nodes = append(old.Nodes, n)
			old.inSub = old.inSub || l.inSub
			continue
		}
		found[w] = l
		layers = append(layers, l)
	}
	layers = slices.DeleteFunc(layers, func(l *Layer) bool {
		if !spoiled[l.Weight] {
			return false
		}
		for _, n := range l.Nodes {
			kept = append(kept, Kept{NodeName(n), n.OpType, "its weight is shared with a node that is left alone"})
		}
		return true
	})
	return layers, kept
}

// of tells what a node is: no layer and no reason where nobody would ask.
func of(n *onnx.Node, w *onnx.Tensor) (*Layer, string) {
	l := &Layer{Weight: w, Nodes: []*onnx.Node{n}, Groups: 1}
	d := w.Dims
	switch {
	case n.Is("Conv"):
		if len(d) < 3 || slices.Contains(d, 0) {
			return nil, fmt.Sprintf("its weight has the shape %v", d)
		}
		l.Groups = int(n.IntAttr("group", 1))
		if l.Groups < 1 || int(d[0])%l.Groups != 0 {
			return nil, fmt.Sprintf("its %d outputs are no multiple of its %d groups", d[0], l.Groups)
		}
		l.N, l.Channels = int(d[0])/l.Groups, int(d[1])
		l.K = int(w.Elements() / d[0])
	case n.Is("Gemm"), n.Is("MatMul"):
		for len(d) > 2 && d[0] == 1 {
			d = d[1:]
		}
		if len(d) != 2 || slices.Contains(d, 0) {
			return nil, fmt.Sprintf("its weight has the shape %v: only matrices are taken", w.Dims)
		}
		l.K, l.N, l.byColumn = int(d[0]), int(d[1]), true
		if n.Is("Gemm") {
			if n.IntAttr("transA", 0) != 0 {
				return nil, "it transposes its first operand"
			}
			if n.IntAttr("transB", 0) != 0 {
				l.K, l.N, l.byColumn = l.N, l.K, false
			}
		}
		l.Channels = l.K
	case n.Is("ConvTranspose"), n.Is("LSTM"), n.Is("GRU"), n.Is("RNN"):
		return nil, "weights of this operator are left as they are"
	default:
		return nil, ""
	}
	return l, ""
}

// NodeName is what keep matches and what reports show: a node without a name goes by its first output.
func NodeName(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// Name is that of the first node.
func (l *Layer) Name() string { return NodeName(l.Nodes[0]) }

// Conv tells whether the layer convolves.
func (l *Layer) Conv() bool { return l.Nodes[0].Is("Conv") }

// Rows returns the weight as [Groups*N, K]. Of a convolution the inputs are in the order of the reduction: place by
// place, at each place channel by channel; that is along what engines multiply, and so what patterns lie along.
func (l *Layer) Rows() ([]float32, error) {
	v, err := l.Weight.Float32s()
	if err != nil {
		return nil, fmt.Errorf("weight %q of node %q: %w", l.Weight.Name(), l.Name(), err)
	}
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("weight %q of node %q: element %d is %v", l.Weight.Name(), l.Name(), i, x)
		}
	}
	switch {
	case l.byColumn:
		return Transpose(v, l.K, l.N), nil
	case l.Channels != l.K:
		return turn(v, l.Channels, l.K/l.Channels), nil
	}
	return slices.Clone(v), nil
}

// Stored returns rows in the order in which the weight is stored.
func (l *Layer) Stored(rows []float32) []float32 {
	switch {
	case l.byColumn:
		return Transpose(rows, l.N, l.K)
	case l.Channels != l.K:
		return turn(rows, l.K/l.Channels, l.Channels)
	}
	return rows
}

// SetRows stores a weight that Rows gave, in its own type.
func (l *Layer) SetRows(rows []float32) error {
	t, err := tensor.FromFloat32(l.Weight.DataType.DType(), l.Weight.Dims, l.Stored(rows))
	if err != nil {
		return fmt.Errorf("weight %q of node %q: %w", l.Weight.Name(), l.Name(), err)
	}
	l.Weight.SetTensor(t)
	return nil
}

// Taps ask for the inputs of the layer, one for each value that its nodes read; nil where they cannot be measured: in a
// subgraph, or with more inputs than a matrix of sums should have.
func (l *Layer) Taps() []gram.Tap {
	if l.inSub || l.K > MostInputs {
		return nil
	}
	var taps []gram.Tap
	seen := map[string]bool{}
	for _, n := range l.Nodes {
		v := n.Input(0)
		if v == "" {
			return nil
		}
		if seen[v] && !l.Conv() {
			continue
		}
		seen[v] = true
		t := gram.Tap{Value: v, K: l.K}
		if l.Conv() {
			t.Groups, t.Conv, t.Weight = l.Groups, n, l.Weight.Dims
		}
		taps = append(taps, t)
	}
	return taps
}

// MostInputs bounds the inputs of a layer whose sums are measured: they are a matrix of as many rows and columns.
const MostInputs = 12288

// Gram brings the sums of one group of the layer's inputs into the order of Rows.
func (l *Layer) Gram(h []float32) []float32 {
	places := l.K / l.Channels
	if l.byColumn || places == 1 || l.Channels == 1 {
		return slices.Clone(h)
	}
	out, from := make([]float32, len(h)), make([]int, l.K)
	for i := range from {
		from[i] = i%l.Channels*places + i/l.Channels
	}
	for i, r := range from {
		row := h[r*l.K : (r+1)*l.K]
		for j, c := range from {
			out[i*l.K+j] = row[c]
		}
	}
	return out
}

// turn transposes each run of rows*cols elements.
func turn(v []float32, rows, cols int) []float32 {
	if rows == 1 || cols == 1 {
		return slices.Clone(v)
	}
	out, size := make([]float32, len(v)), rows*cols
	for at := 0; at < len(v); at += size {
		for r := range rows {
			for c := range cols {
				out[at+c*rows+r] = v[at+r*cols+c]
			}
		}
	}
	return out
}

// Transpose turns a row-major [rows, cols] around.
func Transpose(v []float32, rows, cols int) []float32 {
	out := make([]float32, len(v))
	for r := range rows {
		for c, x := range v[r*cols : (r+1)*cols] {
			out[c*rows+r] = x
		}
	}
	return out
}
