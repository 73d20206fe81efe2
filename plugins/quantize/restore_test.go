package quantize

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/accuracy"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// localHost grades as the core does, in this process: sqnr, cosine and top1_drop of the first output on the inputs given.
type localHost struct {
	in     map[string]tensor.Tensor
	labels []int64
	asked  []sdk.Evaluation
	t      testing.TB
}

func (h *localHost) evaluate(_ context.Context, e sdk.Evaluation) (map[string]sdk.Estimate, int64, error) {
	h.asked = append(h.asked, e)
	outputs := func(a sdk.Artifact) ([]float32, int64) {
		m, err := onnx.ReadFile(a.Path)
		if err != nil {
			h.t.Fatal(err)
		}
		name := m.Graph.Outputs()[0].Name()
		out := runModel(h.t, m, h.in)[name]
		return out, int64(len(h.labels))
	}
	base, n := outputs(e.Baseline)
	cand, _ := outputs(e.Candidate)
	var noise, signal, dot, energy float64
	for i, x := range base {
		d := float64(x) - float64(cand[i])
		noise += d * d
		signal += float64(x) * float64(x)
		dot += float64(x) * float64(cand[i])
		energy += float64(cand[i]) * float64(cand[i])
	}
	figures := map[string]float64{"sqnr": min(-10*math.Log10(noise/signal), metrics.MaxSQNR), "cosine": dot / math.Sqrt(signal*energy)}
	if n > 0 {
		figures["top1_drop"] = h.top1(base) - h.top1(cand)
	}
	out := map[string]sdk.Estimate{}
	for k, v := range figures {
		if len(e.Metrics) == 0 || slices.Contains(e.Metrics, k) {
			out[k] = sdk.Estimate{Value: v, Low: v - 0.001, High: v + 0.001}
		}
	}
	return out, n, nil
}

func (h *localHost) top1(logits []float32) float64 {
	classes := len(logits) / len(h.labels)
	hits := 0
	for i, want := range h.labels {
		row := logits[i*classes : (i+1)*classes]
		best := 0
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		if int64(best) == want {
			hits++
		}
	}
	return float64(hits) / float64(len(h.labels))
}

// controlDigits runs quantize_static on the digit network with an accuracy block.
func controlDigits(t *testing.T, c StaticConfig) (*onnx.Model, StaticFacts, *localHost, *[]sdk.Diagnostic, error) {
	t.Helper()
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 16)})
	images := digitImages(t, "mnist-test.npz", 100)
	labels, err := tensor.View[int64](npz(t, digits+"mnist-test.npz", "label"))
	if err != nil {
		t.Fatal(err)
	}
	validation := writeDataset(t, map[string]tensor.Tensor{"input": images})
	h := &localHost{in: map[string]tensor.Tensor{"input": images}, labels: labels[:100], t: t}
	j, warned := testJob(t)
	j.evaluate, j.scratch = h.evaluate, t.TempDir()
	c.Model, c.Calibration, c.Validation, c.PerChannel = digitsModel(), &data, &validation, true
	if c.Target == "" {
		c.Target = "onnxruntime-x86-vnni"
	}
	r, err := quantizeStatic(t.Context(), j, c)
	if err != nil {
		return nil, StaticFacts{}, h, warned, err
	}
	m, err := onnx.ReadFile(filepath.Join(j.outDir, outputFile))
	if err != nil {
		t.Fatal(err)
	}
	return m, r.Facts.(StaticFacts), h, warned, nil
}

// TestAccuracyHolds: where all integers hold, one candidate is measured, in the target's runtime, and nothing changes.
func TestAccuracyHolds(t *testing.T) {
	needRuntime(t)
	m, f, h, _, err := controlDigits(t, StaticConfig{Accuracy: &AccuracyConfig{MaxDrop: ptr(0.02)}})
	if err != nil {
		t.Fatal(err)
	}
	a := f.Accuracy
	if !a.Held || len(a.Restored) != 0 || a.Trials != 1 || a.Metric != "top1_drop" || a.Samples != 100 || f.ShareMACs != 1 {
		t.Errorf("facts %+v, %+v", f, a)
	}
	if len(h.asked) != 1 || h.asked[0].Runtime != "onnxruntime" || h.asked[0].Candidate.Format != "onnx" {
		t.Errorf("asked %+v", h.asked)
	}
	if g := counts(m); g["QuantizeLinear"] == 0 {
		t.Errorf("nothing is quantized: %s", show(g))
	}
}

// TestAccuracyRestores: for a bound that all integers miss, a few layers stay in float, each of them is needed, and the
// model that was written is the one that was measured.
func TestAccuracyRestores(t *testing.T) {
	needRuntime(t)
	m, f, h, _, err := controlDigits(t, StaticConfig{Accuracy: &AccuracyConfig{Metric: "sqnr", Minimum: ptr(33.0)}})
	if err != nil {
		t.Fatal(err)
	}
	a := f.Accuracy
	t.Logf("%+v", *a)
	if !a.Held || a.First >= 33 || a.Last < 33 || len(a.Restored) == 0 || len(a.Restored) > 7 {
		t.Errorf("facts %+v", *a)
	}
	for _, r := range a.Restored {
		if !strings.Contains(r, "dB alone") || !strings.Contains(r, "quantized again, sqnr ") {
			t.Errorf("restored %q", r)
		}
	}
	got, _, _ := h.evaluate(t.Context(), sdk.Evaluation{Baseline: digitsModel().Artifact, Candidate: writeModel(t, m).Artifact})
	if got["sqnr"].Value != a.Last {
		t.Errorf("the model written has %v dB, the report says %v", got["sqnr"].Value, a.Last)
	}
	kept := strings.Join(f.NodesFloat, "\n")
	for _, r := range a.Restored {
		name, _, _ := strings.Cut(r, ":")
		if !strings.Contains(kept, name+" (Conv): accuracy control gave it back") && !strings.Contains(kept, name+" (Gemm): accuracy control gave it back") {
			t.Errorf("%s is not among the nodes in float:\n%s", name, kept)
		}
	}
	if f.ShareMACs >= 1 || f.ShareMACs <= 0 {
		t.Errorf("share of MACs %v", f.ShareMACs)
	}
}

// TestAccuracyImpossible: what no choice holds is an error in plain words, or the float model.
func TestAccuracyImpossible(t *testing.T) {
	needRuntime(t)
	_, _, h, _, err := controlDigits(t, StaticConfig{Accuracy: &AccuracyConfig{Metric: "sqnr", Minimum: ptr(150.0)}})
	var d sdk.Diagnostic
	if !errors.As(err, &d) || d.Path[0] != "accuracy" || !strings.Contains(d.Detail, "sqnr 150 is asked for") || !strings.Contains(d.Detail, "What hurts most") {
		t.Errorf("error %v", err)
	}
	if len(h.asked) > 7 {
		t.Errorf("%d candidates were measured", len(h.asked))
	}
	m, f, _, warned, err := controlDigits(t, StaticConfig{Accuracy: &AccuracyConfig{Metric: "sqnr", Minimum: ptr(150.0), Otherwise: "float"}})
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile(digits + "digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := m.Marshal(); err != nil || string(b) != string(original) {
		t.Errorf("the model that is passed on is not the one that came: %v", err)
	}
	if f.Accuracy.Held || f.ShareMACs != 0 || len(f.NodesFloat) != 10 || len(*warned) != 1 {
		t.Errorf("facts %+v; warned %v", f, *warned)
	}
}

// TestAccuracyWorst holds the end of the interval within the bound: a drop of 0 has one of 0.001.
func TestAccuracyWorst(t *testing.T) {
	needRuntime(t)
	g := gate{config: &AccuracyConfig{Worst: true}, path: filepath.Join(t.TempDir(), "c.onnx"),
		evaluate: func(context.Context, sdk.Evaluation) (map[string]sdk.Estimate, int64, error) {
			return map[string]sdk.Estimate{"top1_drop": {Value: 0.01, Low: -0.01, High: 0.03}}, 10, nil
		}}
	var err error
	if g.gauge, err = accuracy.DropGauge("top1"); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.ReadFile(digits + "digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if loss, err := g.loss(t.Context(), &variant{model: m}); err != nil || loss != 0.03 {
		t.Errorf("loss %v, %v", loss, err)
	}
	// What is wrong with a candidate is said at the block.
	g.evaluate = func(context.Context, sdk.Evaluation) (map[string]sdk.Estimate, int64, error) {
		return nil, 0, sdk.Diagnostics{{Summary: "the engine does not load it"}}
	}
	var d sdk.Diagnostic
	if _, err := g.loss(t.Context(), &variant{model: m}); !errors.As(err, &d) || d.Path[0] != "accuracy" {
		t.Errorf("error %v", err)
	}
}

func TestAccuracyArguments(t *testing.T) {
	for _, c := range []struct {
		name   string
		config AccuracyConfig
		arg    string
	}{
		{"no bound", AccuracyConfig{}, "max_drop"},
		{"two bounds", AccuracyConfig{MaxDrop: ptr(0.1), Minimum: ptr(0.1), Metric: "cosine"}, "minimum"},
		{"below zero", AccuracyConfig{MaxDrop: ptr(-0.1)}, "max_drop"},
		{"no number", AccuracyConfig{MaxDrop: ptr(math.NaN())}, "max_drop"},
		{"sqnr has no drop", AccuracyConfig{MaxDrop: ptr(1.0), Metric: "sqnr"}, "metric"},
		{"mse has no minimum", AccuracyConfig{Minimum: ptr(1.0), Metric: "mse"}, "minimum"},
		{"time", AccuracyConfig{MaxDrop: ptr(0.1), TimeLimit: ptr("ten minutes")}, "time_limit"},
		{"time to come", AccuracyConfig{MaxDrop: ptr(0.1), TimeLimit: ptr("-3m")}, "time_limit"},
	} {
		ds := StaticConfig{Accuracy: &c.config}.Validate(t.Context())
		if len(ds) != 1 || len(ds[0].Path) != 2 || ds[0].Path[1] != c.arg || ds[0].Detail == "" {
			t.Errorf("%s: %+v", c.name, ds)
		}
	}
	vnni, trt := row(t, "onnxruntime-x86-vnni"), row(t, "tensorrt")
	ok := &AccuracyConfig{MaxDrop: ptr(0.1)}
	for _, c := range []struct {
		name   string
		config StaticConfig
		target *Target
		arg    string
	}{
		{"no data", StaticConfig{Accuracy: ok}, vnni, "validation"},
		{"data alone", StaticConfig{Validation: &sdk.Dataset{}}, vnni, "validation"},
		{"no engine", StaticConfig{Accuracy: ok, Validation: &sdk.Dataset{}}, trt, "accuracy"},
		{"states", StaticConfig{Accuracy: ok, Validation: &sdk.Dataset{}, States: map[string]string{"h": "hn"}}, vnni, "accuracy"},
		{"neither", StaticConfig{}, vnni, ""},
		{"both", StaticConfig{Accuracy: ok, Validation: &sdk.Dataset{}}, vnni, ""},
	} {
		ds := c.config.planAccuracy(c.target)
		if c.arg == "" && len(ds) != 0 || c.arg != "" && (len(ds) != 1 || ds[0].Path[0] != c.arg) {
			t.Errorf("%s: %+v", c.name, ds)
		}
	}
}
