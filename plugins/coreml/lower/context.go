package lower

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// Context is what a rule works with: it reads the node's inputs and emits operations. What goes wrong in it is kept and
// told after the rule, so that rules need not look after each call.
type Context struct {
	*program
	node *onnx.Node
	// float is the type that the node computes floats in.
	float mil.DataType
	err   error
}

// Opset is Core ML's operator set that is written for: 5 (iOS 15) to 8 (iOS 18).
func (c *Context) Opset() int { return c.main.Opset }

// Float is the type that the node computes floats in.
func (c *Context) Float() mil.DataType { return c.float }

// Version is the version of ONNX's operator set that the model uses.
func (c *Context) Version() int64 { return c.version }

// Failf records why the node cannot be lowered; the first reason counts.
func (c *Context) Failf(format string, args ...any) error {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
	return c.err
}

// Err is the first reason that was recorded.
func (c *Context) Err() error { return c.err }

// Has tells whether the node has input i.
func (c *Context) Has(n *onnx.Node, i int) bool { return n.Input(i) != "" }

// Wants tells whether something reads output i of the node.
func (c *Context) Wants(n *onnx.Node, i int) bool {
	o := n.Output(i)
	return o != "" && (c.graph.NumConsumers(o) > 0 || c.graph.IsOutput(o))
}

// In is input i: floats in the node's precision, integers as int32. A node without it gets a Value that is not Valid.
func (c *Context) In(n *onnx.Node, i int) Value {
	name := n.Input(i)
	if name == "" {
		return Value{}
	}
	v := c.lookup(name)
	if v == nil {
		if err := c.bad[name]; err != nil {
			_ = c.Failf("%w", err)
		}
		_ = c.Failf("its input %q has no value", name)
		return Value{}
	}
	return c.see(v)
}

// see gives a value as the node sees it, without emitting anything.
func (c *Context) see(v *value) Value {
	t := v.base
	switch {
	case t.DataType.Float():
		t.DataType = c.float
	case t.DataType == mil.Int8 || t.DataType == mil.Uint8:
		t.DataType = mil.Int32 // only quantize and dequantize know them
	}
	return Value{v: v, Type: t}
}

// Ints are the numbers of input i, where it is a constant of integers.
func (c *Context) Ints(n *onnx.Node, i int) ([]int64, bool) {
	t := c.Tensor(n, i)
	if t == nil || t.DataType.Bits() == 0 {
		return nil, false
	}
	v, err := t.Ints()
	return v, err == nil
}

// Floats are the numbers of input i, where it is a constant. They are read now: it is for parameters, not for weights.
func (c *Context) Floats(n *onnx.Node, i int) ([]float32, bool) {
	if t := c.Tensor(n, i); t != nil {
		v, err := t.Float32s()
		return v, err == nil
	}
	if v := c.In(n, i); v.Const() != nil {
		f, err := v.Const().Floats()
		return f, err == nil
	}
	return nil, false
}

// Tensor is the tensor of the model that input i always is, nil where it is computed.
func (c *Context) Tensor(n *onnx.Node, i int) *onnx.Tensor {
	if n.Input(i) == "" {
		return nil
	}
	return c.graph.Constant(n.Input(i))
}

// IntsOr are numbers that are an attribute in old versions of an operator, and input i in new ones. ok is false where they
// are neither given nor constant; given tells the two apart.
func (c *Context) IntsOr(n *onnx.Node, attr string, i int) (v []int64, given, ok bool) {
	if a := n.Attr(attr); a != nil {
		return a.Ints, true, true
	}
	if !c.Has(n, i) {
		return nil, false, true
	}
	v, ok = c.Ints(n, i)
	return v, true, ok
}

// Axis is an axis of a tensor of a rank, counted from the front.
func (c *Context) Axis(a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		_ = c.Failf("there is no axis %d in a tensor of %d", a, rank)
		return 0
	}
	return int(a)
}

// Axes are axes of a tensor of a rank, counted from the front, in order.
func (c *Context) Axes(as []int64, rank int) []int64 {
	out := make([]int64, 0, len(as))
	for _, a := range as {
		out = append(out, int64(c.Axis(a, rank)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Set makes a value output i of the node.
func (c *Context) Set(n *onnx.Node, i int, v Value) {
	if c.err == nil && v.Valid() && n.Output(i) != "" {
		c.values[n.Output(i)] = v.v
	}
}

// Result is Set for rules of one operation: it emits it and makes it output 0.
func (c *Context) Result(n *onnx.Node, op string, args ...any) error {
	c.Set(n, 0, c.Emit(op, args...))
	return c.err
}

// Emit adds an operation and gives its first output. Arguments are pairs of a key and a value: a Value, several of them,
// or a constant: int, int64, []int64, bool, []bool, string, or float64, which becomes a scalar of the node's precision.
// A Value that is not Valid leaves its argument out. The types of outputs are worked out.
func (c *Context) Emit(op string, args ...any) Value {
	if out := c.EmitAll(op, args...); len(out) > 0 {
		return out[0]
	}
	return Value{}
}

// EmitAll is Emit for operations of several outputs.
func (c *Context) EmitAll(op string, args ...any) []Value {
	if c.err != nil {
		return nil
	}
	if twoOperands[op] {
		c.level(args)
	}
	o := &mil.Operation{Type: op, Of: c.node.Label()}
	for i := 0; i < len(args); i += 2 {
		key := args[i].(string)
		names := c.argument(key, args[i+1])
		if c.err != nil {
			return nil
		}
		if len(names) > 0 {
			o.Inputs = append(o.Inputs, mil.Arg{Key: key, Names: names})
		}
	}
	ts, err := mil.Infer(o, c.main.Opset, c.known)
	if err != nil {
		_ = c.Failf("%w", err)
		return nil
	}
	hint := c.node.Output(0)
	out := make([]Value, 0, len(ts))
	for _, t := range ts {
		if t.DataType == mil.String || t.Dictionary {
			continue
		}
		name := c.names.fresh(hint)
		o.Outputs = append(o.Outputs, mil.Named{Name: name, Type: t})
		c.types[name] = mil.Known{Type: t}
		out = append(out, Value{v: &value{names: map[mil.DataType]string{t.DataType: name}, base: t, hint: hint}, Type: t})
	}
	c.main.Ops = append(c.main.Ops, o)
	return out
}

// argument gives the names of an argument's values, which it emits where they are constants.
func (c *Context) argument(key string, a any) []string {
	switch a := a.(type) {
	case Value:
		if !a.Valid() {
			return nil
		}
		return []string{c.use(a)}
	case []Value:
		names := make([]string, 0, len(a))
		for _, v := range a {
			names = append(names, c.use(v))
		}
		return names
	case int:
		return []string{c.immediate(key, mil.Int(int64(a)))}
	case int64:
		return []string{c.immediate(key, mil.Int(a))}
	case []int64:
		for _, v := range a {
			if v != int64(int32(v)) {
				_ = c.Failf("%d of %s does not fit into 32 bits", v, key)
			}
		}
		return []string{c.immediate(key, mil.Ints(a...))}
	case bool:
		return []string{c.immediate(key, mil.Truth(a))}
	case []bool:
		return []string{c.immediate(key, mil.Truths(a...))}
	case string:
		return []string{c.immediate(key, mil.Text(a))}
	case float64:
		return []string{c.immediate(key, mil.Scalar(c.float, a))}
	case mil.Value:
		return []string{c.immediate(key, a)}
	}
	panic(fmt.Sprintf("lower: the argument %s is a %T", key, a))
}

// use gives the name of a value in the type that the node sees it in: it emits a constant, or a cast, once.
func (c *Context) use(v Value) string {
	if !v.Valid() {
		_ = c.Failf("an argument has no value")
		return ""
	}
	want := v.Type.DataType
	if name, ok := v.v.names[want]; ok {
		return name
	}
	if v.v.konst != nil {
		name := c.emitConst(v.v.konst, want, v.v.hint)
		v.v.names[want] = name
		return name
	}
	name := c.cast(v.v, want)
	v.v.names[want] = name
	return name
}

// Cast gives a value in another element type.
func (c *Context) Cast(v Value, to mil.DataType) Value {
	if !v.Valid() || v.Type.DataType == to {
		return v
	}
	if v.v.konst != nil && v.Float() && to.Float() || v.Float() && to.Float() {
		v.Type.DataType = to
		return v
	}
	return c.Emit("cast", "x", v, "dtype", to.String())
}

// Number is a constant scalar in the type of another value, for arithmetic with it.
func (c *Context) Number(like Value, x float64) mil.Value {
	if like.Float() {
		return mil.Scalar(c.float, x)
	}
	return mil.Int(int64(x))
}

// FloatsConst makes a constant of floats in the node's precision.
func (c *Context) FloatsConst(shape []int64, f []float32) Value {
	k := &Const{shape: slices.Clone(shape), float: true, floats: func() ([]float32, error) { return f, nil }}
	return c.see(&value{names: map[mil.DataType]string{}, base: mil.Type{DataType: mil.Float32, Shape: k.shape}, konst: k, hint: c.node.Output(0)})
}

// IntsConst makes a constant of integers.
func (c *Context) IntsConst(shape, v []int64) Value {
	for _, x := range v {
		if x != int64(int32(x)) {
			_ = c.Failf("the number %d does not fit into the 32 bits that Core ML has", x)
			return Value{}
		}
	}
	k := &Const{shape: slices.Clone(shape), ints: slices.Clone(v)}
	return c.see(&value{names: map[mil.DataType]string{}, base: mil.Type{DataType: mil.Int32, Shape: k.shape}, konst: k, hint: c.node.Output(0)})
}

// From makes a constant of one made out of others (Const.Transpose and the like).
func (c *Context) From(k *Const) Value {
	if k == nil {
		return Value{}
	}
	return c.see(&value{names: map[mil.DataType]string{}, base: mil.Type{DataType: k.dataType(), Shape: k.shape}, konst: k, hint: c.node.Output(0)})
}
