package groups

import "github.com/optimize-hcl/optimize/onnx"

// batchNorm is the rule of BatchNormalization: a number of each kind for a channel.
func (v *visit) batchNorm() {
	x := v.input(0)
	if x == nil || x.rank() < 2 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	l := v.want(x, 1)
	for i := 1; i < len(v.in); i++ {
		role := Other
		if i == 1 {
			role = Scale
		}
		v.follow(v.in[i], 0, l, role)
	}
	axes := make([]label, x.rank())
	copy(axes, x.axes)
	v.set(0, axes)
	for i := 1; i < len(v.n.Outputs()); i++ {
		v.set(i, []label{l})
	}
}

// instanceNorm is that of InstanceNormalization, whose mean is over the axes from 2 on.
func (v *visit) instanceNorm() {
	x := v.input(0)
	if x == nil || x.rank() < 2 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	for a := 2; a < x.rank(); a++ {
		v.fix(x, a, v.reason("normalizes over them"))
	}
	l := v.want(x, 1)
	v.follow(v.input(1), 0, l, Scale)
	v.follow(v.input(2), 0, l, Other)
	v.setPadded(x, l)
}

// setPadded sets output 0 to the first two axes of x, the rest fixed.
func (v *visit) setPadded(x *operand, l label) {
	axes := make([]label, x.rank())
	axes[0], axes[1] = x.axes[0], l
	v.set(0, axes)
}

// groupNorm normalizes over groups of channels: one leaves as a whole.
func (v *visit) groupNorm() {
	x := v.input(0)
	if x == nil || x.rank() < 2 || x.size(1) < 1 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	groups := v.n.IntAttr("num_groups", 1)
	c := x.size(1)
	l := v.want(x, 1)
	if groups < 1 || c%groups != 0 {
		v.pinInputs(v.reason("has %d groups of %d channels", groups, c))
		return
	}
	heads := v.tieRuns(l, int(groups))
	for i := 1; i <= 2; i++ {
		o := v.input(i)
		switch {
		case o == nil || o.rank() != 1:
		case o.size(0) == c:
			v.follow(o, 0, l, Scale)
		default:
			v.follow(o, 0, heads, Scale)
		}
	}
	v.edit(func(c *cutter) error {
		v.n.SetAttr(onnx.IntAttr("num_groups", int64(c.count(heads))))
		return nil
	}, heads)
	v.setPadded(x, l)
}

// tieRuns ties each of n equal runs of a label together and returns an atom for each.
func (v *visit) tieRuns(l label, n int) label {
	if !l.free() {
		return nil
	}
	run := len(l) / n
	heads := make(label, n)
	for g := range heads {
		heads[g] = l[g*run]
		for i := 1; i < run; i++ {
			v.union(l[g*run], l[g*run+i])
		}
	}
	return heads
}

// tieAcross ties the i-th of each of n equal runs, and returns an atom for each i.
func (v *visit) tieAcross(l label, n int) label {
	if !l.free() {
		return nil
	}
	run := len(l) / n
	for i := range run {
		for g := 1; g < n; g++ {
			v.union(l[i], l[g*run+i])
		}
	}
	return l[:run]
}

// layerNorm mixes the axes from its own on: without one of them the mean and the variance of the others would change.
func (v *visit) layerNorm() {
	x := v.input(0)
	if x == nil {
		return
	}
	a, ok := axis(v.n.IntAttr("axis", -1), x.rank())
	if !ok {
		a = 0
	}
	r := v.reason("normalizes over them: the mean and the variance of those that stay would change")
	for i := a; i < x.rank(); i++ {
		v.fix(x, i, r)
	}
	for _, o := range v.in[1:] {
		v.fixAll(o, r)
	}
	axes := make([]label, x.rank())
	copy(axes[:a], x.axes)
	v.set(0, axes)
}

func (v *visit) skipLayerNorm() {
	r := v.reason("normalizes over them: the mean and the variance of those that stay would change")
	v.pinInputs(r)
}

func (v *visit) softmax() {
	x := v.input(0)
	if x == nil {
		return
	}
	def := int64(-1)
	if v.opset < 13 {
		def = 1
	}
	a, ok := axis(v.n.IntAttr("axis", def), x.rank())
	if !ok {
		a = 0
	}
	last := a
	if v.opset < 13 {
		last = x.rank() - 1 // the axes from a on are one
	}
	axes := make([]label, x.rank())
	copy(axes, x.axes)
	for i := a; i <= last && i < x.rank(); i++ {
		v.fix(x, i, v.reason("makes shares of them that add up to 1"))
		axes[i] = nil
	}
	v.set(0, axes)
}
