package onnxruntime

import (
	"context"
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

// graphSteps are the steps that work on the graph alone.
var graphSteps = map[string]func(ctx context.Context, run *sdk.Run, m sdk.Model) (*sdk.Result, error){
	"onnxruntime_simplify": func(ctx context.Context, run *sdk.Run, m sdk.Model) (*sdk.Result, error) {
		return applySimplify(ctx, run, SimplifyConfig{Model: m})
	},
	"onnxruntime_rewrite": func(ctx context.Context, run *sdk.Run, m sdk.Model) (*sdk.Result, error) {
		return applyRewrite(ctx, run, RewriteConfig{Model: m})
	},
}

// table is a model that looks rows up and multiplies them, with some of what steps on graphs remove.
func table(rows, length int64) *onnx.Model {
	m := onnx.NewModel("table", 17)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N")}))
	t := onnx.NewTensor("table", tensor.Tensor{DType: tensor.F32, Shape: []int64{0, length}})
	t.Dims = []int64{rows, length}
	g.AddInitializer(t)
	g.AddInitializer(onnx.NewTensor("w", weights(length, 16)))
	g.AppendNode(node("Gather", "found", "table", "ids"))
	g.AppendNode(node("Identity", "same", "found"))
	g.AppendNode(node("MatMul", "y", "same", "w"))
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	return m
}

// saveTable writes it as a folder; the table's file has one row that is not zero, and a hole for the others.
func saveTable(t *testing.T, rows, length, row int64) string {
	t.Helper()
	m := table(rows, length)
	w := m.Graph.Initializer("table")
	w.SetExternal("net.onnx.data", 0, w.Bytes())
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "net.onnx"), b, 0o600); err != nil {
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
	return dir
}

func runFile(t *testing.T, path string, in map[string]tensor.Tensor) map[string]tensor.Tensor {
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
	return out
}

// inTwoFiles takes the table through each step: what comes out is a folder that the engine runs, with the same answer.
func inTwoFiles(t *testing.T, rows, length, row int64) {
	t.Helper()
	loadLibrary(t)
	dir := saveTable(t, rows, length, row)
	in := map[string]tensor.Tensor{"ids": tensor.Of([]int64{2}, []int64{row, 5})}
	want := runFile(t, dir, in)["y"]
	for name, step := range graphSteps {
		run := &sdk.Run{OutDir: t.TempDir()}
		r, err := step(t.Context(), run, sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: dir}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a := r.Outputs["model"]
		if a.Path != "model" {
			t.Errorf("%s wrote %q", name, a.Path)
		}
		if err := equal(want, runFile(t, filepath.Join(run.OutDir, a.Path), in)["y"], 1e-5); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var before, after, nodes int64
		switch f := r.Facts.(type) {
		case SimplifyFacts:
			before, after, nodes = f.SizeBefore, f.SizeAfter, f.NodesAfter
		case RewriteFacts:
			before, after, nodes = f.SizeBefore, f.SizeAfter, f.NodesAfter
		}
		if data := rows * length * 4; before < data || after < data || after > data+64<<10 || nodes != 2 {
			t.Errorf("%s: %d bytes became %d, and there are %d nodes", name, before, after, nodes)
		}
		if err := os.RemoveAll(run.OutDir); err != nil { // disks fill up
			t.Error(err)
		}
	}
}

// TestOutside: a model that one file may not hold is written as two. The size from which on is made small.
func TestOutside(t *testing.T) {
	defer func(n int64) { largest = n }(largest)
	largest = 2000
	inTwoFiles(t, 64, 48, 7)
}

// TestOver2GB: a model that protobuf cannot hold in one message.
func TestOver2GB(t *testing.T) {
	if os.Getenv("OPTIMIZE_LARGE") != "1" {
		t.Skip("it writes 2.4 GB twice: OPTIMIZE_LARGE=1 runs it")
	}
	inTwoFiles(t, 1<<20, 576, 777_777)
}
