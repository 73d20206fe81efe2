package quantize

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestOutside: weights in a file of their own, in and out, through every step. The size from which on a model is written
// so is made small.
func TestOutside(t *testing.T) {
	needRuntime(t)
	defer func(n int64) { largest = n }(largest)
	largest = 2000
	b := newBuilder(17)
	b.output(b.matrix("y", b.relu("r", b.matrix("h", b.input("x", 64), 64, 64)), 64, 16))
	data := map[string]tensor.Tensor{"x": b.noise(1, 12, 64)}
	want := runModel(t, b.m, data)["y"]
	dir := t.TempDir()
	if err := b.m.WriteFileExternal(filepath.Join(dir, "net.onnx"), 1024); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "net.onnx"), dir} {
		for name, step := range quantizers {
			j, _ := testJob(t)
			r, err := step(t, j, sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}, data)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			a := r.Outputs["model"]
			if name == "quantize_calibrate" {
				continue
			}
			if a.Path != "model" {
				t.Errorf("%s wrote %q", name, a.Path)
			}
			if db := sqnr(want, runFile(t, filepath.Join(j.outDir, a.Path), data)["y"]); !(db >= 20) {
				t.Errorf("%s: %.1f dB", name, db)
			}
		}
	}
}

// runFile computes the outputs of a model's file or folder, as the engine reads it.
func runFile(t *testing.T, path string, in map[string]tensor.Tensor) map[string][]float32 {
	t.Helper()
	file, err := onnx.ModelFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSessionFile(file, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := map[string][]float32{}
	for name, v := range out {
		if r[name], err = tensor.ToFloat32(v); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestOver2GB: a model that protobuf cannot hold in one message, of a file with a hole, through quantize_dynamic, whose
// result is over 2 GB too while the table stays in float, and 0.6 GB when it does not.
func TestOver2GB(t *testing.T) {
	if os.Getenv("OPTIMIZE_LARGE") != "1" {
		t.Skip("it writes 2.3 GB: OPTIMIZE_LARGE=1 runs it")
	}
	needRuntime(t)
	const rows, length, row = 1 << 20, 576, 777_777
	b := newBuilder(17)
	g := b.m.Graph
	g.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N")}))
	table := onnx.NewTensor("table", tensor.Tensor{DType: tensor.F32, Shape: []int64{0, length}})
	table.Dims = []int64{rows, length}
	g.AddInitializer(table)
	b.output(b.matrix("y", b.node("Gather", "words", []string{"table", "ids"}), length, 16))
	dir := t.TempDir()
	m, err := b.m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// The table's place is written by hand: no one has its 2.4 GB in memory.
	if m, err = outside(m, "net.onnx.data"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "net.onnx"), m, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "net.onnx.data"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(rows * length * 4); err != nil {
		t.Fatal(err)
	}
	values := make([]byte, length*4)
	for i := range length {
		binary.LittleEndian.PutUint32(values[i*4:], math.Float32bits(float32(math.Sin(float64(i)))))
	}
	if _, err := f.WriteAt(values, row*length*4); err != nil {
		t.Fatal(err)
	}
	in := map[string]tensor.Tensor{"ids": tensor.Of([]int64{2}, []int64{row, 5})}
	want := runFile(t, dir, in)["y"]
	for _, embeddings := range []bool{false, true} {
		j, _ := testJob(t)
		r, err := quantizeDynamic(t.Context(), j, DynamicConfig{Model: sdk.Model{Artifact: sdk.Artifact{Path: dir}}, Target: "onnxruntime-x86-vnni", PerChannel: true, Embeddings: embeddings})
		if err != nil {
			t.Fatal(err)
		}
		a := r.Outputs["model"]
		if (a.Path == "model") == embeddings {
			t.Errorf("embeddings = %v is written as %q", embeddings, a.Path)
		}
		if db := sqnr(want, runFile(t, filepath.Join(j.outDir, a.Path), in)["y"]); !(db >= 30) {
			t.Errorf("embeddings = %v: %.1f dB", embeddings, db)
		}
	}
}

// outside gives the initializer "table" of a model without data a place in another file.
func outside(model []byte, file string) ([]byte, error) {
	m, err := onnx.Parse(model)
	if err != nil {
		return nil, err
	}
	t := m.Graph.Initializer("table")
	t.SetExternal(file, 0, t.Bytes())
	return m.Marshal()
}
