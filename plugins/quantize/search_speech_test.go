package quantize

import (
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// speechNet is a small detector of speech: convolutions, an LSTM whose state comes in and goes out, and a rate.
func speechNet(t *testing.T) (*builder, map[string]tensor.Tensor) {
	t.Helper()
	b := newBuilder(17)
	b.m.Graph.AddInput(onnx.NewValueInfo("state", onnx.Float, []onnx.Dim{{Value: 2}, onnx.ParamDim("N"), {Value: 16}}))
	b.m.Graph.AddInput(onnx.NewValueInfo("sr", onnx.Int64, []onnx.Dim{}))
	x := b.input("x", 8, 12)
	for i, name := range []string{"c1", "c2", "c3"} {
		in := int64(16)
		if i == 0 {
			in = 8
		}
		x = b.relu(name+".r", b.node("Conv", name, []string{x, b.random(name+".w", 0.3, 16, in, 3), b.random(name+".b", 0.2, 16)}, onnx.IntsAttr("pads", 1, 1)))
	}
	x = b.node("Transpose", "turned", []string{x}, onnx.IntsAttr("perm", 2, 0, 1))
	h := b.node("Slice", "h", []string{"state", b.ints("zero", 0), b.ints("one", 1)})
	c := b.node("Slice", "c", []string{"state", "one", b.ints("two", 2)})
	b.m.Graph.AppendNode(onnx.NewNode("LSTM", "", "lstm", []string{x, b.random("W", 0.3, 1, 64, 16), b.random("R", 0.3, 1, 64, 16), b.random("B", 0.1, 1, 128), "", h, c},
		[]string{"", "yh", "yc"}, onnx.IntAttr("hidden_size", 16)))
	b.output(b.node("Concat", "next", []string{"yh", "yc"}, onnx.IntAttr("axis", 0)))
	rate := b.node("Cast", "rate", []string{"sr"}, onnx.IntAttr("to", int64(onnx.Float)))
	y := b.node("Mul", "scaled", []string{"yh", b.node("Div", "ratio", []string{rate, b.scalar("k", 16000)})})
	b.output(b.node("ReduceMean", "score", []string{y}, onnx.IntsAttr("axes", 0, 2), onnx.IntAttr("keepdims", 0)))
	const n = 12
	rates := make([]int64, n)
	for i := range rates {
		rates[i] = 16000
	}
	return b, map[string]tensor.Tensor{"x": b.noise(1, n, 8, 12), "state": b.noise(0.5, n, 2, 1, 16), "sr": tensor.Of([]int64{n}, rates)}
}

// TestSearchRecurrent: a model with a state and a scalar is calibrated, judged and timed sample by sample, and its LSTM gets
// integers where the engine likes them.
func TestSearchRecurrent(t *testing.T) {
	needRuntime(t)
	if !row(t, "onnxruntime-x86").fits(ThisCPU()) {
		t.Skip("no x86")
	}
	for _, likes := range []bool{true, false} {
		b, fields := speechNet(t)
		data := writeDataset(t, fields)
		c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86", PerChannel: true, Search: "on"}
		r, dir, _ := searched(t, c, &stopwatch{t: t, speed: func(ops map[string]int, m *onnx.Model) float64 {
			switch {
			case ops["DynamicQuantizeLSTM"] > 0 && ops["QuantizeLinear"] > 0 && likes:
				return 2
			case ops["DynamicQuantizeLSTM"] > 0 && !likes:
				return 0.8
			case ops["QuantizeLinear"] > 0:
				return 1.4
			}
			return 1
		}})
		m, err := onnx.ReadFile(filepath.Join(dir, outputFile))
		if err != nil {
			t.Fatal(err)
		}
		facts := r.Facts.(StaticFacts)
		n := counts(m)
		if got := n["DynamicQuantizeLSTM"] == 1; got != likes || n["LSTM"]+n["DynamicQuantizeLSTM"] != 1 || quantizedConvs(m) == 0 {
			t.Errorf("likes %v: the model is %s, layout %s, %s", likes, show(n), facts.Layout, facts.Search)
		}
		if likes && facts.ShareWeightBytes < 0.6 { // the LSTM has half of them
			t.Errorf("%v of the weight bytes are integers", facts.ShareWeightBytes)
		}
		one := map[string]tensor.Tensor{}
		for name, f := range fields {
			v, err := f.Rows(0, 1)
			if err != nil {
				t.Fatal(err)
			}
			if name != "x" {
				v.Shape = v.Shape[1:]
			}
			one[name] = v
		}
		want, got := runModel(t, b.m, one), runModel(t, m, one)
		for name := range want {
			if db := sqnr(want[name], got[name]); !(db > 20) {
				t.Errorf("likes %v: output %s keeps %.1f dB", likes, name, db)
			}
		}
	}
}
