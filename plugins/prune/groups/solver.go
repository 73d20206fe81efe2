package groups

import (
	"github.com/optimize-hcl/optimize/onnx"
)

// label names the atoms of an axis, one for each index. For a value that a node makes, nil is an axis that is fixed.
// For a constant nil says that nothing has used the axis yet; fixedLabel is then the axis that must stay.
type label []int32

var fixedLabel = label{}

func (l label) free() bool { return len(l) > 0 }

// Reason says why channels cannot be removed.
type Reason struct {
	Node *onnx.Node // nil: an input or output of the model
	Text string
}

func (r Reason) String() string {
	if r.Node == nil {
		return r.Text
	}
	return r.Node.Label() + " " + r.Text
}

func quote(s string) string { return `"` + s + `"` }

// constant is a tensor of the graph whose elements can be taken out: an initializer, or a ConstantOfShape that makes one.
type constant struct {
	name   string
	tensor *onnx.Tensor // nil for a ConstantOfShape
	maker  *onnx.Node   // that ConstantOfShape
	dims   []int64
	axes   []label

	// Of a vector that several inputs read: the input that this one stands for. Each is cut for itself, so that layers
	// do not hang together because their biases are the same.
	node  *onnx.Node
	input int
}

// solver walks a graph once.
type solver struct {
	model  *onnx.Model
	graph  *onnx.Graph
	shapes *onnx.Shapes
	opset  int64
	opts   Options
	modes  map[*onnx.Node]int // which of several ways a node is cut; see choice

	parent  []int32
	why     []int32 // of a root: index into reasons, 0 for none
	reasons []Reason

	values    map[string][]label
	constants map[string]*constant
	order     []*constant

	producers    []producer
	uses         []use
	contractions []contraction
	works        []work
	edits        []edit
	choices      []choice
}

// producer is a node that makes channels out of others.
type producer struct {
	node  *onnx.Node
	label label
}

// Role says what the channels along an axis of a weight are to its node.
type Role uint8

// The roles.
const (
	Other Role = iota // goes along: a bias, a mean, a slope
	Out               // what the node makes: the filters of a Conv
	In                // what the node sums over
	Scale             // the factor of a normalization
)

// use is an axis of a constant that a node reads.
type use struct {
	node  *onnx.Node
	input int
	con   *constant
	axis  int
	role  Role
}

// contraction is an input that a node sums over.
type contraction struct {
	node  *onnx.Node
	input int
	axis  int
	label label
}

// work is what a node's multiplications are in proportion to.
type work struct {
	node   *onnx.Node
	labels []label
}

// edit is what must be written into a node when channels along a label leave.
type edit struct {
	node   *onnx.Node
	labels []label
	apply  func(c *cutter) error
}

// choice is a node that can be cut in several ways, and the atoms that this time's way gave.
type choice struct {
	node    *onnx.Node
	options int
	label   label
}

func newSolver(m *onnx.Model, shapes *onnx.Shapes, opts Options, modes map[*onnx.Node]int) *solver {
	return &solver{model: m, graph: m.Graph, shapes: shapes, opset: m.Opset(onnx.DefaultDomain), opts: opts, modes: modes,
		reasons: make([]Reason, 1), values: map[string][]label{}, constants: map[string]*constant{}}
}

// run walks the graph.
func (s *solver) run() {
	for n := range s.graph.Nodes() {
		v := &visit{solver: s, n: n}
		v.read()
		v.apply()
		if s.opts.Keep != nil {
			v.keep()
		}
	}
	for _, o := range s.graph.Outputs() {
		s.pinAll(s.axesOf(o.Name()), Reason{Text: "they are the model's output " + quote(o.Name())})
		if c := s.constantOf(o.Name()); c != nil {
			for i := range c.axes {
				c.axes[i] = fixedLabel
			}
		}
	}
	s.pinWhole()
}

func (s *solver) axesOf(value string) []label {
	if c := s.constantOf(value); c != nil {
		return c.axes
	}
	return s.values[value]
}

// constantOf returns the constant of that name, nil for any other value.
func (s *solver) constantOf(value string) *constant {
	if value == "" {
		return nil
	}
	if c, ok := s.constants[value]; ok {
		return c
	}
	var c *constant
	if t := s.graph.Initializer(value); t != nil && s.graph.Constant(value) == t {
		c = &constant{name: value, tensor: t, dims: t.Dims, axes: make([]label, len(t.Dims))}
		s.order = append(s.order, c)
	}
	s.constants[value] = c
	return c
}

// instance returns the constant that an input of a node reads.
func (v *visit) instance(name string, input int) *constant {
	c := v.constantOf(name)
	if c == nil || c.tensor == nil || v.graph.NumConsumers(name) < 2 {
		return c
	}
	long := 0
	for _, d := range c.dims {
		if d != 1 {
			long++
		}
	}
	if long > 1 {
		return c
	}
	own := &constant{name: name, tensor: c.tensor, dims: c.dims, axes: make([]label, len(c.dims)), node: v.n, input: input}
	v.order = append(v.order, own)
	return own
}

// fresh makes n atoms.
func (s *solver) fresh(n int64) label {
	if n < 2 {
		return nil
	}
	l := make(label, n)
	for i := range l {
		l[i] = int32(len(s.parent)) //nolint:gosec // far fewer than 2^31 channels
		s.parent = append(s.parent, l[i])
		s.why = append(s.why, 0)
	}
	return l
}

func (s *solver) find(a int32) int32 {
	for s.parent[a] != a {
		s.parent[a] = s.parent[s.parent[a]]
		a = s.parent[a]
	}
	return a
}

// union ties two atoms. The older one is the root, so that classes are named by their first atom.
func (s *solver) union(a, b int32) {
	a, b = s.find(a), s.find(b)
	if a == b {
		return
	}
	if b < a {
		a, b = b, a
	}
	s.parent[b] = a
	if s.why[a] == 0 {
		s.why[a] = s.why[b]
	}
}

func (s *solver) pin(l label, r Reason) {
	if !l.free() {
		return
	}
	s.reasons = append(s.reasons, r)
	id := int32(len(s.reasons) - 1) //nolint:gosec // one for a node and axis
	for _, a := range l {
		if root := s.find(a); s.why[root] == 0 {
			s.why[root] = id
		}
	}
}

func (s *solver) pinAll(axes []label, r Reason) {
	for _, l := range axes {
		s.pin(l, r)
	}
}

// pinned returns why a class must stay; ok is false where it need not.
func (s *solver) pinned(atom int32) (r Reason, ok bool) {
	id := s.why[s.find(atom)]
	return s.reasons[id], id != 0
}

// pinWhole pins classes that are all there is of an axis: with them the axis would be empty.
func (s *solver) pinWhole() {
	check := func(node *onnx.Node, name string, l label) {
		if !l.free() {
			return
		}
		root := s.find(l[0])
		for _, a := range l[1:] {
			if s.find(a) != root {
				return
			}
		}
		s.pin(l[:1], Reason{Node: node, Text: "ties all channels of " + quote(name) + " together"})
	}
	for n := range s.graph.Nodes() {
		for _, out := range n.Outputs() {
			for _, l := range s.values[out] {
				check(n, out, l)
			}
		}
	}
	for _, u := range s.uses {
		check(u.node, u.con.name, u.con.axes[u.axis])
	}
}
