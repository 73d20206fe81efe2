package mil

import (
	"slices"
	"strings"
)

// layerOps are convolutions, pooling, normalization and products of matrices.
func layerOps() map[string]func(*call) []Type {
	m := map[string]func(*call) []Type{
		"conv": conv, "conv_transpose": convTranspose, "linear": linear, "matmul": matmul, "einsum": einsum,
		"batch_norm": batchNorm, "instance_norm": instanceNorm, "layer_norm": layerNorm,
	}
	m["local_response_norm"] = func(c *call) []Type {
		c.rank("x", 3, maxRank)
		c.scalars("size", "alpha", "beta", "k")
		return one(c.t("x"))
	}
	for _, op := range []string{"avg_pool", "max_pool"} {
		m[op] = pool
	}
	m["scaled_dot_product_attention"] = func(c *call) []Type {
		q, k, v := c.t("query").Shape, c.t("key").Shape, c.t("value").Shape
		if r := len(q); r < 3 || len(k) != r || len(v) != r {
			c.failf("query, key and value have %d, %d and %d axes, and need as many, at least 3", r, len(k), len(v))
			return one(c.t("query"))
		}
		r := len(q)
		c.agree("the widths of query and key", q[r-1], k[r-1])
		c.agree("the lengths of key and value", k[r-2], v[r-2])
		out := append(c.broadcast(c.broadcast(q[:r-2], k[:r-2]), v[:r-2]), q[r-2], v[r-1])
		if c.has("attn_mask") {
			c.broadcast(append(slices.Clone(out[:r-1]), k[r-2]), c.t("attn_mask").Shape)
		}
		return one(of(c.t("query").DataType, out...))
	}
	return m
}

// agree checks that two lengths are equal, where both are known.
func (c *call) agree(what string, a, b int64) {
	if a >= 0 && b >= 0 && a != b {
		c.failf("%s are %d and %d", what, a, b)
	}
}

// window holds the arguments of what slides over space: vectors along n axes.
type window struct{ strides, pads, dilations []int64 }

func (c *call) window(n int, dilated bool) window {
	w := window{strides: c.ints("strides", n), pads: c.ints("pad", 2*n), dilations: slices.Repeat([]int64{1}, n)}
	if dilated {
		w.dilations = c.ints("dilations", n)
	}
	for i := range n {
		if w.strides[i] < 1 || w.dilations[i] < 1 {
			c.failf("strides and dilations are at least 1")
			return w
		}
	}
	if slices.Min(append(slices.Clone(w.pads), 0)) < 0 {
		c.failf("pad is negative")
	}
	return w
}

// slid is the length along axis i after a window of k has gone over d.
func (c *call) slid(w window, i int, d, k int64, kind string, up bool) int64 {
	if d < 0 {
		return -1
	}
	eff := (k-1)*w.dilations[i] + 1
	if kind == "same" || kind == "same_lower" {
		return (d + w.strides[i] - 1) / w.strides[i]
	}
	if kind == "custom" {
		d += w.pads[2*i] + w.pads[2*i+1]
	}
	if d < eff {
		c.failf("a window of %d does not fit into %d", eff, d)
		return 0
	}
	n := d - eff
	if up {
		n += w.strides[i] - 1
	}
	return n/w.strides[i] + 1
}

func (c *call) padType() string {
	if c.spec < 7 {
		return c.text("pad_type", "valid", "custom", "same")
	}
	return c.text("pad_type", "valid", "custom", "same", "same_lower")
}

func conv(c *call) []Type {
	x, w := c.t("x"), c.t("weight")
	if !c.rank("x", 3, 5) {
		return one(x)
	}
	n := len(x.Shape) - 2
	if len(w.Shape) != n+2 {
		c.failf("weight has %d axes, and x %d", len(w.Shape), len(x.Shape))
		return one(x)
	}
	win, groups := c.window(n, true), c.int("groups")
	kind := c.padType()
	switch {
	case c.err != nil:
		return one(x)
	case groups < 1 || w.Shape[0]%groups != 0:
		c.failf("%d channels cannot be made of %d groups", w.Shape[0], groups)
		return one(x)
	}
	c.agree("the channels of x and those that weight and groups make", x.Shape[1], w.Shape[1]*groups)
	c.shape("bias", w.Shape[0])
	out := of(x.DataType, x.Shape[0], w.Shape[0])
	for i := range n {
		out.Shape = append(out.Shape, c.slid(win, i, x.Shape[2+i], w.Shape[2+i], kind, false))
	}
	return one(out)
}

func convTranspose(c *call) []Type {
	x, w := c.t("x"), c.t("weight")
	if !c.rank("x", 3, 5) {
		return one(x)
	}
	n := len(x.Shape) - 2
	if len(w.Shape) != n+2 {
		c.failf("weight has %d axes, and x %d", len(w.Shape), len(x.Shape))
		return one(x)
	}
	win, groups := c.window(n, true), c.int("groups")
	kind := c.text("pad_type", "valid", "custom", "same")
	if c.err != nil {
		return one(x)
	}
	c.agree("the channels of x and of weight", x.Shape[1], w.Shape[0])
	c.shape("bias", w.Shape[1]*groups)
	out := of(x.DataType, x.Shape[0], w.Shape[1]*groups)
	if c.has("output_shape") {
		want := c.ints("output_shape", n+2)
		return one(of(x.DataType, append(slices.Clone(out.Shape), want[2:]...)...))
	}
	for i := range n {
		d := x.Shape[2+i]
		switch {
		case d < 0:
		case kind == "same":
			d *= win.strides[i]
		default:
			d = (d-1)*win.strides[i] + (w.Shape[2+i]-1)*win.dilations[i] + 1
			if kind == "custom" {
				d -= win.pads[2*i] + win.pads[2*i+1]
			}
			if d < 1 {
				c.failf("nothing is left of axis %d", 2+i)
			}
		}
		out.Shape = append(out.Shape, d)
	}
	return one(out)
}

func pool(c *call) []Type {
	x := c.t("x")
	if !c.rank("x", 3, 5) {
		return one(x)
	}
	n := len(x.Shape) - 2
	k, win, up := c.ints("kernel_sizes", n), c.window(n, false), c.int("ceil_mode") != 0
	kind := c.padType()
	if up && (kind == "same" || kind == "same_lower") {
		c.failf("ceil_mode does not go with pad_type %q", kind)
	}
	if up && n == 3 {
		c.failf("ceil_mode does not go with three axes of space")
	}
	if up {
		for i := range n {
			c.agree("with ceil_mode the paddings at both ends", win.pads[2*i], win.pads[2*i+1])
		}
	}
	if c.has("exclude_padding_from_average") {
		c.scalars("exclude_padding_from_average")
	}
	if c.err != nil {
		return one(x)
	}
	out := of(x.DataType, x.Shape[:2:2]...)
	for i := range n {
		d := c.slid(win, i, x.Shape[2+i], k[i], kind, up)
		// A last window that would begin in the padding is left out.
		if up && d > 0 && (d-1)*win.strides[i] >= x.Shape[2+i]+win.pads[2*i] {
			d--
		}
		out.Shape = append(out.Shape, d)
	}
	return one(out)
}

func batchNorm(c *call) []Type {
	x := c.t("x")
	if c.rank("x", 3, 5) {
		for _, k := range []string{"mean", "variance", "gamma", "beta"} {
			c.shape(k, x.Shape[1])
		}
	}
	c.scalars("epsilon")
	return one(x)
}

func instanceNorm(c *call) []Type {
	x := c.t("x")
	if c.rank("x", 3, 5) {
		c.shape("gamma", x.Shape[1])
		c.shape("beta", x.Shape[1])
	}
	c.scalars("epsilon")
	return one(x)
}

func layerNorm(c *call) []Type {
	x := c.t("x")
	at := c.axes("axes", len(x.Shape))
	want := make([]int64, 0, len(at))
	for _, a := range at {
		want = append(want, x.Shape[a])
	}
	c.shape("gamma", want...)
	c.shape("beta", want...)
	c.scalars("epsilon")
	return one(x)
}

func linear(c *call) []Type {
	x, w := c.t("x"), c.t("weight")
	if !c.rank("x", 1, 3) || !c.rank("weight", 2, 2) {
		return one(x)
	}
	r := len(x.Shape)
	c.agree("the widths of x and weight", x.Shape[r-1], w.Shape[1])
	c.shape("bias", w.Shape[0])
	return one(of(x.DataType, append(slices.Clone(x.Shape[:r-1]), w.Shape[0])...))
}

func matmul(c *call) []Type {
	x, y := c.t("x"), c.t("y")
	a, b := slices.Clone(x.Shape), slices.Clone(y.Shape)
	if len(a) == 0 || len(b) == 0 {
		c.failf("x and y are no scalars")
		return one(x)
	}
	oneA, oneB := len(a) == 1, len(b) == 1
	if oneA {
		a = append([]int64{1}, a...)
	}
	if oneB {
		b = append(b, 1)
	}
	flip := func(s []int64, yes bool) {
		if yes {
			n := len(s)
			s[n-1], s[n-2] = s[n-2], s[n-1]
		}
	}
	flip(a, c.int("transpose_x") != 0 && !oneA)
	flip(b, c.int("transpose_y") != 0 && !oneB)
	n, k := len(a), len(b)
	c.agree("the inner lengths of x and y", a[n-1], b[k-2])
	out := c.broadcast(a[:n-2], b[:k-2])
	if !oneA {
		out = append(out, a[n-2])
	}
	if !oneB {
		out = append(out, b[k-1])
	}
	return one(of(x.DataType, out...))
}

func einsum(c *call) []Type {
	eq := strings.ReplaceAll(c.text("equation"), " ", "")
	in, out, ok := strings.Cut(eq, "->")
	names := strings.Split(in, ",")
	vs := c.args["values"]
	if !ok || len(names) != len(vs) || len(vs) != 2 {
		c.failf("equation %q does not fit %d values", eq, len(vs))
		return one(Type{})
	}
	size := map[rune]int64{}
	for i, s := range names {
		if len(s) != len(vs[i].Type.Shape) || strings.Contains(s, ".") {
			c.failf("equation %q does not fit values of %v", eq, vs[i].Type.Shape)
			return one(Type{})
		}
		for j, r := range s {
			if d, ok := size[r]; ok && d >= 0 {
				c.agree("lengths of one letter", d, vs[i].Type.Shape[j])
				continue
			}
			size[r] = vs[i].Type.Shape[j]
		}
	}
	t := Type{DataType: vs[0].Type.DataType}
	for _, r := range out {
		d, ok := size[r]
		if !ok {
			c.failf("equation %q makes %c of nothing", eq, r)
		}
		t.Shape = append(t.Shape, d)
	}
	return one(t)
}
