package onnx

import (
	"fmt"
	"slices"
)

// function is a FunctionProto: an operator that a model defines by nodes of others.
type function struct {
	name, domain, overload string
	inputs, outputs        []string
	attributes             []string     // that a call may give
	defaults               []*Attribute // of those it need not
	nodes                  [][]byte     // read anew for each call
	opsets                 []Opset
}

// functionKey is what a node calls a function by.
type functionKey struct{ domain, name, overload string }

func parseFunction(b []byte) (*function, error) {
	r := reader{b: b, session: newSession(len(b))}
	f := &function{}
	for r.next() {
		var err error
		switch r.key {
		case 1<<3 | wireBytes:
			f.name = r.str()
		case 4<<3 | wireBytes:
			f.inputs = append(f.inputs, r.str())
		case 5<<3 | wireBytes:
			f.outputs = append(f.outputs, r.str())
		case 6<<3 | wireBytes:
			f.attributes = append(f.attributes, r.str())
		case 7<<3 | wireBytes:
			f.nodes = append(f.nodes, r.data)
		case 9<<3 | wireBytes:
			f.opsets, err = r.opset(f.opsets)
		case 10<<3 | wireBytes:
			f.domain = r.str()
		case 11<<3 | wireBytes:
			a := new(Attribute)
			err = r.attribute(a)
			f.defaults = append(f.defaults, a)
		case 13<<3 | wireBytes:
			f.overload = r.str()
		}
		if err != nil {
			return nil, err
		}
	}
	return f, r.err
}

const (
	// Functions may call functions, but not themselves: a deeper nest is a cycle.
	maxCalls = 64
	// Nested calls multiply. Models have a few thousand nodes.
	maxInlined = 1 << 20
)

// InlineFunctions puts the nodes of the model's functions in the place of the calls,
// in subgraphs and in other functions too, and drops the functions. It returns how
// many calls went. A function that wants another version of an operator set than the
// model imports, or that calls itself, is an error, and the model is unchanged then.
func InlineFunctions(m *Model) (int, error) {
	if len(m.Functions) == 0 {
		return 0, nil
	}
	x := &inliner{m: m, functions: map[functionKey]*function{}, left: maxInlined}
	for i, b := range m.Functions {
		f, err := parseFunction(b)
		if err != nil {
			return 0, fmt.Errorf("inline functions: %w", within(err, "functions", i))
		}
		for _, o := range f.opsets {
			if v := m.Opset(o.Domain); v != 0 && v != o.Version {
				return 0, fmt.Errorf("inline functions: %s of %q is written for version %d of the operators of %q, and the model imports version %d", f.name, f.domain, o.Version, o.Domain, v)
			}
		}
		x.functions[functionKey{canonicalDomain(f.domain), f.name, f.overload}] = f
	}
	if err := x.measure(); err != nil {
		return 0, fmt.Errorf("inline functions: %w", err)
	}
	var calls []*Node
	for n := range m.Graph.AllNodes() {
		if x.called(n) != nil {
			calls = append(calls, n)
		}
	}
	for _, n := range calls {
		if err := x.inline(n); err != nil {
			return x.count, fmt.Errorf("inline functions: %w", err)
		}
	}
	for _, f := range x.functions {
		for _, o := range f.opsets {
			if m.Opset(o.Domain) == 0 {
				m.SetOpset(o.Domain, o.Version)
			}
		}
	}
	m.Functions = nil
	m.dropUnusedOpsets(x.functions)
	return x.count, nil
}

// dropUnusedOpsets removes the imports of the functions' own domains where no node is
// left in them.
func (m *Model) dropUnusedOpsets(of map[functionKey]*function) {
	used := map[string]bool{"": true}
	for n := range m.Graph.AllNodes() {
		used[canonicalDomain(n.Domain)] = true
	}
	own := map[string]bool{}
	for k := range of {
		own[k.domain] = true
	}
	m.Opsets = slices.DeleteFunc(slices.Clone(m.Opsets), func(o Opset) bool {
		d := canonicalDomain(o.Domain)
		return own[d] && !used[d]
	})
}

type inliner struct {
	m         *Model
	functions map[functionKey]*function
	count     int
	left      int // nodes that may still be made
}

func (x *inliner) called(n *Node) *function {
	return x.functions[functionKey{canonicalDomain(n.Domain), n.OpType, n.Overload()}]
}

// measure finds cycles and calls that would become too many nodes, before anything is
// changed.
func (x *inliner) measure() error {
	sizes := map[*function]int{}
	var size func(f *function, depth int) (int, error)
	count := func(nodes func(func(*Node) bool), depth int) (int, error) {
		total := 0
		for n := range nodes {
			total++
			if f := x.called(n); f != nil {
				if len(n.outputs) > len(f.outputs) || len(n.inputs) > len(f.inputs) {
					return 0, fmt.Errorf("%s has %d inputs and %d outputs, and the function %d and %d", n.Label(), len(n.inputs), len(n.outputs), len(f.inputs), len(f.outputs))
				}
				k, err := size(f, depth+1)
				if err != nil {
					return 0, err
				}
				total += k
			}
			if total > maxInlined {
				return 0, fmt.Errorf("their calls are more than %d nodes", maxInlined)
			}
		}
		return total, nil
	}
	size = func(f *function, depth int) (int, error) {
		if depth > maxCalls {
			return 0, fmt.Errorf("the function %q of %q calls itself, or calls are nested more than %d deep", f.name, f.domain, maxCalls)
		}
		if n, ok := sizes[f]; ok {
			return n, nil
		}
		nodes, err := f.body()
		if err != nil {
			return 0, err
		}
		g := NewGraph("")
		for _, n := range nodes {
			g.AppendNode(n)
		}
		if err := f.complete(nodes); err != nil {
			return 0, err
		}
		total, err := count(g.AllNodes(), depth)
		if err != nil {
			return 0, err
		}
		sizes[f] = total
		return total, nil
	}
	_, err := count(x.m.Graph.AllNodes(), 0)
	return err
}

// complete finds values of the function that nothing makes.
func (f *function) complete(nodes []*Node) error {
	made := map[string]bool{"": true}
	for _, name := range f.inputs {
		made[name] = true
	}
	for _, n := range nodes {
		for _, s := range n.reads() {
			if !made[s] {
				return fmt.Errorf("in the function %q of %q, %s reads %q, which nothing before it makes", f.name, f.domain, n.Label(), s)
			}
		}
		for _, s := range n.outputs {
			made[s] = true
		}
	}
	for _, s := range f.outputs {
		if !made[s] || s == "" {
			return fmt.Errorf("the function %q of %q does not make its output %q", f.name, f.domain, s)
		}
	}
	return nil
}

// body reads the nodes of the function.
func (f *function) body() ([]*Node, error) {
	var out []*Node
	size := 0
	for _, b := range f.nodes {
		size += len(b)
	}
	s := newSession(size)
	for i, b := range f.nodes {
		n := new(Node)
		r := reader{b: b, data: b, pos: len(b), session: s}
		if err := r.node(n); err != nil {
			return nil, within(err, fmt.Sprintf("function %q.node", f.name), i)
		}
		out = append(out, n)
	}
	return out, nil
}

// inline replaces one call, and the calls in what it became.
func (x *inliner) inline(call *Node) error {
	f, g := x.called(call), call.graph
	nodes, err := f.body()
	if err != nil {
		return err
	}
	c := &callSite{f: f, call: call, graph: g, names: map[string]string{}}
	for i, name := range f.inputs {
		c.names[name] = call.Input(i)
	}
	made := map[string]bool{}
	for _, n := range nodes {
		for _, out := range n.outputs {
			made[out] = true
		}
	}
	for i, name := range f.outputs {
		out := call.Output(i)
		switch {
		case out == "":
		case made[name] && !slices.Contains(f.outputs[:i], name):
			c.names[name] = out
		default:
			// An input handed on, or one value under two names.
			nodes = append(nodes, NewNode("Identity", "", "", []string{name}, []string{"\x00" + out}))
			c.names["\x00"+out] = out
		}
	}
	next := call.next
	g.RemoveNode(call)
	x.count++
	for _, n := range nodes {
		c.adapt(n)
		if next != nil {
			g.InsertBefore(next, n)
		} else {
			g.AppendNode(n)
		}
	}
	var inner []*Node
	for _, n := range nodes {
		if x.called(n) != nil {
			inner = append(inner, n)
		}
		for _, s := range n.Subgraphs() {
			for d := range s.AllNodes() {
				if x.called(d) != nil {
					inner = append(inner, d)
				}
			}
		}
	}
	for _, n := range inner {
		if err := x.inline(n); err != nil {
			return err
		}
	}
	return nil
}

// callSite is where a function's nodes go: names and attributes of the function become
// those of the call.
type callSite struct {
	f     *function
	call  *Node
	graph *Graph
	names map[string]string
}

func (c *callSite) name(s string) string {
	if s == "" {
		return ""
	}
	to, ok := c.names[s]
	if !ok {
		prefix := s
		if c.call.Name != "" {
			prefix = c.call.Name + "/" + s
		}
		to = c.graph.UniqueName(prefix)
		c.names[s] = to
	}
	return to
}

// adapt rewrites a node that was just read and is in no graph.
func (c *callSite) adapt(n *Node) {
	n.raw = ""
	n.inputs, n.outputs = slices.Clone(n.inputs), slices.Clone(n.outputs)
	for i, s := range n.inputs {
		n.inputs[i] = c.name(s)
	}
	for i, s := range n.outputs {
		n.outputs[i] = c.name(s)
	}
	if c.call.Name != "" {
		n.Name = c.graph.UniqueName(c.call.Name + "/" + n.Name)
	}
	var attrs []*Attribute
	for _, a := range n.attrs {
		a.raw = ""
		if a.RefName() != "" {
			given := c.attribute(a.RefName())
			if given == nil {
				continue // neither given nor with a default: the operator's own applies
			}
			b := *given
			b.Name, b.raw = a.Name, ""
			attrs = append(attrs, &b)
			continue
		}
		for _, g := range a.Graphs() {
			c.adaptGraph(g)
		}
		attrs = append(attrs, a)
	}
	n.attrs = attrs
	n.adopt()
}

func (c *callSite) attribute(name string) *Attribute {
	if a := c.call.Attr(name); a != nil {
		return a
	}
	for _, a := range c.f.defaults {
		if a.Name == name {
			return a
		}
	}
	return nil
}

func (c *callSite) adaptGraph(g *Graph) {
	for _, vs := range [][]*ValueInfo{g.inputs, g.outputs, g.values} {
		for _, v := range vs {
			v.name, v.raw = c.name(v.name), ""
		}
	}
	for _, t := range g.inits {
		t.name, t.raw = c.name(t.name), ""
	}
	g.initPos, g.idx, g.names = nil, nil, nil
	for n := range g.Nodes() {
		c.adapt(n)
	}
	g.idx = nil
}
