package quantize

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestFloat16Digits: half of the size, and the same figures within half precision.
func TestFloat16Digits(t *testing.T) {
	needRuntime(t)
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 16)})
	weights := true
	for _, c := range []Float16Config{
		{DType: "float16", KeepIO: true, Calibration: &data}, {DType: "float16", Calibration: &data}, {DType: "float16", KeepIO: true},
		{DType: "float16", KeepIO: true, Calibration: &data, WeightsOnly: &weights}, {DType: "bfloat16", KeepIO: true, Calibration: &data},
	} {
		c.Model = digitsModel()
		var first []byte
		for range 2 {
			j, _ := testJob(t)
			r, err := quantizeFloat16(t.Context(), j, c)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			f := r.Facts.(Float16Facts)
			least := 45.0
			if c.DType == "bfloat16" {
				least = 30
			}
			if c.Calibration != nil && (f.SQNR < least || f.Samples != 16) || f.ShareWeightBytes < 0.99 {
				t.Errorf("%+v", f)
			}
			if !f.WeightsOnly && (f.ShareMACs != 1 || f.NodesHalf != 22 || f.Casts != map[bool]int64{true: 2}[c.KeepIO]) {
				t.Errorf("%+v", f)
			}
			b, err := os.ReadFile(filepath.Join(j.outDir, outputFile))
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > 165_000 {
				t.Errorf("%d bytes", len(b))
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(first, b) {
				t.Error("the same input gave other bytes")
			}
		}
	}
}

// TestFloat16Refusals: each names the argument and the way round.
func TestFloat16Refusals(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 4)
	b.node("Exp", "y", []string{x})
	b.output("y")
	j, _ := testJob(t)
	_, err := quantizeFloat16(t.Context(), j, Float16Config{Model: writeModel(t, b.m), DType: "float16", KeepIO: true})
	if err == nil || !strings.Contains(err.Error(), "nothing in the model") || !strings.Contains(err.Error(), "y (Exp)") {
		t.Errorf("without anything to convert: %v", err)
	}
	wrong := writeDataset(t, map[string]tensor.Tensor{"image": digitImages(t, "mnist-train.npz", 4)})
	_, err = quantizeFloat16(t.Context(), j, Float16Config{Model: digitsModel(), DType: "float16", KeepIO: true, Calibration: &wrong})
	if err == nil || !strings.Contains(err.Error(), `no field goes to input "input"; the dataset has image`) {
		t.Errorf("with a wrong dataset: %v", err)
	}
	if _, err := os.Stat(filepath.Join(j.outDir, outputFile)); err == nil {
		t.Error("a refused step left a model")
	}
	ds := Float16Config{KeepOps: []string{"Sofmax"}, AllowOps: []string{"Resize", "Pow"}, KeepFloat: []string{""}}.Validate(t.Context())
	if len(ds) != 2 {
		t.Errorf("%v", ds)
	}
	low := -1.0
	if ds := (Float16Config{MaxValue: &low, KeepOps: []string{"Pow"}, AllowOps: []string{"Pow"}}).Validate(t.Context()); len(ds) != 2 {
		t.Errorf("%v", ds)
	}
}

// TestFloat16Large: on data whose values half precision cannot hold, the nodes that make them stay in float32, and the
// result computes numbers; without data it does not.
func TestFloat16Large(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 8)
	h := b.node("MatMul", "h", []string{x, b.random("w", 1, 8, 8)})
	h = b.node("Mul", "square", []string{h, h})
	h = b.node("Mul", "small", []string{h, b.scalar("c", 1e-4)})
	b.node("MatMul", "y", []string{h, b.random("w2", 1, 8, 4)})
	b.output("y")
	v := make([]float32, 64)
	for i := range v {
		v[i] = float32(i%7) * 100
	}
	data := writeDataset(t, map[string]tensor.Tensor{"x": tensor.Of([]int64{8, 8}, v)})
	j, _ := testJob(t)
	r, err := quantizeFloat16(t.Context(), j, Float16Config{Model: writeModel(t, b.m), DType: "float16", KeepIO: true, Calibration: &data})
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Facts.(Float16Facts); f.SQNR < 50 || len(f.NodesFloat) != 2 || !strings.Contains(f.NodesFloat[0], "square") {
		t.Errorf("%+v", f)
	}
	m, err := onnx.ReadFile(filepath.Join(j.outDir, outputFile))
	if err != nil {
		t.Fatal(err)
	}
	if m.Graph.Initializer("w").DataType != onnx.Float16 {
		t.Error("the weights are not in half precision")
	}
}
