package quantize

import (
	"math"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

// pairParams are the scale and zero point of a Q or DQ; one of them each.
func pairParams(t *testing.T, g *onnx.Graph, n *onnx.Node) (scales []float32, zeros []int64, elem onnx.DataType) {
	t.Helper()
	s, z := g.Constant(n.Input(1)), g.Constant(n.Input(2))
	if s == nil {
		t.Fatalf("%s %q has no constant scale", n.OpType, nodeName(n))
	}
	scales, err := s.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	if z == nil {
		return scales, make([]int64, len(scales)), onnx.Int32
	}
	if zeros, err = z.Ints(); err != nil {
		t.Fatal(err)
	}
	return scales, zeros, z.DataType
}

// obeys checks a lowered model against what the engine of a target wants, node by node. The rules are written down here
// once more, apart from the table that lowering follows.
func obeys(t *testing.T, m *onnx.Model, target string) {
	t.Helper()
	g := m.Graph
	bad := func(n *onnx.Node, format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s %q: "+format, append([]any{target, n.OpType, nodeName(n)}, args...)...)
	}
	transformer := hasAttention(g)
	dqOf := func(v string) *onnx.Node { // the DQ that makes a value
		if p := g.Producer(v); p != nil && p.Is("DequantizeLinear") {
			return p
		}
		return nil
	}
	qOf := func(v string) *onnx.Node { // the Q that alone reads a value
		c := g.Consumers(v)
		if len(c) == 1 && c[0].Is("QuantizeLinear") && !g.IsOutput(v) {
			return c[0]
		}
		return nil
	}
	for n := range g.Nodes() {
		switch {
		case n.Is("QuantizeLinear"):
			s, z, elem := pairParams(t, g, n)
			if len(s) != 1 || !(s[0] > 0) || math.IsInf(float64(s[0]), 0) {
				bad(n, "an activation has the scales %v", s)
			}
			zero, signed := z[0], elem == onnx.Int8
			switch target {
			case "onnxruntime-x86-vnni", "onnxruntime-x86":
				if signed {
					bad(n, "activations must be unsigned")
				}
			case "onnxruntime-arm64", "tensorrt":
				if !signed || zero != 0 {
					bad(n, "activations must be S8 with zero point 0, not %s with %d", elem, zero)
				}
			case "openvino":
				// In the middle, or where one side is less than half of the other.
				if !transformer && zero != 128 && zero > 85 && zero < 170 {
					bad(n, "zero point %d is neither that of a symmetric range nor that of a lopsided one", zero)
				}
			case "coreml":
				if signed || zero != 0 && zero != 128 {
					bad(n, "zero point %d of %s", zero, elem)
				}
			case "tflite":
				if !signed {
					bad(n, "activations must be S8")
				}
			}
			for _, c := range g.Consumers(n.Output(0)) {
				if c.Is("DequantizeLinear") && (c.Input(1) != n.Input(1) || c.Input(2) != n.Input(2)) {
					bad(n, "its DequantizeLinear has another scale")
				}
			}
		case n.Is("Conv") || n.Is("ConvTranspose") || n.Is("Gemm") || n.Is("MatMul"):
			x, w := dqOf(n.Input(0)), dqOf(n.Input(1))
			if w == nil {
				continue // in float, though a quantized value may be what it reads
			}
			if x == nil {
				bad(n, "its weight is quantized and what it multiplies is not")
				continue
			}
			weightRules(t, g, w, target)
			if b := n.Input(2); b != "" {
				bias := dqOf(b)
				switch target {
				case "tensorrt", "openvino", "coreml":
					if bias != nil {
						bad(n, "the bias is quantized")
					}
				default:
					if bias == nil {
						bad(n, "the bias is in float")
						break
					}
					biasScale(t, g, n, x, w, bias)
				}
			}
			out := qOf(n.Output(0))
			switch target {
			case "onnxruntime-x86-vnni", "onnxruntime-x86", "onnxruntime-arm64":
				if n.Is("Conv") {
					_, _, in := pairParams(t, g, x)
					if out == nil {
						bad(n, "its output is not quantized, so it does not fuse")
					} else if _, _, to := pairParams(t, g, out); to != in {
						bad(n, "it reads %s and writes %s", in, to)
					}
				}
			case "tensorrt":
				if n.Is("Conv") && out != nil {
					for _, dq := range g.Consumers(out.Output(0)) {
						for _, c := range g.Consumers(dq.Output(0)) {
							if c.Is("Relu") || c.Is("Clip") {
								bad(n, "a pair stands between it and %s", c.OpType)
							}
						}
					}
				}
			}
		case n.Is("Add") && target == "tensorrt":
			if a, b := dqOf(n.Input(0)), dqOf(n.Input(1)); a != nil && b != nil {
				bad(n, "both operands of a residual addition are quantized")
			}
		case (n.Is("MaxPool") || n.Is("Concat") || (n.Is("Reshape") || n.Is("Transpose") || n.Is("Flatten")) && target != "coreml") && target != "tensorrt" && target != "openvino":
			out := qOf(n.Output(0))
			if out == nil {
				continue
			}
			for i, v := range n.Inputs() {
				if dq := dqOf(v); dq != nil && (i == 0 || n.Is("Concat")) && (dq.Input(1) != out.Input(1) || dq.Input(2) != out.Input(2)) {
					bad(n, "operand %d has another scale than the output", i)
				}
			}
		case n.Is("Softmax") && target == "tflite":
			if out := qOf(n.Output(0)); out != nil {
				if s, z, _ := pairParams(t, g, out); s[0] != 1.0/256 || z[0] != -128 {
					bad(n, "its output has scale %v and zero point %d", s[0], z[0])
				}
			}
		}
	}
}

// weightRules: a constant weight is signed, symmetric and as narrow as the kernels want it.
func weightRules(t *testing.T, g *onnx.Graph, dq *onnx.Node, target string) {
	t.Helper()
	w := g.Initializer(dq.Input(0))
	if w == nil {
		return // a product of two activations
	}
	_, z, elem := pairParams(t, g, dq)
	q, err := w.Ints()
	if err != nil {
		t.Fatal(err)
	}
	most := int64(127)
	if target == "onnxruntime-x86" {
		most = 64
	}
	if elem != onnx.Int8 || slices.ContainsFunc(z, func(x int64) bool { return x != 0 }) || slices.Max(q) > most || slices.Min(q) < -most {
		t.Errorf("%s: weight %q is %s from %d to %d with zero points %v", target, w.Name(), elem, slices.Min(q), slices.Max(q), z[:min(len(z), 3)])
	}
}

// biasScale: a bias is S32 on the scale of the product.
func biasScale(t *testing.T, g *onnx.Graph, n, x, w, bias *onnx.Node) {
	t.Helper()
	sx, _, _ := pairParams(t, g, x)
	sw, _, _ := pairParams(t, g, w)
	sb, _, elem := pairParams(t, g, bias)
	if elem != onnx.Int32 || len(sb) != len(sw) {
		t.Errorf("%q: the bias is %s with %d scales for %d of the weight", nodeName(n), elem, len(sb), len(sw))
		return
	}
	for i, s := range sb {
		if d := math.Abs(float64(s) - float64(sx[0])*float64(sw[i])); d > 1e-6*float64(s) {
			t.Errorf("%q: the bias has scale %v, the product %v", nodeName(n), s, sx[0]*sw[i])
			return
		}
	}
}
