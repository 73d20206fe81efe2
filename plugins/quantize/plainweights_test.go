package quantize

import (
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestPlainWeights: a weight is one however it is written, and the model computes what it did.
func TestPlainWeights(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 5, 8)
	x = b.node("MatMul", "turned", []string{x, b.node("Transpose", "turned.t", []string{b.random("turned.w", 0.3, 12, 8)})})
	x = b.node("MatMul", "long", []string{x, b.random("long.w", 0.3, 1, 12, 16)})
	half := b.noise(0.3, 16, 3, 4)
	f, _ := tensor.View[float32](half)
	h, err := tensor.FromFloat32(tensor.F16, half.Shape, f)
	if err != nil {
		t.Fatal(err)
	}
	b.m.Graph.AddInitializer(onnx.NewTensor("half.w", h))
	w := b.node("Cast", "half.c", []string{"half.w"}, onnx.IntAttr("to", int64(onnx.Float)))
	w = b.node("Transpose", "half.t", []string{w}, onnx.IntsAttr("perm", 0, 2, 1))
	w = b.node("Reshape", "half.r", []string{w, b.ints("half.s", 0, -1)})
	b.output(b.node("MatMul", "half", []string{x, w}))
	data := writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 16, 5, 8)})
	in := map[string]tensor.Tensor{"x": b.noise(1, 8, 5, 8)}
	m, facts := static(t, StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86-vnni", PerChannel: true})
	if facts.ShareMACs != 1 || facts.NodesQuantized != 3 || len(facts.NodesFloat) != 0 {
		t.Errorf("facts %+v", facts)
	}
	if s := sqnrOf(t, b.m, m, in); s < 35 {
		t.Errorf("%.1f dB", s)
	}
	for n := range m.Graph.Nodes() {
		if n.Is("Transpose") || n.Is("Reshape") || n.Is("Cast") {
			t.Errorf("%s is still there", n.Name)
		}
	}
}

// TestPlainWeightsLeavesAlone: what is not constant, or would change the product's shape.
func TestPlainWeightsLeavesAlone(t *testing.T) {
	b := newBuilder(13)
	x := b.input("x", 8)
	wide := b.random("w", 0.3, 1, 8, 4)
	b.output(b.node("MatMul", "y", []string{x, wide})) // [N, 8] by [1, 8, 4] is [1, N, 4]
	b.output(b.node("MatMul", "z", []string{x, b.node("Transpose", "t", []string{x})}))
	if _, err := prepare(b.m, 13); err != nil {
		t.Fatal(err)
	}
	if got := b.m.Graph.NodeByName("y").Input(1); got != "w" {
		t.Errorf("y reads %q", got)
	}
	if got := b.m.Graph.NodeByName("z").Input(1); got != "t" {
		t.Errorf("z reads %q", got)
	}
	for _, c := range []struct{ dims, perm []int64 }{{[]int64{2, 3}, []int64{0}}, {[]int64{2, 3}, []int64{0, 0}}, {[]int64{2, 3}, []int64{0, 5}}} {
		if v, _ := permute(make([]float32, 6), c.dims, c.perm); v != nil {
			t.Errorf("%v is taken for a permutation", c.perm)
		}
	}
	v, dims := permute([]float32{1, 2, 3, 4, 5, 6}, []int64{1, 2, 3}, []int64{2, 0, 1})
	if dims[0] != 3 || dims[2] != 2 || v[0] != 1 || v[1] != 4 || v[2] != 2 || v[5] != 6 {
		t.Errorf("permuted %v %v", dims, v)
	}
}
