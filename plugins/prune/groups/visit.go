package groups

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// operand is an input of the node that is looked at.
type operand struct {
	index int
	name  string
	elem  onnx.DataType
	dims  []onnx.Dim // nil: its rank is not known
	con   *constant
	axes  []label // those of con, or of the value; as many as dims
}

func (o *operand) there() bool { return o != nil && o.name != "" }
func (o *operand) rank() int   { return len(o.dims) }
func (o *operand) size(i int) int64 {
	if !o.dims[i].Fixed() {
		return -1
	}
	return o.dims[i].Value
}

// labelled tells whether there is anything about the operand that could be cut.
func (o *operand) labelled() bool {
	return o.there() && slices.ContainsFunc(o.axes, label.free)
}

// visit is one node under one rule.
type visit struct {
	*solver
	n  *onnx.Node
	in []*operand
}

func (v *visit) read() {
	v.in = make([]*operand, len(v.n.Inputs()))
	for i, name := range v.n.Inputs() {
		o := &operand{index: i, name: name}
		v.in[i] = o
		if name == "" {
			continue
		}
		o.elem, o.dims, _ = v.shapes.Of(name)
		if o.con = v.instance(name, i); o.con != nil {
			o.dims, o.elem = onnx.FixedDims(o.con.dims...), onnx.Undefined
			if o.con.tensor != nil {
				o.elem = o.con.tensor.DataType
			}
			o.axes = o.con.axes
			continue
		}
		if o.axes = v.values[name]; len(o.axes) != len(o.dims) {
			// Two views of one value differ, or it is of a rank that nobody knows: nothing of it may be cut.
			v.pinAll(o.axes, Reason{v.n, "reads " + quote(name) + ", whose shape cannot be inferred"})
			o.axes = make([]label, len(o.dims))
		}
	}
}

func (v *visit) input(i int) *operand {
	if i < len(v.in) && v.in[i].there() {
		return v.in[i]
	}
	return nil
}

// outDims is the shape of an output; ok is false where it is not known.
func (v *visit) outDims(i int) (dims []onnx.Dim, ok bool) {
	_, dims, ok = v.shapes.Of(v.n.Output(i))
	return dims, ok && dims != nil
}

func (v *visit) reason(format string, args ...any) Reason {
	return Reason{v.n, fmt.Sprintf(format, args...)}
}

// want returns the label of an axis, a new one where a constant has none yet.
func (v *visit) want(o *operand, axis int) label {
	l := o.axes[axis]
	if l == nil && o.con != nil {
		if l = v.fresh(o.con.dims[axis]); l == nil {
			return nil
		}
		o.axes[axis] = l
	}
	return l
}

// fix says that an axis must stay as it is.
func (v *visit) fix(o *operand, axis int, r Reason) {
	v.pin(o.axes[axis], r)
	if o.con != nil && o.axes[axis] == nil {
		o.axes[axis] = fixedLabel
	}
}

func (v *visit) fixAll(o *operand, r Reason) {
	if !o.there() {
		return
	}
	for i := range o.axes {
		v.fix(o, i, r)
	}
}

// set gives an output its axes; without any it is fixed.
func (v *visit) set(i int, axes []label) {
	out := v.n.Output(i)
	if out == "" {
		return
	}
	if !slices.ContainsFunc(axes, label.free) {
		return
	}
	dims, ok := v.outDims(i)
	if !ok || len(dims) != len(axes) {
		v.pinAll(axes, v.reason("makes %q, whose shape cannot be inferred", out))
		return
	}
	for a, l := range axes {
		if l.free() && (!dims[a].Fixed() || dims[a].Value != int64(len(l))) {
			v.pin(l, v.reason("makes axis %d of %q of a size that cannot be inferred", a, out))
			axes[a] = nil
		}
	}
	for a, l := range axes {
		if len(l) == 1 {
			v.pin(l, v.reason("makes a value of this one alone"))
		}
		if len(l) < 2 {
			axes[a] = nil
		}
	}
	v.values[out] = axes
}

// tie says that an axis of one operand and one of another are the same channels, and returns their label, nil where they
// are fixed.
func (v *visit) tie(a *operand, x int, b *operand, y int) label {
	la, lb := a.axes[x], b.axes[y]
	openA, openB := a.con != nil && la == nil, b.con != nil && lb == nil
	switch {
	case openA && openB:
		if l := v.want(a, x); l.free() {
			return v.adopt(b, y, l)
		}
		return nil
	case openA && lb.free():
		return v.adopt(a, x, lb)
	case openB && la.free():
		return v.adopt(b, y, la)
	case openA:
		a.axes[x] = fixedLabel
		return nil
	case openB:
		b.axes[y] = fixedLabel
		return nil
	case la.free() && lb.free():
		return v.join(la, lb)
	case la.free():
		v.pin(la, v.reason("combines them with %q, which is fixed", b.name))
		return nil
	case lb.free():
		v.pin(lb, v.reason("combines them with %q, which is fixed", a.name))
	}
	return nil
}

// adopt gives an axis of a constant that has none yet the label of channels.
func (v *visit) adopt(o *operand, axis int, l label) label {
	if o.con.dims[axis] != int64(len(l)) {
		o.axes[axis] = fixedLabel
		v.pin(l, v.reason("combines %d channels with an axis of %d of %q", len(l), o.con.dims[axis], o.name))
		return nil
	}
	o.axes[axis] = l
	return l
}

// join ties two labels index by index.
func (v *visit) join(a, b label) label {
	if len(a) != len(b) {
		r := v.reason("combines axes of %d and %d channels", len(a), len(b))
		v.pin(a, r)
		v.pin(b, r)
		return nil
	}
	for i := range a {
		v.union(a[i], b[i])
	}
	return a
}

// follow gives an axis of a constant the label of channels, or fixes it where there is none.
func (v *visit) follow(o *operand, axis int, l label, role Role) {
	if o == nil || axis >= len(o.axes) {
		return
	}
	if o.dims[axis].Fixed() && o.dims[axis].Value == 1 && len(l) != 1 {
		return // the same number for all
	}
	other := &operand{name: v.n.Output(0), axes: []label{l}, dims: []onnx.Dim{o.dims[axis]}}
	v.tie(o, axis, other, 0)
	v.used(o, axis, role)
}

// used records that a constant's axis carries channels.
func (v *visit) used(o *operand, axis int, role Role) {
	if o != nil && o.con != nil && o.axes[axis].free() {
		v.uses = append(v.uses, use{v.n, o.index, o.con, axis, role})
	}
}

// contract records that the node sums over an axis.
func (v *visit) contract(o *operand, axis int) {
	if o.con == nil && o.axes[axis].free() {
		v.contractions = append(v.contractions, contraction{v.n, o.index, axis, o.axes[axis]})
	}
	if o.con != nil {
		v.used(o, axis, In)
	}
}

func (v *visit) produce(l label) {
	if l.free() {
		v.producers = append(v.producers, producer{v.n, l})
	}
}

// worked records what the node's multiplications are in proportion to.
func (v *visit) worked(ls ...label) {
	ls = slices.DeleteFunc(slices.Clone(ls), func(l label) bool { return !l.free() })
	v.works = append(v.works, work{v.n, ls})
}

// edit records what is to be written into the node when any of the labels loses channels.
func (v *visit) edit(f func(c *cutter) error, labels ...label) {
	labels = slices.DeleteFunc(slices.Clone(labels), func(l label) bool { return !l.free() })
	if len(labels) > 0 {
		v.edits = append(v.edits, edit{v.n, labels, f})
	}
}

// mode is which of several ways to cut the node is tried; chosen records what came of it.
func (v *visit) mode(options int) int { return v.modes[v.n] % options }

func (v *visit) chosen(options int, l label) {
	if options > 1 && l.free() {
		v.choices = append(v.choices, choice{v.n, options, l})
	}
}

// keep pins what a node makes that the user wants to keep.
func (v *visit) keep() {
	why := v.opts.Keep(v.n)
	if why == "" {
		return
	}
	for _, p := range v.producers {
		if p.node == v.n {
			v.pin(p.label, v.reason("is kept: %s", why))
		}
	}
}

// axis brings an axis that may count from the end into 0 to rank-1; ok is false where it does not exist.
func axis(a int64, rank int) (int, bool) {
	if a < 0 {
		a += int64(rank)
	}
	return int(a), a >= 0 && a < int64(rank)
}
