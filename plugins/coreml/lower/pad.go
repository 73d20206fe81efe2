package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// paddings make tensors longer, or cut them.
var paddings = []Rule{
	{Op: "Pad", Covers: "All modes, constant pads, also negative ones.", Lower: lowerPad},
	{Op: "CenterCropPad", Covers: "A constant shape.", Lower: lowerCenterCropPad},
}

// lowerPad adds elements at the ends of axes, or takes some away.
func lowerPad(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	attr := "pads"
	if n.Attr(attr) == nil {
		attr = "paddings" // of opset 1
	}
	pads, _, ok := c.IntsOr(n, attr, 1)
	if !ok {
		return c.Failf("its pads are not constant")
	}
	axes := axesFrom(0, x.Rank())
	if c.Has(n, 3) {
		if axes, ok = c.Ints(n, 3); !ok {
			return c.Failf("its axes are not constant")
		}
	}
	if len(pads) != 2*len(axes) {
		return c.Failf("it has %d pads for %d axes", len(pads), len(axes))
	}
	value := float64(n.FloatAttr("value", 0))
	var fill Value // where the value is computed
	if c.Has(n, 2) {
		if v, ok := c.Floats(n, 2); ok && len(v) == 1 {
			value = float64(v[0])
		} else {
			fill = c.In(n, 2)
		}
	}
	before, after := make([]int64, x.Rank()), make([]int64, x.Rank())
	for i, a := range axes {
		at := c.Axis(a, x.Rank())
		if c.err != nil {
			return c.err
		}
		before[at], after[at] = pads[i], pads[i+len(axes)]
	}
	c.Set(n, 0, c.Pad(x, before, after, n.StringAttr("mode", "constant"), value, fill))
	return c.err
}

// Pad adds elements at the ends of axes. Negative numbers cut. fill is a computed value in place of value, if Valid.
func (c *Context) Pad(x Value, before, after []int64, mode string, value float64, fill Value) Value {
	before, after = slices.Clone(before), slices.Clone(after)
	longer := false
	for a := range before {
		low, high := max(-before[a], 0), x.Dim(a)-max(-after[a], 0)
		if low > 0 || after[a] < 0 {
			if x.Dim(a) < 0 || high <= low {
				_ = c.Failf("its pads cut all of axis %d, or one that is open", a)
				return Value{}
			}
			x = c.Slice(x, a, low, high)
			if c.err != nil {
				return Value{}
			}
		}
		before[a], after[a] = max(before[a], 0), max(after[a], 0)
		longer = longer || before[a]+after[a] > 0
	}
	if !longer {
		return c.Emit("identity", "x", x)
	}
	kind, float := x.Type.DataType, c.float
	if !x.Float() { // MIL pads floats only; single precision holds 24 bits
		if kind == mil.Bool {
			x = c.Cast(x, mil.Int32)
		}
		c.float = mil.Float32
		x = c.Cast(x, mil.Float32)
	}
	var y Value
	switch mode {
	case "constant":
		y = c.padConstant(x, before, after, value, fill)
	case "reflect", "edge", "wrap":
		y = c.padFrom(x, before, after, mode)
	default:
		_ = c.Failf("there is no mode %q", mode)
	}
	if !kind.Float() {
		y = c.Cast(y, mil.Int32)
		y = c.Cast(y, kind)
	}
	c.float = float
	return y
}

// trailing are pads in pairs for the axes from the first that has any.
func trailing(before, after []int64) (first int, pairs []int64) {
	first = len(before)
	for a := range before {
		if before[a]+after[a] > 0 {
			first = min(first, a)
		}
	}
	for a := first; a < len(before); a++ {
		pairs = append(pairs, before[a], after[a])
	}
	return first, pairs
}

func (c *Context) padConstant(x Value, before, after []int64, value float64, fill Value) Value {
	_, pairs := trailing(before, after)
	if !fill.Valid() {
		return c.Emit("pad", "x", x, "pad", pairs, "mode", "constant", "constant_val", value)
	}
	// 0 around what is there, and the value where a mask of ones has 0.
	if !x.Fixed() {
		_ = c.Failf("its value is computed, and the length of an axis is open")
		return Value{}
	}
	shape, inside := slices.Clone(x.Shape()), []bool{true}
	for a := range shape {
		shape[a] += before[a] + after[a]
	}
	if product(shape) > largestMask {
		_ = c.Failf("its value is computed, and a mask of %v is too large", shape)
		return Value{}
	}
	inside = slices.Repeat(inside, int(product(shape)))
	for p := range inside {
		for a, s := range strides(shape) {
			at := int64(p) / s % shape[a]
			inside[p] = inside[p] && at >= before[a] && at < before[a]+x.Dim(a)
		}
	}
	y := c.Emit("pad", "x", x, "pad", pairs, "mode", "constant", "constant_val", 0.0)
	f := c.Cast(c.Reshape(fill, ones(x.Rank())...), x.Type.DataType)
	return c.Select(c.TruthsConst(shape, inside), y, f)
}

// padFrom repeats what is there: by MIL's pad where only the last two axes grow, which is what runtimes have for it, and
// else by picking places along each axis.
func (c *Context) padFrom(x Value, before, after []int64, mode string) Value {
	first, pairs := trailing(before, after)
	fits := first >= x.Rank()-2 && mode != "wrap"
	for a := range before {
		limit := x.Dim(a)
		if mode == "reflect" {
			limit--
		}
		fits = fits && (x.Dim(a) < 0 || before[a] <= limit && after[a] <= limit)
	}
	if fits {
		name := map[string]string{"reflect": "reflect", "edge": "replicate"}[mode]
		return c.Emit("pad", "x", x, "pad", pairs, "mode", name, "constant_val", 0.0)
	}
	for a := range before {
		if before[a]+after[a] == 0 {
			continue
		}
		d := x.Dim(a)
		if d < 0 {
			_ = c.Failf("axis %d is open, and grows in mode %q", a, mode)
			return Value{}
		}
		if before[a] > longest || after[a] > longest || d > longest {
			_ = c.Failf("axis %d becomes %d longer", a, before[a]+after[a])
			return Value{}
		}
		places := make([]int64, 0, before[a]+d+after[a])
		for i := -before[a]; i < d+after[a]; i++ {
			places = append(places, folded(i, d, mode))
		}
		x = c.Gather(x, c.IntsConst([]int64{int64(len(places))}, places), a)
		if c.err != nil {
			return Value{}
		}
	}
	return x
}

// folded is the place in an axis of d that a place outside of it stands for.
func folded(i, d int64, mode string) int64 {
	switch mode {
	case "edge":
		return min(max(i, 0), d-1)
	case "wrap":
		return ((i % d) + d) % d
	}
	if d == 1 {
		return 0
	}
	period := 2 * (d - 1)
	i = ((i % period) + period) % period
	return min(i, period-i)
}

// lowerCenterCropPad cuts or pads at both ends; of an odd number the end gets one more.
func lowerCenterCropPad(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	to, ok := c.Ints(n, 1)
	if !ok {
		return c.Failf("its shape is not constant")
	}
	if c.err != nil {
		return c.err
	}
	axes := n.IntsAttr("axes")
	if axes == nil {
		axes = axesFrom(0, x.Rank())
	}
	if len(axes) != len(to) {
		return c.Failf("it has %d lengths for %d axes", len(to), len(axes))
	}
	before, after := make([]int64, x.Rank()), make([]int64, x.Rank())
	for i, a := range axes {
		at := c.Axis(a, x.Rank())
		if c.err != nil {
			return c.err
		}
		d := x.Dim(at)
		if d < 0 {
			return c.Failf("axis %d is open", at)
		}
		switch more := to[i] - d; {
		case more >= 0:
			before[at], after[at] = more/2, more-more/2
		default:
			before[at] = -(-more / 2)
			after[at] = more - before[at]
		}
	}
	c.Set(n, 0, c.Pad(x, before, after, "constant", 0, Value{}))
	return c.err
}
