package onnx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// Rule rewrites every place of a graph that looks like its left side to its right
// side. Both are written as the graph reads, a node on a line:
//
//	d = Div(x, 1.4142135)
//	e = Erf(d)
//	a = Add(e, 1)
//	m = Mul(x, a)
//	y = Mul(m, 0.5)
//	=>
//	y = Gelu(x)
//
// A name stands for a value, the same one wherever it is written; $name for one that
// is constant; a number for a constant all of whose elements are that (within a
// millionth); _ for any value; nothing between two commas for an input that is left
// out. Operators of another domain carry it: com.microsoft.Gelu(x). Attributes in
// angle brackets must be there and equal, others may be anything:
//
//	t = Transpose<perm=[0, 2, 1]>(x)
//	p = Pad<mode="constant">(x, $pads)
//
// Operators that commute match in either order. The last line on the left is where
// the match starts, and its outputs are what the right side must make; what the lines
// before it make must not be read elsewhere.
//
// On the right an attribute is set, or all attributes of a node on the left are taken
// over: Conv<...y>(x, w) takes those of the node that makes y. A number there is a
// float32 scalar and a list like [0, -1] an int64 tensor of one axis; both become
// initializers.
type Rule struct {
	// When, if set, is asked before a match is rewritten.
	When func(*Match) bool

	left, right []ruleNode
}

// Match is a place that the left side of a Rule fits.
type Match struct {
	graph  *Graph
	values map[string]string
	nodes  []*Node // by line
	rule   *Rule
}

// Graph returns the graph that the match is in.
func (m *Match) Graph() *Graph { return m.graph }

// Value returns the name of the value that a name of the rule stands for, without the
// $ of a constant.
func (m *Match) Value(name string) string { return m.values[name] }

// Constant returns the tensor that a name of the rule stands for, nil when it is not
// constant.
func (m *Match) Constant(name string) *Tensor { return m.graph.Constant(m.values[name]) }

// Node returns the node that the line making that output fits, nil for no such line.
func (m *Match) Node(output string) *Node {
	for i, l := range m.rule.left {
		if slices.Contains(l.outputs, output) {
			return m.nodes[i]
		}
	}
	return nil
}

// Apply rewrites all places of the model that fit, in subgraphs too, and returns how
// many there were. Constants that nothing reads afterwards stay: Prune removes them.
func (r *Rule) Apply(m *Model) int {
	count := 0
	for n := range m.Graph.AllNodes() {
		match := r.Match(n)
		if match == nil || r.When != nil && !r.When(match) {
			continue
		}
		r.rewrite(match)
		count++
	}
	return count
}

// Match tells whether the left side fits with its last line at n; nil when not.
func (r *Rule) Match(n *Node) *Match {
	last := len(r.left) - 1
	if n.graph == nil || !r.left[last].is(n) {
		return nil
	}
	m := &Match{graph: n.graph, values: map[string]string{}, nodes: make([]*Node, len(r.left)), rule: r}
	if !m.node(last, n) {
		return nil
	}
	for i, inner := range m.nodes {
		if inner == nil || i == last {
			continue
		}
		for _, out := range inner.outputs {
			if out == "" {
				continue
			}
			if n.graph.IsOutput(out) || slices.ContainsFunc(n.graph.Consumers(out), func(c *Node) bool { return !slices.Contains(m.nodes, c) }) {
				return nil
			}
		}
	}
	return m
}

// is compares operator and attributes.
func (l *ruleNode) is(n *Node) bool {
	if n.OpType != l.op || canonicalDomain(n.Domain) != l.domain || len(l.outputs) > len(n.outputs) {
		return false
	}
	for _, want := range l.attrs {
		have := n.Attr(want.Name)
		if have == nil || !equalAttributes(&Attribute{Name: have.Name, Type: have.Type, I: have.I, F: have.F, S: have.S, Ints: have.Ints, rare: &attrRare{floats: have.Floats()}}, want) {
			return false
		}
	}
	return true
}

// node tries line i at n; on false nothing has changed.
func (m *Match) node(i int, n *Node) bool {
	l := &m.rule.left[i]
	if m.nodes[i] != nil || !l.is(n) {
		return m.nodes[i] == n
	}
	orders := [][]int{nil}
	if len(l.inputs) == 2 && commutesFloat(l.op) {
		orders = [][]int{{0, 1}, {1, 0}}
	}
	for _, order := range orders {
		values, nodes := cloneMap(m.values), slices.Clone(m.nodes)
		m.nodes[i] = n
		ok := len(n.inputs) >= len(l.inputs) || !slices.ContainsFunc(l.inputs[len(n.inputs):], func(a ruleArg) bool { return a.kind != argNone })
		for k := len(l.inputs); ok && k < len(n.inputs); k++ {
			ok = n.inputs[k] == ""
		}
		for k, out := range l.outputs {
			ok = ok && m.bind(out, n.outputs[k])
		}
		for k := range l.inputs {
			at := k
			if order != nil {
				at = order[k]
			}
			ok = ok && m.input(l.inputs[k], n.Input(at))
		}
		if ok {
			return true
		}
		m.values, m.nodes = values, nodes
	}
	return false
}

func commutesFloat(op string) bool {
	switch op {
	case "Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum":
		return true
	}
	return false
}

func cloneMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func (m *Match) bind(name, value string) bool {
	if was, ok := m.values[name]; ok {
		return was == value
	}
	m.values[name] = value
	return true
}

func (m *Match) input(a ruleArg, value string) bool {
	switch a.kind {
	case argNone:
		return value == ""
	case argAny:
		return value != ""
	case argNumber:
		return m.graph.isNear(value, a.number)
	case argConstant:
		return m.graph.Constant(value) != nil && m.bind(a.name, value)
	}
	if value == "" || !m.bind(a.name, value) {
		return false
	}
	for i, l := range m.rule.left {
		if k := slices.Index(l.outputs, a.name); k >= 0 {
			p := m.graph.Producer(value)
			return p != nil && p.Output(k) == value && m.node(i, p)
		}
	}
	return true
}

// isNear tells whether a value is constant and every element of it is nearly x.
func (g *Graph) isNear(value string, x float64) bool {
	t := g.Constant(value)
	if t == nil || t.Elements() < 1 || t.Elements() > 1<<20 || t.IsExternal() {
		return false
	}
	v, err := numbersOf(t)
	if err != nil {
		return false
	}
	near := func(y float64) bool { return y == x || y-x <= 1e-6*max(x, -x) && x-y <= 1e-6*max(x, -x) }
	return !slices.ContainsFunc(v.floats, func(y float64) bool { return !near(y) }) &&
		!slices.ContainsFunc(v.ints, func(y int64) bool { return float64(y) != x })
}

func (r *Rule) rewrite(m *Match) {
	g, last := m.graph, m.nodes[len(m.nodes)-1]
	names := cloneMap(m.values)
	made := map[string]bool{}
	for _, out := range r.left[len(r.left)-1].outputs {
		made[out] = true
	}
	var nodes []*Node
	for _, l := range r.right {
		outputs := make([]string, len(l.outputs))
		for i, out := range l.outputs {
			if !made[out] {
				names[out] = g.UniqueName(last.Output(0) + "_" + out)
				made[out] = true
			}
			outputs[i] = names[out]
		}
		nodes = append(nodes, NewNode(l.op, l.domain, g.UniqueName(last.Name), m.arguments(l, names, last.outputs[0]), outputs, m.attributes(l)...))
	}
	last.SetOutputs() // so that no value has two producers for a moment
	for _, n := range nodes {
		g.InsertBefore(last, n)
	}
	for _, n := range slices.Backward(m.nodes) {
		if n != nil {
			g.RemoveNode(n)
		}
	}
}

func (m *Match) arguments(l ruleNode, names map[string]string, prefix string) []string {
	var inputs []string
	for _, a := range l.inputs {
		switch a.kind {
		case argNone:
			inputs = append(inputs, "")
		case argNumber, argList:
			t := tensor.Of([]int64{}, []float32{float32(a.number)})
			if a.kind == argList {
				t = tensor.Of([]int64{int64(len(a.list))}, slices.Clone(a.list))
			}
			name := m.graph.UniqueName(prefix + "_const")
			m.graph.AddInitializer(NewTensor(name, t))
			inputs = append(inputs, name)
		default:
			inputs = append(inputs, names[a.name])
		}
	}
	return inputs
}

func (m *Match) attributes(l ruleNode) []*Attribute {
	var attrs []*Attribute
	if l.spread != "" {
		for _, a := range m.Node(l.spread).attrs {
			c := *a
			attrs = append(attrs, &c)
		}
	}
	for _, a := range l.attrs {
		c := *a
		attrs = append(attrs, &c)
	}
	return attrs
}

// NewRule reads a rule. An error names the line and what is wrong with it.
func NewRule(text string) (*Rule, error) {
	r := &Rule{}
	side := &r.left
	for i, line := range strings.Split(text, "\n") {
		if at := strings.Index(line, "#"); at >= 0 {
			line = line[:at]
		}
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if line == "=>" {
			if side == &r.right {
				return nil, fmt.Errorf("line %d: there is a second \"=>\"", i+1)
			}
			side = &r.right
			continue
		}
		n, err := parseRuleNode(line)
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", i+1, line, err)
		}
		*side = append(*side, n)
	}
	return r, r.check()
}

// MustRule is NewRule for rules that are part of a program; it panics on an error.
func MustRule(text string) *Rule {
	r, err := NewRule(text)
	if err != nil {
		panic("onnx: " + err.Error())
	}
	return r
}

// check finds what would make a rule match nothing or leave holes.
func (r *Rule) check() error {
	if len(r.left) == 0 || len(r.right) == 0 {
		return fmt.Errorf("a rule is some lines, \"=>\", and some lines")
	}
	made, named := map[string]bool{}, map[string]bool{}
	for i, l := range r.left {
		if l.spread != "" {
			return fmt.Errorf("%s takes attributes over, which only the right side can", l.op)
		}
		for _, a := range l.inputs {
			named[a.name] = true
			if a.kind == argList {
				return fmt.Errorf("%s reads a list: on the left write $name and look at it in When", l.op)
			}
			if slices.ContainsFunc(r.left[i:], func(later ruleNode) bool { return a.name != "" && slices.Contains(later.outputs, a.name) }) {
				return fmt.Errorf("%s reads %s before it is made", l.op, a.name)
			}
		}
		for _, out := range l.outputs {
			if made[out] {
				return fmt.Errorf("%s is made twice", out)
			}
			made[out], named[out] = true, true
		}
	}
	for i, l := range r.left[:len(r.left)-1] {
		if !slices.ContainsFunc(r.left[i+1:], func(later ruleNode) bool {
			return slices.ContainsFunc(later.inputs, func(a ruleArg) bool { return slices.Contains(l.outputs, a.name) })
		}) {
			return fmt.Errorf("nothing reads what %s makes: the last line is where a match starts", l.op)
		}
	}
	want := r.left[len(r.left)-1].outputs
	inner := map[string]bool{}
	for _, l := range r.left {
		for _, out := range l.outputs {
			inner[out] = true
		}
	}
	now := map[string]bool{}
	for _, l := range r.right {
		for _, a := range l.inputs {
			if a.kind == argAny {
				return fmt.Errorf("%s on the right reads _, which is no value", l.op)
			}
			if a.name != "" && !now[a.name] && (!named[a.name] || inner[a.name]) {
				return fmt.Errorf("%s on the right reads %s, which is not there any more or never was", l.op, a.name)
			}
		}
		if l.spread != "" && !made[l.spread] {
			return fmt.Errorf("%s takes over the attributes of what makes %s, which nothing on the left does", l.op, l.spread)
		}
		for _, out := range l.outputs {
			if now[out] || named[out] && !slices.Contains(want, out) {
				return fmt.Errorf("%s makes %s, which is there already", l.op, out)
			}
			now[out] = true
		}
	}
	for _, out := range want {
		if !now[out] {
			return fmt.Errorf("the right side does not make %s", out)
		}
	}
	return nil
}
