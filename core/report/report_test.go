package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/core/evaluate"
	"github.com/optimize-hcl/optimize/metrics"
)

func one(v float64) metrics.Estimate { return metrics.Estimate{Point: v, Low: v, High: v} }

func TestTable(t *testing.T) {
	e := &Evaluation{
		Result: evaluate.Result{Name: "digits", Samples: 2000, Measurements: []evaluate.Measurement{
			{Name: "baseline", Facts: map[string]string{"runtime": "onnxruntime", "runtime_version": "1.32.0"}, Metrics: map[string]metrics.Estimate{
				"size": one(316837), "parameters": one(78426), "macs": one(9345920), "top1": {Point: 0.982, Low: 0.976, High: 0.988}, "latency_p50": one(0.0931), "speedup": one(1),
			}, Coverage: json.RawMessage(`{"ops":[{"op":"Conv","precision":"fp32","count":9}]}`)},
			{Name: "int8", LatencyReused: true, Metrics: map[string]metrics.Estimate{
				"size": one(999), "parameters": one(77418), "macs": one(9345920), "top1": one(0.981), "top1_drop": {Point: 0.001, Low: -0.0005, High: 0.0025},
				"agreement": one(0.999), "latency_p50": one(0.0787), "speedup": {Point: 1.43, Low: 1.41, High: 1.45},
			}, Coverage: json.RawMessage(`{"ops":[{"op":"QLinearConv","precision":"int8","count":9},{"op":"QLinearAdd","precision":"int8","count":3},{"op":"Softmax","precision":"fp32","count":1}]}`)},
		}},
		Dataset: "dataset.test", Batch: 1, Threads: 1,
		Ensures: []Ensure{{Name: "accuracy", OK: true, Condition: "a <= b"}, {Name: "size", Condition: "c <= d", Message: "c <= d does not hold."}},
	}
	var b bytes.Buffer
	Table(&b, Style{}, e)
	for _, width := range []int{80, 30, 10} {
		fmt.Fprintf(&b, "\n-- width %d --\n", width)
		Table(&b, Style{Width: width}, e)
	}
	golden := filepath.Join("testdata", "table.txt")
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 316837: "317 kB", 999600: "1.00 MB", 90_800_000: "90.8 MB", 2_000_000_000: "2.00 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", -5: "-5", -100: "-100", -1000: "-1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0", 78: "78", 77754: "77.8k", 9.31e6: "9.31M", 9.996e8: "1.00G"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%v) = %q, want %q", n, got, want)
		}
	}
}

func TestWriteRecord(t *testing.T) {
	dir := t.TempDir()
	if err := (&Run{Schema: Schema, ID: "x", Status: "ok"}).Write(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r Run
	if json.Unmarshal(b, &r) != nil || r.ID != "x" {
		t.Errorf("%s", b)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".run-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := (&Run{}).Write(filepath.Join(dir, "nosuch")); err == nil {
		t.Error("a folder that is not there was written")
	}
}
