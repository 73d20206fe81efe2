package groups

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
)

// Options say what is looked for.
type Options struct {
	// Keep says why the channels that a node makes must stay, "" where they may go. Nil keeps nothing.
	Keep func(*onnx.Node) string
}

// Analysis is what was found about a model, and the way to cut it. It is good for one Cut or Mask, which change the
// model that it was made of.
type Analysis struct {
	Model  *onnx.Model
	Groups []*Group
	// Left are the nodes whose channels, or some of them, must stay.
	Left []Left

	s     *solver
	units []*Unit
	costs costs
}

// Group is a set of units that look the same to the graph: the channels of a layer with what reads them, or the heads of
// an attention.
type Group struct {
	// Name is that of the first node that makes the channels, with a number where it makes several groups.
	Name string
	// Nodes are all nodes that make channels of the group.
	Nodes []*onnx.Node
	Units []*Unit
	// Channels is how many channels of the narrowest axis one unit takes.
	Channels int
	// Uses are the axes of constants that the units lie in.
	Uses []Use
	// Sums are the inputs that nodes sum over, which the units lie in.
	Sums []Sum
}

// Unit is what can only leave as a whole.
type Unit struct {
	Group *Group
	// Index of the unit in its group.
	Index int
	id    int
}

// Use is an axis of a constant in which a group's units lie.
type Use struct {
	Node  *onnx.Node
	Input int
	// Constant is the initializer, nil for one that a ConstantOfShape makes.
	Constant *onnx.Tensor
	Axis     int
	Role     Role
	// At are the indexes along the axis of each unit of the group.
	At [][]int
}

// Sum is an input that a node sums over along an axis.
type Sum struct {
	Node  *onnx.Node
	Input int
	Axis  int
	At    [][]int
}

// Left is a node that makes channels which must stay.
type Left struct {
	Node *onnx.Node
	// Channels it makes, and how many of them must stay.
	Channels, Stay int
	Reason         Reason
}

func (l Left) String() string {
	return fmt.Sprintf("%s: %d of %d channels stay: %s", l.Node.Label(), l.Stay, l.Channels, l.Reason)
}

// ErrQuantized is wrapped by the error of a model with integers in it.
var ErrQuantized = errors.New("the model is quantized: prune the float model that it was made from, then quantize")

// Prepare brings a model into the form that Analyze works on: constants and arithmetic on shapes are worked out;
// BatchNormalization stays. What the model computes stays the same, but for the rounding of folded weights.
func Prepare(m *onnx.Model) error {
	for n := range m.Graph.AllNodes() {
		if strings.HasPrefix(n.OpType, "QLinear") || strings.HasSuffix(n.OpType, "QuantizeLinear") || strings.HasPrefix(n.OpType, "Dequantize") ||
			strings.HasPrefix(n.OpType, "DynamicQuantize") || strings.Contains(n.OpType, "Integer") || strings.Contains(n.OpType, "NBits") || strings.HasPrefix(n.OpType, "QAttention") {
			return fmt.Errorf("%s: %w", n.Label(), ErrQuantized)
		}
	}
	_, err := onnx.Simplify(m, onnx.SimplifyOptions{Keep: []string{"BatchNormalization"}, InlineFunctions: true, KeepDebugInfo: true})
	return err
}

// maxRounds bounds how often another way of cutting reshapes and groups is looked for.
const maxRounds = 4

// Analyze finds the groups of a model that Prepare has seen.
func Analyze(m *onnx.Model, opts Options) (*Analysis, error) {
	shapes, err := onnx.InferOwnShapes(m)
	if err != nil {
		return nil, err
	}
	m.Graph.BuildIndex()
	solve := func(modes map[*onnx.Node]int) *solver {
		s := newSolver(m, shapes, opts, modes)
		s.run()
		return s
	}
	best := solve(nil)
	for range maxRounds {
		// Where what was tied to be cut together cannot be cut, the nodes that it passes are cut the other way: the
		// reshapes, the layers with groups, or both.
		before := best
		for _, which := range []func(*onnx.Node) bool{isReshape, func(n *onnx.Node) bool { return !isReshape(n) }, func(*onnx.Node) bool { return true }} {
			if modes := before.otherwise(which); modes != nil {
				if s := solve(modes); s.better(best) {
					best = s
				}
			}
		}
		if best == before {
			break
		}
	}
	a := &Analysis{Model: m, s: best}
	a.collect()
	a.left()
	return a, a.count()
}

func isReshape(n *onnx.Node) bool { return n.Is("Reshape") || n.Is("Flatten") }

// otherwise is another way for those nodes whose way led to nothing; nil where there is none.
func (s *solver) otherwise(which func(*onnx.Node) bool) map[*onnx.Node]int {
	modes := copyModes(s.modes)
	changed := false
	for _, c := range s.choices {
		if which(c.node) && slices.ContainsFunc(c.label, func(a int32) bool { return s.why[s.find(a)] != 0 }) {
			modes[c.node] = (s.modes[c.node] + 1) % c.options
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return modes
}

func copyModes(m map[*onnx.Node]int) map[*onnx.Node]int {
	out := make(map[*onnx.Node]int, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// better tells whether s can cut more than t, or as much in finer units.
func (s *solver) better(t *solver) bool {
	a, x := s.score()
	b, y := t.score()
	return a > b || a == b && x > y
}

func (s *solver) score() (elements int64, classes int) {
	seen := map[int32]bool{}
	for _, u := range s.uses {
		if u.role != Out || u.con.tensor == nil {
			continue
		}
		l := u.con.axes[u.axis]
		per := max(u.con.tensor.Elements(), 0) / int64(len(l))
		for _, a := range l {
			if root := s.find(a); s.why[root] == 0 {
				elements += per
				seen[root] = true
			}
		}
	}
	return elements, len(seen)
}

// collect makes units of the classes that may leave, and groups of those that lie in the same axes.
func (a *Analysis) collect() {
	s := a.s
	for i := range s.parent {
		s.parent[i] = s.find(int32(i)) //nolint:gosec // an atom's number
	}
	made := make([]bool, len(s.parent))
	for _, p := range s.producers {
		for _, x := range p.label {
			made[s.parent[x]] = made[s.parent[x]] || s.why[s.parent[x]] == 0
		}
	}
	sign := s.signatures(made)
	units := make([]*Unit, len(s.parent))
	groups := map[uint64]*Group{}
	for _, p := range s.producers {
		for _, x := range p.label {
			root := s.parent[x]
			if !made[root] {
				continue
			}
			k := sign[root]
			g := groups[k]
			if g == nil {
				g = &Group{Name: nameOf(p.node)}
				groups[k] = g
				a.Groups = append(a.Groups, g)
			}
			if !slices.Contains(g.Nodes, p.node) {
				g.Nodes = append(g.Nodes, p.node)
			}
			if units[root] == nil {
				u := &Unit{Group: g, Index: len(g.Units), id: len(a.units)}
				units[root] = u
				g.Units = append(g.Units, u)
				a.units = append(a.units, u)
			}
		}
	}
	a.Groups = slices.DeleteFunc(a.Groups, func(g *Group) bool { return len(g.Units) < 2 })
	a.renumber(units)
	a.place(units)
}

// nameOf is the name of a node, that of what it makes where it has none.
func nameOf(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// renumber drops units of groups that are too small, and gives groups of one name numbers.
func (a *Analysis) renumber(units []*Unit) {
	a.units = nil
	names := map[string]int{}
	for _, g := range a.Groups {
		names[g.Name]++
		if n := names[g.Name]; n > 1 {
			g.Name = fmt.Sprintf("%s#%d", g.Name, n)
		}
		for _, u := range g.Units {
			u.id = len(a.units)
			a.units = append(a.units, u)
		}
	}
	for i, u := range units {
		if u != nil && len(u.Group.Units) < 2 {
			units[i] = nil
		}
	}
	a.costs.unitOf = units
}

// signatures gives each class a number that says in which axes it lies, and how often.
func (s *solver) signatures(made []bool) []uint64 {
	sign := make([]uint64, len(s.parent))
	times := make([]uint64, len(s.parent))
	id := uint64(0)
	seen := map[*int32]int{}
	add := func(l label) {
		if !l.free() || seen[&l[0]] == len(l) {
			return // carried along as it is
		}
		seen[&l[0]] = len(l)
		id++
		for _, x := range l {
			times[s.parent[x]]++
		}
		for _, x := range l {
			if r := s.parent[x]; times[r] > 0 && made[r] {
				sign[r] = mix(sign[r] ^ mix(id<<20^times[r]))
				times[r] = 0
			} else {
				times[r] = 0
			}
		}
	}
	for n := range s.graph.Nodes() {
		for _, out := range n.Outputs() {
			for _, l := range s.values[out] {
				add(l)
			}
		}
	}
	for _, c := range s.order {
		for _, l := range c.axes {
			add(l)
		}
	}
	return sign
}

// mix is a good hash of one word (SplitMix64's finalizer).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// place finds where in constants and sums the units of each group lie.
func (a *Analysis) place(units []*Unit) {
	s := a.s
	at := func(l label) map[*Group][][]int {
		var out map[*Group][][]int
		for i, x := range l {
			u := units[s.parent[x]]
			if u == nil {
				continue
			}
			if out == nil {
				out = map[*Group][][]int{}
			}
			if out[u.Group] == nil {
				out[u.Group] = make([][]int, len(u.Group.Units))
			}
			out[u.Group][u.Index] = append(out[u.Group][u.Index], i)
		}
		return out
	}
	for _, u := range s.uses {
		for g, where := range at(u.con.axes[u.axis]) {
			g.Uses = append(g.Uses, Use{u.node, u.input, u.con.tensor, u.axis, u.role, where})
			if u.role == Out {
				if n := len(where[0]); g.Channels == 0 || n < g.Channels {
					g.Channels = n
				}
			}
		}
	}
	for _, c := range s.contractions {
		for g, where := range at(c.label) {
			g.Sums = append(g.Sums, Sum{c.node, c.input, c.axis, where})
		}
	}
	for _, g := range a.Groups {
		g.Channels = max(g.Channels, 1)
	}
}

// left lists the nodes with channels that must stay.
func (a *Analysis) left() {
	for _, p := range a.s.producers {
		l := Left{Node: p.node, Channels: len(p.label)}
		for _, x := range p.label {
			if a.costs.unitOf[a.s.parent[x]] != nil {
				continue
			}
			if r, ok := a.s.pinned(x); l.Stay == 0 {
				l.Reason = r
				if !ok {
					l.Reason = Reason{Node: p.node, Text: "makes this one channel of its kind"}
				}
			}
			l.Stay++
		}
		if l.Stay > 0 {
			a.Left = append(a.Left, l)
		}
	}
}
