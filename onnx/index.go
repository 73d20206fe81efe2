package onnx

import "slices"

// graphIndex answers who makes and who reads a value. It is made when first asked
// for and kept true by every edit; edits it cannot follow cheaply drop it.
type graphIndex struct {
	producers map[string]*Node
	consumers map[string]*readers
	inputs    map[string]*ValueInfo
	outputs   map[string]*ValueInfo
	ambiguous bool // a value has two producers (Check refuses that)
}

// BuildIndex makes the indexes of the graph and its subgraphs now, so that queries
// alone may then come from several goroutines.
func (g *Graph) BuildIndex() {
	g.indexed()
	g.Initializer("")
	for _, c := range g.idx.consumers {
		c.list()
	}
	for n := range g.Nodes() {
		for _, s := range n.Subgraphs() {
			s.BuildIndex()
		}
	}
}

func (g *Graph) indexed() *graphIndex {
	if g.idx != nil {
		return g.idx
	}
	g.idx = &graphIndex{
		producers: make(map[string]*Node, g.count),
		consumers: make(map[string]*readers, g.count),
		inputs:    make(map[string]*ValueInfo, len(g.inputs)),
		outputs:   make(map[string]*ValueInfo, len(g.outputs)),
	}
	for _, v := range g.inputs {
		g.idx.inputs[v.name] = v
	}
	for _, v := range g.outputs {
		g.idx.outputs[v.name] = v
	}
	for n := range g.Nodes() {
		g.idx.add(n)
	}
	return g.idx
}

func (x *graphIndex) add(n *Node) {
	for _, s := range n.outputs {
		if s == "" {
			continue
		}
		if p := x.producers[s]; p == nil {
			x.producers[s] = n
		} else if p != n {
			x.ambiguous = true
		}
	}
	for _, s := range n.reads() {
		if s == "" {
			continue
		}
		c := x.consumers[s]
		if c == nil {
			c = &readers{}
			x.consumers[s] = c
		}
		c.add(n)
	}
}

// reads returns the values that a node depends on, some perhaps twice: its inputs
// and what its subgraphs take from around them.
func (n *Node) reads() []string {
	if !n.subgraphs {
		return n.inputs
	}
	out := slices.Clone(n.inputs)
	for _, g := range n.Subgraphs() {
		out = append(out, g.captures()...)
	}
	return out
}

// captures returns the names that the graph uses and does not define.
func (g *Graph) captures() []string {
	defined := make(map[string]struct{}, g.count)
	for _, v := range g.inputs {
		defined[v.name] = struct{}{}
	}
	for t := range g.Initializers() {
		defined[t.name] = struct{}{}
	}
	for _, s := range g.sparseNames() {
		defined[s] = struct{}{}
	}
	for n := range g.Nodes() {
		for _, s := range n.outputs {
			defined[s] = struct{}{}
		}
	}
	var out []string
	use := func(s string) {
		if _, ok := defined[s]; !ok && s != "" {
			defined[s] = struct{}{} // report it once
			out = append(out, s)
		}
	}
	for n := range g.Nodes() {
		for _, s := range n.reads() {
			use(s)
		}
	}
	for _, v := range g.outputs {
		use(v.name)
	}
	return out
}

// index enters a node into the graph's indexes, unindex takes it out.
func (g *Graph) index(n *Node) {
	if g.idx != nil {
		g.idx.add(n)
	}
	if n.subgraphs {
		g.root().names = nil // the subgraphs' names are not in it yet
	} else {
		g.reserve(n.Name)
		g.reserve(n.inputs...)
		g.reserve(n.outputs...)
	}
	g.touchOuter()
}

func (g *Graph) unindex(n *Node) {
	if x := g.idx; x != nil {
		if x.ambiguous {
			g.idx = nil
		} else {
			for _, s := range n.outputs {
				delete(x.producers, s)
			}
			for _, s := range n.reads() {
				if c := x.consumers[s]; c != nil {
					c.remove(n)
				}
			}
		}
	}
	g.touchOuter()
}

// touch drops the indexes after an edit of the graph's inputs or outputs.
func (g *Graph) touch() {
	g.idx = nil
	g.touchOuter()
}

// touchOuter drops the indexes of the graphs around: what a node with subgraphs
// reads depends on what is in them.
func (g *Graph) touchOuter() {
	for o := g.outer(); o != nil; o = o.outer() {
		o.idx = nil
	}
}

// Producer returns the node of this graph that makes a value, nil when none does:
// then it is an input, an initializer, or comes from an outer graph.
func (g *Graph) Producer(value string) *Node {
	if value == "" {
		return nil
	}
	return g.indexed().producers[value]
}

// Consumers returns the nodes of this graph that read a value, each once, also
// when one of their subgraphs does. The slice must not be changed; later edits of
// the graph do not change it either.
func (g *Graph) Consumers(value string) []*Node {
	if c := g.indexed().consumers[value]; c != nil {
		return c.list()
	}
	return nil
}

// NumConsumers returns how many nodes of this graph read a value. Unlike Consumers it
// takes the same time however many there are.
func (g *Graph) NumConsumers(value string) int {
	if c := g.indexed().consumers[value]; c != nil {
		return c.count
	}
	return 0
}

// IsOutput tells whether a value is an output of the graph.
func (g *Graph) IsOutput(value string) bool { return g.indexed().outputs[value] != nil }

// IsInput tells whether a value is an input of the graph.
func (g *Graph) IsInput(value string) bool { return g.indexed().inputs[value] != nil }

// ReplaceAllUses makes every node that reads old read new, in subgraphs too. It
// leaves the graph's outputs alone, since callers know them by name: Bypass and
// RenameValue deal with those. It returns how many inputs changed.
func (g *Graph) ReplaceAllUses(old, new string) int {
	count := 0
	if old == new || old == "" {
		return 0
	}
	for _, n := range g.Consumers(old) {
		n.change(func() { count += n.replaceReads(old, new) })
	}
	return count
}

func (n *Node) replaceReads(old, new string) int {
	count := 0
	if slices.Contains(n.inputs, old) {
		n.inputs = slices.Clone(n.inputs)
		for i, s := range n.inputs {
			if s == old {
				n.inputs[i] = new
				count++
			}
		}
	}
	for _, s := range n.Subgraphs() {
		count += s.replaceCaptured(old, new)
	}
	return count
}

// replaceCaptured renames a value taken from an outer graph, unless this graph has
// its own of that name.
func (g *Graph) replaceCaptured(old, new string) int {
	if g.IsInput(old) || g.Initializer(old) != nil || g.Producer(old) != nil || slices.Contains(g.sparseNames(), old) {
		return 0
	}
	count := g.ReplaceAllUses(old, new)
	for i, v := range g.outputs {
		if v.name == old {
			// An output of a subgraph is known by its place, not by its name.
			w := *v
			w.name, w.raw = new, ""
			g.outputs = slices.Clone(g.outputs)
			g.outputs[i] = &w
			g.touch()
			count++
		}
	}
	return count
}

// RenameValue gives a value made by a node of this graph another name, and lets
// everything that read it read that. It reports false, and changes nothing, when
// no node makes the value, it is a graph output, or the new name is taken.
func (g *Graph) RenameValue(old, new string) bool {
	p := g.Producer(old)
	if p == nil || g.IsOutput(old) || new == "" || g.defines(new) {
		return false
	}
	g.renameValue(p, old, new)
	return true
}

func (g *Graph) renameValue(p *Node, old, new string) {
	p.SetOutput(slices.Index(p.outputs, old), new)
	g.ReplaceAllUses(old, new)
	if v := findValue(g.values, old); v != nil {
		g.RemoveValueInfo(old)
		if !g.IsOutput(new) && findValue(g.values, new) == nil {
			w := *v
			w.name, w.raw = new, ""
			g.SetValueInfo(&w)
		}
	}
}

func (g *Graph) defines(value string) bool {
	return g.IsInput(value) || g.Initializer(value) != nil || g.Producer(value) != nil || slices.Contains(g.sparseNames(), value)
}

// Bypass removes a node whose first output equals value, and lets everything that
// read the output read value. If the output is one of the graph, value takes its
// name; where it cannot (it is an input, an initializer, an output itself, or
// comes from an outer graph), nothing changes and Bypass reports false. So it does
// when another output of the node is in use.
func (g *Graph) Bypass(n *Node, value string) bool {
	out := n.Output(0)
	if n.graph != g || out == "" || value == "" || out == value {
		return false
	}
	for _, s := range n.outputs[1:] {
		if s != "" && (g.IsOutput(s) || len(g.Consumers(s)) > 0) {
			return false
		}
	}
	if !g.IsOutput(out) {
		g.RemoveNode(n)
		g.ReplaceAllUses(out, value)
		g.RemoveValueInfo(out)
		return true
	}
	p := g.Producer(value)
	if p == nil || p == n || g.IsOutput(value) {
		return false
	}
	g.RemoveNode(n)
	g.renameValue(p, value, out)
	return true
}
