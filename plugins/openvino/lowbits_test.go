package openvino

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/tensor"
)

func bytesOf[T ~int8 | ~uint8](v []T) []byte {
	b := make([]byte, len(v))
	for i := range v {
		b[i] = byte(v[i])
	}
	return b
}

// quantized is a convolution as quantize_static writes it: data through Q and DQ, weights of 8 bits through DQ.
func quantized(t *testing.T) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	m := onnx.NewModel("quantized", 13)
	image := []onnx.Dim{{Value: 1}, {Value: 16}, {Value: 8}, {Value: 8}}
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, image))
	w := make([]int8, 32*16*9)
	for i := range w {
		w[i] = int8(rng.IntN(127) - 63)
	}
	scales, zeros := make([]float32, 32), make([]int8, 32)
	for i := range scales {
		scales[i] = 0.001 * float32(1+i%7)
	}
	m.Graph.AddInitializer(onnx.NewTensor("w", tensor.Tensor{DType: tensor.I8, Shape: []int64{32, 16, 3, 3}, Data: bytesOf(w)}))
	m.Graph.AddInitializer(onnx.NewFloats("w_scale", scales, 32))
	m.Graph.AddInitializer(onnx.NewTensor("w_zero", tensor.Tensor{DType: tensor.I8, Shape: []int64{32}, Data: bytesOf(zeros)}))
	m.Graph.AddInitializer(onnx.NewFloats("x_scale", []float32{1. / 128}))
	m.Graph.AddInitializer(onnx.NewTensor("x_zero", tensor.Tensor{DType: tensor.U8, Shape: []int64{}, Data: []byte{0}}))
	m.Graph.AppendNode(onnx.NewNode("QuantizeLinear", "", "xq", []string{"x", "x_scale", "x_zero"}, []string{"xq"}))
	m.Graph.AppendNode(onnx.NewNode("DequantizeLinear", "", "xd", []string{"xq", "x_scale", "x_zero"}, []string{"xd"}))
	m.Graph.AppendNode(onnx.NewNode("DequantizeLinear", "", "wd", []string{"w", "w_scale", "w_zero"}, []string{"wd"}, onnx.IntAttr("axis", 0)))
	m.Graph.AppendNode(onnx.NewNode("Conv", "", "conv", []string{"xd", "wd"}, []string{"y"}, onnx.IntsAttr("pads", 1, 1, 1, 1)))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 32}, {Value: 8}, {Value: 8}}))
	path := filepath.Join(t.TempDir(), "quantized.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQuantizedStaysSmall(t *testing.T) {
	needLibrary(t)
	path := quantized(t)
	for _, c := range []ExportConfig{{Simplify: true}, {}, {Simplify: true, CompressToFP16: true}} {
		c.Model = model(path)
		dir, facts := exported(t, c)
		if facts.Operations["FakeQuantize"] != 1 || facts.Weights["i8"] < 32*16*9 || facts.Weights["f32"]+facts.Weights["f16"] > 2000 {
			t.Errorf("%+v", facts)
		}
		x := ramp(1, 16, 8, 8)
		same(t, run(t, filepath.Join(dir, irFile), x), run(t, path, x), 1e-5)
	}
}

func same(t *testing.T, got, want []float32, tolerance float64) {
	t.Helper()
	var far, most float64
	for i := range want {
		far, most = max(far, math.Abs(float64(got[i]-want[i]))), max(most, math.Abs(float64(want[i])))
	}
	if len(got) != len(want) || far > tolerance*most {
		t.Errorf("%g away, of %g", far, most)
	}
}

// fourBits is a product whose weights have 4 bits in blocks of 16, as quantize_weights writes them in standard operators.
func fourBits(t *testing.T) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	const k, n, block = 256, 64, 16
	m := onnx.NewModel("fourbits", 21)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{{Value: 1}, {Value: k}}))
	packed := make([]byte, k*n/2)
	for i := range packed {
		packed[i] = byte(rng.IntN(256))
	}
	scales := make([]float32, k/block*n)
	for i := range scales {
		scales[i] = 0.01 * float32(1+i%5)
	}
	m.Graph.AddInitializer(onnx.NewTensor("w", tensor.Tensor{DType: tensor.I4, Shape: []int64{k, n}, Data: packed}))
	m.Graph.AddInitializer(onnx.NewFloats("scale", scales, k/block, n))
	m.Graph.AppendNode(onnx.NewNode("DequantizeLinear", "", "wd", []string{"w", "scale"}, []string{"wd"}, onnx.IntAttr("axis", 0), onnx.IntAttr("block_size", block)))
	m.Graph.AppendNode(onnx.NewNode("MatMul", "", "product", []string{"x", "wd"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 1}, {Value: n}}))
	path := filepath.Join(t.TempDir(), "fourbits.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFourBitsStaySmall(t *testing.T) {
	needLibrary(t)
	for _, simplify := range []bool{true, false} {
		dir, facts := exported(t, ExportConfig{Model: model(fourBits(t)), Simplify: simplify})
		if facts.Weights["i4"]+facts.Weights["u4"] < 256*64/2 || facts.Weights["f32"] > 8000 {
			t.Errorf("%+v", facts)
		}
		x := ramp(1, 256)
		same(t, run(t, filepath.Join(dir, irFile), x), run(t, fourBits(t), x), 1e-5)
	}
}

// Where the passes of OpenVINO make the weights larger, here by writing out a tensor of ones, they are left out.
func TestGrownIsNotKept(t *testing.T) {
	needLibrary(t)
	m := onnx.NewModel("grown", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 4}}))
	m.Graph.AddInitializer(onnx.NewInt64s("shape", []int64{200000, 4}, 2))
	m.Graph.AppendNode(onnx.NewNode("ConstantOfShape", "", "ones", []string{"shape"}, []string{"ones"}, onnx.TensorAttr("value", onnx.NewFloats("", []float32{1}, 1))))
	m.Graph.AppendNode(onnx.NewNode("Add", "", "plus", []string{"x", "ones"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 200000}, {Value: 4}}))
	path := filepath.Join(t.TempDir(), "grown.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	_, facts := exported(t, ExportConfig{Model: model(path), Simplify: true})
	if facts.Simplified || facts.Size > 100_000 {
		t.Errorf("%+v", facts)
	}
}

// The compiled form loads, and answers what the model answers.
func TestCompiled(t *testing.T) {
	needLibrary(t)
	dir, facts := exported(t, ExportConfig{Model: model(digits), Simplify: true, Compiled: "CPU", Precision: "f32"})
	if facts.Device == "" {
		t.Errorf("%+v", facts)
	}
	note, err := os.ReadFile(filepath.Join(dir, compiledNote))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", note)
	b, err := os.ReadFile(filepath.Join(dir, compiledFile))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ov.Import(b, "CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f32"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x := ramp(3, 1, 28, 28)
	same(t, outputOf(t, c, x), run(t, digits, x), 1e-5)
}
