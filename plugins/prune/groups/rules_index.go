package groups

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// slice is the rule of Slice: a stretch of channels stays a stretch.
func (v *visit) slice() {
	x := v.first()
	if x == nil {
		return
	}
	starts, ends, at, steps := v.n.IntsAttr("starts"), v.n.IntsAttr("ends"), v.n.IntsAttr("axes"), []int64(nil)
	inputs := v.n.IntsAttr("starts") == nil
	if inputs {
		var ok [4]bool
		starts, ok[0] = v.ints(1)
		ends, ok[1] = v.ints(2)
		at, ok[2] = v.ints(3)
		steps, ok[3] = v.ints(4)
		if !ok[0] || !ok[1] || !ok[2] && v.input(3) != nil || !ok[3] && v.input(4) != nil {
			v.sliceComputed(x, at, ok[2])
			return
		}
	}
	axes := v.every(x)
	whole := slices.Clone(axes)
	type cut struct{ index, axis, from, to int }
	var cuts []cut
	starts, ends = slices.Clone(starts), slices.Clone(ends)
	for i := range starts {
		a := int64(i)
		if i < len(at) {
			a = at[i]
		}
		k, ok := axis(a, x.rank())
		if !ok || i >= len(ends) {
			v.pinInputs(v.reason("cuts axes that its input does not have"))
			return
		}
		l := axes[k]
		if !l.free() {
			continue
		}
		if i < len(steps) && steps[i] != 1 {
			v.fix(x, k, v.reason("takes every %d. of them", steps[i]))
			axes[k] = nil
			continue
		}
		n := int64(len(l))
		from, to := clamp(starts[i], n), clamp(ends[i], n)
		if from >= to {
			v.fix(x, k, v.reason("takes none of them"))
			axes[k] = nil
			continue
		}
		axes[k] = l[from:to:to]
		cuts = append(cuts, cut{i, k, int(from), int(to)})
	}
	v.set(0, slices.Clone(axes))
	labels := make([]label, len(cuts))
	for i, c := range cuts {
		labels[i] = whole[c.axis]
	}
	v.edit(func(c *cutter) error {
		for _, k := range cuts {
			if l := whole[k.axis]; c.cuts(l) {
				from := int64(c.count(l[:k.from]))
				starts[k.index], ends[k.index] = from, from+int64(c.count(l[k.from:k.to]))
			}
		}
		if !inputs {
			v.n.SetAttr(onnx.IntsAttr("starts", starts...))
			v.n.SetAttr(onnx.IntsAttr("ends", ends...))
			return nil
		}
		c.setInts(v.n, 1, starts)
		c.setInts(v.n, 2, ends)
		return nil
	}, labels...)
}

// sliceComputed is a Slice whose bounds are computed: the axes that it cuts stay.
func (v *visit) sliceComputed(x *operand, at []int64, known bool) {
	r := v.reason("cuts them at places that are worked out while the model runs")
	axes := v.every(x)
	if !known {
		v.fixAll(x, r)
		return
	}
	for _, a := range at {
		if k, ok := axis(a, x.rank()); ok {
			v.fix(x, k, r)
			axes[k] = nil
		}
	}
	v.set(0, axes)
}

func clamp(i, n int64) int64 {
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n)
}

func (v *visit) gather() {
	x, idx := v.first(), v.input(1)
	if x == nil {
		return
	}
	a, ok := v.axisOf(x, 0)
	if !ok {
		return
	}
	if idx == nil || idx.dims == nil {
		v.pinInputs(v.reason("reads indexes whose shape cannot be inferred"))
		return
	}
	v.fixAll(idx, v.reason("reads them as indexes"))
	var mid = make([]label, idx.rank())
	l := x.axes[a]
	index, known := v.ints(1)
	switch {
	case !l.free() || !known || idx.rank() > 1:
		v.fix(x, a, v.reason("looks them up by number"))
	default:
		picked := make(label, len(index))
		index = slices.Clone(index)
		for i := range index {
			if index[i] < 0 {
				index[i] += int64(len(l))
			}
			if index[i] < 0 || index[i] >= int64(len(l)) {
				v.pinInputs(v.reason("looks up index %d of %d", index[i], len(l)))
				return
			}
			picked[i] = l[index[i]]
		}
		if idx.rank() == 0 || len(index) == 1 {
			v.pin(picked, v.reason("picks this one by number"))
		} else {
			mid[0] = picked
		}
		scalar := idx.rank() == 0
		v.edit(func(c *cutter) error {
			place := c.places(l)
			var to []int64
			for i, old := range index {
				if c.stays(picked[i]) {
					to = append(to, int64(place[old]))
				}
			}
			c.setIndex(v.n, 1, to, scalar)
			return nil
		}, l)
	}
	var axes []label
	for i := range x.rank() {
		if i == a {
			axes = append(axes, mid...)
			continue
		}
		w := v.want(x, i)
		axes = append(axes, w)
		if x.con != nil {
			v.used(x, i, Out)
			v.produce(w)
		}
	}
	v.set(0, axes)
}
