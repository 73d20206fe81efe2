package onnxruntime

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// needLibrary skips a test where ONNX Runtime is not installed, unless
// OPTIMIZE_REQUIRE_RUNTIME=1 says that it must be.
func needLibrary(t testing.TB) {
	t.Helper()
	_, err := ort.Locate()
	switch {
	case err == nil:
	case os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1":
		t.Fatal(err)
	default:
		t.Skipf("needs ONNX Runtime: %s", err)
	}
}

func recipe(t testing.TB, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("../../recipes/digits", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// npy reads the data of one array of an npz file; its header ends at the first newline.
func npy(t testing.TB, path, name string) []byte {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open(name + ".npy")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b[bytes.IndexByte(b, '\n')+1:]
}

// digitImages returns n test images as F32 [n, 1, 28, 28] and their labels.
func digitImages(t testing.TB, n int) (tensor.Tensor, []byte) {
	t.Helper()
	pixels := npy(t, recipe(t, "mnist-test.npz"), "image")[:n*784]
	x := make([]float32, len(pixels))
	for i, p := range pixels {
		x[i] = float32(p) / 255
	}
	labels := npy(t, recipe(t, "mnist-test.npz"), "label")
	return tensor.Of([]int64{int64(n), 1, 28, 28}, x), labels
}

// shards writes fields as a dataset in pieces of per samples and opens it.
func shards(t testing.TB, per int64, fields ...tensor.Named) *tensor.Shards {
	t.Helper()
	dir := t.TempDir()
	x := tensor.Index{Samples: fields[0].Tensor.Shape[0]}
	for _, f := range fields {
		x.Fields = append(x.Fields, tensor.Field{Name: f.Name, DType: f.Tensor.DType, Shape: f.Tensor.Shape[1:]})
	}
	for start := int64(0); start < x.Samples; start += per {
		n := min(per, x.Samples-start)
		var part []tensor.Named
		for _, f := range fields {
			r, err := f.Tensor.Rows(start, n)
			if err != nil {
				t.Fatal(err)
			}
			part = append(part, tensor.Named{Name: f.Name, Tensor: r})
		}
		name := "shard-" + string(rune('a'+len(x.Shards))) + ".safetensors"
		if err := tensor.WriteFile(filepath.Join(dir, name), part, nil); err != nil {
			t.Fatal(err)
		}
		x.Shards = append(x.Shards, tensor.Shard{File: name, Samples: n})
	}
	if err := tensor.WriteIndex(dir, x); err != nil {
		t.Fatal(err)
	}
	s, err := tensor.OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func floats(shape []int64, v ...float32) tensor.Tensor { return tensor.Of(shape, v) }

// counted is F32 [n, 2]: row i holds i and -i.
func counted(n int64) tensor.Tensor {
	var v []float32
	for i := range n {
		v = append(v, float32(i), -float32(i))
	}
	return floats([]int64{n, 2}, v...)
}

func load(t testing.TB, path string) sdk.RuntimeSession {
	t.Helper()
	needLibrary(t)
	s, err := host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// save writes a model made of nodes; first is the first axis of the input x, F32 [first, 2].
func save(t testing.TB, first onnx.Dim, out []*onnx.ValueInfo, nodes ...*onnx.Node) string {
	t.Helper()
	m := onnx.NewModel("test", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{first, {Value: 2}}))
	for _, n := range nodes {
		m.Graph.AppendNode(n)
	}
	for _, o := range out {
		m.Graph.AddOutput(o)
	}
	p := filepath.Join(t.TempDir(), "model.onnx")
	if err := m.WriteFile(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func op(name string, in, out string, attrs ...*onnx.Attribute) *onnx.Node {
	return onnx.NewNode(name, "", name, []string{in}, []string{out}, attrs...)
}

// written reads one tensor of a predictions file back.
func written(t testing.TB, path, name string) tensor.Tensor {
	t.Helper()
	f, err := tensor.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := f.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x.Clone()
}

func int64At(b []byte, i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
