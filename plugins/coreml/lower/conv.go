package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

var convolutions = []Rule{
	{Op: "Conv", Covers: "One to three axes of space, any padding, strides, dilations and groups; weights that are computed, without dilations.", Lower: lowerConv},
	{Op: "ConvTranspose", Covers: "One to three axes of space, any padding, strides, dilations and groups, output_padding and output_shape.", Lower: lowerConvTranspose},
}

// window is what slides over n axes of space, as ONNX says it: pads holds all beginnings, then all ends.
type window struct {
	kernel, strides, dilations, pads []int64
	auto                             string
}

func ones(n int) []int64 { return slices.Repeat([]int64{1}, n) }

// windowOf reads the attributes of a node. kernel is the window's size where no attribute says it.
func (c *Context) windowOf(n *onnx.Node, axes int, kernel []int64) window {
	w := window{kernel: kernel, auto: n.StringAttr("auto_pad", "NOTSET")}
	if k := n.IntsAttr("kernel_shape"); k != nil {
		w.kernel = k
	}
	take := func(attr string, def []int64) []int64 {
		v := n.IntsAttr(attr)
		if v == nil {
			return def
		}
		if len(v) != len(def) {
			_ = c.Failf("its attribute %s has %d numbers for %d axes of space", attr, len(v), axes)
			return def
		}
		return v
	}
	w.strides, w.dilations, w.pads = take("strides", ones(axes)), take("dilations", ones(axes)), take("pads", make([]int64, 2*axes))
	if len(w.kernel) != axes {
		_ = c.Failf("its window has %d axes, and its input %d axes of space", len(w.kernel), axes)
	}
	return w
}

// padding gives MIL's pad_type and pad: beginning and end of each axis in turn. Where auto_pad is said and an axis is open,
// MIL works the padding out.
func (c *Context) padding(w window, space []int64) (kind string, pads []int64) {
	n := len(space)
	pads = make([]int64, 2*n)
	switch w.auto {
	case "NOTSET", "":
		for i := range n {
			pads[2*i], pads[2*i+1] = w.pads[i], w.pads[n+i]
			if min(pads[2*i], pads[2*i+1]) < 0 {
				_ = c.Failf("its padding is negative")
			}
		}
		return "custom", pads
	case "VALID":
		return "valid", pads
	case "SAME_UPPER", "SAME_LOWER":
	default:
		_ = c.Failf("auto_pad is %q", w.auto)
		return "valid", pads
	}
	if slices.Contains(space, -1) {
		if w.auto == "SAME_UPPER" {
			return "same", pads
		}
		if c.Opset() < 6 {
			_ = c.Failf("auto_pad SAME_LOWER with open axes needs %s", deployment(6))
		}
		return "same_lower", pads
	}
	for i, d := range space {
		out := (d + w.strides[i] - 1) / w.strides[i]
		total := max((out-1)*w.strides[i]+(w.kernel[i]-1)*w.dilations[i]+1-d, 0)
		pads[2*i], pads[2*i+1] = total/2, total-total/2
		if w.auto == "SAME_LOWER" {
			pads[2*i], pads[2*i+1] = pads[2*i+1], pads[2*i]
		}
	}
	return "custom", pads
}

// space checks that a tensor has one to three axes of space, and gives them.
func (c *Context) space(x Value) []int64 {
	if c.err != nil || !x.Valid() {
		return nil
	}
	if r := x.Rank(); r < 3 || r > 5 {
		_ = c.Failf("its input has %d axes, and Core ML slides over one to three axes of space", r)
		return nil
	}
	return x.Shape()[2:]
}

func lowerConv(c *Context, n *onnx.Node) error {
	x, weight := c.In(n, 0), c.In(n, 1)
	space := c.space(x)
	if c.err != nil {
		return c.err
	}
	w := c.windowOf(n, len(space), weight.Shape()[min(2, weight.Rank()):])
	if c.err != nil {
		return c.err
	}
	if weight.Const() == nil && slices.Max(w.dilations) > 1 {
		return c.Failf("its weight is computed, and Core ML dilates constant ones only")
	}
	kind, pads := c.padding(w, space)
	y := c.convolve("conv", n, x, weight, "strides", w.strides, "pad_type", kind, "pad", pads, "dilations", w.dilations, "groups", n.IntAttr("group", 1))
	c.Set(n, 0, y)
	return c.err
}

// convolve emits a convolution with its bias. A bias that is computed is an argument from iOS 17 on, and added before.
func (c *Context) convolve(op string, n *onnx.Node, x, weight Value, args ...any) Value {
	bias := c.In(n, 2)
	all := append([]any{"x", x, "weight", weight}, args...)
	if !bias.Valid() || bias.Const() != nil || c.Opset() >= 7 {
		return c.Emit(op, append(all, "bias", bias)...)
	}
	shape := append([]int64{1, bias.Dim(0)}, ones(x.Rank()-2)...)
	return c.Emit("add", "x", c.Emit(op, all...), "y", c.Emit("reshape", "x", bias, "shape", shape))
}

func lowerConvTranspose(c *Context, n *onnx.Node) error {
	x, weight := c.In(n, 0), c.In(n, 1)
	space := c.space(x)
	if c.err != nil {
		return c.err
	}
	axes := len(space)
	w := c.windowOf(n, axes, weight.Shape()[min(2, weight.Rank()):])
	extra := make([]int64, axes)
	if v := n.IntsAttr("output_padding"); len(v) == axes {
		extra = v
	}
	if c.err != nil {
		return c.err
	}
	pads := make([]int64, 2*axes)
	more := make([]int64, 2*axes) // what is added behind, where nothing is cut off
	want := n.IntsAttr("output_shape")
	for i := range axes {
		begin, end := w.pads[i], w.pads[axes+i]-extra[i]
		if want != nil || w.auto == "SAME_UPPER" || w.auto == "SAME_LOWER" {
			if space[i] < 0 {
				return c.Failf("its padding depends on axis %d, which is open", 2+i)
			}
			out := space[i] * w.strides[i]
			if want != nil {
				out = want[len(want)-axes+i]
			}
			total := max((space[i]-1)*w.strides[i]+extra[i]+(w.kernel[i]-1)*w.dilations[i]+1-out, 0)
			begin = total - total/2
			if w.auto == "SAME_UPPER" {
				begin = total / 2
			}
			end = total - begin - extra[i]
		}
		if w.auto == "VALID" {
			begin, end = 0, -extra[i]
		}
		pads[2*i], pads[2*i+1], more[2*i+1] = begin, max(end, 0), max(-end, 0)
	}
	args := []any{"strides", w.strides, "pad_type", "custom", "pad", pads, "dilations", w.dilations, "groups", n.IntAttr("group", 1)}
	if slices.Max(more) == 0 {
		c.Set(n, 0, c.convolve("conv_transpose", n, x, weight, args...))
		return c.err
	}
	// Behind the last step there is nothing but the bias.
	y := c.Emit("conv_transpose", append([]any{"x", x, "weight", weight}, args...)...)
	y = c.Emit("pad", "x", y, "pad", more, "mode", "constant", "constant_val", 0.0)
	if bias := c.In(n, 2); bias.Valid() {
		y = c.Emit("add", "x", y, "y", c.reshaped(bias, append([]int64{1, bias.Dim(0)}, ones(axes)...)))
	}
	c.Set(n, 0, y)
	return c.err
}
