package onnxruntime

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// takes is op with several inputs.
func takes(name, kind string, in []string, out string, attrs ...*onnx.Attribute) *onnx.Node {
	return onnx.NewNode(kind, "", name, in, []string{out}, attrs...)
}

// scaled writes a model of x, F32 [first, 2], and a scalar k of a type: y is k plus the number of samples in the run, [N, 1].
func scaled(t *testing.T, first onnx.Dim, elem onnx.DataType) string {
	t.Helper()
	m := onnx.NewModel("test", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{first, {Value: 2}}))
	m.Graph.AddInput(onnx.NewValueInfo("k", elem, []onnx.Dim{}))
	m.Graph.AddInitializer(onnx.NewTensor("one", tensor.Of([]int64{1}, []int64{1})))
	m.Graph.AddInitializer(onnx.NewTensor("zero", floats([]int64{1}, 0)))
	for _, n := range []*onnx.Node{
		takes("sum", "ReduceSum", []string{"x", "one"}, "sum", onnx.IntAttr("keepdims", 1)), // [N, 1]
		takes("none", "Mul", []string{"sum", "zero"}, "none"),
		takes("size", "Shape", []string{"x"}, "size"),
		takes("floats", "Cast", []string{"size"}, "floats", onnx.IntAttr("to", int64(onnx.Float))), // N, 2
		takes("product", "ReduceProd", []string{"floats"}, "product", onnx.IntAttr("keepdims", 0)), // 2·N
		takes("k32", "Cast", []string{"k"}, "k32", onnx.IntAttr("to", int64(onnx.Float))),
		takes("both", "Add", []string{"product", "k32"}, "both"),
		takes("y", "Add", []string{"none", "both"}, "y"),
	} {
		m.Graph.AppendNode(n)
	}
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{first, {Value: 1}}))
	p := filepath.Join(t.TempDir(), "model.onnx")
	if err := m.WriteFile(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestScalarInputs: an input without axes takes the value of the samples in the run, and a batch ends where it changes.
func TestScalarInputs(t *testing.T) {
	free := onnx.ParamDim("N")
	same := tensor.Of([]int64{5}, []int64{100, 100, 100, 100, 100})
	narrow, err := tensor.FromFloat32(tensor.F16, []int64{5}, []float32{0.5, 0.5, 3, 3, 3})
	if err != nil {
		t.Fatal(err)
	}
	mixed := tensor.Of([]int64{5}, []int64{100, 100, 200, 200, 200})
	for _, c := range []struct {
		name  string
		first onnx.Dim
		elem  onnx.DataType
		k     tensor.Tensor
		want  []float32
	}{
		{"the same", free, onnx.Int64, same, []float32{108, 108, 108, 108, 102}},
		{"changes", free, onnx.Int64, mixed, []float32{104, 104, 206, 206, 206}},
		{"changes, four at a time", onnx.Dim{Value: 4}, onnx.Int64, mixed, []float32{108, 108, 208, 208, 208}},
		{"half precision", free, onnx.Float16, floats([]int64{5}, 0.5, 0.5, 3, 3, 3), []float32{4.5, 4.5, 9, 9, 9}},
		{"of another precision", free, onnx.Float, narrow, []float32{4.5, 4.5, 9, 9, 9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, scaled(t, c.first, c.elem))
			data := shards(t, 3, tensor.Named{Name: "x", Tensor: counted(5)}, tensor.Named{Name: "k", Tensor: c.k})
			path := filepath.Join(t.TempDir(), "out.safetensors")
			if n, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: path, Batch: 4}); err != nil || n != 5 {
				t.Fatal(n, err)
			}
			y := written(t, path, "y")
			if got, err := tensor.View[float32](y); err != nil || !slices.Equal(got, c.want) || !slices.Equal(y.Shape, []int64{5, 1}) {
				t.Fatalf("%v %v, want %v", y.Shape, got, c.want)
			}
			if ns, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 4, WarmupRuns: 1}); err != nil || len(ns) != 1 {
				t.Fatal(ns, err)
			}
		})
	}
}

// TestWholeSamples: an input whose axes are those of one sample, as a recurrent state has them, takes one at a time.
func TestWholeSamples(t *testing.T) {
	m := onnx.NewModel("test", 13)
	batch := onnx.ParamDim("N")
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{batch, {Value: 2}}))
	m.Graph.AddInput(onnx.NewValueInfo("h", onnx.Float, []onnx.Dim{{Value: 3}, batch, {Value: 2}}))
	m.Graph.AppendNode(takes("y", "Add", []string{"x", "h"}, "y")) // [3, N, 2]
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 3}, batch, {Value: 2}}))
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	s := load(t, path)
	h := make([]float32, 4*3*2)
	for i := range h {
		h[i] = float32(100 * i)
	}
	data := shards(t, 3, tensor.Named{Name: "x", Tensor: counted(4)}, tensor.Named{Name: "h", Tensor: floats([]int64{4, 3, 1, 2}, h...)})
	out := filepath.Join(t.TempDir(), "out.safetensors")
	if n, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: out, Batch: 4}); err != nil || n != 4 {
		t.Fatal(n, err)
	}
	y := written(t, out, "y")
	got, err := tensor.View[float32](y)
	if err != nil || !slices.Equal(y.Shape, []int64{4, 3, 1, 2}) {
		t.Fatal(y.Shape, err)
	}
	for i, v := range got {
		x := float32(i / 6)
		if i%2 == 1 {
			x = -x
		}
		if v != h[i]+x {
			t.Fatal(i, v)
		}
	}
	if _, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 4})
	says(t, err, "batches of 4", "batch = 1")
}
