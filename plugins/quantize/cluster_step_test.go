package quantize

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestClusterDigits: for each number of bits the file is as small as it should be, the engine folds every table away and
// runs the very nodes of the original, and the network still reads digits.
func TestClusterDigits(t *testing.T) {
	needRuntime(t)
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 16)})
	original, err := onnx.ReadFile(digits + "digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	plain := counts(engineGraph(t, original))
	five, lastDB := int64(5), -100.0
	for _, c := range []ClusterConfig{
		{Bits: 2}, {Bits: 3}, {Bits: 4}, {Bits: 5}, {Bits: 6}, {Bits: 7}, {Bits: 8}, {Bits: 4, GroupSize: 16}, {Bits: 3, GroupSize: 8}, {Clusters: &five, Bits: 4},
	} {
		c.Model, c.Calibration = digitsModel(), &data
		name := fmt.Sprintf("%d values, groups of %d", c.clusters(), c.GroupSize)
		j, _ := testJob(t)
		r, err := quantizeCluster(t.Context(), j, c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f := r.Facts.(ClusterFacts)
		m, err := onnx.ReadFile(filepath.Join(j.outDir, outputFile))
		if err != nil {
			t.Fatal(err)
		}
		size := m.Size()
		if limit := original.Size()*f.Bits/32 + 34_000; size > limit && c.GroupSize == 0 {
			t.Errorf("%s: %d bytes, at most %d", name, size, limit)
		}
		if g := counts(engineGraph(t, m)); show(g) != show(plain) {
			t.Errorf("%s: the engine runs %s, of the original %s", name, show(g), show(plain))
		}
		p, err := onnx.Palettes(m)
		if err != nil || int64(len(p)) != f.Weights {
			t.Errorf("%s: %d palettes are listed, %d weights were clustered (%v)", name, len(p), f.Weights, err)
		}
		t.Logf("%s: %d bytes, %.1f dB, %s", name, size, f.SQNR, f.WeightSQNR[0])
		if c.GroupSize == 0 && c.Clusters == nil {
			if f.SQNR < lastDB {
				t.Errorf("%s: %.1f dB, with a bit less %.1f", name, f.SQNR, lastDB)
			}
			lastDB = f.SQNR
		}
	}
	if lastDB < 35 {
		t.Errorf("8 bits agree to %.1f dB", lastDB)
	}
}

// TestClusterKinds: weights of every kind of node, and in half precision behind a Cast; all forms compute what the
// tables say, without the engine's folding as with it.
func TestClusterKinds(t *testing.T) {
	needRuntime(t)
	for _, half := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		for _, group := range []int64{0, 8} {
			b := newBuilder(13)
			x := b.input("x", 16, 12)
			h := b.node("MatMul", "h", []string{x, b.random("w", .2, 12, 64)})
			h = b.node("MatMul", "h2", []string{h, b.random("w2", .2, 64, 64)})
			h = b.node("Reshape", "flat", []string{h, b.ints("shape", -1, 64)})
			h = b.node("Gemm", "g", []string{h, b.random("w3", .2, 64, 64)}, onnx.IntAttr("transB", 1))
			// As PyTorch exports a layer: [outputs, inputs], turned round.
			b.m.Graph.AppendNode(onnx.NewNode("Transpose", "", "w4t", []string{b.random("w4", .2, 64, 64)}, []string{"w4t"}))
			h = b.node("MatMul", "turned", []string{h, "w4t"})
			h = b.node("Reshape", "seq", []string{h, b.ints("shape2", 16, -1, 64)})
			b.m.Graph.AppendNode(onnx.NewNode("LSTM", "", "lstm", []string{h, b.random("W", .2, 1, 64, 64), b.random("R", .2, 1, 64, 16)}, []string{"y"}, onnx.IntAttr("hidden_size", 16)))
			b.output("y")
			if half != tensor.F32 { // as engines that compute in float32 want it
				for _, n := range []string{"w", "w2", "w3", "w4", "W", "R"} {
					w := b.m.Graph.Initializer(n)
					v, err := w.Float32s()
					if err != nil {
						t.Fatal(err)
					}
					f, err := tensor.FromFloat32(half, w.Dims, v)
					if err != nil {
						t.Fatal(err)
					}
					b.m.Graph.RemoveInitializer(n)
					b.m.Graph.AddInitializer(onnx.NewTensor(n+"h", f))
					b.m.Graph.PrependNode(onnx.NewNode("Cast", "", n, []string{n + "h"}, []string{n}, onnx.IntAttr("to", int64(onnx.Float))))
				}
			}
			j, _ := testJob(t)
			r, err := quantizeCluster(t.Context(), j, ClusterConfig{Model: writeModel(t, b.m), Bits: 6, GroupSize: group})
			if err != nil {
				t.Fatal(err)
			}
			if f := r.Facts.(ClusterFacts); f.Weights < 4 {
				t.Errorf("%s: %+v", half, f)
			}
			m, err := onnx.ReadFile(filepath.Join(j.outDir, outputFile))
			if err != nil {
				t.Fatal(err)
			}
			if half == tensor.F32 { // a number is one, however many share a byte
				if got, want := onnx.CountParameters(m), onnx.CountParameters(b.m); got != want {
					t.Errorf("group %d: %d parameters, want %d", group, got, want)
				}
			}
			in := map[string]tensor.Tensor{"x": b.noise(1, 2, 16, 12)}
			want, got := runModel(t, b.m, in)["y"], runModel(t, m, in)["y"]
			var s, n float64
			for i := range want {
				d := float64(want[i] - got[i])
				s, n = s+float64(want[i])*float64(want[i]), n+d*d
			}
			if n > s/100 {
				t.Errorf("%s, groups of %d: the noise is %v of %v", half, group, n, s)
			}
		}
	}
}

// TestClusterDeterministic: one thread or many give the same bytes.
func TestClusterDeterministic(t *testing.T) {
	needRuntime(t)
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 8)})
	var first []byte
	for _, threads := range []int{1, 4, 2} {
		j, _ := testJob(t)
		j.threads = threads
		if _, err := quantizeCluster(t.Context(), j, ClusterConfig{Model: digitsModel(), Bits: 4, GroupSize: 8}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(j.outDir, outputFile))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Error("another number of threads gave other bytes")
		}
	}
	// What an element is multiplied with matters: on data the tables differ.
	j, _ := testJob(t)
	if _, err := quantizeCluster(t.Context(), j, ClusterConfig{Model: digitsModel(), Bits: 4, GroupSize: 8, Calibration: &data}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(j.outDir, outputFile)); bytes.Equal(first, b) {
		t.Error("the samples had no influence")
	}
	bad := int64(1)
	if ds := (ClusterConfig{Bits: 9, Clusters: &bad, GroupSize: -1}).Validate(t.Context()); len(ds) != 3 {
		t.Errorf("%v", ds)
	}
}
