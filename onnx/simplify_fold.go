package onnx

import (
	"errors"
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// fold replaces a node whose outputs are always the same by constants.
func (s *simplifier) fold(n *Node) bool {
	if canonicalDomain(n.Domain) != "" || n.subgraphs || len(n.outputs) == 0 {
		return false
	}
	g := n.graph
	for _, out := range n.outputs {
		if out != "" && g.IsOutput(out) {
			return false // a graph's output is made by a node
		}
	}
	if t := s.knownFromShapes(n); t != nil {
		s.replace(n, []*Tensor{t})
		s.stats.Folded++
		s.stats.Shapes++
		return true
	}
	if evaluators[n.OpType] == nil {
		return false
	}
	in := make([]*Tensor, len(n.inputs))
	var bytes int64 // that go with the node
	for i, name := range n.inputs {
		if name == "" {
			continue
		}
		if in[i] = g.Constant(name); in[i] == nil {
			return false
		}
		if g.NumConsumers(name) == 1 && g.Initializer(name) != nil {
			bytes += max(in[i].Bytes(), 0)
		}
	}
	v := &evaluator{opset: s.opset, room: s.room + bytes + smallTensor}
	out, err := v.evaluate(n, in)
	if err != nil {
		if !errors.Is(err, errNotEvaluated) {
			s.err = err
		}
		return false
	}
	grown := -bytes
	for _, t := range out {
		grown += max(t.Bytes(), 0)
	}
	if len(out) < len(n.outputs) || grown > s.room && grown > smallTensor {
		return false
	}
	if grown > smallTensor {
		s.room -= grown
	}
	s.replace(n, out)
	s.stats.Folded++
	return true
}

// smallTensor is a constant so small that a node would take as many bytes.
const smallTensor = 256

// replace puts constants in the place of a node.
func (s *simplifier) replace(n *Node, values []*Tensor) {
	g := n.graph
	g.RemoveNode(n)
	for i, name := range n.outputs {
		if name != "" {
			g.AddInitializer(values[i].WithName(name))
		}
	}
}

// knownFromShapes returns the value of a node that computes with shapes, where all of
// it is known although its inputs are not constant: Shape of a value whose axes have
// fixed sizes, or Gather of one such axis.
func (s *simplifier) knownFromShapes(n *Node) *Tensor {
	if len(n.outputs) != 1 || n.Is("Identity") && n.graph.Constant(n.Input(0)) != nil {
		return nil
	}
	v := s.shapes.values[n.outputs[0]]
	if v == nil || v.data == nil || !v.ranked || len(v.dims) > 1 {
		return nil
	}
	ints := make([]int64, len(v.data))
	for i, d := range v.data {
		if !known(d) {
			return nil
		}
		ints[i] = d.Value
	}
	dims := []int64{}
	if len(v.dims) == 1 {
		dims = []int64{int64(len(ints))}
	} else if len(ints) != 1 {
		return nil
	}
	switch v.elem {
	case Int64, Int32, Bool:
		return rawTensor(v.elem, dims, packInts(v.elem, ints))
	}
	return nil
}

// dims returns the shape of a value, nil when its rank is not known.
func (s *simplifier) dims(value string) []Dim {
	_, d, _ := s.shapes.Of(value)
	return d
}

func (s *simplifier) elem(value string) DataType {
	e, _, _ := s.shapes.Of(value)
	return e
}

func sameDims(a, b []Dim) bool {
	return a != nil && b != nil && slices.EqualFunc(a, b, sameDim)
}

// sameView is for two shapes of the same elements: one axis need not be known, since
// the others leave no choice for it.
func sameView(a, b []Dim) bool {
	if a == nil || b == nil || len(a) != len(b) {
		return false
	}
	open := 0
	for i := range a {
		if !sameDim(a[i], b[i]) {
			open++
		}
	}
	return open == 0 || open == 1 && !slices.ContainsFunc(a, func(d Dim) bool { return d.Value == 0 })
}

// targetFor writes a shape as the constant second input of a Reshape from another
// shape: -1 for an axis that is not known, 0 for those that are axes of the input in
// the same place. False when that does not say enough.
func targetFor(from, to []Dim) ([]int64, bool) {
	out := make([]int64, len(to))
	var open []int
	for i, d := range to {
		out[i] = d.Value
		if d.Value == 0 {
			return nil, false // in a target it means another thing
		}
		if !d.Fixed() {
			open = append(open, i)
		}
	}
	if len(open) <= 1 {
		return out, true // Value is -1
	}
	free := 0
	for _, i := range open {
		if i < len(from) && sameDim(from[i], to[i]) {
			out[i] = 0
			continue
		}
		free++
	}
	return out, free <= 1
}

// constantInput makes the node read a new constant at input i.
func (g *Graph) constantInput(n *Node, i int, t tensor.Tensor) {
	name := g.UniqueName(n.Output(0) + "_const")
	g.AddInitializer(NewTensor(name, t))
	n.SetInput(i, name)
}

// constantInts returns a constant list of integers.
func (g *Graph) constantInts(value string) ([]int64, bool) {
	t := g.Constant(value)
	if t == nil {
		return nil, false
	}
	v, err := t.Ints()
	return v, err == nil
}
