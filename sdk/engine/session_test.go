package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// twice answers each input x with y = 2x (and the number n of a scalar input added), as float numbers.
type twice struct {
	in, out []sdk.TensorInfo
	runs    int      // side by side
	seen    []string // shapes of x and values of n, run by run
	shape   func(tensor.Tensor) tensor.Tensor
	err     error
	binds   int
	done    int
	closed  int
}

func (m *twice) Inputs() []sdk.TensorInfo  { return m.in }
func (m *twice) Outputs() []sdk.TensorInfo { return m.out }

func (m *twice) Run(in map[string]tensor.Tensor, outputs []string) (map[string]tensor.Tensor, error) {
	if m.err != nil {
		return nil, m.err
	}
	x, err := tensor.View[float32](in["x"])
	if err != nil {
		return nil, err
	}
	add := float32(0)
	if n, ok := in["n"]; ok {
		v, err := tensor.View[float32](n)
		if err != nil || len(n.Shape) > 0 {
			return nil, errors.New("n is no scalar")
		}
		add = v[0]
	}
	y := make([]float32, len(x))
	for i := range x {
		y[i] = 2*x[i] + add
	}
	m.seen = append(m.seen, shape(in["x"].Shape))
	t := tensor.Of(in["x"].Shape, y)
	if m.shape != nil {
		t = m.shape(t)
	}
	out := map[string]tensor.Tensor{}
	for _, name := range outputs {
		out[name] = t
	}
	return out, nil
}

func (m *twice) Bind(map[string]tensor.Tensor) (Bound, error) {
	m.binds++
	return (*twiceBound)(m), m.err
}

type twiceBound twice

func (b *twiceBound) Do() error    { b.done++; time.Sleep(time.Millisecond); return nil }
func (b *twiceBound) Runs() int    { return max(b.runs, 1) }
func (b *twiceBound) Close() error { b.closed++; return nil }

// shards writes fields as a dataset of one shard and opens it.
func shards(t *testing.T, fields ...tensor.Named) *tensor.Shards {
	t.Helper()
	dir := t.TempDir()
	n := fields[0].Tensor.Shape[0]
	x := tensor.Index{Samples: n, Shards: []tensor.Shard{{File: "a.safetensors", Samples: n}}}
	for _, f := range fields {
		x.Fields = append(x.Fields, tensor.Field{Name: f.Name, DType: f.Tensor.DType, Shape: f.Tensor.Shape[1:]})
	}
	if err := tensor.WriteFile(filepath.Join(dir, "a.safetensors"), fields, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(dir, x); err != nil {
		t.Fatal(err)
	}
	s, err := tensor.OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// counted is F32 [n, 2]: 0, 1, 2, ...
func counted(n int64) tensor.Named {
	v := make([]float32, 2*n)
	for i := range v {
		v[i] = float32(i)
	}
	return tensor.Named{Name: "x", Tensor: tensor.Of([]int64{n, 2}, v)}
}

func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func predicted(t *testing.T, path string) (tensor.Tensor, []float32) {
	t.Helper()
	f, err := tensor.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	y, err := f.Tensor("y")
	if err != nil {
		t.Fatal(err)
	}
	y = y.Clone()
	v, err := tensor.View[float32](y)
	if err != nil {
		t.Fatal(err)
	}
	return y, v
}

// TestPredict holds the runs that a model is asked for, and what is written, against what samples make of them.
func TestPredict(t *testing.T) {
	free, fixed := []int64{-1, 2}, []int64{4, 2}
	y := []sdk.TensorInfo{{Name: "y", DType: tensor.F32}}
	n := tensor.Named{Name: "n", Tensor: tensor.Of([]int64{5}, []float32{1, 1, 7, 7, 7})}
	scalar := sdk.TensorInfo{Name: "n", DType: tensor.F32, Shape: []int64{}}
	plain := []float32{0, 2, 4, 6, 8, 10, 12, 14, 16, 18}
	for name, c := range map[string]struct {
		model  *twice
		fields []tensor.Named
		batch  int64
		seen   string
		shape  []int64
		want   []float32
	}{
		"batches":    {model: &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: free}}}, batch: 2, seen: "[2, 2] [2, 2] [1, 2]", shape: []int64{5, 2}, want: plain},
		"filled up":  {model: &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: fixed}}}, batch: 2, seen: "[4, 2] [4, 2]", shape: []int64{5, 2}, want: plain},
		"a scalar":   {model: &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: free}, scalar}}, fields: []tensor.Named{n}, batch: 4, seen: "[2, 2] [3, 2]", shape: []int64{5, 2}, want: []float32{1, 3, 5, 7, 15, 17, 19, 21, 23, 25}},
		"one sample": {model: &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{2}}}}, batch: 4, seen: "[2] [2] [2] [2] [2]", shape: []int64{5, 2}, want: plain},
		"not per sample": {model: &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: free}}, shape: func(t tensor.Tensor) tensor.Tensor {
			if t.Shape[0] > 1 {
				t.Shape = []int64{1, t.Shape[0] * 2}
			}
			return t
		}}, batch: 2, seen: "[2, 2] [1, 2] [1, 2] [1, 2] [1, 2] [1, 2]", shape: []int64{5, 2}, want: plain},
	} {
		t.Run(name, func(t *testing.T) {
			c.model.out = y
			s := NewSession("acme", c.model)
			path := filepath.Join(t.TempDir(), "out.safetensors")
			got, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: shards(t, append([]tensor.Named{counted(5)}, c.fields...)...), Output: path, Batch: c.batch})
			if err != nil || got != 5 {
				t.Fatal(got, err)
			}
			out, v := predicted(t, path)
			if seen := strings.Join(c.model.seen, " "); seen != c.seen || !slices.Equal(out.Shape, c.shape) || !slices.Equal(v, c.want) {
				t.Errorf("ran %s; wrote %v %v", seen, out.Shape, v)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	m := &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{3, 2}}}, out: []sdk.TensorInfo{{Name: "y", DType: tensor.F32}}}
	s := NewSession("acme", m)
	dir := t.TempDir()
	predict := func(data *tensor.Shards, names ...string) error {
		_, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: filepath.Join(dir, "out"), Names: names, Batch: 2})
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Error("left behind:", left)
		}
		return err
	}
	code := func(err error, want string) {
		t.Helper()
		var d sdk.Diagnostic
		if !errors.As(err, &d) || d.Code != want {
			t.Errorf("%v is not %s", err, want)
		}
	}
	code(predict(shards(t, tensor.Named{Name: "q", Tensor: counted(2).Tensor})), "acme/dataset-mismatch")
	code(predict(shards(t, tensor.Named{Name: "x", Tensor: tensor.Of([]int64{0, 2}, []float32{})})), "acme/dataset-mismatch")
	code(predict(shards(t, counted(2)), "z"), "acme/no-output")
	_, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: shards(t, counted(2)), Batch: 2})
	code(err, "acme/batch")
	says(t, err, "just 3 samples", "batch = 3")
	m.shape = func(x tensor.Tensor) tensor.Tensor {
		if len(m.seen) > 1 {
			x.Shape = []int64{3, 1, 2}
		}
		return x
	}
	err = predict(shards(t, counted(9)))
	code(err, "acme/run-failed")
	m.err = errors.New("out of order")
	if err := predict(shards(t, counted(9))); !errors.Is(err, m.err) {
		t.Error(err)
	}
}

// TestBenchmark: a batch is put in place once, runs side by side count each with its share, and a stop is obeyed.
func TestBenchmark(t *testing.T) {
	m := &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{-1, 2}}}, runs: 4}
	s := NewSession("acme", m)
	data := shards(t, counted(2))
	ns, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 3, WarmupRuns: 2})
	if err != nil || len(ns) != 4 || m.done != 3 || slices.Max(ns) != slices.Min(ns) || ns[0] < int64(time.Millisecond)/4 {
		t.Fatal(ns, m.done, err)
	}
	for range 2 {
		if _, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 3}); err != nil || m.binds != 1 {
			t.Fatal(m.binds, err)
		}
	}
	if _, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: 1}); err != nil || m.binds != 2 || m.closed != 1 {
		t.Fatal(m.binds, m.closed, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer stop()
	if _, err := s.Benchmark(ctx, sdk.BenchmarkRequest{Dataset: data, Batch: 1, Duration: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := errors.Join(s.Release(), s.Release()); err != nil || m.closed != 2 {
		t.Fatal(m.closed, err)
	}
}

func TestSample(t *testing.T) {
	m := &twice{in: []sdk.TensorInfo{{Name: "x", DType: tensor.F16, Shape: []int64{3, 2}}}}
	s := NewSession("acme", m)
	in, err := s.Sample(shards(t, counted(2)))
	if err != nil || in["x"].DType != tensor.F16 || !slices.Equal(in["x"].Shape, []int64{3, 2}) {
		t.Fatal(in, err)
	}
}

func TestCover(t *testing.T) {
	nodes := []NodeCoverage{{Name: "a", Op: "QConv", Precision: "int8"}, {Name: "b", Op: "Conv", Precision: "fp32"}, {Name: "c", Op: "QConv", Precision: "int8"}, {Name: "d", Op: "Relu", Precision: "fp32"}}
	c := Cover("acme 1", nodes, func(i int) string { return strings.TrimPrefix(strings.Replace(nodes[i].Op, "Relu", "", 1), "Q") })
	if !slices.Equal(c.Layers, []LayerCoverage{{"Conv", "fp32", 1, 3}, {"Conv", "int8", 2, 3}}) ||
		!slices.Equal(c.Ops, []OpCoverage{{Op: "Conv", Precision: "fp32", Count: 1}, {Op: "QConv", Precision: "int8", Count: 2}, {Op: "Relu", Precision: "fp32", Count: 1}}) {
		t.Errorf("%+v", c)
	}
	if c := Cover("acme 1", nil, nil); c.Nodes == nil || c.Ops == nil || c.Layers == nil {
		t.Error("lists are null")
	}
}
