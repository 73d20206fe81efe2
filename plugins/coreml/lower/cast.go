package lower

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

var casts = []Rule{
	{Op: "Cast", Covers: "Between floats, integers and truth values. All floats are of the program's precision, all integers of 32 bits.", Lower: lowerCast},
	{Op: "CastLike", Covers: "As Cast.", Lower: lowerCastLike},
}

func lowerCast(c *Context, n *onnx.Node) error {
	return c.castTo(n, onnx.DataType(n.IntAttr("to", int64(onnx.Float))))
}

func lowerCastLike(c *Context, n *onnx.Node) error {
	elem, _, ok := c.shapes.Of(n.Input(1))
	if !ok {
		return c.Failf("the type of its input %q is not known", n.Input(1))
	}
	return c.castTo(n, elem)
}

func (c *Context) castTo(n *onnx.Node, to onnx.DataType) error {
	x := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	t, ok := typeOf(to)
	if !ok {
		return c.Failf("Core ML has no %s", to)
	}
	if t.Float() {
		t = c.float
	}
	if k := x.Const(); k != nil && !k.float && t.Float() && product(k.shape) <= 1<<16 {
		f, err := k.Floats()
		if err != nil {
			return err
		}
		c.Set(n, 0, c.FloatsConst(k.shape, f))
		return c.err
	}
	if x.Type.DataType == t || x.Float() && t.Float() {
		c.Set(n, 0, x)
		return c.err
	}
	if t == mil.Bool && x.Float() {
		// What is not 0 is true, a half as well.
		return c.Result(n, "not_equal", "x", x, "y", c.Number(x, 0))
	}
	return c.Result(n, "cast", "x", x, "dtype", t.String())
}
