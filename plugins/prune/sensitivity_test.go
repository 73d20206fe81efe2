package prune

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

func scanOf(c SensitivityConfig) SensitivityConfig {
	if c.What == "" {
		c.What = sensitivity.Channels
	}
	if c.Importance == "" {
		c.Importance = "lamp"
	}
	if c.Pattern == "" {
		c.Pattern = sparse.Unstructured
	}
	if c.Ratios == nil {
		c.Ratios = []float64{0.25, 0.5, 0.75}
	}
	return c
}

func scanned(t *testing.T, j job, c SensitivityConfig) (*sensitivity.File, SensitivityFacts) {
	t.Helper()
	c = scanOf(c)
	if ds := c.Validate(t.Context()); ds.HasErrors() {
		t.Fatal(ds)
	}
	r, err := pruneSensitivity(t.Context(), j, c)
	if err != nil {
		t.Fatal(err)
	}
	f, err := sensitivity.Read(filepath.Join(j.outDir, r.Outputs["sensitivity"].Path))
	if err != nil {
		t.Fatal(err)
	}
	return f, r.Facts.(SensitivityFacts)
}

// TestScan: groups and layers of a real net; the more leaves the more is lost; the first layers are worse than the last
// where it is so; and prune_channels and prune_weights take the scan.
func TestScan(t *testing.T) {
	withEngine(t)
	images := digitImages(t, 24)
	data := shardsOf(t, "input", images)
	for _, what := range []string{sensitivity.Channels, sensitivity.Weights} {
		j, _ := weightsJob(t)
		f, facts := scanned(t, j, SensitivityConfig{Model: modelAt(digitsModelPath), What: what, Calibration: data, Ratios: []float64{0.3, 0.8}})
		if f.Metric != noiseMetric || facts.Samples != 24 || len(f.Groups) < 5 || facts.Trials != int64(2*len(f.Groups)) || len(facts.Sensitivity.Lines) != len(f.Groups) {
			t.Fatalf("%s: %+v", what, facts)
		}
		worse := 0
		for _, g := range f.Groups {
			if g.Elements < 10 || len(g.Points) != 2 || len(g.Nodes) == 0 {
				t.Errorf("%s: group %+v", what, g)
			}
			if g.Points[1].Loss > g.Points[0].Loss {
				worse++
			}
		}
		if worse < len(f.Groups)-1 {
			t.Errorf("%s: in %d of %d groups more loss when more left", what, worse, len(f.Groups))
		}
		artifact := &sdk.Artifact{Kind: sensitivity.Kind, Format: sensitivity.Format, Path: filepath.Join(j.outDir, "sensitivity.json")}
		if what == sensitivity.Weights {
			// The same share of all weights, by the scan, is nearer to the original than the same share of each layer.
			share := 0.6
			whole, err := onnx.ReadFile(digitsModelPath)
			if err != nil {
				t.Fatal(err)
			}
			in := map[string]tensor.Tensor{"input": images}
			want := answers(t, whole, in)
			even, _ := prunedWeights(t, WeightsConfig{Model: modelAt(digitsModelPath), Sparsity: &share})
			uneven, facts := prunedWeights(t, WeightsConfig{Model: modelAt(digitsModelPath), Sparsity: &share, Sensitivity: artifact})
			a, b := agreementDB(want, answers(t, even, in)), agreementDB(want, answers(t, uneven, in))
			t.Logf("%.2f zeros: %.1f dB alike, %.1f dB by the scan", facts.ShareZeros, a, b)
			if b < a+1 || math.Abs(facts.ShareZeros-share) > 0.01 {
				t.Errorf("by the scan %.1f dB at %.3f zeros, alike %.1f dB", b, facts.ShareZeros, a)
			}
			continue
		}
		ratio, one := 0.3, int64(1)
		lamp := "lamp"
		j, _ = weightsJob(t)
		if _, err := pruneChannels(t.Context(), j, ChannelsConfig{Model: modelAt(digitsModelPath), Ratio: &ratio, Sensitivity: artifact, Importance: &lamp, Scope: scopeEach, MaxRatio: 0.9, RoundTo: &one, Target: "auto"}); err != nil {
			t.Errorf("prune_channels does not take the scan: %v", err)
		}
	}
}

// TestScanByMetric: the core grades each candidate against the original, and the interval is kept.
func TestScanByMetric(t *testing.T) {
	withEngine(t)
	j, _ := weightsJob(t)
	calls := 0
	j.evaluate = func(_ context.Context, e sdk.Evaluation) (map[string]sdk.Estimate, int64, error) {
		calls++
		if _, err := os.Stat(e.Candidate.Path); err != nil || e.Baseline.Path == "" {
			t.Errorf("candidate %v of baseline %v: %v", e.Candidate, e.Baseline, err)
		}
		x := float64(calls) / 100
		return map[string]sdk.Estimate{"top1_drop": {Value: x, Low: x - 0.005, High: x + 0.005}}, 40, nil
	}
	f, facts := scanned(t, j, SensitivityConfig{Model: modelOf(t, twin(false)), What: sensitivity.Weights, Validation: shardsOf(t, "x", noiseOf(1, 1, 4, 16, 6, 6))})
	if f.Metric != "top1_drop" || f.Samples != 40 || calls != 12 || facts.Trials != 12 {
		t.Errorf("%+v, %d calls", facts, calls)
	}
	if p := f.Groups[1].Points[0]; p.Loss != 0.04 || p.Low == nil || *p.Low != 0.035 || *p.High != 0.045 {
		t.Errorf("point %+v", p)
	}
	j.evaluate = func(context.Context, sdk.Evaluation) (map[string]sdk.Estimate, int64, error) {
		return nil, 0, sdk.Diagnostics{{Summary: "no"}}
	}
	_, err := pruneSensitivity(t.Context(), j, scanOf(SensitivityConfig{Model: modelOf(t, twin(false)), Validation: shardsOf(t, "x", noiseOf(1, 1, 4, 16, 6, 6))}))
	wantAttr(t, "a candidate that cannot be graded", err, "validation")
}

func TestScanErrors(t *testing.T) {
	withEngine(t)
	for name, c := range map[string]struct {
		config SensitivityConfig
		attr   string
	}{
		"falling ratios": {SensitivityConfig{Ratios: []float64{0.5, 0.25}}, "ratios"},
		"no ratios":      {SensitivityConfig{Ratios: []float64{}}, "ratios"},
		"all":            {SensitivityConfig{Ratios: []float64{1}}, "ratios"},
		"2:4":            {SensitivityConfig{What: sensitivity.Weights, Pattern: "2:4"}, "pattern"},
		"a pattern":      {SensitivityConfig{Pattern: "4x4"}, "pattern"},
		"no pattern":     {SensitivityConfig{What: sensitivity.Weights, Pattern: "x"}, "pattern"},
		"sqnr":           {SensitivityConfig{Metric: "sqnr"}, "metric"},
	} {
		ds := scanOf(c.config).Validate(context.Background())
		if len(ds) == 0 || fmt.Sprint(ds[0].Path[0]) != c.attr {
			t.Errorf("%s: %v, want one about %s", name, ds, c.attr)
		}
	}
	good := shardsOf(t, "x", noiseOf(1, 1, 4, 16, 6, 6))
	for name, c := range map[string]struct {
		config SensitivityConfig
		attr   string
	}{
		"no data":           {SensitivityConfig{}, "validation"},
		"metric, no labels": {SensitivityConfig{Metric: "top1", Calibration: good}, "metric"},
		"activation":        {SensitivityConfig{Importance: "activation", Validation: good}, "calibration"},
		"both":              {SensitivityConfig{Validation: good, Calibration: good}, "calibration"},
		"other data":        {SensitivityConfig{Calibration: shardsOf(t, "z", noiseOf(1, 1, 4, 2))}, "calibration"},
		"all is kept":       {SensitivityConfig{What: sensitivity.Weights, Calibration: good, Keep: []string{"*"}}, "model"},
	} {
		c.config.Model = modelOf(t, twin(false))
		j, _ := weightsJob(t)
		_, err := pruneSensitivity(t.Context(), j, scanOf(c.config))
		wantAttr(t, name, err, c.attr)
		if left, _ := os.ReadDir(j.outDir); len(left) > 0 {
			t.Errorf("%s: something is left in the output folder", name)
		}
	}
}

// TestScanLeavesTheModel: a scan changes nothing, and the same scan gives the same bytes.
func TestScanLeavesTheModel(t *testing.T) {
	withEngine(t)
	in := modelOf(t, twin(false))
	before, _ := os.ReadFile(in.Path)
	data := shardsOf(t, "x", noiseOf(1, 1, 4, 16, 6, 6))
	var first string
	for range 2 {
		j, _ := weightsJob(t)
		_, facts := scanned(t, j, SensitivityConfig{Model: in, Calibration: data, Ratios: []float64{0.5}})
		b, err := os.ReadFile(filepath.Join(j.outDir, "sensitivity.json"))
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(b)
		} else if first != string(b) {
			t.Error("the same scan gave other bytes")
		}
		if !strings.Contains(strings.Join(facts.Most, "\n"), "noise") {
			t.Errorf("facts: %+v", facts)
		}
	}
	if after, _ := os.ReadFile(in.Path); string(after) != string(before) {
		t.Error("the input changed")
	}
}
