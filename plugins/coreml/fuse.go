package coreml

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// Patterns that exporters spell out and that Core ML has an operation for. That is faster, and in half precision it is what
// keeps numbers right: the squares in a layer normalization leave the range of half precision where the operation does not.

// squares are the ways in which a layer normalization is written, up to its scale and shift.
var squares = []*onnx.Rule{
	onnx.MustRule("m = ReduceMean(x)\nd = Sub(x, m)\np = Pow(d, 2)\nv = ReduceMean(p)\na = Add(v, $eps)\ns = Sqrt(a)\ny = Div(d, s)\n=>\ny = Identity(x)"),
	onnx.MustRule("m = ReduceMean(x)\nd = Sub(x, m)\np = Mul(d, d)\nv = ReduceMean(p)\na = Add(v, $eps)\ns = Sqrt(a)\ny = Div(d, s)\n=>\ny = Identity(x)"),
}

// gelus are the ways in which the exact form of GELU is written.
var gelus = makeGelus()

func makeGelus() (rules []*onnx.Rule) {
	for _, inner := range []string{"d = Div(x, 1.4142135)\n", "d = Mul(x, 0.70710677)\n"} {
		for _, outer := range []string{"m = Mul(x, a)\ny = Mul(m, 0.5)\n", "h = Mul(x, 0.5)\ny = Mul(h, a)\n", "h = Mul(a, 0.5)\ny = Mul(x, h)\n"} {
			rules = append(rules, onnx.MustRule(inner+"e = Erf(d)\na = Add(e, 1)\n"+outer+"=>\ny = Gelu(x)"))
		}
	}
	return rules
}

// silu is what YOLO and its like have behind each convolution.
var silu = onnx.MustRule("s = Sigmoid(x)\ny = Mul(x, s)\n=>\ny = Swish(x)")

// fuse rewrites what it finds, and tells how much. The model need not be ONNX afterwards that a runtime takes: the operators
// are of a later version than the model's, perhaps.
func fuse(m *onnx.Model) (int, error) {
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return 0, err
	}
	n := silu.Apply(m)
	for _, r := range gelus {
		n += r.Apply(m)
	}
	for _, d := range slices.Collect(m.Graph.Nodes()) {
		if !d.Is("Div") {
			continue
		}
		for _, r := range squares {
			if x := r.Match(d); x != nil && layerNorm(m.Graph, shapes, d, x) {
				n++
				break
			}
		}
	}
	if n > 0 {
		m.Graph.Prune()
	}
	return n, nil
}

// layerNorm puts a LayerNormalization in the place of what spells one out, and takes the scale and shift behind it along.
func layerNorm(g *onnx.Graph, shapes *onnx.Shapes, div *onnx.Node, x *onnx.Match) bool {
	value := x.Value("x")
	_, dims, ok := shapes.Of(value)
	if !ok || len(dims) == 0 {
		return false
	}
	first, ok := trailing(g, x.Node("m"), len(dims))
	second, ok2 := trailing(g, x.Node("v"), len(dims))
	eps := x.Constant("eps")
	if !ok || !ok2 || first != second || eps == nil || eps.Elements() != 1 {
		return false
	}
	e, err := eps.Float32s()
	if err != nil {
		return false
	}
	count := int64(1)
	shape := []int64{}
	for _, d := range dims[first:] {
		if !d.Fixed() {
			return false
		}
		count *= d.Value
		shape = append(shape, d.Value)
	}
	last := div
	// next is the node that alone reads what the last one makes, with a constant of the normalized axes, if it is an op.
	next := func(op string) *onnx.Tensor {
		out := last.Output(0)
		readers := g.Consumers(out)
		if len(readers) != 1 || !readers[0].Is(op) || g.IsOutput(out) {
			return nil
		}
		other := readers[0].Input(0)
		if other == out {
			other = readers[0].Input(1)
		}
		t := g.Constant(other)
		if t == nil || t.Elements() != count || len(t.Dims) < len(shape) || !slices.Equal(t.Dims[len(t.Dims)-len(shape):], shape) || len(t.Dims) > len(dims) {
			return nil
		}
		last = readers[0]
		return t
	}
	flat := func(t *onnx.Tensor) string {
		if slices.Equal(t.Dims, shape) && t.Name() != "" && g.Initializer(t.Name()) != nil {
			return t.Name()
		}
		f, err := t.Float32s()
		if err != nil {
			return ""
		}
		name := g.UniqueName(last.Output(0) + "_parameter")
		g.AddInitializer(onnx.NewFloats(name, f, shape...))
		return name
	}
	scale := next("Mul")
	if scale == nil {
		scale = onnx.NewFloats("", slices.Repeat([]float32{1}, int(count)), shape...)
	}
	inputs := []string{value, flat(scale)}
	if shift := next("Add"); shift != nil {
		inputs = append(inputs, flat(shift))
	}
	if slices.Contains(inputs, "") {
		return false
	}
	out := last.Output(0)
	ln := onnx.NewNode("LayerNormalization", "", div.Name, inputs, []string{out}, onnx.IntAttr("axis", int64(first)), onnx.FloatAttr("epsilon", e[0]))
	g.InsertBefore(last, ln)
	g.RemoveNode(last)
	ln.SetOutputs(out)
	return true
}

// trailing tells the first of the last axes that a ReduceMean takes and keeps.
func trailing(g *onnx.Graph, n *onnx.Node, rank int) (int, bool) {
	axes := n.IntsAttr("axes")
	if n.Input(1) != "" {
		t := g.Constant(n.Input(1))
		if t == nil {
			return 0, false
		}
		var err error
		if axes, err = t.Ints(); err != nil {
			return 0, false
		}
	}
	if n.IntAttr("keepdims", 1) == 0 || len(axes) == 0 {
		return 0, false
	}
	at := slices.Clone(axes)
	for i, a := range at {
		if a < 0 {
			at[i] = a + int64(rank)
		}
	}
	slices.Sort(at)
	for i, a := range at {
		if a != int64(rank-len(at)+i) {
			return 0, false
		}
	}
	return int(at[0]), true
}
