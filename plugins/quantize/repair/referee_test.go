package repair

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
)

// TestReferee lets numpy judge the codes and the scales. OPTIMIZE_REFEREE_PYTHON names a Python that has it.
func TestReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	type layer struct {
		W        [][]float32 `json:"w"`
		H        [][]float32 `json:"h"`
		Scales   []float32   `json:"scales"`
		QMax     float32     `json:"qmax"`
		GPTQ     [][]int8    `json:"gptq"`
		AdaRound [][]int8    `json:"adaround"`
	}
	type pair struct {
		W1 [][]float32 `json:"w1"`
		W2 [][]float32 `json:"w2"`
		V1 [][]float32 `json:"v1"`
		V2 [][]float32 `json:"v2"`
	}
	var job struct {
		Layers []layer `json:"layers"`
		Pairs  []pair  `json:"pairs"`
	}
	for i, c := range []struct{ n, k, bits int }{{8, 32, 8}, {16, 64, 7}, {8, 150, 8}, {24, 40, 4}} {
		l := random(uint64(i), 1, c.n, c.k, 4*c.k, c.bits)
		g, err := l.GPTQ(solve.Plain{Threads: 2}, 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.AdaRound(t.Context(), solve.Plain{Threads: 2}, AdaRoundOptions{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		job.Layers = append(job.Layers, layer{rows(l.W, c.k), rows(l.Gram, c.k), l.Scales, l.QMax, rows(g, c.k), rows(a, c.k)})
	}
	m := onnx.NewModel("pair", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 6)))
	w1, w2 := random(1, 1, 10, 6, 3, 8).W, random(2, 1, 5, 10, 3, 8).W
	for i := range w1 {
		w1[i] *= float32(math.Exp(float64(i / 6 % 4)))
	}
	m.Graph.AddInitializer(onnx.NewFloats("a.w", w1, 10, 6))
	m.Graph.AddInitializer(onnx.NewFloats("b.w", w2, 5, 10))
	m.Graph.AppendNode(onnx.NewNode("Gemm", "", "a", []string{"x", "a.w"}, []string{"a"}, onnx.IntAttr("transB", 1)))
	m.Graph.AppendNode(onnx.NewNode("Relu", "", "r", []string{"a"}, []string{"r"}))
	m.Graph.AppendNode(onnx.NewNode("Gemm", "", "b", []string{"r", "b.w"}, []string{"b"}, onnx.IntAttr("transB", 1)))
	m.Graph.AddOutput(onnx.NewValueInfo("b", onnx.Float, nil))
	if _, err := FindPairs(m).Equalize(nil); err != nil {
		t.Fatal(err)
	}
	v1, err := m.Graph.Initializer("a.w").Float32s()
	if err != nil {
		t.Fatal(err)
	}
	v2, err := m.Graph.Initializer("b.w").Float32s()
	if err != nil {
		t.Fatal(err)
	}
	job.Pairs = append(job.Pairs, pair{rows(w1, 6), rows(w2, 10), rows(v1, 6), rows(v2, 10)})
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "job.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "testdata/referee.py", path).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func rows[T any](v []T, k int) [][]T { return slices.Collect(slices.Chunk(v, k)) }

// TestGolden compares with what the referee's GPTQ gave for a fixed layer.
func TestGolden(t *testing.T) {
	l := &Layer{Groups: 1, N: 2, K: 4, QMin: -7, QMax: 7, Scales: []float32{0.125, 0.25}, Rows: 8, Sum: make([]float64, 4),
		W:    []float32{0.30, -0.45, 0.82, 0.07, -1.10, 0.62, 0.36, 1.66},
		Gram: []float32{8, 6, 5, 1, 6, 9, 4, 2, 5, 4, 7, 3, 1, 2, 3, 6}}
	got, err := l.GPTQ(solve.Plain{Threads: 1}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int8{2, -3, 7, 0, -4, 2, 1, 7}; !slices.Equal(got, want) {
		t.Errorf("codes %v, numpy has %v", got, want)
	}
}
