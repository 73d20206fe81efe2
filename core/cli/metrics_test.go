package cli_test

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/core/report"
)

// TestMetricsReferee has whole runs give the figures of scikit-learn, sacreBLEU and jiwer on the same data, and intervals near
// those of a bootstrap in NumPy. It needs OPTIMIZE_REFEREE_PYTHON with the packages of bench/requirements.txt.
func TestMetricsReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	p := newPlace(t)
	if out, err := exec.Command(python, "testdata/referee/metrics.py", p.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"base.onnx", "noisy.onnx"} {
		b, err := os.ReadFile(filepath.Join("testdata/models", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(p.dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	compared := 0
	for _, task := range []string{"classes", "rare", "maps", "tokens", "texts"} {
		dir := filepath.Join(p.dir, task)
		p.run(t, 0, "apply", filepath.Join(dir, "recipe.hcl"), "--no-color")
		runs, err := filepath.Glob(filepath.Join(dir, ".optimize/runs/*/run.json"))
		if err != nil || len(runs) != 1 {
			t.Fatal(runs, err)
		}
		r, err := report.ReadFile(runs[0])
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "want.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Baseline, Noisy map[string]float64
			Bounds          map[string][2]float64
		}
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		for _, m := range r.Evaluations[0].Measurements {
			figures := want.Baseline
			if m.Name == "noisy" {
				figures = want.Noisy
			}
			for name, w := range figures {
				got, ok := m.Metrics[name]
				if !ok || math.Abs(got.Point-w) > 2e-6*max(1, math.Abs(w)) {
					t.Errorf("%s: %s of %s is %v, want %v", task, name, m.Name, got, w)
				}
				compared++
			}
			if m.Name != "noisy" {
				continue
			}
			for name, w := range want.Bounds {
				got, width := m.Metrics[name], w[1]-w[0]
				if math.Abs(got.Low-w[0]) > width/6 || math.Abs(got.High-w[1]) > width/6 {
					t.Errorf("%s: the interval of %s is %+v, want %v", task, name, got, w)
				}
				compared++
			}
		}
	}
	if compared < 100 {
		t.Errorf("only %d figures were compared", compared)
	}
	t.Logf("%d figures", compared)
}
