package lower

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// What several families make of values.

// longest is the longest axis that is written out as a list of places, and largestMask the most elements of a mask.
const (
	longest     = 1 << 24
	largestMask = 1 << 26
)

// Ones are ones of a value's rank, each axis 1 long.
func (c *Context) Ones(like Value) Value { return c.Filled(like, 1) }

// Filled is a number in a value's type and rank, each axis 1 long.
func (c *Context) Filled(like Value, x float64) Value {
	if !like.Valid() {
		return Value{}
	}
	shape := ones(like.Rank())
	if like.Float() {
		return c.FloatsConst(shape, []float32{float32(x)})
	}
	return c.IntsConst(shape, []int64{int64(x)})
}

// TruthsConst makes a constant of bools.
func (c *Context) TruthsConst(shape []int64, v []bool) Value {
	k := &Const{shape: slices.Clone(shape), truth: true, ints: make([]int64, len(v))}
	for i, t := range v {
		if t {
			k.ints[i] = 1
		}
	}
	return c.From(k)
}

// Counting are the whole numbers from 0 up to, but not with, n, along one axis of a rank.
func (c *Context) Counting(n int64, axis, rank int) Value {
	shape := ones(rank)
	shape[axis] = n
	v := make([]int64, n)
	for i := range v {
		v[i] = int64(i)
	}
	return c.IntsConst(shape, v)
}

// Reshape gives a value other axes, where it has not those already; -1 is worked out.
func (c *Context) Reshape(x Value, shape ...int64) Value {
	if !x.Valid() || slices.Equal(x.Shape(), shape) {
		return x
	}
	if len(shape) == 0 {
		if x.Rank() > 1 {
			x = c.Emit("reshape", "x", x, "shape", []int64{1})
		}
		return c.Emit("squeeze", "x", x, "axes", []int64{0})
	}
	if k := x.Const(); k != nil && !slices.Contains(shape, -1) {
		return c.From(k.Reshape(shape))
	}
	return c.Emit("reshape", "x", x, "shape", shape)
}

// Transpose changes the order of a value's axes, where that changes anything.
func (c *Context) Transpose(x Value, perm ...int64) Value {
	if !x.Valid() || slices.Equal(perm, axesFrom(0, len(perm))) {
		return x
	}
	if k := x.Const(); k != nil {
		return c.From(k.Transpose(perm))
	}
	return c.Emit("transpose", "x", x, "perm", perm)
}

// Raise adds axes of length 1 in front, up to a rank.
func (c *Context) Raise(x Value, rank int) Value {
	if !x.Valid() || x.Rank() >= rank {
		return x
	}
	if k := x.Const(); k != nil {
		return c.From(k.Reshape(append(ones(rank-x.Rank()), x.Shape()...)))
	}
	return c.Emit("expand_dims", "x", x, "axes", axesFrom(0, rank-x.Rank()))
}

// Slice cuts an axis, from low up to, but not with, high.
func (c *Context) Slice(x Value, axis int, low, high int64) Value {
	if !x.Valid() || low == 0 && high == x.Dim(axis) {
		return x
	}
	r := x.Rank()
	begin, end, mask := make([]int64, r), make([]int64, r), make([]bool, r)
	for i := range mask {
		mask[i] = i != axis
	}
	begin[axis], end[axis] = low, high
	return c.Emit("slice_by_index", "x", x, "begin", begin, "end", end, "stride", ones(r), "begin_mask", mask, "end_mask", mask)
}

// Chunks cuts an axis into parts.
func (c *Context) Chunks(x Value, axis int, sizes ...int64) []Value {
	out := c.EmitAll("split", "x", x, "split_sizes", sizes, "axis", axis)
	if len(out) != len(sizes) { // after an error
		return make([]Value, len(sizes))
	}
	return out
}

// Join puts values together along an axis.
func (c *Context) Join(axis int, xs ...Value) Value {
	if len(xs) == 1 {
		return xs[0]
	}
	return c.Emit("concat", "values", xs, "axis", axis, "interleave", false)
}

// Carried lets an operation that takes no bools move them, as integers.
func (c *Context) Carried(x Value, move func(Value) Value) Value {
	if !x.Valid() || x.Type.DataType != mil.Bool {
		return move(x)
	}
	y := move(c.Cast(x, mil.Int32))
	return c.Emit("cast", "x", y, "dtype", mil.Bool.String())
}

// Binary is an operation of x and y.
func (c *Context) Binary(op string, x, y any) Value { return c.Emit(op, "x", x, "y", y) }

// Select takes a where cond holds, else b. Where cond is larger than both, b is repeated: MIL's own rule for shapes does
// not look at cond.
func (c *Context) Select(cond, a, b Value) Value {
	if c.err != nil || !cond.Valid() || !a.Valid() || !b.Valid() {
		return Value{}
	}
	r := max(cond.Rank(), a.Rank(), b.Rank())
	cond, a, b = c.Raise(cond, r), c.Raise(a, r), c.Raise(b, r)
	if c.err != nil {
		return Value{}
	}
	shape, repeat := slices.Clone(b.Shape()), false
	for i := range shape {
		switch d := cond.Dim(i); {
		case d == 1 || a.Dim(i) != 1 || b.Dim(i) != 1:
		default:
			shape[i], repeat = d, true
		}
	}
	if repeat {
		b = c.Broadcast(b, shape)
	}
	return c.Emit("select", "cond", cond, "a", a, "b", b)
}

// Broadcast repeats a value so that it has a shape.
func (c *Context) Broadcast(x Value, shape []int64) Value {
	x = c.Raise(x, len(shape))
	if !x.Valid() || slices.Equal(x.Shape(), shape) {
		return x
	}
	reps := ones(len(shape))
	for i, d := range x.Shape() {
		switch {
		case d == shape[i]:
		case d == 1 && shape[i] > 0:
			reps[i] = shape[i]
		default:
			_ = c.Failf("%v does not stretch to %v", x.Shape(), shape)
			return Value{}
		}
	}
	return c.Emit("tile", "x", x, "reps", reps)
}

// largest is the largest finite number of a type.
func largest(d mil.DataType) float64 {
	if d == mil.Float16 {
		return 65504
	}
	return math.MaxFloat32
}

// strides are how many elements lie between neighbours along each axis.
func strides(shape []int64) []int64 {
	out, n := make([]int64, len(shape)), int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		out[i] = n
		n *= shape[i]
	}
	return out
}
