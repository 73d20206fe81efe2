package lower

import (
	"math"

	"github.com/optimize-hcl/optimize/onnx"
)

var normalizations = []Rule{
	{Op: "BatchNormalization", Covers: "At inference; parameters that are constant or computed.", Lower: lowerBatchNorm},
	{Op: "LpNormalization", Covers: "p of 1 and 2.", Lower: lowerLpNormalization},
	{Op: "MeanVarianceNormalization", Covers: "All of it.", Lower: lowerMeanVariance},
}

func lowerBatchNorm(c *Context, n *onnx.Node) error {
	if n.IntAttr("training_mode", 0) != 0 {
		return c.Failf("it is in training mode")
	}
	for i := 1; i < 5; i++ {
		if c.Wants(n, i) {
			return c.Failf("its output %d is of training only", i)
		}
	}
	x := c.In(n, 0)
	var p [4]Value // scale, bias, mean, variance
	constant := true
	for i := range p {
		p[i] = c.In(n, i+1)
		constant = constant && p[i].Const() != nil
	}
	if c.err != nil {
		return c.err
	}
	eps := float64(n.FloatAttr("epsilon", 1e-5))
	if r := x.Rank(); constant && r >= 3 && r <= 5 {
		return c.Result(n, "batch_norm", "x", x, "mean", p[2], "variance", p[3], "gamma", p[0], "beta", p[1], "epsilon", eps)
	}
	if x.Rank() < 2 {
		return c.Failf("its input has no channels")
	}
	shape := append([]int64{1, p[0].Dim(0)}, ones(x.Rank()-2)...)
	if constant {
		scale := Combine(shape, func(in [][]float32) ([]float32, error) {
			out := make([]float32, len(in[0]))
			for i := range out {
				out[i] = float32(float64(in[0][i]) / math.Sqrt(float64(in[3][i])+eps))
			}
			return out, nil
		}, p[0].Const(), p[1].Const(), p[2].Const(), p[3].Const())
		shift := Combine(shape, func(in [][]float32) ([]float32, error) {
			out := make([]float32, len(in[0]))
			for i := range out {
				out[i] = float32(float64(in[1][i]) - float64(in[2][i])*float64(in[0][i])/math.Sqrt(float64(in[3][i])+eps))
			}
			return out, nil
		}, p[0].Const(), p[1].Const(), p[2].Const(), p[3].Const())
		return c.Result(n, "add", "x", c.Emit("mul", "x", x, "y", c.From(scale)), "y", c.From(shift))
	}
	for i := range p {
		p[i] = c.reshaped(p[i], shape)
	}
	y := c.Emit("mul", "x", c.Emit("sub", "x", x, "y", p[2]), "y", c.Emit("rsqrt", "x", p[3], "epsilon", eps))
	return c.Result(n, "add", "x", c.Emit("mul", "x", y, "y", p[0]), "y", p[1])
}

func lowerLpNormalization(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	op := "reduce_l2_norm"
	switch p := n.IntAttr("p", 2); p {
	case 1:
		op = "reduce_l1_norm"
	case 2:
	default:
		return c.Failf("its p is %d", p)
	}
	axis := c.Axis(n.IntAttr("axis", -1), x.Rank())
	norm := c.Emit(op, "x", x, "axes", []int64{int64(axis)}, "keep_dims", true)
	// A row of zeros stays one.
	return c.Result(n, "real_div", "x", x, "y", c.Emit("maximum", "x", norm, "y", 1e-24))
}

func lowerMeanVariance(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	axes := n.IntsAttr("axes")
	if axes == nil {
		axes = []int64{0, 2, 3}
	}
	if c.err != nil {
		return c.err
	}
	axes = c.Axes(axes, x.Rank())
	d := c.Emit("sub", "x", x, "y", c.Emit("reduce_mean", "x", x, "axes", axes, "keep_dims", true))
	s := c.Emit("sqrt", "x", c.Emit("reduce_mean", "x", c.Emit("square", "x", d), "axes", axes, "keep_dims", true))
	return c.Result(n, "real_div", "x", d, "y", c.Emit("add", "x", s, "y", 1e-9))
}
