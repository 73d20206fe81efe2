package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// gathers pick elements by their places.
var gathers = []Rule{
	{Op: "Gather", Covers: "Constant and computed indices, also negative ones.", Lower: lowerGather},
	{Op: "GatherElements", Covers: "Constant and computed indices, also negative ones.", Lower: lowerGatherElements},
	{Op: "GatherND", Covers: "Constant and computed indices of tensors of a known shape, also with batch axes.", Lower: lowerGatherND},
	{Op: "TopK", Covers: "A constant k. Which of equal numbers comes first is not said.", Lower: lowerTopK},
	{Op: "NonZero", Covers: "All of it; how many there are is open.", Lower: lowerNonZero},
	{Op: "Compress", Covers: "A constant condition, or a computed one along an axis or over a tensor of a known shape.", Lower: lowerCompress},
	{Op: "ReverseSequence", Covers: "All of it.", Lower: lowerReverseSequence},
	{Op: "OneHot", Covers: "A constant depth.", Lower: lowerOneHot},
}

// Places are indices into an axis of length d, none of them negative: MIL from iOS 17 on, and its runtime before, take
// negative ones for places that there are not.
func (c *Context) Places(i Value, d int64) Value {
	if !i.Valid() || c.err != nil {
		return Value{}
	}
	if i.Float() {
		i = c.Cast(i, mil.Int32)
	}
	if k := i.Const(); k != nil && !k.float {
		v, changed := slices.Clone(k.ints), false
		for j, x := range v {
			if x < 0 {
				if d < 0 {
					_ = c.Failf("the index %d counts from the end of an axis that is open", x)
					return Value{}
				}
				v[j], changed = x+d, true
			}
			if d >= 0 && (v[j] < 0 || v[j] >= d) {
				_ = c.Failf("the index %d is not in an axis of %d", x, d)
				return Value{}
			}
		}
		if changed {
			return c.IntsConst(k.shape, v)
		}
		return i
	}
	if d < 0 || i.v.positive {
		return i
	}
	below := c.Binary("less", i, mil.Int(0))
	return c.Select(below, c.Binary("add", i, mil.Int(d)), i)
}

// Positive notes that indices are not negative, so that nothing has to be added to them.
func (c *Context) Positive(i Value) {
	if i.Valid() {
		i.v.positive = true
	}
}

// Gather picks places along an axis. The indices must not be negative (Places).
func (c *Context) Gather(x, indices Value, axis int) Value {
	args := []any{"x", x, "indices", indices, "axis", axis}
	if mil.Takes("gather", c.Opset(), "batch_dims") {
		args = append(args, "batch_dims", 0)
	}
	if mil.Takes("gather", c.Opset(), "validate_indices") {
		args = append(args, "validate_indices", false)
	}
	return c.Emit("gather", args...)
}

func lowerGather(c *Context, n *onnx.Node) error {
	x, i := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	axis := c.Axis(n.IntAttr("axis", 0), x.Rank())
	if c.err != nil {
		return c.err
	}
	i = c.Places(i, x.Dim(axis))
	if c.err != nil {
		return c.err
	}
	alone := i.Rank() == 0
	if alone {
		// Apple's parser takes no scalar here.
		i = c.Raise(i, 1)
	}
	y := c.Carried(x, func(x Value) Value { return c.Gather(x, i, axis) })
	if alone {
		y = c.Emit("squeeze", "x", y, "axes", []int64{int64(axis)})
	}
	c.Set(n, 0, y)
	return c.err
}

func lowerGatherElements(c *Context, n *onnx.Node) error {
	x, i := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	axis := c.Axis(n.IntAttr("axis", 0), x.Rank())
	if c.err != nil {
		return c.err
	}
	if !x.Fixed() || !i.Fixed() {
		return c.Failf("the length of an axis is open")
	}
	i = c.Places(i, x.Dim(axis))
	args := []any{"indices", i, "axis", axis}
	if mil.Takes("gather_along_axis", c.Opset(), "validate_indices") {
		args = append(args, "validate_indices", false)
	}
	c.Set(n, 0, c.Carried(x, func(x Value) Value {
		for a := range x.Rank() { // MIL wants the other axes as long as those of the indices
			if a != axis && x.Dim(a) != i.Dim(a) {
				x = c.Slice(x, a, 0, i.Dim(a))
			}
			if c.err != nil {
				return Value{}
			}
		}
		return c.Emit("gather_along_axis", append([]any{"x", x}, args...)...)
	}))
	return c.err
}

// Flat are the places in a tensor that was made flat over the leading axes, from indices whose last axis holds one index
// for each of those. Batch axes come before, and count by themselves.
func (c *Context) Flat(indices Value, lead []int64, batch int) Value {
	k := indices.Dim(-1)
	each := strides(lead)
	if q := indices.Const(); q != nil && !q.float {
		shape := indices.Shape()[:indices.Rank()-1]
		out := make([]int64, product(shape))
		counts, at := strides(indices.Shape()[:batch]), product(shape[batch:])
		for p := range out {
			for j := range k {
				d := lead[batch+int(j)]
				v := q.ints[int64(p)*k+j]
				if v < 0 {
					v += d
				}
				if v < 0 || v >= d {
					_ = c.Failf("the index %d is not in an axis of %d", q.ints[int64(p)*k+j], d)
					return Value{}
				}
				out[p] += v * each[batch+int(j)]
			}
			for b := range batch {
				out[p] += int64(p) / at / counts[b] % shape[b] * each[b]
			}
		}
		return c.IntsConst(shape, out)
	}
	flat := Value{}
	for j := range int(k) {
		one := c.Slice(indices, indices.Rank()-1, int64(j), int64(j)+1)
		one = c.Emit("squeeze", "x", one, "axes", []int64{int64(indices.Rank() - 1)})
		one = c.Places(one, lead[batch+j])
		if s := each[batch+j]; s != 1 {
			one = c.Binary("mul", one, mil.Int(s))
		}
		if flat.Valid() {
			one = c.Binary("add", flat, one)
		}
		flat = one
	}
	for b := range batch {
		if c.err != nil || lead[b] == 1 {
			continue
		}
		shape, v := ones(flat.Rank()), make([]int64, lead[b])
		shape[b] = lead[b]
		for i := range v {
			v[i] = int64(i) * each[b]
		}
		flat = c.Binary("add", flat, c.IntsConst(shape, v))
	}
	return flat
}

// lowerGatherND picks rows of the tensor made flat. MIL's own gather_nd was reported to go wrong on devices unless its
// indices are constant.
func lowerGatherND(c *Context, n *onnx.Node) error {
	x, i := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	batch := int(n.IntAttr("batch_dims", 0))
	if !x.Fixed() || !i.Fixed() {
		return c.Failf("the length of an axis is open")
	}
	if i.Rank() == 0 || batch < 0 || batch >= i.Rank() || batch+int(i.Dim(-1)) > x.Rank() {
		return c.Failf("its indices %v and batch_dims %d do not fit a tensor %v", i.Shape(), batch, x.Shape())
	}
	lead := x.Shape()[:batch+int(i.Dim(-1))]
	rest := x.Shape()[len(lead):]
	out := slices.Concat(i.Shape()[:i.Rank()-1], rest)
	flat := c.Flat(i, lead, batch)
	if c.err != nil {
		return c.err
	}
	flat = c.Reshape(flat, product(flat.Shape()))
	c.Set(n, 0, c.Carried(x, func(x Value) Value {
		y := c.Gather(c.Reshape(x, product(lead), product(rest)), flat, 0)
		return c.Reshape(y, out...)
	}))
	return c.err
}

// lowerTopK gives the largest or smallest numbers, sorted.
func lowerTopK(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	k := []int64{n.IntAttr("k", 0)}
	if c.version >= 10 {
		var ok bool
		if k, ok = c.Ints(n, 1); !ok || len(k) != 1 {
			return c.Failf("its k is not constant")
		}
	}
	if c.err != nil {
		return c.err
	}
	axis := c.Axis(n.IntAttr("axis", -1), x.Rank())
	args := []any{"x", x, "k", k[0], "axis", axis, "ascending", n.IntAttr("largest", 1) == 0}
	if mil.Takes("topk", c.Opset(), "sort") {
		args = append(args, "sort", true, "return_indices", true)
	}
	out := c.EmitAll("topk", args...)
	if c.err != nil {
		return c.err
	}
	c.Positive(out[1])
	c.Set(n, 0, out[0])
	c.Set(n, 1, out[1])
	return c.err
}

func lowerNonZero(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	y := c.Emit("non_zero", "x", x)
	y = c.Emit("transpose", "x", y, "perm", []int64{1, 0})
	c.Positive(y)
	c.Set(n, 0, y)
	return c.err
}

func lowerCompress(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	axis := 0
	if a := n.Attr("axis"); a != nil {
		axis = c.Axis(a.I, x.Rank())
	} else {
		if !x.Fixed() {
			return c.Failf("it takes all axes at once, and one is open")
		}
		x = c.Reshape(x, product(x.Shape()))
	}
	cond := c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	var at Value
	if k := cond.Const(); k != nil {
		var places []int64
		for i, v := range k.ints {
			if v != 0 {
				places = append(places, int64(i))
			}
		}
		if len(places) == 0 {
			return c.Failf("it keeps nothing, and Core ML has no empty tensors")
		}
		at = c.IntsConst([]int64{int64(len(places))}, places)
	} else {
		at = c.Emit("squeeze", "x", c.Emit("non_zero", "x", cond), "axes", []int64{1})
	}
	c.Set(n, 0, c.Carried(x, func(x Value) Value { return c.Gather(x, at, axis) }))
	return c.err
}

func lowerReverseSequence(c *Context, n *onnx.Node) error {
	x, lengths := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	return c.Result(n, "reverse_sequence", "x", x, "lengths", lengths,
		"seq_axis", c.Axis(n.IntAttr("time_axis", 0), x.Rank()), "batch_axis", c.Axis(n.IntAttr("batch_axis", 1), x.Rank()))
}

// lowerOneHot compares with the places: MIL's one_hot does not say what negative indices, and those beyond, are.
func lowerOneHot(c *Context, n *onnx.Node) error {
	i, values := c.In(n, 0), c.In(n, 2)
	depth, ok := c.Ints(n, 1)
	if !ok {
		f, okF := c.Floats(n, 1)
		if ok = okF; ok && len(f) == 1 {
			depth = []int64{int64(f[0])}
		}
	}
	if !ok || len(depth) != 1 || depth[0] < 1 || depth[0] > longest {
		return c.Failf("its depth is not constant, or none from 1 to %d", longest)
	}
	if c.err != nil {
		return c.err
	}
	if i.Float() {
		i = c.Cast(i, mil.Int32)
	}
	rank := i.Rank() + 1
	axis := c.Axis(n.IntAttr("axis", -1), rank)
	below := c.Binary("less", i, mil.Int(0))
	i = c.Select(below, c.Binary("add", i, mil.Int(depth[0])), i)
	hot := c.Binary("equal", c.Emit("expand_dims", "x", i, "axes", []int64{int64(axis)}), c.Counting(depth[0], axis, rank))
	from := values.Type.DataType
	if from == mil.Bool {
		values = c.Cast(values, mil.Int32)
	}
	parts := c.Chunks(values, 0, 1, 1)
	if k := values.Const(); k != nil {
		parts = []Value{c.From(k.Take(0, []int64{0})), c.From(k.Take(0, []int64{1}))}
	}
	if c.err != nil {
		return c.err
	}
	y := c.Select(hot, c.Reshape(parts[1], ones(rank)...), c.Reshape(parts[0], ones(rank)...))
	c.Set(n, 0, c.Cast(y, backTo(from, c.float)))
	return c.err
}
