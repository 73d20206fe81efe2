package mil

import (
	"maps"
	"strings"
)

// inferences work out the types of outputs, by operation. The call's arguments fit its form.
var inferences = map[string]func(*call) []Type{}

func init() {
	for _, family := range []map[string]func(*call) []Type{elementOps(), layerOps(), moveOps(), indexOps(), imageOps(), sequenceOps(), weightOps()} {
		maps.Copy(inferences, family)
	}
}

// same is an operation that gives what x is. Its other arguments are scalars.
func same(scalars ...string) func(*call) []Type {
	return func(c *call) []Type {
		c.scalars(scalars...)
		return one(c.t("x"))
	}
}

func elementOps() map[string]func(*call) []Type {
	m := map[string]func(*call) []Type{}
	for _, op := range []string{"abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "identity",
		"logical_not", "relu", "relu6", "round", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "softsign", "sqrt", "square", "tan", "tanh"} {
		m[op] = same()
	}
	for op, args := range map[string][]string{"clip": {"alpha", "beta"}, "elu": {"alpha"}, "inverse": {"epsilon"},
		"leaky_relu": {"alpha"}, "log": {"epsilon"}, "rsqrt": {"epsilon"},
		"sigmoid_hard": {"alpha", "beta"}, "threshold": {"alpha"}, "thresholded_relu": {"alpha"}} {
		m[op] = same(args...)
	}
	m["gelu"] = func(c *call) []Type {
		c.text("mode", "EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
		return one(c.t("x"))
	}
	m["prelu"] = func(c *call) []Type {
		if c.rank("x", 3, 5) {
			c.shape("alpha", c.t("x").Shape[1])
		}
		return one(c.t("x"))
	}
	m["softmax"] = func(c *call) []Type {
		c.axis("axis", len(c.t("x").Shape))
		return one(c.t("x"))
	}
	binary := func(result DataType) func(*call) []Type {
		return func(c *call) []Type {
			x, y := c.t("x"), c.t("y")
			t := of(x.DataType, c.broadcast(x.Shape, y.Shape)...)
			if result != 0 {
				t.DataType = result
			}
			return one(t)
		}
	}
	for _, op := range []string{"add", "floor_div", "maximum", "minimum", "mod", "mul", "pow", "real_div", "sub"} {
		m[op] = binary(0)
	}
	for _, op := range strings.Fields("equal greater greater_equal less less_equal logical_and logical_or logical_xor not_equal") {
		m[op] = binary(Bool)
	}
	m["select"] = func(c *call) []Type {
		a, b := c.t("a"), c.t("b")
		return one(of(a.DataType, c.broadcast(c.broadcast(a.Shape, b.Shape), c.t("cond").Shape)...))
	}
	m["cast"] = func(c *call) []Type {
		t := c.t("x")
		t.DataType = c.typeNamed("dtype")
		if c.err == nil && !Accepts("cast", c.spec-1, "x", t.DataType) {
			c.failf("dtype cannot be %s in %s", t.DataType, OpsetName(c.spec-1))
		}
		return one(t)
	}
	reduce := func(c *call) []Type {
		x := c.t("x")
		at := c.axes("axes", len(x.Shape))
		if c.err == nil && len(at) == 0 {
			c.failf("axes is empty")
		}
		return one(of(x.DataType, reduced(x.Shape, at, c.int("keep_dims") != 0)...))
	}
	for _, op := range strings.Fields("l1_norm l2_norm log_sum log_sum_exp max mean min prod sum sum_square") {
		m["reduce_"+op] = reduce
	}
	arg := func(c *call) []Type {
		x := c.t("x")
		if !c.rank("x", 1, maxRank) {
			return one(x)
		}
		at := c.axis("axis", len(x.Shape))
		d := Int32
		if c.has("output_dtype") {
			d = c.typeNamed("output_dtype")
		}
		return one(of(d, reduced(x.Shape, []int{at}, c.int("keep_dims") != 0)...))
	}
	m["reduce_argmax"], m["reduce_argmin"] = arg, arg
	m["cumsum"] = func(c *call) []Type {
		c.axis("axis", len(c.t("x").Shape))
		c.scalars("exclusive", "reverse")
		return one(c.t("x"))
	}
	m["band_part"] = func(c *call) []Type {
		c.rank("x", 2, maxRank)
		c.scalars("lower", "upper")
		return one(c.t("x"))
	}
	return m
}

// typeNamed is the type that an argument names.
func (c *call) typeNamed(key string) DataType {
	name := c.text(key)
	for d, t := range types {
		if t.name == name {
			return d
		}
	}
	c.failf("%s: there is no type %q", key, name)
	return Float32
}

// reduced is a shape without some axes, or with 1 in their place.
func reduced(s []int64, axes []int, keep bool) []int64 {
	out := make([]int64, 0, len(s))
	gone := map[int]bool{}
	for _, a := range axes {
		gone[a] = true
	}
	for i, d := range s {
		switch {
		case !gone[i]:
			out = append(out, d)
		case keep:
			out = append(out, 1)
		}
	}
	return out
}
