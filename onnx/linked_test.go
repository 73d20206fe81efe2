package onnx

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// The encoding leaves weights in their file, names them there, and says the rest as it was.
func TestEncodeLinked(t *testing.T) {
	m := NewModel("linked", 17)
	m.Graph.AddInput(NewValueInfo("x", Float, FixedDims(1, 64)))
	large := make([]float32, 64*64)
	for i := range large {
		large[i] = float32(i)
	}
	m.Graph.AddInitializer(NewFloats("large", large, 64, 64))
	m.Graph.AddInitializer(NewFloats("small", []float32{1, 2, 3}, 3))
	m.Graph.AppendNode(NewNode("MatMul", "", "", []string{"x", "large"}, []string{"y"}))
	m.Graph.AddOutput(NewValueInfo("y", Float, FixedDims(1, 64)))
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	mapped, unmap, err := MapFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	mapped.Graph.AddInitializer(NewFloats("changed", make([]float32, 5000), 5000))
	b, linked, err := mapped.EncodeLinked(1000)
	if err != nil || linked != 4*64*64 || len(b) < 20000 || len(b) > 21000 {
		t.Fatal(len(b), linked, err)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	place := map[string]string{}
	for _, e := range again.Graph.Initializer("large").External() {
		place[e.Key] = e.Value
	}
	if place["location"] != path || place["length"] != "16384" || again.Graph.Initializer("small").IsExternal() || again.Graph.Initializer("changed").IsExternal() {
		t.Errorf("%v", place)
	}
	// The model itself is as it was.
	if mapped.Graph.Initializer("large").IsExternal() {
		t.Error("the model has changed")
	}
	if v, err := mapped.Graph.Initializer("large").Float32s(); err != nil || !slices.Equal(v, large) {
		t.Error(err)
	}
	// A model made in memory has nothing to leave.
	if _, linked, err := m.EncodeLinked(1000); linked != 0 || err != nil {
		t.Error(linked, err)
	}
}

// The rule worked out by hand: halves to the even number, then the zero point, then the range.
func TestFoldQuantized(t *testing.T) {
	build := func(w []float32, scale []float32, zero []byte, axis int64) *Model {
		m := NewModel("q", 13)
		m.Graph.AddInitializer(NewFloats("w", w, 2, int64(len(w)/2)))
		m.Graph.AddInitializer(NewFloats("s", scale, int64(len(scale))))
		in := []string{"w", "s"}
		if zero != nil {
			m.Graph.AddInitializer(NewTensor("z", tensor.Tensor{DType: tensor.I8, Shape: []int64{int64(len(zero))}, Data: zero}))
			in = append(in, "z")
		}
		m.Graph.AppendNode(NewNode("QuantizeLinear", "", "node", in, []string{"q"}, IntAttr("axis", axis)))
		m.Graph.AppendNode(NewNode("DequantizeLinear", "", "back", []string{"q", "s"}, []string{"y"}, IntAttr("axis", axis)))
		m.Graph.AddOutput(NewValueInfo("y", Float, nil))
		return m
	}
	m := build([]float32{0.5, 1.5, -0.5, 1000, -1000, 2.4}, []float32{1, 2}, []byte{0, 0xff}, -2)
	n, err := FoldQuantized(m)
	if err != nil || n != 1 || m.Graph.Producer("q") != nil {
		t.Fatal(n, err)
	}
	// Row 1 has the scale 2 and the zero point -1.
	v, err := m.Graph.Initializer("q").Ints()
	if err != nil || !slices.Equal(v, []int64{0, 2, 0, 127, -128, 0}) {
		t.Error(v, err)
	}
	m = build([]float32{-3, 300, 7, 0.5}, []float32{1}, nil, 1)
	if n, err = FoldQuantized(m); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if v, err = m.Graph.Initializer("q").Ints(); err != nil || !slices.Equal(v, []int64{0, 255, 7, 0}) || m.Graph.Initializer("q").DataType != Uint8 {
		t.Error(v, err)
	}
	nan := float32(0)
	nan /= nan
	for want, m := range map[string]*Model{
		"element 3 is NaN":                        build([]float32{1, 2, 3, nan}, []float32{1}, nil, 1),
		"scale 1 is -1":                           build([]float32{1, 2, 3, 4}, []float32{1, -1}, nil, 1),
		"3 scales do not fit axis 1 of its shape": build([]float32{1, 2, 3, 4}, []float32{1, 1, 1}, nil, 1),
		"1 scales and 2 zero points":              build([]float32{1, 2, 3, 4}, []float32{1}, []byte{0, 0}, 1),
	} {
		if _, err := FoldQuantized(m); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"node"`) || !strings.Contains(err.Error(), `"w"`) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
