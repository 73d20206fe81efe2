package groups

import (
	"maps"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// reshape is the rule of Reshape. The axes of both sides fall into blocks of equal size, within which one side's indexes
// count through the other's.
func (v *visit) reshape() {
	x := v.input(0)
	out, ok := v.outDims(0)
	if x == nil || x.dims == nil || !ok {
		v.pinInputs(v.reason("reads or makes a value whose shape cannot be inferred"))
		return
	}
	if x.con != nil {
		v.fixAll(x, v.reason("reshapes a constant"))
		return
	}
	if !x.labelled() {
		return
	}
	axes := v.regroup(x, out)
	sizes := v.sizes(1)
	if v.n.IntsAttr("shape") != nil {
		sizes = &sizeInput{node: v.n, attr: "shape", elems: constElems(v.n.IntsAttr("shape"))}
	}
	v.resized(axes, sizes)
	v.set(0, axes)
}

// resized records that the sizes that an input gives follow the labels of an output's axes; where it is not known what it
// gives, they are pinned.
func (v *visit) resized(axes []label, sizes *sizeInput) {
	for a, l := range axes {
		if !l.free() {
			continue
		}
		if sizes == nil || a >= len(sizes.elems) || !sizes.elems[a].known {
			v.pin(l, v.reason("makes a shape that is worked out while the model runs"))
			axes[a] = nil
		}
	}
	labels := slices.Clone(axes)
	v.edit(func(c *cutter) error {
		to := map[int]int64{}
		for a, l := range labels {
			if l.free() && c.cuts(l) && sizes.elems[a].value != -1 {
				to[a] = int64(c.count(l))
			}
		}
		return sizes.write(c, to)
	}, axes...)
}

func (v *visit) flatten() {
	x := v.input(0)
	out, ok := v.outDims(0)
	if x == nil || x.dims == nil || !ok {
		v.pinInputs(v.reason("reads or makes a value whose shape cannot be inferred"))
		return
	}
	if x.con != nil {
		v.fixAll(x, v.reason("reshapes a constant"))
		return
	}
	v.set(0, v.regroup(x, out))
}

// side is one axis of a block.
type side struct {
	axis  int
	size  int64  // -1: only its name is known
	param string // "" with -1: nothing is known
	label label
}

// regroup gives the labels of the axes that x has after a change of shape.
func (v *visit) regroup(x *operand, out []onnx.Dim) []label {
	axes := make([]label, len(out))
	ins := sides(x.dims, x.axes)
	outs := sides(out, nil)
	for len(ins) > 0 || len(outs) > 0 {
		i, o := block(ins, outs)
		v.regroupBlock(ins[:i], outs[:o], axes)
		ins, outs = ins[i:], outs[o:]
	}
	return axes
}

// sides lists the axes that are not 1.
func sides(dims []onnx.Dim, labels []label) []side {
	var out []side
	for i, d := range dims {
		s := side{axis: i, size: -1, param: d.Param}
		if d.Fixed() {
			s.size, s.param = d.Value, ""
		}
		if labels != nil {
			s.label = labels[i]
		}
		if s.size != 1 {
			out = append(out, s)
		}
	}
	return out
}

// block tells how many axes of each side make up the same number of elements; all, where that cannot be told.
func block(ins, outs []side) (i, o int) {
	type product struct {
		size   int64
		params map[string]int
	}
	grow := func(p *product, s side) {
		if s.size >= 0 {
			p.size *= s.size
			return
		}
		p.params[s.param]++
	}
	a, b := product{1, map[string]int{}}, product{1, map[string]int{}}
	lacks := func(p, q product) bool { // whether p lacks a name that q has
		for k, n := range q.params {
			if p.params[k] < n {
				return true
			}
		}
		return false
	}
	for {
		same := i > 0 && o > 0 && a.size == b.size && maps.Equal(a.params, b.params) && a.params[""] == 0
		if same {
			return i, o
		}
		var growIn bool
		switch {
		case i == 0 || o == 0:
			growIn = i == 0
		case lacks(a, b):
			growIn = true
		case lacks(b, a):
			growIn = false
		default:
			growIn = a.size < b.size
		}
		switch {
		case growIn && i < len(ins):
			grow(&a, ins[i])
			i++
		case !growIn && o < len(outs):
			grow(&b, outs[o])
			o++
		default:
			return len(ins), len(outs)
		}
		if a.size <= 0 || b.size <= 0 || a.size > 1<<40 || b.size > 1<<40 {
			return len(ins), len(outs)
		}
	}
}

// regroupBlock gives the axes of a block their labels.
func (v *visit) regroupBlock(ins, outs []side, axes []label) {
	labelled := -1
	var size, fixed = int64(1), true
	for i, s := range ins {
		fixed = fixed && s.size > 0
		size *= s.size
		if !s.label.free() {
			continue
		}
		if labelled >= 0 {
			r := v.reason("mixes two axes of channels into one")
			v.pin(s.label, r)
			v.pin(ins[labelled].label, r)
			return
		}
		labelled = i
	}
	if labelled < 0 {
		return
	}
	l := ins[labelled].label
	if len(ins) == 1 && len(outs) == 1 {
		axes[outs[0].axis] = l
		return
	}
	total := int64(1)
	for _, s := range outs {
		fixed = fixed && s.size > 0
		total *= s.size
	}
	if !fixed || total != size {
		v.pin(l, v.reason("mixes them with an axis whose size is not known"))
		return
	}
	inner := 1
	for _, s := range ins[labelled+1:] {
		inner *= int(s.size)
	}
	flat := make(label, size)
	for p := range flat {
		flat[p] = l[p/inner%len(l)]
	}
	if len(outs) == 1 {
		axes[outs[0].axis] = flat
		return
	}
	// One of the new axes carries the channels; those of equal index along it are tied.
	k := v.mode(len(outs))
	if k > 0 {
		k = len(outs) - k // the first, then the last, then those between
	}
	step := 1
	for _, s := range outs[k+1:] {
		step *= int(s.size)
	}
	n := int(outs[k].size)
	heads := make(label, n)
	for i := range heads {
		heads[i] = flat[i*step]
	}
	for p, a := range flat {
		v.union(heads[p/step%n], a)
	}
	axes[outs[k].axis] = heads
	v.chosen(len(outs), heads)
}

// elem is one number of a shape.
type elem struct {
	known bool
	value int64
	part  int // of a Concat: which of its inputs, and where in it
	index int
}

// sizeInput is a shape that a node reads: an attribute, a constant, or a Concat of constants and computed numbers.
type sizeInput struct {
	node   *onnx.Node
	attr   string
	input  int
	concat *onnx.Node
	elems  []elem
}

func constElems(values []int64) []elem {
	out := make([]elem, len(values))
	for i, x := range values {
		out[i] = elem{known: true, value: x, index: i}
	}
	return out
}

// ints reads a constant input.
func (v *visit) ints(i int) ([]int64, bool) { return v.intsOf(v.n.Input(i)) }

func (v *visit) intsOf(name string) ([]int64, bool) {
	t := v.graph.Constant(name)
	if t == nil || name == "" {
		return nil, false
	}
	out, err := t.Ints()
	return out, err == nil
}

// sizes traces an input that is a shape; nil where nothing of it is known.
func (v *visit) sizes(i int) *sizeInput {
	name := v.n.Input(i)
	if values, ok := v.intsOf(name); ok {
		return &sizeInput{node: v.n, input: i, elems: constElems(values)}
	}
	p := v.graph.Producer(name)
	if p == nil || !p.Is("Concat") {
		return nil
	}
	s := &sizeInput{node: v.n, input: i, concat: p}
	for k, part := range p.Inputs() {
		if values, ok := v.intsOf(part); ok {
			for j, x := range values {
				s.elems = append(s.elems, elem{true, x, k, j})
			}
			continue
		}
		_, dims, ok := v.shapes.Of(part)
		if !ok || len(dims) != 1 || !dims[0].Fixed() {
			return nil
		}
		s.elems = append(s.elems, make([]elem, dims[0].Value)...)
	}
	return s
}

// write puts other numbers into the shape, for this node alone.
func (s *sizeInput) write(c *cutter, to map[int]int64) error {
	if len(to) == 0 {
		return nil
	}
	if s.concat == nil {
		values := make([]int64, len(s.elems))
		for i, e := range s.elems {
			values[i] = e.value
			if x, ok := to[i]; ok {
				values[i] = x
			}
		}
		if s.attr != "" {
			s.node.SetAttr(onnx.IntsAttr(s.attr, values...))
			return nil
		}
		c.setInts(s.node, s.input, values)
		return nil
	}
	parts := slices.Clone(s.concat.Inputs())
	changed := map[int][]int64{}
	for i, x := range to {
		e := s.elems[i]
		if changed[e.part] == nil {
			values, err := c.graph.Constant(parts[e.part]).Ints()
			if err != nil {
				return err
			}
			changed[e.part] = slices.Clone(values)
		}
		changed[e.part][e.index] = x
	}
	for _, k := range slices.Sorted(maps.Keys(changed)) {
		parts[k] = c.ints(parts[k], changed[k], int64(len(changed[k])))
	}
	name := c.graph.UniqueName(s.concat.Output(0) + "_pruned")
	c.graph.InsertBefore(s.node, onnx.NewNode("Concat", "", name, parts, []string{name}, onnx.IntAttr("axis", 0)))
	s.node.SetInput(s.input, name)
	return nil
}
