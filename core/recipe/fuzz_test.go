package recipe

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: no recipe, file of variables or template makes parsing, checking or a whole run of evaluations panic, and
// every complaint has words.
func FuzzLoad(f *testing.F) {
	f.Add(good, "drop = 0.1", "", false)
	f.Add(each, "name = \"small\"", "", false)
	f.Add(`{"model": {"m": {"source": "m.onnx"}}, "output": {"o": {"value": "${model.m}"}}}`, `{"n": [1e3]}`, "", true)
	f.Add("variable \"v\" { type = list(number) }\nlocals { a = local.a }", "v = [1]", "", false)
	f.Add("evaluate \"e\" { candidates = { a = 1, b = 2 } }", "", "", false)
	f.Add(dynamicRecipe, "bits = { a = 4 }", "", false)
	f.Add("locals { t = templatefile(\"t\", { a = [1], b = \"x\" }) }", "", "%{ for x in a }${x} ${upper(b)}\n%{ endfor }", false)
	f.Add("locals { t = try(templatefile(\"t\", {}), convert([\"1\"], list(number))) }", "x", "${a", false)
	f.Add(`{"step": {"quantize_static": {"q": {"for_each": ["a"], "dynamic": {"layer": {"for_each": {"x": 1}, "labels": ["${layer.key}"], "content": {"bits": "${layer.value}"}}}}}}}`, "", "", true)
	files, _ := filepath.Glob("testdata/*.txtar")
	scripts, _ := filepath.Glob("../cli/testdata/script/language/*.txtar")
	for _, name := range append(files, scripts...) {
		if a, err := txtar.ParseFile(name); err == nil && len(a.Files) > 0 {
			f.Add(string(a.Files[0].Data), "", "", strings.HasSuffix(a.Files[0].Name, ".json"))
		}
	}
	ty := types()
	f.Fuzz(func(t *testing.T, src, vars, template string, isJSON bool) {
		dir := t.TempDir()
		path, varPath := filepath.Join(dir, "r.hcl"), filepath.Join(dir, "x.vars.hcl")
		if isJSON {
			path, varPath = path+".json", varPath+".json"
		}
		for name, text := range map[string]string{path: src, varPath: vars, filepath.Join(dir, "t"): template} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		given, _, ds := LoadVars(varPath)
		r, more := Load(path)
		if ds = ds.Append(more...); r == nil {
			return
		}
		values := Values{"v": {Text: src, From: "--var v"}, "n": {Text: "1", From: "OPTIMIZE_VAR_n"}}
		maps.Copy(values, given)
		p, more := r.Check(values, ty, []string{"onnxruntime", "quantize"})
		for _, d := range ds.Append(more...) {
			if strings.TrimSpace(d.Summary) == "" || d.Code == "" || d.Code == followUp || strings.Contains(d.Detail, "goroutine ") {
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
