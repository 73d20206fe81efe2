package onnx

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// CheckError lists what is wrong with a model, at most maxProblems things.
type CheckError struct{ Problems []string }

const maxProblems = 20

func (e *CheckError) Error() string {
	if len(e.Problems) == 1 {
		return "invalid ONNX model: " + e.Problems[0]
	}
	return fmt.Sprintf("invalid ONNX model, %d problems:\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// Check finds what would keep any runtime from loading the model: no graph or
// operator set, values defined twice or not at all, nodes out of order or in a
// cycle, and tensors whose bytes do not match their shape. It does not know which
// inputs and attributes each operator wants. An error is a *CheckError.
func Check(m *Model) error {
	c := checker{m: m}
	switch {
	case m.Graph == nil:
		c.add("it has no graph")
	case m.IRVersion <= 0:
		c.add("it has no ir_version")
		fallthrough
	default:
		if len(m.Opsets) == 0 {
			c.add("it imports no operator set")
		}
		c.graph(m.Graph, nil)
	}
	if len(c.problems) > 0 {
		return &CheckError{c.problems}
	}
	return nil
}

type checker struct {
	m        *Model
	problems []string
	domains  map[string]bool // already reported
}

func (c *checker) add(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// scope is the names defined in a graph so far, and those around it.
type scope struct {
	names map[string]string // what defines each
	outer *scope
}

func (s *scope) find(name string) (by string, ok bool) {
	for ; s != nil; s = s.outer {
		if by, ok = s.names[name]; ok {
			return by, true
		}
	}
	return "", false
}

func (c *checker) define(s *scope, name, by string) {
	if name == "" {
		c.add("%s has no name", by)
		return
	}
	if was, ok := s.find(name); ok {
		c.add("the value %q is defined twice: by %s and by %s", name, was, by)
		return
	}
	s.names[name] = by
}

func (c *checker) graph(g *Graph, outer *scope) {
	s := &scope{names: make(map[string]string, 2*g.count), outer: outer}
	for _, v := range g.inputs {
		c.define(s, v.name, "a graph input")
	}
	seen := map[string]bool{}
	for t := range g.Initializers() {
		// In old models, and for defaults, an initializer is an input too.
		if s.names[t.name] != "a graph input" || seen[t.name] {
			c.define(s, t.name, "an initializer")
		}
		seen[t.name] = true
		c.tensor(t)
	}
	for _, name := range g.sparseNames() {
		if !g.IsInput(name) {
			c.define(s, name, "a sparse initializer")
		}
	}
	for n := range g.Nodes() {
		c.node(g, n, s)
	}
	for _, v := range g.outputs {
		if _, ok := s.find(v.name); !ok {
			c.add("the graph output %q is made by no node, input or initializer", v.name)
		}
	}
}

func (c *checker) node(g *Graph, n *Node, s *scope) {
	if n.OpType == "" {
		c.add("node %q has no operator", n.Name)
	}
	if domain := canonicalDomain(n.Domain); !c.domains[domain] && len(c.m.Opsets) > 0 && c.m.Opset(domain) == 0 {
		if c.domains == nil {
			c.domains = map[string]bool{}
		}
		c.domains[domain] = true
		c.add("%s is of the domain %q, which the model does not import", n.Label(), n.Domain)
	}
	for _, name := range n.inputs {
		if name == "" {
			continue
		}
		if _, ok := s.find(name); ok {
			continue
		}
		if p := g.Producer(name); p == nil {
			c.add("%s reads %q, which nothing makes", n.Label(), name)
		} else if _, err := g.topoOrder(); err != nil {
			c.add("%s", err)
			s.names[name] = p.Label() // once is enough
		} else {
			c.add("%s comes before %s, which makes its input %q: sort the nodes", n.Label(), p.Label(), name)
		}
	}
	seen := map[string]bool{}
	for _, a := range n.attrs {
		if a.Name == "" || seen[a.Name] {
			c.add("%s has the attribute %q twice or without a name", n.Label(), a.Name)
		}
		seen[a.Name] = true
		if a.T != nil {
			c.tensor(a.T)
		}
		for _, sub := range a.Graphs() {
			c.graph(sub, s)
		}
	}
	for _, name := range n.outputs {
		if name != "" {
			c.define(s, name, n.Label())
		}
	}
}

func (c *checker) tensor(t *Tensor) {
	what := fmt.Sprintf("tensor %q", t.name)
	want := t.Bytes()
	switch {
	case t.DataType == Undefined:
		c.add("%s has no element type", what)
	case t.Elements() < 0 || want < 0 && t.DataType.Bits() > 0: // more bytes than can be counted
		c.add("%s has the impossible shape %v", what, t.Dims)
	case t.IsExternal():
	case t.DataType == String:
		if int64(len(t.Strings())) != t.Elements() {
			c.add("%s of shape %v has %d strings", what, t.Dims, len(t.Strings()))
		}
	case want < 0 || t.DataType.Bits()%8 != 0 && !t.hasData():
		// A type that is not known here, or one packed in a way of its own.
	default:
		if got := t.dataBytes(); got != want {
			c.add("%s, %s%v, needs %d bytes of data and has %d", what, t.DataType, t.Dims, want, got)
		}
	}
}

// dataBytes returns how many bytes the elements take as raw data, without making
// them.
func (t *Tensor) dataBytes() int64 {
	if t.hasData() {
		return int64(len(t.Raw))
	}
	switch t.DataType {
	case Float, Complex64:
		return int64(len(t.typed(4)))
	case Double, Complex128:
		return int64(len(t.typed(10)))
	}
	count := 0
	for _, b := range [][]byte{t.typed(5), t.typed(7), t.typed(11)} {
		for len(b) > 0 {
			_, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return -1
			}
			b = b[n:]
			count++
		}
	}
	return int64(count) * int64(t.DataType.Bits()) / 8
}
