package rewrite

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

func int32Scalar(v int32) tensor.Tensor { return tensor.Of([]int64{}, []int32{v}) }

// transposes finds ConvTranspose, activation, ConvTranspose, both with a stride equal to the kernel: every element of the
// input then makes a square of its own, and the second makes squares within those. The channels of a square can stay
// beside each other, as a convolution of 1x1 and a grouped one make them, until all are put into place at the end.
func (r *rewriter) transposes() int {
	return r.each(func(n *onnx.Node) bool {
		w2, k2, ok := tiling(n)
		if !ok {
			return false
		}
		g := n.Graph()
		at := g.Producer(n.Input(0))
		var between []*onnx.Node
		for value := n.Input(0); ; {
			if at == nil || at.Output(0) != value || g.IsOutput(value) || g.NumConsumers(value) != 1 {
				return false
			}
			if at.Is("ConvTranspose") {
				break
			}
			if !slices.Contains([]string{"Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Elu", "Clip"}, at.OpType) || !at.Is(at.OpType) {
				return false
			}
			between = append(between, at)
			value = at.Input(0)
			at = g.Producer(value)
		}
		w1, k1, ok := tiling(at)
		if !ok || w1.Dims[1] != w2.Dims[0] {
			return false
		}
		first, err := packed(w1, 1)
		if err != nil {
			r.err = err
			return false
		}
		second, err := packed(w2, int(k1*k1))
		if err != nil {
			r.err = err
			return false
		}
		m1, m2 := w1.Dims[1], w2.Dims[1]
		inputs := []string{at.Input(0), put(g, at.Input(1)+"_packed", first, k1*k1*m1, w1.Dims[0], 1, 1)}
		if inputs, ok = tileBias(at, inputs, int(k1*k1)); !ok {
			return false
		}
		groups := k1 * k1
		inputs2 := []string{n.Input(0), put(g, n.Input(1)+"_packed", second, groups*k2*k2*m2, m1, 1, 1)}
		if inputs2, ok = tileBias(n, inputs2, int(groups*k2*k2)); !ok {
			return false
		}
		become(at, "Conv", "", inputs, onnx.IntsAttr("kernel_shape", 1, 1))
		squares := insert(n, "Conv", "", n.Output(0)+"_squares", inputs2, onnx.IntsAttr("kernel_shape", 1, 1), onnx.IntAttr("group", groups))
		outer := insert(n, "DepthToSpace", "", n.Output(0)+"_placed", []string{squares}, onnx.IntAttr("blocksize", k1))
		become(n, "DepthToSpace", "", []string{outer}, onnx.IntAttr("blocksize", k2))
		g.RemoveValueInfo(at.Output(0))
		for _, b := range between {
			g.RemoveValueInfo(b.Output(0))
		}
		return true
	})
}

// tiling reads a ConvTranspose whose squares neither overlap nor leave gaps: its weights [C, M, k, k] and k.
func tiling(n *onnx.Node) (*onnx.Tensor, int64, bool) {
	if !n.Is("ConvTranspose") || n.IntAttr("group", 1) != 1 || n.StringAttr("auto_pad", "NOTSET") != "NOTSET" || n.Attr("output_shape") != nil {
		return nil, 0, false
	}
	w := n.Graph().Constant(n.Input(1))
	if w == nil || w.DataType != onnx.Float || len(w.Dims) != 4 || w.Dims[2] != w.Dims[3] || w.Elements() <= 0 {
		return nil, 0, false
	}
	all := func(name string, want int64, without bool) bool {
		v := n.IntsAttr(name)
		return len(v) == 0 && without || len(v) > 0 && !slices.ContainsFunc(v, func(x int64) bool { return x != want })
	}
	k := w.Dims[2]
	ok := all("strides", k, k == 1) && all("dilations", 1, true) && all("pads", 0, true) && all("output_padding", 0, true)
	return w, k, ok && k > 1
}

// packed gives the weights [C, M, k, k] of a tiling ConvTranspose as those of a convolution of 1x1, [k*k*M, C], times
// times one behind the other for as many groups.
func packed(w *onnx.Tensor, times int) ([]float32, error) {
	v, err := w.Float32s()
	if err != nil {
		return nil, err
	}
	c, m, kk := int(w.Dims[0]), int(w.Dims[1]), int(w.Dims[2]*w.Dims[3])
	out := make([]float32, len(v), times*len(v))
	for ic := range c {
		for om := range m {
			for p := range kk {
				out[(p*m+om)*c+ic] = v[(ic*m+om)*kk+p]
			}
		}
	}
	one := out[:len(v):len(v)]
	for range times - 1 {
		out = append(out, one...)
	}
	return out, nil
}

// tileBias appends the bias of n, repeated, to inputs.
func tileBias(n *onnx.Node, inputs []string, times int) ([]string, bool) {
	if n.Input(2) == "" {
		return inputs, true
	}
	t := n.Graph().Constant(n.Input(2))
	if t == nil || t.DataType != onnx.Float {
		return nil, false
	}
	b, err := t.Float32s()
	if err != nil {
		return nil, false
	}
	out := slices.Repeat(b, times)
	return append(inputs, put(n.Graph(), n.Input(2)+"_tiled", out, int64(len(out)))), true
}
