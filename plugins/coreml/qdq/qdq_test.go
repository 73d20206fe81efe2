package qdq

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// builder makes a model of one operator between QuantizeLinear and DequantizeLinear.
type builder struct {
	m  *onnx.Model
	r  *rand.Rand
	in map[string]tensor.Tensor
}

func (b *builder) constant(name string, t tensor.Tensor) string {
	b.m.Graph.AddInitializer(onnx.NewTensor(name, t))
	return name
}

func (b *builder) floats(n int, scale float64) []float32 {
	f := make([]float32, n)
	for i := range f {
		f[i] = float32(b.r.NormFloat64() * scale)
	}
	return f
}

func count(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

// feed is an input of the model.
func (b *builder) feed(name string, shape ...int64) string {
	b.in[name] = tensor.Of(shape, b.floats(count(shape), 1))
	b.m.Graph.AddInput(onnx.NewValueInfo(name, onnx.Float, onnx.FixedDims(shape...)))
	return name
}

func (b *builder) node(op string, in, out []string, attrs ...*onnx.Attribute) {
	domain := ""
	if strings.Contains(op, ":") {
		domain, op = "com.microsoft", op[1:]
	}
	b.m.Graph.AppendNode(onnx.NewNode(op, domain, op+"_"+out[0], in, out, attrs...))
}

// scale are scale and zero point: of uint8, or of int8 without a zero point of its own.
func (b *builder) scale(name string, s float32, zero uint8) []string {
	return []string{b.constant(name+"_s", tensor.Of([]int64{}, []float32{s})), b.constant(name+"_z", tensor.Of([]int64{}, []uint8{zero}))}
}

// quantized is an input as uint8 with scale and zero point.
func (b *builder) quantized(name string, shape ...int64) []string {
	p := b.scale(name, 0.025, 120)
	b.node("QuantizeLinear", append([]string{b.feed(name, shape...)}, p...), []string{name + "_q"})
	return append([]string{name + "_q"}, p...)
}

// weight is a constant of int8 with scales.
func (b *builder) weight(name string, scales int, shape ...int64) []string {
	q := make([]int8, count(shape))
	for i := range q {
		q[i] = int8(b.r.IntN(255) - 127)
	}
	s := make([]float32, scales)
	for i := range s {
		s[i] = 0.002 + 0.01*b.r.Float32()
	}
	dims, z := []int64{}, make([]int8, scales)
	if scales > 1 {
		dims = []int64{int64(scales)}
	}
	return []string{b.constant(name, tensor.Of(shape, q)), b.constant(name+"_s", tensor.Of(dims, s)), b.constant(name+"_z", tensor.Of(dims, z))}
}

func (b *builder) output(name string, kind onnx.DataType) {
	b.m.Graph.AddOutput(onnx.NewValueInfo(name, kind, nil))
}

// dequantizedOutput ends the model.
func (b *builder) dequantizedOutput(q string, p []string) {
	b.node("DequantizeLinear", append([]string{q}, p...), []string{"y"})
	b.output("y", onnx.Float)
}

var linear = map[string]func(b *builder){
	"QLinearConv": func(b *builder) {
		in := slices.Concat(b.quantized("x", 1, 4, 9, 9), b.weight("w", 6, 6, 4, 3, 3), b.scale("y", 0.05, 128))
		in = append(in, b.constant("bias", tensor.Of([]int64{6}, []int32{500, -300, 0, 900, 20, -1000})))
		b.node("QLinearConv", in, []string{"yq"}, onnx.IntsAttr("pads", 1, 1, 1, 1))
		b.dequantizedOutput("yq", in[6:8])
	},
	"QLinearConv MaxPool": func(b *builder) {
		in := slices.Concat(b.quantized("x", 1, 4, 9, 9), b.weight("w", 1, 6, 4, 3, 3), b.scale("y", 0.05, 128))
		b.node("QLinearConv", in, []string{"yq"}, onnx.IntsAttr("pads", 1, 1, 1, 1))
		b.node("MaxPool", []string{"yq"}, []string{"p"}, onnx.IntsAttr("kernel_shape", 2, 2))
		b.node("MaxPool", []string{"p"}, []string{"p2"}, onnx.IntsAttr("kernel_shape", 2, 2))
		b.dequantizedOutput("p2", in[6:8])
	},
	"QLinearMatMul": func(b *builder) {
		in := slices.Concat(b.quantized("x", 5, 16), b.weight("w", 8, 16, 8), b.scale("y", 0.05, 128))
		b.node("QLinearMatMul", in, []string{"yq"})
		b.dequantizedOutput("yq", in[6:8])
	},
	":QGemm": func(b *builder) {
		in := slices.Concat(b.quantized("x", 5, 16), b.weight("w", 8, 8, 16), []string{b.constant("bias", tensor.Of([]int64{8}, []int32{1, 200, -300, 400, 0, 6, 7, 8}))}, b.scale("y", 0.05, 128))
		b.node(":QGemm", in, []string{"yq"}, onnx.IntAttr("transB", 1))
		b.dequantizedOutput("yq", in[7:9])
	},
	":QLinearAdd": func(b *builder) {
		in := slices.Concat(b.quantized("a", 3, 5), b.quantized("b", 5), b.scale("y", 0.05, 128))
		b.node(":QLinearAdd", in, []string{"yq"})
		b.dequantizedOutput("yq", in[6:8])
	},
	":QLinearMul": func(b *builder) {
		in := slices.Concat(b.quantized("a", 3, 5), b.quantized("b", 5), b.scale("y", 0.05, 128))
		b.node(":QLinearMul", in, []string{"yq"})
		b.dequantizedOutput("yq", in[6:8])
	},
	":QLinearSigmoid": func(b *builder) {
		in := slices.Concat(b.quantized("a", 3, 5), b.scale("y", 1.0/256, 0))
		b.node(":QLinearSigmoid", in, []string{"yq"})
		b.dequantizedOutput("yq", in[3:5])
	},
	":QLinearLeakyRelu": func(b *builder) {
		in := slices.Concat(b.quantized("a", 3, 5), b.scale("y", 0.02, 90))
		b.node(":QLinearLeakyRelu", in, []string{"yq"}, onnx.FloatAttr("alpha", 0.1))
		b.dequantizedOutput("yq", in[3:5])
	},
	":QLinearAveragePool": func(b *builder) {
		in := slices.Concat(b.quantized("a", 1, 3, 8, 8), b.scale("y", 0.02, 90))
		b.node(":QLinearAveragePool", in, []string{"yq"}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
		b.dequantizedOutput("yq", in[3:5])
	},
	":QLinearGlobalAveragePool": func(b *builder) {
		in := slices.Concat(b.quantized("a", 1, 3, 8, 8), b.scale("y", 0.01, 90))
		b.node(":QLinearGlobalAveragePool", in, []string{"yq"}, onnx.IntAttr("channels_last", 0))
		b.dequantizedOutput("yq", in[3:5])
	},
	":QLinearConcat": func(b *builder) {
		in := slices.Concat(b.scale("y", 0.03, 110), b.quantized("a", 2, 3), b.quantized("b", 2, 4))
		b.node(":QLinearConcat", in, []string{"yq"}, onnx.IntAttr("axis", 1))
		b.dequantizedOutput("yq", in[:2])
	},
	"MatMulInteger": func(b *builder) {
		q, w := b.quantized("x", 5, 16), b.weight("w", 1, 16, 8)
		b.node("MatMulInteger", []string{q[0], w[0], q[2]}, []string{"sum"})
		b.node("Cast", []string{"sum"}, []string{"y"}, onnx.IntAttr("to", int64(onnx.Float)))
		b.output("y", onnx.Float)
	},
	"MatMulInteger dynamic": func(b *builder) { b.dynamic("MatMulInteger", 8, []int64{5, 16}, []int64{16, 8}) },
	"MatMulInteger tensor":  func(b *builder) { b.dynamic("MatMulInteger", 1, []int64{2, 5, 16}, []int64{16, 8}) },
	"ConvInteger dynamic":   func(b *builder) { b.dynamic("ConvInteger", 1, []int64{1, 4, 9, 9}, []int64{6, 4, 3, 3}) },
	":DynamicQuantizeMatMul": func(b *builder) {
		w := b.weight("w", 8, 16, 8)
		bias := b.constant("bias", tensor.Of([]int64{8}, b.floats(8, 1)))
		b.node(":DynamicQuantizeMatMul", []string{b.feed("x", 5, 16), w[0], w[1], w[2], bias}, []string{"y"})
		b.output("y", onnx.Float)
	},
	":DynamicQuantizeLSTM": func(b *builder) {
		w, r := b.weight("w", 1, 1, 8, 16), b.weight("r", 1, 1, 4, 16)
		for _, p := range []string{w[1], w[2], r[1], r[2]} {
			b.m.Graph.Initializer(p).Dims = []int64{1}
		}
		b.node(":DynamicQuantizeLSTM", []string{b.feed("x", 3, 1, 8), w[0], r[0], "", "", "", "", "", w[1], w[2], r[1], r[2]}, []string{"y"}, onnx.IntAttr("hidden_size", 4))
		b.output("y", onnx.Float)
	},
	":MatMulIntegerToFloat": func(b *builder) {
		q, w := b.quantized("x", 5, 16), b.weight("w", 8, 16, 8)
		b.node(":MatMulIntegerToFloat", []string{q[0], w[0], q[1], w[1], q[2], w[2]}, []string{"y"})
		b.output("y", onnx.Float)
	},
}

// dynamic is what tools write that quantize activations as the model runs.
func (b *builder) dynamic(op string, scales int, x, weight []int64) {
	w := b.weight("w", scales, weight...)
	b.node("DynamicQuantizeLinear", []string{b.feed("x", x...)}, []string{"q", "s", "z"})
	b.node(op, []string{"q", w[0], "z", w[2]}, []string{"sum"})
	b.node("Cast", []string{"sum"}, []string{"f"}, onnx.IntAttr("to", int64(onnx.Float)))
	b.node("Mul", []string{"s", w[1]}, []string{"scales"})
	b.node("Mul", []string{"f", "scales"}, []string{"y"})
	b.output("y", onnx.Float)
}

func run(t *testing.T, m *onnx.Model, in map[string]tensor.Tensor) []float32 {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tensor.ToFloat32(out["y"])
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(f)
}

// TestRewrite: what is rewritten gives what ONNX Runtime's kernels of integers give; where an output is rounded to steps a
// few may be one step off.
func TestRewrite(t *testing.T) {
	lib, err := ort.Locate()
	if err == nil {
		err = ort.Load(lib)
	}
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs ONNX Runtime: %s", err)
	}
	for name, build := range linear {
		t.Run(strings.ReplaceAll(name, ":", ""), func(t *testing.T) {
			m := onnx.NewModel("m", 17)
			m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
			b := &builder{m: m, r: rand.New(rand.NewPCG(3, 4)), in: map[string]tensor.Tensor{}} //nolint:gosec // test data
			build(b)
			want := run(t, m, b.in)
			r, err := Rewrite(m)
			if err != nil {
				t.Fatal(err)
			}
			if r.Nodes == 0 {
				t.Error("nothing was rewritten")
			}
			for n := range m.Graph.Nodes() {
				if rules[n.OpType] != nil {
					t.Errorf("%s is left", n.OpType)
				}
			}
			if _, err := onnx.Simplify(m, onnx.SimplifyOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := onnx.Check(m); err != nil {
				t.Fatal(err)
			}
			if err := near(run(t, m, b.in), want, strings.Contains(name, "QLinear") || strings.Contains(name, "QGemm"), strings.Contains(name, "LSTM")); err != nil {
				t.Error(err)
			}
		})
	}
}

func near(got, want []float32, stepped, loose bool) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d numbers, not %d", len(got), len(want))
	}
	most, off := 0.0, 0
	for _, v := range want {
		most = max(most, math.Abs(float64(v)))
	}
	for i, v := range want {
		switch d := math.Abs(float64(got[i] - v)); {
		case d <= 1e-5*most:
		case loose && d < 0.02: // the inputs and states are not rounded any more
		case stepped && d < 0.051:
			off++
		default:
			return fmt.Errorf("number %d is %v, not %v", i, got[i], v)
		}
	}
	if off > len(want)/20+1 {
		return fmt.Errorf("%d of %d are a step off", off, len(want))
	}
	return nil
}
