package ort

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// TestScalarInputsWithoutGoType: scalars of types that the binding has none for go in, from bytes and from a file, into
// runs and into bound ones; two of them with names of one length do not get in each other's way.
func TestScalarInputsWithoutGoType(t *testing.T) {
	needLibrary(t)
	model := build(19,
		[]vi{{"x", 1, []int64{-1}}, {"k", 10, []int64{}}, {"b", 16, []int64{}}, {"e", 17, []int64{}}}, []vi{{"y", 1, []int64{-1}}, {"h", 10, []int64{}}},
		node("Cast", []string{"k"}, "k32", intAttr("to", 1)), node("Cast", []string{"b"}, "b32", intAttr("to", 1)), node("Cast", []string{"e"}, "e32", intAttr("to", 1)),
		node("Mul", []string{"x", "k32"}, "xk", nil), node("Add", []string{"xk", "b32"}, "xkb", nil), node("Add", []string{"xkb", "e32"}, "y", nil),
		node("Neg", []string{"k"}, "h", nil))
	before := slices.Clone(model)
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, model, 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile, err := NewSessionFile(path, Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fromFile.Close()
	scalar := func(d tensor.DType, v float32) tensor.Tensor {
		x, err := tensor.FromFloat32(d, []int64{}, []float32{v})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	in := map[string]tensor.Tensor{"x": floats([]int64{2}, 1, -2), "k": scalar(tensor.F16, 1.5), "b": scalar(tensor.BF16, 100), "e": {DType: tensor.F8E4M3, Shape: []int64{}, Data: []byte{0x38}}} // 1
	for _, s := range []*Session{open1(t, model, Options{Threads: 1}), fromFile} {
		if got := s.Inputs(); got[1].Name != "k" || got[1].DType != tensor.F16 || got[1].Shape == nil || len(got[1].Shape) != 0 {
			t.Error(got)
		}
		out, err := s.Run(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if y, _ := tensor.View[float32](out["y"]); !slices.Equal(y, []float32{102.5, 98}) {
			t.Error(y)
		}
		if h, _ := tensor.ToFloat32(out["h"]); out["h"].DType != tensor.F16 || len(out["h"].Shape) != 0 || !slices.Equal(h, []float32{-1.5}) {
			t.Error(out["h"])
		}
		b, err := s.Bind(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Run(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Run(map[string]tensor.Tensor{"x": in["x"], "k": scalar(tensor.BF16, 1), "b": in["b"], "e": in["e"]}, nil); err == nil {
			t.Error("another type is taken")
		}
	}
	if !slices.Equal(model, before) {
		t.Error("the caller's bytes were changed")
	}
	// One output, native: then outputs are given places.
	one, err := NewSession(model, Options{Threads: 1, Outputs: []string{"y"}})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	y := floats([]int64{2}, 0, 0)
	b, err := one.BindTo(in, map[string]tensor.Tensor{"y": y})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	if got, _ := tensor.View[float32](y); !slices.Equal(got, []float32{102.5, 98}) {
		t.Error(got)
	}
}
