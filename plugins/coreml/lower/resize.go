package lower

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// resizes sample a tensor at other places along its axes.
var resizes = []Rule{
	{Op: "Resize", Covers: "Constant scales or sizes; all modes (nearest, linear, cubic), all ways to work out coordinates, antialias.", Lower: lowerResize},
	{Op: "Upsample", Covers: "Constant scales, nearest and linear.", Lower: lowerResize},
}

// resizing is what a Resize does along each axis.
type resizing struct {
	axes []resizedAxis
	mode string // nearest, linear or cubic
	// coordinates is ONNX's coordinate_transformation_mode.
	coordinates string
	nearest     string // nearest_mode
	cubic       float32
	exclude     bool // samples outside count nothing, and the others more
	antialias   bool
	outside     float64 // what is outside of tf_crop_and_resize's region
}

// resizedAxis is one axis. An open axis has in and out of -1.
type resizedAxis struct {
	in, out    int64
	scale      float32
	start, end float32 // the region of tf_crop_and_resize, as parts of the axis
}

func (a resizedAxis) same(mode string) bool {
	return a.in == a.out && a.scale == 1 && mode != "tf_crop_and_resize"
}

func lowerResize(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	r, ok := c.resizing(n, x)
	if !ok {
		return c.err
	}
	if !x.Float() && r.mode != "nearest" {
		return c.Failf("it interpolates integers, of which nothing says how they are rounded")
	}
	changed := slices.ContainsFunc(r.axes, func(a resizedAxis) bool { return !a.same(r.coordinates) })
	switch {
	case !changed:
		return c.Result(n, "identity", "x", x)
	case r.mode == "nearest":
		c.Set(n, 0, c.Carried(x, func(x Value) Value { return c.resizeNearest(x, r) }))
	case r.mode == "linear" && !r.antialias && !r.exclude:
		c.Set(n, 0, c.resizeLinear(x, r))
	default:
		c.Set(n, 0, c.resample(x, r))
	}
	return c.err
}

// resizing reads the node's inputs and attributes.
func (c *Context) resizing(n *onnx.Node, x Value) (resizing, bool) {
	r := resizing{mode: n.StringAttr("mode", "nearest"), coordinates: n.StringAttr("coordinate_transformation_mode", "half_pixel"),
		nearest: n.StringAttr("nearest_mode", "round_prefer_floor"), cubic: n.FloatAttr("cubic_coeff_a", -0.75),
		exclude: n.IntAttr("exclude_outside", 0) != 0, antialias: n.IntAttr("antialias", 0) != 0,
		outside: float64(n.FloatAttr("extrapolation_value", 0))}
	if r.mode == "bilinear" { // of Upsample before opset 9
		r.mode = "linear"
	}
	at := 2
	if n.OpType == "Upsample" || c.version < 11 {
		at, r.coordinates, r.nearest = 1, "asymmetric", "floor"
	}
	if !slices.Contains([]string{"nearest", "linear", "cubic"}, r.mode) {
		_ = c.Failf("there is no mode %q", r.mode)
		return r, false
	}
	scales := n.FloatsAttr("scales")
	sizes, sized := []int64(nil), false
	if scales == nil && c.Has(n, at) {
		scales, _ = c.Floats(n, at)
	}
	if at == 2 && c.Has(n, 3) && len(scales) == 0 {
		sizes, sized = c.Ints(n, 3)
	}
	if len(scales) == 0 && !sized {
		_ = c.Failf("neither its scales nor its sizes are constant, and Core ML resizes to constant sizes only")
		return r, false
	}
	axes := axesFrom(0, x.Rank())
	if n.Attr("axes") != nil {
		axes = n.IntsAttr("axes")
	}
	if got := max(len(scales), len(sizes)); got != len(axes) {
		_ = c.Failf("it has %d scales or sizes for %d axes", got, len(axes))
		return r, false
	}
	for _, d := range x.Shape() {
		r.axes = append(r.axes, resizedAxis{in: d, out: d, scale: 1, end: 1})
	}
	c.regions(n, &r, axes)
	if !c.lengthen(&r, axes, scales, sizes, n.StringAttr("keep_aspect_ratio_policy", "stretch")) {
		return r, false
	}
	return r, c.err == nil
}

// regions reads tf_crop_and_resize's region.
func (c *Context) regions(n *onnx.Node, r *resizing, axes []int64) {
	if r.coordinates != "tf_crop_and_resize" {
		return
	}
	roi, ok := c.Floats(n, 1)
	if !ok || len(roi) != 2*len(axes) {
		_ = c.Failf("its roi is not constant")
		return
	}
	for i, a := range axes {
		ax := &r.axes[c.Axis(a, len(r.axes))]
		ax.start, ax.end = roi[i], roi[i+len(axes)]
	}
}

// lengthen works out how long the axes become.
func (c *Context) lengthen(r *resizing, axes []int64, scales []float32, sizes []int64, policy string) bool {
	all := float32(0) // one scale for all, where a policy says so
	for i, a := range axes {
		ax := &r.axes[c.Axis(a, len(r.axes))]
		if c.err != nil {
			return false
		}
		if len(scales) > 0 {
			ax.scale = scales[i]
			if !(ax.scale > 0) {
				_ = c.Failf("its scale %g is not positive", ax.scale)
				return false
			}
			if ax.in >= 0 {
				ax.out = int64(float32(ax.in) * ax.scale)
			}
			continue
		}
		if ax.in < 0 {
			_ = c.Failf("axis %d is open, and is to become %d long", a, sizes[i])
			return false
		}
		ax.out, ax.scale = sizes[i], float32(sizes[i])/float32(ax.in)
		if all == 0 || policy == "not_larger" && ax.scale < all || policy == "not_smaller" && ax.scale > all {
			all = ax.scale
		}
	}
	for _, a := range axes {
		ax := &r.axes[c.Axis(a, len(r.axes))]
		if len(scales) == 0 && policy != "stretch" {
			ax.scale, ax.out = all, int64(math.Floor(float64(all*float32(ax.in))+0.5))
		}
		if ax.in >= 0 && (ax.out < 1 || ax.out > longest) {
			_ = c.Failf("it makes axis %d %d long, and 1 to %d are possible", a, ax.out, longest)
			return false
		}
	}
	return true
}

// place is where element i of the result lies in the axis: ONNX's formulas, in single precision as ONNX Runtime has them.
func (a resizedAxis) place(i int64, mode string) float32 {
	x, in, out := float32(i), float32(a.in), float32(a.out)
	switch mode {
	case "asymmetric":
		return x / a.scale
	case "align_corners":
		if a.out == 1 {
			return 0
		}
		return x * (in - 1) / (out - 1)
	case "pytorch_half_pixel":
		if a.out == 1 {
			return 0
		}
	case "tf_half_pixel_for_nn":
		return (x + 0.5) / a.scale
	case "half_pixel_symmetric":
		adjust := out / (a.scale * in)
		return in/2*(1-adjust) + (x+0.5)/a.scale - 0.5
	case "tf_crop_and_resize":
		if a.out == 1 {
			return 0.5 * (a.start + a.end) * (in - 1)
		}
		return a.start*(in-1) + x*(a.end-a.start)*(in-1)/(out-1)
	}
	return (x+0.5)/a.scale - 0.5
}

// nearestTo is the element nearest to a place.
func (r resizing) nearestTo(p float32, in int64) int64 {
	v, f := float64(p), 0.0
	switch r.nearest {
	case "floor":
		f = math.Floor(v)
	case "ceil":
		f = math.Ceil(v)
	case "round_prefer_ceil":
		f = math.Floor(v + 0.5)
	default:
		f = math.Ceil(v - 0.5)
	}
	return min(max(int64(f), 0), in-1)
}

// resizeNearest repeats whole numbers of times by MIL's upsampling, and picks places otherwise.
func (c *Context) resizeNearest(x Value, r resizing) Value {
	if y, ok := c.upsampleNearest(x, r); ok {
		return y
	}
	y := x
	for a, ax := range r.axes {
		if ax.same(r.coordinates) {
			continue
		}
		if ax.in < 0 {
			_ = c.Failf("axis %d is open, and becomes longer by %g", a, ax.scale)
			return Value{}
		}
		places := make([]int64, ax.out)
		for i := range places {
			places[i] = r.nearestTo(ax.place(int64(i), r.coordinates), ax.in)
		}
		if slices.Equal(places, axesFrom(0, int(ax.in))) {
			continue
		}
		y = c.Gather(y, c.IntsConst([]int64{ax.out}, places), a)
		if c.err != nil {
			return Value{}
		}
	}
	return c.fillOutside(y, r)
}

// upsampleNearest repeats each pixel a whole number of times: the result of every way to round, but for a few.
func (c *Context) upsampleNearest(x Value, r resizing) (Value, bool) {
	rank := len(r.axes)
	if rank < 3 || !x.Float() || r.coordinates == "tf_crop_and_resize" {
		return Value{}, false
	}
	for a, ax := range r.axes {
		times := int64(ax.scale)
		switch {
		case ax.same(r.coordinates):
		case a < rank-2, float32(times) != ax.scale, times < 1:
			return Value{}, false
		case ax.in < 0:
			// The result is the same for axes of any length: it is checked on one.
			ax.in, ax.out = 8, 8*times
		}
		if ax.in >= 0 {
			for i := range ax.out {
				if r.nearestTo(ax.place(i, r.coordinates), ax.in) != i/times && !ax.same(r.coordinates) {
					return Value{}, false
				}
			}
		}
	}
	return c.Emit("upsample_nearest_neighbor", "x", x, "scale_factor_height", c.times(r.axes[rank-2]), "scale_factor_width", c.times(r.axes[rank-1])), true
}

func (c *Context) times(a resizedAxis) mil.Value { return mil.Int(int64(a.scale)) }

// sampling is MIL's name for a way to work out coordinates, "" where it has none that gives the same.
func (r resizing) sampling() string {
	exact := true
	for _, a := range r.axes {
		exact = exact && (a.in < 0 || float32(a.in)*a.scale == float32(a.out))
	}
	switch r.coordinates {
	case "align_corners":
		return "STRICT_ALIGN_CORNERS"
	case "half_pixel", "half_pixel_symmetric":
		if exact {
			return "UNALIGN_CORNERS"
		}
	case "pytorch_half_pixel":
		one := slices.ContainsFunc(r.axes, func(a resizedAxis) bool { return a.out == 1 && a.in != 1 })
		if exact && !one {
			return "UNALIGN_CORNERS"
		}
	case "asymmetric":
		if exact {
			return "DEFAULT"
		}
	}
	return ""
}

// resizeLinear is MIL's own where only height and width change, and products with matrices otherwise.
func (c *Context) resizeLinear(x Value, r resizing) Value {
	rank, mode := len(r.axes), r.sampling()
	outer := slices.ContainsFunc(r.axes[:max(rank-2, 0)], func(a resizedAxis) bool { return !a.same(r.coordinates) })
	if rank < 3 || rank > 4 || outer || mode == "" {
		return c.resample(x, r)
	}
	h, w := r.axes[rank-2], r.axes[rank-1]
	if h.in >= 0 && w.in >= 0 {
		return c.Emit("resize_bilinear", "x", x, "target_size_height", h.out, "target_size_width", w.out, "sampling_mode", mode)
	}
	args := []any{"x", x, "scale_factor_height", c.factor(h), "scale_factor_width", c.factor(w), "align_corners", mode == "STRICT_ALIGN_CORNERS"}
	switch half := mil.Takes("upsample_bilinear", c.Opset(), "half_pixel_centers"); {
	case half:
		args = append(args, "half_pixel_centers", mode == "UNALIGN_CORNERS")
	case mode == "DEFAULT":
		_ = c.Failf("with open axes its coordinates need %s", deployment(6))
	}
	return c.Emit("upsample_bilinear", args...)
}

func (c *Context) factor(a resizedAxis) mil.Value { return mil.Scalar(mil.Float32, float64(a.scale)) }

// resample multiplies each axis with the matrix of its samples' weights: exact for everything that treats the axes apart.
func (c *Context) resample(x Value, r resizing) Value {
	y, vector := x, x.Rank() == 1
	if vector {
		y = c.Raise(y, 2)
		r.axes = slices.Concat([]resizedAxis{{in: 1, out: 1, scale: 1, end: 1}}, r.axes)
	}
	rank := y.Rank()
	for a, ax := range r.axes {
		if ax.same(r.coordinates) {
			continue
		}
		if ax.in < 0 {
			_ = c.Failf("axis %d is open, and its samples are worked out beforehand", a)
			return Value{}
		}
		if ax.in*ax.out > largestMask {
			_ = c.Failf("the matrix of %d by %d samples along axis %d is too large", ax.in, ax.out, a)
			return Value{}
		}
		m := r.matrix(ax)
		switch a {
		case rank - 1:
			t := c.FloatsConst([]int64{ax.out, ax.in}, m)
			y = c.Emit("matmul", "x", y, "y", t, "transpose_x", false, "transpose_y", true)
		case rank - 2:
			t := c.FloatsConst([]int64{ax.out, ax.in}, m)
			y = c.Emit("matmul", "x", c.Raise(t, rank), "y", y, "transpose_x", false, "transpose_y", false)
		default:
			perm := axesFrom(0, rank)
			perm[a], perm[rank-1] = perm[rank-1], perm[a]
			t := c.FloatsConst([]int64{ax.out, ax.in}, m)
			y = c.Emit("matmul", "x", c.Transpose(y, perm...), "y", t, "transpose_x", false, "transpose_y", true)
			y = c.Transpose(y, perm...)
		}
		if c.err != nil {
			return Value{}
		}
	}
	y = c.fillOutside(y, r)
	if vector {
		y = c.Emit("squeeze", "x", y, "axes", []int64{0})
	}
	return y
}

// fillOutside puts the extrapolation value where tf_crop_and_resize samples outside of the tensor.
func (c *Context) fillOutside(y Value, r resizing) Value {
	if r.coordinates != "tf_crop_and_resize" || c.err != nil {
		return y
	}
	for a, ax := range r.axes {
		inside, all := make([]bool, ax.out), true
		for i := range inside {
			p := ax.place(int64(i), r.coordinates)
			inside[i] = p >= 0 && p <= float32(ax.in-1)
			all = all && inside[i]
		}
		if all {
			continue
		}
		shape := ones(y.Rank())
		shape[a] = ax.out
		y = c.Select(c.TruthsConst(shape, inside), y, c.Filled(y, r.outside))
	}
	return y
}
