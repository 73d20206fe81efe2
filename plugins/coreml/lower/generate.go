package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// generators make tensors by a rule, or repeat and mask what is there.
var generators = []Rule{
	{Op: "Range", Covers: "Constant and computed ends; computed ones leave the length open.", Lower: lowerRange},
	{Op: "ConstantOfShape", Covers: "Constant and computed shapes.", Lower: lowerConstantOfShape},
	{Op: "EyeLike", Covers: "Tensors of a known shape.", Lower: lowerEyeLike},
	{Op: "Trilu", Covers: "A constant k.", Lower: lowerTrilu},
	{Op: "Tile", Covers: "Constant repeats.", Lower: lowerTile},
	{Op: "Expand", Covers: "A constant shape.", Lower: lowerExpand},
}

func lowerRange(c *Context, n *onnx.Node) error {
	args := make([]any, 0, 6)
	for i, key := range []string{"start", "end", "step"} {
		v := c.In(n, i)
		if v.Valid() && v.Rank() == 1 {
			v = c.Reshape(v)
		}
		args = append(args, key, v)
	}
	return c.Result(n, "range_1d", args...)
}

// lowerConstantOfShape makes a constant, whose bytes are made when the package is written, or fills a computed shape.
func lowerConstantOfShape(c *Context, n *onnx.Node) error {
	value := onnx.NewFloats("", []float32{0}, 1)
	if t := n.TensorAttr("value"); t != nil {
		value = t
	}
	k, err := newConst(value)
	if err != nil {
		return c.Failf("%w", err)
	}
	f, err := k.Floats()
	if err != nil || len(f) != 1 {
		return c.Failf("its value is no single number")
	}
	shape, ok := c.Ints(n, 0)
	if !ok {
		v := mil.Scalar(c.float, float64(f[0]))
		if !k.float {
			v = mil.Int(k.ints[0])
		}
		y := c.Emit("fill", "shape", c.In(n, 0), "value", v)
		if k.truth {
			y = c.Cast(y, mil.Bool)
		}
		c.Set(n, 0, y)
		return c.err
	}
	size := product(shape)
	if size < 1 {
		return c.Failf("it makes a tensor %v, and Core ML has no empty tensors", shape)
	}
	if size > 1<<31 {
		return c.Failf("it makes a tensor %v, which is too large", shape)
	}
	out := &Const{shape: slices.Clone(shape), float: k.float, truth: k.truth}
	if k.float {
		out.floats = func() ([]float32, error) { return slices.Repeat(f, int(size)), nil }
	} else {
		out.ints = slices.Repeat(k.ints, int(size))
	}
	c.Set(n, 0, c.From(out))
	return c.err
}

func lowerEyeLike(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	if x.Rank() != 2 || !x.Fixed() {
		return c.Failf("it makes a matrix of a known shape, and %v is none", x.Shape())
	}
	rows, cols, k := x.Dim(0), x.Dim(1), n.IntAttr("k", 0)
	if rows*cols > largestMask {
		return c.Failf("the matrix %v is too large to be made", x.Shape())
	}
	ones := make([]int64, rows*cols)
	for r := range rows {
		if j := r + k; j >= 0 && j < cols {
			ones[r*cols+j] = 1
		}
	}
	kind := x.Type.DataType
	if a := n.Attr("dtype"); a != nil {
		d, ok := typeOf(onnx.DataType(a.I))
		if !ok {
			return c.Failf("Core ML has no %s", onnx.DataType(a.I))
		}
		kind = d
	}
	y := c.IntsConst(x.Shape(), ones)
	if kind.Float() {
		f := make([]float32, len(ones))
		for i, v := range ones {
			f[i] = float32(v)
		}
		y = c.FloatsConst(x.Shape(), f)
	} else if kind == mil.Bool {
		y = c.Cast(y, mil.Bool)
	}
	c.Set(n, 0, y)
	return c.err
}

// lowerTrilu keeps a triangle by band_part, which cannot say that the diagonal itself goes: then by a mask.
func lowerTrilu(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	k := []int64{0}
	if c.Has(n, 1) {
		var ok bool
		if k, ok = c.Ints(n, 1); !ok || len(k) != 1 {
			return c.Failf("its k is not constant")
		}
	}
	if c.err != nil {
		return c.err
	}
	upper := n.IntAttr("upper", 1) != 0
	switch {
	case x.Rank() < 2:
		return c.Failf("it takes matrices, and %v is none", x.Shape())
	case upper && k[0] <= 0:
		return c.Result(n, "band_part", "x", x, "lower", -k[0], "upper", -1)
	case !upper && k[0] >= 0:
		return c.Result(n, "band_part", "x", x, "lower", -1, "upper", k[0])
	}
	rows, cols := x.Dim(-2), x.Dim(-1)
	if rows < 0 || cols < 0 || rows*cols > largestMask {
		return c.Failf("with the diagonal %d it needs a mask, and its matrices are open or too large", k[0])
	}
	keep := make([]bool, rows*cols)
	for r := range rows {
		for j := range cols {
			keep[r*cols+j] = upper == (j-r >= k[0]) || !upper && j-r == k[0]
		}
	}
	mask := c.Raise(c.TruthsConst([]int64{rows, cols}, keep), x.Rank())
	c.Set(n, 0, c.Carried(x, func(x Value) Value { return c.Select(mask, x, c.Filled(x, 0)) }))
	return c.err
}

func lowerTile(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	reps, ok := c.Ints(n, 1)
	if !ok {
		return c.Failf("its repeats are not constant")
	}
	if c.err != nil {
		return c.err
	}
	if c.version < 6 && c.Has(n, 2) {
		axis, ok := c.Ints(n, 2)
		if !ok || len(axis) != 1 || len(reps) != 1 {
			return c.Failf("its tiles and axis are not constant")
		}
		all := ones(x.Rank())
		all[c.Axis(axis[0], x.Rank())] = reps[0]
		reps = all
	}
	if len(reps) != x.Rank() {
		return c.Failf("it has %d repeats for a tensor of %d axes", len(reps), x.Rank())
	}
	for _, r := range reps {
		if r < 1 {
			return c.Failf("it repeats an axis %d times, and Core ML has no empty tensors", r)
		}
	}
	if x.Rank() == 0 || slices.Equal(reps, ones(len(reps))) {
		return c.Result(n, "identity", "x", x)
	}
	return c.Result(n, "tile", "x", x, "reps", reps)
}

func lowerExpand(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	to, ok := c.Ints(n, 1)
	if !ok {
		return c.Failf("its shape is not constant")
	}
	if c.err != nil {
		return c.err
	}
	shape := slices.Clone(to)
	if len(shape) < x.Rank() {
		shape = append(ones(x.Rank()-len(shape)), shape...)
	}
	for i := range shape {
		if j := i - (len(shape) - x.Rank()); j >= 0 && shape[i] == 1 {
			shape[i] = x.Dim(j) // an axis of the tensor stays where the shape says 1
		}
	}
	if slices.Equal(shape, x.Shape()) {
		return c.Result(n, "identity", "x", x)
	}
	c.Set(n, 0, c.Broadcast(x, shape))
	return c.err
}
