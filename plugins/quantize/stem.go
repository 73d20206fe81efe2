package quantize

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/tensor"
)

// stems lets convolutions of stride 2 that read a few channels read squares of 2x2 pixels as channels, with a kernel of
// half the size and stride 1: the same products, plus some with 0, but four times as many numbers lie together for the
// engine's vectors. On ResNet's 7x7 convolution of an image that is a third less time, bit by bit the same. sizes are
// height and width of what each convolution reads: they must be even, and known.
func (e *emitter) stems(sizes map[*onnx.Node][2]int64) {
	g := e.graph
	for n := range g.Nodes() {
		size, ok := sizes[n]
		if !ok || e.place.byNode[n] == nil {
			continue
		}
		dq, wdq := g.Producer(n.Input(0)), g.Producer(n.Input(1))
		if dq == nil || !dq.Is("DequantizeLinear") || wdq == nil || !wdq.Is("DequantizeLinear") {
			continue
		}
		w := g.Initializer(wdq.Input(0))
		s, ok := stemOf(n, size)
		if !ok || w == nil || w.DataType != onnx.Int8 || wdq.IntAttr("axis", 0) != 0 {
			continue
		}
		v, err := w.Tensor()
		if err != nil {
			continue
		}
		squares := g.UniqueName(dq.Input(0) + "_squares")
		g.InsertBefore(n, onnx.NewNode("SpaceToDepth", "", g.UniqueName(nodeName(n)+"/SpaceToDepth"), []string{dq.Input(0)}, []string{squares}, onnx.IntAttr("blocksize", 2)))
		n.SetInput(0, e.copyDQ(n, dq, squares))
		weight := g.UniqueName(w.Name() + "_squares")
		g.AddInitializer(onnx.NewTensor(weight, s.weight(v)))
		n.SetInput(1, e.copyDQ(n, wdq, weight))
		n.SetAttr(onnx.IntsAttr("kernel_shape", s.kernel[0], s.kernel[1]))
		n.SetAttr(onnx.IntsAttr("strides", 1, 1))
		n.SetAttr(onnx.IntsAttr("pads", s.before[0], s.before[1], s.after[0], s.after[1]))
		n.RemoveAttr("auto_pad")
	}
}

// copyDQ puts a DequantizeLinear of another value, on the same scale, in front of a node.
func (e *emitter) copyDQ(before, dq *onnx.Node, value string) string {
	g := e.graph
	out := g.UniqueName(value + "_dequantized")
	inputs := slices.Clone(dq.Inputs())
	inputs[0] = value
	g.InsertBefore(before, onnx.NewNode("DequantizeLinear", "", g.UniqueName(value+"_DequantizeLinear"), inputs, []string{out}, dq.Attributes()...))
	return out
}

// stem is a convolution on squares of pixels, along height and width.
type stem struct {
	kernel, before, after [2]int64
	// shift is the place of the old kernel in the new one, in pixels.
	shift [2]int64
}

// stemOf works out how a convolution reads squares, if it can: it has stride 2, no dilation, one group, even sizes and
// paddings of its own.
func stemOf(n *onnx.Node, size [2]int64) (s stem, ok bool) {
	w := n.Graph().Initializer(n.Graph().Producer(n.Input(1)).Input(0))
	strides, pads, dilations := n.IntsAttr("strides"), n.IntsAttr("pads"), n.IntsAttr("dilations")
	if w == nil || len(w.Dims) != 4 || w.Dims[1] > layout.FewChannels || n.IntAttr("group", 1) != 1 || len(strides) != 2 ||
		slices.ContainsFunc(dilations, func(d int64) bool { return d != 1 }) {
		return s, false
	}
	if a := n.StringAttr("auto_pad", "NOTSET"); a != "NOTSET" && a != "VALID" || a == "VALID" && len(pads) > 0 {
		return s, false
	}
	if len(pads) == 0 {
		pads = make([]int64, 4)
	}
	for i := range 2 {
		k, before, after := w.Dims[2+i], pads[i], pads[2+i]
		if strides[i] != 2 || size[i] <= 0 || size[i]%2 != 0 || k < 2 || before < 0 || after < 0 || size[i]+before+after < k {
			return s, false
		}
		// A row of squares 2(y+a-A)+p is the pixel 2y-before+q of the old kernel at q = 2(a-A)+p+before.
		squares := (before + 1) / 2 // A
		s.shift[i] = 2*squares - before
		s.kernel[i] = (k-1+s.shift[i])/2 + 1
		s.before[i] = squares
		outputs := (size[i]+before+after-k)/2 + 1
		if s.after[i] = outputs - 1 - size[i]/2 - squares + s.kernel[i]; s.after[i] < 0 {
			return s, false
		}
	}
	return s, true
}

// weight rearranges [out, in, height, width] for channels in the order of SpaceToDepth.
func (s *stem) weight(t tensor.Tensor) tensor.Tensor {
	d := t.Shape
	shape := []int64{d[0], 4 * d[1], s.kernel[0], s.kernel[1]}
	out := make([]byte, shape[0]*shape[1]*shape[2]*shape[3])
	for i, x := range t.Data {
		at := int64(i)
		col, row, in, o := at%d[3], at/d[3]%d[2], at/(d[3]*d[2])%d[1], at/(d[3]*d[2]*d[1])
		row, col = row+s.shift[0], col+s.shift[1]
		channel := (row%2*2+col%2)*d[1] + in
		out[((o*shape[1]+channel)*shape[2]+row/2)*shape[3]+col/2] = x
	}
	return tensor.Tensor{DType: t.DType, Shape: shape, Data: out}
}

// stemSizes are height and width of what the convolutions read that stems may change.
func stemSizes(g *onnx.Graph, shapes *onnx.Shapes) map[*onnx.Node][2]int64 {
	sizes := map[*onnx.Node][2]int64{}
	for n := range g.Nodes() {
		if !n.Is("Conv") {
			continue
		}
		_, dims, ok := shapes.Of(n.Input(0))
		if ok && len(dims) == 4 && dims[1].Fixed() && dims[1].Value <= layout.FewChannels && dims[2].Fixed() && dims[3].Fixed() {
			sizes[n] = [2]int64{dims[2].Value, dims[3].Value}
		}
	}
	return sizes
}
