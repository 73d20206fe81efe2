package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/evaluate"
	"github.com/optimize-hcl/optimize/metrics"
)

// held is a run with something of everything.
func held() *Run {
	return &Run{
		Schema: Schema, ID: "20261124T101112.131", Recipe: "recipes/digits/recipe.hcl", Version: "0.1.0", Status: "ok",
		Started: time.Date(2026, 11, 24, 10, 11, 12, 0, time.UTC), Duration: 4210 * time.Millisecond, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		Actions: []Action{
			{Addr: "model.digits", Kind: "model", Status: "done", Duration: 3 * time.Millisecond},
			{Addr: "dataset.train", Kind: "dataset", Status: "cached", Duration: 400 * time.Microsecond, Result: json.RawMessage(`{"samples":64}`)},
			{
				Addr: "step.int8", Kind: "step", Type: "quantize_static", Plugin: "quantize", Status: "done", Duration: 1180 * time.Millisecond,
				Reasons: []cache.Change{{Field: "config.per_channel", Old: "true", New: "false"}},
				Result: json.RawMessage(`{"nodes_float":["Softmax_12 (Softmax): no integer kernel","Gemm_3 (Gemm): keep_float","Gemm_4 (Gemm): keep_float"],` +
					`"nodes_quantized":13,"samples":64,"share_macs":0.99961,"share_weight_bytes":1,"target":"x86",` +
					`"candidates":["static: chosen, speed-up 1.62","float: finalist","dynamic: lost early"],` +
					`"accuracy":{"first":0.012,"held":true,"restored":["a: alone 20 dB","b: alone 22 dB","c: alone 31 dB"]}}`),
			},
			{Addr: "evaluate.digits", Kind: "evaluate", Status: "done", Duration: 2900 * time.Millisecond},
			{Addr: "output.model", Kind: "output", Status: "done"},
		},
		Evaluations: []Evaluation{{
			Result: evaluate.Result{Name: "digits", Samples: 2000, Measurements: []evaluate.Measurement{
				{Name: "baseline", Facts: map[string]string{"runtime": "onnxruntime", "runtime_version": "1.32.0"}, Metrics: map[string]metrics.Estimate{"size": one(316837), "top1": {Point: 0.982, Low: 0.976, High: 0.988}, "speedup": one(1)}},
				{Name: "int8", Metrics: map[string]metrics.Estimate{"size": one(100371), "top1": one(0.981), "top1_drop": {Point: 0.001, Low: -0.0005, High: 0.0025}, "speedup": {Point: 1.43, Low: 1.41, High: 1.45}},
					Coverage: json.RawMessage(`{"ops":[{"op":"QLinearConv","precision":"int8","count":9}]}`)},
			}},
			Dataset: "dataset.test", Batch: 1, Threads: 1,
			Ensures: []Ensure{{Name: "accuracy", OK: true, Condition: "self.int8.high.top1_drop <= var.max_drop"}},
		}},
		Outputs: []Output{
			{Name: "model", Path: "dist/digits-int8.onnx", Digest: strings.Repeat("ab", 32), Size: 100371, Published: true},
			{Name: "drop", Value: json.RawMessage(`0.001`), Published: true},
		},
	}
}

// hostile is a run whose names and messages try to get out of where they stand.
func hostile() *Run {
	evil := "x\x1b[2J\x1b]0;owned\a\u202eabc</td><script>alert(1)</script> @everyone #1 [a](http://evil.example) `code` | ]]> &amp; ``` \r\nnext\tline \xff"
	q, _ := json.Marshal(evil)
	return &Run{
		Schema: Schema, ID: evil, Recipe: "a/" + evil + ".hcl", Version: evil, Status: "failed", ExitCode: 1, TraceID: evil,
		Actions: []Action{
			{Addr: "step." + evil, Kind: "step", Type: evil, Status: "failed", Result: json.RawMessage(`{` + string(q) + `:` + string(q) + `,"list":[` + string(q) + `],"o":{` + string(q) + `:[{` + string(q) + `:` + string(q) + `}]}}`)},
			{Addr: "step.later", Kind: "step", Status: "skipped"},
			{Addr: "step.last", Kind: "step", Status: "stopped"},
		},
		Evaluations: []Evaluation{{
			Result:  evaluate.Result{Name: evil, Measurements: []evaluate.Measurement{{Name: evil, Facts: map[string]string{"runtime": evil}, Metrics: map[string]metrics.Estimate{"size": one(1)}, Coverage: json.RawMessage(`{"ops":[{"op":` + string(q) + `,"precision":` + string(q) + `,"count":9}]}`)}}},
			Dataset: evil, Ensures: []Ensure{{Name: evil, Condition: evil, Message: evil}, {Name: evil, Condition: evil, OK: true}},
		}},
		Outputs:     []Output{{Name: evil, Path: evil, Digest: evil}, {Name: evil, Value: q}},
		Diagnostics: []diag.JSONDiag{{Severity: "error", Summary: evil, Detail: evil, Step: "step." + evil, Snippet: &diag.JSONSnippet{Code: evil}, Range: &diag.JSONRange{Filename: evil}}},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs, got:\n%s", name, got)
	}
}

// wellFormed reads a document of XML, or of HTML that is written as XML is.
func wellFormed(t *testing.T, doc []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(doc))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not well-formed: %s\n%s", err, doc)
		}
	}
}

func TestReports(t *testing.T) {
	failed := hostile()
	for name, r := range map[string]*Run{"held": held(), "hostile": failed} {
		for _, format := range []string{"md", "html", "junit"} {
			t.Run(name+"."+format, func(t *testing.T) {
				var b bytes.Buffer
				if err := Write(&b, format, r); err != nil {
					t.Fatal(err)
				}
				golden(t, name+"."+format, b.Bytes())
				if format != "md" {
					wellFormed(t, b.Bytes())
				}
				for _, c := range b.String() {
					if c != '\n' && (c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == '\u202e') {
						t.Fatalf("%s holds the control character %U", format, c)
					}
				}
				if strings.Contains(b.String(), "<script") && format != "md" {
					t.Error("a script got through")
				}
			})
		}
	}
}

// TestMarkdownEscapes renders nothing: it looks for what a renderer would turn into something else than text, outside of
// code.
func TestMarkdownEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"a|b":                "a\\|b",
		"<b>&":               "&lt;b&gt;&amp;",
		"@team #12":          "\\@<!-- -->team \\#<!-- -->12",
		"[x](http://y)":      "\\[x\\](http:<!-- -->//y)",
		"www.example.com":    "www<!-- -->.example.com",
		"*a* _b_ `c` ~d~ $e": "\\*a\\* \\_b\\_ \\`c\\` \\~d\\~ \\$e",
		"two\nlines\x1b[m":   "two lines\uFFFD\\[m",
	} {
		if got := mdText(in); got != want {
			t.Errorf("mdText(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"a": "`a`", "a`b": "``a`b``", "`a": "`` `a ``", "a|b": "`a\\|b`", "": "", "  ": ""} {
		if got := mdCode(in); got != want {
			t.Errorf("mdCode(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	var b bytes.Buffer
	if err := JUnit(&b, hostile()); err != nil {
		t.Fatal(err)
	}
	var s junitSuites
	if err := xml.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Tests != 5 || s.Failures != 2 || s.Skipped != 2 {
		t.Errorf("tests %d, failures %d, skipped %d; want 5, 2, 2", s.Tests, s.Failures, s.Skipped)
	}
	if f := s.Suites[0].Cases[0].Failure; f == nil || !strings.Contains(f.Text, "alert(1)") {
		t.Errorf("the failed step does not say why: %+v", f)
	}
}

func TestHTMLFetchesNothing(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, held()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"http:", "https:", "src=", "href=", "url(", "@import"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestFacts(t *testing.T) {
	f := FactsOf(json.RawMessage(`{"target":"x86","share_macs":0.9999,"share_none":0,"nodes":3,"zero":0,"ratio":0.25,"on":true,"off":false,"deep":{"a":1},
		"left":["a: why","b: why","c: other","d","e: why","f: why"],"nums":[1,2],"empty":[]}`))
	if got, want := strings.Join(f.Did, "|"), "99.9% of MACs|0% of none|target x86|3 nodes|ratio 0.25|on"; got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	f1 := FactsOf(json.RawMessage(`{"nodes_quantized":1,"batches":1,"passes_done":1,"copies":1,"status":1,"rank":1}`))
	if got, want := strings.Join(f1.Did, "|"), "1 node quantized|1 batch|1 pass done|1 copy|1 status|1 rank"; got != want {
		t.Errorf("one of each: %q, want %q", got, want)
	}
	if got, want := strings.Join(f.Left, "|"), "left, why (4): a, b, e and 1 more|left, other: c|left: d|deep: 1 a"; got != want {
		t.Errorf("left %q, want %q", got, want)
	}
	f = FactsOf(json.RawMessage(`{"accuracy":{"metric":"top1","held":true,"trials":7,"zero":0,"restored":["a: 1 dB","b: 2 dB","c: 3 dB"],"same":["x: why","y: why"],"deeper":{"x":1}},
		"none":null,"layers":[{"name":"a","share_x":0.5,"bits":4,"on":true,"deep":[1]},{"name":"b|c","bits":2.5}],"odd":[{"deep":[1]},3]}`))
	if got, want := strings.Join(f.Left, "|"), "accuracy: metric top1 · held · 7 trials|accuracy same, why (2): x, y"; got != want {
		t.Errorf("of an object: %q, want %q", got, want)
	}
	var lines []string
	for i := range f.Tables {
		lines = append(lines, f.Tables[i].lines(2)...)
	}
	if got, want := strings.Join(lines, "|"), "layers (2):|  share x 50% · name a · bits 4 · on yes|  name b|c · bits 2.5|accuracy restored (3):|  a: 1 dB|  b: 2 dB|  and 1 more"; got != want {
		t.Errorf("tables:\n%q, want\n%q", got, want)
	}
	many, err := json.Marshal(map[string][]string{"rows": {"a: b", "c: b", "d: b"}})
	if f := FactsOf(many); err != nil || len(f.Left) != 1 || len(f.Tables) != 0 {
		t.Errorf("of one reason: %v", f)
	}
	if many, err = json.Marshal(map[string][]string{"rows": {"a: 1", "b: 1", "c: 2", "d: 2", "e: 3", "f: 3", "g: 4", "h: 4", "i: 5", "j: 5"}}); err != nil {
		t.Fatal(err)
	}
	if f := FactsOf(many); len(f.Left) != 5 || len(f.Tables) != 0 {
		t.Errorf("of five reasons: %v", f)
	}
	var long []string
	for i := range 1000 {
		long = append(long, fmt.Sprintf("n%d: %d dB", i, i))
	}
	if many, err = json.Marshal(map[string][]string{"rows": long}); err != nil {
		t.Fatal(err)
	}
	if f := FactsOf(many); len(f.Tables) != 1 || len(f.Tables[0].Rows) != maxRows || f.Tables[0].More != 1000-maxRows {
		t.Errorf("of a thousand: %v", f)
	}
	for _, bad := range []string{"", "null", "[]", "{", `{"a":`, `"x"`} {
		if f := FactsOf(json.RawMessage(bad)); len(f.Did)+len(f.Left) > 0 {
			t.Errorf("%q gives %v", bad, f)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for path, want := range map[string]string{"a.md": "md", "b/c.HTML": "html", "x.xml": "junit", "r.json": "json", "none": "", "a.txt": ""} {
		if got, ok := FormatOf(path); got != want || ok != (want != "") {
			t.Errorf("FormatOf(%q) = %q, %v", path, got, ok)
		}
	}
	if err := Write(io.Discard, "pdf", held()); err == nil || !strings.Contains(err.Error(), "junit") {
		t.Errorf("an unknown format: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if err := WriteFile(filepath.Join(dir, "r.md"), "md", held()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".report-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
