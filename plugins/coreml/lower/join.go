package lower

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// joins put tensors together and take them apart.
var joins = []Rule{
	{Op: "Concat", Covers: "All of it.", Lower: lowerConcat},
	{Op: "Split", Covers: "Constant sizes, or equal parts.", Lower: lowerSplit},
	{Op: "Slice", Covers: "Constant starts, ends, axes and steps, also backwards; open axes.", Lower: lowerSlice},
}

func lowerConcat(c *Context, n *onnx.Node) error {
	var parts []Value
	for i := range n.Inputs() {
		// What is empty adds nothing.
		if x := c.In(n, i); x.Valid() && product(x.Shape()) != 0 {
			parts = append(parts, x)
		}
	}
	if c.err != nil {
		return c.err
	}
	if len(parts) == 0 {
		return c.Failf("its result has no elements, and Core ML has no empty tensors")
	}
	axis := c.Axis(n.IntAttr("axis", 0), parts[0].Rank())
	if len(parts) == 1 {
		c.Set(n, 0, parts[0])
		return c.err
	}
	if !parts[0].Float() && !slices.ContainsFunc(parts, func(v Value) bool { return v.Const() == nil || v.Rank() != 1 }) {
		var all []int64
		for _, v := range parts {
			all = append(all, v.Const().ints...)
		}
		c.Set(n, 0, c.IntsConst([]int64{int64(len(all))}, all))
		return c.err
	}
	return c.Result(n, "concat", "values", parts, "axis", axis, "interleave", false)
}

func lowerSplit(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	sizes, given, ok := c.IntsOr(n, "split", 1)
	if c.err != nil {
		return c.err
	}
	if !ok {
		return c.Failf("its sizes are computed")
	}
	axis := c.Axis(n.IntAttr("axis", 0), x.Rank())
	d := x.Dim(axis)
	if !given {
		parts := int64(len(n.Outputs()))
		if d < 0 {
			return c.Failf("it cuts axis %d, which is open, into equal parts", axis)
		}
		// The last part is the smaller one (num_outputs).
		size := (d + parts - 1) / parts
		for left := d; left > 0; left -= size {
			sizes = append(sizes, min(size, left))
		}
	}
	if len(sizes) != len(n.Outputs()) || slices.Contains(sizes, 0) {
		return c.Failf("it cuts %d into parts of %v for %d outputs", d, sizes, len(n.Outputs()))
	}
	if len(sizes) == 1 {
		c.Set(n, 0, x)
		return c.err
	}
	for i, y := range c.EmitAll("split", "x", x, "split_sizes", sizes, "axis", axis) {
		c.Set(n, i, y)
	}
	return c.err
}

func lowerSlice(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	starts, given, ok := c.IntsOr(n, "starts", 1)
	ends, _, ok2 := c.IntsOr(n, "ends", 2)
	axes, someAxes, ok3 := c.IntsOr(n, "axes", 3)
	steps, someSteps, ok4 := c.IntsOr(n, "steps", 4)
	if !ok || !ok2 || !ok3 || !ok4 {
		return c.sliceComputed(n, x)
	}
	if !given || len(starts) != len(ends) {
		return c.Failf("it has %d starts and %d ends", len(starts), len(ends))
	}
	if !someAxes {
		axes = allAxes(len(starts))
	}
	if !someSteps {
		steps = ones(len(starts))
	}
	if len(axes) != len(starts) || len(steps) != len(starts) {
		return c.Failf("it has %d starts, %d axes and %d steps", len(starts), len(axes), len(steps))
	}
	r := x.Rank()
	begin, end, stride := make([]int64, r), make([]int64, r), ones(r)
	first, last := slices.Repeat([]bool{true}, r), slices.Repeat([]bool{true}, r)
	for i, a := range axes {
		at := c.Axis(a, r)
		if c.err != nil {
			return c.err
		}
		if err := c.cut(x.Dim(at), starts[i], ends[i], steps[i], &begin[at], &end[at], &first[at], &last[at]); err != nil {
			return err
		}
		stride[at] = steps[i]
	}
	if !slices.Contains(first, false) && !slices.Contains(last, false) && slices.Min(append(slices.Clone(stride), 1)) == 1 && slices.Max(append(slices.Clone(stride), 1)) == 1 {
		c.Set(n, 0, x)
		return c.err
	}
	return c.Result(n, "slice_by_index", "x", x, "begin", begin, "end", end, "stride", stride, "begin_mask", first, "end_mask", last)
}

// cut works out one axis of a slice: d long, -1 where that is open. Masks say that it goes from or to the very end.
func (c *Context) cut(d, start, stop, step int64, begin, end *int64, first, last *bool) error {
	const far = math.MaxInt32
	switch {
	case step == 0:
		return c.Failf("its step is 0")
	case step > 0:
		if d >= 0 {
			start, stop = clampIndex(start, d, 0, d), clampIndex(stop, d, 0, d)
			if start >= stop {
				return c.Failf("its result has no elements, and Core ML has no empty tensors")
			}
		}
		*first, *last = start == 0, stop == d || d < 0 && stop >= far
	default:
		if d >= 0 {
			start, stop = clampIndex(start, d, 0, d-1), clampIndex(stop, d, -1, d-1)
			if start <= stop {
				return c.Failf("its result has no elements, and Core ML has no empty tensors")
			}
			*first, *last = start == d-1, stop == -1
		} else {
			*first, *last = start == -1 || start >= far, stop < -far
		}
	}
	// Where a mask counts the number does not.
	if *first {
		start = 0
	}
	if *last {
		stop = 0
	}
	*begin, *end = start, stop
	return nil
}

// clampIndex is an index of an axis of d, counted from the front, within bounds.
func clampIndex(v, d, low, high int64) int64 {
	if v < 0 {
		v += d
	}
	return min(max(v, low), high)
}

// sliceComputed is a slice whose starts or ends are computed: along one axis each, step 1.
func (c *Context) sliceComputed(n *onnx.Node, x Value) error {
	axes, given, ok := c.IntsOr(n, "axes", 3)
	steps, some, ok2 := c.IntsOr(n, "steps", 4)
	start, end := c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	if !ok || !ok2 || start.Rank() != 1 || start.Dim(0) < 1 || some && (slices.Min(steps) != 1 || slices.Max(steps) != 1) {
		return c.Failf("its axes or steps are computed")
	}
	k := int(start.Dim(0))
	if !given {
		axes = allAxes(k)
	}
	if len(axes) != k {
		return c.Failf("it has %d starts and %d axes", k, len(axes))
	}
	r := x.Rank()
	masks := slices.Repeat([]bool{true}, r)
	zero := c.IntsConst([]int64{1}, []int64{0})
	begins, ends := slices.Repeat([]Value{zero}, r), slices.Repeat([]Value{zero}, r)
	part := func(v Value, i int) Value {
		if k == 1 {
			return v
		}
		if kc := v.Const(); kc != nil {
			return c.IntsConst([]int64{1}, kc.ints[i:i+1])
		}
		return c.Emit("slice_by_index", "x", v, "begin", []int64{int64(i)}, "end", []int64{int64(i) + 1}, "stride", []int64{1}, "begin_mask", []bool{false}, "end_mask", []bool{false})
	}
	endMasks := slices.Clone(masks)
	for i, a := range axes {
		at := c.Axis(a, r)
		if c.err != nil {
			return c.err
		}
		begins[at], ends[at] = part(start, i), part(end, i)
		masks[at] = false
		endMasks[at] = end.Const() != nil && end.Const().ints[i] == math.MaxInt32
	}
	join := func(v []Value) Value {
		if len(v) == 1 {
			return v[0]
		}
		return c.Emit("concat", "values", v, "axis", 0, "interleave", false)
	}
	return c.Result(n, "slice_by_index", "x", x, "begin", join(begins), "end", join(ends), "stride", ones(r), "begin_mask", masks, "end_mask", endMasks)
}
