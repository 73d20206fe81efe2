package quantize

import (
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestFlattened: boxes in pixels and scores beside each other would share a scale where everything is integers; both
// survive, what follows them too, and a joint of two that are alike stays in integers.
func TestFlattened(t *testing.T) {
	needRuntime(t)
	for _, far := range []bool{true, false} {
		b := newBuilder(13)
		x := b.relu("r", b.conv("c1", b.input("x", 4, 8, 8), 4, 8))
		boxes, scores := b.conv("boxes", x, 8, 4), b.node("Sigmoid", "scores", []string{b.conv("logits", x, 8, 4)})
		if far {
			boxes = b.node("Mul", "pixels", []string{boxes, b.scalar("size", 200)})
		} else {
			boxes = b.node("Sigmoid", "near", []string{boxes})
		}
		cat := b.node("Concat", "cat", []string{boxes, scores}, onnx.IntAttr("axis", 1))
		b.output(b.node("Transpose", "y", []string{cat}, onnx.IntsAttr("perm", 0, 2, 3, 1)))
		b.shapeOutputs(t)
		in := map[string]tensor.Tensor{"x": b.noise(1, 8, 4, 8, 8)}
		data := writeDataset(t, in)
		m, f := static(t, StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "tflite", PerChannel: true})
		want, got := runModel(t, b.m, in)["y"], runModel(t, m, in)["y"]
		var a, c []float32
		for i := range want {
			if i%8 >= 4 { // the scores
				a, c = append(a, want[i]), append(c, got[i])
			}
		}
		if db := sqnr(a, c); db < 30 {
			t.Errorf("far %v: the scores have %.1f dB", far, db)
		}
		left := strings.Join(f.NodesFloat, "\n")
		if strings.Contains(left, `cat (Concat): its operands would share one scale, on which "scores"`) != far || strings.Contains(left, "y (Transpose)") != far {
			t.Errorf("far %v: left in float:\n%s", far, left)
		}
		obeys(t, m, "tflite")
	}
}

// TestLayers: where everything is integers a MatMul and the bias behind it are one layer, with a bias of 32 bits, and the
// clamp behind that is a part of it too.
func TestLayers(t *testing.T) {
	needRuntime(t)
	for target, want := range map[string][]string{
		"tflite": {"m MatMul(s8 z0, s8/16) float", "a Add(s32/16, float) float", "r Relu(float) Q", "m2 MatMul(s8 z-128, s8/8) float", "a2 Add(float, s32/8) Q"},
		"coreml": {"m MatMul(u8 z128, s8/16) float", "a Add(float, float) float", "r Relu(float) Q", "m2 MatMul(u8 z0, s8/8) float", "a2 Add(float, float) Q"},
	} {
		b := newBuilder(13)
		x := b.node("MatMul", "m", []string{b.input("x", 6, 32), b.random("w", 0.3, 32, 16)})
		x = b.relu("r", b.node("Add", "a", []string{b.random("b", 1, 16), x}))
		x = b.node("MatMul", "m2", []string{x, b.random("w2", 0.3, 16, 8)})
		b.output(b.node("Add", "a2", []string{x, b.random("b2", 1, 1, 1, 8)}))
		in := map[string]tensor.Tensor{"x": b.noise(1, 16, 6, 32)}
		data := writeDataset(t, in)
		m, f := static(t, StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: target, PerChannel: true})
		if got := strings.Join(form(t, m), "; "); got != strings.Join(want, "; ") {
			t.Errorf("%s: %s", target, got)
		}
		if db := sqnrOf(t, b.m, m, in); db < 35 || f.ShareMACs != 1 || len(f.NodesFloat) > 0 {
			t.Errorf("%s: %.1f dB, %+v", target, db, f)
		}
		for _, n := range predict(m.Graph, row(t, target), nil, 1, nil).Nodes {
			if n.Precision != "int8" {
				t.Errorf("%s: foretold: %+v", target, n)
			}
		}
	}
}
