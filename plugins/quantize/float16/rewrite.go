package float16

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
)

// rewrite carries the decisions out.
func (c *converter) rewrite() error {
	for _, n := range c.nodes {
		if c.half[n] {
			if err := c.retype(n); err != nil {
				return err
			}
		}
	}
	// Decisions are by names and producers, so all are taken before the first value is cast.
	type crossing struct {
		v    value
		half bool // of the value as it is made
	}
	var crossings []crossing
	types := map[value]bool{}
	for _, v := range c.values {
		if v.g.Initializer(v.name) != nil && !v.g.IsInput(v.name) {
			if err := c.store(v); err != nil {
				return err
			}
			continue
		}
		is := c.isHalf(v)
		types[v] = is
		for _, u := range c.uses[v] {
			if (u.node == nil || !takesAny(u.node)) && c.wants(u) != is {
				crossings = append(crossings, crossing{v, is})
				break
			}
		}
	}
	for v, is := range types {
		if is {
			c.declare(v)
		}
	}
	for _, x := range crossings {
		c.cross(x.v, x.half)
	}
	c.dropIdle()
	return nil
}

// retype changes the attributes of a node that name its element type.
func (c *converter) retype(n *onnx.Node) error {
	switch {
	case n.Is("Cast"):
		n.SetAttr(onnx.IntAttr("to", int64(c.o.To)))
	case n.Is("ConstantOfShape"):
		t := n.TensorAttr("value")
		if t == nil {
			t = onnx.NewFloats("value", []float32{0}, 1)
		}
		h, _, err := convert(t, c.o.To, t.Name())
		if err != nil {
			return fmt.Errorf("the value of %s: %w", n.Label(), err)
		}
		n.SetAttr(onnx.TensorAttr("value", h))
	}
	return nil
}

// store writes a constant in the precision of those who read it; in both where they differ, for the ones that stay in
// float32 do so for its digits.
func (c *converter) store(v value) error {
	t := c.constant(v)
	if t == nil {
		return nil
	}
	var half, float []use
	for _, u := range c.uses[v] {
		switch {
		case u.node != nil && takesAny(u.node):
		case c.wants(u) && u.node != nil:
			half = append(half, u)
		default:
			float = append(float, u)
		}
	}
	if len(half) == 0 {
		return nil
	}
	l, err := c.lossOf(t)
	if err != nil {
		return err
	}
	c.count(t, l)
	if len(float) == 0 {
		v.g.AddInitializer(l.half)
		c.declare(v)
		return nil
	}
	name := v.g.UniqueName(v.name + c.suffix(true))
	v.g.AddInitializer(l.half.WithName(name))
	for _, u := range half {
		u.node.SetInput(u.i, name)
	}
	return nil
}

func (c *converter) suffix(half bool) string {
	switch {
	case !half:
		return "_float32"
	case c.o.To == onnx.BFloat16:
		return "_bfloat16"
	}
	return "_float16"
}

func (c *converter) dataType(half bool) onnx.DataType {
	if half {
		return c.o.To
	}
	return onnx.Float
}

// declare corrects what the model itself says of a value's type.
func (c *converter) declare(v value) {
	for _, list := range [][]*onnx.ValueInfo{v.g.ValueInfos(), v.g.Inputs(), v.g.Outputs()} {
		for _, i := range list {
			if i.Name() == v.name && i.Type != nil && i.Type.Elem == onnx.Float {
				i.Type.Elem = c.o.To
			}
		}
	}
}

// cross casts a value for all who read it in the other precision.
func (c *converter) cross(v value, half bool) {
	g := v.g
	producer := g.Producer(v.name)
	var named bool // an output of the graph wants the other precision, under the value's own name
	for _, u := range c.uses[v] {
		named = named || u.node == nil && c.wants(u) != half
	}
	if named && producer != nil {
		c.crossOutput(v, producer, half)
		return
	}
	// A value that is itself cast from another is cast anew from that: no Cast reads another.
	source, other := v.name, ""
	if producer != nil && producer.Is("Cast") {
		switch from, ok := c.elem(producer.Input(0)); {
		case ok && from == c.dataType(!half):
			other = producer.Input(0)
		case ok && from != onnx.Float:
			source = producer.Input(0)
		}
	}
	if other == "" {
		other = g.UniqueName(v.name + c.suffix(!half))
		cast := c.cast(g, source, other, !half)
		if producer != nil {
			g.InsertAfter(producer, cast)
		} else {
			g.PrependNode(cast)
		}
	}
	for _, u := range c.uses[v] {
		if u.node != nil && !takesAny(u.node) && c.wants(u) != half {
			u.node.SetInput(u.i, other)
		}
	}
}

// crossOutput casts a value that leaves its graph: the Cast takes over its name, and the value gets another.
func (c *converter) crossOutput(v value, producer *onnx.Node, half bool) {
	g := v.g
	inner := g.UniqueName(v.name + c.suffix(half))
	for i, out := range producer.Outputs() {
		if out == v.name {
			producer.SetOutput(i, inner)
		}
	}
	g.InsertAfter(producer, c.cast(g, inner, v.name, !half))
	for _, u := range c.uses[v] {
		if u.node != nil && (takesAny(u.node) || c.wants(u) == half) {
			u.node.SetInput(u.i, inner)
		}
	}
	for _, o := range g.Outputs() {
		if o.Name() == v.name && o.Type != nil {
			o.Type.Elem = c.dataType(!half)
		}
	}
}

func (c *converter) cast(g *onnx.Graph, from, to string, half bool) *onnx.Node {
	c.report.Casts++
	return onnx.NewNode("Cast", "", g.UniqueName(to+"_cast"), []string{from}, []string{to}, onnx.IntAttr("to", int64(c.dataType(half))))
}

// dropIdle removes the model's own Casts that no longer change anything.
func (c *converter) dropIdle() {
	for _, n := range c.order {
		if !n.Is("Cast") || n.Graph() == nil {
			continue
		}
		from, _ := c.elem(n.Input(0))
		if v := home(n.Graph(), n.Input(0)); from == onnx.Float {
			if t := v.g.Initializer(n.Input(0)); t != nil {
				from = t.DataType
			} else if c.isHalf(v) {
				from = c.o.To
			}
		}
		if from == onnx.DataType(n.IntAttr("to", 0)) && from == c.o.To {
			n.Graph().Bypass(n, n.Input(0))
		}
	}
}
