package openvino

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/tensor"
)

// What OpenVINO reads in place of a file has the same layers and weights, byte by byte. It names some layers in another way, for it
// reads models in memory by another importer. OPTIMIZE_FIXTURES names a folder of further models.
func TestLinkedIsTheSame(t *testing.T) {
	needLibrary(t)
	models := []string{digits, quantized(t), fourBits(t)}
	if dir := os.Getenv("OPTIMIZE_FIXTURES"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		models = append(models, more...)
	}
	for _, path := range models {
		known := look(path)
		if known.linked == nil {
			t.Errorf("%s is read as a file", path)
			continue
		}
		m, err := ov.ReadMemory(known.linked)
		if err != nil {
			t.Logf("%s: %v", filepath.Base(path), err)
			if _, err := ov.Read(path); err == nil {
				t.Error("the file is read, and what stands for it is not")
			}
			continue
		}
		m.Close()
		plain := known
		plain.linked = nil
		for _, simplify := range []bool{false, true} {
			var facts [2]ExportFacts
			var weights [2][]byte
			for i, s := range []source{known, plain} {
				dir := t.TempDir()
				var err error
				if facts[i], err = (job{dir, 2, func(string) {}}).convert(t.Context(), path, ExportConfig{Model: model(path)}, simplify, s); err != nil {
					t.Fatal(path, err)
				}
				// Names are shorter or longer, and one importer leaves inputs of branches that nothing reads.
				facts[i].Size, facts[i].Layers = 0, 0
				delete(facts[i].Operations, "Parameter")
				if weights[i], err = os.ReadFile(filepath.Join(dir, irFolder, weightsFile)); err != nil {
					t.Fatal(err)
				}
				os.RemoveAll(dir)
			}
			if !bytes.Equal(weights[0], weights[1]) {
				t.Errorf("%s, simplify %v: other weights, %d and %d bytes", path, simplify, len(weights[0]), len(weights[1]))
			}
			if !reflect.DeepEqual(facts[0], facts[1]) {
				t.Errorf("%s, simplify %v: %+v, not %+v", path, simplify, facts[0], facts[1])
			}
		}
	}
}

// trained is a product as tools for quantization-aware training write it: its weights are floats that pass through a
// QuantizeLinear and a DequantizeLinear, with a scale for each column.
func trained(t *testing.T) (path string, answer func(x []float32) []float32) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	const k, n = 128, 96
	m := onnx.NewModel("trained", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{{Value: 1}, {Value: k}}))
	w, scales := make([]float32, k*n), make([]float32, n)
	for i := range scales {
		scales[i] = 0.002 * float32(1+i%7)
	}
	for i := range w {
		w[i] = rng.Float32() - 0.5
	}
	m.Graph.AddInitializer(onnx.NewFloats("w", w, k, n))
	m.Graph.AddInitializer(onnx.NewFloats("scale", scales, n))
	m.Graph.AddInitializer(onnx.NewTensor("zero", tensor.Tensor{DType: tensor.I8, Shape: []int64{n}, Data: make([]byte, n)}))
	m.Graph.AppendNode(onnx.NewNode("QuantizeLinear", "", "q", []string{"w", "scale", "zero"}, []string{"wq"}, onnx.IntAttr("axis", 1)))
	m.Graph.AppendNode(onnx.NewNode("DequantizeLinear", "", "dq", []string{"wq", "scale", "zero"}, []string{"wd"}, onnx.IntAttr("axis", 1)))
	m.Graph.AppendNode(onnx.NewNode("MatMul", "", "product", []string{"x", "wd"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 1}, {Value: n}}))
	path = filepath.Join(t.TempDir(), "trained.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path, func(x []float32) []float32 {
		y := make([]float32, n)
		for c := range n {
			var sum float64
			for r := range k {
				s := scales[c]
				sum += float64(x[r]) * min(max(math.RoundToEven(float64(w[r*n+c]/s)), -128), 127) * float64(s)
			}
			y[c] = float32(sum)
		}
		return y
	}
}

// Float weights behind a QuantizeLinear are 8 bits in the IR, and answer what ONNX's rule says.
func TestTrainedWeightsAreSmall(t *testing.T) {
	needLibrary(t)
	path, answer := trained(t)
	for _, simplify := range []bool{true, false} {
		dir, facts := exported(t, ExportConfig{Model: model(path), Simplify: simplify})
		if facts.Weights["i8"] < 128*96 || facts.Weights["f32"] > 4000 {
			t.Errorf("%+v", facts)
		}
		x := make([]float32, 128)
		for i := range x {
			x[i] = float32(i%251) / 250
		}
		same(t, run(t, filepath.Join(dir, irFile), tensor.Of([]int64{1, 128}, x)), answer(x), 1e-5)
	}
}

// What cannot be read is told of the file, not of what stands for it.
func TestErrorsNameTheFile(t *testing.T) {
	needLibrary(t)
	d := refused(t, ExportConfig{Model: model(foreign(t))})
	if strings.Contains(d.Detail, "memory") || !strings.Contains(d.Detail, "wobble") {
		t.Errorf("%+v", d)
	}
}
