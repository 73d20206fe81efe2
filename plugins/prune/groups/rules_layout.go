package groups

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// every returns the labels of all axes, new ones for a constant's.
func (v *visit) every(x *operand) []label {
	axes := make([]label, x.rank())
	for i := range axes {
		axes[i] = v.want(x, i)
	}
	return axes
}

// first is input 0, nil (and everything pinned) where its shape is not known.
func (v *visit) first() *operand {
	x := v.input(0)
	if x == nil || x.dims == nil {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return nil
	}
	return x
}

// axisOf reads the attribute axis; nil where it does not exist.
func (v *visit) axisOf(x *operand, def int64) (int, bool) {
	a, ok := axis(v.n.IntAttr("axis", def), x.rank())
	if !ok {
		v.pinInputs(v.reason("has axis %d for a value of %d axes", v.n.IntAttr("axis", def), x.rank()))
	}
	return a, ok
}

func (v *visit) transpose() {
	x := v.first()
	if x == nil {
		return
	}
	perm := v.n.IntsAttr("perm")
	if perm == nil {
		for i := x.rank() - 1; i >= 0; i-- {
			perm = append(perm, int64(i))
		}
	}
	axes := make([]label, len(perm))
	for i, p := range perm {
		a, ok := axis(p, x.rank())
		if !ok || len(perm) != x.rank() {
			v.pinInputs(v.reason("permutes axes that its input does not have"))
			return
		}
		axes[i] = v.want(x, a)
	}
	v.set(0, axes)
}

// axesInput are the axes of Squeeze, Unsqueeze and Pad: an attribute once, an input later.
func (v *visit) axesInput(input, rank int) (axes []int, given, known bool) {
	list := v.n.IntsAttr("axes")
	if v.input(input) != nil {
		var ok bool
		if list, ok = v.ints(input); !ok {
			return nil, true, false
		}
	} else if list == nil {
		return nil, false, true
	}
	for _, a := range list {
		i, ok := axis(a, rank)
		if !ok {
			return nil, true, false
		}
		axes = append(axes, i)
	}
	return axes, true, true
}

func (v *visit) squeeze() {
	x := v.first()
	if x == nil {
		return
	}
	gone, given, known := v.axesInput(1, x.rank())
	if !given || !known {
		v.pinInputs(v.reason("drops whatever axis has one index"))
		return
	}
	var axes []label
	for i := range x.rank() {
		if !slices.Contains(gone, i) {
			axes = append(axes, v.want(x, i))
		} else {
			v.fix(x, i, v.reason("drops the axis"))
		}
	}
	v.set(0, axes)
}

func (v *visit) unsqueeze() {
	x := v.first()
	if x == nil {
		return
	}
	out, ok := v.outDims(0)
	added, _, known := v.axesInput(1, len(out))
	if !ok || !known || x.rank()+len(added) != len(out) {
		v.pinInputs(v.reason("adds axes that are computed"))
		return
	}
	axes := make([]label, len(out))
	from := 0
	for i := range axes {
		if !slices.Contains(added, i) && from < x.rank() {
			axes[i] = v.want(x, from)
			from++
		}
	}
	v.set(0, axes)
}

// stay makes atoms for n channels that cannot leave.
func (v *visit) stay(n int64, r Reason) label {
	l := v.atoms(n)
	v.pin(l, r)
	return l
}

// atoms is fresh also for a single one.
func (v *visit) atoms(n int64) label {
	if n == 1 {
		return v.fresh(2)[:1]
	}
	return v.fresh(n)
}

func (v *visit) concat() {
	x := v.first()
	if x == nil {
		return
	}
	a, ok := v.axisOf(x, 1)
	if !ok {
		return
	}
	for _, o := range v.in {
		if o.there() && o.rank() != x.rank() {
			v.pinInputs(v.reason("joins values whose shapes cannot be inferred"))
			return
		}
	}
	axes := make([]label, x.rank())
	for i := range axes {
		if i == a {
			continue
		}
		axes[i] = v.want(x, i)
		for _, o := range v.in[1:] {
			axes[i] = v.tie(x, i, o, i)
		}
	}
	var joined label
	free := false
	for _, o := range v.in {
		free = free || o.axes[a].free() || o.con != nil && o.axes[a] == nil && o.size(a) > 1
	}
	for _, o := range v.in {
		if !free {
			break
		}
		if o.size(a) < 0 {
			for _, p := range v.in {
				v.fix(p, a, v.reason("joins them with %q, whose size is not known", o.name))
			}
			joined = nil
			break
		}
		if l := v.want(o, a); l.free() {
			joined = append(joined, l...)
			v.used(o, a, Other)
		} else {
			joined = append(joined, v.stay(o.size(a), v.reason("joins them from %q, which is fixed", o.name))...)
		}
	}
	axes[a] = joined
	v.set(0, axes)
}

func (v *visit) split() {
	x := v.first()
	if x == nil {
		return
	}
	a, ok := v.axisOf(x, 0)
	if !ok {
		return
	}
	axes := v.every(x)
	parts := v.parts(axes[a], a)
	for i := range v.n.Outputs() {
		piece := slices.Clone(axes)
		piece[a] = nil
		if parts != nil {
			piece[a] = parts[i]
		}
		v.set(i, piece)
	}
	if parts == nil {
		return
	}
	v.edit(func(c *cutter) error {
		sizes := make([]int64, len(parts))
		for i, p := range parts {
			sizes[i] = int64(c.count(p))
		}
		if v.opset < 13 {
			v.n.SetAttr(onnx.IntsAttr("split", sizes...))
			return nil
		}
		v.n.RemoveAttr("num_outputs")
		c.setInts(v.n, 1, sizes)
		return nil
	}, axes[a])
}

// parts cuts the label of the axis that a Split works along; nil where it stays as it is.
func (v *visit) parts(l label, a int) []label {
	if !l.free() {
		return nil
	}
	var parts []label
	rest := l
	for i := range v.n.Outputs() {
		dims, ok := v.outDims(i)
		if !ok || a >= len(dims) || !dims[a].Fixed() || dims[a].Value < 1 || dims[a].Value > int64(len(rest)) {
			v.pin(l, v.reason("splits into parts whose sizes are not known"))
			return nil
		}
		n := int(dims[a].Value)
		parts = append(parts, rest[:n:n])
		rest = rest[n:]
	}
	if len(rest) > 0 {
		v.pin(l, v.reason("splits into parts that do not add up"))
		return nil
	}
	return parts
}

// pad is the rule of Pad. Channels that it adds can leave again.
func (v *visit) pad() {
	x := v.first()
	if x == nil {
		return
	}
	axes := v.every(x)
	pads, known := v.n.IntsAttr("pads"), true
	attr := pads != nil
	if !attr {
		pads, known = v.ints(1)
	}
	at, given, axesKnown := v.axesInput(3, x.rank())
	if !given {
		for i := range x.rank() {
			at = append(at, i)
		}
	}
	if !known || !axesKnown || len(pads) != 2*len(at) {
		v.pinInputs(v.reason("adds sizes that are worked out while the model runs"))
		return
	}
	pads = slices.Clone(pads)
	var labels []label
	type added struct {
		i           int
		before, end label
	}
	var all []added
	for i, k := range at {
		before, end := pads[i], pads[len(at)+i]
		if !axes[k].free() || before == 0 && end == 0 {
			continue
		}
		if before < 0 || end < 0 || v.n.StringAttr("mode", "constant") != "constant" {
			v.fix(x, k, v.reason("pads them"))
			axes[k] = nil
			continue
		}
		b, e := v.atoms(before), v.atoms(end)
		axes[k] = slices.Concat(b, axes[k], e)
		labels = append(labels, b, e)
		all = append(all, added{i, b, e})
	}
	v.set(0, axes)
	v.edit(func(c *cutter) error {
		for _, p := range all {
			pads[p.i], pads[len(at)+p.i] = int64(c.count(p.before)), int64(c.count(p.end))
		}
		if attr {
			v.n.SetAttr(onnx.IntsAttr("pads", pads...))
			return nil
		}
		c.setInts(v.n, 1, pads)
		return nil
	}, labels...)
}
