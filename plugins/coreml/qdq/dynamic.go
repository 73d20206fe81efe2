package qdq

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// integers rewrites MatMulInteger and ConvInteger. What tools write around them, a Cast and a product with both scales,
// becomes a part of the weight and the activation; without it the sums of integers are worked out in single precision.
func (w *rewriter) integers(n *onnx.Node) bool {
	op, axis := "MatMul", int64(-1)
	var attrs []*onnx.Attribute
	if n.OpType == "ConvInteger" {
		op, axis = "Conv", 0
		attrs = attributes(n, "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
	}
	if f, ok := w.scaled(n, op); ok {
		x := w.dequantize(n, n.Input(0), f.activation, n.Input(2), 1)
		y := w.dequantize(n, n.Input(1), f.weight, n.Input(3), axis)
		w.put(n, op, []string{x, y}, f.product.Output(0), attrs...)
		w.g.RemoveNode(f.product)
		w.g.RemoveNode(f.cast)
		return true
	}
	one := w.one()
	rows := int64(-2) // a vector of zero points of A belongs to its rows
	x := w.dequantize(n, n.Input(0), one, n.Input(2), rows)
	y := w.dequantize(n, n.Input(1), one, n.Input(3), axis)
	sum := w.emit(n, op, []string{x, y}, attrs...)
	w.wide[sum] = true
	w.put(n, "Cast", []string{sum}, n.Output(0), onnx.IntAttr("to", int64(onnx.Int32)))
	return true
}

// scaledSum is what follows a sum of integers.
type scaledSum struct {
	cast, product      *onnx.Node
	activation, weight string // their scales
}

// scaled finds a Cast to float and a product with the scales of both factors, of which the activation's is computed by
// DynamicQuantizeLinear and the weight's is a constant: one number, or one for each column.
func (w *rewriter) scaled(n *onnx.Node, op string) (f scaledSum, ok bool) {
	q := w.g.Producer(n.Input(0))
	if q == nil || !q.Is("DynamicQuantizeLinear") || w.g.Constant(n.Input(1)) == nil || q.Output(2) != n.Input(2) {
		return f, false
	}
	if f.cast = w.only(n.Output(0)); f.cast == nil || !f.cast.Is("Cast") || f.cast.IntAttr("to", 0) != int64(onnx.Float) {
		return f, false
	}
	if f.product = w.only(f.cast.Output(0)); f.product == nil || !f.product.Is("Mul") {
		return f, false
	}
	scales := f.product.Input(0)
	if scales == f.cast.Output(0) {
		scales = f.product.Input(1)
	}
	p := w.g.Producer(scales)
	if p == nil || !p.Is("Mul") {
		return f, false
	}
	f.activation = q.Output(1)
	switch f.activation {
	case p.Input(0):
		f.weight = p.Input(1)
	case p.Input(1):
		f.weight = p.Input(0)
	default:
		return f, false
	}
	t, data := w.g.Constant(f.weight), w.g.Constant(n.Input(1))
	if t == nil || data == nil || len(data.Dims) == 0 {
		return f, false
	}
	// The scales must lie along the columns of a matrix, or the output channels of a convolution.
	count := t.Elements()
	switch {
	case count == 1:
		return f, true
	case op == "MatMul":
		last := data.Dims[len(data.Dims)-1]
		return f, count == last && len(t.Dims) > 0 && t.Dims[len(t.Dims)-1] == last
	}
	rank := len(data.Dims)
	at := len(t.Dims) - (rank - 1) // of the channels, from the end as arithmetic aligns
	return f, count == data.Dims[0] && at >= 0 && t.Dims[at] == count
}

// only is the one node that reads a value, nil where there are more or the graph gives it.
func (w *rewriter) only(value string) *onnx.Node {
	if c := w.g.Consumers(value); len(c) == 1 && !w.g.IsOutput(value) && c[0].Graph() == w.g {
		return c[0]
	}
	return nil
}

// dynamic quantizes a value as the model runs, and gives it as floats again.
func (w *rewriter) dynamic(n *onnx.Node, x string) string {
	outs := []string{w.g.UniqueName(n.Label() + "_q"), w.g.UniqueName(n.Label() + "_scale"), w.g.UniqueName(n.Label() + "_zero")}
	w.insert(n, "DynamicQuantizeLinear", []string{x}, outs)
	return w.emit(n, "DequantizeLinear", outs)
}

// dynamicMatMul: A as floats, B, its scale and zero point, the bias.
func (w *rewriter) dynamicMatMul(n *onnx.Node) bool {
	x := w.dynamic(n, n.Input(0))
	w.biased(n, x, w.dequantize(n, n.Input(1), n.Input(2), n.Input(3), -1), n.Input(4))
	return true
}

// biased multiplies, and adds a bias where there is one.
func (w *rewriter) biased(n *onnx.Node, x, y, bias string) {
	if bias == "" {
		w.put(n, "MatMul", []string{x, y}, n.Output(0))
		return
	}
	w.put(n, "Add", []string{w.emit(n, "MatMul", []string{x, y}), bias}, n.Output(0))
}

// toFloat: A, B, the scales of both, the zero points of both, the bias.
func (w *rewriter) toFloat(n *onnx.Node) bool {
	x := w.dequantize(n, n.Input(0), n.Input(2), n.Input(4), -2)
	w.biased(n, x, w.dequantize(n, n.Input(1), n.Input(3), n.Input(5), -1), n.Input(6))
	return true
}

// lstm: as LSTM, with weights of integers whose axes are turned, and behind the peepholes scale and zero point of both.
func (w *rewriter) lstm(n *onnx.Node) bool {
	in := slices.Clone(n.Inputs())
	for len(in) < 12 {
		in = append(in, "")
	}
	for i, at := range []int{8, 10} {
		data, scale, zero := w.g.Constant(in[1+i]), w.g.Constant(in[at]), w.g.Constant(in[at+1])
		if data == nil || scale == nil || len(data.Dims) != 3 || in[at+1] != "" && zero == nil {
			return false
		}
		s, z, attrs := in[at], in[at+1], []*onnx.Attribute{onnx.IntAttr("axis", 0)}
		switch {
		case scale.Elements() == 1, scale.Elements() == data.Dims[0] && len(scale.Dims) == 1:
			s, z = w.agree(n, "", s, z)
		case scale.Elements() == data.Dims[0]*data.Dims[2]:
			// A scale for each column of each direction: blocks as long as the columns.
			shape := []int64{data.Dims[0], 1, data.Dims[2]}
			s, z = w.reshaped(n, scale, s, shape), w.reshaped(n, zero, z, shape)
			attrs = []*onnx.Attribute{onnx.IntAttr("axis", 1), onnx.IntAttr("block_size", data.Dims[1])}
		default:
			return false
		}
		f := w.emit(n, "DequantizeLinear", []string{in[1+i], s, z}, attrs...)
		in[1+i] = w.emit(n, "Transpose", []string{f}, onnx.IntsAttr("perm", 0, 2, 1))
	}
	// The order of the rest is that of LSTM: B, sequence_lens, initial_h, initial_c, P.
	lstm := w.insert(n, "LSTM", in[:8], make([]string, len(n.Outputs())),
		attributes(n, "direction", "hidden_size", "activations", "activation_alpha", "activation_beta", "clip", "input_forget")...)
	for i, out := range n.Outputs() {
		w.pending = append(w.pending, pending{lstm, i, out})
	}
	return true
}
