package quantize

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// sqnrOf is that of a model's first output against another's, in dB.
func sqnrOf(t testing.TB, float, m *onnx.Model, in map[string]tensor.Tensor) float64 {
	t.Helper()
	name := float.Graph.Outputs()[0].Name()
	a, b := runModel(t, float, in)[name], runModel(t, m, in)[name]
	var noise, signal float64
	for i, x := range a {
		d := float64(x) - float64(b[i])
		noise += d * d
		signal += float64(x) * float64(x)
	}
	return 10 * math.Log10(signal/noise)
}

// TestRepairDigits: each way to repair weights makes the error of the layers smaller, the engine still runs the whole
// network in integers, and the outputs come nearer to those of the float model. Scales of the whole weight and 7 bits
// leave something to repair.
func TestRepairDigits(t *testing.T) {
	needRuntime(t)
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 16)})
	in := map[string]tensor.Tensor{"input": digitImages(t, "mnist-test.npz", 100)}
	float, err := onnx.ReadFile(digits + "digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	base := StaticConfig{Model: digitsModel(), Calibration: &data, Target: "onnxruntime-x86"}
	var plain float64
	for _, c := range []struct {
		name   string
		change func(*StaticConfig)
		share  float64 // of the mean error of plain rounding, at most
		gain   float64 // dB at the outputs, at least
	}{
		{"plain", func(*StaticConfig) {}, 1, 0},
		{"bias_correction", func(c *StaticConfig) { c.BiasCorrection = ptr(true) }, 0.9, -1},
		{"gptq", func(c *StaticConfig) { c.Rounding = roundGPTQ }, 0.5, 0.5},
		{"adaround", func(c *StaticConfig) { c.Rounding = roundAdaRound }, 0.4, 0.5},
		{"equalize", func(c *StaticConfig) { c.Equalize = true }, 1, 0}, // it does not pay here, so it is left out
		{"all", func(c *StaticConfig) { c.Equalize, c.BiasCorrection, c.Rounding = true, ptr(true), roundGPTQ }, 0.5, 0.5},
	} {
		cfg := base
		c.change(&cfg)
		m, f := static(t, cfg)
		got := sqnrOf(t, float, m, in)
		if c.name == "plain" {
			plain = got
			t.Logf("plain: %.2f dB", got)
			continue
		}
		t.Logf("%s: %.2f dB, %s", c.name, got, fmt.Sprintf("error %.3g of %.3g", f.Repair.Error, f.Repair.ErrorNearest))
		if got < plain+c.gain {
			t.Errorf("%s: %.2f dB at the outputs, plain rounding has %.2f", c.name, got, plain)
		}
		if f.Repair.Error > c.share*f.Repair.ErrorNearest {
			t.Errorf("%s: error of the layers %v, with plain rounding %v", c.name, f.Repair.Error, f.Repair.ErrorNearest)
		}
		if len(f.Repair.Equalized) != 0 || cfg.Equalize != (f.Repair.SQNRPlain > 0) || c.name != "equalize" && len(f.Repair.Layers) != 10 {
			t.Errorf("%s: %+v", c.name, f.Repair)
		}
		if g := counts(engineGraph(t, m)); g["QLinearConv"] != 9 || g["QGemm"] != 1 {
			t.Errorf("%s: the engine runs %s", c.name, show(g))
		}
	}
}

// TestRepairProducts: MatMul, Gemm both ways round, with factors and with no bias, and grouped convolutions: the codes end
// up where they belong.
func TestRepairProducts(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 8, 6, 6)
	x = b.relu("g.relu", b.node("Conv", "g", []string{x, b.random("g.w", 0.5, 12, 4, 3, 3)}, onnx.IntAttr("group", 2), onnx.IntsAttr("pads", 1, 1, 1, 1)))
	x = b.relu("dw.relu", b.node("Conv", "dw", []string{x, b.random("dw.w", 0.5, 12, 1, 3, 3), b.random("dw.b", 1, 12)}, onnx.IntAttr("group", 12)))
	x = b.node("Flatten", "flat", []string{x})
	x = b.relu("fc.relu", b.node("Gemm", "fc", []string{x, b.random("fc.w", 0.2, 192, 24), b.random("fc.b", 1, 24)}, onnx.FloatAttr("alpha", 0.5), onnx.FloatAttr("beta", 2)))
	x = b.relu("mm.relu", b.node("MatMul", "mm", []string{x, b.random("mm.w", 0.3, 24, 20)}))
	b.output(b.node("Gemm", "out", []string{x, b.random("out.w", 0.3, 7, 20)}, onnx.IntAttr("transB", 1)))
	data := writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 48, 8, 6, 6)})
	in := map[string]tensor.Tensor{"x": b.noise(1, 64, 8, 6, 6)}
	plainCfg := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86", PerChannel: true}
	plain, _ := static(t, plainCfg)
	before := sqnrOf(t, b.m, plain, in)
	for _, rounding := range []string{roundGPTQ, roundAdaRound} {
		cfg := plainCfg
		cfg.Rounding, cfg.BiasCorrection = rounding, ptr(true)
		m, f := static(t, cfg)
		after := sqnrOf(t, b.m, m, in)
		t.Logf("%s: %.2f dB, plain %.2f; %v", rounding, after, before, f.Repair.Layers)
		if after < before || len(f.Repair.Layers) != 5 {
			t.Errorf("%s: %.2f dB, plain %.2f", rounding, after, before)
		}
		// A convolution that had no bias has one now.
		if rounding == roundGPTQ {
			for n := range m.Graph.Nodes() {
				if n.Name == "g" && n.Input(2) == "" {
					t.Error("the bias is not corrected")
				}
			}
		}
	}
}

// TestEqualizePays: where the channels of a depthwise net differ by orders of magnitude, one scale for a whole weight
// leaves little of it, and equalized channels bring it back.
func TestEqualizePays(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	// A balanced net whose channels were scaled: up in one layer and down in the next.
	uneven := func(name string, sign float64, dims ...int64) string {
		x := b.noise(0.5, dims...)
		v, _ := tensor.View[float32](x)
		for i := range v {
			c := float64(i / (len(v) / int(dims[0])))
			v[i] *= float32(math.Exp(sign * 2.5 * math.Sin(3*c)))
		}
		b.m.Graph.AddInitializer(onnx.NewTensor(name, x))
		return name
	}
	x := b.input("x", 4, 8, 8)
	x = b.relu("a.relu", b.node("Conv", "a", []string{x, uneven("a.w", 1, 16, 4, 3, 3)}, onnx.IntsAttr("pads", 1, 1, 1, 1)))
	x = b.relu("dw.relu", b.node("Conv", "dw", []string{x, uneven("dw.w", -1, 16, 1, 3, 3)}, onnx.IntAttr("group", 16), onnx.IntsAttr("pads", 1, 1, 1, 1)))
	b.output(b.node("Conv", "pw", []string{x, b.random("pw.w", 0.5, 6, 16, 1, 1)}))
	data := writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 32, 4, 8, 8)})
	in := map[string]tensor.Tensor{"x": b.noise(1, 32, 4, 8, 8)}
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86"}
	plain, _ := static(t, c)
	c.Equalize = true
	m, f := static(t, c)
	before, after := sqnrOf(t, b.m, plain, in), sqnrOf(t, b.m, m, in)
	t.Logf("%.2f dB, plain %.2f; %+v", after, before, *f.Repair)
	if after < before+3 || len(f.Repair.Equalized) != 2 || !(f.Repair.SQNREqual > f.Repair.SQNRPlain) {
		t.Errorf("%.2f dB, plain %.2f; %+v", after, before, *f.Repair)
	}
}

// TestBiasBehindMatMul: what an Add behind a MatMul adds is corrected, whichever operand it is and whether the Add is
// quantized (tflite) or not; one that another node shares keeps its own. Activations with a mean far from zero are what it pays
// for.
func TestBiasBehindMatMul(t *testing.T) {
	needRuntime(t)
	// Where everything is rounded to 8 bits, that is most of what is seen at the outputs.
	for target, gain := range map[string]float64{"onnxruntime-x86": 1, "tflite": -1} {
		b := newBuilder(13)
		x := b.relu("r", b.input("x", 4, 48))
		x = b.node("Add", "a1", []string{b.node("MatMul", "m1", []string{x, b.random("w1", 0.2, 48, 32)}), b.random("b", 1, 32)})
		x = b.node("Add", "a2", []string{"b", b.node("MatMul", "m2", []string{b.relu("r2", x), b.random("w2", 0.2, 32, 32)})})
		b.output(b.node("MatMul", "m3", []string{b.relu("r3", x), b.random("w3", 0.2, 32, 8)})) // no bias: as it is
		b.shapeOutputs(t)
		lift := func(n int64) map[string]tensor.Tensor {
			v := b.noise(1, n, 4, 48)
			f, _ := tensor.View[float32](v)
			for i := range f {
				f[i] += 2
			}
			return map[string]tensor.Tensor{"x": v}
		}
		data, in := writeDataset(t, lift(48)), lift(64)
		c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: target, Smooth: ptr(false)}
		plain, _ := static(t, c)
		c.BiasCorrection = ptr(true)
		m, f := static(t, c)
		before, after := sqnrOf(t, b.m, plain, in), sqnrOf(t, b.m, m, in)
		t.Logf("%s: %.2f dB, plain %.2f; %v", target, after, before, f.Repair.Layers)
		if after < before+gain || !(f.Repair.Error < 0.8*f.Repair.ErrorNearest) {
			t.Errorf("%s: %.2f dB, plain %.2f; %+v", target, after, before, f.Repair)
		}
		if n, o := m.Graph.NumNodes(), plain.Graph.NumNodes(); n != o {
			t.Errorf("%s: %d nodes, without correction %d", target, n, o)
		}
	}
}

func TestRepairNeedsData(t *testing.T) {
	ranges := &sdk.Artifact{Path: "r"}
	for arg, c := range map[string]StaticConfig{
		"equalize":        {Ranges: ranges, Equalize: true},
		"rounding":        {Ranges: ranges, Rounding: roundGPTQ},
		"bias_correction": {Ranges: ranges, Rounding: roundNearest, BiasCorrection: ptr(true)},
	} {
		if ds := c.planRepair(); len(ds) != 1 || ds[0].Path[0] != arg {
			t.Errorf("%s: %+v", arg, ds)
		}
		j, _ := testJob(t)
		c.Model, c.Target = digitsModel(), "onnxruntime-x86"
		var d sdk.Diagnostic
		if _, err := quantizeStatic(t.Context(), j, c); !errors.As(err, &d) || d.Path[0] != arg {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
