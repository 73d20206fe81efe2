package recipe

import (
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

const dynamicRecipe = `
variable "bits" { default = { a = 4, b = 8 } }
model "m" { source = "m.onnx" }
dataset "d" {
  source = "d.npz"
  dynamic "input" {
    for_each = ["x", "y"]
    labels   = [input.value]
    content { field = "f_${input.value}" }
  }
}
step "quantize_static" "q" {
  for_each    = { small = ["a"], large = ["a", "b"] }
  model       = model.m
  calibration = dataset.d
  dynamic "layer" {
    for_each = each.value
    iterator = it
    labels   = ["${each.key}-${it.value}"]
    content { bits = var.bits[it.value] + step.one.result.share }
  }
  layer "plain" { bits = 2 }
}
step "quantize_static" "one" {
  model       = model.m
  calibration = dataset.d
}
evaluate "e" {
  dataset    = dataset.d
  baseline   = model.m
  candidates = { for k, s in step.q : k => s.model }
  dynamic "ensure" {
    for_each = toset(["small", "large"])
    labels   = ["size of ${ensure.key}"]
    content {
      condition     = self[ensure.key].size < self.baseline.size
      error_message = "${ensure.key} is too large."
    }
  }
}
`

func TestDynamic(t *testing.T) {
	p, ds := check(t, dynamicRecipe, nil)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	d, _ := p.DecodeDataset(p.byAddr["dataset.d"])
	if len(d.Inputs) != 2 || d.Inputs[1].Name != "y" || d.Inputs[1].Field != "f_y" {
		t.Errorf("%+v", d.Inputs)
	}
	n := p.byAddr[`step.q["large"]`]
	if !slices.Equal(n.Deps, []string{"dataset.d", "model.m", "step.one"}) {
		t.Errorf("what stands in content is no dependency: %v", n.Deps)
	}
	p.SetOutputs(p.byAddr["step.one"], nil, []byte(`{"share":0.5}`))
	c, _ := p.DecodeStep(n)
	layers := c.Config.GetAttr("layer").AsValueMap()
	if len(layers) != 3 || !layers["large-b"].GetAttr("bits").RawEquals(cty.NumberFloatVal(8.5)) || !layers["plain"].GetAttr("bits").RawEquals(cty.NumberIntVal(2)) {
		t.Errorf("%#v", layers)
	}
	if c, _ := p.DecodeStep(p.byAddr[`step.q["small"]`]); c.Config.GetAttr("layer").LengthInt() != 2 {
		t.Errorf("%#v", c.Config)
	}
	f := Figures{Point: map[string]float64{"size": 5}}
	p.SetMeasured(p.byAddr["evaluate.e"], map[string]Figures{"baseline": f, "small": {Point: map[string]float64{"size": 1}}, "large": f})
	es, ds := p.Ensures(p.byAddr["evaluate.e"])
	if len(ds) > 0 || len(es) != 2 || es[0].Name != "size of large" || es[0].OK || es[0].Message != "large is too large." || !es[1].OK {
		t.Errorf("%v %+v", ds, es)
	}
	// What a plugin says of a block stands in its content.
	at := func(s string) *pluginv1.PathStep {
		return &pluginv1.PathStep{Step: &pluginv1.PathStep_Attribute{Attribute: s}}
	}
	key := &pluginv1.PathStep{Step: &pluginv1.PathStep_Key{Key: "large-b"}}
	r := diag.FromPath(n.Body, []*pluginv1.PathStep{at("layer"), key, at("bits")})
	if got := p.text(r); got != "var.bits[it.value] + step.one.result.share" {
		t.Errorf("the place is %q", got)
	}
}

// TestDynamicMistakes: one dynamic block that is wrong leaves the others to be checked.
func TestDynamicMistakes(t *testing.T) {
	src := strings.Replace(dynamicRecipe, "for_each = each.value", "for_each = each.vale", 1)
	src = strings.Replace(src, "for_each = [\"x\", \"y\"]", "for_each = nowhere.x", 1)
	src = strings.Replace(src, "candidates = {", "candidate = {", 1)
	_, ds := check(t, src, nil)
	var got []string
	for _, d := range ds.Sorted() {
		got = append(got, d.Summary)
	}
	want := []string{`There is no "nowhere" to refer to here`, "There is no each.vale", `The argument "candidates" is missing`, "Unsupported argument"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
