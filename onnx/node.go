package onnx

import (
	"fmt"
	"slices"
)

// Node is a NodeProto: one use of an operator. An empty name among its inputs or
// outputs is an optional one left out.
type Node struct {
	Name   string
	OpType string
	Domain string

	inputs, outputs []string
	attrs           []*Attribute
	graph           *Graph // nil: in no graph
	prev, next      *Node
	removed         bool // next still leads on, so that a walk survives the removal
	subgraphs       bool // an attribute holds a graph
	rare            *nodeRare
	raw             string // the message it was read from; "": made in memory
}

// NewNode makes a node that is in no graph yet.
func NewNode(op, domain, name string, inputs, outputs []string, attrs ...*Attribute) *Node {
	n := &Node{Name: name, OpType: op, Domain: domain, inputs: slices.Clone(inputs), outputs: slices.Clone(outputs)}
	for _, a := range attrs {
		n.SetAttr(a)
	}
	return n
}

// Is tells whether the node is the operator op of the standard domain.
func (n *Node) Is(op string) bool { return n.OpType == op && canonicalDomain(n.Domain) == "" }

// Graph returns the graph the node is in, nil when it is in none.
func (n *Node) Graph() *Graph { return n.graph }

// Next returns the node after this one in its graph, nil at the end.
func (n *Node) Next() *Node {
	if n.graph == nil {
		return nil
	}
	return n.next
}

// Prev returns the node before this one in its graph, nil at the start.
func (n *Node) Prev() *Node {
	if n.graph == nil {
		return nil
	}
	return n.prev
}

// Inputs returns the names of the values the node reads. The slice must not be
// changed: SetInput does that.
func (n *Node) Inputs() []string { return n.inputs }

// Outputs returns the names of the values the node makes. The slice must not be
// changed: SetOutput does that.
func (n *Node) Outputs() []string { return n.outputs }

// Input returns the name of input i, "" when it is left out.
func (n *Node) Input(i int) string {
	if i < 0 || i >= len(n.inputs) {
		return ""
	}
	return n.inputs[i]
}

// Output returns the name of output i, "" when it is left out.
func (n *Node) Output(i int) string {
	if i < 0 || i >= len(n.outputs) {
		return ""
	}
	return n.outputs[i]
}

// SetInput makes value the node's input i; inputs between the last one and i are
// left out.
func (n *Node) SetInput(i int, value string) {
	n.change(func() { n.inputs = setAt(n.inputs, i, value) })
}

// SetInputs replaces all inputs.
func (n *Node) SetInputs(values ...string) {
	n.change(func() { n.inputs = slices.Clone(values) })
}

// SetOutput makes value the node's output i.
func (n *Node) SetOutput(i int, value string) {
	n.change(func() { n.outputs = setAt(n.outputs, i, value) })
}

// SetOutputs replaces all outputs.
func (n *Node) SetOutputs(values ...string) {
	n.change(func() { n.outputs = slices.Clone(values) })
}

// change runs an edit of what the graph's indexes hold of the node.
func (n *Node) change(edit func()) {
	if n.graph == nil {
		edit()
		return
	}
	n.graph.unindex(n)
	edit()
	n.graph.index(n)
}

func setAt(s []string, i int, v string) []string {
	s = slices.Clone(s)
	for len(s) <= i {
		s = append(s, "")
	}
	s[i] = v
	return s
}

// Attributes returns the node's attributes. The slice must not be changed; the
// attributes may, except for their names.
func (n *Node) Attributes() []*Attribute { return n.attrs }

// Attr returns an attribute by name, nil when the node does not have it.
func (n *Node) Attr(name string) *Attribute {
	for _, a := range n.attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// SetAttr sets an attribute, in place of one of the same name.
func (n *Node) SetAttr(a *Attribute) {
	n.change(func() {
		i := slices.IndexFunc(n.attrs, func(b *Attribute) bool { return b.Name == a.Name })
		n.attrs = slices.Clone(n.attrs)
		if i < 0 {
			n.attrs = append(n.attrs, a)
		} else {
			n.attrs[i] = a
		}
		n.adopt()
	})
}

// RemoveAttr removes an attribute; it need not be there.
func (n *Node) RemoveAttr(name string) {
	n.change(func() {
		n.attrs = slices.DeleteFunc(slices.Clone(n.attrs), func(a *Attribute) bool { return a.Name == name })
		n.adopt()
	})
}

// adopt makes the node the owner of its subgraphs.
func (n *Node) adopt() {
	n.subgraphs = false
	for _, a := range n.attrs {
		for _, g := range a.Graphs() {
			n.subgraphs = true
			g.owner = n
		}
	}
}

// IntAttr returns an INT attribute, or def when the node does not have it.
func (n *Node) IntAttr(name string, def int64) int64 {
	if a := n.Attr(name); a != nil && a.Type == AttrInt {
		return a.I
	}
	return def
}

// IntsAttr returns an INTS attribute, or nil. The slice must not be changed.
func (n *Node) IntsAttr(name string) []int64 {
	if a := n.Attr(name); a != nil && a.Type == AttrInts {
		return a.Ints
	}
	return nil
}

// FloatAttr returns a FLOAT attribute, or def when the node does not have it.
func (n *Node) FloatAttr(name string, def float32) float32 {
	if a := n.Attr(name); a != nil && a.Type == AttrFloat {
		return a.F
	}
	return def
}

// FloatsAttr returns a FLOATS attribute, or nil. The slice must not be changed.
func (n *Node) FloatsAttr(name string) []float32 {
	if a := n.Attr(name); a != nil && a.Type == AttrFloats {
		return a.Floats()
	}
	return nil
}

// StringAttr returns a STRING attribute, or def when the node does not have it.
func (n *Node) StringAttr(name, def string) string {
	if a := n.Attr(name); a != nil && a.Type == AttrString {
		return string(a.S)
	}
	return def
}

// TensorAttr returns a TENSOR attribute, or nil.
func (n *Node) TensorAttr(name string) *Tensor {
	if a := n.Attr(name); a != nil && a.Type == AttrTensor {
		return a.T
	}
	return nil
}

// Label names the node in messages: its name, else its operator and first output.
func (n *Node) Label() string {
	if n.Name != "" {
		return fmt.Sprintf("%s %q", n.OpType, n.Name)
	}
	return fmt.Sprintf("%s making %q", n.OpType, n.Output(0))
}
