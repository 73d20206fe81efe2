package groups

import (
	"slices"
)

// resize is the rule of Resize and Upsample: axes of channels keep their size.
func (v *visit) resize() {
	x := v.first()
	out, ok := v.outDims(0)
	if x == nil {
		return
	}
	if !ok || len(out) != x.rank() || v.n.StringAttr("coordinate_transformation_mode", "") == "tf_crop_and_resize" ||
		v.n.StringAttr("keep_aspect_ratio_policy", "stretch") != "stretch" {
		v.pinInputs(v.reason("makes a size that cannot be inferred"))
		return
	}
	axes := v.every(x)
	for i, l := range axes {
		if l.free() && (!out[i].Fixed() || out[i].Value != int64(len(l))) {
			v.fix(x, i, v.reason("resizes them"))
			axes[i] = nil
		}
	}
	if v.input(3) != nil { // sizes, of all axes or of those in the attribute axes
		sizes := v.sizes(3)
		if at := v.n.IntsAttr("axes"); at != nil {
			for _, a := range at {
				if k, ok := axis(a, x.rank()); ok {
					v.fix(x, k, v.reason("resizes them"))
					axes[k] = nil
				}
			}
		} else {
			v.resized(axes, sizes)
		}
	}
	v.set(0, axes)
}

// expand repeats axes of one index; as many times as there are channels where it meets some.
func (v *visit) expand() {
	x := v.first()
	out, ok := v.outDims(0)
	if x == nil {
		return
	}
	if !ok || len(out) < x.rank() {
		v.pinInputs(v.reason("makes a shape that cannot be inferred"))
		return
	}
	sizes := v.sizes(1)
	axes := make([]label, len(out))
	followed := make([]label, len(out)) // by the number in the shape
	for i := range axes {
		k, e := i-len(out)+x.rank(), -1
		if sizes != nil {
			e = i - len(out) + len(sizes.elems)
		}
		known := sizes != nil && (e < 0 || sizes.elems[e].known)
		switch {
		case k >= 0 && x.size(k) != 1:
			axes[i] = v.want(x, k)
			if axes[i].free() && !known {
				v.fix(x, k, v.reason("makes a shape that is worked out while the model runs"))
				axes[i] = nil
			}
		case known && out[i].Fixed():
			axes[i] = v.fresh(out[i].Value)
		}
		if e >= 0 && known && axes[i].free() && sizes.elems[e].value > 1 {
			followed[i] = axes[i]
		}
	}
	v.set(0, slices.Clone(axes))
	v.edit(func(c *cutter) error {
		to := map[int]int64{}
		for i, l := range followed {
			if l.free() && c.cuts(l) {
				to[i-len(out)+len(sizes.elems)] = int64(c.count(l))
			}
		}
		return sizes.write(c, to)
	}, slices.Clone(followed)...)
}

func (v *visit) tile() {
	x := v.first()
	if x == nil {
		return
	}
	axes := v.every(x)
	times, known := v.ints(1)
	if !known || len(times) != x.rank() {
		v.pinInputs(v.reason("repeats them a number of times that is worked out while the model runs"))
		return
	}
	for i, l := range axes {
		if l.free() && times[i] > 1 {
			axes[i] = slices.Repeat(l, int(min(times[i], 1<<20)))
		}
	}
	v.set(0, axes)
}

// depthToSpace takes b*b channels for each that it makes.
func (v *visit) depthToSpace() {
	x := v.first()
	b := int(v.n.IntAttr("blocksize", 0))
	if x == nil || x.rank() != 4 || b < 1 || x.size(1) < 1 || x.size(1)%int64(b*b) != 0 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	v.fix(x, 2, v.reason("mixes them with channels"))
	v.fix(x, 3, v.reason("mixes them with channels"))
	l := v.want(x, 1)
	axes := make([]label, 4)
	axes[0] = x.axes[0]
	if l.free() {
		if v.n.StringAttr("mode", "DCR") == "CRD" {
			axes[1] = v.tieRuns(l, len(l)/(b*b))
		} else {
			axes[1] = v.tieAcross(l, b*b)
		}
	}
	v.set(0, axes)
}

func (v *visit) spaceToDepth() {
	x := v.first()
	b := int(v.n.IntAttr("blocksize", 0))
	if x == nil || x.rank() != 4 || b < 1 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	v.fix(x, 2, v.reason("mixes them with channels"))
	v.fix(x, 3, v.reason("mixes them with channels"))
	axes := make([]label, 4)
	axes[0], axes[1] = x.axes[0], slices.Repeat(v.want(x, 1), b*b)
	v.set(0, axes)
}

// shape reads sizes. It is harmless where what reads it picks those of other axes.
func (v *visit) shape() {
	x := v.input(0)
	if x == nil || !x.labelled() && x.con == nil {
		return
	}
	r := v.reason("hands on how many there are")
	if x.dims == nil || v.n.IntAttr("start", 0) != 0 || v.n.Attr("end") != nil {
		v.fixAll(x, r)
		return
	}
	read := make([]bool, x.rank())
	all := func() {
		for i := range read {
			read[i] = true
		}
	}
	if v.graph.IsOutput(v.n.Output(0)) {
		all()
	}
	for _, c := range v.graph.Consumers(v.n.Output(0)) {
		index, known := v.intsOf(c.Input(1))
		switch {
		case c.Is("Gather") && known && c.Input(1) != v.n.Output(0):
			for _, i := range index {
				if a, ok := axis(i, x.rank()); ok {
					read[a] = true
				}
			}
		case c.Is("Slice") && v.opset >= 10 && known && len(index) == 1:
			ends, ok := v.intsOf(c.Input(2))
			steps, stepped := v.intsOf(c.Input(4))
			if !ok || len(ends) != 1 || c.Input(4) != "" && (!stepped || !slices.Equal(steps, []int64{1})) {
				all()
				break
			}
			for a := clamp(index[0], int64(x.rank())); a < clamp(ends[0], int64(x.rank())); a++ {
				read[a] = true
			}
		default:
			all()
		}
	}
	for a, yes := range read {
		if yes {
			v.fix(x, a, r)
		}
	}
}

// constantOfShape makes a constant whose size can be changed.
func (v *visit) constantOfShape() {
	dims, ok := v.outDims(0)
	sizes := v.sizes(0)
	if !ok || sizes == nil || len(sizes.elems) != len(dims) {
		return // fixed
	}
	con := &constant{name: v.n.Output(0), maker: v.n, dims: make([]int64, len(dims)), axes: make([]label, len(dims))}
	for i, e := range sizes.elems {
		con.dims[i] = -1
		if dims[i].Fixed() {
			con.dims[i] = dims[i].Value
		}
		if !e.known || e.value < 0 || !dims[i].Fixed() {
			con.axes[i] = fixedLabel
		}
	}
	v.constants[con.name] = con
	v.order = append(v.order, con)
	v.edits = append(v.edits, edit{v.n, nil, func(c *cutter) error {
		to := map[int]int64{}
		for i, l := range con.axes {
			if l.free() && c.cuts(l) {
				to[i] = int64(c.count(l))
			}
		}
		return sizes.write(c, to)
	}})
}
