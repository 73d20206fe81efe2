package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// layerNorms bring numbers to a mean of 0, a variance of 1, or a length of 1.
var layerNorms = []Rule{
	{Op: "LayerNormalization", Covers: "All of it; scale and bias that are constant or computed.", Lower: lowerLayerNorm},
	{Op: "RMSNormalization", Covers: "All of it; the mean of squares is taken in single precision.", Lower: lowerRMSNorm},
	{Op: "SimplifiedLayerNormalization", Covers: "All of it; the mean of squares is taken in single precision.", Lower: lowerRMSNorm},
	{Op: "GroupNormalization", Covers: "Tensors of a known shape, but for the batch; scale and bias of groups (opset 18) and of channels (opset 21).", Lower: lowerGroupNorm},
	{Op: "InstanceNormalization", Covers: "All of it; scale and bias that are constant or computed.", Lower: lowerInstanceNorm},
	{Op: "LRN", Covers: "Tensors of 3 and 4 axes, odd sizes.", Lower: lowerLRN},
	{Domain: "com.microsoft", Op: "SkipLayerNormalization", Covers: "All of it.", Lower: lowerSkipLayerNorm},
	{Domain: "com.microsoft", Op: "SkipSimplifiedLayerNormalization", Covers: "All of it.", Lower: lowerSkipRMSNorm},
	{Domain: "com.microsoft", Op: "EmbedLayerNormalization", Covers: "All of it.", Lower: lowerEmbedLayerNorm},
}

// layerNormed is x over the axes from one on, with a mean of 0 and a variance of 1, times gamma plus beta, which may be
// left out.
func (c *Context) layerNormed(x Value, axis int, gamma, beta Value, eps float64) Value {
	if c.err != nil || !x.Valid() {
		return Value{}
	}
	args := []any{"x", x, "axes", axesFrom(axis, x.Rank()), "epsilon", eps}
	whole := func(v Value) bool { return !v.Valid() || v.Const() != nil && slices.Equal(v.Shape(), x.Shape()[axis:]) }
	if whole(gamma) && whole(beta) {
		return c.Emit("layer_norm", append(args, "gamma", gamma, "beta", beta)...)
	}
	return c.scaleShift(c.Emit("layer_norm", args...), gamma, beta)
}

// scaleShift is x times gamma plus beta, each of which may be left out.
func (c *Context) scaleShift(x, gamma, beta Value) Value {
	if gamma.Valid() {
		x = c.Binary("mul", x, gamma)
	}
	if beta.Valid() {
		x = c.Binary("add", x, beta)
	}
	return x
}

func lowerLayerNorm(c *Context, n *onnx.Node) error {
	x, gamma, beta := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	axis, eps := c.Axis(n.IntAttr("axis", -1), x.Rank()), float64(n.FloatAttr("epsilon", 1e-5))
	c.Set(n, 0, c.layerNormed(x, axis, gamma, beta, eps))
	c.moments(n, x, axis, eps)
	return c.err
}

// moments gives the mean and 1 / standard deviation, where something reads them.
func (c *Context) moments(n *onnx.Node, x Value, axis int, eps float64) {
	if !c.Wants(n, 1) && !c.Wants(n, 2) {
		return
	}
	axes := axesFrom(axis, x.Rank())
	mean := c.Reduce("reduce_mean", x, axes, true)
	variance := c.Reduce("reduce_mean", c.Emit("square", "x", c.Binary("sub", x, mean)), axes, true)
	c.Set(n, 1, mean)
	c.Set(n, 2, c.Emit("rsqrt", "x", variance, "epsilon", eps))
}

// rms divides x by the root of the mean of its squares over the axes from one on. Squares of half precision end at 65504,
// so the mean is taken in single precision.
func (c *Context) rms(x Value, axis int, eps float64) (y, inverse Value) {
	if c.err != nil || !x.Valid() {
		return Value{}, Value{}
	}
	float := c.float
	c.float = mil.Float32
	mean := c.Reduce("reduce_mean", c.Emit("square", "x", c.Cast(x, mil.Float32)), axesFrom(axis, x.Rank()), true)
	inverse = c.Emit("rsqrt", "x", mean, "epsilon", eps)
	c.float = float
	return c.Binary("mul", x, c.Cast(inverse, float)), inverse
}

func lowerRMSNorm(c *Context, n *onnx.Node) error {
	x, scale := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	axis := c.Axis(n.IntAttr("axis", -1), x.Rank())
	y, inverse := c.rms(x, axis, float64(n.FloatAttr("epsilon", 1e-5)))
	c.Set(n, 0, c.scaleShift(y, scale, Value{}))
	c.Set(n, 1, inverse)
	return c.err
}

// skipped adds what a Skip* operator adds before it normalizes.
func (c *Context) skipped(n *onnx.Node, bias int) Value {
	x := c.Binary("add", c.In(n, 0), c.In(n, 1))
	if c.Has(n, bias) {
		x = c.Binary("add", x, c.In(n, bias))
	}
	c.Set(n, 3, x)
	return x
}

func lowerSkipLayerNorm(c *Context, n *onnx.Node) error {
	x := c.skipped(n, 4)
	if c.err != nil {
		return c.err
	}
	eps := float64(n.FloatAttr("epsilon", 1e-12))
	c.Set(n, 0, c.layerNormed(x, x.Rank()-1, c.In(n, 2), c.In(n, 3), eps))
	c.moments(n, x, x.Rank()-1, eps)
	return c.err
}

func lowerSkipRMSNorm(c *Context, n *onnx.Node) error {
	x := c.skipped(n, 3)
	if c.err != nil {
		return c.err
	}
	y, inverse := c.rms(x, x.Rank()-1, float64(n.FloatAttr("epsilon", 1e-12)))
	c.Set(n, 0, c.scaleShift(y, c.In(n, 2), Value{}))
	c.Set(n, 2, inverse)
	return c.err
}

// lowerEmbedLayerNorm looks up the embeddings of words, positions and segments.
func lowerEmbedLayerNorm(c *Context, n *onnx.Node) error {
	ids, words, positions := c.In(n, 0), c.In(n, 2), c.In(n, 3)
	if c.err != nil {
		return c.err
	}
	sum := c.Gather(words, c.Places(ids, words.Dim(0)), 0)
	if c.Has(n, 8) {
		sum = c.Binary("add", sum, c.Gather(positions, c.Places(c.In(n, 8), positions.Dim(0)), 0))
	} else {
		if ids.Rank() != 2 || ids.Dim(1) < 0 {
			return c.Failf("the length of its sequence is open")
		}
		sum = c.Binary("add", sum, c.Raise(c.Slice(positions, 0, 0, ids.Dim(1)), 3))
	}
	if c.Has(n, 1) && c.Has(n, 4) {
		segments := c.In(n, 4)
		sum = c.Binary("add", sum, c.Gather(segments, c.Places(c.In(n, 1), segments.Dim(0)), 0))
	}
	if c.err != nil {
		return c.err
	}
	c.Set(n, 0, c.layerNormed(sum, 2, c.In(n, 5), c.In(n, 6), float64(n.FloatAttr("epsilon", 1e-12))))
	c.Set(n, 2, sum)
	if c.Wants(n, 1) {
		if !c.Has(n, 7) {
			return c.Failf("it gives the lengths of a mask that it does not have")
		}
		c.Set(n, 1, c.Reduce("reduce_sum", c.In(n, 7), []int64{1}, false))
	}
	return c.err
}

// grouped normalizes x [N, C, ...] over groups of channels.
func (c *Context) grouped(x Value, groups int64, eps float64) Value {
	if c.err != nil || !x.Valid() {
		return Value{}
	}
	rest := product(x.Shape()[1:])
	if x.Rank() < 2 || rest < 0 || groups < 1 || x.Dim(1)%groups != 0 {
		_ = c.Failf("it has %d groups in a tensor %v, of which all but the batch must be known", groups, x.Shape())
		return Value{}
	}
	y := c.Reshape(x, x.Dim(0), groups, rest/groups)
	if x.Dim(0) < 0 {
		y = c.Emit("reshape", "x", x, "shape", []int64{-1, groups, rest / groups})
	}
	y = c.layerNormed(y, 2, Value{}, Value{}, eps)
	return c.Emit("reshape", "x", y, "shape", x.Shape())
}

func lowerGroupNorm(c *Context, n *onnx.Node) error {
	x, groups := c.In(n, 0), n.IntAttr("num_groups", 0)
	y := c.grouped(x, groups, float64(n.FloatAttr("epsilon", 1e-5)))
	if c.err != nil {
		return c.err
	}
	channels := x.Dim(1)
	along := func(v Value) Value {
		if !v.Valid() {
			return v
		}
		if d := v.Dim(0); d == groups && d != channels { // of a group, for each of its channels
			places := make([]int64, channels)
			for i := range places {
				places[i] = int64(i) / (channels / groups)
			}
			v = c.Gather(v, c.IntsConst([]int64{channels}, places), 0)
		}
		return c.Reshape(v, append([]int64{channels}, ones(x.Rank()-2)...)...)
	}
	c.Set(n, 0, c.scaleShift(y, along(c.In(n, 1)), along(c.In(n, 2))))
	return c.err
}

func lowerInstanceNorm(c *Context, n *onnx.Node) error {
	x, gamma, beta := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	eps := float64(n.FloatAttr("epsilon", 1e-5))
	if r := x.Rank(); (r == 3 || r == 4) && gamma.Const() != nil && beta.Const() != nil {
		return c.Result(n, "instance_norm", "x", x, "gamma", gamma, "beta", beta, "epsilon", eps)
	}
	if x.Rank() < 3 {
		return c.Failf("it takes tensors of at least 3 axes, and %v is given", x.Shape())
	}
	shape := append([]int64{gamma.Dim(0)}, ones(x.Rank()-2)...)
	y := c.layerNormed(x, 2, Value{}, Value{}, eps)
	c.Set(n, 0, c.scaleShift(y, c.Reshape(gamma, shape...), c.Reshape(beta, shape...)))
	return c.err
}

func lowerLRN(c *Context, n *onnx.Node) error {
	if s := n.IntAttr("size", 1); s%2 == 0 {
		return c.Failf("it sums over %d channels, and Core ML does not say to which side an even number of them leans", s)
	}
	return c.Result(n, "local_response_norm", "x", c.In(n, 0), "size", n.IntAttr("size", 1), "alpha", float64(n.FloatAttr("alpha", 1e-4)),
		"beta", float64(n.FloatAttr("beta", 0.75)), "k", float64(n.FloatAttr("bias", 1)))
}
