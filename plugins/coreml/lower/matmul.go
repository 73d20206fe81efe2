package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

var products = []Rule{
	{Op: "Gemm", Covers: "All of it; constant weights become those of a linear layer.", Lower: lowerGemm},
	{Op: "MatMul", Covers: "All of it; a constant matrix on the right becomes the weight of a linear layer.", Lower: lowerMatMul},
}

// linear emits x times a constant matrix k [in, out] (or [out, in] where turned) plus a bias, which may be not Valid.
func (c *Context) linear(x Value, k *Const, turned bool, bias Value) Value {
	if !turned {
		k = k.Transpose([]int64{1, 0})
	}
	return c.Emit("linear", "x", x, "weight", c.From(k), "bias", bias)
}

func lowerMatMul(c *Context, n *onnx.Node) error {
	x, y := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	if k := y.Const(); k != nil && k.float && y.Rank() == 2 && (x.Rank() == 2 || x.Rank() == 3) && x.Const() == nil {
		c.Set(n, 0, c.linear(x, k, false, Value{}))
		return c.err
	}
	// A vector is a row or a column: MIL's own rules for vectors are not those of ONNX.
	row, column := x.Rank() == 1, y.Rank() == 1
	if row {
		x = c.Reshape(x, 1, x.Dim(0))
	}
	if column {
		y = c.Reshape(y, y.Dim(0), 1)
	}
	z := c.Emit("matmul", "x", x, "y", y, "transpose_x", false, "transpose_y", false)
	if c.err != nil {
		return c.err
	}
	shape := z.Shape()
	if row {
		shape = slices.Delete(slices.Clone(shape), len(shape)-2, len(shape)-1)
	}
	if column {
		shape = shape[:len(shape)-1]
	}
	c.Set(n, 0, c.Reshape(z, shape...))
	return c.err
}

func lowerGemm(c *Context, n *onnx.Node) error {
	a, b, bias := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	if !a.Float() {
		return c.Failf("it is of integers")
	}
	if a.Rank() != 2 || b.Rank() != 2 {
		return c.Failf("its matrices have %d and %d axes", a.Rank(), b.Rank())
	}
	alpha, beta := float64(n.FloatAttr("alpha", 1)), n.FloatAttr("beta", 1)
	transA, transB := n.IntAttr("transA", 0) != 0, n.IntAttr("transB", 0) != 0
	if bias.Valid() && beta != 1 {
		if k := bias.Const(); k != nil {
			bias = c.From(k.Map(func(v float32) float32 { return v * beta }))
		} else {
			bias = c.Emit("mul", "x", bias, "y", float64(beta))
		}
	}
	k := b.Const()
	if k == nil || a.Const() != nil {
		y := c.Emit("matmul", "x", a, "y", b, "transpose_x", transA, "transpose_y", transB)
		if alpha != 1 {
			y = c.Emit("mul", "x", y, "y", alpha)
		}
		if bias.Valid() {
			y = c.Emit("add", "x", y, "y", bias)
		}
		c.Set(n, 0, y)
		return c.err
	}
	if transA {
		a = c.Emit("transpose", "x", a, "perm", []int64{1, 0})
	}
	if alpha != 1 {
		a = c.Emit("mul", "x", a, "y", alpha)
	}
	out := k.Shape()[1]
	if transB {
		out = k.Shape()[0]
	}
	// A bias of one number for each output is the layer's own.
	if kb := bias.Const(); kb != nil && bias.Valid() && product(kb.Shape()) == out && (bias.Rank() == 1 || bias.Rank() == 2 && bias.Dim(0) == 1) {
		c.Set(n, 0, c.linear(a, k, transB, c.From(kb.Reshape([]int64{out}))))
		return c.err
	}
	y := c.linear(a, k, transB, Value{})
	if bias.Valid() {
		y = c.Emit("add", "x", y, "y", bias)
	}
	c.Set(n, 0, y)
	return c.err
}
