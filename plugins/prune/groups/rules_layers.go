package groups

import (
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
)

// conv is the rule of Conv. With groups it can be cut in two ways: whole groups leave, or as many channels of each.
// A depthwise one has groups of one channel.
func (v *visit) conv() {
	x, w := v.input(0), v.input(1)
	if x == nil || w == nil || x.rank() < 3 || w.rank() != x.rank() || w.size(0) < 1 || w.size(1) < 1 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	for a := 2; a < x.rank(); a++ {
		v.fix(x, a, v.reason("slides over them"))
		v.fix(w, a, v.reason("slides over them"))
	}
	if z := v.input(3); z != nil { // FusedConv adds it
		v.pinInputs(v.reason("adds a fourth input: take the model as it was before ONNX Runtime fused it"))
		return
	}
	groups := v.n.IntAttr("group", 1)
	out, in := w.size(0), w.size(1)
	if groups < 1 || out%groups != 0 || x.size(1) != in*groups {
		v.pinInputs(v.reason("has %d groups for %d input and %d output channels", groups, x.size(1), out))
		return
	}
	switch {
	case groups == 1:
		v.tie(x, 1, w, 1)
		v.contract(x, 1)
		v.used(w, 1, In)
		v.want(w, 0)
		v.worked(w.axes[0], w.axes[1])
	default:
		v.groupedConv(x, w, int(groups), int(in))
	}
	v.used(w, 0, Out)
	v.follow(v.input(2), 0, w.axes[0], Other)
	v.produce(w.axes[0])
	axes := make([]label, x.rank())
	axes[0], axes[1] = x.axes[0], w.axes[0]
	v.set(0, axes)
}

func (v *visit) groupedConv(x, w *operand, groups, in int) {
	out, lx := v.want(w, 0), v.want(x, 1)
	options := 2
	if in == 1 {
		options = 1 // depthwise
	}
	mode := v.mode(options)
	if options == 2 && in > groups {
		mode = 1 - mode // few large groups: an equal share of each is the finer cut
	}
	if mode == 0 {
		v.fix(w, 1, v.reason("has groups that leave as a whole"))
		if !lx.free() {
			v.pin(out, v.reason("has groups, and reads %q, which is fixed", x.name))
			return
		}
		if !out.free() {
			v.pin(lx, v.reason("has groups, and makes channels that are fixed"))
			return
		}
		heads, made := v.tieRuns(lx, groups), v.tieRuns(out, groups)
		v.join(heads, made)
		v.chosen(options, heads)
		v.worked(out)
		v.edit(func(c *cutter) error {
			v.n.SetAttr(onnx.IntAttr("group", int64(c.count(heads))))
			return nil
		}, heads)
		return
	}
	v.chosen(options, v.tieAcross(out, groups))
	if lx.free() {
		inner := v.tieAcross(lx, groups)
		v.chosen(options, inner)
		v.follow(w, 1, inner, In)
		v.contract(x, 1)
	} else {
		v.fix(w, 1, v.reason("reads %q, which is fixed", x.name))
	}
	v.worked(out, w.axes[1])
}

// convTranspose is the rule of ConvTranspose, whose weight is [in, out/groups, ...].
func (v *visit) convTranspose() {
	x, w := v.input(0), v.input(1)
	if x == nil || w == nil || x.rank() < 3 || w.rank() != x.rank() || w.size(0) < 1 || w.size(1) < 1 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	for a := 2; a < x.rank(); a++ {
		v.fix(x, a, v.reason("slides over them"))
		v.fix(w, a, v.reason("slides over them"))
	}
	groups := int(v.n.IntAttr("group", 1))
	if groups < 1 || x.size(1) != w.size(0) || w.size(0)%int64(groups) != 0 {
		v.pinInputs(v.reason("has %d groups for %d input channels", groups, x.size(1)))
		return
	}
	per := int(w.size(1))
	in := v.tie(x, 1, w, 0)
	v.used(w, 0, In)
	var out label
	switch {
	case groups == 1:
		out = v.want(w, 1)
		v.used(w, 1, Out)
		v.contract(x, 1)
		v.worked(in, out)
	case v.mode(2) == 0:
		// Whole groups leave.
		v.fix(w, 1, v.reason("has groups that leave as a whole"))
		heads := v.tieRuns(in, groups)
		v.chosen(2, heads)
		for _, h := range heads {
			for range per {
				out = append(out, h)
			}
		}
		v.worked(in)
		v.edit(func(c *cutter) error {
			v.n.SetAttr(onnx.IntAttr("group", int64(c.count(heads))))
			return nil
		}, heads)
	default:
		inner := v.want(w, 1)
		v.used(w, 1, Out)
		for range groups {
			out = append(out, inner...)
		}
		if !inner.free() {
			out = nil
		}
		v.chosen(2, inner)
		v.chosen(2, v.tieAcross(in, groups))
		v.contract(x, 1)
		v.worked(in, inner)
	}
	v.follow(v.input(2), 0, out, Other)
	v.produce(out)
	axes := make([]label, x.rank())
	axes[0], axes[1] = x.axes[0], out
	v.set(0, axes)
}

// matMul is the rule of MatMul: [..., M, K] by [..., K, N].
func (v *visit) matMul() {
	a, b := v.input(0), v.input(1)
	if a == nil || b == nil || a.rank() == 0 || b.rank() == 0 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	if v.n.IntAttr("transBatchA", 0) != 0 || v.n.IntAttr("transBatchB", 0) != 0 {
		v.pinInputs(v.reason("transposes axes of the batch"))
		return
	}
	ka, ma := a.rank()-1, a.rank()-2
	kb, nb := max(b.rank()-2, 0), b.rank()-1
	if b.rank() == 1 {
		nb = -1
	}
	if v.n.IntAttr("transA", 0) != 0 && ma >= 0 {
		ka, ma = ma, ka
	}
	if v.n.IntAttr("transB", 0) != 0 && nb >= 0 {
		kb, nb = nb, kb
	}
	k := v.tie(a, ka, b, kb)
	v.contract(a, ka)
	v.contract(b, kb)
	var axes []label
	var labels = []label{k}
	for i := max(a.rank(), b.rank()) - 2; i > 0; i-- { // axes of the batch broadcast
		x, y := a.rank()-2-i, b.rank()-2-i
		hasX, hasY := x >= 0 && a.size(x) != 1, y >= 0 && b.size(y) != 1
		var l label
		switch {
		case hasX && hasY:
			l = v.tie(a, x, b, y)
		case hasX:
			l = v.want(a, x)
		case hasY:
			l = v.want(b, y)
		}
		axes, labels = append(axes, l), append(labels, l)
	}
	if ma >= 0 {
		m := v.want(a, ma)
		v.used(a, ma, Out)
		axes, labels = append(axes, m), append(labels, m)
		if a.con != nil {
			v.produce(m)
		}
	}
	if nb >= 0 {
		n := v.want(b, nb)
		v.used(b, nb, Out)
		axes, labels = append(axes, n), append(labels, n)
		if b.con != nil {
			v.produce(n)
		}
	}
	v.worked(labels...)
	v.set(0, axes)
}

func (v *visit) gemm() {
	a, b := v.input(0), v.input(1)
	if a == nil || b == nil || a.rank() != 2 || b.rank() != 2 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	ka, kb := 1, 0
	if v.n.IntAttr("transA", 0) != 0 {
		ka = 0
	}
	if v.n.IntAttr("transB", 0) != 0 {
		kb = 1
	}
	k := v.tie(a, ka, b, kb)
	v.contract(a, ka)
	v.contract(b, kb)
	m, n := v.want(a, 1-ka), v.want(b, 1-kb)
	v.used(b, 1-kb, Out)
	v.used(a, 1-ka, Out)
	if c := v.input(2); c != nil && c.dims != nil {
		for i, l := range []label{m, n} {
			if at := c.rank() - 2 + i; at >= 0 {
				v.follow(c, at, l, Other)
			}
		}
	}
	if b.con != nil {
		v.produce(n)
	}
	if a.con != nil {
		v.produce(m)
	}
	v.worked(m, n, k)
	v.set(0, []label{m, n})
}

// einsum ties the axes of one letter; those that the result lacks are summed over.
func (v *visit) einsum() {
	equation := strings.ReplaceAll(v.n.StringAttr("equation", ""), " ", "")
	left, right, explicit := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	bad := !explicit || strings.Contains(equation, ".") || len(terms) != len(v.in)
	for i, t := range terms {
		bad = bad || i >= len(v.in) || v.input(i) == nil || v.in[i].rank() != len(t) || repeats(t)
	}
	if bad || repeats(right) {
		v.pinInputs(v.reason("has the equation %q, which channels are not followed through", equation))
		return
	}
	type place struct {
		o    *operand
		axis int
	}
	first := map[byte]place{}
	for i, t := range terms {
		for a := range len(t) {
			o := v.in[i]
			if f, ok := first[t[a]]; ok {
				v.tie(f.o, f.axis, o, a)
				continue
			}
			first[t[a]] = place{o, a}
			v.want(o, a)
		}
	}
	var labels []label
	for i, t := range terms {
		o := v.in[i]
		for a := range len(t) {
			switch summed := !strings.Contains(right, t[a:a+1]); {
			case summed:
				v.contract(o, a)
			case o.con != nil && strings.Count(left, t[a:a+1]) == 1:
				v.used(o, a, Out)
				v.produce(o.axes[a])
			default:
				v.used(o, a, Other)
			}
			if p := first[t[a]]; p.o == o && p.axis == a {
				labels = append(labels, o.axes[a])
			}
		}
	}
	axes := make([]label, len(right))
	for i := range len(right) {
		p, ok := first[right[i]]
		if !ok {
			v.pinInputs(v.reason("has the equation %q, which channels are not followed through", equation))
			return
		}
		axes[i] = p.o.axes[p.axis]
	}
	v.worked(labels...)
	v.set(0, axes)
}

func repeats(s string) bool {
	b := []byte(s)
	slices.Sort(b)
	return len(slices.Compact(b)) != len(s)
}

// gates of recurrent operators: how many times the hidden size the axes of W, R, B and P are.
var gates = map[string]int64{"LSTM": 4, "GRU": 3, "RNN": 1}

// recurrent is the rule of LSTM, GRU and RNN: a hidden number leaves with its rows in all gates, and as an input of the
// next step.
func (v *visit) recurrent() {
	x, w, r := v.input(0), v.input(1), v.input(2)
	hidden := v.n.IntAttr("hidden_size", 0)
	g := gates[v.n.OpType]
	if x == nil || w == nil || r == nil || x.rank() != 3 || w.rank() != 3 || r.rank() != 3 || r.size(2) < 1 ||
		r.size(1) != g*r.size(2) || w.size(1) != g*r.size(2) || hidden != 0 && hidden != r.size(2) {
		v.pinInputs(v.reason("has weights of shapes that do not fit together"))
		return
	}
	hidden = r.size(2)
	if v.n.IntAttr("layout", 0) != 0 {
		v.pinInputs(v.reason("has the batch as its first axis"))
		return
	}
	if w.con == nil || r.con == nil {
		v.pinInputs(v.reason("has weights that are computed"))
		return
	}
	v.fix(x, 0, v.reason("steps through them"))
	v.fix(x, 1, v.reason("has them as its batch"))
	v.tie(x, 2, w, 2)
	v.contract(x, 2)
	v.used(w, 2, In)
	h := v.want(r, 2)
	v.used(r, 2, In)
	times := func(n int64) label {
		var l label
		for range n {
			l = append(l, h...)
		}
		return l
	}
	for _, o := range []struct {
		input, axis int
		times       int64
		role        Role
	}{{1, 1, g, Out}, {2, 1, g, Out}, {3, 1, 2 * g, Other}, {5, 2, 1, Other}, {6, 2, 1, Other}, {7, 1, 3, Other}} {
		if in := v.input(o.input); in != nil && o.axis < in.rank() && in.size(o.axis) == o.times*hidden {
			v.follow(in, o.axis, times(o.times), o.role)
		} else if in != nil {
			v.pin(h, v.reason("reads %q of a shape that is not known", in.name))
		}
	}
	v.produce(h)
	v.edit(func(c *cutter) error {
		v.n.SetAttr(onnx.IntAttr("hidden_size", int64(c.count(h))))
		return nil
	}, h)
	v.set(0, []label{nil, nil, nil, h})
	v.set(1, []label{nil, nil, h})
	v.set(2, []label{nil, nil, h})
}
