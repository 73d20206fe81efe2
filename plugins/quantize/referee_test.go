package quantize

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// TestReferee lets the reference implementations judge what we write: every model of the rule table, the digit model
// on each target and a dynamic one. OPTIMIZE_REFEREE_PYTHON names a Python that has onnx, onnxruntime and numpy.
func TestReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	needRuntime(t)
	dir := t.TempDir()
	type model struct {
		Name     string         `json:"name"`
		Path     string         `json:"path"`
		Engine   map[string]int `json:"engine,omitempty"`
		Digits   string         `json:"digits,omitempty"`
		Original string         `json:"original,omitempty"`
	}
	type scale struct {
		Min   float32 `json:"min"`
		Max   float32 `json:"max"`
		Scale float32 `json:"scale"`
		Zero  int32   `json:"zero"`
	}
	type weights struct {
		Data  []float32 `json:"data"`
		Seven bool      `json:"seven_bits"`
		Scale float32   `json:"scale"`
		Q     []int     `json:"q"`
	}
	var job struct {
		Models  []model   `json:"models"`
		Ranges  []scale   `json:"ranges"`
		Weights []weights `json:"weights"`
	}
	abs := func(path string) string {
		a, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 64)})
	for _, target := range []string{"onnxruntime-x86-vnni", "onnxruntime-x86"} {
		m, _ := static(t, StaticConfig{Model: digitsModel(), Calibration: &data, Target: target, PerChannel: true})
		path := filepath.Join(dir, target+".onnx")
		if err := m.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		job.Models = append(job.Models, model{Name: "digits for " + target, Path: path, Digits: abs(digits + "mnist-test.npz"), Original: abs(digits + "digits.onnx"),
			Engine: map[string]int{"QLinearConv": 9, "QLinearAdd": 3, "Conv": 0, "FusedConv": 0, "Add": 0, "Relu": 0}})
	}
	for i, r := range rules {
		opset := int64(13)
		if r.opset != 0 {
			opset = r.opset
		}
		b := newBuilder(opset)
		r.build(b)
		b.shapeOutputs(t)
		shape := []int64{4}
		for _, d := range b.m.Graph.Inputs()[0].Type.Shape[1:] {
			shape = append(shape, d.Value)
		}
		for _, perChannel := range []bool{true, false} {
			m, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86-vnni", PerChannel: perChannel, KeepFloat: r.keep,
				Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, shape...)}))})
			path := filepath.Join(dir, string(rune('a'+i))+map[bool]string{true: "c", false: "t"}[perChannel]+".onnx")
			if err := m.WriteFile(path); err != nil {
				t.Fatal(err)
			}
			job.Models = append(job.Models, model{Name: r.name, Path: path})
		}
	}
	for _, perChannel := range []bool{true, false} {
		b := newBuilder(13)
		encoder(b)
		b.shapeOutputs(t)
		m, _ := dynamic(t, DynamicConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86-vnni", PerChannel: perChannel})
		path := filepath.Join(dir, map[bool]string{true: "dc", false: "dt"}[perChannel]+".onnx")
		if err := m.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		job.Models = append(job.Models, model{Name: "encoder", Path: path})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		r := Range{float32(rng.NormFloat64()), float32(10 * rng.NormFloat64())}
		if r.Min > r.Max {
			r.Min, r.Max = r.Max, r.Min
		}
		p := u8.Params(r)
		job.Ranges = append(job.Ranges, scale{r.Min, r.Max, p.Scale, p.Zero})
	}
	for i := range 40 {
		w := make([]float32, 500)
		for k := range w {
			w[k] = float32(rng.NormFloat64())
		}
		s := Targets[i%2].Weight
		l := channelLayout([]int64{500}, perTensor)
		absmax, err := channelMax(w, l)
		if err != nil {
			t.Fatal(err)
		}
		scales := s.weightScales(absmax)
		x := weights{Data: w, Seven: i%2 == 1, Scale: scales[0]}
		for _, q := range s.quantizeWeights(w, l, scales) {
			x.Q = append(x.Q, int(q))
		}
		job.Weights = append(job.Weights, x)
	}
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "job.json")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "testdata/referee.py", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
