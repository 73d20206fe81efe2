package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// spaces move between channels and pixels, or sample pictures at given places.
var spaces = []Rule{
	{Op: "DepthToSpace", Covers: "Both orders (DCR and CRD).", Lower: lowerDepthToSpace},
	{Op: "SpaceToDepth", Covers: "All of it.", Lower: lowerSpaceToDepth},
	{Op: "GridSample", Covers: "Pictures (2-D), linear and nearest; all paddings, reflection with aligned corners or none.", Lower: lowerGridSample},
	{Op: "RoiAlign", Covers: "Averages with a constant sampling_ratio, pictures of a known size.", Lower: lowerRoiAlign},
	{Op: "AffineGrid", Covers: "A constant size, pictures and volumes.", Lower: lowerAffineGrid},
}

func lowerDepthToSpace(c *Context, n *onnx.Node) error {
	x, b := c.In(n, 0), n.IntAttr("blocksize", 0)
	if n.StringAttr("mode", "DCR") == "CRD" {
		return c.pictures(n, x, b, "pixel_shuffle", "upscale_factor", mil.Int(b))
	}
	return c.pictures(n, x, b, "depth_to_space", "block_size", mil.Int(b))
}

func lowerSpaceToDepth(c *Context, n *onnx.Node) error {
	b := n.IntAttr("blocksize", 0)
	return c.pictures(n, c.In(n, 0), b, "space_to_depth", "block_size", mil.Int(b))
}

// pictures emits an operation of floats; integers go through single precision.
func (c *Context) pictures(n *onnx.Node, x Value, block int64, op, key string, v mil.Value) error {
	if c.err != nil {
		return c.err
	}
	if block < 1 || block > 1<<15 || x.Rank() != 4 {
		return c.Failf("it has blocks of %d in a tensor %v", block, x.Shape())
	}
	if block == 1 {
		return c.Result(n, "identity", "x", x)
	}
	from := x.Type.DataType
	if !from.Float() {
		c.float = mil.Float32
		x = c.Cast(x, mil.Float32)
	}
	c.Set(n, 0, c.Cast(c.Emit(op, "x", x, key, v), backTo(from, c.float)))
	return c.err
}

// lowerGridSample is MIL's resample, whose coordinates are ONNX's.
func lowerGridSample(c *Context, n *onnx.Node) error {
	x, grid := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	if x.Rank() != 4 {
		return c.Failf("it samples a tensor of %d axes, and Core ML samples pictures of 4", x.Rank())
	}
	corners := n.IntAttr("align_corners", 0) != 0
	mode, ok := map[string]string{"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest"}[n.StringAttr("mode", "linear")]
	if !ok {
		return c.Failf("Core ML has no samples of mode %q", n.StringAttr("mode", ""))
	}
	padding := map[string]string{"zeros": "constant", "border": "border", "reflection": "reflection"}[n.StringAttr("padding_mode", "zeros")]
	if padding == "reflection" && !corners {
		padding = "symmetric" // about the pixels' edges
	}
	if padding == "" {
		return c.Failf("there is no padding %q", n.StringAttr("padding_mode", ""))
	}
	if !mil.Accepts("resample", c.Opset(), "coordinates", grid.Type.DataType) {
		grid.Type.DataType = mil.Float32
	}
	return c.Result(n, "resample", "x", x, "coordinates", grid, "sampling_mode", mode, "padding_mode", padding,
		"padding_value", 0.0, "coordinates_mode", "normalized_minus_one_to_one", "align_corners", corners)
}

// lowerAffineGrid multiplies the places of a picture's pixels with theta.
func lowerAffineGrid(c *Context, n *onnx.Node) error {
	theta := c.In(n, 0)
	size, ok := c.Ints(n, 1)
	if !ok {
		return c.Failf("its size is not constant")
	}
	if c.err != nil {
		return c.err
	}
	dims := len(size) - 2
	if dims < 2 || dims > 3 || theta.Rank() != 3 || theta.Dim(1) != int64(dims) {
		return c.Failf("it has the size %v and theta %v", size, theta.Shape())
	}
	corners, space := n.IntAttr("align_corners", 0) != 0, size[2:]
	count := product(space)
	if slices.ContainsFunc(size, func(d int64) bool { return d < 1 || d > 1<<20 }) || count > longest {
		return c.Failf("its size is %v", size)
	}
	places := make([]float32, 0, count*int64(dims+1))
	each := strides(space)
	for p := range count {
		for a := dims - 1; a >= 0; a-- { // the last axis comes first
			i, d := float32(p/each[a]%space[a]), float32(space[a])
			switch {
			case !corners:
				places = append(places, (2*i+1)/d-1)
			case d == 1:
				places = append(places, 0)
			default:
				places = append(places, 2*i/(d-1)-1)
			}
		}
		places = append(places, 1)
	}
	grid := c.FloatsConst([]int64{1, count, int64(dims + 1)}, places)
	y := c.Emit("matmul", "x", grid, "y", theta, "transpose_x", false, "transpose_y", true)
	c.Set(n, 0, c.Reshape(y, append(append([]int64{size[0]}, space...), int64(dims))...))
	return c.err
}

// lowerRoiAlign averages a fixed number of samples in each part of a region. The samples are taken one by one with the
// weights of the pixels around them: as two matrices for each region, for the rows and the columns, made of the regions'
// corners. That is what ONNX defines, which MIL's crop_resize is not.
func lowerRoiAlign(c *Context, n *onnx.Node) error {
	x, rois, batch := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	ratio := n.IntAttr("sampling_ratio", 0)
	if n.StringAttr("mode", "avg") != "avg" {
		return c.Failf("it takes the largest sample, and only averages are lowered")
	}
	if ratio < 1 {
		return c.Failf("its sampling_ratio depends on the size of each region")
	}
	if x.Rank() != 4 || !x.Fixed() || rois.Rank() != 2 || !rois.Fixed() {
		return c.Failf("it needs pictures and regions of known shapes, and has %v and %v", x.Shape(), rois.Shape())
	}
	for a, name := range []string{"output_height", "output_width"} {
		if out := n.IntAttr(name, 1); out < 1 || ratio > 1<<10 || out > 1<<14 || out*ratio*x.Dim(2+a) > largestMask {
			return c.Failf("its %s is %d with %d samples each", name, out, ratio)
		}
	}
	if rois.Dim(1) != 4 {
		return c.Failf("its regions have %d numbers, and 4 are needed", rois.Dim(1))
	}
	half := n.StringAttr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
	if c.version < 16 {
		half = false
	}
	scale := float64(n.FloatAttr("spatial_scale", 1))
	out := [2]int64{n.IntAttr("output_height", 1), n.IntAttr("output_width", 1)}
	var weights [2]Value // [regions, 1, out, in]
	for a := range 2 {
		low := c.Binary("mul", c.Slice(rois, 1, int64(1-a), int64(2-a)), scale)
		high := c.Binary("mul", c.Slice(rois, 1, int64(3-a), int64(4-a)), scale)
		if half {
			low, high = c.Binary("sub", low, 0.5), c.Binary("sub", high, 0.5)
		}
		span := c.Binary("sub", high, low)
		if !half {
			span = c.Binary("maximum", span, 1.0)
		}
		weights[a] = c.roiWeights(low, span, out[a], ratio, x.Dim(2+a))
	}
	picked := c.Gather(x, c.Places(batch, x.Dim(0)), 0) // [regions, C, H, W]
	y := c.Emit("matmul", "x", weights[0], "y", picked, "transpose_x", false, "transpose_y", false)
	return c.Result(n, "matmul", "x", y, "y", weights[1], "transpose_x", false, "transpose_y", true)
}

// roiWeights are the weights of an axis of in elements for each of out parts of regions [low, low + span): the mean of
// those of ratio samples. Samples more than one element outside count nothing.
func (c *Context) roiWeights(low, span Value, out, ratio, in int64) Value {
	samples := out * ratio
	parts := make([]float32, samples)
	for i := range parts {
		parts[i] = (float32(i) + 0.5) / float32(samples)
	}
	at := c.Binary("add", c.Binary("mul", span, c.FloatsConst([]int64{1, samples}, parts)), low) // [regions, samples]
	inside := c.Binary("logical_and", c.Binary("greater_equal", at, -1.0), c.Binary("less_equal", at, float64(in)))
	at = c.Emit("clip", "x", at, "alpha", 0.0, "beta", float64(in-1))
	places := make([]float32, in)
	for i := range places {
		places[i] = float32(i)
	}
	far := c.Binary("sub", c.Emit("expand_dims", "x", at, "axes", []int64{2}), c.FloatsConst([]int64{1, 1, in}, places))
	w := c.Emit("relu", "x", c.Binary("sub", 1.0, c.Emit("abs", "x", far))) // [regions, samples, in]
	w = c.Binary("mul", w, c.Emit("expand_dims", "x", c.Cast(inside, c.float), "axes", []int64{2}))
	if c.err != nil {
		return Value{}
	}
	w = c.Reshape(w, w.Dim(0), out, ratio, in)
	w = c.Emit("reduce_mean", "x", w, "axes", []int64{2}, "keep_dims", false)
	return c.Emit("expand_dims", "x", w, "axes", []int64{1})
}
