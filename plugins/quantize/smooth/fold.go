package smooth

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
)

const microsoft = "com.microsoft"

// vector is a constant of k elements, its last axis the only one that is longer than 1.
func vector(g *onnx.Graph, value string, k int) *onnx.Tensor {
	t := g.Initializer(value)
	if t == nil || t.DataType != onnx.Float || len(t.Dims) == 0 || t.Dims[len(t.Dims)-1] != t.Elements() {
		return nil
	}
	if k > 0 && t.Elements() != int64(k) {
		return nil
	}
	return t
}

// normalizes tells whether a node ends a normalization over the last axis: one of a single operator, or what exporters
// write it out as, a quotient or product by the deviation, times a vector, plus a vector.
func normalizes(g *onnx.Graph, n *onnx.Node) bool {
	if n.Graph() != g {
		return false
	}
	switch {
	case n.Is("LayerNormalization"), n.Is("RMSNormalization"):
		return n.IntAttr("axis", -1) == -1
	case n.OpType == "SkipLayerNormalization" && n.Domain == microsoft, n.OpType == "SimplifiedLayerNormalization",
		n.OpType == "SkipSimplifiedLayerNormalization" && n.Domain == microsoft:
		return true
	case n.Is("Add"):
		for i := range 2 {
			if vector(g, n.Input(i), 0) != nil {
				p := g.Producer(n.Input(1 - i))
				return p != nil && p.Is("Mul") && writtenOut(g, p)
			}
		}
	case n.Is("Mul"):
		return writtenOut(g, n)
	}
	return false
}

// writtenOut tells whether a Mul with a vector scales x/deviation, where the deviation comes from a mean.
func writtenOut(g *onnx.Graph, n *onnx.Node) bool {
	for i := range 2 {
		if vector(g, n.Input(i), 0) == nil {
			continue
		}
		p := g.Producer(n.Input(1 - i))
		if p == nil || !p.Is("Div") && !p.Is("Mul") {
			return false
		}
		for _, v := range p.Inputs() {
			if deviation(g, v) {
				return true
			}
		}
	}
	return false
}

// deviation follows a value back through what a root of a mean of squares is written with.
func deviation(g *onnx.Graph, value string) bool {
	for range 5 {
		p := g.Producer(value)
		if p == nil {
			return false
		}
		switch {
		case p.Is("ReduceMean"):
			return true
		case p.Is("Sqrt"), p.Is("Reciprocal"), p.Is("Pow"):
			value = p.Input(0)
		case p.Is("Add"), p.Is("Div"): // an epsilon; one over
			if g.Initializer(p.Input(0)) != nil {
				value = p.Input(1)
			} else {
				value = p.Input(0)
			}
		default:
			return false
		}
	}
	return false
}

// inputs are those of a normalization that scale with its output; nil for chains.
func inputs(n *onnx.Node) []int {
	switch n.OpType {
	case "LayerNormalization":
		return []int{1, 2}
	case "SkipLayerNormalization":
		return []int{2, 3}
	case "SkipSimplifiedLayerNormalization":
		return []int{2}
	case "SimplifiedLayerNormalization", "RMSNormalization":
		return []int{1}
	}
	return nil
}

// foldable tells whether the constants of a normalization can take factors of k channels in.
func foldable(g *onnx.Graph, n *onnx.Node, k int) bool {
	if change := inputs(n); change != nil {
		for at, i := range change {
			if n.Input(i) == "" && at > 0 {
				continue
			}
			if vector(g, n.Input(i), k) == nil {
				return false
			}
		}
		return true
	}
	for i := range 2 {
		if vector(g, n.Input(i), k) == nil {
			continue
		}
		if n.Is("Mul") {
			return true
		}
		inner := n.Input(1 - i)
		p := g.Producer(inner)
		return p != nil && g.NumConsumers(inner) == 1 && !g.IsOutput(inner) && foldable(g, p, k)
	}
	return false
}

// Apply divides the group's value by the scale and multiplies the weights with it, and says how: the model computes the
// same. Where nothing but the products reads the value, the normalization's constants take the division in; else the
// products read a copy that a Mul makes.
func (g *Group) Apply(scale []float32) (how string, err error) {
	inv := make([]float32, len(scale))
	for i, s := range scale {
		inv[i] = 1 / s
	}
	p := g.graph.Producer(g.Value)
	if g.shared {
		factor := g.graph.UniqueName(g.Value + "_smooth")
		g.graph.AddInitializer(onnx.NewFloats(factor, inv, int64(len(inv))))
		out := g.graph.UniqueName(g.Value + "_smoothed")
		g.graph.InsertAfter(p, onnx.NewNode("Mul", "", g.graph.UniqueName(name(p)+"/Smooth"), []string{g.Value, factor}, []string{out}))
		for _, u := range g.units {
			u.node.SetInput(0, out)
		}
		how = "by a Mul, for something else reads it too"
	} else {
		if err := fold(g.graph, p, inv); err != nil {
			return "", err
		}
		how = "folded into " + name(p)
	}
	for _, u := range g.units {
		v, err := u.weight.Float32s()
		if err != nil {
			return "", fmt.Errorf("weight %q of node %q: %w", u.weight.Name(), name(u.node), err)
		}
		w := make([]float32, len(v))
		for i, x := range v {
			k := i % g.K
			if !u.byRow {
				k = i / u.n
			}
			w[i] = x * scale[k]
		}
		g.graph.RemoveInitializer(u.weight.Name())
		g.graph.AddInitializer(onnx.NewFloats(u.weight.Name(), w, u.weight.Dims...))
	}
	return how, nil
}

func fold(g *onnx.Graph, n *onnx.Node, inv []float32) error {
	if change := inputs(n); change != nil {
		for _, i := range change {
			if n.Input(i) != "" {
				if err := multiply(g, n, i, inv); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for i := range 2 {
		if vector(g, n.Input(i), len(inv)) == nil {
			continue
		}
		if err := multiply(g, n, i, inv); err != nil || n.Is("Mul") {
			return err
		}
		return fold(g, g.Producer(n.Input(1-i)), inv)
	}
	return fmt.Errorf("node %q takes no factor in", name(n))
}

// multiply gives an input, a constant vector, a copy of its own with each element multiplied.
func multiply(g *onnx.Graph, n *onnx.Node, i int, f []float32) error {
	t := g.Initializer(n.Input(i))
	v, err := t.Float32s()
	if err != nil {
		return fmt.Errorf("constant %q of node %q: %w", t.Name(), name(n), err)
	}
	out := make([]float32, len(v))
	for j := range v {
		out[j] = v[j] * f[j]
	}
	c := g.UniqueName(t.Name() + "_smooth")
	g.AddInitializer(onnx.NewFloats(c, out, t.Dims...))
	n.SetInput(i, c)
	return nil
}
