package mil

import (
	"slices"
)

// moveOps put elements elsewhere: they change shapes, join, cut and repeat.
func moveOps() map[string]func(*call) []Type {
	return map[string]func(*call) []Type{
		"reshape": reshape, "transpose": transpose, "squeeze": squeeze, "expand_dims": expandDims, "concat": concat, "stack": stack,
		"split": split, "slice_by_index": sliceByIndex, "slice_by_size": sliceBySize, "slice_update": sliceUpdate, "pad": pad, "tile": tile,
		"reverse": func(c *call) []Type {
			c.axes("axes", len(c.t("x").Shape))
			return one(c.t("x"))
		},
		"reverse_sequence": func(c *call) []Type {
			x := c.t("x")
			c.axis("seq_axis", len(x.Shape))
			c.shape("lengths", x.Shape[c.axis("batch_axis", max(len(x.Shape), 1))])
			return one(x)
		},
		"shape": func(c *call) []Type { return one(of(Int32, int64(len(c.t("x").Shape)))) },
		"fill": func(c *call) []Type {
			c.scalars("value")
			return one(of(c.t("value").DataType, c.lengths("shape")...))
		},
		"range_1d": func(c *call) []Type {
			c.scalars("end", "start", "step")
			end, a := c.known("end")
			start, b := c.known("start")
			step, d := c.known("step")
			if a && b && d && step[0] != 0 {
				n := (end[0] - start[0] + step[0]) / step[0]
				if (end[0]-start[0])%step[0] == 0 {
					n--
				}
				return one(of(c.t("start").DataType, max(n, 0)))
			}
			return one(of(c.t("start").DataType, -1))
		},
		"write_state": func(c *call) []Type {
			t := c.t("input")
			if !t.State {
				c.failf("input is no state")
			}
			if d := c.t("data"); d.DataType != t.DataType {
				c.failf("data is %s, and the state %s", d, t)
			}
			c.shape("data", t.Shape...)
			return nil
		},
		"read_state": func(c *call) []Type {
			t := c.t("input")
			if !t.State {
				c.failf("input is no state")
			}
			t.State = false
			return one(t)
		},
	}
}

// lengths are the numbers of a vector that is a shape: -1 where it is no constant.
func (c *call) lengths(key string) []int64 {
	if v, ok := c.known(key); ok && len(c.t(key).Shape) == 1 {
		return v
	}
	if !c.rank(key, 1, 1) || c.t(key).Shape[0] < 0 || c.t(key).Shape[0] > maxRank {
		c.failf("%s does not tell the number of axes", key)
		return nil
	}
	return slices.Repeat([]int64{-1}, int(c.t(key).Shape[0]))
}

func reshape(c *call) []Type {
	x, to := c.t("x"), slices.Clone(c.lengths("shape"))
	if _, fixed := c.known("shape"); !fixed || c.err != nil {
		return one(of(x.DataType, to...))
	}
	free, n := -1, int64(1)
	for i, d := range to {
		switch {
		case d == -1 && free < 0:
			free = i
		case d < 1:
			c.failf("shape %v: its numbers are at least 1, but for one -1", to)
			return one(x)
		default:
			n *= d
		}
	}
	have := product(x.Shape)
	switch {
	case free >= 0 && have >= 0 && have%n == 0:
		to[free] = have / n
	case have >= 0 && have != n:
		c.failf("%v cannot become %v", x.Shape, to)
	}
	return one(of(x.DataType, to...))
}

func transpose(c *call) []Type {
	x := c.t("x")
	r := len(x.Shape)
	at := c.axes("perm", r)
	if len(at) != r {
		c.failf("perm does not name each of %d axes", r)
		return one(x)
	}
	t := of(x.DataType)
	for _, a := range at {
		t.Shape = append(t.Shape, x.Shape[a])
	}
	return one(t)
}

func squeeze(c *call) []Type {
	x := c.t("x")
	at := c.axes("axes", len(x.Shape))
	for _, a := range at {
		if d := x.Shape[a]; d != 1 && d >= 0 {
			c.failf("axis %d of %v is not 1 long", a, x.Shape)
		}
	}
	return one(of(x.DataType, reduced(x.Shape, at, false)...))
}

func expandDims(c *call) []Type {
	x := c.t("x")
	r := len(x.Shape) + len(c.ints("axes", -1))
	at := c.axes("axes", r)
	t, k := of(x.DataType), 0
	for i := range r {
		if slices.Contains(at, i) {
			t.Shape = append(t.Shape, 1)
		} else if k < len(x.Shape) {
			t.Shape = append(t.Shape, x.Shape[k])
			k++
		}
	}
	return one(t)
}

// alike checks that the values of a variadic argument have one type and number of axes.
func (c *call) alike(vs []Known) Type {
	t := vs[0].Type
	for _, v := range vs[1:] {
		if v.Type.DataType != t.DataType || len(v.Type.Shape) != len(t.Shape) {
			c.failf("values are %s and %s", t, v.Type)
		}
	}
	return t
}

func concat(c *call) []Type {
	vs := c.args["values"]
	t := c.alike(vs)
	at := c.axis("axis", len(t.Shape))
	if c.int("interleave") != 0 {
		c.failf("interleave is not used")
	}
	if c.err != nil {
		return one(t)
	}
	out := slices.Clone(t.Shape)
	for _, v := range vs[1:] {
		for i, d := range v.Type.Shape {
			switch {
			case i == at && (d < 0 || out[i] < 0):
				out[i] = -1
			case i == at:
				out[i] += d
			case out[i] < 0:
				out[i] = d
			default:
				c.agree("lengths of values", out[i], d)
			}
		}
	}
	return one(of(t.DataType, out...))
}

func stack(c *call) []Type {
	vs := c.args["values"]
	t := c.alike(vs)
	at := c.axis("axis", len(t.Shape)+1)
	for _, v := range vs[1:] {
		for i := range v.Type.Shape {
			if c.err == nil {
				c.agree("lengths of values", t.Shape[i], v.Type.Shape[i])
			}
		}
	}
	if c.err != nil {
		return one(t)
	}
	return one(of(t.DataType, slices.Insert(slices.Clone(t.Shape), at, int64(len(vs)))...))
}

func split(c *call) []Type {
	x := c.t("x")
	at := c.axis("axis", len(x.Shape))
	if c.err != nil {
		return one(x)
	}
	var sizes []int64
	switch {
	case c.has("split_sizes"):
		sizes = c.ints("split_sizes", -1)
		sum := int64(0)
		for _, s := range sizes {
			sum += s
		}
		c.agree("the axis and the sum of split_sizes", x.Shape[at], sum)
	case c.has("num_splits"):
		n := c.int("num_splits")
		if n < 1 || n != int64(len(c.op.Outputs)) && len(c.op.Outputs) > 0 || n > 1<<16 || x.Shape[at] < 0 || x.Shape[at]%n != 0 {
			c.failf("an axis of %d cannot be cut into %d equal parts", x.Shape[at], n)
			return one(x)
		}
		sizes = slices.Repeat([]int64{x.Shape[at] / n}, int(n))
	default:
		c.failf("has neither split_sizes nor num_splits")
	}
	out := make([]Type, 0, len(sizes))
	for _, s := range sizes {
		t := of(x.DataType, slices.Clone(x.Shape)...)
		t.Shape[at] = s
		out = append(out, t)
	}
	return out
}

func sliceByIndex(c *call) []Type {
	x := c.t("x")
	r := len(x.Shape)
	stride, bm, em := c.ints("stride", r), c.ints("begin_mask", r), c.ints("end_mask", r)
	squeezed := make([]int64, r)
	if c.has("squeeze_mask") {
		squeezed = c.ints("squeeze_mask", r)
	}
	begin, okB := c.known("begin")
	end, okE := c.known("end")
	c.shape("begin", int64(r))
	c.shape("end", int64(r))
	if c.err != nil {
		return one(x)
	}
	t := of(x.DataType)
	for i, d := range x.Shape {
		if squeezed[i] != 0 {
			continue
		}
		n := int64(-1)
		if d >= 0 && (okB || bm[i] != 0) && (okE || em[i] != 0) {
			var b, e int64
			if okB {
				b = begin[i]
			}
			if okE {
				e = end[i]
			}
			n = sliced(d, b, e, stride[i], bm[i] != 0, em[i] != 0)
		} else if bm[i] != 0 && em[i] != 0 && (stride[i] == 1 || stride[i] == -1) {
			n = d
		}
		if n == 0 {
			c.failf("nothing is left of axis %d", i)
		}
		if stride[i] == 0 {
			c.failf("a stride is 0")
			return one(x)
		}
		t.Shape = append(t.Shape, n)
	}
	return one(t)
}

// sliced is how many of d elements a slice takes.
func sliced(d, begin, end, step int64, noBegin, noEnd bool) int64 {
	if step == 0 {
		return 0
	}
	if begin < 0 {
		begin += d
	}
	if end < 0 {
		end += d
	}
	if step > 0 {
		if noBegin {
			begin = 0
		}
		if noEnd {
			end = d
		}
		begin, end = min(max(begin, 0), d), min(max(end, 0), d)
		return max(0, (end-begin+step-1)/step)
	}
	if noBegin {
		begin = d - 1
	}
	if noEnd {
		end = -1
	}
	begin, end = min(begin, d-1), max(end, -1)
	return max(0, (begin-end-step-1)/-step)
}

func sliceBySize(c *call) []Type {
	x := c.t("x")
	r := int64(len(x.Shape))
	c.shape("begin", r)
	c.shape("size", r)
	begin, okB := c.known("begin")
	size, okS := c.known("size")
	t := of(x.DataType)
	for i, d := range x.Shape {
		n := int64(-1)
		if okS && c.err == nil {
			n = size[i]
			if n == -1 && okB && d >= 0 && begin[i] >= 0 {
				n = d - begin[i]
			}
		}
		t.Shape = append(t.Shape, n)
	}
	return one(t)
}

func sliceUpdate(c *call) []Type {
	r := int64(len(c.t("x").Shape))
	c.shape("begin", r)
	c.shape("end", r)
	c.ints("stride", int(r))
	return one(c.t("x"))
}

func pad(c *call) []Type {
	x := c.t("x")
	kind := c.text("mode", "constant", "reflect", "replicate")
	c.scalars("constant_val")
	if d := c.t("constant_val").DataType; d != x.DataType {
		c.failf("constant_val is %s, and x %s", d, x.DataType)
	}
	p, ok := c.known("pad")
	r := len(x.Shape)
	if !ok {
		return one(of(x.DataType, slices.Repeat([]int64{-1}, r)...))
	}
	if len(p)%2 != 0 || len(p) > 2*r || len(c.t("pad").Shape) != 1 {
		c.failf("pad has %d numbers for %d axes", len(p), r)
		return one(x)
	}
	out, first := slices.Clone(x.Shape), r-len(p)/2
	for i := first; i < r; i++ {
		a, b := p[2*(i-first)], p[2*(i-first)+1]
		if a < 0 || b < 0 {
			c.failf("pad is negative")
		}
		if out[i] < 0 {
			continue
		}
		if kind == "reflect" && max(a, b) >= out[i] {
			c.failf("axis %d of %d cannot be reflected by %d", i, out[i], max(a, b))
		}
		out[i] += a + b
	}
	return one(of(x.DataType, out...))
}

func tile(c *call) []Type {
	x := c.t("x")
	r, ok := c.known("reps")
	if !ok {
		return one(of(x.DataType, slices.Repeat([]int64{-1}, len(x.Shape))...))
	}
	if len(r) != len(x.Shape) {
		c.failf("reps has %d numbers for %d axes", len(r), len(x.Shape))
		return one(x)
	}
	out := slices.Clone(x.Shape)
	for i, n := range r {
		if n < 1 {
			c.failf("reps are at least 1")
		}
		if out[i] >= 0 {
			out[i] *= n
		}
	}
	return one(of(x.DataType, out...))
}
