package lower

import (
	"math"

	"github.com/optimize-hcl/optimize/onnx"
)

// activations are functions of one element, with or without parameters.
var activations = []Rule{
	{Op: "Relu", Covers: "All of it; integers by maximum.", Lower: lowerRelu},
	{Op: "LeakyRelu", Covers: "All of it.", Lower: withAlpha("leaky_relu", 0.01)},
	{Op: "Elu", Covers: "All of it.", Lower: withAlpha("elu", 1)},
	{Op: "ThresholdedRelu", Covers: "All of it, also at the threshold itself.", Lower: lowerThresholdedRelu},
	{Op: "PRelu", Covers: "A slope for each channel, for all or for each element.", Lower: lowerPRelu},
	{Op: "Selu", Covers: "All of it, composed.", Lower: lowerSelu},
	{Op: "Celu", Covers: "All of it, composed.", Lower: lowerCelu},
	{Op: "Mish", Covers: "All of it, composed.", Lower: lowerMish},
	{Op: "Sigmoid", Covers: "All of it.", Lower: unary("sigmoid")},
	{Op: "Tanh", Covers: "All of it.", Lower: unary("tanh")},
	{Op: "Softplus", Covers: "All of it.", Lower: unary("softplus")},
	{Op: "Softsign", Covers: "All of it.", Lower: unary("softsign")},
	{Op: "HardSigmoid", Covers: "All of it.", Lower: lowerHardSigmoid},
	{Op: "HardSwish", Covers: "All of it, composed.", Lower: lowerHardSwish},
	{Op: "Swish", Covers: "All of it.", Lower: lowerSwish},
	{Op: "Shrink", Covers: "All of it, composed.", Lower: lowerShrink},
	{Op: "Clip", Covers: "Bounds that are constant or computed; integers by minimum and maximum.", Lower: lowerClip},
	{Op: "Erf", Covers: "All of it.", Lower: unary("erf")},
	{Op: "Softmax", Covers: "All of it, before opset 13 over all axes from the given one.", Lower: lowerSoftmax},
	{Op: "LogSoftmax", Covers: "All of it, before opset 13 over all axes from the given one.", Lower: lowerLogSoftmax},
	{Op: "Hardmax", Covers: "From opset 13 on, over one axis.", Since: 13, Lower: lowerHardmax},
}

// unary is an operator that is one operation of x. Integers are computed in floats where the operation takes no integers.
func unary(op string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error { return c.Result(n, op, "x", c.In(n, 0)) }
}

// withAlpha is an operator of one parameter.
func withAlpha(op string, def float32) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		return c.Result(n, op, "x", c.In(n, 0), "alpha", float64(n.FloatAttr("alpha", def)))
	}
}

func lowerRelu(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if x.Valid() && !x.Float() {
		return c.Result(n, "maximum", "x", x, "y", c.Number(x, 0))
	}
	return c.Result(n, "relu", "x", x)
}

// lowerThresholdedRelu composes it: MIL's thresholded_relu keeps x at the threshold, ONNX's makes it 0.
func lowerThresholdedRelu(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	above := c.Emit("greater", "x", x, "y", float64(n.FloatAttr("alpha", 1)))
	return c.Result(n, "select", "cond", above, "a", x, "b", c.Zeros(x))
}

// Zeros are zeros of a value's shape, as far as an operation needs: a scalar, made to the rank.
func (c *Context) Zeros(like Value) Value {
	if !like.Valid() {
		return Value{}
	}
	shape := make([]int64, like.Rank())
	for i := range shape {
		shape[i] = 1
	}
	if like.Float() {
		return c.FloatsConst(shape, []float32{0})
	}
	return c.IntsConst(shape, []int64{0})
}

func lowerPRelu(c *Context, n *onnx.Node) error {
	x, slope := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	k := slope.Const()
	// One slope for each channel, as [C, 1, 1] or [1, C, 1, 1].
	if r := x.Rank(); k != nil && r >= 3 && r <= 5 && x.Dim(1) > 0 {
		s := k.Shape()
		at := len(s) - (r - 1)
		if product(s) == x.Dim(1) && at >= 0 && s[at] == x.Dim(1) {
			return c.Result(n, "prelu", "x", x, "alpha", c.From(k.Reshape([]int64{x.Dim(1)})))
		}
	}
	if !x.Float() {
		return c.Failf("it is of integers")
	}
	// max(x, 0) + slope * min(x, 0)
	low := c.Emit("mul", "x", c.Emit("minimum", "x", x, "y", 0.0), "y", slope)
	return c.Result(n, "add", "x", c.Emit("relu", "x", x), "y", low)
}

func lowerSelu(c *Context, n *onnx.Node) error {
	alpha, gamma := n.FloatAttr("alpha", 1.67326319217681884765625), n.FloatAttr("gamma", 1.05070102214813232421875)
	y := c.Emit("elu", "x", c.In(n, 0), "alpha", float64(alpha))
	return c.Result(n, "mul", "x", y, "y", float64(gamma))
}

// lowerCelu: max(0, x) + min(0, alpha * (exp(x / alpha) - 1)), which is alpha * elu(x / alpha).
func lowerCelu(c *Context, n *onnx.Node) error {
	alpha := float64(n.FloatAttr("alpha", 1))
	y := c.Emit("elu", "x", c.Emit("real_div", "x", c.In(n, 0), "y", alpha), "alpha", 1.0)
	return c.Result(n, "mul", "x", y, "y", alpha)
}

func lowerMish(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	return c.Result(n, "mul", "x", x, "y", c.Emit("tanh", "x", c.Emit("softplus", "x", x)))
}

func lowerHardSigmoid(c *Context, n *onnx.Node) error {
	return c.Result(n, "sigmoid_hard", "x", c.In(n, 0), "alpha", float64(n.FloatAttr("alpha", 0.2)), "beta", float64(n.FloatAttr("beta", 0.5)))
}

func lowerHardSwish(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	return c.Result(n, "mul", "x", x, "y", c.Emit("sigmoid_hard", "x", x, "alpha", 1.0/6, "beta", 0.5))
}

func lowerSwish(c *Context, n *onnx.Node) error {
	x, alpha := c.In(n, 0), n.FloatAttr("alpha", 1)
	if alpha == 1 {
		return c.Result(n, "silu", "x", x)
	}
	return c.Result(n, "mul", "x", x, "y", c.Emit("sigmoid", "x", c.Emit("mul", "x", x, "y", float64(alpha))))
}

// lowerShrink: x + bias below -lambd, x - bias above lambd, else 0.
func lowerShrink(c *Context, n *onnx.Node) error {
	x, lambd, bias := c.In(n, 0), float64(n.FloatAttr("lambd", 0.5)), float64(n.FloatAttr("bias", 0))
	if x.Valid() && !x.Float() {
		return c.Failf("it is of integers")
	}
	high := c.Emit("select", "cond", c.Emit("greater", "x", x, "y", lambd), "a", c.Emit("sub", "x", x, "y", bias), "b", c.Zeros(x))
	return c.Result(n, "select", "cond", c.Emit("less", "x", x, "y", -lambd), "a", c.Emit("add", "x", x, "y", bias), "b", high)
}

func lowerClip(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	low, high := -math.MaxFloat32, float64(math.MaxFloat32)
	known := true
	if c.version < 11 {
		low, high = float64(n.FloatAttr("min", -math.MaxFloat32)), float64(n.FloatAttr("max", math.MaxFloat32))
	} else {
		for i, to := range []*float64{&low, &high} {
			if !c.Has(n, i+1) {
				continue
			}
			v, ok := c.Floats(n, i+1)
			if !ok || len(v) != 1 {
				known = false
				continue
			}
			*to = float64(v[0])
		}
	}
	switch {
	case !known || !x.Float():
		y := x
		if c.Has(n, 1) {
			y = c.Emit("maximum", "x", y, "y", c.In(n, 1))
		}
		if c.Has(n, 2) {
			y = c.Emit("minimum", "x", y, "y", c.In(n, 2))
		}
		if y.v == x.v {
			return c.Result(n, "identity", "x", x)
		}
		c.Set(n, 0, y)
		return c.err
	case low == 0 && high == 6:
		return c.Result(n, "relu6", "x", x)
	case low == 0 && high >= math.MaxFloat32:
		return c.Result(n, "relu", "x", x)
	case low > high:
		// ONNX takes the upper bound then.
		return c.Result(n, "clip", "x", x, "alpha", high, "beta", high)
	}
	return c.Result(n, "clip", "x", x, "alpha", low, "beta", high)
}

// flattened applies f over all axes from the one given on, as Softmax did before opset 13.
func flattened(c *Context, n *onnx.Node, f func(x Value, axis int64) Value) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	if c.version >= 13 {
		axis := c.Axis(n.IntAttr("axis", -1), x.Rank())
		c.Set(n, 0, f(x, int64(axis)))
		return c.err
	}
	axis := c.Axis(n.IntAttr("axis", 1), max(x.Rank(), 2))
	rest := int64(1)
	wide := 0
	for i := axis; i < x.Rank(); i++ {
		if x.Dim(i) != 1 {
			wide, rest = wide+1, i64(i)
		}
	}
	if wide <= 1 && axis < x.Rank() {
		if wide == 0 {
			rest = i64(axis)
		}
		c.Set(n, 0, f(x, rest))
		return c.err
	}
	if !x.Fixed() {
		return c.Failf("before opset 13 it works on several axes at once, of which one is open")
	}
	a, b := int64(1), int64(1)
	for i, d := range x.Shape() {
		if i < axis {
			a *= d
		} else {
			b *= d
		}
	}
	y := f(c.Emit("reshape", "x", x, "shape", []int64{a, b}), 1)
	return c.Result(n, "reshape", "x", y, "shape", x.Shape())
}

func i64(i int) int64 { return int64(i) }

func lowerSoftmax(c *Context, n *onnx.Node) error {
	return flattened(c, n, func(x Value, axis int64) Value { return c.Emit("softmax", "x", x, "axis", axis) })
}

// lowerLogSoftmax subtracts the logarithm of the sum: the logarithm of a small share would be lost in half precision.
func lowerLogSoftmax(c *Context, n *onnx.Node) error {
	return flattened(c, n, func(x Value, axis int64) Value {
		return c.Emit("sub", "x", x, "y", c.Emit("reduce_log_sum_exp", "x", x, "axes", []int64{axis}, "keep_dims", true))
	})
}

// lowerHardmax is 1 at the first maximum, else 0.
func lowerHardmax(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	axis := c.Axis(n.IntAttr("axis", -1), x.Rank())
	d := x.Dim(axis)
	if d < 0 {
		return c.Failf("its axis %d is open", axis)
	}
	at := c.Emit("reduce_argmax", "x", x, "axis", axis, "keep_dims", true)
	shape, places := make([]int64, x.Rank()), make([]int64, d)
	for i := range shape {
		shape[i] = 1
	}
	shape[axis] = d
	for i := range places {
		places[i] = int64(i)
	}
	return c.Result(n, "cast", "x", c.Emit("equal", "x", at, "y", c.IntsConst(shape, places)), "dtype", c.float.String())
}
