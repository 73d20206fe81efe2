package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// weightOperands are the inputs of operators that hold weights.
var weightOperands = map[string][]int{
	"Conv": {1, 2}, "ConvTranspose": {1, 2}, "Gemm": {1, 2}, "MatMul": {1}, "Gather": {0},
	"LSTM": {1, 2, 3}, "GRU": {1, 2, 3}, "RNN": {1, 2, 3},
	// A bias or a scale of its own, which exporters reshape.
	"Add": {0, 1}, "Sub": {0, 1}, "Mul": {0, 1}, "Div": {0, 1},
}

// maxFoldDepth is how many nodes may lie between a weight and the constants that it
// is made of: exporters write a Transpose, a Cast, or the Slices, Concat and Unsqueeze
// that sort a recurrent cell's gates.
const maxFoldDepth = 16

// FoldWeights makes constants of the weights, biases and tables that are worked out
// from constants, in subgraphs too, where that makes the model larger by no more than
// what it had: a weight that is transposed, cast or cut to pieces, but not one that an
// operator makes out of little. It returns how many weights were folded; what cannot
// be worked out stays. Prune removes what is read by nothing afterwards.
func FoldWeights(m *Model) (int, error) {
	f := &weightFolder{opset: m.Opset(DefaultDomain), known: map[*Node][]*Tensor{}}
	count := 0
	for n := range m.Graph.AllNodes() {
		if canonicalDomain(n.Domain) != "" {
			continue
		}
		for _, i := range weightOperands[n.OpType] {
			name := n.Input(i)
			if name == "" || n.graph.Constant(name) != nil {
				continue
			}
			t, err := f.value(n.graph, name, maxFoldDepth)
			switch {
			case err != nil:
				return count, fmt.Errorf("fold the weights of %s: %w", n.Label(), err)
			case t == nil:
				continue
			}
			n.SetInput(i, f.name(m.Graph, name, t))
			count++
		}
	}
	return count, nil
}

type weightFolder struct {
	opset  int64
	known  map[*Node][]*Tensor // nil: not to be worked out
	folded []*Tensor           // the initializers that came of it
}

// name returns the initializer that holds t. Branches of an If often work out the same
// weight each: they share one.
func (f *weightFolder) name(g *Graph, like string, t *Tensor) string {
	for _, old := range f.folded {
		if old.DataType == t.DataType && slices.Equal(old.Dims, t.Dims) && old.hasRaw && t.hasRaw && bytes.Equal(old.Raw, t.Raw) {
			return old.name
		}
	}
	t = t.WithName(g.UniqueName(like))
	g.AddInitializer(t)
	f.folded = append(f.folded, t)
	return t.name
}

// value works a value out, nil when it is not made of constants alone.
func (f *weightFolder) value(g *Graph, name string, depth int) (*Tensor, error) {
	if t := g.Constant(name); t != nil {
		return t, nil
	}
	var n *Node
	for ; g != nil && n == nil; g = g.outer() {
		if g.IsInput(name) {
			return nil, nil
		}
		n = g.Producer(name)
	}
	if n == nil || depth == 0 || n.subgraphs || len(n.inputs) == 0 || canonicalDomain(n.Domain) != "" || evaluators[n.OpType] == nil || n.Is("DequantizeLinear") {
		return nil, nil
	}
	out, ok := f.known[n]
	if !ok {
		var err error
		if out, err = f.evaluate(n, depth); err != nil {
			return nil, err
		}
		f.known[n] = out
	}
	for i, t := range out {
		if n.outputs[i] == name {
			return t, nil
		}
	}
	return nil, nil
}

func (f *weightFolder) evaluate(n *Node, depth int) ([]*Tensor, error) {
	in := make([]*Tensor, len(n.inputs))
	var size int64
	for i, name := range n.inputs {
		if name == "" {
			continue
		}
		t, err := f.value(n.graph, name, depth-1)
		if t == nil || err != nil {
			return nil, err
		}
		in[i] = t
		size += max(t.Bytes(), 0)
	}
	v := &evaluator{opset: f.opset, room: 2*size + smallTensor}
	out, err := v.evaluate(n, in)
	if errors.Is(err, errNotEvaluated) || len(out) != len(n.outputs) {
		return nil, nil
	}
	return out, err
}
