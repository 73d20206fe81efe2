package lower

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// comparisons give truth values, or choose by them.
var comparisons = []Rule{
	{Op: "Equal", Covers: "Floats, integers and bools.", Lower: lowerEqual},
	{Op: "Less", Covers: "Floats and integers.", Lower: compared("less")},
	{Op: "LessOrEqual", Covers: "Floats and integers.", Lower: compared("less_equal")},
	{Op: "Greater", Covers: "Floats and integers.", Lower: compared("greater")},
	{Op: "GreaterOrEqual", Covers: "Floats and integers.", Lower: compared("greater_equal")},
	{Op: "And", Covers: "All of it.", Lower: compared("logical_and")},
	{Op: "Or", Covers: "All of it.", Lower: compared("logical_or")},
	{Op: "Xor", Covers: "All of it.", Lower: compared("logical_xor")},
	{Op: "Not", Covers: "All of it.", Lower: unary("logical_not")},
	{Op: "IsNaN", Covers: "All of it.", Lower: lowerIsNaN},
	{Op: "IsInf", Covers: "All of it. In half precision what is beyond 65504 is infinite.", Lower: lowerIsInf},
	{Op: "Where", Covers: "Floats, integers and bools.", Lower: lowerWhere},
}

func compared(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error { return c.Result(n, op, "x", c.In(n, 0), "y", c.In(n, 1)) }
}

func lowerEqual(c *Context, n *onnx.Node) error {
	a, b := c.In(n, 0), c.In(n, 1)
	if a.Valid() && a.Type.DataType == mil.Bool {
		return c.Result(n, "logical_not", "x", c.Binary("logical_xor", a, b))
	}
	return c.Result(n, "equal", "x", a, "y", b)
}

func lowerIsNaN(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	return c.Result(n, "not_equal", "x", x, "y", x)
}

// lowerIsInf compares with the largest number that there is.
func lowerIsInf(c *Context, n *onnx.Node) error {
	x, most := c.In(n, 0), largest(c.float)
	above, below := n.IntAttr("detect_positive", 1) != 0, n.IntAttr("detect_negative", 1) != 0
	switch {
	case above && below:
		return c.Result(n, "greater", "x", c.Emit("abs", "x", x), "y", most)
	case above:
		return c.Result(n, "greater", "x", x, "y", most)
	case below:
		return c.Result(n, "less", "x", x, "y", -most)
	}
	return c.Result(n, "logical_and", "x", c.Binary("not_equal", x, x), "y", c.Binary("equal", x, x)) // never
}

func lowerWhere(c *Context, n *onnx.Node) error {
	cond, a, b := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	c.Set(n, 0, c.Select(cond, a, b))
	return c.err
}
