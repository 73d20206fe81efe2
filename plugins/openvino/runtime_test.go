package openvino

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

const digitsModel = "../../recipes/digits/digits.onnx"

func open(t testing.TB, path, format string, options map[string]string) sdk.RuntimeSession {
	t.Helper()
	s, err := host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Kind: "model", Format: format, Path: path}, Options: options, Threads: 1})
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

// irOf writes a model as IR and returns its folder.
func irOf(t testing.TB, path string) string {
	t.Helper()
	m, err := ov.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	dir := t.TempDir()
	if err := m.Save(filepath.Join(dir, "model.xml"), false); err != nil {
		t.Fatal(err)
	}
	return dir
}

// noise is F32 of a shape, the same each time.
func noise(shape ...int64) tensor.Tensor {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	x := uint32(1)
	for i := range v {
		x = x*1664525 + 1013904223
		v[i] = float32(x>>8)/(1<<23) - 1
	}
	return tensor.Of(shape, v)
}

// dataset writes fields as a dataset and opens it.
func dataset(t testing.TB, fields ...tensor.Named) *tensor.Shards {
	t.Helper()
	dir := t.TempDir()
	n := fields[0].Tensor.Shape[0]
	x := tensor.Index{Samples: n, Shards: []tensor.Shard{{File: "a.safetensors", Samples: n}}}
	for _, f := range fields {
		x.Fields = append(x.Fields, tensor.Field{Name: f.Name, DType: f.Tensor.DType, Shape: f.Tensor.Shape[1:]})
	}
	if err := errors.Join(tensor.WriteFile(filepath.Join(dir, "a.safetensors"), fields, nil), tensor.WriteIndex(dir, x)); err != nil {
		t.Fatal(err)
	}
	s, err := tensor.OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func predict(t testing.TB, s sdk.RuntimeSession, data *tensor.Shards, batch int64) map[string]tensor.Tensor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.safetensors")
	if _, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: path, Batch: batch}); err != nil {
		t.Fatal(err)
	}
	f, err := tensor.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]tensor.Tensor{}
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = x.Clone()
	}
	return out
}

// apart is the largest difference of two tensors of numbers, relative to the largest number of want.
func apart(t testing.TB, got, want tensor.Tensor) float64 {
	t.Helper()
	a, err1 := tensor.ToFloat32(got)
	b, err2 := tensor.ToFloat32(want)
	if err := errors.Join(err1, err2); err != nil || len(a) != len(b) || len(a) == 0 {
		t.Fatal(err, len(a), len(b))
	}
	worst, most := 0.0, 0.0
	for i := range a {
		worst, most = max(worst, math.Abs(float64(a[i])-float64(b[i]))), max(most, math.Abs(float64(b[i])))
	}
	return worst / most
}

// TestAgreesWithONNXRuntime: in f32, an ONNX model and its IR give what the other engine gives, in batches of any size.
func TestAgreesWithONNXRuntime(t *testing.T) {
	needLibrary(t)
	lib, err := ort.Locate()
	if err != nil {
		t.Skip(err)
	}
	if err := ort.Load(lib); err != nil {
		t.Fatal(err)
	}
	x := noise(5, 1, 28, 28)
	data := dataset(t, tensor.Named{Name: "input", Tensor: x})
	other, err := ort.NewSessionFile(digitsModel, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want, err := other.Run(map[string]tensor.Tensor{"input": x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := irOf(t, digitsModel)
	for path, format := range map[string]string{digitsModel: formatONNX, dir: formatIR, filepath.Join(dir, "model.xml"): ""} {
		s := open(t, path, format, nil)
		for _, batch := range []int64{2, 5} {
			got := predict(t, s, data, batch)
			if d := apart(t, got["logits"], want["logits"]); d > 1e-5 || !slices.Equal(got["logits"].Shape, []int64{5, 10}) {
				t.Errorf("%s, batches of %d: %.2g apart, %v", path, batch, d, got["logits"].Shape)
			}
		}
		f := s.Info().Facts
		if f["precision"] != "f32" || f["device"] != "cpu" || f["runtime"] != "openvino" || f["runtime_version"] == "" || f["threads"] != "1" {
			t.Error(f)
		}
	}
}

// TestPrecision: bf16 is taken only when it is asked for, and then it is told and seen.
func TestPrecision(t *testing.T) {
	needLibrary(t)
	if !strings.Contains(engine.CPUFeatures(), "AVX512BF16") && !strings.Contains(engine.CPUFeatures(), "AMXBF16") {
		t.Skip("this CPU does not compute in bf16")
	}
	data := dataset(t, tensor.Named{Name: "input", Tensor: noise(3, 1, 28, 28)})
	plain := predict(t, open(t, digitsModel, "", nil), data, 3)["logits"]
	s := open(t, digitsModel, "", map[string]string{"precision": "bf16"})
	if d := apart(t, predict(t, s, data, 3)["logits"], plain); d < 1e-5 || d > 0.1 || s.Info().Facts["precision"] != "bf16" {
		t.Error(d, s.Info().Facts)
	}
	c, err := s.Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l := c.(*engine.Coverage).Layers; !slices.ContainsFunc(l, func(l engine.LayerCoverage) bool { return l.Op == "Conv" && l.Precision == "bf16" }) {
		t.Error(l)
	}
}

func TestCoverage(t *testing.T) {
	needLibrary(t)
	s := open(t, digitsModel, "", nil)
	doc, err := s.Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := doc.(*engine.Coverage)
	if !slices.Equal(c.Layers, []engine.LayerCoverage{{Op: "Conv", Precision: "fp32", Count: 9, Total: 9}, {Op: "MatMul", Precision: "fp32", Count: 1, Total: 1}}) {
		t.Errorf("%+v", c.Layers)
	}
	var of, kernels int
	for _, n := range c.Nodes {
		of += len(n.Of)
		if n.Kernel != "" {
			kernels++
		}
		if n.Precision == "unknown" || n.Op == "" {
			t.Errorf("%+v", n)
		}
	}
	if of < 15 || kernels < 9 || !strings.HasPrefix(c.Engine, "openvino 20") {
		t.Error(of, kernels, c.Engine)
	}
	if _, err := json.Marshal(doc); err != nil {
		t.Error(err)
	}
}

func TestBenchmark(t *testing.T) {
	needLibrary(t)
	data := dataset(t, tensor.Named{Name: "input", Tensor: noise(2, 1, 28, 28)})
	for _, options := range []map[string]string{nil, {"hint": "throughput", "streams": "2"}} {
		s := open(t, digitsModel, "", options)
		for _, batch := range []int64{1, 1, 3} {
			ns, err := s.Benchmark(t.Context(), sdk.BenchmarkRequest{Dataset: data, Batch: batch, Duration: 5 * time.Millisecond, WarmupRuns: 1})
			if err != nil || len(ns) == 0 || slices.Min(ns) <= 0 {
				t.Fatal(ns, err)
			}
		}
		if f := s.Info().Facts; options != nil && (f["hint"] != "throughput" || f["streams"] == "") || options == nil && (f["hint"] != "latency" || f["streams"] != "") {
			t.Error(f)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := open(t, digitsModel, "", nil).Benchmark(ctx, sdk.BenchmarkRequest{Dataset: data, Batch: 1, Duration: time.Minute}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// TestNames: a tensor with several names goes by the one that the model's file gives its output, in ONNX and in IR.
func TestNames(t *testing.T) {
	needLibrary(t)
	m := onnx.NewModel("test", 13)
	n := []onnx.Dim{onnx.ParamDim("N"), {Value: 2}}
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, n))
	for _, v := range [][3]string{{"Relu", "x", "a_first"}, {"Identity", "a_first", "z"}, {"Identity", "x", "y"}, {"Neg", "z", "b"}} {
		m.Graph.AppendNode(onnx.NewNode(v[0], "", v[2], []string{v[1]}, []string{v[2]}))
	}
	for _, out := range []string{"z", "b", "y"} {
		m.Graph.AddOutput(onnx.NewValueInfo(out, onnx.Float, n))
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	x := tensor.Of([]int64{2, 2}, []float32{-1, 2, 3, -4})
	data := dataset(t, tensor.Named{Name: "x", Tensor: x})
	want := map[string][]float32{"z": {0, 2, 3, 0}, "b": {0, -2, -3, 0}, "y": {-1, 2, 3, -4}}
	for _, p := range []string{path, filepath.Join(irOf(t, path), "model.xml")} {
		got := predict(t, open(t, p, "", nil), data, 2)
		for name, w := range want {
			if g, err := tensor.ToFloat32(got[name]); err != nil || !slices.EqualFunc(g, w, func(a, b float32) bool { return a == b }) {
				t.Errorf("%s: %s is %v (%v), want %v", filepath.Base(p), name, g, err, w)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	needLibrary(t)
	dir := irOf(t, digitsModel)
	xml := filepath.Join(dir, "model.xml")
	whole, err := os.ReadFile(xml)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := os.ReadFile(filepath.Join(dir, "model.bin"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(name string, xml, bin []byte) string {
		d := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(filepath.Join(d, "m.xml"), xml, 0o600), os.WriteFile(filepath.Join(d, "m.bin"), bin, 0o600)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, []byte("\x7f\x00\xfe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, format string
		options      map[string]string
		want         []string
	}{
		"no file":      {path: filepath.Join(dir, "none.xml"), want: []string{"cannot be loaded", "none.xml", "Check the path"}},
		"format":       {path: xml, format: "tflite", want: []string{`cannot run the format "tflite"`, "openvino-ir"}},
		"empty":        {path: damaged("empty", nil, bin), format: formatIR, want: []string{"cannot be loaded", "it is empty"}},
		"cut short":    {path: damaged("cut", whole[:len(whole)/2], bin), format: formatIR, want: []string{"no IR of OpenVINO"}},
		"weights gone": {path: damaged("gone", whole, nil), format: formatIR, want: []string{"cannot be loaded"}},
		"weights cut":  {path: damaged("short", whole, bin[:len(bin)/2]), format: formatIR, want: []string{"cannot be loaded"}},
		"no ONNX":      {path: bad, format: formatONNX, want: []string{"no whole ONNX model"}},
		"device":       {path: xml, options: map[string]string{"device": "TOASTER"}, want: []string{"cannot be made ready for TOASTER"}},
		"option":       {path: xml, options: map[string]string{"devise": "CPU"}, want: []string{`no option "devise"`, "device ("}},
		"property":     {path: xml, options: map[string]string{"properties.NO_SUCH": "1"}, want: []string{"NO_SUCH"}},
	} {
		_, err := host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Format: c.format, Path: c.path}, Options: c.options, Threads: 1})
		says(t, name, err, c.want...)
	}
	_, err = host{}.Probe(t.Context(), sdk.ProbeRequest{Options: map[string]string{"device": "GPU.7"}})
	says(t, "probe", err, "there is no device GPU.7", "OpenVINO finds CPU")
	p, err := host{}.Probe(t.Context(), sdk.ProbeRequest{Threads: 3})
	if err != nil || p.Fingerprint["openvino"] == "" || p.Fingerprint["threads"] != "3" || p.Fingerprint["property.INFERENCE_PRECISION_HINT"] != "f32" {
		t.Error(p, err)
	}
}

// says checks that an error is one line that says all of it, without places in OpenVINO's sources.
func says(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	t.Log(err)
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
	for _, bad := range []string{"\n", ".cpp:", "Exception from"} {
		if strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %q contains %q", what, err, bad)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		given map[string]string
		want  map[string]string // properties
		at    string            // of an error
		says  string
	}{
		{nil, map[string]string{"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": "3"}, "", ""},
		{map[string]string{"threads": "2", "precision": "auto", "hint": "throughput", "streams": "4", "properties.A_B": "YES"},
			map[string]string{"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "4", "A_B": "YES"}, "", ""},
		{map[string]string{"device": "gpu", "properties.INFERENCE_PRECISION_HINT": "f16"}, map[string]string{"INFERENCE_PRECISION_HINT": "f16", "PERFORMANCE_HINT": "LATENCY"}, "", ""},
		{map[string]string{"device": "NPU"}, map[string]string{"PERFORMANCE_HINT": "LATENCY"}, "", ""},
		{map[string]string{"threads": "0"}, nil, "threads", "at least 1"},
		{map[string]string{"streams": "2"}, nil, "streams", `hint = "throughput"`},
		{map[string]string{"streams": "few", "hint": "throughput"}, nil, "streams", `"few"`},
		{map[string]string{"hint": "speed"}, nil, "hint", `"latency" or "throughput"`},
		{map[string]string{"precision": "int8"}, nil, "precision", `"bf16"`},
		{map[string]string{"properties": "x"}, nil, "properties", "no object"},
		{map[string]string{"device": " "}, nil, "device", "no name"},
		{map[string]string{"provider.x": "y"}, nil, "provider", `no option "provider.x"`},
	} {
		o, err := engineOptions(c.given, 3)
		if c.at == "" {
			if err != nil || !maps.Equal(o.properties, c.want) {
				t.Errorf("%v: %v, %v", c.given, o.properties, err)
			}
			continue
		}
		var d sdk.Diagnostic
		if !errors.As(err, &d) || len(d.Path) != 1 || d.Path[0] != c.at || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", c.given, err)
		}
	}
}

func TestInspect(t *testing.T) {
	needLibrary(t)
	dir := irOf(t, digitsModel)
	for _, p := range []string{dir, filepath.Join(dir, "model.xml")} {
		doc, err := inspect(t.Context(), sdk.Artifact{Path: p, Format: formatIR})
		if err != nil {
			t.Fatal(err)
		}
		d := doc.(*engine.Inspection)
		m, err := onnx.ReadFile(digitsModel)
		if err != nil {
			t.Fatal(err)
		}
		shapes, err := onnx.InferShapes(m)
		if err != nil {
			t.Fatal(err)
		}
		macs, _ := onnx.CountMACs(m, shapes)
		if d.Parameters != onnx.CountParameters(m) || d.MACs != macs || d.Quantized || d.IRVersion != 11 || !strings.HasPrefix(d.Producer, "OpenVINO 20") {
			t.Errorf("%+v; ONNX has %d parameters, %d MACs", d, onnx.CountParameters(m), macs)
		}
		if len(d.Inputs) != 1 || d.Inputs[0].Name != "input" || d.Inputs[0].DType != "F32" || len(d.Inputs[0].Shape) != 4 || len(d.Outputs) != 1 || d.Outputs[0].Name != "logits" || d.Size < 300_000 {
			t.Errorf("%+v", d)
		}
	}
	if err := os.Remove(filepath.Join(dir, "model.bin")); err != nil {
		t.Fatal(err)
	}
	_, err := inspect(t.Context(), sdk.Artifact{Path: dir})
	says(t, "no weights", err, "model.bin", "lie beside it")
	_, err = inspect(t.Context(), sdk.Artifact{Path: t.TempDir()})
	says(t, "no model", err, "holds no file that ends in .xml")
}
