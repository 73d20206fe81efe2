package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// reductions make one number of several along axes.
var reductions = []Rule{
	{Op: "ReduceSum", Covers: "Constant axes, floats and integers.", Lower: reduction("reduce_sum")},
	{Op: "ReduceMean", Covers: "Constant axes, floats; integers are rounded towards zero.", Lower: reduction("reduce_mean")},
	{Op: "ReduceMax", Covers: "Constant axes, floats, integers and bools.", Lower: reduction("reduce_max")},
	{Op: "ReduceMin", Covers: "Constant axes, floats, integers and bools.", Lower: reduction("reduce_min")},
	{Op: "ReduceProd", Covers: "Constant axes, floats and integers.", Lower: reduction("reduce_prod")},
	{Op: "ReduceL1", Covers: "Constant axes, floats and integers.", Lower: reduction("reduce_l1_norm")},
	{Op: "ReduceL2", Covers: "Constant axes, floats; integers are rounded towards zero.", Lower: reduction("reduce_l2_norm")},
	{Op: "ReduceLogSum", Covers: "Constant axes, floats.", Lower: reduction("reduce_log_sum")},
	{Op: "ReduceLogSumExp", Covers: "Constant axes, floats.", Lower: reduction("reduce_log_sum_exp")},
	{Op: "ReduceSumSquare", Covers: "Constant axes, floats and integers.", Lower: reduction("reduce_sum_square")},
	{Op: "ArgMax", Covers: "All of it; the last of equal numbers where the axis has a known length.", Lower: argument("reduce_argmax")},
	{Op: "ArgMin", Covers: "All of it; the last of equal numbers where the axis has a known length.", Lower: argument("reduce_argmin")},
	{Op: "CumSum", Covers: "A constant axis, floats and integers.", Lower: lowerCumSum},
}

// inFloats are reductions of which MIL does not say how it rounds integers.
var inFloats = []string{"reduce_mean", "reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp"}

// reduction lowers one of the operators Reduce*.
func reduction(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		x := c.In(n, 0)
		axes, _, ok := c.IntsOr(n, "axes", 1)
		if !ok {
			return c.Failf("its axes are not constant")
		}
		if c.err != nil {
			return c.err
		}
		if len(axes) == 0 {
			if n.IntAttr("noop_with_empty_axes", 0) != 0 {
				return c.eachAlone(n, op, x)
			}
			axes = axesFrom(0, x.Rank())
		}
		from := x.Type.DataType
		switch {
		case from == mil.Bool:
			x = c.Cast(x, mil.Int32)
		case !x.Float() && slices.Contains(inFloats, op):
			c.float = mil.Float32
			x = c.Cast(x, mil.Float32)
		}
		y := c.Reduce(op, x, axes, n.IntAttr("keepdims", 1) != 0)
		c.Set(n, 0, c.Cast(y, backTo(from, c.float)))
		return c.err
	}
}

// backTo is the type in which a result is given again: floats in the node's precision.
func backTo(from, float mil.DataType) mil.DataType {
	if from.Float() {
		return float
	}
	return from
}

// Reduce emits a reduction over axes. A scalar is reduced as a vector of one.
func (c *Context) Reduce(op string, x Value, axes []int64, keep bool) Value {
	if !x.Valid() || c.err != nil {
		return Value{}
	}
	if x.Rank() == 0 {
		return c.Emit(op, "x", c.Emit("expand_dims", "x", x, "axes", []int64{0}), "axes", []int64{0}, "keep_dims", false)
	}
	return c.Emit(op, "x", x, "axes", c.Axes(axes, x.Rank()), "keep_dims", keep)
}

// eachAlone is a reduction over no axes: each number on its own.
func (c *Context) eachAlone(n *onnx.Node, op string, x Value) error {
	switch op {
	case "reduce_l1_norm", "reduce_l2_norm":
		return c.Result(n, "abs", "x", x)
	case "reduce_sum_square":
		return c.Result(n, "square", "x", x)
	case "reduce_log_sum":
		return c.Result(n, "log", "x", x, "epsilon", 0.0)
	}
	return c.Result(n, "identity", "x", x)
}

// axesFrom are the axes from low up to, but not with, high.
func axesFrom(low, high int) []int64 {
	out := make([]int64, 0, max(high-low, 0))
	for i := low; i < high; i++ {
		out = append(out, int64(i))
	}
	return out
}

// argument lowers ArgMax and ArgMin. MIL gives the first of equal numbers.
func argument(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		x := c.In(n, 0)
		if c.err != nil {
			return c.err
		}
		axis, keep := c.Axis(n.IntAttr("axis", 0), max(x.Rank(), 1)), n.IntAttr("keepdims", 1) != 0
		if x.Rank() == 0 {
			x = c.Emit("expand_dims", "x", x, "axes", []int64{0})
			keep = false
		}
		if n.IntAttr("select_last_index", 0) == 0 {
			return c.Result(n, op, "x", x, "axis", axis, "keep_dims", keep)
		}
		d := x.Dim(axis)
		if d < 0 {
			return c.Failf("it takes the last of equal numbers along the axis %d, which is open", axis)
		}
		last := c.Emit(op, "x", c.Emit("reverse", "x", x, "axes", []int64{int64(axis)}), "axis", axis, "keep_dims", keep)
		return c.Result(n, "sub", "x", mil.Int(d-1), "y", last)
	}
}

func lowerCumSum(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	axis, ok := c.Ints(n, 1)
	if !ok || len(axis) != 1 {
		return c.Failf("its axis is not constant")
	}
	if c.err != nil {
		return c.err
	}
	return c.Result(n, "cumsum", "x", x, "axis", c.Axis(axis[0], x.Rank()),
		"exclusive", n.IntAttr("exclusive", 0) != 0, "reverse", n.IntAttr("reverse", 0) != 0)
}
