package lower

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// fusions are operators that ONNX Runtime and others make of several.
var fusions = []Rule{
	{Op: "Gelu", Covers: "Both approximations.", Lower: lowerGelu},
	{Domain: "com.microsoft", Op: "Gelu", Covers: "All of it.", Lower: biasGelu("EXACT")},
	{Domain: "com.microsoft", Op: "BiasGelu", Covers: "All of it.", Lower: biasGelu("EXACT")},
	{Domain: "com.microsoft", Op: "FastGelu", Covers: "With and without a bias.", Lower: biasGelu("TANH_APPROXIMATION")},
	{Domain: "com.microsoft", Op: "QuickGelu", Covers: "All of it.", Lower: lowerQuickGelu},
	{Domain: "com.microsoft", Op: "FusedConv", Covers: "What Conv covers, a tensor that is added, and the activations Relu, Tanh, Sigmoid, LeakyRelu, Clip and HardSigmoid.", Lower: lowerFusedConv},
	{Domain: "com.microsoft", Op: "FusedGemm", Covers: "What Gemm covers, and the activations of FusedConv.", Lower: lowerFusedGemm},
	{Domain: "com.microsoft", Op: "FusedMatMul", Covers: "All of it.", Lower: lowerFusedMatMul},
	{Domain: "com.microsoft", Op: "TransposeMatMul", Covers: "All of it.", Lower: lowerFusedMatMul},
}

func lowerGelu(c *Context, n *onnx.Node) error {
	mode := "EXACT"
	if n.StringAttr("approximate", "none") == "tanh" {
		mode = "TANH_APPROXIMATION"
	}
	return c.Result(n, "gelu", "x", c.In(n, 0), "mode", mode)
}

func biasGelu(mode string) func(*Context, *onnx.Node) error {
	return func(c *Context, n *onnx.Node) error {
		x := c.In(n, 0)
		if c.Has(n, 1) {
			x = c.Binary("add", x, c.In(n, 1))
		}
		return c.Result(n, "gelu", "x", x, "mode", mode)
	}
}

// lowerQuickGelu is x * sigmoid(alpha * x).
func lowerQuickGelu(c *Context, n *onnx.Node) error {
	x, alpha := c.In(n, 0), float64(n.FloatAttr("alpha", 1.702))
	return c.Result(n, "mul", "x", x, "y", c.Emit("sigmoid", "x", c.Binary("mul", x, alpha)))
}

// made is output i of the node, which a rule that this one calls has made.
func (c *Context) made(n *onnx.Node, i int) Value {
	v := c.values[n.Output(i)]
	if c.err != nil || v == nil {
		return Value{}
	}
	return c.see(v)
}

func lowerFusedConv(c *Context, n *onnx.Node) error {
	if err := lowerConv(c, n); err != nil {
		return err
	}
	y := c.made(n, 0)
	if c.Has(n, 3) {
		y = c.Binary("add", y, c.In(n, 3))
	}
	c.Set(n, 0, c.activated(y, n.StringAttr("activation", ""), n.FloatsAttr("activation_params")))
	return c.err
}

func lowerFusedGemm(c *Context, n *onnx.Node) error {
	if err := lowerGemm(c, n); err != nil {
		return err
	}
	var params []float32
	for _, a := range []string{"activation_alpha", "activation_beta", "activation_gamma"} {
		if n.Attr(a) != nil {
			params = append(params, n.FloatAttr(a, 0))
		}
	}
	c.Set(n, 0, c.activated(c.made(n, 0), n.StringAttr("activation", ""), params))
	return c.err
}

// activated applies an activation by its ONNX name. What is not among the parameters has ONNX's default.
func (c *Context) activated(x Value, name string, params []float32) Value {
	p := func(i int, def float64) float64 {
		if i < len(params) {
			return float64(params[i])
		}
		return def
	}
	switch name {
	case "":
		return x
	case "Relu":
		return c.Emit("relu", "x", x)
	case "Tanh":
		return c.Emit("tanh", "x", x)
	case "Sigmoid":
		return c.Emit("sigmoid", "x", x)
	case "Softsign":
		return c.Emit("softsign", "x", x)
	case "Softplus":
		return c.Emit("softplus", "x", x)
	case "LeakyRelu":
		return c.Emit("leaky_relu", "x", x, "alpha", p(0, 0.01))
	case "Elu":
		return c.Emit("elu", "x", x, "alpha", p(0, 1))
	case "HardSigmoid":
		return c.Emit("sigmoid_hard", "x", x, "alpha", p(0, 0.2), "beta", p(1, 0.5))
	case "Clip":
		return c.Emit("clip", "x", x, "alpha", p(0, -math.MaxFloat32), "beta", p(1, math.MaxFloat32))
	case "ThresholdedRelu":
		return c.Select(c.Binary("greater", x, p(0, 1)), x, c.Filled(x, 0))
	case "ScaledTanh":
		return c.Binary("mul", c.Emit("tanh", "x", c.Binary("mul", x, p(1, 1))), p(0, 1))
	case "Affine":
		return c.Binary("add", c.Binary("mul", x, p(0, 1)), p(1, 0))
	}
	_ = c.Failf("the activation %s is not one of those that are lowered", name)
	return Value{}
}

// lowerFusedMatMul multiplies matrices that may lie on their side, also with their batches behind them.
func lowerFusedMatMul(c *Context, n *onnx.Node) error {
	a, b := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	// transBatch: the matrix's rows are the first axis, [rows, batches..., columns].
	turn := func(v Value, attr string) Value {
		if n.IntAttr(attr, 0) == 0 || v.Rank() < 3 {
			return v
		}
		perm := axesFrom(1, v.Rank()-1)
		return c.Transpose(v, append(slices.Clone(perm), 0, int64(v.Rank()-1))...)
	}
	a, b = turn(a, "transBatchA"), turn(b, "transBatchB")
	if c.err != nil {
		return c.err
	}
	flat := a.Rank() == 1 || b.Rank() == 1
	if flat {
		return c.Failf("it multiplies a vector")
	}
	r := max(a.Rank(), b.Rank())
	y := c.Emit("matmul", "x", c.Raise(a, r), "y", c.Raise(b, r), "transpose_x", n.IntAttr("transA", 0) != 0, "transpose_y", n.IntAttr("transB", 0) != 0)
	if alpha := n.FloatAttr("alpha", 1); alpha != 1 {
		y = c.Binary("mul", y, float64(alpha))
	}
	c.Set(n, 0, y)
	return c.err
}
