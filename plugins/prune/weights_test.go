package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/layer"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// withEngine loads ONNX Runtime, or skips the test where there is none.
func withEngine(t testing.TB) {
	t.Helper()
	lib, err := ort.Find()
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatalf("ONNX Runtime is required here: %v", err)
		}
		t.Skipf("no ONNX Runtime: %v", err)
	}
	if err := ort.Load(lib); err != nil {
		t.Fatal(err)
	}
}

const digitsModelPath = "../../recipes/digits/digits.onnx"

func modelAt(path string) sdk.Model {
	return sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}
}

func modelOf(t testing.TB, m *onnx.Model) sdk.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return modelAt(path)
}

// shardsOf materialises one field as a dataset.
func shardsOf(t testing.TB, field string, x tensor.Tensor) *sdk.Dataset {
	t.Helper()
	dir := t.TempDir()
	i := tensor.Index{Samples: x.Shape[0], Fields: []tensor.Field{{Name: field, DType: x.DType, Shape: x.Shape[1:]}},
		Shards: []tensor.Shard{{File: "shard-00000.safetensors", Samples: x.Shape[0]}}}
	if err := tensor.WriteFile(filepath.Join(dir, i.Shards[0].File), []tensor.Named{{Name: field, Tensor: x}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(dir, i); err != nil {
		t.Fatal(err)
	}
	return &sdk.Dataset{Artifact: sdk.Artifact{Kind: "dataset", Path: dir}}
}

// noiseOf are numbers that look random.
func noiseOf(seed uint32, scale float32, dims ...int64) tensor.Tensor {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		seed = seed*1664525 + 1013904223
		v[i] = scale * (float32(seed>>8)/(1<<23) - 1)
	}
	return tensor.Of(dims, v)
}

// weightsJob is a job without a host; what it warns of lands in the slice.
func weightsJob(t testing.TB) (job, *sdk.Diagnostics) {
	warned := &sdk.Diagnostics{}
	return job{outDir: t.TempDir(), scratch: t.TempDir(), threads: 2, progress: func(string, int64, int64, string) {},
		warn: func(d sdk.Diagnostic) { *warned = append(*warned, d) }}, warned
}

func weightsOf(c WeightsConfig) WeightsConfig {
	if c.Pattern == "" {
		c.Pattern = sparse.Unstructured
	}
	if c.Method == "" {
		c.Method = methodMagnitude
	}
	if c.Scope == "" {
		c.Scope = scopeLayer
	}
	if c.Damping == 0 {
		c.Damping = 0.01
	}
	if c.Targets == nil {
		c.Targets = []string{"onnxruntime"}
	}
	return c
}

// prunedWeights runs the step.
func prunedWeights(t testing.TB, c WeightsConfig) (*onnx.Model, WeightsFacts) {
	t.Helper()
	c = weightsOf(c)
	if ds := c.Validate(t.Context()); ds.HasErrors() {
		t.Fatal(ds)
	}
	j, _ := weightsJob(t)
	r, err := pruneWeights(t.Context(), j, c)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
	if err != nil {
		t.Fatal(err)
	}
	return m, r.Facts.(WeightsFacts)
}

func answers(t testing.TB, m *onnx.Model, in map[string]tensor.Tensor) []float32 {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tensor.ToFloat32(out[m.Graph.Outputs()[0].Name()])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func agreementDB(a, b []float32) float64 {
	var signal, noise float64
	for i := range a {
		d := float64(a[i] - b[i])
		signal, noise = signal+float64(a[i])*float64(a[i]), noise+d*d
	}
	return 10 * math.Log10(signal/noise)
}

// twin is a small net with a convolution in groups, a Gemm and a MatMul, in float16 when half is set.
func twin(half bool) *onnx.Model {
	m := onnx.NewModel("twin", 17)
	g := m.Graph
	elem := onnx.Float
	put := func(name string, seed uint32, dims ...int64) {
		x := noiseOf(seed, 0.5, dims...)
		if half {
			v, _ := tensor.ToFloat32(x)
			x, _ = tensor.FromFloat32(tensor.F16, dims, v)
		}
		g.AddInitializer(onnx.NewTensor(name, x))
	}
	if half {
		elem = onnx.Float16
	}
	g.AddInput(onnx.NewValueInfo("x", elem, []onnx.Dim{onnx.ParamDim("N"), {Value: 16}, {Value: 6}, {Value: 6}}))
	put("c.w", 1, 32, 8, 3, 3)
	put("d.w", 2, 32, 1, 3, 3)
	put("g.w", 3, 24, 32)
	put("m.w", 4, 24, 12)
	g.AppendNode(onnx.NewNode("Conv", "", "c", []string{"x", "c.w"}, []string{"c.y"}, onnx.IntAttr("group", 2), onnx.IntsAttr("pads", 1, 1, 1, 1)))
	g.AppendNode(onnx.NewNode("Relu", "", "r", []string{"c.y"}, []string{"r.y"}))
	g.AppendNode(onnx.NewNode("Conv", "", "d", []string{"r.y", "d.w"}, []string{"d.y"}, onnx.IntAttr("group", 32)))
	g.AppendNode(onnx.NewNode("GlobalAveragePool", "", "p", []string{"d.y"}, []string{"p.y"}))
	g.AppendNode(onnx.NewNode("Flatten", "", "f", []string{"p.y"}, []string{"f.y"}))
	g.AppendNode(onnx.NewNode("Gemm", "", "g", []string{"f.y", "g.w"}, []string{"g.y"}, onnx.IntAttr("transB", 1)))
	g.AppendNode(onnx.NewNode("MatMul", "", "m", []string{"g.y", "m.w"}, []string{"y"}))
	g.AddOutput(onnx.NewValueInfo("y", elem, nil))
	return m
}

// TestWeightsPatterns: each layer keeps to the pattern in the order in which it multiplies, and what is told is true.
func TestWeightsPatterns(t *testing.T) {
	withEngine(t)
	data := shardsOf(t, "x", noiseOf(9, 1, 24, 16, 6, 6))
	for _, method := range []string{methodMagnitude, methodWanda, methodSparseGPT} {
		for _, c := range []struct {
			pattern string
			share   float64
			d       bool // the depthwise convolution is pruned too
		}{{"2:4", 0.5, false}, {"1:4", 0.75, false}, {"unstructured", 0.5, true}, {"4x1", 0.5, true}} {
			t.Run(method+" "+c.pattern, func(t *testing.T) {
				conf := WeightsConfig{Model: modelOf(t, twin(false)), Pattern: c.pattern, Method: method}
				if method != methodMagnitude {
					conf.Calibration = data
				}
				m, f := prunedWeights(t, conf)
				layers, _ := layer.Find(m, nil)
				p, _ := sparse.ParsePattern(c.pattern)
				listed, err := onnx.Sparsities(m)
				if err != nil || len(listed) != len(f.Layers) {
					t.Fatalf("%d weights are listed, %d layers told of (%v)", len(listed), len(f.Layers), err)
				}
				for _, l := range layers {
					rows, err := l.Rows()
					if err != nil {
						t.Fatal(err)
					}
					zeros := 0
					for _, v := range rows {
						if v == 0 {
							zeros++
						}
					}
					share := float64(zeros) / float64(len(rows))
					if l.Name() == "d" && !c.d {
						if share != 0 {
							t.Errorf("the depthwise convolution has %.3f zeros", share)
						}
						continue
					}
					if math.Abs(share-c.share) > 0.07 {
						t.Errorf("%s: %.3f of the weights are zero", l.Name(), share)
					}
					if ok, o, i := p.Holds(rows, l.Groups*l.N, l.K, l.Channels); !ok {
						t.Errorf("%s: output %d breaks %s at input %d", l.Name(), o, c.pattern, i)
					}
				}
				if math.Abs(f.ShareZeros-c.share) > 0.03 || f.PackedAfter >= f.PackedBefore || f.BytesBitMask >= f.BytesWeights {
					t.Errorf("facts: %+v", f)
				}
				if !c.d && !strings.Contains(strings.Join(f.NodesKept, "\n"), "d (Conv): "+c.pattern+" keeps") {
					t.Errorf("the depthwise convolution is not named: %v", f.NodesKept)
				}
			})
		}
	}
}

// TestWeightsMethods: on a real net and images that calibration did not see, data beat magnitudes, and making up for what
// went beats both.
func TestWeightsMethods(t *testing.T) {
	withEngine(t)
	whole, err := onnx.ReadFile(digitsModelPath)
	if err != nil {
		t.Fatal(err)
	}
	images := digitImages(t, 320)
	seen, _ := images.Rows(0, 256)
	rest, _ := images.Rows(256, 64)
	in := map[string]tensor.Tensor{"input": rest}
	want := answers(t, whole, in)
	db := map[string]float64{}
	for _, method := range []string{methodMagnitude, methodWanda, methodSparseGPT} {
		c := WeightsConfig{Model: modelAt(digitsModelPath), Pattern: "2:4", Method: method}
		if method != methodMagnitude {
			c.Calibration = shardsOf(t, "input", seen)
		}
		m, f := prunedWeights(t, c)
		db[method] = agreementDB(want, answers(t, m, in))
		t.Logf("%s: %.1f dB, error of products %v", method, db[method], f.OutputError)
	}
	if !(db[methodSparseGPT] > db[methodMagnitude]+3 && db[methodSparseGPT] > db[methodWanda]) {
		t.Errorf("agreement in dB: %v", db)
	}
}

// digitImages are images of the recipe as its network takes them.
func digitImages(t testing.TB, n int64) tensor.Tensor {
	t.Helper()
	z, err := zipField("../../recipes/digits/mnist-train.npz", "image", n*784)
	if err != nil {
		t.Fatal(err)
	}
	f := make([]float32, len(z))
	for i, v := range z {
		f[i] = float32(v) / 255
	}
	return tensor.Of([]int64{n, 1, 28, 28}, f)
}

// TestWeightsScopes: where layers compete, the share of all is met and layers lose different shares; LAMP never empties
// one.
func TestWeightsScopes(t *testing.T) {
	share := 0.9
	for _, scope := range []string{scopeLayer, scopeGlobal, scopeLAMP} {
		m, f := prunedWeights(t, WeightsConfig{Model: modelOf(t, twin(false)), Scope: scope, Sparsity: &share})
		if math.Abs(f.ShareZeros-share) > 1e-3 {
			t.Errorf("%s: %.4f are zero", scope, f.ShareZeros)
		}
		layers, _ := layer.Find(m, nil)
		apart := false
		for _, l := range layers {
			v, _ := l.Weight.Float32s()
			zeros := 0
			for _, x := range v {
				if x == 0 {
					zeros++
				}
			}
			got := float64(zeros) / float64(len(v))
			apart = apart || math.Abs(got-share) > 0.01
			if got == 1 {
				t.Errorf("%s: %s is empty", scope, l.Name())
			}
		}
		if apart == (scope == scopeLayer) {
			t.Errorf("%s: layers lose different shares: %v", scope, apart)
		}
	}
}

func TestWeightsRatiosAndKeep(t *testing.T) {
	m, f := prunedWeights(t, WeightsConfig{Model: modelOf(t, twin(true)), Keep: []string{"m"}, Ratios: map[string]float64{"*": 0.5, "c": 0.25, "d": 0}})
	want := map[string]float64{"c.w": 0.25, "g.w": 0.5, "d.w": 0, "m.w": 0}
	for name, share := range want {
		w := m.Graph.Initializer(name)
		v, err := w.Float32s()
		if err != nil || w.DataType != onnx.Float16 {
			t.Fatalf("%s is %v (%v)", name, w.DataType, err)
		}
		zeros := 0
		for _, x := range v {
			if x == 0 {
				zeros++
			}
		}
		if got := float64(zeros) / float64(len(v)); math.Abs(got-share) > 0.02 {
			t.Errorf("%s: %.3f zeros, want %.2f", name, got, share)
		}
	}
	if kept := strings.Join(f.NodesKept, "\n"); !strings.Contains(kept, `m (MatMul): keep has "m"`) || !strings.Contains(kept, "d (Conv): its share is 0") {
		t.Errorf("kept: %s", kept)
	}
}

// TestWeightsBySensitivity: each layer loses what the scan allows it.
func TestWeightsBySensitivity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	scan := sensitivity.File{What: sensitivity.Weights, Pattern: sparse.Unstructured, Method: methodMagnitude, Metric: "noise", Samples: 1, Groups: []sensitivity.Group{
		{Name: "c", Nodes: []string{"c"}, Elements: 2304, Points: []sensitivity.Point{{Ratio: 0.5, Loss: 1}}},
		{Name: "g", Nodes: []string{"g"}, Elements: 768, Points: []sensitivity.Point{{Ratio: 0.25, Loss: 1}, {Ratio: 0.9, Loss: 1.5}}},
	}}
	if err := scan.Write(path); err != nil {
		t.Fatal(err)
	}
	share := 0.3
	m, f := prunedWeights(t, WeightsConfig{Model: modelOf(t, twin(false)), Sparsity: &share, Sensitivity: &sdk.Artifact{Path: path}})
	if math.Abs(f.ShareZeros-share) > 0.01 || len(f.Layers) != 2 {
		t.Errorf("%.3f zeros in %v", f.ShareZeros, f.Layers)
	}
	_ = m
	for name, damage := range map[string]func(*sensitivity.File){
		"channels": func(f *sensitivity.File) { f.What = sensitivity.Channels },
		"another":  func(f *sensitivity.File) { f.Groups[0].Name, f.Groups[1].Name = "a", "b" },
		"too much": func(f *sensitivity.File) { f.Groups = f.Groups[:1]; f.Groups[0].Points[0].Ratio = 0.1 },
	} {
		bad := scan
		bad.Groups = append([]sensitivity.Group(nil), scan.Groups...)
		bad.Groups[0].Points = append([]sensitivity.Point(nil), scan.Groups[0].Points...)
		damage(&bad)
		if err := bad.Write(path); err != nil {
			t.Fatal(err)
		}
		j, _ := weightsJob(t)
		_, err := pruneWeights(t.Context(), j, weightsOf(WeightsConfig{Model: modelOf(t, twin(false)), Sparsity: &share, Sensitivity: &sdk.Artifact{Path: path}}))
		wantAttr(t, name, err, "sensitivity")
	}
}

func wantAttr(t *testing.T, name string, err error, attr string) {
	t.Helper()
	var d sdk.Diagnostic
	if !errors.As(err, &d) || len(d.Path) == 0 || fmt.Sprint(d.Path[0]) != attr {
		t.Errorf("%s: %v does not point at %s", name, err, attr)
	}
}

// TestNoZerosNoChange: with nothing to lose the weights are those of the original, bit by bit.
func TestNoZerosNoChange(t *testing.T) {
	none := 0.0
	j, _ := weightsJob(t)
	_, err := pruneWeights(t.Context(), j, weightsOf(WeightsConfig{Model: modelOf(t, twin(false)), Sparsity: &none}))
	wantAttr(t, "nothing goes", err, "model")
	m, _ := prunedWeights(t, WeightsConfig{Model: modelOf(t, twin(false)), Ratios: map[string]float64{"c": 0, "d": 0, "m": 0}})
	for _, name := range []string{"c.w", "d.w", "m.w"} {
		a, b := twin(false).Graph.Initializer(name), m.Graph.Initializer(name)
		x, _ := a.Float32s()
		y, _ := b.Float32s()
		for i := range x {
			if x[i] != y[i] {
				t.Fatalf("%s changed", name)
			}
		}
	}
}

func TestWeightsErrors(t *testing.T) {
	withEngine(t)
	half, one := 0.5, 1.0
	zero := int64(0)
	for name, c := range map[string]struct {
		config WeightsConfig
		attr   string
	}{
		"pattern":          {WeightsConfig{Pattern: "4:2"}, "pattern"},
		"sparsity":         {WeightsConfig{Sparsity: &one}, "sparsity"},
		"fixed share":      {WeightsConfig{Pattern: "2:4", Sparsity: &half}, "sparsity"},
		"fixed ratios":     {WeightsConfig{Pattern: "2:4", Ratios: map[string]float64{"c": 0.5}}, "ratios"},
		"ratio":            {WeightsConfig{Ratios: map[string]float64{"c": 1}}, "ratios"},
		"scope of 2:4":     {WeightsConfig{Pattern: "2:4", Scope: scopeGlobal}, "scope"},
		"scope of blocks":  {WeightsConfig{Pattern: "4x4", Scope: scopeLAMP}, "scope"},
		"scope of wanda":   {WeightsConfig{Method: methodWanda, Scope: scopeGlobal}, "scope"},
		"damping":          {WeightsConfig{Damping: 11}, "damping"},
		"batch":            {WeightsConfig{Batch: &zero}, "batch"},
		"an empty pattern": {WeightsConfig{Keep: []string{""}}, "keep"},
	} {
		ds := weightsOf(c.config).Validate(context.Background())
		if len(ds) == 0 || fmt.Sprint(ds[0].Path[0]) != c.attr {
			t.Errorf("%s: %v, want one about %s", name, ds, c.attr)
		}
	}
	quantized := twin(false)
	quantized.Graph.AppendNode(onnx.NewNode("DequantizeLinear", "", "dq", []string{"q", "s"}, []string{"z"}))
	quantized.Graph.AddInitializer(onnx.NewTensor("q", tensor.Of([]int64{2}, []int8{1, 2})))
	quantized.Graph.AddInitializer(onnx.NewFloats("s", []float32{1}))
	nan := twin(false)
	nan.Graph.AddInitializer(onnx.NewFloats("g.w", append(make([]float32, 24*32-1), float32(math.NaN())), 24, 32))
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, []byte("no model at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := shardsOf(t, "z", noiseOf(1, 1, 4, 2))
	infinite := noiseOf(1, 1, 4, 16, 6, 6)
	v, _ := tensor.View[float32](infinite)
	v[700] = float32(math.Inf(1))
	for name, c := range map[string]struct {
		config WeightsConfig
		attr   string
	}{
		"no model":          {WeightsConfig{Model: modelAt(bad)}, "model"},
		"quantized":         {WeightsConfig{Model: modelOf(t, quantized)}, "model"},
		"a NaN":             {WeightsConfig{Model: modelOf(t, nan)}, "model"},
		"everything stays":  {WeightsConfig{Model: modelOf(t, twin(false)), Keep: []string{"*"}}, "model"},
		"no layer so named": {WeightsConfig{Model: modelOf(t, twin(false)), Ratios: map[string]float64{"q*": 0.5}}, "ratios"},
		"no data":           {WeightsConfig{Model: modelOf(t, twin(false)), Method: methodWanda}, "calibration"},
		"data for nothing":  {WeightsConfig{Model: modelOf(t, twin(false)), Calibration: wrong}, "calibration"},
		"other data":        {WeightsConfig{Model: modelOf(t, twin(false)), Method: methodSparseGPT, Calibration: wrong}, "calibration"},
		"infinite data":     {WeightsConfig{Model: modelOf(t, twin(false)), Method: methodSparseGPT, Calibration: shardsOf(t, "x", infinite)}, "calibration"},
	} {
		j, _ := weightsJob(t)
		_, err := pruneWeights(t.Context(), j, weightsOf(c.config))
		wantAttr(t, name, err, c.attr)
		if left, _ := os.ReadDir(j.outDir); len(left) > 0 {
			t.Errorf("%s: something is left in the output folder", name)
		}
	}
}

// TestPlanTellsTheTruth: a warning for each target that gains nothing, none where something is gained.
func TestPlanTellsTheTruth(t *testing.T) {
	for _, c := range []struct {
		pattern string
		targets []string
		warned  string
	}{
		{"unstructured", []string{"onnxruntime"}, "ONNX Runtime"},
		{"unstructured", []string{"onnxruntime", "coreml", "tensorrt", "tflite"}, "ONNX Runtime, TensorRT, TensorFlow Lite"},
		{"unstructured", []string{"coreml"}, ""},
		{"2:4", []string{"tensorrt"}, ""},
		{"1:4", []string{"tensorrt", "openvino"}, "OpenVINO"},
		{"4:8", []string{"tensorrt"}, "TensorRT"},
		{"16x1", []string{"onnxruntime"}, "ONNX Runtime"},
	} {
		p, err := sparse.ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		ds := planGains(c.targets, p, weightsOf(WeightsConfig{Pattern: c.pattern}).sparsity(p))
		switch {
		case c.warned == "" && len(ds) > 0:
			t.Errorf("%s on %v: %v", c.pattern, c.targets, ds)
		case c.warned != "" && (len(ds) != 1 || ds[0].Severity != sdk.SeverityWarning || !strings.HasSuffix(ds[0].Summary, " on "+c.warned)):
			t.Errorf("%s on %v: %v, want a warning about %s", c.pattern, c.targets, ds, c.warned)
		}
		if g := gains(c.targets, p, 0.5); len(g) != len(c.targets) {
			t.Errorf("%s on %v: %v", c.pattern, c.targets, g)
		}
	}
}
