package quantize

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// attentive is a transformer layer with its normalizations in front, as PyTorch writes it: products and biases apart, or
// Gemm; LayerNormalization as one operator or written out. Two channels of what is normalized are large.
func attentive(t testing.TB, whole bool) *builder {
	t.Helper()
	const d, heads = 32, 4
	b := newBuilder(17)
	g := b.m.Graph
	gamma := func(name string) string {
		x := b.noise(0.2, d)
		v, _ := tensor.View[float32](x)
		for i := range v {
			v[i]++
		}
		v[5], v[17] = 60, 25
		g.AddInitializer(onnx.NewTensor(name, x))
		return name
	}
	norm := func(name, x string) string {
		if whole {
			return b.node("LayerNormalization", name, []string{x, gamma(name + ".g"), b.random(name+".b", 0.1, d)}, onnx.IntAttr("axis", -1))
		}
		mean := b.node("ReduceMean", name+".mean", []string{x}, onnx.IntsAttr("axes", -1))
		c := b.node("Sub", name+".c", []string{x, mean})
		sq := b.node("Pow", name+".sq", []string{c, b.scalar(name+".two", 2)})
		vr := b.node("Add", name+".e", []string{b.node("ReduceMean", name+".var", []string{sq}, onnx.IntsAttr("axes", -1)), b.scalar(name+".eps", 1e-5)})
		y := b.node("Mul", name+".m", []string{b.node("Div", name+".div", []string{c, b.node("Sqrt", name+".std", []string{vr})}), gamma(name + ".g")})
		return b.node("Add", name, []string{y, b.random(name+".b", 0.1, d)})
	}
	linear := func(name, x string, in, out int64) string {
		w := b.noise(0.3, in, out)
		if v, _ := tensor.View[float32](w); in == d && !strings.HasSuffix(name, "o") {
			for _, r := range []int64{5, 17} { // a trained net gives such channels small weights
				for i := r * out; i < (r+1)*out; i++ {
					v[i] *= 0.04
				}
			}
		}
		g.AddInitializer(onnx.NewTensor(name+".w", w))
		return b.node("Add", name, []string{b.random(name+".b", 0.1, out), b.node("MatMul", name+".mm", []string{x, name + ".w"})})
	}
	x := b.input("x", 6, d)
	n := norm("ln1", x)
	head := func(name string) string {
		r := b.node("Reshape", name+".r", []string{linear(name, n, d, d), b.ints(name+".s", 0, 0, heads, d/heads)})
		perm := []int64{0, 2, 1, 3}
		if name == "k" {
			perm = []int64{0, 2, 3, 1}
		}
		return b.node("Transpose", name+".t", []string{r}, onnx.IntsAttr("perm", perm...))
	}
	q, k, v := head("q"), head("k"), head("v")
	s := b.node("Softmax", "softmax", []string{b.node("Mul", "scaled", []string{b.node("MatMul", "scores", []string{q, k}), b.scalar("root", 0.35)})}, onnx.IntAttr("axis", -1))
	a := b.node("Transpose", "a.t", []string{b.node("MatMul", "mix", []string{s, v})}, onnx.IntsAttr("perm", 0, 2, 1, 3))
	a = linear("o", b.node("Reshape", "a.r", []string{a, b.ints("a.s", 0, 0, d)}), d, d)
	x = b.node("Add", "res1", []string{x, a})
	f := linear("up", norm("ln2", x), d, 64)
	f = linear("down.o", b.node("Relu", "act", []string{f}), 64, d)
	x = b.node("Add", "res2", []string{x, f})
	b.output(linear("head.o", x, d, 50))
	return b
}

func attentiveData(t testing.TB, b *builder) (sdk.Dataset, map[string]tensor.Tensor) {
	return writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 24, 6, 32)}), map[string]tensor.Tensor{"x": b.noise(1, 40, 6, 32)}
}

// TestTransformer: products with a constant weight are quantized, whatever they are called; attention, additions and the
// product that makes the output stay in float; outliers move into weights, through either form of normalization, and the
// result is nearer to the float model.
func TestTransformer(t *testing.T) {
	needRuntime(t)
	for _, whole := range []bool{true, false} {
		b := attentive(t, whole)
		data, in := attentiveData(t, b)
		c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86-vnni", PerChannel: true}
		c.Smooth = ptr(false)
		plain, _ := static(t, c)
		c.Smooth = nil // where there is data it is on
		m, f := static(t, c)
		before, after := sqnrOf(t, b.m, plain, in), sqnrOf(t, b.m, m, in)
		t.Logf("%.2f dB, plain %.2f; %+v", after, before, *f.Smooth)
		if after < before+6 || !f.Smooth.Used || len(f.Smooth.Inputs) != 2 {
			t.Errorf("%.2f dB, plain %.2f; %+v", after, before, *f.Smooth)
		}
		for _, s := range f.Smooth.Inputs {
			if !strings.Contains(s, "channel 5 is ") || !strings.Contains(s, "folded into ln") {
				t.Errorf("input %q", s)
			}
		}
		g := counts(engineGraph(t, m))
		if n := g["MatMulIntegerToFloat"] + g["DynamicQuantizeMatMul"] + g["QLinearMatMul"]; n != 6 || g["QLinearAdd"] != 0 || g["QLinearSoftmax"] != 0 {
			t.Errorf("the engine runs %s", show(g))
		}
		kept := strings.Join(f.NodesFloat, "\n")
		for _, want := range []string{"scores (MatMul)", "mix (MatMul)", "head.o.mm (MatMul): it makes the model's output"} {
			if !strings.Contains(kept, want) {
				t.Errorf("%q is not among what stays in float:\n%s", want, kept)
			}
		}
		// The arguments that take more.
		c.Also = []string{alsoAttention, alsoOutput, alsoElementals}
		_, f = static(t, c)
		for _, n := range f.NodesFloat {
			if strings.Contains(n, "(MatMul)") {
				t.Errorf("still in float: %s", n)
			}
		}
		if f.ShareMACs != 1 {
			t.Errorf("share of MACs %v", f.ShareMACs)
		}
	}
}

// TestDynamicSmooth: with data, outliers move before activations get their scales at run time; without, nothing is run.
func TestDynamicSmooth(t *testing.T) {
	needRuntime(t)
	b := attentive(t, false)
	data, in := attentiveData(t, b)
	c := DynamicConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86-vnni", PerChannel: true, Embeddings: true}
	dynamic := func() (*onnx.Model, Facts) {
		j, _ := testJob(t)
		r, err := quantizeDynamic(t.Context(), j, c)
		if err != nil {
			t.Fatal(err)
		}
		m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
		if err != nil {
			t.Fatal(err)
		}
		return m, r.Facts.(Facts)
	}
	plain, f := dynamic()
	if f.Smooth != nil {
		t.Errorf("without data: %+v", f.Smooth)
	}
	c.Calibration = &data
	m, f := dynamic()
	before, after := sqnrOf(t, b.m, plain, in), sqnrOf(t, b.m, m, in)
	t.Logf("%.2f dB, plain %.2f; %+v", after, before, f.Smooth)
	if len(f.Smooth) != 3 || !strings.HasSuffix(f.Smooth[0], "so it is used") || after < before+3 {
		t.Errorf("%.2f dB, plain %.2f; %+v", after, before, f.Smooth)
	}
	if x, y := counts(plain), counts(m); x["MatMulInteger"] != y["MatMulInteger"] || f.ShareWeightBytes < 0.9 {
		t.Errorf("%s became %s; %+v", show(x), show(y), f)
	}
}

// TestMiniLM quantizes a real encoder, whose normalizations stand behind the additions.
func TestMiniLM(t *testing.T) {
	path := os.Getenv("OPTIMIZE_MINILM")
	if path == "" {
		t.Skip("OPTIMIZE_MINILM names no model")
	}
	needRuntime(t)
	const tokens = 32
	ids := func(n, seed int64) map[string]tensor.Tensor {
		v, mask := make([]int64, n*tokens), make([]int64, n*tokens)
		s := uint32(seed)
		for i := range v {
			s = s*1664525 + 1013904223
			v[i], mask[i] = 1000+int64(s>>8)%20000, 1
			switch i % tokens {
			case 0:
				v[i] = 101
			case tokens - 1:
				v[i] = 102
			}
		}
		shape := []int64{n, tokens}
		return map[string]tensor.Tensor{"input_ids": tensor.Of(shape, v), "attention_mask": tensor.Of(shape, mask)}
	}
	data := writeDataset(t, ids(32, 1))
	in := ids(64, 2)
	float, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := runModel(t, float, in)
	name := "" // the sentence's vector: the output with one of 384 numbers
	for n, v := range all {
		if len(v) == 64*384 && !slices.Equal(v[:384], v[384:768]) {
			name = n
		}
	}
	want := all[name]
	for _, c := range []struct {
		what   string
		config StaticConfig
	}{
		{"plain", StaticConfig{Smooth: ptr(false)}},
		{"plain, tables in float", StaticConfig{Smooth: ptr(false), KeepFloat: []string{"*embeddings/Gather*"}}},
		{"smooth", StaticConfig{}},
		{"smooth, gptq", StaticConfig{Rounding: roundGPTQ}},
		{"elementwise too", StaticConfig{Smooth: ptr(false), Also: []string{alsoElementals}}},
		{"attention too", StaticConfig{Smooth: ptr(false), Also: []string{alsoAttention}}},
		{"embeddings too", StaticConfig{Also: []string{alsoEmbeddings}}},
	} {
		c.config.Model = sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}
		c.config.Calibration, c.config.Target, c.config.PerChannel = &data, "onnxruntime-x86-vnni", true
		m, f := static(t, c.config)
		mean, worst := cosines(want, runModel(t, m, in)[name], len(want)/64)
		b, _ := m.Marshal()
		t.Logf("%s: cosine %.5f, worst %.5f, %.1f MB, MACs %.3f, weights %.3f", c.what, mean, worst, float64(len(b))/1e6, f.ShareMACs, f.ShareWeightBytes)
		if f.Smooth != nil {
			t.Logf("  %s", strings.Join(f.Smooth.Inputs, "\n  "))
			t.Logf("  smooth %.2f dB, plain %.2f, used %v", f.Smooth.SQNRSmooth, f.Smooth.SQNRPlain, f.Smooth.Used)
		}
		if mean < 0.9 {
			t.Errorf("%s: cosine %v", c.what, mean)
		}
	}
}

// cosines are those of rows of two outputs: the mean and the smallest.
func cosines(a, b []float32, row int) (mean, worst float64) {
	worst = 1
	for i := 0; i < len(a); i += row {
		var ab, aa, bb float64
		for j := i; j < i+row; j++ {
			x, y := float64(a[j]), float64(b[j])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		c := ab / math.Sqrt(aa*bb)
		mean += c
		worst = min(worst, c)
	}
	return mean / float64(len(a)/row), worst
}
