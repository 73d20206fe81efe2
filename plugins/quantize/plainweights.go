package quantize

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// What counts as a weight is that it is constant, not how it is written: exporters put a Transpose, a Reshape or a Cast
// between a weight and its product, or give a matrix axes of length 1.

// plainWeights gives each product whose second operand is computed from a constant alone the result.
func plainWeights(m *onnx.Model) error {
	g := m.Graph
	for n := range g.Nodes() {
		if !n.Is("MatMul") && !n.Is("Gemm") && !n.Is("Conv") && !n.Is("ConvTranspose") || n.Input(1) == "" || g.Initializer(n.Input(1)) != nil {
			continue
		}
		w, err := computed(g, n.Input(1), 4)
		if err != nil {
			return fmt.Errorf("the weight %q of node %q cannot be computed: %w", n.Input(1), nodeName(n), err)
		}
		if w == nil {
			continue
		}
		name := g.UniqueName(n.Input(1) + "_constant")
		g.AddInitializer(w.WithName(name))
		n.SetInput(1, name)
	}
	return nil
}

// computed follows a value back to a constant through at most so many nodes that move or convert its elements; nil when
// it is none.
func computed(g *onnx.Graph, value string, most int) (*onnx.Tensor, error) {
	if t := g.Initializer(value); t != nil {
		return t, nil
	}
	p := g.Producer(value)
	if p == nil || most == 0 {
		return nil, nil
	}
	switch {
	case p.Is("Cast") && p.IntAttr("to", 0) == int64(onnx.Float), p.Is("Transpose"), p.Is("Reshape"), p.Is("Squeeze"), p.Is("Identity"):
	default:
		return nil, nil
	}
	t, err := computed(g, p.Input(0), most-1)
	if t == nil || err != nil {
		return nil, err
	}
	if d := t.DataType; d != onnx.Float && d != onnx.Float16 && d != onnx.BFloat16 || d != onnx.Float && !p.Is("Cast") {
		return nil, nil // a type that products of 8 bits do not come from
	}
	v, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	dims := t.Dims
	switch {
	case p.Is("Transpose"):
		perm := p.IntsAttr("perm")
		if perm == nil {
			for i := range dims {
				perm = append(perm, int64(len(dims)-1-i))
			}
		}
		if v, dims = permute(v, dims, perm); v == nil {
			return nil, nil
		}
	case p.Is("Reshape"):
		if dims = reshaped(g, p, dims); dims == nil {
			return nil, nil
		}
	case p.Is("Squeeze"):
		axes, ok := squeezed(g, p)
		if !ok {
			return nil, nil
		}
		if dims = without(dims, axes); dims == nil {
			return nil, nil
		}
	}
	return onnx.NewTensor(value, tensor.Of(slices.Clone(dims), v)), nil
}

// permute moves axes; nil where perm is no permutation of them.
func permute(v []float32, dims, perm []int64) ([]float32, []int64) {
	if len(perm) != len(dims) {
		return nil, nil
	}
	strides, s := make([]int64, len(dims)), int64(1)
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = s
		s *= dims[i]
	}
	to, step, seen := make([]int64, len(dims)), make([]int64, len(dims)), make([]bool, len(dims))
	for i, p := range perm {
		if p < 0 || p >= int64(len(dims)) || seen[p] {
			return nil, nil
		}
		seen[p] = true
		to[i], step[i] = dims[p], strides[p]
	}
	out := make([]float32, len(v))
	at := make([]int64, len(dims))
	var from int64
	for i := range out {
		out[i] = v[from]
		for a := len(dims) - 1; a >= 0; a-- {
			at[a]++
			from += step[a]
			if at[a] < to[a] {
				break
			}
			from -= at[a] * step[a]
			at[a] = 0
		}
	}
	return out, to
}

// reshaped are the sizes that a Reshape with a constant shape gives; nil where they are not known.
func reshaped(g *onnx.Graph, p *onnx.Node, dims []int64) []int64 {
	t := g.Initializer(p.Input(1))
	if t == nil {
		return nil
	}
	want, err := t.Ints()
	if err != nil {
		return nil
	}
	out, known, open, total := slices.Clone(want), int64(1), -1, int64(1)
	for _, d := range dims {
		total *= d
	}
	for i, d := range out {
		switch {
		case d == 0 && p.IntAttr("allowzero", 0) == 0 && i < len(dims):
			out[i] = dims[i]
			known *= out[i]
		case d == -1 && open < 0:
			open = i
		case d > 0:
			known *= d
		default:
			return nil
		}
	}
	if open >= 0 {
		if known == 0 || total%known != 0 {
			return nil
		}
		out[open] = total / known
	} else if known != total {
		return nil
	}
	return out
}

// squeezed are the axes that a Squeeze takes away, nil for all of length 1; false where they are not known.
func squeezed(g *onnx.Graph, p *onnx.Node) (axes []int64, ok bool) {
	if p.Input(1) == "" {
		return p.IntsAttr("axes"), true
	}
	t := g.Initializer(p.Input(1))
	if t == nil {
		return nil, false
	}
	axes, err := t.Ints()
	return axes, err == nil
}

func without(dims, axes []int64) []int64 {
	out := []int64{}
	for i, d := range dims {
		gone := axes == nil && d == 1 || slices.Contains(axes, int64(i)) || slices.Contains(axes, int64(i-len(dims)))
		if gone && d != 1 {
			return nil
		}
		if !gone {
			out = append(out, d)
		}
	}
	return out
}

// flatWeights takes leading axes of length 1 from weights of MatMul where the other operand has as many axes, so that the
// product's shape stays what it is.
func flatWeights(m *onnx.Model, shapes *onnx.Shapes) error {
	g := m.Graph
	for n := range g.Nodes() {
		w := g.Initializer(n.Input(1))
		if !n.Is("MatMul") || w == nil || w.DataType != onnx.Float || len(w.Dims) < 3 {
			continue
		}
		extra := len(w.Dims) - 2
		_, x, ok := shapes.Of(n.Input(0))
		if !ok || len(x) < len(w.Dims) || slices.ContainsFunc(w.Dims[:extra], func(d int64) bool { return d != 1 }) {
			continue
		}
		v, err := w.Float32s()
		if err != nil {
			return fmt.Errorf("the weight %q of node %q cannot be read: %w", w.Name(), nodeName(n), err)
		}
		name := g.UniqueName(w.Name() + "_matrix")
		g.AddInitializer(onnx.NewTensor(name, tensor.Of(slices.Clone(w.Dims[extra:]), v)))
		n.SetInput(1, name)
	}
	return nil
}
