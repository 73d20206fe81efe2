package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

func TestPluginIsWellFormed(t *testing.T) {
	d, err := Plugin("0.1.0").Describe()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.GetFormats()) != 1 || !d.GetFormats()[0].GetNative() || !d.GetFormats()[0].GetInspects() || len(d.GetSteps()) != 2 || d.GetSteps()[0].GetName() != "onnxruntime_simplify" || d.GetSteps()[1].GetName() != "onnxruntime_rewrite" {
		t.Fatal(d)
	}
}

func TestDigitsArePredicted(t *testing.T) {
	s := load(t, recipe(t, "digits.onnx"))
	const n = 2000
	images, labels := digitImages(t, n)
	data := shards(t, 700, tensor.Named{Name: "input", Tensor: images})
	first := ""
	for _, batch := range []int64{1, 64, 300, 5000} {
		path := filepath.Join(t.TempDir(), "out.safetensors")
		samples, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: path, Batch: batch})
		if err != nil || samples != n {
			t.Fatal(samples, err)
		}
		logits := written(t, path, "logits")
		if logits.DType != tensor.F32 || !slices.Equal(logits.Shape, []int64{n, 10}) {
			t.Fatal(logits.DType, logits.Shape)
		}
		x, err := tensor.View[float32](logits)
		if err != nil {
			t.Fatal(err)
		}
		right := 0
		for i := range n {
			row := x[10*i : 10*i+10]
			if int64(slices.Index(row, slices.Max(row))) == int64At(labels, i) {
				right++
			}
		}
		if right != 1964 { // 0.982
			t.Errorf("batch %d: %d of %d right", batch, right, n)
		}
		if batch == 64 {
			first = string(logits.Data)
			if _, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: path, Batch: batch, Names: []string{"logits"}}); err != nil {
				t.Fatal(err)
			}
			if string(written(t, path, "logits").Data) != first {
				t.Error("the same run gave other bytes")
			}
		}
	}
}

func TestPredictShapes(t *testing.T) {
	half := op("Cast", "x", "y", onnx.IntAttr("to", 10))
	sum := op("ReduceSum", "x", "y", onnx.IntAttr("keepdims", 0))
	axis0 := op("Squeeze", "x", "y")
	n := onnx.ParamDim("N")
	relu := op("Relu", "x", "y")
	for _, c := range []struct {
		name  string
		first onnx.Dim
		out   *onnx.ValueInfo
		node  *onnx.Node
		dtype tensor.DType
		shape []int64
		want  func(i int) []float32
	}{
		{"free batch", n, onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{n, {Value: 2}}), relu, tensor.F32, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), 0} }},
		{"batch of one", onnx.Dim{Value: 1}, onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 2}}), relu, tensor.F32, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), 0} }},
		{"batch of three", onnx.Dim{Value: 3}, onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 3}, {Value: 2}}), relu, tensor.F32, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), 0} }},
		{"batch larger than the dataset", onnx.Dim{Value: 8}, onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 8}, {Value: 2}}), relu, tensor.F32, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), 0} }},
		{"half", n, onnx.NewValueInfo("y", onnx.Float16, []onnx.Dim{n, {Value: 2}}), half, tensor.F16, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), -float32(i)} }},
		{"half, nothing stated", n, onnx.NewValueInfo("y", onnx.Float16, nil), half, tensor.F16, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), -float32(i)} }},
		{"scalar of one sample", onnx.Dim{Value: 1}, onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{}), sum, tensor.F32, []int64{5}, func(int) []float32 { return []float32{0} }},
		{"scalar of a batch goes sample by sample", n, onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{}), sum, tensor.F32, []int64{5}, func(int) []float32 { return []float32{0} }},
		{"the batch axis is dropped", onnx.Dim{Value: 1}, onnx.NewValueInfo("y", onnx.Float, nil), axis0, tensor.F32, []int64{5, 2}, func(i int) []float32 { return []float32{float32(i), -float32(i)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := onnx.NewNode(c.node.OpType, "", "n", c.node.Inputs(), c.node.Outputs(), c.node.Attributes()...)
			s := load(t, save(t, c.first, []*onnx.ValueInfo{c.out}, node))
			data := shards(t, 3, tensor.Named{Name: "x", Tensor: counted(5)})
			path := filepath.Join(t.TempDir(), "out.safetensors")
			if got, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: path, Batch: 2}); err != nil || got != 5 {
				t.Fatal(got, err)
			}
			y := written(t, path, "y")
			if y.DType != c.dtype || !slices.Equal(y.Shape, c.shape) {
				t.Fatal(y.DType, y.Shape)
			}
			v, err := tensor.ToFloat32(y)
			if err != nil {
				t.Fatal(err)
			}
			var want []float32
			for i := range 5 {
				want = append(want, c.want(i)...)
			}
			if !slices.Equal(v, want) {
				t.Fatal(v, want)
			}
		})
	}
}

func TestPredictRefuses(t *testing.T) {
	n := onnx.ParamDim("N")
	y := []*onnx.ValueInfo{onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{n, {Value: 2}})}
	s := load(t, save(t, n, y, op("Relu", "x", "y")))
	good := tensor.Named{Name: "x", Tensor: counted(3)}
	for _, c := range []struct {
		name string
		data *tensor.Shards
		out  []string
		want []string
	}{
		{"no such field", shards(t, 9, tensor.Named{Name: "image", Tensor: counted(3)}), nil, []string{`nothing for the input "x"`, `no input "image"`, `The model takes, per sample: "x" F32 [2]`, `The dataset gives: "image" F32 [2]`}},
		{"surplus field", shards(t, 9, good, tensor.Named{Name: "z", Tensor: counted(3)}), nil, []string{`the model has no input "z"`}},
		{"type", shards(t, 9, tensor.Named{Name: "x", Tensor: tensor.Of([]int64{2, 2}, []uint8{1, 2, 3, 4})}), nil, []string{`takes F32, but the dataset gives U8`}},
		{"shape", shards(t, 9, tensor.Named{Name: "x", Tensor: floats([]int64{1, 3}, 1, 2, 3)}), nil, []string{`samples of shape [2], but the dataset gives [3]`}},
		{"rank", shards(t, 9, tensor.Named{Name: "x", Tensor: floats([]int64{2, 2, 1}, 1, 2, 3, 4)}), nil, []string{`samples of shape [2], but the dataset gives [2, 1]`}},
		{"empty", shards(t, 9, tensor.Named{Name: "x", Tensor: floats([]int64{0, 2})}), nil, []string{"no samples"}},
		{"output", shards(t, 9, good), []string{"q"}, []string{`no output "q"`, `It has "y"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.safetensors")
			_, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: c.data, Output: path, Names: c.out, Batch: 2})
			says(t, err, c.want...)
			if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
				t.Fatal("left behind:", left)
			}
		})
	}
	data := shards(t, 9, good)
	_, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: filepath.Join(t.TempDir(), "none", "out"), Batch: 2})
	says(t, err, "write predictions", "none")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	dir := t.TempDir()
	if _, err = s.Predict(ctx, sdk.PredictRequest{Dataset: data, Output: filepath.Join(dir, "out"), Batch: 2}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Fatal("left behind:", left)
	}
}

// says checks that an error is one diagnostic without line breaks that says all of it.
func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	for _, bad := range []string{"\n", "onnxruntime::", ".cc:", "\x1b"} {
		if strings.Contains(err.Error(), bad) {
			t.Errorf("%q contains %q", err, bad)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	needLibrary(t)
	whole, err := os.ReadFile(recipe(t, "digits.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	n := []onnx.Dim{onnx.ParamDim("N"), {Value: 2}}
	unknown, err := os.ReadFile(save(t, n[0], []*onnx.ValueInfo{onnx.NewValueInfo("y", onnx.Float, n)}, op("Mystery", "x", "y")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"empty", nil, "empty"},
		{"truncated", whole[:len(whole)/3], "cut short"},
		{"random", []byte(strings.Repeat("\x7f\x00\xfe", 99)), "not a whole ONNX model"},
		{"unknown operator", unknown, `at node "Mystery" (Mystery)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.onnx")
			if err := os.WriteFile(path, c.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Format: "onnx", Path: path}, Threads: 1})
			says(t, err, "the model cannot be loaded", path, c.want)
			if c.name == "unknown operator" {
				return
			}
			_, err = inspect(t.Context(), sdk.Artifact{Path: path})
			says(t, err, path)
		})
	}
	none := filepath.Join(t.TempDir(), "none.onnx")
	_, err = host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Path: none}})
	says(t, err, none, "Check the path")
	_, err = inspect(t.Context(), sdk.Artifact{Path: none})
	says(t, err, none)
	_, err = inspect(t.Context(), sdk.Artifact{Path: t.TempDir()})
	says(t, err, "holds no file that ends in .onnx")
	_, err = host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Format: "openvino-ir", Path: none}})
	says(t, err, `cannot run the format "openvino-ir"`)
	_, err = host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Path: none}, Options: map[string]string{"device": "gpu"}})
	says(t, err, `no option "device"`)
}

func TestProbe(t *testing.T) {
	t.Run("nothing installed", func(t *testing.T) {
		t.Setenv(ort.EnvLibrary, filepath.Join(t.TempDir(), "none"))
		p, err := host{}.Probe(t.Context(), sdk.ProbeRequest{Threads: 1})
		if err != nil || len(p.Missing) != 1 || !strings.Contains(p.Missing[0].Command, "optimize init") || p.Missing[0].What != "ONNX Runtime 1.24 or newer" {
			t.Fatal(p, err)
		}
		if len(p.Diagnostics) != 1 || p.Diagnostics.HasErrors() {
			t.Fatal(p.Diagnostics)
		}
		_, err = host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Path: "m.onnx"}})
		says(t, err, "not installed", "optimize init")
	})
	t.Run("installed", func(t *testing.T) {
		needLibrary(t)
		p, err := host{}.Probe(t.Context(), sdk.ProbeRequest{Threads: 3})
		if err != nil || len(p.Missing) > 0 {
			t.Fatal(p, err)
		}
		for _, k := range []string{"onnxruntime", "onnxruntime_digest", "cpu", "arch", "threads"} {
			if p.Fingerprint[k] == "" {
				t.Errorf("no %s in %v", k, p.Fingerprint)
			}
		}
	})
	_, err := host{}.Probe(t.Context(), sdk.ProbeRequest{Options: map[string]string{"x": "y"}})
	says(t, err, `no option "x"`)
}

func TestBenchmark(t *testing.T) {
	s := load(t, recipe(t, "digits.onnx"))
	images, _ := digitImages(t, 4)
	data := shards(t, 9, tensor.Named{Name: "input", Tensor: images})
	for _, batch := range []int64{1, 1, 8, 1} { // 8: more than the dataset has
		ns, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: batch, Duration: 30 * time.Millisecond, WarmupRuns: 2})
		if err != nil || len(ns) == 0 || slices.Min(ns) <= 0 {
			t.Fatal(ns, err)
		}
	}
	ns, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 1})
	if err != nil || len(ns) != 1 {
		t.Fatal("no time means one run:", ns, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	begin := time.Now()
	if _, err := s.Benchmark(ctx, sdk.BenchmarkRequest{Dataset: data, Batch: 1, Duration: time.Minute}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 10*time.Second {
		t.Fatal(err, time.Since(begin))
	}
	_, err = s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: shards(t, 9, tensor.Named{Name: "input", Tensor: counted(3)}), Batch: 1})
	says(t, err, "samples of shape [1, 28, 28], but the dataset gives [2]")

	one := []onnx.Dim{{Value: 1}, {Value: 2}}
	fixed := load(t, save(t, one[0], []*onnx.ValueInfo{onnx.NewValueInfo("y", onnx.Float16, one)}, op("Cast", "x", "y", onnx.IntAttr("to", 10))))
	small := shards(t, 9, tensor.Named{Name: "x", Tensor: counted(3)})
	if ns, err := fixed.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: small, Batch: 1, Duration: time.Millisecond}); err != nil || len(ns) == 0 {
		t.Fatal(ns, err)
	}
	_, err = fixed.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: small, Batch: 4})
	says(t, err, "batches of 4", "just 1 samples", "batch = 1")
}

func TestSessionInfo(t *testing.T) {
	i := load(t, recipe(t, "digits.onnx")).Info()
	if got := fmt.Sprint(i.Inputs, i.Outputs); got != "[{input F32 [-1 1 28 28]}] [{logits F32 [-1 10]}]" {
		t.Fatal(got)
	}
	if i.Facts["runtime"] != "onnxruntime" || i.Facts["runtime_version"] == "" {
		t.Fatal(i.Facts)
	}
}

// TestFloatTypes: one dataset serves a model and the same model in another floating-point type.
func TestFloatTypes(t *testing.T) {
	n := onnx.ParamDim("N")
	types := map[tensor.DType]onnx.DataType{tensor.F32: onnx.Float, tensor.F16: onnx.Float16, tensor.BF16: onnx.BFloat16}
	values := []float32{0.1, -3.3, 70000, 1e-6, 1, 2}
	for takes, elem := range types {
		m := onnx.NewModel("test", 13)
		m.Graph.AddInput(onnx.NewValueInfo("x", elem, []onnx.Dim{n, {Value: 2}}))
		m.Graph.AppendNode(op("Cast", "x", "y", onnx.IntAttr("to", int64(onnx.Float))))
		m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{n, {Value: 2}}))
		model := filepath.Join(t.TempDir(), "model.onnx")
		if err := m.WriteFile(model); err != nil {
			t.Fatal(err)
		}
		s := load(t, model)
		for given := range types {
			field, err := tensor.FromFloat32(given, []int64{3, 2}, values)
			if err != nil {
				t.Fatal(err)
			}
			v, _ := tensor.ToFloat32(field)
			rounded, _ := tensor.FromFloat32(takes, []int64{3, 2}, v)
			want, _ := tensor.ToFloat32(rounded)
			data := shards(t, 9, tensor.Named{Name: "x", Tensor: field})
			path := filepath.Join(t.TempDir(), "out.safetensors")
			if _, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: path, Batch: 2}); err != nil {
				t.Fatalf("%s given to %s: %v", given, takes, err)
			}
			if got, _ := tensor.ToFloat32(written(t, path, "y")); !slices.Equal(got, want) {
				t.Errorf("%s given to %s: %v, want %v", given, takes, got, want)
			}
			if ns, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 4}); err != nil || len(ns) != 1 {
				t.Errorf("%s given to %s: timed %v, %v", given, takes, ns, err)
			}
		}
	}
}
