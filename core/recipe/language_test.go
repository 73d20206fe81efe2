package recipe

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMessages renders what is said about each recipe of testdata. The file "want" of an archive is what a user sees.
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(f)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			if i < 0 {
				i = len(a.Files)
				a.Files = append(a.Files, txtar.File{Name: "want"})
			}
			got := render(t, string(a.Files[0].Data))
			if *update {
				a.Files[i].Data = got
				if err := os.WriteFile(f, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := bytes.ReplaceAll(a.Files[i].Data, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if bytes.Contains(got, []byte("(the source is not at hand)")) {
				t.Error("a diagnostic lies outside of the recipe")
			}
		})
	}
}

// render gives what a user sees of the mistakes in a recipe.
func render(t *testing.T, src string) []byte {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Chdir(wd); err != nil {
			t.Fatal(err)
		}
	}()
	dir := t.TempDir()
	if err := os.Chdir(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("recipe.hcl", []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	r, ds := Load("recipe.hcl")
	if r == nil {
		t.Fatal(ds)
	}
	_, more := r.Check(nil, types(), []string{"onnxruntime", "quantize"})
	ds = ds.Append(more...).Sorted()
	for _, d := range ds {
		if d.Code == "" {
			t.Errorf("no code: %v", d)
		}
	}
	var b bytes.Buffer
	if err := (&diag.Renderer{Files: r.Files, Width: 90, Hide: r.Secrets()}).Text(&b, ds); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const each = `
locals { bits = { small = 4, large = 8 } }
model "m" { source = "m.onnx" }
dataset "d" { source = "d.npz" }
step "quantize_static" "q" {
  for_each    = local.bits
  model       = model.m
  calibration = dataset.d
  layer "first" { bits = each.value }
  timeout     = "${each.value}m"
  seed        = each.value
  env         = ["HF_TOKEN", "AB_${each.key}"]
}
step "quantize_static" "r" {
  for_each    = toset(["large"])
  model       = step.q[each.key].model
  calibration = dataset.d
  keep_float  = [each.key]
}
step "quantize_static" "one" {
  model       = step.q["small"].model
  calibration = dataset.d
  depends_on  = [step.r]
}
step "quantize_static" "none" {
  for_each    = {}
  model       = model.m
  calibration = dataset.d
}
evaluate "e" {
  dataset    = dataset.d
  baseline   = model.m
  candidates = merge({ for k, s in step.q : k => s.model }, { one = step.one.model })
  runtime    = { small = "onnxruntime" }
  ensure "all" {
    condition = alltrue([for k, c in self : c.size > 0])
  }
}
output "all" { value = { for k, s in step.q : k => s.result.share } }
output "large" {
  value = step.q["large"].model
  path  = "dist/${var.name}.onnx"
}
variable "name" { default = "large" }
`

func TestForEach(t *testing.T) {
	p, ds := check(t, each, nil)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	want := map[string]string{
		`step.q["large"]`: "dataset.d,model.m", `step.q["small"]`: "dataset.d,model.m",
		`step.r["large"]`: `dataset.d,step.q["large"]`,
		"step.one":        `dataset.d,step.q["small"],step.r["large"]`,
		"evaluate.e":      `dataset.d,model.m,step.one,step.q["large"],step.q["small"]`,
		"output.large":    `evaluate.e,step.q["large"]`,
		"output.all":      `evaluate.e,step.q["large"],step.q["small"]`,
		"model.m":         "", "dataset.d": "",
	}
	seen := map[string]bool{}
	for _, n := range p.Nodes() {
		w, ok := want[n.Addr]
		if got := strings.Join(n.Deps, ","); !ok || got != w {
			t.Errorf("%s depends on %s, want %s", n.Addr, got, w)
		}
		for _, d := range n.Deps {
			if !seen[d] {
				t.Errorf("%s stands before %s", n.Addr, d)
			}
		}
		seen[n.Addr] = true
	}
	if len(seen) != len(want) {
		t.Errorf("nodes %v", seen)
	}
	n := p.byAddr[`step.q["large"]`]
	c, ds := p.DecodeStep(n)
	if ds.HasErrors() || c.Seed != 8 || n.Seed != 8 || n.Timeout != 8*time.Minute || n.Key != "large" || !slices.Equal(c.Env, []string{"AB_large", "HF_TOKEN"}) {
		t.Errorf("%v %+v %+v", ds, c, n)
	}
	if b := c.Config.GetAttr("layer").Index(cty.StringVal("first")).GetAttr("bits"); !b.RawEquals(cty.NumberIntVal(8)) {
		t.Errorf("bits %#v", b)
	}
	if err := c.Config.Type().TestConformance(c.ConfigType); err != nil {
		t.Error(err)
	}
	// What one instance gives reaches what refers to it, and nothing else.
	large := Artifact{Kind: "model", Format: "onnx", Path: "/l", Digest: "l", Size: 1}
	p.SetOutputs(n, map[string]Artifact{"model": large}, json.RawMessage(`{"share":0.5}`))
	if c, _ := p.DecodeStep(p.byAddr[`step.r["large"]`]); c.Inputs["model"].Artifact == nil || *c.Inputs["model"].Artifact != large || c.Inputs["model"].Addr != n.Addr {
		t.Errorf("%+v", c.Inputs)
	}
	if c, _ := p.DecodeStep(p.byAddr["step.one"]); c.Inputs["model"].Artifact != nil || c.Inputs["model"].Addr != `step.q["small"]` {
		t.Errorf("%+v", c.Inputs)
	}
	e, ds := p.DecodeEvaluate(p.byAddr["evaluate.e"])
	if ds.HasErrors() || len(e.Candidate) != 3 || e.Candidate[0].Name != "large" || e.Candidate[0].Artifact == nil || e.Candidate[2].Addr != `step.q["small"]` {
		t.Errorf("%v %+v", ds, e)
	}
	if e.RuntimeOf("small") != "onnxruntime" || e.RuntimeOf("large") != "" {
		t.Error("runtimes")
	}
	o, ds := p.DecodeOutput(p.byAddr["output.large"])
	if ds.HasErrors() || o.Artifact == nil || o.Path != filepath.Join(p.recipe.Dir, "dist", "large.onnx") {
		t.Errorf("%v %+v", ds, o)
	}
	if o, _ := p.DecodeOutput(p.byAddr["output.all"]); o.JSON != nil {
		t.Errorf("an output of an unknown value: %s", o.JSON)
	}
	p.SetOutputs(p.byAddr[`step.q["small"]`], map[string]Artifact{"model": large}, json.RawMessage(`{"share":1}`))
	if o, _ := p.DecodeOutput(p.byAddr["output.all"]); string(o.JSON) != `{"large":0.5,"small":1}` {
		t.Errorf("output: %s", o.JSON)
	}
}

// TestFacts has steps take figures: of another step's result, and of an evaluation.
func TestFacts(t *testing.T) {
	p, ds := check(t, good+`
step "quantize_static" "next" {
  model       = step.q.result.share > 0.5 ? step.q.model : model.m
  calibration = dataset.d
  per_channel = evaluate.e.q.high.top1_drop < 0.1
  keep_float  = ["${step.q.model.size}", evaluate.e["q"].size > 1 ? "a" : "b"]
}`, nil)
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	n := p.byAddr["step.next"]
	if got := strings.Join(n.Deps, ","); got != "dataset.d,evaluate.e,model.m,step.q" {
		t.Errorf("depends on %s", got)
	}
	c, _ := p.DecodeStep(n)
	if c.Config.GetAttr("per_channel").IsKnown() || c.Inputs["model"].Artifact != nil || c.Inputs["model"].Addr == "" {
		t.Errorf("%+v", c)
	}
	a := Artifact{Kind: "model", Format: "onnx", Path: "/q", Digest: "q", Size: 77}
	p.SetOutputs(p.byAddr["step.q"], map[string]Artifact{"model": a}, json.RawMessage(`{"share":0.9}`))
	p.SetMeasured(p.byAddr["evaluate.e"], map[string]Figures{"baseline": {}, "q": {Point: map[string]float64{"size": 5}, High: map[string]float64{"top1_drop": 0.2}}})
	c, ds = p.DecodeStep(n)
	if ds.HasErrors() || !c.Config.IsWhollyKnown() || c.Config.GetAttr("per_channel").True() || c.Inputs["model"].Addr != "step.q" || *c.Inputs["model"].Artifact != a {
		t.Errorf("%v %+v", ds, c)
	}
	if s := c.Config.GetAttr("keep_float").AsValueSlice(); s[0].AsString() != "77" || s[1].AsString() != "a" {
		t.Errorf("%#v", s)
	}
}

func TestJSON(t *testing.T) {
	dir := t.TempDir()
	src := `{
  "variable": {"n": {"default": 4}},
  "model": {"m": {"source": "m.onnx"}},
  "dataset": {"d": {"source": "d.npz", "input": {"x": {"scale": "${1/255}"}}}},
  "step": {"quantize_static": {"q": {
    "for_each": ["a"], "model": "${model.m}", "calibration": "${dataset.d}", "target": "%s",
    "layer": {"first": {"bits": "${var.n}"}}, "depends_on": ["model.m"]
  }}},
  "evaluate": {"e": {"dataset": "${dataset.d}", "baseline": "${model.m}", "candidates": {"q": "${step.q[\"a\"].model}"},
    "ensure": {"size": {"condition": "${self.q.size < self.baseline.size}"}}}}
}`
	path := filepath.Join(dir, "r.hcl.json")
	load := func(target string) (*Program, diag.Diags) {
		if err := os.WriteFile(path, []byte(strings.Replace(src, "%s", target, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		r, ds := Load(dir)
		if ds.HasErrors() {
			t.Fatal(ds)
		}
		return r.Check(nil, types(), []string{"onnxruntime", "quantize"})
	}
	p, ds := load("auto")
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	c, _ := p.DecodeStep(p.byAddr[`step.q["a"]`])
	if b := c.Config.GetAttr("layer").Index(cty.StringVal("first")).GetAttr("bits"); !b.RawEquals(cty.NumberIntVal(4)) || c.Inputs["model"].Addr != "model.m" {
		t.Errorf("%#v %+v", b, c.Inputs)
	}
	if deps := p.byAddr["evaluate.e"].Deps; !slices.Contains(deps, `step.q["a"]`) {
		t.Error(deps)
	}
	_, ds = load("atuo")
	if len(ds) != 1 || !strings.Contains(ds.Error(), `Did you mean "auto"?`) || ds[0].Subject.Start.Line != 6 {
		t.Error(ds)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, src := range map[string]string{
		"a.hcl": `model "m" { source = "m.onnx" }`, "b.hcl": `model "m" { source = "n.onnx" }`, "optimize.lock.hcl": "nonsense {{", "x.vars.hcl": "n = 1", "x.test.hcl": "=", "notes.txt": "=",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, ds := Load(dir)
	if len(ds) != 1 || !strings.Contains(ds[0].Detail, "a.hcl line 1") || ds[0].Code != "recipe/duplicate" || len(r.Files) != 2 {
		t.Error(ds)
	}
}

func TestVariableKinds(t *testing.T) {
	src := `
variable "list" { type = list(number) }
variable "object" {
  type = object({ a = string, b = optional(number, 7) })
  default = { a = "x" }
}
variable "guess" { default = 3 }
variable "any" { default = null }
locals {
  sum = var.list[0] + var.object.b
  same = var.guess == 4
}`
	p, ds := check(t, src, Values{"list": {Text: "[1, 2]", From: "--var list"}, "guess": {Text: "4", From: "--var guess"}, "other": {Text: "x", From: "OPTIMIZE_VAR_other"}})
	if ds.HasErrors() || len(ds) != 1 || ds[0].Severity != diag.Warning {
		t.Fatal(ds)
	}
	if l := p.values["local"]; !l.GetAttr("sum").RawEquals(cty.NumberIntVal(8)) || l.GetAttr("same").False() {
		t.Errorf("%#v", l)
	}
	for _, bad := range []string{"[", "[x]", `["a"]`, "", strings.Repeat("[", 1000), "[1e99999999]"} {
		if _, ds := check(t, src, Values{"list": {Text: bad, From: "--var list"}}); !ds.HasErrors() || !strings.Contains(ds.Error(), "--var list does not fit") {
			t.Errorf("%.20s: %v", bad, ds)
		}
	}
}

func TestSecrets(t *testing.T) {
	src := strings.Replace(good, `layer "a"`, "token = var.token\n  layer \"a\"", 1) + "\nvariable \"token\" { sensitive = true }\n"
	p, ds := check(t, src, Values{"token": {Text: "hunter22", From: "--var token"}})
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	c, _ := p.DecodeStep(p.byAddr["step.q"])
	if v := c.Config.GetAttr("token"); !v.IsMarked() {
		t.Error("the value carries no mark")
	}
	if !slices.Equal(p.recipe.Secrets(), []string{"hunter22"}) {
		t.Error(p.recipe.Secrets())
	}
}

// TestHostile has recipes that would hang or end a process that parses them carelessly.
func TestHostile(t *testing.T) {
	many := func(s string, n int) string { return "locals { a = " + strings.Repeat(s, n) + "1 }" }
	for _, x := range []struct{ src, want string }{
		{"locals { a = \"${1e9999999}\" }", "too large"},
		{"locals { a = 1e999999999 }", "too large"},
		{"locals { a = format(\"%999999999d\", 1) }", "at most four digits"},
		{"locals { a = indent(999999999, \"\\n\") }", "at most 1000"},
		{"locals { a = setproduct(range(1000), range(1000)) }", "more than 65536 elements"},
		{"locals { a = file(\".\") }", "not a regular file"},
		{many("[", 100000), "nested too deeply"}, {many("(", 100000), "nested too deeply"}, {many("-", 200000), "nested too deeply"},
		{many("! ", 100000), "nested too deeply"}, {many("\"${", 60000), "nested too deeply"}, {many("a ? b : ", 30000), ""},
		{strings.Repeat("a {\n", 60000), "nested too deeply"}, {strings.Repeat("a", 1<<20), "larger than 256 KiB"},
		{"# " + strings.Repeat("-", 3000) + strings.Repeat("(", 3000) + "\nlocals { a = \"" + strings.Repeat("-[", 3000) + "\" }", "fine"},
		{"\x00\xff", ""}, {"locals { a = local }", "alone is no value"},
	} {
		start := time.Now()
		_, ds := check(t, x.src, nil)
		if x.want == "fine" {
			if ds.HasErrors() {
				t.Errorf("%.60q: %v", x.src, ds)
			}
		} else if !ds.HasErrors() || !strings.Contains(ds.Error(), x.want) {
			t.Errorf("%.60q: %.300v", x.src, ds)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%.60q took %s", x.src, d)
		}
	}
}

// TestSchemas: a plugin's schema is not to be trusted.
func TestSchemas(t *testing.T) {
	dynamic := &pluginv1.NestedBlock{Name: "b", Nesting: pluginv1.NestedBlock_NESTING_LIST, Body: &pluginv1.Block{Attributes: []*pluginv1.Attribute{{Name: "x", Type: []byte(`"dynamic"`)}}}}
	for _, x := range []struct {
		schema *pluginv1.Block
		body   string
		want   string
	}{
		{&pluginv1.Block{Attributes: []*pluginv1.Attribute{{Name: "x", Type: []byte("nonsense")}}}, "x = 1", "declares p wrongly"},
		{&pluginv1.Block{Blocks: []*pluginv1.NestedBlock{{Name: "b"}}}, "b {}", "declares p wrongly"},
		{&pluginv1.Block{Blocks: []*pluginv1.NestedBlock{dynamic}}, "b { x = 1 }\nb { x = [] }", "different types"},
		{&pluginv1.Block{Blocks: []*pluginv1.NestedBlock{dynamic}}, "b { x = 1 }\nb { x = 2 }", ""},
		{&pluginv1.Block{Attributes: []*pluginv1.Attribute{{Name: "x", Type: []byte(`["map","string"]`), OneOf: []string{"a"}}}}, `x = { k = "b" }`, `x may not be "b"`},
		{&pluginv1.Block{Attributes: []*pluginv1.Attribute{{Name: "seed", Type: []byte(`"string"`)}}}, `seed = 3`, ""},
		{nil, "", ""},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "r.hcl")
		if err := os.WriteFile(path, []byte("step \"p\" \"s\" {\n"+x.body+"\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		r, ds := Load(path)
		if ds.HasErrors() {
			t.Fatal(ds)
		}
		_, ds = r.Check(nil, map[string]*pluginv1.StepType{"p": {Name: "p", Schema: x.schema, ResultType: []byte("bad"), Outputs: []*pluginv1.Output{nil, {}}}}, []string{"p"})
		if ds.HasErrors() != (x.want != "") || !strings.Contains(ds.Error(), x.want) {
			t.Errorf("%s: %v", x.body, ds)
		}
	}
}

// BenchmarkCheck loads and checks the recipe of the digits; the project wants it under 3 ms.
func BenchmarkCheck(b *testing.B) {
	path := filepath.Join("..", "..", "recipes", "digits", "recipe.hcl")
	ty := types()
	for b.Loop() {
		r, ds := Load(path)
		if ds.HasErrors() {
			b.Fatal(ds)
		}
		if _, ds := r.Check(nil, ty, []string{"onnxruntime", "quantize"}); ds.HasErrors() {
			b.Fatal(ds)
		}
	}
}
