package onnx

import (
	"fmt"
	"slices"
)

// SimplifyOptions says how far Simplify may go. The zero value is what most want.
type SimplifyOptions struct {
	// MaxGrowth is how many bytes folded constants may add to the model in all;
	// 0 stands for DefaultMaxGrowth, a negative number for none. What an exporter
	// wrote as an operator (a mask, a table of positions) may be far larger as numbers.
	MaxGrowth int64
	// Keep names operators (like "Dropout") whose nodes are left as they are.
	Keep []string
	// InlineFunctions puts the model's functions in the place of their calls first.
	InlineFunctions bool
	// KeepDebugInfo keeps doc strings and metadata of nodes (DropDebugInfo).
	KeepDebugInfo bool
}

// DefaultMaxGrowth is SimplifyOptions.MaxGrowth where that is 0: 64 MiB.
const DefaultMaxGrowth = 64 << 20

// SimplifyStats counts what Simplify did.
type SimplifyStats struct {
	NodesBefore, NodesAfter               int // those of subgraphs included
	InitializersBefore, InitializersAfter int // those of subgraphs included
	Folded                                int // nodes whose outputs became constants
	Shapes                                int // of those, nodes whose inputs are not constant but their shapes say enough
	Removed                               int // nodes that passed a value on
	Fused                                 int // nodes that became a part of another
	Shared                                int // nodes and constants of which there was an equal
	Rounds                                int
}

// maxRounds ends a simplification that two rewrites undo for each other. Real models
// need three or four.
const maxRounds = 16

// Simplify rewrites a model to a smaller one that computes the same: constants and
// arithmetic on shapes are worked out, also where some axes have names only; nodes
// that pass a value on, repeat another or are read by nothing go; batch
// normalization, padding and biases are folded into the layers they belong to; a
// branch whose condition is known takes the place of its If. Inputs and outputs keep
// their names and types. Initializers that are listed among the inputs, as IR version
// 3 wanted it, are not inputs afterwards.
//
// It trusts the shapes of the graph's inputs and of its weights, not what the model
// says of values in between. Equal names of axes are taken as equal sizes, except for
// placeholders like "?". Two edges: a Reshape that computed its target may be given a
// constant one with -1, which no runtime allows for a tensor without elements that has
// another axis of size 0; and float results may differ by the rounding of a folded
// weight.
//
// The model must be valid (Check). An error is a cycle, or weights that cannot be read;
// the model may have been changed in part then.
func Simplify(m *Model, opts SimplifyOptions) (SimplifyStats, error) {
	s := &simplifier{m: m, keep: map[string]bool{}, room: opts.MaxGrowth}
	switch {
	case s.room == 0:
		s.room = DefaultMaxGrowth
	case s.room < 0:
		s.room = 0
	}
	for _, op := range opts.Keep {
		s.keep[op] = true
	}
	s.stats.NodesBefore, s.stats.InitializersBefore = m.count()
	if opts.InlineFunctions {
		if _, err := InlineFunctions(m); err != nil {
			return s.stats, fmt.Errorf("simplify the model: %w", err)
		}
	}
	if !opts.KeepDebugInfo {
		m.DropDebugInfo()
	}
	if err := s.run(); err != nil {
		return s.stats, fmt.Errorf("simplify the model: %w", err)
	}
	s.stats.NodesAfter, s.stats.InitializersAfter = m.count()
	return s.stats, nil
}

// count returns how many nodes and initializers the model has, subgraphs included.
func (m *Model) count() (nodes, initializers int) {
	initializers = m.Graph.NumInitializers()
	for n := range m.Graph.AllNodes() {
		nodes++
		for _, g := range n.Subgraphs() {
			initializers += g.NumInitializers()
		}
	}
	return nodes, initializers
}

type simplifier struct {
	m      *Model
	keep   map[string]bool
	room   int64 // bytes that constants may still add
	opset  int64
	shapes *Shapes
	stats  SimplifyStats
	edits  int // of the current round
	err    error
}

func (s *simplifier) run() error {
	m := s.m
	m.RaiseIR(4)
	if m.Graph.fixedInputs() {
		m.Graph.dropInitializedInputs()
	}
	s.opset = m.Opset(DefaultDomain)
	if err := m.sortAll(); err != nil {
		return err
	}
	types := m.takeValueInfos()
	for s.stats.Rounds = 1; s.stats.Rounds <= maxRounds; s.stats.Rounds++ {
		if err := s.round(); err != nil {
			return err
		}
		if s.edits == 0 {
			break
		}
	}
	m.giveValueInfos(types)
	return nil
}

// round applies every rewrite once. Whatever it finds of shapes stays true in it: a
// value is only ever replaced by an equal one, and new values have new names.
func (s *simplifier) round() error {
	m := s.m
	s.edits = 0
	if !s.keep["Constant"] {
		s.count(ConstantsToInitializers(m))
	}
	if s.opset > 0 {
		shapes, err := (&inference{strict: true}).of(m)
		if err != nil {
			return err
		}
		shapes.forget(m.sharedNames())
		s.shapes = shapes
		s.graph(m.Graph)
		if s.err != nil {
			return s.err
		}
		if !s.keep["BatchNormalization"] {
			if n, err := FoldBatchNorm(m); err != nil {
				return err
			} else if n > 0 {
				s.stats.Fused += n
				s.edits += n
			}
		}
	}
	s.shareTensors()
	s.shareNodes(m.Graph)
	s.edits += m.Graph.Prune()
	return nil
}

func (s *simplifier) count(n int, _ error) { s.edits += n }

// graph visits the nodes of a graph, what is inside a node first.
func (s *simplifier) graph(g *Graph) {
	for n := range g.Nodes() {
		for _, sub := range n.Subgraphs() {
			s.graph(sub)
		}
		if s.err != nil {
			return
		}
		if !s.keep[n.OpType] {
			s.node(n)
		}
	}
}

// node tries the rewrites in order; the first that applies ends the visit, and the next
// round sees the rest.
func (s *simplifier) node(n *Node) {
	switch {
	case s.fold(n):
	case s.pass(n):
		s.stats.Removed++
	case s.takeBranch(n):
		s.stats.Removed++
	case s.merge(n):
		s.stats.Fused++
	default:
		return
	}
	s.edits++
}

// sortAll puts the nodes of all graphs in order.
func (m *Model) sortAll() error {
	for n := range m.Graph.AllNodes() {
		for _, g := range n.Subgraphs() {
			if err := g.TopoSort(); err != nil {
				return err
			}
		}
	}
	return m.Graph.TopoSort()
}

// takeValueInfos takes the recorded types out of the graphs: a list is slow to edit.
func (m *Model) takeValueInfos() map[*Graph][]*ValueInfo {
	out := map[*Graph][]*ValueInfo{}
	take := func(g *Graph) {
		if len(g.values) > 0 {
			out[g], g.values = g.values, nil
		}
	}
	take(m.Graph)
	for n := range m.Graph.AllNodes() {
		for _, g := range n.Subgraphs() {
			take(g)
		}
	}
	return out
}

// giveValueInfos puts back those whose values nodes still make, except for what
// inference finds without them, as every runtime does.
func (m *Model) giveValueInfos(types map[*Graph][]*ValueInfo) {
	if len(types) == 0 {
		return
	}
	shapes, err := (&inference{}).of(m)
	if err != nil {
		shapes = &Shapes{}
	}
	for g, vs := range types {
		for _, v := range vs {
			if g.Producer(v.name) != nil && !g.IsOutput(v.name) && !shapes.tells(v) {
				g.values = append(g.values, v)
			}
		}
	}
}

// tells whether what is inferred says all that v does.
func (s *Shapes) tells(v *ValueInfo) bool {
	elem, shape, ok := s.Of(v.name)
	t := v.Type
	return ok && t != nil && t.Kind == KindTensor && t.HasShape && t.Denotation() == "" && elem == t.Elem && shape != nil &&
		slices.EqualFunc(shape, t.Shape, func(a, b Dim) bool { return a.Value == b.Value && a.Param == b.Param && b.Denotation() == "" })
}

// sharedNames lists the names that more than one graph gives to a value of its own, as
// the branches of an If may.
func (m *Model) sharedNames() []string {
	owner := map[string]*Graph{}
	var shared []string
	own := func(g *Graph, name string) {
		if o := owner[name]; o != nil && o != g {
			shared = append(shared, name)
		}
		owner[name] = g
	}
	var visit func(g *Graph)
	visit = func(g *Graph) {
		for _, v := range g.inputs {
			own(g, v.name)
		}
		for t := range g.Initializers() {
			own(g, t.name)
		}
		for n := range g.Nodes() {
			for _, name := range n.outputs {
				if name != "" {
					own(g, name)
				}
			}
			for _, sub := range n.Subgraphs() {
				visit(sub)
			}
		}
	}
	visit(m.Graph)
	return shared
}

// forget makes values unknown.
func (s *Shapes) forget(names []string) {
	for _, name := range names {
		delete(s.values, name)
	}
}
