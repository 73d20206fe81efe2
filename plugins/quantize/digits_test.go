package quantize

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestDigits is the digit recipe's step: every convolution and every residual addition runs in integers, and the
// network still reads digits.
func TestDigits(t *testing.T) {
	needRuntime(t)
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 64)})
	images := digitImages(t, "mnist-test.npz", 2000)
	labels, err := tensor.View[int64](npz(t, digits+"mnist-test.npz", "label"))
	if err != nil {
		t.Fatal(err)
	}
	original, err := onnx.ReadFile(digits + "digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	top1 := func(m *onnx.Model) float64 {
		logits := runModel(t, m, map[string]tensor.Tensor{"input": images})["logits"]
		hits := 0
		for i, want := range labels {
			best := 0
			for c, v := range logits[10*i : 10*i+10] {
				if v > logits[10*i+best] {
					best = c
				}
			}
			if int64(best) == want {
				hits++
			}
		}
		return float64(hits) / float64(len(labels))
	}
	base := top1(original)
	for _, c := range []struct {
		target     string
		perChannel bool
	}{{"onnxruntime-x86-vnni", true}, {"onnxruntime-x86-vnni", false}, {"onnxruntime-x86", true}} {
		t.Run(fmt.Sprintf("%s per channel %v", c.target, c.perChannel), func(t *testing.T) {
			start := time.Now()
			m, facts := static(t, StaticConfig{Model: digitsModel(), Calibration: &data, Target: c.target, PerChannel: c.perChannel})
			t.Logf("quantized in %v: %+v", time.Since(start).Round(time.Millisecond), facts)
			if got := top1(m); got < base-0.003 {
				t.Errorf("top-1 is %v, of the float model %v", got, base)
			} else {
				t.Logf("top-1 %v, float %v", got, base)
			}
			g := counts(engineGraph(t, m))
			want := map[string]int{"QLinearConv": 9, "QLinearAdd": 3, "QLinearGlobalAveragePool": 1, "QGemm": 1, "QuantizeLinear": 1}
			for op, n := range want {
				if g[op] != n {
					t.Errorf("the engine runs %d %s, want %d; all: %s", g[op], op, n, show(g))
				}
			}
			if g["Conv"]+g["FusedConv"]+g["Relu"]+g["DequantizeLinear"]+g["Add"] != 0 {
				t.Errorf("the engine runs float nodes: %s", show(g))
			}
			if facts.ShareMACs != 1 || facts.ShareWeightBytes < 0.99 || len(facts.NodesFloat) != 0 || facts.Samples != 64 || facts.Target != c.target {
				t.Errorf("facts are %+v", facts)
			}
			b, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > 110_000 {
				t.Errorf("the file has %d bytes", len(b))
			}
		})
	}
}

// TestDeterministic: the same input gives the same bytes, wherever it lies.
func TestDeterministic(t *testing.T) {
	needRuntime(t)
	var first []byte
	for i := range 3 {
		images := digitImages(t, "mnist-train.npz", 64)
		b, err := os.ReadFile(digits + "digits.onnx")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("copy-%d.onnx", i))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		model := digitsModel()
		model.Path = path
		j, _ := testJob(t)
		c := StaticConfig{Model: model, Target: "onnxruntime-x86-vnni", PerChannel: true,
			Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"input": images}))}
		if _, err := quantizeStatic(t.Context(), j, c); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(j.outDir, outputFile))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Fatal("the same input gave other bytes")
		}
	}
}

func BenchmarkDigits(b *testing.B) {
	needRuntime(b)
	data := writeDataset(b, map[string]tensor.Tensor{"input": digitImages(b, "mnist-train.npz", 64)})
	for b.Loop() {
		static(b, StaticConfig{Model: digitsModel(), Calibration: &data, Target: "onnxruntime-x86-vnni", PerChannel: true})
	}
}
