package lower

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

var quantizations = []Rule{
	{Op: "QuantizeLinear", Covers: "int8 and uint8 as quantize from iOS 17 on; before, 4 and 16 bits, and computed scales in arithmetic.", Lower: lowerQuantize},
	{Op: "DequantizeLinear", Covers: "Constants stay integers in the package (int8, uint8, int4, uint4, of tensors, channels and blocks); activations as dequantize from iOS 17 on, else in arithmetic.", Lower: lowerDequantize},
	{Op: "DynamicQuantizeLinear", Covers: "All of it, in arithmetic.", Lower: lowerDynamicQuantize},
	{Domain: "com.microsoft", Op: "QuantizeLinear", Covers: "As ONNX's own.", Lower: lowerQuantize},
	{Domain: "com.microsoft", Op: "DequantizeLinear", Covers: "As ONNX's own.", Lower: lowerDequantize},
	{Domain: "com.microsoft", Op: "MatMulNBits", Covers: "2, 4 and 8 bits with constant weights, scales and zero points; no g_idx. From iOS 18 on the weight stays in its blocks.", Lower: lowerMatMulNBits},
}

// exactHalf tells whether half precision holds scales to its full precision. What is smaller would lose bits, or become 0.
func exactHalf(f []float32) bool {
	return !slices.ContainsFunc(f, func(v float32) bool {
		h := tensor.F16ToFloat32(tensor.Float32ToF16(v))
		return math.Abs(float64(h-v)) > math.Abs(float64(v))*0x1p-11
	})
}

// range of integers of a type; false for types that are no integers.
func rangeOf(d onnx.DataType) (low, high float64, ok bool) {
	bits := d.Bits()
	switch d {
	case onnx.Int2, onnx.Int4, onnx.Int8, onnx.Int16:
		return -math.Exp2(float64(bits - 1)), math.Exp2(float64(bits-1)) - 1, true
	case onnx.Uint2, onnx.Uint4, onnx.Uint8, onnx.Uint16:
		return 0, math.Exp2(float64(bits)) - 1, true
	}
	return 0, 0, false
}

// linearQuantization are the parameters of QuantizeLinear and DequantizeLinear.
type linearQuantization struct {
	scales, zeros []float32 // nil where they are computed; zeros nil also where all are 0
	constant      bool
	axis          int
	typ           onnx.DataType // of the integers
}

// quantization reads the scale and the zero point of a node.
func (c *Context) quantization(n *onnx.Node, rank int) (q linearQuantization) {
	q.typ = onnx.DataType(n.IntAttr("output_dtype", 0))
	if c.Has(n, 2) {
		q.typ, _, _ = c.shapes.Of(n.Input(2))
	} else if q.typ == onnx.Undefined {
		q.typ = onnx.Uint8
	}
	s, ok := c.Floats(n, 1)
	q.scales, q.constant = s, ok
	if c.Has(n, 2) {
		z, ok := c.Floats(n, 2)
		q.constant = q.constant && ok
		if ok && slices.ContainsFunc(z, func(v float32) bool { return v != 0 }) {
			q.zeros = z
		}
	}
	if q.constant && len(q.scales) != 1 {
		q.axis = c.Axis(n.IntAttr("axis", 1), rank)
		if b := n.IntAttr("block_size", 0); b != 0 {
			_ = c.Failf("it quantizes what is computed in blocks of %d", b)
		}
	}
	return q
}

// spread gives a vector of an axis as many axes as the tensor that it is for.
func spread(v []float32, axis, rank int) []int64 {
	if len(v) == 1 {
		return nil
	}
	s := ones(rank)
	s[axis] = int64(len(v))
	return s
}

// eight are the arguments that quantize and dequantize share; false where they are none of theirs.
func (c *Context) eight(q linearQuantization, t mil.DataType) (args []any, ok bool) {
	if !q.constant || c.Opset() < 7 || t != mil.Int8 && t != mil.Uint8 {
		return nil, false
	}
	if q.zeros != nil {
		z := mil.Value{Type: mil.Type{DataType: t}}
		for _, v := range q.zeros {
			z.Data = append(z.Data, byte(int(v)))
		}
		if len(q.scales) > 1 {
			z.Shape = []int64{int64(len(q.zeros))}
		}
		args = append(args, "zero_point", z)
	}
	if len(q.scales) == 1 {
		return append(args, "scale", float64(q.scales[0])), true
	}
	return append(args, "scale", c.FloatsConst([]int64{int64(len(q.scales))}, q.scales), "axis", q.axis), true
}

// scaleAndZero are the parameters as values for arithmetic; the zero is not Valid where it is 0.
func (c *Context) scaleAndZero(n *onnx.Node, q linearQuantization, rank int) (scale, zero Value) {
	if q.constant {
		scale = c.FloatsConst(spread(q.scales, q.axis, rank), q.scales)
		if q.zeros != nil {
			zero = c.FloatsConst(spread(q.zeros, q.axis, rank), q.zeros)
		}
		return scale, zero
	}
	scale = c.In(n, 1)
	if c.err == nil && scale.Type.Elements() != 1 {
		_ = c.Failf("its scale is computed and not one number")
		return
	}
	if scale.Rank() > 0 {
		scale = c.Emit("squeeze", "x", scale)
	}
	if c.Has(n, 2) {
		zero = c.Cast(c.In(n, 2), c.float)
		if zero.Rank() > 0 {
			zero = c.Emit("squeeze", "x", zero)
		}
	}
	return scale, zero
}

func lowerQuantize(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	if !x.Float() {
		return c.Failf("it quantizes integers")
	}
	q := c.quantization(n, x.Rank())
	low, high, ok := rangeOf(q.typ)
	if c.err == nil && !ok {
		return c.Failf("it quantizes to %s", q.typ)
	}
	if c.err != nil {
		return c.err
	}
	if q.constant && !exactHalf(q.scales) || q.typ.Bits() > 8 {
		c.float = mil.Float32
		x = c.In(n, 0)
	}
	t := mil.Uint8
	if q.typ == onnx.Int8 {
		t = mil.Int8
	}
	if args, ok := c.eight(q, t); ok && q.typ.Bits() == 8 {
		return c.Result(n, "quantize", append([]any{"input", x, "output_dtype", t.String()}, args...)...)
	}
	scale, zero := c.scaleAndZero(n, q, x.Rank())
	c.Set(n, 0, c.steps(x, scale, zero, low, high))
	return c.err
}

// steps are the integers of floats, in arithmetic: what is nearest, with its zero, within the bounds.
func (c *Context) steps(x, scale, zero Value, low, high float64) Value {
	y := c.Emit("round", "x", c.Emit("real_div", "x", x, "y", scale))
	if zero.Valid() {
		y = c.Emit("add", "x", y, "y", zero)
	}
	return c.Emit("cast", "x", c.Emit("clip", "x", y, "alpha", low, "beta", high), "dtype", "int32")
}

func lowerDequantize(c *Context, n *onnx.Node) error {
	if c.Tensor(n, 0) != nil && c.Tensor(n, 1) != nil && (!c.Has(n, 2) || c.Tensor(n, 2) != nil) {
		k, err := dequantized(c.Tensor(n, 0), c.Tensor(n, 1), c.Tensor(n, 2), n.IntAttr("axis", 1), n.IntAttr("block_size", 0))
		if err != nil {
			return c.Failf("%w", err)
		}
		c.Set(n, 0, c.From(k))
		return c.err
	}
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	elem, _, _ := c.shapes.Of(n.Input(0))
	q := c.quantization(n, x.Rank())
	if c.err != nil {
		return c.err
	}
	if q.constant && !exactHalf(q.scales) || elem.Bits() > 8 {
		c.float = mil.Float32
	}
	if args, ok := c.eight(q, x.v.base.DataType); ok {
		return c.Result(n, "dequantize", append([]any{"input", Value{v: x.v, Type: x.v.base}}, args...)...)
	}
	scale, zero := c.scaleAndZero(n, q, x.Rank())
	c.Set(n, 0, c.unsteps(x, scale, zero))
	return c.err
}

// unsteps are the floats of integers, in arithmetic.
func (c *Context) unsteps(x, scale, zero Value) Value {
	y := c.Cast(x, c.float)
	if zero.Valid() {
		y = c.Emit("sub", "x", y, "y", zero)
	}
	return c.Emit("mul", "x", y, "y", scale)
}

func lowerDynamicQuantize(c *Context, n *onnx.Node) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	axes := make([]int64, x.Rank())
	for i := range axes {
		axes[i] = int64(i)
	}
	most := c.Emit("maximum", "x", c.Emit("reduce_max", "x", x, "axes", axes, "keep_dims", false), "y", 0.0)
	least := c.Emit("minimum", "x", c.Emit("reduce_min", "x", x, "axes", axes, "keep_dims", false), "y", 0.0)
	// Where all are 0 the scale is 1.
	width := c.Emit("sub", "x", most, "y", least)
	scale := c.Emit("select", "cond", c.Emit("equal", "x", width, "y", 0.0), "a", 1.0, "b", c.Emit("real_div", "x", width, "y", 255.0))
	zero := c.Emit("clip", "x", c.Emit("round", "x", c.Emit("real_div", "x", c.Emit("mul", "x", least, "y", -1.0), "y", scale)), "alpha", 0.0, "beta", 255.0)
	c.Set(n, 0, c.steps(x, scale, zero, 0, 255))
	c.Set(n, 1, scale)
	if c.Wants(n, 2) {
		c.Set(n, 2, c.Emit("cast", "x", zero, "dtype", "int32"))
	}
	return c.err
}
