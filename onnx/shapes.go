package onnx

import (
	"fmt"
	"slices"
	"strconv"
)

// Shapes are the element types and axes of a model's values, as far as they are
// known without running it.
type Shapes struct {
	values map[string]*valueType
}

// valueType is what is known of one value.
type valueType struct {
	elem   DataType
	ranked bool
	dims   []Dim
	// data holds the elements of a small integer tensor of rank 0 or 1, each a
	// number, the name of an axis, or not known: it is how the arithmetic that
	// exporters do on shapes becomes the shape of a Reshape.
	data []Dim
	// item is set for a sequence or an optional value: what is known of what is in it.
	item *valueType
}

// unknownType is shared and never written.
var unknownType = &valueType{}

// maxData bounds how long a tensor may be to count as arithmetic on shapes.
const maxData = 1024

// Of returns what is known of a value, also of one in a subgraph. Without ok
// nothing is. A nil shape says that the rank is not known, an empty one is that of
// a scalar; an axis of size -1 is not known. The shape must not be changed.
func (s *Shapes) Of(value string) (elem DataType, shape []Dim, ok bool) {
	v := s.values[value]
	if v == nil || v.elem == Undefined && !v.ranked {
		return Undefined, nil, false
	}
	if !v.ranked {
		return v.elem, nil, true
	}
	if v.dims == nil {
		return v.elem, []Dim{}, true
	}
	return v.elem, v.dims, true
}

// InferShapes finds the types of all values of a model, from its inputs and
// initializers through its nodes. What the model says of its own values is used
// where the nodes leave something open. Operators it does not know give values it
// knows nothing of. An error is a cycle.
func InferShapes(m *Model) (*Shapes, error) {
	return (&inference{}).of(m)
}

func (x *inference) of(m *Model) (*Shapes, error) {
	x.opset = m.Opset(DefaultDomain)
	x.values = make(map[string]*valueType, 2*m.Graph.count)
	x.declared = map[string]*valueType{}
	if err := x.graph(m.Graph, nil); err != nil {
		return nil, err
	}
	return &Shapes{values: x.values}, nil
}

// WriteTo records the inferred types as value_info of the model's graph, for values
// that nodes make and that are not outputs; what was recorded before is replaced.
// It returns how many are recorded.
func (s *Shapes) WriteTo(g *Graph) int {
	var infos []*ValueInfo
	for n := range g.Nodes() {
		for _, out := range n.outputs {
			elem, shape, ok := s.Of(out)
			if out == "" || !ok || elem == Undefined || g.IsOutput(out) {
				continue
			}
			infos = append(infos, NewValueInfo(out, elem, slices.Clone(shape)))
		}
	}
	g.values = infos
	return len(infos)
}

type inference struct {
	opset    int64
	values   map[string]*valueType
	declared map[string]*valueType
	// strict is for rewriting: sizes that the model merely declares of inner values are
	// not believed, and each axis whose size is not known gets a name of its own, by
	// which it is known again where it turns up in another value.
	strict  bool
	symbols int
	// assume gives the size of an axis of an input that leaves it open; nil: it stays so.
	assume func(axis int) int64
}

// graph infers a graph whose inputs are, beyond what it says itself, of the given
// types.
func (x *inference) graph(g *Graph, inputs []*valueType) error {
	order, err := g.topoOrder()
	if err != nil {
		return fmt.Errorf("infer shapes: %w", err)
	}
	for i, v := range g.inputs {
		t := fromType(v.Type)
		if x.strict && g.owner != nil {
			t = &valueType{elem: t.elem}
		}
		if i < len(inputs) {
			t = t.or(inputs[i])
		}
		if x.assume != nil && g.owner == nil {
			t = x.assumed(t)
		}
		x.values[v.name] = x.named(t)
	}
	for t := range g.Initializers() {
		if x.strict && g.IsInput(t.name) {
			continue // a caller may give another
		}
		x.values[t.name] = ofTensor(t)
	}
	for _, vs := range [][]*ValueInfo{g.values, g.outputs} {
		for _, v := range vs {
			if v.Type != nil && v.Type.Kind == KindTensor {
				t := fromType(v.Type)
				if x.strict || x.assume != nil {
					t = &valueType{elem: t.elem} // its sizes may have names
				}
				x.declared[v.name] = t
			}
		}
	}
	for _, n := range order {
		if err := x.node(n); err != nil {
			return err
		}
	}
	return nil
}

func (x *inference) node(n *Node) error {
	c := &inferContext{inference: x, n: n, outs: make([]*valueType, max(1, len(n.outputs)))}
	var infer func(*inferContext)
	switch canonicalDomain(n.Domain) {
	case "":
		infer = inferStandard[n.OpType]
	case "com.microsoft":
		infer = inferMicrosoft[n.OpType]
	case "ai.onnx.ml":
		infer = inferML[n.OpType]
	case "ai.onnx.preview":
		infer = inferPreview[n.OpType]
	case "ai.onnx.preview.training":
		infer = inferTraining[n.OpType]
	}
	if infer != nil {
		infer(c)
	}
	if c.err != nil {
		return c.err
	}
	for i, name := range n.outputs {
		if name == "" {
			continue
		}
		t := c.outs[i]
		if t == nil {
			t = unknownType
		}
		if d := x.declared[name]; d != nil {
			t = t.with(d)
		}
		x.values[name] = x.named(t)
	}
	return nil
}

// assumed fills in the axes that are open.
func (x *inference) assumed(t *valueType) *valueType {
	out := *t
	out.dims = slices.Clone(t.dims)
	for i, d := range out.dims {
		if !d.Fixed() {
			out.dims[i] = Dim{Value: x.assume(i)}
		}
	}
	return &out
}

// placeholder tells whether the name of an axis stands for any size.
func placeholder(param string) bool { return param == "?" || param == "None" || param == "-1" }

// named gives, in strict inference, a name to each axis that has none that means
// anything: exporters write "?" for axes that have nothing to do with each other.
func (x *inference) named(t *valueType) *valueType {
	if !x.strict || !t.ranked {
		return t
	}
	vague := func(d Dim) bool {
		return !d.Fixed() && (d.Param == "" || placeholder(d.Param))
	}
	if !slices.ContainsFunc(t.dims, vague) {
		return t
	}
	out := *t
	out.dims = slices.Clone(t.dims)
	for i, d := range out.dims {
		if vague(d) {
			x.symbols++
			out.dims[i] = ParamDim("\x00" + strconv.Itoa(x.symbols))
		}
	}
	return &out
}

func fromType(t *Type) *valueType {
	return containerType(t, 0)
}

func ofTensor(t *Tensor) *valueType {
	v := &valueType{elem: t.DataType, ranked: true, dims: make([]Dim, len(t.Dims))}
	for i, d := range t.Dims {
		v.dims[i] = Dim{Value: max(d, -1)}
	}
	if n := t.Elements(); len(t.Dims) <= 1 && n >= 0 && n <= maxData && (t.DataType == Int64 || t.DataType == Int32 || t.DataType == Bool) {
		if ints, err := t.Ints(); err == nil {
			v.data = FixedDims(ints...)
		}
	}
	return v
}

// or fills what is not known of t from u.
func (t *valueType) or(u *valueType) *valueType {
	out := *t
	if out.elem == Undefined {
		out.elem = u.elem
	}
	if !out.ranked {
		out.ranked, out.dims = u.ranked, u.dims
	}
	if out.data == nil {
		out.data = u.data
	}
	if out.item == nil {
		out.item = u.item
	}
	return &out
}

// with adds what the model declares of an inferred type. Inferred numbers win; a
// declared name of an axis wins over an inferred one, since it is the user's.
func (t *valueType) with(declared *valueType) *valueType {
	out := t.or(declared)
	if !t.ranked || !declared.ranked || len(t.dims) != len(declared.dims) {
		return out
	}
	out.dims = slices.Clone(out.dims)
	for i, d := range declared.dims {
		if !out.dims[i].Fixed() && (d.Fixed() || d.Param != "") {
			out.dims[i] = d
		}
	}
	return out
}

// inferContext is what the function for an operator works with.
type inferContext struct {
	*inference
	n    *Node
	outs []*valueType
	err  error
}

// in returns what is known of input i, never nil.
func (c *inferContext) in(i int) *valueType {
	if v := c.values[c.n.Input(i)]; v != nil {
		return v
	}
	return unknownType
}

func (c *inferContext) has(i int) bool { return c.n.Input(i) != "" }

func (c *inferContext) out(i int, t *valueType) {
	if i < len(c.outs) {
		c.outs[i] = t
	}
}

// tensor sets output i to a type of known rank.
func (c *inferContext) tensor(i int, elem DataType, dims ...Dim) {
	c.out(i, &valueType{elem: elem, ranked: true, dims: dims})
}

// elemOnly sets output i to a type of unknown rank.
func (c *inferContext) elemOnly(i int, elem DataType) { c.out(i, &valueType{elem: elem}) }

// ints returns the elements of input i when all of them are known.
func (c *inferContext) ints(i int) ([]int64, bool) {
	if !c.has(i) || c.in(i).data == nil {
		return nil, false
	}
	out := make([]int64, len(c.in(i).data))
	for k, d := range c.in(i).data {
		if !known(d) {
			return nil, false
		}
		out[k] = d.Value
	}
	return out, true
}

// intsOr returns an attribute that later became input i: the attribute's value in
// models that still have it. ok is false when an input is there and not known.
func (c *inferContext) intsOr(attr string, i int) (v []int64, ok bool) {
	if a := c.n.Attr(attr); a != nil {
		return a.Ints, true
	}
	if !c.has(i) {
		return nil, true
	}
	return c.ints(i)
}

// floats returns the elements of a constant input.
func (c *inferContext) floats(i int) ([]float32, bool) {
	t := c.n.graph.Constant(c.n.Input(i))
	if t == nil {
		return nil, false
	}
	v, err := t.Float32s()
	return v, err == nil
}

// unknownNumber marks an element of data that is not known. Unlike the size of an
// axis a number may be -1, as in the shape given to Reshape.
const unknownNumber = "\x00?"

func known(d Dim) bool { return d.Param == "" }

var (
	anyNumber = Dim{Value: -1, Param: unknownNumber}
	anyDim    = Dim{Value: -1}
)

// number turns the size of an axis into an element of data, size the reverse.
func number(d Dim) Dim {
	if !d.Fixed() && d.Param == "" {
		return anyNumber
	}
	return Dim{Value: d.Value, Param: d.Param}
}

func size(d Dim) Dim {
	if d.Param == unknownNumber || d.Param == "" && d.Value < 0 {
		return anyDim
	}
	return d
}

// axis resolves a negative axis; false when it is out of range.
func axis(a int64, rank int) (int, bool) {
	if a < 0 {
		a += int64(rank)
	}
	return int(a), a >= 0 && a < int64(rank)
}

func sameDim(a, b Dim) bool {
	return a.Value == b.Value && a.Param == b.Param && (a.Fixed() || a.Param != "")
}

// product multiplies axes: numbers, or a single name with ones.
func product(dims []Dim) Dim {
	out := Dim{Value: 1}
	for _, d := range dims {
		switch {
		case d.Fixed() && d.Value == 0:
			return Dim{Value: 0}
		case out.Fixed() && d.Fixed():
			p, ok := mul(out.Value, d.Value)
			if !ok {
				return anyDim
			}
			out.Value = p
		case out.Fixed() && out.Value == 1:
			out = d
		case d.Fixed() && d.Value == 1:
		default:
			// A zero may still come, but that is not a shape worth finding.
			return anyDim
		}
	}
	return out
}

// broadcast combines shapes by numpy's rules.
func broadcast(shapes ...[]Dim) []Dim {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make([]Dim, rank)
	for i := range out {
		d := Dim{Value: 1}
		for _, s := range shapes {
			if k := i - rank + len(s); k >= 0 {
				d = broadcastDim(d, s[k])
			}
		}
		out[i] = d
	}
	return out
}

func broadcastDim(a, b Dim) Dim {
	switch {
	case a.Fixed() && a.Value == 1:
		return b
	case b.Fixed() && b.Value == 1, sameDim(a, b):
		return a
	case a.Fixed() && b.Fixed():
		return anyDim // they contradict each other
	case a.Fixed():
		return a
	case b.Fixed():
		return b
	}
	return anyDim
}

// mul multiplies sizes, false on overflow.
func mul(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	p := a * b
	return p, p/b == a && (a > 0) == (b > 0) == (p > 0)
}
