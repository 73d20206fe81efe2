package lower

import (
	"math"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

// elementwise are arithmetic and functions of one element.
var elementwise = []Rule{
	{Op: "Add", Covers: "All of it.", Lower: binary("add")},
	{Op: "Sub", Covers: "All of it.", Lower: binary("sub")},
	{Op: "Mul", Covers: "All of it.", Lower: binary("mul")},
	{Op: "Div", Covers: "All of it; integers are rounded towards 0, as ONNX says.", Lower: lowerDiv},
	{Op: "Pow", Covers: "A base of floats.", Lower: lowerPow},
	{Op: "Mod", Covers: "All of it, with and without fmod.", Lower: lowerMod},
	{Op: "Min", Covers: "Any number of inputs.", Lower: chain("minimum")},
	{Op: "Max", Covers: "Any number of inputs.", Lower: chain("maximum")},
	{Op: "Sum", Covers: "Any number of inputs.", Lower: chain("add")},
	{Op: "Mean", Covers: "Any number of inputs.", Lower: lowerMean},
	{Op: "Neg", Covers: "All of it.", Lower: lowerNeg},
	{Op: "Abs", Covers: "All of it.", Lower: unary("abs")},
	{Op: "Sign", Covers: "All of it.", Lower: unary("sign")},
	{Op: "Sqrt", Covers: "All of it.", Lower: unary("sqrt")},
	{Op: "Exp", Covers: "All of it.", Lower: unary("exp")},
	{Op: "Log", Covers: "All of it. The logarithm of 0 is a large negative number, as Core ML's has a least argument.", Lower: lowerLog},
	{Op: "Floor", Covers: "All of it.", Lower: unary("floor")},
	{Op: "Ceil", Covers: "All of it.", Lower: unary("ceil")},
	{Op: "Round", Covers: "All of it: halves go to the even number.", Lower: unary("round")},
	{Op: "Reciprocal", Covers: "All of it, by division: Core ML's inverse adds a number to x.", Lower: lowerReciprocal},
	{Op: "Sin", Covers: "All of it.", Lower: unary("sin")},
	{Op: "Cos", Covers: "All of it.", Lower: unary("cos")},
	{Op: "Tan", Covers: "All of it.", Lower: unary("tan")},
	{Op: "Asin", Covers: "All of it.", Lower: unary("asin")},
	{Op: "Acos", Covers: "All of it.", Lower: unary("acos")},
	{Op: "Atan", Covers: "All of it.", Lower: unary("atan")},
	{Op: "Sinh", Covers: "All of it.", Lower: unary("sinh")},
	{Op: "Cosh", Covers: "All of it.", Lower: unary("cosh")},
	{Op: "Atanh", Covers: "All of it.", Lower: unary("atanh")},
	{Op: "Asinh", Covers: "All of it, composed.", Lower: lowerAsinh},
	{Op: "Acosh", Covers: "All of it, composed.", Lower: lowerAcosh},
}

// binary is an operator that is one operation of x and y.
func binary(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		return c.Result(n, op, "x", c.In(n, 0), "y", c.In(n, 1))
	}
}

// twoOperands are the operations whose operands are made of one number of axes where one is a single number: Apple's parser
// takes the product of [1] and a scalar for a scalar.
var twoOperands = map[string]bool{"add": true, "sub": true, "mul": true, "real_div": true, "floor_div": true, "pow": true, "mod": true,
	"minimum": true, "maximum": true, "equal": true, "not_equal": true, "less": true, "less_equal": true, "greater": true,
	"greater_equal": true, "logical_and": true, "logical_or": true, "logical_xor": true}

// level gives scalars as many axes as the other operand has, where that is a single number, too.
func (c *Context) level(args []any) {
	for i := 1; i < len(args); i += 2 {
		for j := 1; j < len(args); j += 2 {
			if other, ok := args[j].(Value); i != j && ok && other.Valid() && other.Rank() > 0 && product(other.Shape()) == 1 {
				args[i] = c.raised(args[i], other.Shape())
			}
		}
	}
}

// raised gives a scalar the axes of a shape of one element.
func (c *Context) raised(a any, shape []int64) any {
	switch v := a.(type) {
	case Value:
		if v.Valid() && v.Rank() == 0 {
			return c.reshaped(v, shape)
		}
	case float64:
		return c.FloatsConst(shape, []float32{float32(v)})
	case mil.Value:
		if len(v.Type.Shape) > 0 {
			break
		}
		if f, ok := scalarOf(v); ok {
			return c.FloatsConst(shape, []float32{f})
		}
		if v.DataType == mil.Int32 {
			v.Type.Shape = shape
			return v
		}
	}
	return a
}

// chain applies an operation of two to any number of inputs.
func chain(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		y := c.chained(n, op)
		c.Set(n, 0, y)
		return c.err
	}
}

func (c *Context) chained(n *onnx.Node, op string) Value {
	y := c.In(n, 0)
	for i := 1; i < len(n.Inputs()); i++ {
		y = c.Emit(op, "x", y, "y", c.In(n, i))
	}
	if len(n.Inputs()) == 1 {
		y = c.Emit("identity", "x", y)
	}
	return y
}

func lowerMean(c *Context, n *onnx.Node) error {
	return c.Result(n, "mul", "x", c.chained(n, "add"), "y", 1/float64(len(n.Inputs())))
}

func lowerNeg(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	return c.Result(n, "mul", "x", x, "y", c.Number(x, -1))
}

// lowerDiv: of integers MIL has division that rounds down only.
func lowerDiv(c *Context, n *onnx.Node) error {
	x, y := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	if x.Float() {
		return c.Result(n, "real_div", "x", x, "y", y)
	}
	q := c.Emit("floor_div", "x", c.Emit("abs", "x", x), "y", c.Emit("abs", "x", y))
	return c.Result(n, "mul", "x", q, "y", c.Emit("mul", "x", c.Emit("sign", "x", x), "y", c.Emit("sign", "x", y)))
}

// lowerMod: MIL's mod has the sign of y, fmod that of x.
func lowerMod(c *Context, n *onnx.Node) error {
	x, y := c.In(n, 0), c.In(n, 1)
	if n.IntAttr("fmod", 0) == 0 {
		return c.Result(n, "mod", "x", x, "y", y)
	}
	r := c.Emit("mod", "x", c.Emit("abs", "x", x), "y", c.Emit("abs", "x", y))
	return c.Result(n, "mul", "x", r, "y", c.Emit("sign", "x", x))
}

func lowerPow(c *Context, n *onnx.Node) error {
	x, y := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	if !x.Float() {
		return c.Failf("its base is of integers")
	}
	if e, ok := c.Floats(n, 1); ok && len(e) == 1 && y.Rank() <= x.Rank() {
		switch e[0] {
		case 1:
			return c.Result(n, "identity", "x", x)
		case 2:
			return c.Result(n, "square", "x", x)
		case 3:
			return c.Result(n, "mul", "x", c.Emit("square", "x", x), "y", x)
		case 0.5:
			return c.Result(n, "sqrt", "x", x)
		}
		return c.Result(n, "pow", "x", x, "y", float64(e[0]))
	}
	if !y.Float() {
		y = c.Emit("cast", "x", y, "dtype", c.float.String())
	}
	return c.Result(n, "pow", "x", x, "y", y)
}

func lowerLog(c *Context, n *onnx.Node) error {
	return c.Result(n, "log", "x", c.In(n, 0), "epsilon", 1e-45)
}

func lowerReciprocal(c *Context, n *onnx.Node) error {
	return c.Result(n, "real_div", "x", 1.0, "y", c.In(n, 0))
}

// lowerAsinh: sign(x) * log(|x| + sqrt(x^2 + 1)).
func lowerAsinh(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	root := c.Emit("sqrt", "x", c.Emit("add", "x", c.Emit("square", "x", x), "y", 1.0))
	y := c.Emit("log", "x", c.Emit("add", "x", c.Emit("abs", "x", x), "y", root), "epsilon", 1e-45)
	return c.Result(n, "mul", "x", y, "y", c.Emit("sign", "x", x))
}

// lowerAcosh: log(x + sqrt(x^2 - 1)).
func lowerAcosh(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	root := c.Emit("sqrt", "x", c.Emit("sub", "x", c.Emit("square", "x", x), "y", 1.0))
	return c.Result(n, "log", "x", c.Emit("add", "x", x, "y", root), "epsilon", 1e-45)
}

// scalarOf is the number of an immediate scalar of floats.
func scalarOf(v mil.Value) (float32, bool) {
	if v.DataType == mil.Float16 && len(v.Data) == 2 {
		return tensor.F16ToFloat32(uint16(v.Data[0]) | uint16(v.Data[1])<<8), true
	}
	if v.DataType != mil.Float32 || len(v.Data) != 4 || len(v.Type.Shape) != 0 {
		return 0, false
	}
	return math.Float32frombits(uint32(v.Data[0]) | uint32(v.Data[1])<<8 | uint32(v.Data[2])<<16 | uint32(v.Data[3])<<24), true
}
