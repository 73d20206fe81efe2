package qdq

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// unary rewrites an operator with the inputs X, its scale and zero point, and those of Y.
func unary(op string, attrs ...string) func(*rewriter, *onnx.Node) bool {
	return func(w *rewriter, n *onnx.Node) bool {
		y := w.emit(n, op, []string{w.dequantized(n, 0, 1)}, attributes(n, attrs...)...)
		w.quantize(n, y, 3)
		return true
	}
}

// pool rewrites pools; those with the channels last turn them round.
func pool(op string) func(*rewriter, *onnx.Node) bool {
	return func(w *rewriter, n *onnx.Node) bool {
		attrs := attributes(n, "kernel_shape", "strides", "pads", "auto_pad", "ceil_mode", "count_include_pad", "dilations")
		x := w.dequantized(n, 0, 1)
		last := n.IntAttr("channels_last", 0) != 0
		if last {
			x = w.emit(n, "Transpose", []string{x}, onnx.IntsAttr("perm", 0, 3, 1, 2))
		}
		y := w.emit(n, op, []string{x}, attrs...)
		if last {
			y = w.emit(n, "Transpose", []string{y}, onnx.IntsAttr("perm", 0, 2, 3, 1))
		}
		w.quantize(n, y, 3)
		return true
	}
}

// binary rewrites an operator with the inputs A and B, each with scale and zero point, and those of C.
func binary(op string) func(*rewriter, *onnx.Node) bool {
	return func(w *rewriter, n *onnx.Node) bool {
		y := w.emit(n, op, []string{w.dequantized(n, 0, 1), w.dequantized(n, 3, 1)})
		w.quantize(n, y, 6)
		return true
	}
}

// conv: X, W and Y with scale and zero point each, then the bias in steps of both scales.
func (w *rewriter) conv(n *onnx.Node) bool {
	if n.IntAttr("channels_last", 0) != 0 {
		return false
	}
	in := []string{w.dequantized(n, 0, 1), w.dequantized(n, 3, 0)}
	if n.Input(8) != "" {
		bias, ok := w.bias(n, n.Input(8), n.Input(1), n.Input(4))
		if !ok {
			return false
		}
		in = append(in, bias)
	}
	w.quantize(n, w.emit(n, "Conv", in, attributes(n, "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")...), 6)
	return true
}

// bias makes floats of a bias that counts in steps of the scales of both factors.
func (w *rewriter) bias(n *onnx.Node, bias, left, right string) (string, bool) {
	l, r := w.g.Constant(left), w.g.Constant(right)
	if l == nil || r == nil {
		return "", false
	}
	a, err := l.Float32s()
	b, err2 := r.Float32s()
	if err != nil || err2 != nil || len(a) != 1 || len(b) == 0 {
		return "", false
	}
	scale := make([]float32, len(b))
	for i, v := range b {
		scale[i] = v * a[0]
	}
	name := w.g.UniqueName(n.Label() + "_bias_scale")
	shape := []int64{int64(len(scale))}
	if len(scale) == 1 {
		shape = nil
	}
	w.g.AddInitializer(onnx.NewFloats(name, scale, shape...))
	return w.emit(n, "DequantizeLinear", []string{bias, name}, onnx.IntAttr("axis", 0)), true
}

func (w *rewriter) matMul(n *onnx.Node) bool {
	// Vectors belong to the rows of A and the columns of B.
	w.quantize(n, w.emit(n, "MatMul", []string{w.dequantized(n, 0, -2), w.dequantized(n, 3, -1)}), 6)
	return true
}

// gemm: A and B with scale and zero point each, the bias, scale and zero point of Y; without these the output is float.
func (w *rewriter) gemm(n *onnx.Node) bool {
	axis := int64(1)
	if n.IntAttr("transB", 0) != 0 {
		axis = 0
	}
	alpha := n.FloatAttr("alpha", 1)
	in := []string{w.dequantized(n, 0, 1), w.dequantized(n, 3, axis)}
	if n.Input(6) != "" {
		if alpha != 1 {
			return false // the bias counts in steps of alpha, too
		}
		bias, ok := w.bias(n, n.Input(6), n.Input(1), n.Input(4))
		if !ok {
			return false
		}
		in = append(in, bias)
	}
	attrs := attributes(n, "alpha", "transA", "transB")
	if n.Input(7) == "" {
		w.put(n, "Gemm", in, n.Output(0), attrs...)
		return true
	}
	w.quantize(n, w.emit(n, "Gemm", in, attrs...), 7)
	return true
}

// concat: scale and zero point of Y, then each input with its own.
func (w *rewriter) concat(n *onnx.Node) bool {
	var in []string
	for i := 2; i+1 < len(n.Inputs()); i += 3 {
		in = append(in, w.dequantized(n, i, 1))
	}
	w.quantize(n, w.emit(n, "Concat", in, attributes(n, "axis")...), 0)
	return true
}

// where: the condition, X and Y with scale and zero point each, those of Z.
func (w *rewriter) where(n *onnx.Node) bool {
	w.quantize(n, w.emit(n, "Where", []string{n.Input(0), w.dequantized(n, 1, 1), w.dequantized(n, 4, 1)}), 7)
	return true
}

// pools moves MaxPool and Relu behind what makes floats: Core ML pools no integers. Where a QuantizeLinear made what they
// take, the numbers are the same.
func (w *rewriter) pools() {
	for _, n := range slices.Collect(w.g.Nodes()) {
		if !n.Is("MaxPool") || len(n.Outputs()) > 1 {
			continue
		}
		q := w.g.Producer(n.Input(0))
		for q != nil && q.Is("MaxPool") {
			q = w.g.Producer(q.Input(0))
		}
		if q == nil || !q.Is("QuantizeLinear") || w.g.Constant(q.Input(1)) == nil {
			continue
		}
		x := w.emit(n, "DequantizeLinear", []string{n.Input(0), q.Input(1), q.Input(2)}, attributes(q, "axis")...)
		y := w.emit(n, "MaxPool", []string{x}, n.Attributes()...)
		w.put(n, "QuantizeLinear", []string{y, q.Input(1), q.Input(2)}, n.Output(0), attributes(q, "axis")...)
		w.replace(n)
	}
}
