package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

type testConfig struct {
	Model  Model    `opt:"model,required" doc:"The model." accepts:"onnx,openvino-ir"`
	Data   *Dataset `opt:"calibration"`
	Ranges Artifact `opt:"ranges" kind:"calibration"`

	Target  string             `opt:"target" default:"auto" oneof:"auto,cpu"`
	Key     string             `opt:"key,sensitive" deprecated:"use target"`
	Bits    int8               `opt:"bits" default:"8"`
	Ratio   *float64           `opt:"ratio"`
	Count   uint16             `opt:"count"`
	Exact   bool               `opt:"exact" default:"true"`
	Keep    []string           `opt:"keep" default:"[\"/fc/*\"]" oneof:"/fc/*,a,b"`
	Weights map[string]float32 `opt:"weights"`
	Window  struct {
		Low, High float64 `opt:"-"`
		From      int     `opt:"from"`
	} `opt:"window"`

	Search *testBlock           `opt:"search,block" doc:"How to search."`
	Fixed  testBlock            `opt:"fixed,block"`
	Rules  []testBlock          `opt:"rule,block" min:"1" max:"2"`
	Layers map[string]testBlock `opt:"layer,block"`
	hidden int
	Plain  int
}

type testBlock struct {
	Depth int    `opt:"depth,required"`
	Mode  string `opt:"mode" default:"fast" oneof:"fast,slow"`
}

func testStep(t testing.TB) *StepType {
	t.Helper()
	s := Step(StepSpec{Name: "try"}, func(context.Context, *Run, testConfig) (*Result, error) { return nil, nil })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return &s
}

func TestSchema(t *testing.T) {
	s := testStep(t)
	b := s.wire.GetSchema()
	attrs := map[string]*pluginv1.Attribute{}
	for _, a := range b.GetAttributes() {
		attrs[a.GetName()] = a
	}
	if a := attrs["model"]; !a.GetRequired() || a.GetArtifact() != "model" || len(a.GetType()) != 0 || len(a.GetFormats()) != 2 || a.GetMarkdown() != "The model." {
		t.Errorf("model: %v", a)
	}
	if attrs["calibration"].GetArtifact() != "dataset" || attrs["ranges"].GetArtifact() != "calibration" {
		t.Error("artifact kinds")
	}
	for name, want := range map[string]string{"target": `"string"/"auto"`, "bits": `"number"/8`, "exact": `"bool"/true`, "ratio": `"number"/`,
		"keep": `["list","string"]/["/fc/*"]`, "weights": `["map","number"]/`, "window": `["object",{"from":"number"}]/`} {
		if a := attrs[name]; string(a.GetType())+"/"+string(a.GetDefault()) != want {
			t.Errorf("%s: %s/%s", name, a.GetType(), a.GetDefault())
		}
	}
	if !attrs["key"].GetSensitive() || attrs["key"].GetDeprecated() != "use target" {
		t.Error("key")
	}
	var blocks []string
	for _, n := range b.GetBlocks() {
		blocks = append(blocks, fmt.Sprintf("%s %v %d-%d %s", n.GetName(), n.GetNesting(), n.GetMin(), n.GetMax(), n.GetBody().GetMarkdown()))
	}
	if got := strings.Join(blocks, "; "); got != "search NESTING_SINGLE 0-1 How to search.; fixed NESTING_SINGLE 0-1 ; rule NESTING_LIST 1-2 ; layer NESTING_MAP 0-0 " {
		t.Error(got)
	}
	if len(attrs) != 12 {
		t.Errorf("%d attributes", len(attrs))
	}
}

type loop struct {
	Next *loop `opt:"next"`
}

func TestSchemaMistakes(t *testing.T) {
	step := func(c any) error { return newStepType(StepSpec{Name: "try"}, c).err }
	for want, err := range map[string]error{
		"must be a struct": step(3),
		"no argument name": step(struct {
			A int `opt:"Big"`
		}{}),
		"unknown option": step(struct {
			A int `opt:"a,optional"`
		}{}),
		"is taken": step(struct {
			A int `opt:"a"`
			B int `opt:"a"`
		}{}),
		"not exported": step(struct {
			a int `opt:"a"`
		}{}),
		"has no default": step(struct {
			A int `opt:"a,required" default:"1"`
		}{}),
		"default \"x\"": step(struct {
			A int `opt:"a" default:"x"`
		}{}),
		"is not one of": step(struct {
			A string `opt:"a" default:"x" oneof:"y,z"`
		}{}),
		"oneof is for strings": step(struct {
			A int `opt:"a" oneof:"1,2"`
		}{}),
		"cannot be written": step(struct {
			A chan int `opt:"a"`
		}{}),
		"contains itself": step(struct {
			A loop `opt:"a"`
		}{}),
		"keys of": step(struct {
			A map[int]int `opt:"a"`
		}{}),
		"accepts is for": step(struct {
			A string `opt:"a" accepts:"onnx"`
		}{}),
		"needs its kind": step(struct {
			A Artifact `opt:"a"`
		}{}),
		"of the step itself": step(struct {
			A struct {
				M Model `opt:"m"`
			} `opt:"a,block"`
		}{}),
		"field of its own": step(struct {
			A []Model `opt:"a"`
		}{}),
		"a block is a struct": step(struct {
			A int `opt:"a,block"`
		}{}),
		"takes no default": step(struct {
			A struct{} `opt:"a,block" default:"{}"`
		}{}),
		"is no count": step(struct {
			A []struct{} `opt:"a,block" min:"x"`
		}{}),
		"name must be":                    newStepType(StepSpec{Name: "Try"}, struct{}{}).err,
		"has no kind":                     newStepType(StepSpec{Name: "try", Outputs: []Output{{Name: "a"}}}, struct{}{}).err,
		"reserved":                        newStepType(StepSpec{Name: "try", Outputs: []Output{{Name: "result", Kind: "model"}}}, struct{}{}).err,
		"ResultExample":                   newStepType(StepSpec{Name: "try", ResultExample: 3}, struct{}{}).err,
		"plugin name":                     (&Plugin{Name: "A-b", Version: "1"}).Check(),
		"no version":                      (&Plugin{Name: "a"}).Check(),
		`must be called "a" or begin`:     (&Plugin{Name: "a", Version: "1", Steps: []StepType{newStepType(StepSpec{Name: "b"}, struct{}{})}}).Check(),
		"two steps":                       (&Plugin{Name: "a", Version: "1", Steps: []StepType{newStepType(StepSpec{Name: "a"}, struct{}{}), newStepType(StepSpec{Name: "a"}, struct{}{})}}).Check(),
		"sdk.Step did not make":           (&Plugin{Name: "a", Version: "1", Steps: []StepType{{}}}).Check(),
		"listed twice":                    (&Plugin{Name: "a", Version: "1", Formats: []Format{{Name: "x"}, {Name: "x"}}}).Check(),
		"extension \"x\" must begin with": (&Plugin{Name: "a", Version: "1", Formats: []Format{{Name: "x", Extensions: []string{"x"}}}}).Check(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// fill gives a whole configuration out of a few values: null where nothing is said.
func fill(t cty.Type, set map[string]cty.Value) cty.Value {
	out := map[string]cty.Value{}
	for name, at := range t.AttributeTypes() {
		out[name] = cty.NullVal(at)
		if v, ok := set[name]; ok {
			out[name] = v
		}
	}
	return cty.ObjectVal(out)
}

func decodeTest(t *testing.T, s *StepType, v cty.Value, inputs map[string]*pluginv1.Artifact, complete bool) (*testConfig, []string, Diagnostics) {
	t.Helper()
	b, err := ctymsgpack.Marshal(v, s.schema.typ)
	if err != nil {
		t.Fatal(err)
	}
	d, ds, err := s.decode(&pluginv1.Value{Msgpack: b}, inputs, complete)
	if err != nil {
		t.Fatal(err)
	}
	return d.ptr.(*testConfig), d.unknown, ds
}

func TestDecode(t *testing.T) {
	s := testStep(t)
	rule := s.schema.typ.AttributeType("rule").ElementType()
	model := map[string]*pluginv1.Artifact{"model": {Path: "/m.onnx", Format: "onnx", Digest: "ab"}}
	c, _, ds := decodeTest(t, s, fill(s.schema.typ, map[string]cty.Value{
		"bits": cty.NumberIntVal(4), "ratio": cty.NumberFloatVal(0.5), "exact": cty.False,
		"weights": cty.MapVal(map[string]cty.Value{"a": cty.NumberIntVal(2)}),
		"window":  cty.ObjectVal(map[string]cty.Value{"from": cty.NumberIntVal(3)}),
		"search":  fill(rule, map[string]cty.Value{"depth": cty.NumberIntVal(7)}),
		"fixed":   fill(rule, map[string]cty.Value{"depth": cty.NumberIntVal(1)}),
		"rule":    cty.ListVal([]cty.Value{fill(rule, map[string]cty.Value{"depth": cty.NumberIntVal(8), "mode": cty.StringVal("slow")})}),
		"layer":   cty.MapVal(map[string]cty.Value{"conv": fill(rule, map[string]cty.Value{"depth": cty.NumberIntVal(9)})}),
	}), model, true)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	if c.Model.Path != "/m.onnx" || c.Model.Digest != "ab" || c.Data != nil || c.Ranges.Exists() {
		t.Errorf("artifacts: %+v", c)
	}
	if c.Target != "auto" || c.Bits != 4 || *c.Ratio != 0.5 || c.Exact || !reflect.DeepEqual(c.Keep, []string{"/fc/*"}) || c.Weights["a"] != 2 || c.Window.From != 3 {
		t.Errorf("%+v", c)
	}
	if c.Search.Depth != 7 || c.Search.Mode != "fast" || c.Rules[0] != (testBlock{8, "slow"}) || c.Layers["conv"].Depth != 9 {
		t.Errorf("%+v", c)
	}
}

func TestDecodeMistakes(t *testing.T) {
	s := testStep(t)
	rule := s.schema.typ.AttributeType("rule").ElementType()
	one := cty.ListVal([]cty.Value{fill(rule, map[string]cty.Value{"depth": cty.NumberIntVal(1)})})
	good := map[string]*pluginv1.Artifact{"model": {Path: "/m", Format: "onnx"}}
	for name, c := range map[string]struct {
		set    map[string]cty.Value
		inputs map[string]*pluginv1.Artifact
		path   string
		want   string
	}{
		"one of":      {map[string]cty.Value{"target": cty.StringVal("gpu")}, good, "/target", "is not one of"},
		"one of list": {map[string]cty.Value{"keep": cty.ListVal([]cty.Value{cty.StringVal("a"), cty.StringVal("z")})}, good, "/keep/1", "is not one of"},
		"not whole":   {map[string]cty.Value{"bits": cty.NumberFloatVal(1.5)}, good, "/bits", "1.5 is not a whole number"},
		"too large":   {map[string]cty.Value{"bits": cty.NumberIntVal(128)}, good, "/bits", "128 is too large"},
		"negative":    {map[string]cty.Value{"count": cty.NumberIntVal(-1)}, good, "/count", "-1 is too small"},
		"huge":        {map[string]cty.Value{"weights": cty.MapVal(map[string]cty.Value{"k": cty.NumberFloatVal(1e300)})}, good, "/weights/k", "too large"},
		"block":       {map[string]cty.Value{"rule": cty.ListValEmpty(rule)}, good, "/rule", "at least 1"},
		"blocks":      {map[string]cty.Value{"rule": cty.ListVal([]cty.Value{one.Index(cty.NumberIntVal(0)), one.Index(cty.NumberIntVal(0)), one.Index(cty.NumberIntVal(0))})}, good, "/rule", "at most 2"},
		"within":      {map[string]cty.Value{"layer": cty.MapVal(map[string]cty.Value{"x": fill(rule, nil)})}, good, "/layer/x/depth", "is required"},
		"no model":    {nil, nil, "/model", "is required"},
		"not there":   {nil, map[string]*pluginv1.Artifact{"model": {Format: "onnx"}}, "/model", "does not exist"},
		"format":      {nil, map[string]*pluginv1.Artifact{"model": {Path: "/m", Format: "tflite"}}, "/model", "onnx or openvino-ir"},
		"unknown":     {map[string]cty.Value{"bits": cty.UnknownVal(cty.Number)}, good, "/bits", "not known"},
	} {
		t.Run(name, func(t *testing.T) {
			set := map[string]cty.Value{"rule": one}
			for k, v := range c.set {
				set[k] = v
			}
			_, _, ds := decodeTest(t, s, fill(s.schema.typ, set), c.inputs, true)
			if len(ds) != 1 || pathKey(ds[0].Path) != c.path || !strings.Contains(ds[0].Error(), c.want) {
				t.Errorf("%+v", ds)
			}
		})
	}
}

func TestUnknownsArePassed(t *testing.T) {
	s := testStep(t)
	rule := s.schema.typ.AttributeType("rule").ElementType()
	c, unknown, ds := decodeTest(t, s, fill(s.schema.typ, map[string]cty.Value{
		"target": cty.UnknownVal(cty.String),
		"keep":   cty.ListVal([]cty.Value{cty.StringVal("a"), cty.UnknownVal(cty.String)}),
		"search": fill(rule, map[string]cty.Value{"depth": cty.UnknownVal(cty.Number)}),
		"rule":   cty.UnknownVal(cty.List(rule)),
	}), nil, false)
	if len(ds) > 0 || c.Target != "auto" {
		t.Errorf("%v %+v", ds, c)
	}
	if got := strings.Join(unknown, " "); got != "/target /keep/1 /search/depth /rule" {
		t.Error(got)
	}
	ctx := context.WithValue(t.Context(), unknownKey{}, unknown)
	if Known(ctx, "target") || Known(ctx, "search.depth") || !Known(ctx, "bits") || !Known(t.Context(), "target") {
		t.Error("Known")
	}
	in := Diagnostics{{Path: []any{"target"}}, {Path: []any{"rule", Index(0), "depth"}}, {Path: []any{"bits"}}, {}}
	if out := in.known(unknown); len(out) != 2 {
		t.Errorf("%v", out)
	}
}

func TestFacts(t *testing.T) {
	type layer struct {
		Name string `opt:"name"`
	}
	type facts struct {
		Share  float64        `opt:"share" doc:"How much."`
		Layers []layer        `opt:"layers"`
		Counts map[string]int `opt:"counts"`
		Best   *int           `opt:"best"`
	}
	s := newStepType(StepSpec{Name: "try", ResultExample: facts{}}, struct{}{})
	if f := s.wire.GetFacts(); len(f) != 4 || f[0].GetName() != "share" || f[0].GetMarkdown() != "How much." || f[3].GetMarkdown() != "" {
		t.Errorf("the facts are described as %v", f)
	}
	v, err := s.encodeFacts(&facts{Share: 0.5, Layers: []layer{{"conv\xff"}}, Counts: map[string]int{"a": 1}})
	if err != nil {
		t.Fatal(err)
	}
	back, err := ctymsgpack.Unmarshal(v.GetMsgpack(), s.facts)
	if err != nil || back.GetAttr("layers").AsValueSlice()[0].GetAttr("name").AsString() != "conv\uFFFD" || !back.GetAttr("best").IsNull() {
		t.Errorf("%#v, %v", back, err)
	}
	if _, err := s.encodeFacts(nil); err != nil {
		t.Error(err)
	}
	for want, f := range map[string]any{"is not what": struct{}{}, "NaN is no number": facts{Share: math.NaN()}} {
		if _, err := s.encodeFacts(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	none := newStepType(StepSpec{Name: "try"}, struct{}{})
	if _, err := none.encodeFacts(facts{}); err == nil {
		t.Error("facts without a type")
	}
}

func TestDiagnosticsOf(t *testing.T) {
	attr := AttrError("input.field", "no", "do")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"nil":     {nil, ""},
		"plain":   {errors.New("it broke\nbadly"), "it broke: badly @"},
		"attr":    {attr, "no: do @/input/field"},
		"wrapped": {fmt.Errorf("x: %w", attr), "no: do @/input/field"},
		"pointer": {&Diagnostic{Summary: "p"}, "p @"},
		"many":    {Diagnostics{{Summary: "a"}, {Summary: "b", Severity: SeverityWarning}}.Err(), "a @, b @"},
		"joined":  {errors.Join(attr, errors.Join(errors.New("z"), CodeError("c/d", "w", ""))), "no: do @/input/field, z @, w @"},
		"empty":   {errors.New(""), "an error without a text (*errors.errorString) @"},
	} {
		var got []string
		for _, d := range diagnosticsOf(c.err) {
			got = append(got, d.Error()+" @"+pathKey(d.Path))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %q", name, s)
		}
	}
	if (Diagnostics{{Severity: SeverityWarning}}).Err() != nil {
		t.Error("a warning is no error")
	}
	w := Diagnostic{Summary: "a\xff", Path: []any{"x", Key("k"), Index(2), 3}}.wire()
	if w.GetSummary() != "a\uFFFD" || w.GetPath()[1].GetKey() != "k" || w.GetPath()[2].GetIndex() != 2 || w.GetPath()[3].GetIndex() != 3 {
		t.Errorf("%v", w)
	}
}

// The host is trusted, but a damaged message must not end the process.
func FuzzDecode(f *testing.F) {
	s := testStep(f)
	rule := s.schema.typ.AttributeType("rule").ElementType()
	for _, v := range []cty.Value{
		fill(s.schema.typ, nil), cty.UnknownVal(s.schema.typ), cty.NullVal(s.schema.typ),
		fill(s.schema.typ, map[string]cty.Value{"rule": cty.ListVal([]cty.Value{fill(rule, nil)}), "bits": cty.NumberFloatVal(1e200)}),
	} {
		b, err := ctymsgpack.Marshal(v, s.schema.typ)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, complete := range []bool{true, false} {
			d, _, err := s.decode(&pluginv1.Value{Msgpack: b}, nil, complete)
			if err == nil && d.ptr == nil {
				t.Error("no configuration and no error")
			}
		}
	})
}
