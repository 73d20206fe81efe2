package quantize

import (
	"math"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestMeanBias: for OpenVINO biases are corrected unasked, from means alone, to what the sums of all products give too, of
// convolutions of each kind and of a Gemm; the outputs come nearer to the float model's.
func TestMeanBias(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 8, 9, 10)
	x = b.relu("g.relu", b.node("Conv", "g", []string{x, b.random("g.w", 0.5, 12, 4, 3, 3)}, onnx.IntAttr("group", 2), onnx.IntsAttr("pads", 1, 0, 1, 2)))
	x = b.relu("dw.relu", b.node("Conv", "dw", []string{x, b.random("dw.w", 0.5, 12, 1, 3, 3), b.random("dw.b", 1, 12)}, onnx.IntAttr("group", 12), onnx.StringAttr("auto_pad", "SAME_UPPER"), onnx.IntsAttr("strides", 2, 2)))
	x = b.relu("low.relu", b.node("Conv", "low", []string{x, b.random("low.w", 0.4, 6, 12, 2, 2)}, onnx.StringAttr("auto_pad", "SAME_LOWER")))
	x = b.relu("valid.relu", b.node("Conv", "valid", []string{x, b.random("valid.w", 0.4, 6, 6, 2, 2)}, onnx.StringAttr("auto_pad", "VALID"), onnx.IntsAttr("dilations", 2, 1)))
	x = b.node("GlobalAveragePool", "pool", []string{x})
	x = b.node("Flatten", "flat", []string{x})
	b.output(b.node("Gemm", "fc", []string{x, b.random("fc.w", 0.2, 6, 5), b.random("fc.b", 1, 5)}, onnx.FloatAttr("alpha", 0.5), onnx.FloatAttr("beta", 2)))
	lift := func(n int64) map[string]tensor.Tensor {
		v := b.noise(1, n, 8, 9, 10)
		f, _ := tensor.View[float32](v)
		for i := range f {
			f[i] += 2
		}
		return map[string]tensor.Tensor{"x": v}
	}
	data, in := writeDataset(t, lift(16)), lift(64)
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "openvino", PerChannel: true}
	means, f := static(t, c)
	if f.BiasesCorrected != 5 || f.Repair != nil {
		t.Errorf("%d biases are corrected, repair %+v", f.BiasesCorrected, f.Repair)
	}
	c.BiasCorrection = ptr(true)
	sums, f := static(t, c)
	if f.BiasesCorrected != 0 || len(f.Repair.Layers) != 5 {
		t.Errorf("%d biases are corrected, repair %+v", f.BiasesCorrected, f.Repair)
	}
	c.BiasCorrection = ptr(false)
	plain, f := static(t, c)
	if f.BiasesCorrected != 0 || f.Repair != nil {
		t.Errorf("%d biases are corrected, repair %+v", f.BiasesCorrected, f.Repair)
	}
	for _, layer := range []string{"g", "dw", "low", "valid", "fc"} {
		got, want, off := biasOf(t, means, layer), biasOf(t, sums, layer), biasOf(t, plain, layer)
		moved := 0.0
		for i, v := range want {
			old := 0.0
			if off != nil {
				old = float64(off[i])
			}
			moved = max(moved, math.Abs(float64(v)-old))
			if d := math.Abs(float64(got[i]) - float64(v)); d > 1e-4*math.Abs(float64(v))+1e-5 {
				t.Errorf("%s: bias %d is %v, from sums of products %v", layer, i, got[i], v)
			}
		}
		if moved < 1e-4 {
			t.Errorf("%s: the bias moved by %v alone", layer, moved)
		}
	}
	before, after := sqnrOf(t, b.m, plain, in), sqnrOf(t, b.m, means, in)
	t.Logf("%.2f dB, plain %.2f", after, before)
	if after < before+1 {
		t.Errorf("%.2f dB, plain %.2f", after, before)
	}
	c.BiasCorrection, c.Target = nil, "onnxruntime-x86"
	if _, f := static(t, c); f.BiasesCorrected != 0 {
		t.Error("biases are corrected for another target")
	}
}

// biasOf is the constant that a layer adds; nil when there is none.
func biasOf(t *testing.T, m *onnx.Model, node string) []float32 {
	t.Helper()
	n := m.Graph.NodeByName(node)
	c := m.Graph.Initializer(n.Input(2))
	if c == nil {
		return nil
	}
	v, err := c.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}
