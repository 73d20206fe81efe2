package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

var pooling = []Rule{
	{Op: "MaxPool", Covers: "One to three axes of space, any padding and strides, ceil_mode; no dilations, no indices.", Lower: lowerMaxPool},
	{Op: "AveragePool", Covers: "One to three axes of space, any padding and strides, ceil_mode, count_include_pad; no dilations.", Lower: lowerAveragePool},
	{Op: "LpPool", Covers: "One to three axes of space, any p; no dilations, no ceil_mode.", Lower: lowerLpPool},
	{Op: "GlobalAveragePool", Covers: "All of it.", Lower: overSpace("reduce_mean")},
	{Op: "GlobalMaxPool", Covers: "All of it.", Lower: overSpace("reduce_max")},
	{Op: "GlobalLpPool", Covers: "p of 1 and 2.", Lower: lowerGlobalLpPool},
}

// overSpace reduces all axes of space.
func overSpace(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		x := c.In(n, 0)
		if c.err != nil {
			return c.err
		}
		if x.Rank() < 3 {
			return c.Failf("its input has no axes of space")
		}
		axes := make([]int64, x.Rank()-2)
		for i := range axes {
			axes[i] = int64(2 + i)
		}
		return c.Result(n, op, "x", x, "axes", axes, "keep_dims", true)
	}
}

func lowerGlobalLpPool(c *Context, n *onnx.Node) error {
	switch p := n.IntAttr("p", 2); p {
	case 1:
		return overSpace("reduce_l1_norm")(c, n)
	case 2:
		return overSpace("reduce_l2_norm")(c, n)
	default:
		return c.Failf("its p is %d, and Core ML has norms of 1 and 2", p)
	}
}

// pooled works out a pool's window. Rounding up becomes padding at the end; extra is how much of that there is.
func (c *Context) pooled(n *onnx.Node, x Value) (w window, kind string, pads []int64, extra bool) {
	space := c.space(x)
	if c.err != nil {
		return
	}
	w = c.windowOf(n, len(space), nil)
	if c.err == nil && slices.Max(w.dilations) > 1 {
		_ = c.Failf("its window is dilated, and Core ML's are not")
	}
	if c.err != nil {
		return
	}
	kind, pads = c.padding(w, space)
	if n.IntAttr("ceil_mode", 0) == 0 || kind != "custom" {
		return
	}
	for i, d := range space {
		s, k := w.strides[i], w.kernel[i]
		if s == 1 {
			continue
		}
		if d < 0 {
			_ = c.Failf("its axis %d is open, and ceil_mode needs to know it", 2+i)
			return
		}
		room := d + pads[2*i] + pads[2*i+1] - k
		down, up := room/s+1, (room+s-1)/s+1
		// No window begins in the padding at the end.
		if (up-1)*s >= d+pads[2*i] {
			up--
		}
		if up > down {
			pads[2*i+1] = (up-1)*s + k - d - pads[2*i]
			extra = true
		}
	}
	return
}

func lowerMaxPool(c *Context, n *onnx.Node) error {
	if c.Wants(n, 1) {
		return c.Failf("its indices are read, and Core ML's pooling gives none")
	}
	x := c.In(n, 0)
	w, kind, pads, _ := c.pooled(n, x)
	return c.Result(n, "max_pool", "x", x, "kernel_sizes", w.kernel, "strides", w.strides, "pad_type", kind, "pad", pads, "ceil_mode", false)
}

func lowerAveragePool(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	w, kind, pads, extra := c.pooled(n, x)
	if c.err != nil {
		return c.err
	}
	exclude := n.IntAttr("count_include_pad", 0) == 0
	if !exclude && extra {
		// The padding counts, but not what rounding up adds to it: zeros in the place of the padding.
		_, own := c.padding(w, x.Shape()[2:])
		x = c.Emit("pad", "x", x, "pad", own, "mode", "constant", "constant_val", 0.0)
		for i := range own {
			pads[i] -= own[i]
		}
		exclude = true
	}
	return c.Result(n, "avg_pool", "x", x, "kernel_sizes", w.kernel, "strides", w.strides, "pad_type", kind, "pad", pads,
		"ceil_mode", false, "exclude_padding_from_average", exclude)
}

// lowerLpPool: (sum |x|^p)^(1/p), the sum as an average times the window's size.
func lowerLpPool(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	w, kind, pads, _ := c.pooled(n, x)
	if c.err != nil {
		return c.err
	}
	if n.IntAttr("ceil_mode", 0) != 0 {
		return c.Failf("it has ceil_mode")
	}
	p := n.IntAttr("p", 2)
	if p < 1 {
		return c.Failf("its p is %d", p)
	}
	y := c.Emit("abs", "x", x)
	if p > 1 {
		y = c.Emit("pow", "x", y, "y", float64(p))
	}
	y = c.Emit("avg_pool", "x", y, "kernel_sizes", w.kernel, "strides", w.strides, "pad_type", kind, "pad", pads,
		"ceil_mode", false, "exclude_padding_from_average", false)
	y = c.Emit("mul", "x", y, "y", float64(product(w.kernel)))
	if p > 1 {
		y = c.Emit("pow", "x", y, "y", 1/float64(p))
	}
	c.Set(n, 0, y)
	return c.err
}
