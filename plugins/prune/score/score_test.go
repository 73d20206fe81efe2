package score

import (
	"math"
	"testing"

	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
)

// layers is x → Conv of three filters → BatchNormalization → Conv, with numbers that can be followed by hand.
func layers(t *testing.T) *groups.Analysis {
	t.Helper()
	m := onnx.NewModel("layers", 13)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(1, 2, 3, 3)))
	g.AddInitializer(onnx.NewFloats("a", []float32{1, 0, 0, 2, 3, -4}, 3, 2, 1, 1)) // squares 1, 4, 25
	g.AddInitializer(onnx.NewFloats("gamma", []float32{2, -1, 1}, 3))
	g.AddInitializer(onnx.NewFloats("beta", []float32{0, 0, 0}, 3))
	g.AddInitializer(onnx.NewFloats("mean", []float32{0, 0, 1}, 3))
	g.AddInitializer(onnx.NewFloats("variance", []float32{1, 1, 4}, 3))
	g.AddInitializer(onnx.NewFloats("b", []float32{1, 2, 3, 0, 0, 1}, 2, 3, 1, 1)) // by input: squares 1, 4, 10
	g.AppendNode(onnx.NewNode("Conv", "", "first", []string{"x", "a"}, []string{"h"}))
	g.AppendNode(onnx.NewNode("BatchNormalization", "", "norm", []string{"h", "gamma", "beta", "mean", "variance"}, []string{"n"}, onnx.FloatAttr("epsilon", 0)))
	g.AppendNode(onnx.NewNode("Conv", "", "second", []string{"n", "b"}, []string{"y"}))
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, onnx.FixedDims(1, 2, 3, 3)))
	a, err := groups.Analyze(m, groups.Options{})
	if err != nil || len(a.Groups) != 1 || len(a.Groups[0].Units) != 3 {
		t.Fatal(err, a.Groups)
	}
	return a
}

// TestScores computes each method by hand. A mean of 1 is taken out of the expected numbers too.
func TestScores(t *testing.T) {
	norm := func(x ...float64) []float64 { toMean(x); return x }
	// The normalization scales the squares of the filters by gamma²/variance: 4, 1 and 1/4.
	squares := []float64{1*4 + 1, 4*1 + 4, 25.0/4 + 10}
	root := math.Sqrt
	for method, want := range map[string][]float64{
		L2:             norm(squares...),
		L1:             norm(1*2+1, 2*1+2, 7.0/2+4),
		BatchNormScale: norm(2, 1, 1),
		LAMP:           {squares[0] / (squares[0] + squares[1] + squares[2]), squares[1] / (squares[1] + squares[2]), 1},
		// Filters as scaled: (2, 0), (0, 2), (1.5, -2).
		FPGM:       norm(root(8)+root(4.25), root(8)+root(2.25+16), root(4.25)+root(2.25+16)),
		Activation: norm(3*1, 2*4, 1*10),
	} {
		r, err := Of(layers(t), Options{Method: method, Threads: 2, Gemm: solve.Plain{Threads: 1}, Energy: map[Axis][]float64{{"n", 1}: {3, 2, 1}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range r.Of {
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-5 {
					t.Errorf("%s: %v, want %v", method, got, want)
					break
				}
			}
		}
		if len(r.Of) != 1 {
			t.Errorf("%s: %d groups have scores: %v", method, len(r.Of), r.Skipped)
		}
	}
}

// TestRandomScores depend on the seed alone.
func TestRandomScores(t *testing.T) {
	var all [3][]float64
	for i, seed := range []uint64{1, 1, 2} {
		r, err := Of(layers(t), Options{Method: Random, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Of {
			all[i] = x
		}
	}
	if all[0][0] != all[1][0] || all[0][0] == all[2][0] {
		t.Error(all)
	}
}

// TestNoNumbers names the group whose weights are none.
func TestNoNumbers(t *testing.T) {
	a := layers(t)
	x, _ := a.Groups[0].Uses[0].Constant.Float32s()
	x[0] = float32(math.NaN())
	if _, err := Of(a, Options{Method: L2, Threads: 1}); err == nil {
		t.Error("a NaN passed")
	}
	if _, err := Of(a, Options{Method: "best"}); err == nil {
		t.Error("an unknown method passed")
	}
}
