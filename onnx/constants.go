package onnx

import (
	"github.com/optimize-hcl/optimize/tensor"
)

// constantValue returns what a Constant node makes, nil for a sparse tensor.
func constantValue(n *Node) *Tensor {
	for _, a := range n.attrs {
		if a.RefName() != "" {
			return nil
		}
		switch {
		case a.Name == "value" && a.Type == AttrTensor:
			return a.T
		case a.Name == "value_float" && a.Type == AttrFloat:
			return NewFloats("", []float32{a.F})
		case a.Name == "value_floats" && a.Type == AttrFloats:
			return NewFloats("", a.Floats(), int64(len(a.Floats())))
		case a.Name == "value_int" && a.Type == AttrInt:
			return NewInt64s("", []int64{a.I})
		case a.Name == "value_ints" && a.Type == AttrInts:
			return NewInt64s("", a.Ints, int64(len(a.Ints)))
		case a.Name == "value_string" && a.Type == AttrString:
			return newStrings([][]byte{a.S})
		case a.Name == "value_strings" && a.Type == AttrStrings:
			return newStrings(a.Strings(), int64(len(a.Strings())))
		}
	}
	return nil
}

// Pass is a rewrite of a whole model that returns how much it changed. Passes are
// independent; where several run, constants come first and Prune last.
type Pass func(*Model) (int, error)

// ConstantsToInitializers turns Constant nodes into initializers of the same name,
// in subgraphs too, without copying their data. Sparse constants stay nodes, and so
// do those that are an output of their graph. It returns how many went; it cannot fail.
func ConstantsToInitializers(m *Model) (int, error) {
	count := 0
	for n := range m.Graph.AllNodes() {
		g, out := n.graph, n.Output(0)
		if !n.Is("Constant") || out == "" || g.IsOutput(out) || g.Initializer(out) != nil {
			continue
		}
		if g.owner != nil && m.IRVersion < 4 {
			continue // an initializer would have to be an input, and a subgraph's inputs are fixed
		}
		if t := constantValue(n); t != nil {
			g.RemoveNode(n)
			g.AddInitializer(t.WithName(out))
			count++
		}
	}
	return count, nil
}

// EliminateIdentity removes nodes that pass a value on as it is: Identity, Dropout
// where it does not train, and Concat, Sum, Mean, Max and Min of one input. A graph
// keeps the names of its outputs; where that needs the node, it stays. It returns
// how many nodes went; it cannot fail.
func EliminateIdentity(m *Model) (int, error) {
	count := 0
	for n := range m.Graph.AllNodes() {
		if m.passesOn(n) && n.graph.Bypass(n, n.Input(0)) {
			count++
		}
	}
	return count, nil
}

func (m *Model) passesOn(n *Node) bool {
	switch {
	case n.Is("Identity"):
		return true
	case n.Is("Concat"), n.Is("Sum"), n.Is("Mean"), n.Is("Max"), n.Is("Min"):
		return len(n.inputs) == 1
	case n.Is("Dropout"):
		if m.Opset(DefaultDomain) < 7 {
			return n.IntAttr("is_test", 0) != 0
		}
		return n.Input(2) == "" || n.graph.constantFalse(n.Input(2))
	}
	return false
}

func (g *Graph) constantFalse(value string) bool {
	t := g.Constant(value)
	if t == nil {
		return false
	}
	v, err := t.Ints()
	return err == nil && len(v) == 1 && v[0] == 0
}

// dropUnread removes initializers and Constant nodes of this graph that nothing
// reads any more.
func (g *Graph) dropUnread(values ...string) {
	for _, v := range values {
		if v == "" || g.IsOutput(v) || g.NumConsumers(v) > 0 {
			continue
		}
		if n := g.Producer(v); n != nil && n.Is("Constant") {
			g.RemoveNode(n)
		}
		g.RemoveInitializer(v)
	}
}

// sole tells whether value is an initializer of this graph that one input of one
// node reads, so that it may be changed in place.
func (g *Graph) sole(value string) bool {
	if g.Initializer(value) == nil || g.IsOutput(value) {
		return false
	}
	c := g.Consumers(value)
	if len(c) != 1 {
		return false
	}
	uses := 0
	for _, s := range c[0].reads() {
		if s == value {
			uses++
		}
	}
	return uses == 1
}

// replaceConstant makes node n read t at input i: under the name of what it read,
// if only it did, else under a new name that begins with prefix.
func (g *Graph) replaceConstant(n *Node, i int, prefix string, t tensor.Tensor) {
	old := n.Input(i)
	if old != "" && g.sole(old) {
		g.AddInitializer(NewTensor(old, t))
		return
	}
	name := g.UniqueName(prefix)
	g.AddInitializer(NewTensor(name, t))
	n.SetInput(i, name)
	g.dropUnread(old)
}
