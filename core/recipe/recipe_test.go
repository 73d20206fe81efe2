package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// types is a step type with every kind of argument.
func types() map[string]*pluginv1.StepType {
	attr := func(name, ty, def string, oneOf ...string) *pluginv1.Attribute {
		return &pluginv1.Attribute{Name: name, Type: []byte(ty), Default: []byte(def), OneOf: oneOf}
	}
	static := &pluginv1.StepType{
		Name: "quantize_static", Revision: 1,
		Schema: &pluginv1.Block{
			Attributes: []*pluginv1.Attribute{
				{Name: "model", Artifact: "model", Required: true, Formats: []string{"onnx"}},
				{Name: "calibration", Artifact: "dataset", Required: true},
				attr("target", `"string"`, `"auto"`, "auto", "onnxruntime-x86"),
				attr("per_channel", `"bool"`, `true`),
				attr("keep_float", `["list","string"]`, ""),
				{Name: "token", Type: []byte(`"string"`), Sensitive: true},
				{Name: "old", Type: []byte(`"string"`), Deprecated: "Use target."},
			},
			Blocks: []*pluginv1.NestedBlock{{Name: "layer", Nesting: pluginv1.NestedBlock_NESTING_MAP, Body: &pluginv1.Block{Attributes: []*pluginv1.Attribute{attr("bits", `"number"`, `8`)}}}},
		},
		Outputs:    []*pluginv1.Output{{Name: "model", Kind: "model", Format: "onnx"}},
		ResultType: []byte(`["object",{"share":"number"}]`),
	}
	return map[string]*pluginv1.StepType{"quantize_static": static}
}

const good = `
variable "drop" {
  type    = number
  default = 0.005
  validation {
    condition     = var.drop >= 0
    error_message = "drop is at least 0."
  }
}
locals { twice = var.drop * 2 }
model "m" { source = "m.onnx" }
dataset "d" {
  source = "d.npz"
  label  = "label"
  limit  = 64
  input "x" {
    field = "image"
    scale = 1 / 255
  }
}
step "quantize_static" "q" {
  model       = model.m
  calibration = dataset.d
  layer "a" { bits = 4 }
}
evaluate "e" {
  dataset    = dataset.d
  baseline   = model.m
  candidates = { q = step.q.model }
  benchmark {}
  ensure "drop" {
    condition     = self.q.high.top1_drop <= local.twice
    error_message = "lost ${self.q.high.top1_drop}"
  }
}
output "o" {
  value = step.q.model
  path  = "dist/q.onnx"
}
`

func check(t *testing.T, src string, given Values) (*Program, diag.Diags) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "r.hcl")
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	r, ds := Load(path)
	if r == nil || ds.HasErrors() {
		return nil, ds
	}
	p, more := r.Check(given, types(), []string{"onnxruntime", "quantize"})
	return p, ds.Append(more...)
}

func TestGoodRecipe(t *testing.T) {
	p, ds := check(t, good, nil)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	var got []string
	for _, n := range p.Nodes() {
		got = append(got, n.Addr+"<-"+strings.Join(n.Deps, ","))
	}
	want := "model.m<- dataset.d<- step.q<-dataset.d,model.m evaluate.e<-dataset.d,model.m,step.q output.o<-evaluate.e,step.q"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("graph:\n got %s\nwant %s", s, want)
	}
	c, ds := p.DecodeStep(p.byAddr["step.q"])
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	if c.Config.GetAttr("target").AsString() != "auto" || !c.Config.GetAttr("per_channel").True() || !c.Config.GetAttr("keep_float").IsNull() {
		t.Errorf("defaults: %#v", c.Config)
	}
	if b := c.Config.GetAttr("layer").Index(cty.StringVal("a")).GetAttr("bits"); !b.RawEquals(cty.NumberIntVal(4)) {
		t.Errorf("nested block: %#v", b)
	}
	if in := c.Inputs["model"]; in.Addr != "model.m" || in.Artifact != nil {
		t.Errorf("input: %+v", in)
	}
	d, _ := p.DecodeDataset(p.byAddr["dataset.d"])
	if d.Limit != 64 || d.Label != "label" || len(d.Inputs) != 1 || *d.Inputs[0].Scale != 1.0/255 {
		t.Errorf("dataset: %+v", d)
	}
}

func TestMeasuredAndEnsures(t *testing.T) {
	p, ds := check(t, good, nil)
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	n := p.byAddr["evaluate.e"]
	for _, drop := range []float64{0.001, 0.02} {
		f := Figures{Point: map[string]float64{"top1_drop": drop}, High: map[string]float64{"top1_drop": drop}}
		p.SetMeasured(n, map[string]Figures{"baseline": {}, "q": f})
		es, ds := p.Ensures(n)
		if ds.HasErrors() || len(es) != 1 || es[0].OK != (drop < 0.01) {
			t.Errorf("drop %v: %+v %v", drop, es, ds)
		}
		if !es[0].OK && es[0].Message != "lost 0.02" {
			t.Errorf("message %q", es[0].Message)
		}
	}
}

func TestSetOutputs(t *testing.T) {
	p, _ := check(t, good, nil)
	m := Artifact{Kind: "model", Format: "onnx", Path: "/m", Digest: "aa", Size: 3}
	p.SetOutputs(p.byAddr["model.m"], map[string]Artifact{"": m}, nil)
	c, ds := p.DecodeStep(p.byAddr["step.q"])
	if ds.HasErrors() || c.Inputs["model"].Artifact == nil || *c.Inputs["model"].Artifact != m {
		t.Fatalf("%v %+v", ds, c.Inputs["model"])
	}
	m.Format = "tflite"
	p.SetOutputs(p.byAddr["model.m"], map[string]Artifact{"": m}, nil)
	if _, ds := p.DecodeStep(p.byAddr["step.q"]); !ds.HasErrors() || !strings.Contains(ds.Error(), "does not take tflite") {
		t.Errorf("wrong format: %v", ds)
	}
}

// TestMistakes has a recipe's mistakes and what is said about each.
func TestMistakes(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"syntax", `model "m" {`, `model "m" {{`, "Argument or block definition required"},
		{"unknown block", `model "m"`, `modle "m"`, `Unsupported block type`},
		{"did you mean argument", "calibration = dataset.d", "calibraton = dataset.d", `Did you mean "calibration"?`},
		{"missing argument", "  calibration = dataset.d\n", "", `The argument "calibration" is missing`},
		{"step type", `"quantize_static"`, `"quantize_statik"`, `Did you mean "quantize_static"?`},
		{"plugin", `"quantize_static"`, `"prune_channels"`, `There is no step type "prune_channels"`},
		{"reference", "= model.m\n", "= model.mm\n", `There is no model.mm`},
		{"root", "= model.m\n", "= modell.m\n", `Did you mean "model"?`},
		{"output of a step", "step.q.model }", "step.q.modle }", `Did you mean "model"?`},
		{"kind of artifact", "calibration = dataset.d", "calibration = model.m", "calibration takes a dataset"},
		{"not an artifact", "calibration = dataset.d", "calibration = 3", "calibration takes a dataset"},
		{"one of", "layer \"a\"", "target = \"onnxruntime-x68\"\n  layer \"a\"", `Did you mean "onnxruntime-x86"?`},
		{"type", "layer \"a\"", "per_channel = \"maybe\"\n  layer \"a\"", "per_channel has the wrong type"},
		{"duplicate", "locals {", "model \"m\" { source = \"n.onnx\" }\nlocals {", `A second model "m"`},
		{"name", `model "m"`, `model "1m"`, `"1m" is not a name`},
		{"metric", "self.q.high.top1_drop <=", "self.q.high.top2_drop <=", `It is measured when it is asked for: metrics = ["top2_drop"].`},
		{"candidate", "self.q.high.top1_drop <=", "self.p.high.top1_drop <=", `There is no self.p`},
		{"condition", "self.q.high.top1_drop <= local.twice", "self.q.high.top1_drop", "The condition is not true or false"},
		{"reserved", "{ q = step.q.model }", "{ baseline = step.q.model }", `A candidate may not be called "baseline"`},
		{"no candidates", "{ q = step.q.model }", "{}", "There is no"},
		{"benchmark", "benchmark {}", "benchmark { batch = 0 }", "batch is not a whole number of at least 1"},
		{"limit", "limit  = 64", "limit = -1", "limit is not a whole number of at least 1"},
		{"default type", "default = 0.005", `default = "x"`, `The default does not fit variable "drop"`},
		{"validation", "default = 0.005", `default = -1`, "drop is at least 0."},
		{"local cycle", "{ twice = var.drop * 2 }", "{\n twice = local.b\n b = local.twice\n}", "in a circle"},
		{"source", `source = "m.onnx"`, `source = "s3://m"`, "The source is not a file"},
		{"sha256", `{ source = "m.onnx" }`, "{\n source = \"m.onnx\"\n sha256 = \"zz\"\n}", "This is not a SHA-256"},
		{"timeout", "layer \"a\"", "timeout = \"3\"\n  layer \"a\"", `"3" is not a duration`},
		{"seed", "layer \"a\"", "seed = -1\n  layer \"a\"", "The seed is not a whole number"},
		{"output path", "value = step.q.model", "value = 3", "Only an artifact has a path"},
		{"runtime", "benchmark {}", "runtime = \"onnxruntim\"\n benchmark {}", `Did you mean "onnxruntime"?`},
		{"ask for metric", "benchmark {}", "metrics = [\"topp\"]\n benchmark {}", `There is no metric "topp" to ask for`},
		{"function", "1 / 255", "ceiling(3)", "Call to unknown function"},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			if !strings.Contains(good, x.old) {
				t.Fatalf("the recipe has no %q", x.old)
			}
			_, ds := check(t, strings.Replace(good, x.old, x.new, 1), nil)
			if !ds.HasErrors() || !strings.Contains(ds.Error(), x.want) {
				t.Errorf("got:\n%v\nwant %q", ds, x.want)
			}
			for _, d := range ds {
				if d.Subject == nil {
					t.Errorf("no place: %v", d)
				}
			}
		})
	}
}

func TestCycle(t *testing.T) {
	src := strings.Replace(good, "model       = model.m", "model = step.r.model", 1) + `
step "quantize_static" "r" {
  model       = step.q.model
  calibration = dataset.d
}`
	_, ds := check(t, src, nil)
	if !strings.Contains(ds.Error(), "step.q → step.r → step.q") {
		t.Error(ds)
	}
}

func TestVariables(t *testing.T) {
	if _, ds := check(t, good, Values{"drop": {Text: "0.5", From: "--var drop"}}); ds.HasErrors() {
		t.Error(ds)
	}
	for _, x := range []struct {
		given Values
		want  string
	}{
		{Values{"drop": {Text: "x", From: "--var drop"}}, "does not fit variable"},
		{Values{"drop": {Text: "-1", From: "--var drop"}}, "drop is at least 0"},
		{Values{"dorp": {Text: "1", From: "--var dorp"}}, `Did you mean "drop"?`},
	} {
		if _, ds := check(t, good, x.given); !ds.HasErrors() || !strings.Contains(ds.Error(), x.want) {
			t.Errorf("%v: %v", x.given, ds)
		}
	}
	noDefault := strings.Replace(good, "  default = 0.005\n", "", 1)
	if _, ds := check(t, noDefault, nil); !strings.Contains(ds.Error(), "has no value") {
		t.Error(ds)
	}
}

func TestSensitive(t *testing.T) {
	src := strings.Replace(good, "default = 0.005", "default = 0.005\n  sensitive = true", 1)
	p, ds := check(t, src, nil)
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	n := p.byAddr["evaluate.e"]
	p.SetMeasured(n, map[string]Figures{"baseline": {}, "q": {High: map[string]float64{"top1_drop": 1}}})
	es, ds := p.Ensures(n)
	if ds.HasErrors() || len(es) != 1 || es[0].OK {
		t.Fatal(es, ds)
	}
	leak := strings.Replace(src, "value = step.q.model\n  path  = \"dist/q.onnx\"", "value = var.drop", 1)
	if _, ds := check(t, leak, nil); !strings.Contains(ds.Error(), "An output may not be sensitive") {
		t.Error(ds)
	}
}

func TestLoadErrors(t *testing.T) {
	if _, ds := Load(filepath.Join(t.TempDir(), "none.hcl")); !strings.Contains(ds.Error(), "There is no recipe") {
		t.Error(ds)
	}
	if _, ds := Load(t.TempDir()); !strings.Contains(ds.Error(), "There is no recipe in") {
		t.Error(ds)
	}
}
