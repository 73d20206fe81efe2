package onnx

import (
	"iter"
	"slices"
	"strconv"
)

// Graph is a GraphProto. Nodes keep the order in which they are written.
type Graph struct {
	Name string

	head, tail *Node
	count      int
	inits      []*Tensor // nil: removed
	initPos    map[string]int
	removed    int // nils in inits
	inputs     []*ValueInfo
	outputs    []*ValueInfo
	values     []*ValueInfo

	owner *Node // the node whose attribute this graph is; nil: not a subgraph
	idx   *graphIndex
	names map[string]int // of a root graph: every name in and below it, and which number UniqueName tries next
	rare  *graphRare
}

// NewGraph returns an empty graph.
func NewGraph(name string) *Graph { return &Graph{Name: name} }

// Owner returns the node that this graph is an attribute of, nil for a model's graph.
func (g *Graph) Owner() *Node { return g.owner }

// Nodes walks the nodes in order. The graph may be edited meanwhile: nodes removed
// ahead are not visited, nodes inserted ahead are.
func (g *Graph) Nodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for n := g.head; n != nil; {
			if !yield(n) {
				return
			}
			// A removed node still points to where it was.
			n = n.next
			for n != nil && n.removed {
				n = n.next
			}
			if n != nil && n.graph != g {
				return
			}
		}
	}
}

// AllNodes walks the nodes of the graph and of all subgraphs, each node before
// those in its subgraphs.
func (g *Graph) AllNodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) { g.walk(yield) }
}

func (g *Graph) walk(yield func(*Node) bool) bool {
	for n := range g.Nodes() {
		if !yield(n) {
			return false
		}
		for _, s := range n.Subgraphs() {
			if !s.walk(yield) {
				return false
			}
		}
	}
	return true
}

// Subgraphs returns the graphs among the node's attributes.
func (n *Node) Subgraphs() []*Graph {
	if !n.subgraphs {
		return nil
	}
	var out []*Graph
	for _, a := range n.attrs {
		out = append(out, a.Graphs()...)
	}
	return out
}

// NumNodes returns how many nodes the graph has, without those of subgraphs.
func (g *Graph) NumNodes() int { return g.count }

// First returns the first node, nil when there is none.
func (g *Graph) First() *Node { return g.head }

// NodeByName returns the first node of that name, nil when there is none. It
// searches: names of nodes are in no index.
func (g *Graph) NodeByName(name string) *Node {
	for n := range g.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// AppendNode adds a node at the end. Like the other methods that add a node, it
// moves one that is in a graph already.
func (g *Graph) AppendNode(n *Node) { g.insert(n, g.tail) }

// PrependNode adds a node at the start.
func (g *Graph) PrependNode(n *Node) { g.insert(n, nil) }

// InsertBefore adds a node before at, which must be in this graph.
func (g *Graph) InsertBefore(at, n *Node) {
	if at != n {
		g.insert(n, at.prev)
	}
}

// InsertAfter adds a node after at, which must be in this graph.
func (g *Graph) InsertAfter(at, n *Node) {
	if at != n {
		g.insert(n, at)
	}
}

// insert links n in after prev (nil: at the start).
func (g *Graph) insert(n, prev *Node) {
	if n.graph != nil {
		if prev == n {
			prev = n.prev
		}
		n.graph.RemoveNode(n)
	}
	n.graph, n.prev, n.removed = g, prev, false
	if prev == nil {
		n.next, g.head = g.head, n
	} else {
		n.next, prev.next = prev.next, n
	}
	if n.next == nil {
		g.tail = n
	} else {
		n.next.prev = n
	}
	g.count++
	g.index(n)
}

// RemoveNode takes a node out of the graph; one that is not in it is left alone.
// Values it made have no producer then: replace their uses first.
func (g *Graph) RemoveNode(n *Node) {
	if n.graph != g {
		return
	}
	g.unindex(n)
	if n.prev == nil {
		g.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		g.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.graph, n.removed = nil, true
	g.count--
}

// SetNodeInput is n.SetInput.
func (g *Graph) SetNodeInput(n *Node, i int, value string) { n.SetInput(i, value) }

// SetNodeOutput is n.SetOutput.
func (g *Graph) SetNodeOutput(n *Node, i int, value string) { n.SetOutput(i, value) }

// Initializers walks the graph's constant tensors in order, without sparse ones.
// They may be removed meanwhile.
func (g *Graph) Initializers() iter.Seq[*Tensor] {
	return func(yield func(*Tensor) bool) {
		for _, t := range g.inits {
			// Removal leaves a hole, so the walk needs no copy.
			if t != nil && !yield(t) {
				return
			}
		}
	}
}

// NumInitializers returns how many initializers the graph has, without sparse ones.
func (g *Graph) NumInitializers() int { return len(g.inits) - g.removed }

// Initializer returns the graph's own initializer of that name, nil when there is
// none. Constant also looks at Constant nodes and outer graphs.
func (g *Graph) Initializer(name string) *Tensor {
	if g.initPos == nil {
		g.initPos = make(map[string]int, len(g.inits))
		for i, t := range g.inits {
			if t != nil {
				if _, dup := g.initPos[t.name]; !dup {
					g.initPos[t.name] = i
				}
			}
		}
	}
	if i, ok := g.initPos[name]; ok {
		return g.inits[i]
	}
	return nil
}

// AddInitializer adds a tensor at the end, or in place of one of the same name.
func (g *Graph) AddInitializer(t *Tensor) {
	if g.Initializer(t.name) != nil {
		g.inits[g.initPos[t.name]] = t
		return
	}
	g.initPos[t.name] = len(g.inits)
	g.inits = append(g.inits, t)
	g.reserve(t.name)
}

// RemoveInitializer removes the initializer of that name, and the graph input of
// the same name that old models have beside it. It need not be there.
func (g *Graph) RemoveInitializer(name string) {
	if g.Initializer(name) == nil {
		return
	}
	g.inits[g.initPos[name]] = nil
	delete(g.initPos, name)
	g.removed++
	g.RemoveInput(name)
}

// Constant returns the tensor that value always is: an initializer that no caller
// can override, or the value of a Constant node, here or in an outer graph. Nil
// when value is not constant.
func (g *Graph) Constant(value string) *Tensor {
	if value == "" {
		return nil
	}
	for s := g; s != nil; s = s.outer() {
		if t := s.Initializer(value); t != nil {
			if s.IsInput(value) && !s.fixedInputs() {
				return nil
			}
			return t
		}
		if n := s.Producer(value); n != nil {
			if n.Is("Constant") {
				return constantValue(n)
			}
			return nil
		}
		if s.IsInput(value) {
			return nil
		}
	}
	return nil
}

// fixedInputs tells whether initializers that are graph inputs too are constants:
// so it is when all are, as IR versions before 4 demanded.
func (g *Graph) fixedInputs() bool {
	return !slices.ContainsFunc(g.inits, func(t *Tensor) bool { return t != nil && !g.IsInput(t.name) })
}

func (g *Graph) outer() *Graph {
	if g.owner == nil {
		return nil
	}
	return g.owner.graph
}

func (g *Graph) root() *Graph {
	for g.outer() != nil {
		g = g.outer()
	}
	return g
}

// Inputs returns the graph's inputs, in old models with the initializers among
// them. The slice must not be changed.
func (g *Graph) Inputs() []*ValueInfo { return g.inputs }

// Feeds returns the inputs that a caller must give: those without an initializer.
func (g *Graph) Feeds() []*ValueInfo {
	var out []*ValueInfo
	for _, v := range g.inputs {
		if g.Initializer(v.name) == nil {
			out = append(out, v)
		}
	}
	return out
}

// Outputs returns the graph's outputs. The slice must not be changed.
func (g *Graph) Outputs() []*ValueInfo { return g.outputs }

// ValueInfos returns the types the model itself gives for inner values. The slice
// must not be changed.
func (g *Graph) ValueInfos() []*ValueInfo { return g.values }

// AddInput adds a graph input.
func (g *Graph) AddInput(v *ValueInfo) {
	g.inputs = append(slices.Clip(g.inputs), v)
	if g.idx != nil {
		g.idx.inputs[v.name] = v
	}
	g.touchOuter()
	g.reserve(v.name)
}

// RemoveInput removes the graph input of that name; it need not be there.
func (g *Graph) RemoveInput(name string) {
	if g.IsInput(name) {
		g.inputs = withoutValue(g.inputs, name)
		delete(g.idx.inputs, name)
		g.touchOuter()
	}
}

// dropInitializedInputs removes the inputs that have an initializer, all at once.
func (g *Graph) dropInitializedInputs() int {
	kept := make([]*ValueInfo, 0, len(g.inputs))
	for _, v := range g.inputs {
		if g.Initializer(v.name) == nil {
			kept = append(kept, v)
		}
	}
	dropped := len(g.inputs) - len(kept)
	if dropped > 0 {
		g.inputs = kept
		g.touch()
	}
	return dropped
}

// AddOutput adds a graph output. Its value must be made by a node, an input or an
// initializer.
func (g *Graph) AddOutput(v *ValueInfo) {
	g.outputs = append(slices.Clip(g.outputs), v)
	if g.idx != nil {
		g.idx.outputs[v.name] = v
	}
	g.touchOuter()
	g.reserve(v.name)
}

// RemoveOutput removes the graph output of that name; it need not be there.
func (g *Graph) RemoveOutput(name string) {
	if g.IsOutput(name) {
		g.outputs = withoutValue(g.outputs, name)
		delete(g.idx.outputs, name)
		g.touchOuter()
	}
}

// SetValueInfo records the type of an inner value, in place of what was recorded
// for the same name.
func (g *Graph) SetValueInfo(v *ValueInfo) {
	i := slices.IndexFunc(g.values, func(w *ValueInfo) bool { return w.name == v.name })
	g.values = slices.Clone(g.values)
	if i < 0 {
		g.values = append(g.values, v)
		return
	}
	g.values[i] = v
}

// RemoveValueInfo drops the recorded type of an inner value.
func (g *Graph) RemoveValueInfo(name string) { g.values = withoutValue(g.values, name) }

// withoutValue returns vs itself when name is not in it.
func withoutValue(vs []*ValueInfo, name string) []*ValueInfo {
	if findValue(vs, name) == nil {
		return vs
	}
	return slices.DeleteFunc(slices.Clone(vs), func(v *ValueInfo) bool { return v.name == name })
}

func findValue(vs []*ValueInfo, name string) *ValueInfo {
	for _, v := range vs {
		if v.name == name {
			return v
		}
	}
	return nil
}

// UniqueName returns a name that no value and no node has, in this graph, the
// graphs around it and those inside: prefix itself if it is free, else prefix_1,
// prefix_2 and so on. The name is reserved, so a second call gives another one.
func (g *Graph) UniqueName(prefix string) string {
	root := g.root()
	if root.names == nil {
		root.names = make(map[string]int, 4*root.count)
		root.collectNames(root.names)
	}
	next, used := root.names[prefix]
	if !used && prefix != "" {
		root.names[prefix] = 1
		return prefix
	}
	for i := max(next, 1); ; i++ {
		name := prefix + "_" + strconv.Itoa(i)
		if _, used := root.names[name]; !used {
			root.names[name], root.names[prefix] = 1, i+1
			return name
		}
	}
}

func (g *Graph) collectNames(into map[string]int) {
	for _, vs := range [][]*ValueInfo{g.inputs, g.outputs, g.values} {
		for _, v := range vs {
			into[v.name] = 1
		}
	}
	for t := range g.Initializers() {
		into[t.name] = 1
	}
	for _, s := range g.sparseNames() {
		into[s] = 1
	}
	for n := range g.Nodes() {
		into[n.Name] = 1
		for _, s := range n.inputs {
			into[s] = 1
		}
		for _, s := range n.outputs {
			into[s] = 1
		}
		for _, s := range n.Subgraphs() {
			s.collectNames(into)
		}
	}
}

// reserve keeps the set of used names true after an edit.
func (g *Graph) reserve(names ...string) {
	root := g.root()
	if root.names == nil {
		return
	}
	for _, s := range names {
		if _, used := root.names[s]; !used {
			root.names[s] = 1
		}
	}
}
