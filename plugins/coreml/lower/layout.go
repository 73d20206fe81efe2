package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// layouts change the axes of a tensor, not its elements.
var layouts = []Rule{
	{Op: "Identity", Covers: "All of it: nothing is left of it.", Lower: lowerIdentity},
	{Op: "Dropout", Covers: "At inference: nothing is left of it.", Lower: lowerIdentity},
	{Op: "Reshape", Covers: "Targets that are constant or computed, with -1 and 0; open axes.", Lower: lowerReshape},
	{Op: "Flatten", Covers: "All of it, with one open axis.", Lower: lowerFlatten},
	{Op: "Squeeze", Covers: "All of it.", Lower: lowerSqueeze},
	{Op: "Unsqueeze", Covers: "Constant axes.", Lower: lowerUnsqueeze},
	{Op: "Transpose", Covers: "All of it.", Lower: lowerTranspose},
	{Op: "Shape", Covers: "All of it, also with start and end.", Lower: lowerShape},
	{Op: "Size", Covers: "All of it.", Lower: lowerSize},
}

// reshaped gives a value a fixed shape; a constant stays one.
func (c *Context) reshaped(x Value, shape []int64) Value {
	switch {
	case c.err != nil || !x.Valid():
		return Value{}
	case slices.Equal(x.Shape(), shape):
		return x
	case x.Const() != nil && !slices.Contains(shape, -1):
		return c.From(x.Const().Reshape(shape))
	case len(shape) == 0:
		return c.Emit("squeeze", "x", x, "axes", allAxes(x.Rank()))
	}
	return c.Emit("reshape", "x", x, "shape", slices.Clone(shape))
}

func allAxes(rank int) []int64 {
	out := make([]int64, rank)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

func lowerIdentity(c *Context, n *onnx.Node) error {
	if c.Wants(n, 1) {
		return c.Failf("its mask is read")
	}
	c.Set(n, 0, c.In(n, 0))
	return c.err
}

// dims is what ONNX's own inference knows of a value's shape, with -1 for what is open; ok is false where it does not know
// the number of axes.
func (c *Context) dims(name string) ([]int64, bool) {
	_, ds, ok := c.shapes.Of(name)
	if !ok || ds == nil {
		return nil, false
	}
	out := make([]int64, len(ds))
	for i, d := range ds {
		out[i] = d.Value
	}
	return out, true
}

func lowerReshape(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	target, ok := c.Ints(n, 1)
	if a := n.Attr("shape"); a != nil && c.version < 5 {
		target, ok = a.Ints, true
	}
	if !ok {
		// What is computed is a shape of as many axes as its length tells.
		if out, known := c.dims(n.Output(0)); known && count(out, -1) <= 1 && !slices.Contains(out, 0) && len(out) > 0 {
			c.Set(n, 0, c.reshaped(x, out))
			return c.err
		}
		return c.Result(n, "reshape", "x", x, "shape", c.In(n, 1))
	}
	to := slices.Clone(target)
	if n.IntAttr("allowzero", 0) == 0 {
		for i, d := range to {
			if d == 0 {
				if i >= x.Rank() {
					return c.Failf("its target %v has a 0 at axis %d, which its input of %d axes does not have", target, i, x.Rank())
				}
				to[i] = x.Dim(i)
			}
		}
	}
	if slices.Contains(to, 0) {
		return c.Failf("its result has no elements, and Core ML has no empty tensors")
	}
	// A target with one -1 and open axes taken over may be all known to ONNX's inference but one.
	if count(to, -1) > 1 {
		if out, known := c.dims(n.Output(0)); known && len(out) == len(to) {
			for i := range to {
				if to[i] < 0 {
					to[i] = out[i]
				}
			}
		}
	}
	if x.Fixed() && count(to, -1) == 1 {
		rest := int64(1)
		for _, d := range to {
			if d > 0 {
				rest *= d
			}
		}
		to[slices.Index(to, -1)] = product(x.Shape()) / rest
	}
	if count(to, -1) <= 1 {
		c.Set(n, 0, c.reshaped(x, to))
		return c.err
	}
	// Several axes are open: the shape is put together when the program runs.
	shape := c.Emit("shape", "x", x)
	parts := make([]Value, 0, len(to))
	for i, d := range target {
		if d == 0 {
			parts = append(parts, c.Emit("slice_by_index", "x", shape, "begin", []int64{int64(i)}, "end", []int64{int64(i) + 1}, "stride", []int64{1},
				"begin_mask", []bool{false}, "end_mask", []bool{false}))
		} else {
			parts = append(parts, c.IntsConst([]int64{1}, []int64{d}))
		}
	}
	return c.Result(n, "reshape", "x", x, "shape", c.Emit("concat", "values", parts, "axis", 0, "interleave", false))
}

func count(s []int64, v int64) (n int) {
	for _, d := range s {
		if d == v {
			n++
		}
	}
	return n
}

func lowerFlatten(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	axis := n.IntAttr("axis", 1)
	if axis < 0 {
		axis += int64(x.Rank())
	}
	if axis < 0 || axis > int64(x.Rank()) {
		return c.Failf("there is no axis %d", axis)
	}
	a, b := product(x.Shape()[:axis]), product(x.Shape()[axis:])
	if a < 0 && b < 0 {
		return c.Failf("its axes are open on both sides of axis %d", axis)
	}
	c.Set(n, 0, c.reshaped(x, []int64{a, b}))
	return c.err
}

func lowerSqueeze(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	axes, given, ok := c.IntsOr(n, "axes", 1)
	switch {
	case c.err != nil:
		return c.err
	case !ok:
		return c.Failf("its axes are computed")
	case given:
		axes = c.Axes(axes, x.Rank())
	default:
		for i, d := range x.Shape() {
			if d == 1 {
				axes = append(axes, int64(i))
			}
			if d < 0 {
				return c.Failf("it drops the axes of length 1, and axis %d is open", i)
			}
		}
	}
	if len(axes) == 0 {
		c.Set(n, 0, x)
		return c.err
	}
	if k := x.Const(); k != nil {
		shape := []int64{}
		for i, d := range x.Shape() {
			if !slices.Contains(axes, int64(i)) {
				shape = append(shape, d)
			}
		}
		c.Set(n, 0, c.From(k.Reshape(shape)))
		return c.err
	}
	return c.Result(n, "squeeze", "x", x, "axes", axes)
}

func lowerUnsqueeze(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	axes, _, ok := c.IntsOr(n, "axes", 1)
	if c.err != nil {
		return c.err
	}
	if !ok || len(axes) == 0 {
		return c.Failf("its axes are computed")
	}
	axes = c.Axes(axes, x.Rank()+len(axes))
	if k := x.Const(); k != nil {
		shape := slices.Clone(x.Shape())
		for _, a := range axes {
			shape = slices.Insert(shape, int(a), 1)
		}
		c.Set(n, 0, c.From(k.Reshape(shape)))
		return c.err
	}
	return c.Result(n, "expand_dims", "x", x, "axes", axes)
}

func lowerTranspose(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	perm := n.IntsAttr("perm")
	if perm == nil {
		for i := range x.Rank() {
			perm = append(perm, int64(x.Rank()-1-i))
		}
	}
	if len(perm) != x.Rank() {
		return c.Failf("its perm has %d numbers for %d axes", len(perm), x.Rank())
	}
	if slices.IsSorted(perm) {
		c.Set(n, 0, x)
		return c.err
	}
	if k := x.Const(); k != nil {
		c.Set(n, 0, c.From(k.Transpose(perm)))
		return c.err
	}
	return c.Result(n, "transpose", "x", x, "perm", perm)
}

func lowerShape(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	r := int64(x.Rank())
	clamp := func(v int64) int64 {
		if v < 0 {
			v += r
		}
		return min(max(v, 0), r)
	}
	start, end := clamp(n.IntAttr("start", 0)), clamp(n.IntAttr("end", r))
	if start >= end {
		return c.Failf("its result is empty")
	}
	part := x.Shape()[start:end]
	if !slices.Contains(part, -1) {
		c.Set(n, 0, c.IntsConst([]int64{end - start}, part))
		return c.err
	}
	s := c.Emit("shape", "x", x)
	if start > 0 || end < r {
		s = c.Emit("slice_by_index", "x", s, "begin", []int64{start}, "end", []int64{end}, "stride", []int64{1}, "begin_mask", []bool{false}, "end_mask", []bool{false})
	}
	c.Set(n, 0, s)
	return c.err
}

func lowerSize(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	if x.Fixed() {
		c.Set(n, 0, c.IntsConst(nil, []int64{product(x.Shape())}))
		return c.err
	}
	return c.Result(n, "reduce_prod", "x", c.Emit("shape", "x", x), "axes", []int64{0}, "keep_dims", false)
}
