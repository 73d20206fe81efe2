package recipe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: no recipe makes parsing, checking or a whole run of evaluations panic, and every complaint has words.
func FuzzLoad(f *testing.F) {
	f.Add(good, false)
	f.Add(each, false)
	f.Add(`{"model": {"m": {"source": "m.onnx"}}, "output": {"o": {"value": "${model.m}"}}}`, true)
	f.Add("variable \"v\" { type = list(number) }\nlocals { a = local.a }", false)
	f.Add("evaluate \"e\" { candidates = { a = 1, b = 2 } }", false)
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range files {
		if a, err := txtar.ParseFile(name); err == nil {
			f.Add(string(a.Files[0].Data), false)
		}
	}
	ty := types()
	f.Fuzz(func(t *testing.T, src string, isJSON bool) {
		path := filepath.Join(t.TempDir(), "r.hcl")
		if isJSON {
			path += ".json"
		}
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		r, ds := Load(path)
		if r == nil {
			return
		}
		p, more := r.Check(Values{"v": {Text: src, From: "--var v"}, "n": {Text: "1", From: "OPTIMIZE_VAR_n"}}, ty, []string{"onnxruntime", "quantize"})
		for _, d := range ds.Append(more...) {
			if strings.TrimSpace(d.Summary) == "" || d.Code == "" {
				t.Errorf("a diagnostic without words or code: %+v", d)
			}
		}
		if p == nil || ds.Append(more...).HasErrors() {
			return
		}
		for _, n := range p.Nodes() {
			walk(p, n)
		}
	})
}

// walk does what a run does with one node.
func walk(p *Program, n *Node) {
	m := Artifact{Kind: "model", Format: "onnx", Path: "/m", Digest: "aa", Size: 3}
	switch n.Kind {
	case KindModel:
		_, _ = p.DecodeModel(n)
		p.SetOutputs(n, map[string]Artifact{"": m}, nil)
	case KindDataset:
		_, _ = p.DecodeDataset(n)
		m.Kind = "dataset"
		p.SetOutputs(n, map[string]Artifact{"": m}, nil)
	case KindStep:
		_, _ = p.DecodeStep(n)
		p.SetOutputs(n, map[string]Artifact{"model": m}, json.RawMessage(`{"share":0.5}`))
	case KindEvaluate:
		c, _ := p.DecodeEvaluate(n)
		all := map[string]Figures{}
		for _, s := range c.Subjects() {
			figures := map[string]float64{"size": 1, "top1": 0.5}
			all[s.Name] = Figures{Point: figures, Low: figures, High: figures}
		}
		p.SetMeasured(n, all)
		_, _ = p.Ensures(n)
	case KindOutput:
		_, _ = p.DecodeOutput(n)
	}
}
