package coreml

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

const digits = "../../recipes/digits/digits.onnx"

func modelAt(path string) sdk.Model {
	return sdk.Model{Artifact: sdk.Artifact{Format: "onnx", Path: path}}
}

// written writes a model for the step.
func written(t *testing.T, m *onnx.Model) sdk.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return modelAt(path)
}

func (c Config) withDefaults() Config {
	if c.Target == "" {
		c.Target = "iOS17"
	}
	if c.Precision == "" {
		c.Precision = "float16"
	}
	return c
}

// converted runs the step, lints what it wrote, and gives the package, its folder and the facts.
func converted(t *testing.T, c Config) (*mil.Package, string, Facts) {
	t.Helper()
	out := t.TempDir()
	r, err := convert(t.Context(), out, c.withDefaults(), func(string) {}, func(d sdk.Diagnostic) { t.Log(d) })
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(out, r.Outputs["model"].Path)
	p, err := mil.ReadPackage(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if found := p.Lint(); len(found) > 0 {
		t.Error(errors.Join(found...))
	}
	f := r.Facts.(Facts)
	if f.Size != p.Size || f.Program != p.Spec {
		t.Errorf("the facts tell %d and %d bytes, and there are %d and %d", f.Size, f.Program, p.Size, p.Spec)
	}
	return p, dir, f
}

// refused runs the step, and gives what it says; nothing may be written.
func refused(t *testing.T, c Config) sdk.Diagnostic {
	t.Helper()
	out := t.TempDir()
	_, err := convert(t.Context(), out, c.withDefaults(), func(string) {}, func(sdk.Diagnostic) {})
	var d sdk.Diagnostic
	if !errors.As(err, &d) {
		t.Fatalf("%v", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("left is %v, %v", left, err)
	}
	return d
}

// TestConvert: the digits' network in each precision and for each target.
func TestConvert(t *testing.T) {
	for _, c := range []Config{{}, {Precision: "float32"}, {Target: "iOS15"}, {Target: "macOS13"}, {Target: "iOS18"}} {
		c.Model = modelAt(digits)
		p, _, f := converted(t, c)
		if f.Operations["conv"] != 9 || f.Operations["linear"] != 1 || f.Inputs["input"] != "fp32 [1, 1, 28, 28]" || f.Outputs["logits"] != "fp32 [1, 10]" || f.Nodes != 22 {
			t.Errorf("%s %s: %+v", c.Target, c.Precision, f)
		}
		if want := opsetOf(c.withDefaults().Target) + 1; int(f.Specification) != want || p.Model.SpecVersion() != want {
			t.Errorf("%s: specification %d", c.Target, f.Specification)
		}
		// 77,418 weights; what surrounds them is small.
		weight := int64(2)
		if c.Precision == "float32" {
			weight = 4
		}
		if got := f.Size - f.Program; got < 77418*weight || got > 77418*weight+6000 || math.Abs(float64(f.SizeFloat16-f.Program-77418*2)) > 6000 {
			t.Errorf("%s: %d bytes of weights, %d in float16", c.Precision, got, f.SizeFloat16-f.Program)
		}
	}
}

// TestKeepFloat: what is kept computes in float32 between casts; what nothing is called is told.
func TestKeepFloat(t *testing.T) {
	p, _, f := converted(t, Config{Model: modelAt(digits), KeepFloat: []string{"Gemm", "Flatten"}})
	last := p.Model.Main.Ops[len(p.Model.Main.Ops)-1]
	if last.Type != "linear" || last.Outputs[0].Type.DataType != mil.Float32 || f.KeptFloat != 2 || f.Operations["cast"] != 2 {
		t.Errorf("the last operation is %s of %s; %+v", last.Type, last.Outputs[0].Type, f)
	}
	c := Config{Model: modelAt(digits), KeepFloat: []string{"Gemm", "nothing*"}}.withDefaults()
	q, err := c.prepare(t.Context(), digits)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	if len(q.warnings) != 1 || !strings.Contains(q.warnings[0].Summary, `"nothing*"`) {
		t.Errorf("warnings: %v", q.warnings)
	}
}

// TestSameBytes: two runs write the same bytes.
func TestSameBytes(t *testing.T) {
	_, a, _ := converted(t, Config{Model: modelAt(digits)})
	_, b, _ := converted(t, Config{Model: modelAt(digits)})
	for _, f := range []string{"Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"} {
		x, err := os.ReadFile(filepath.Join(a, f))
		y, err2 := os.ReadFile(filepath.Join(b, f))
		if err != nil || err2 != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs (%v, %v)", f, err, err2)
		}
	}
}

// TestDescription: pictures, classes, names and metadata are where an app finds them.
func TestDescription(t *testing.T) {
	p, _, f := converted(t, Config{
		Model:   modelAt(digits),
		Names:   map[string]string{"input": "digit"},
		Classes: strings.Split("0123456789", ""),
		Inputs:  map[string]InputConfig{"input": {Color: "grayscale", Scale: []float64{1.0 / 255}, Bias: []float64{-0.5}, Layout: "NCHW", Summary: "A digit."}},
		Metadata: &MetadataConfig{Summary: "Reads digits.", Author: "A", License: "MIT", Version: "2",
			User: map[string]string{"k": "v"}},
	})
	m := p.Model
	in := m.Inputs[0]
	if in.Name != "digit" || in.Image != mil.Gray || in.Doc != "A digit." || !slices.Equal(in.Type.Shape, []int64{1, 1, 28, 28}) {
		t.Errorf("input: %+v", in)
	}
	if m.Label != "classLabel" || m.Chances != "classLabel_probs" || len(m.Outputs) != 2 || !m.Outputs[0].Text || !m.Outputs[1].Dictionary {
		t.Errorf("outputs: %+v", m.Outputs)
	}
	if d := m.Metadata; d.Description != "Reads digits." || d.Author != "A" || d.Licence != "MIT" || d.Version != "2" || d.User["k"] != "v" || d.User["onnx.name.digit"] != "input" {
		t.Errorf("metadata: %+v", d)
	}
	if f.Inputs["digit"] != "grayscale [1, 1, 28, 28]" || f.Renamed["input"] != "digit" {
		t.Errorf("facts: %+v", f)
	}
	kinds := []string{}
	for _, op := range m.Main.Ops {
		if op.Type != "const" {
			kinds = append(kinds, op.Type)
		}
	}
	if got := strings.Join(kinds[:4], " "); got != "cast mul add conv" || kinds[len(kinds)-1] != "classify" {
		t.Errorf("operations: %v", kinds)
	}
}

// convModel is a Conv with an open height and width behind a Transpose, where last says that channels are last.
func convModel(last bool) *onnx.Model {
	m := onnx.NewModel("g", 17)
	g := m.Graph
	dims := []onnx.Dim{onnx.ParamDim("N"), {Value: 3}, onnx.ParamDim("H"), onnx.ParamDim("W")}
	if last {
		dims = []onnx.Dim{{Value: 1}, onnx.ParamDim("H"), onnx.ParamDim("W"), {Value: 3}}
	}
	g.AddInput(onnx.NewValueInfo("image", onnx.Float, dims))
	x := "image"
	if last {
		g.AppendNode(onnx.NewNode("Transpose", "", "turn", []string{"image"}, []string{"turned"}, onnx.IntsAttr("perm", 0, 3, 1, 2)))
		x = "turned"
	}
	w := make([]float32, 4*3*3*3)
	for i := range w {
		w[i] = float32(i%7) - 3
	}
	g.AddInitializer(onnx.NewFloats("w", w, 4, 3, 3, 3))
	g.AppendNode(onnx.NewNode("Conv", "", "conv", []string{x, "w"}, []string{"y"}, onnx.IntsAttr("pads", 1, 1, 1, 1)))
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	return m
}

// TestShapes: ranges and enumerated shapes are in the description, and the axes are open in the program.
func TestShapes(t *testing.T) {
	m := written(t, convModel(false))
	p, _, f := converted(t, Config{Model: m, Shapes: map[string][]string{"image": {"1..4", "3", "16..64", "8.."}}})
	in := p.Model.Inputs[0]
	if !slices.Equal(in.Lower, []int64{1, 3, 16, 8}) || !slices.Equal(in.Upper, []int64{4, 3, 64, -1}) || !slices.Equal(in.Type.Shape, in.Lower) {
		t.Errorf("ranges: %+v", in)
	}
	if !slices.Equal(p.Model.Main.Inputs[0].Type.Shape, []int64{-1, 3, -1, -1}) || f.Inputs["image"] != "fp32 [1..4, 3, 16..64, 8..]" || f.Outputs["y"] != "fp32 [?, 4, ?, ?]" {
		t.Errorf("function: %v; %v %v", p.Model.Main.Inputs, f.Inputs, f.Outputs)
	}
	p, _, f = converted(t, Config{Model: m, Enumerated: map[string][][]int64{"image": {{1, 3, 32, 32}, {1, 3, 16, 64}}}})
	in = p.Model.Inputs[0]
	if len(in.Enumerated) != 2 || !slices.Equal(in.Enumerated[1], []int64{1, 3, 16, 64}) || !slices.Equal(in.Type.Shape, []int64{1, 3, 32, 32}) ||
		!slices.Equal(p.Model.Main.Inputs[0].Type.Shape, []int64{1, 3, -1, -1}) || f.Inputs["image"] != "fp32 [1, 3, 16..32, 32..64]" {
		t.Errorf("enumerated: %+v, %v", in, f.Inputs)
	}
	// A picture of open size, which the model wants with channels last.
	p, _, _ = converted(t, Config{Model: written(t, convModel(true)), Shapes: map[string][]string{"image": {"1", "16..64", "16..32", "3"}},
		Inputs: map[string]InputConfig{"image": {Color: "BGR", Layout: "NHWC", Scale: []float64{1, 2, 3}}}})
	in = p.Model.Inputs[0]
	if in.Image != mil.BGR || !slices.Equal(in.Lower, []int64{1, 3, 16, 16}) || !slices.Equal(in.Upper, []int64{1, 3, 64, 32}) {
		t.Errorf("picture: %+v", in)
	}
}

// counter is a recurrent model: y = x + state, whose next state is y.
func counter() *onnx.Model {
	m := onnx.NewModel("g", 17)
	for _, n := range []string{"x", "state"} {
		m.Graph.AddInput(onnx.NewValueInfo(n, onnx.Float, onnx.FixedDims(1, 4)))
	}
	m.Graph.AppendNode(onnx.NewNode("Add", "", "add", []string{"x", "state"}, []string{"next"}))
	m.Graph.AppendNode(onnx.NewNode("Relu", "", "relu", []string{"next"}, []string{"y"}))
	for _, n := range []string{"y", "next"} {
		m.Graph.AddOutput(onnx.NewValueInfo(n, onnx.Float, onnx.FixedDims(1, 4)))
	}
	return m
}

// TestStates: a state is neither an input nor an output of the app.
func TestStates(t *testing.T) {
	p, _, f := converted(t, Config{Model: written(t, counter()), Target: "iOS18", States: map[string]string{"state": "next"}})
	m := p.Model
	if len(m.Inputs) != 1 || len(m.Outputs) != 1 || len(m.States) != 1 || m.States[0].Name != "state" || m.States[0].Type.DataType != mil.Float16 {
		t.Errorf("inputs %v, outputs %v, states %v", m.Inputs, m.Outputs, m.States)
	}
	if f.Operations["read_state"] != 1 || f.Operations["write_state"] != 1 {
		t.Errorf("operations: %v", f.Operations)
	}
	ds := Config{Target: "iOS17", States: map[string]string{"state": "next"}}.Validate(t.Context())
	if len(ds) != 1 || !strings.Contains(ds[0].Summary, "iOS18") {
		t.Errorf("for iOS17: %v", ds)
	}
}

// boxesModel gives a table x as it is: boxes and two scores for each, turned as YOLO's where flat.
func boxesModel(flat bool) *onnx.Model {
	m := onnx.NewModel("g", 17)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(1, 5, 6)))
	if flat {
		m.Graph.AppendNode(node("Transpose", "turn", "x", "all", onnx.IntsAttr("perm", 0, 2, 1)))
		m.Graph.AddOutput(onnx.NewValueInfo("all", onnx.Float, onnx.FixedDims(1, 6, 5)))
		return m
	}
	m.Graph.AppendNode(onnx.NewNode("Split", "", "cut", []string{"x", "sizes"}, []string{"boxes", "scores"}, onnx.IntAttr("axis", 2)))
	m.Graph.AddInitializer(onnx.NewInt64s("sizes", []int64{4, 2}, 2))
	m.Graph.AddOutput(onnx.NewValueInfo("boxes", onnx.Float, onnx.FixedDims(1, 5, 4)))
	m.Graph.AddOutput(onnx.NewValueInfo("scores", onnx.Float, onnx.FixedDims(1, 5, 2)))
	return m
}

// TestDetector: boxes and scores in one output or in two become a pipeline with non-maximum suppression.
func TestDetector(t *testing.T) {
	for _, c := range []Config{
		{Model: written(t, boxesModel(true)), Detection: &DetectionConfig{Boxes: "all", Size: []int64{640, 320}, IoU: 0.45, Least: 0.25, PerClass: true}},
		{Model: written(t, boxesModel(false)), Detection: &DetectionConfig{Boxes: "boxes", Scores: "scores", Format: "corners", IoU: 0.45, Least: 0.25}},
	} {
		c.Classes = []string{"a", "b"}
		c.Metadata = &MetadataConfig{Author: "me"}
		p, dir, f := converted(t, c)
		d := p.Model.Detector
		if d == nil || d.IoU != 0.45 || d.Least != 0.25 || d.PerClass != c.Detection.PerClass || !slices.Equal(d.Labels, c.Classes) || p.Model.Metadata.Author != "me" {
			t.Fatalf("%+v, %+v", d, p.Model.Metadata)
		}
		if len(p.Model.Outputs) != 2 || f.Outputs["confidence"] != "fp32 [0.., 2]" || f.Outputs["coordinates"] != "fp32 [0.., 4]" {
			t.Errorf("%+v, %v", p.Model.Outputs, f.Outputs)
		}
		v, err := inspect(t.Context(), sdk.Artifact{Path: dir})
		if b := string(mustJSON(t, v)); err != nil || !strings.Contains(b, `"nonMaximumSuppression":1`) || !strings.Contains(b, `"name":"coordinates"`) {
			t.Errorf("%s, %v", b, err)
		}
	}
	c := Config{Model: written(t, boxesModel(true)), Classes: []string{"a", "b", "c"}, Detection: &DetectionConfig{Boxes: "all", IoU: 0.45, Least: 0.25}}
	if d := refused(t, c); !strings.Contains(d.Error(), "output all: all is [6 5], and [1, boxes, 7] is needed") {
		t.Error(d)
	}
	c.Detection.Boxes = "none"
	if d := refused(t, c); !strings.Contains(d.Error(), `the model has no output "none"`) {
		t.Error(d)
	}
	if ds := (Config{Target: "iOS17", Detection: &DetectionConfig{Boxes: "b", IoU: 2, Size: []int64{3}}}).Validate(t.Context()); len(ds) != 3 {
		t.Errorf("%v", ds)
	}
}

// graph is a model of one input x and some nodes, whose last output is the model's.
func graph(elem onnx.DataType, dims []onnx.Dim, nodes ...*onnx.Node) *onnx.Model {
	m := onnx.NewModel("g", 17)
	m.Graph.AddInput(onnx.NewValueInfo("x", elem, dims))
	for _, n := range nodes {
		m.Graph.AppendNode(n)
	}
	out := "x"
	if n := len(nodes); n > 0 {
		out = nodes[n-1].Output(0)
	}
	m.Graph.AddOutput(onnx.NewValueInfo(out, elem, nil))
	return m
}

func node(op, name, in, out string, attrs ...*onnx.Attribute) *onnx.Node {
	return onnx.NewNode(op, "", name, strings.Fields(in), []string{out}, attrs...)
}

// TestRefused: what Core ML does not have is refused with node and reason, all of it at once, and nothing is written.
func TestRefused(t *testing.T) {
	big := graph(onnx.Int64, onnx.FixedDims(2), node("Add", "add", "x c", "y"))
	big.Graph.AddInitializer(onnx.NewInt64s("c", []int64{1, 1 << 40}, 2))
	six := graph(onnx.Float, onnx.FixedDims(2, 3), node("Reshape", "wide", "x s", "y"))
	six.Graph.AddInitializer(onnx.NewInt64s("s", []int64{1, 1, 1, 1, 2, 3}, 6))
	two := graph(onnx.Float, onnx.FixedDims(2, 3), node("Det", "first", "x", "a"), node("Relu", "between", "a", "b"), node("Det", "second", "b", "c"), node("Unknown", "third", "c", "y"))
	for name, c := range map[string]struct {
		c    Config
		want []string
	}{
		"open axis":    {Config{Model: written(t, graph(onnx.Float, []onnx.Dim{onnx.ParamDim("N"), onnx.ParamDim("T")}, node("Relu", "r", "x", "y")))}, []string{"input x: its axis 1 (T) is open"}},
		"large int64":  {Config{Model: written(t, big)}, []string{`Add "add": the tensor "c" holds the number 1099511627776`, "32 bits"}},
		"rank 6":       {Config{Model: written(t, six)}, []string{`Reshape "wide": reshape gives a tensor of 6 axes`}},
		"no rules":     {Config{Model: written(t, two)}, []string{`Det "first", Det "second": there is no rule for the operator Det.`, `Unknown "third": there is no rule for the operator Unknown.`}},
		"strings":      {Config{Model: written(t, graph(onnx.String, onnx.FixedDims(2), node("Identity", "i", "x", "y")))}, []string{"input x: Core ML takes no STRING"}},
		"no such axis": {Config{Model: written(t, graph(onnx.Float, onnx.FixedDims(2, 3), node("Softmax", "soft", "x", "y", onnx.IntAttr("axis", 5))))}, []string{`Softmax "soft": there is no axis 5`}},
		"no input":     {Config{Model: modelAt(digits), Shapes: map[string][]string{"picture": {"1"}}}, []string{`the model has no input "picture"`, "Its inputs are input."}},
		"rank":         {Config{Model: modelAt(digits), Shapes: map[string][]string{"input": {"1"}}}, []string{`input "input" has another number of axes than 1`, "input [N, 1, 28, 28]"}},
		"fixed axis":   {Config{Model: modelAt(digits), Shapes: map[string][]string{"input": {"1", "1", "28..30", "28"}}}, []string{`axis 2 of input "input" is 28 long`}},
		"no picture":   {Config{Model: modelAt(digits), Inputs: map[string]InputConfig{"input": {Color: "RGB", Layout: "NCHW"}}}, []string{`input "input" is no picture`, "3 channels"}},
		"classes":      {Config{Model: modelAt(digits), Classes: []string{"a", "b"}}, []string{"output logits: it has 10 numbers, and there are 2 classes"}},
		"no output":    {Config{Model: modelAt(digits), Classes: []string{"a"}, Chances: "chances"}, []string{"it is not clear which output"}},
		"no name":      {Config{Model: modelAt(digits), Names: map[string]string{"z": "a"}}, []string{`no input or output "z"`}},
		"no file":      {Config{Model: modelAt("none.onnx")}, []string{"the model cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := refused(t, c.c)
			for _, w := range c.want {
				if s := d.Error(); !strings.Contains(s, w) {
					t.Errorf("it says %q, not %q", s, w)
				}
			}
		})
	}
}

// TestInputsOfOtherTypes: wide integers and floats become narrow ones, truth values integers, scalars vectors, and names legal.
func TestInputsOfOtherTypes(t *testing.T) {
	for elem, want := range map[onnx.DataType]string{onnx.Int64: "int32 [2]", onnx.Double: "fp32 [2]", onnx.Uint8: "int32 [2]", onnx.Bool: "int32 [2]", onnx.Float16: "fp16 [2]"} {
		n := node("Identity", "same", "x", "y/out:0")
		if elem == onnx.Bool {
			n = node("Not", "not", "x", "y/out:0")
		}
		p, _, f := converted(t, Config{Model: written(t, graph(elem, onnx.FixedDims(2), n))})
		if f.Inputs["x"] != want || f.Outputs["y_out_0"] != want || f.Renamed["y/out:0"] != "y_out_0" || p.Model.Metadata.User["onnx.name.y_out_0"] != "y/out:0" {
			t.Errorf("%s: %v, %v, %v", elem, f.Inputs, f.Outputs, f.Renamed)
		}
	}
	_, _, f := converted(t, Config{Model: written(t, graph(onnx.Float, []onnx.Dim{}, node("Exp", "e", "x", "y")))})
	if f.Inputs["x"] != "fp32 [1]" || f.Outputs["y"] != "fp32 [1]" {
		t.Errorf("scalars: %v, %v", f.Inputs, f.Outputs)
	}
}

// TestInputValues: an input that always is one number goes.
func TestInputValues(t *testing.T) {
	m := graph(onnx.Float, onnx.FixedDims(2), node("Mul", "m", "x k", "y"))
	m.Graph.AddInput(onnx.NewValueInfo("k", onnx.Float, []onnx.Dim{}))
	_, _, f := converted(t, Config{Model: written(t, m), InputValues: map[string]float64{"k": 3}})
	if len(f.Inputs) != 1 || f.Operations["mul"] != 1 {
		t.Errorf("%v, %v", f.Inputs, f.Operations)
	}
}

// TestPlan: a model that is there is lowered when it is planned; one that is not yet says nothing.
func TestPlan(t *testing.T) {
	c := Config{Model: written(t, graph(onnx.Float, onnx.FixedDims(2), node("Det", "det", "x", "y")))}.withDefaults()
	if _, err := c.Plan(t.Context(), &sdk.PlanRun{Threads: 1}); err == nil || !strings.Contains(err.Error(), `Det "det"`) {
		t.Errorf("planned: %v", err)
	}
	c.Model.Path = ""
	if _, err := c.Plan(t.Context(), &sdk.PlanRun{Threads: 1}); err != nil {
		t.Error(err)
	}
}

// TestInspect: a package is told as a model is.
func TestInspect(t *testing.T) {
	_, dir, _ := converted(t, Config{Model: modelAt(digits)})
	v, err := inspect(t.Context(), sdk.Artifact{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := string(mustJSON(t, v))
	for _, want := range []string{`"format":"coreml-package"`, `"parameters":77418`, `"conv":9`, `"shape":[1,1,28,28]`, `"quantized":false`} {
		if !strings.Contains(b, want) {
			t.Errorf("%s has no %s", b, want)
		}
	}
	m, err := onnx.ReadFile(digits)
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	if total, _ := onnx.CountMACs(m, shapes); !strings.Contains(b, `"macs":`+jsonNumber(total)+",") {
		t.Errorf("%s does not tell %d MACs", b, total)
	}
	if _, err := inspect(t.Context(), sdk.Artifact{Path: t.TempDir()}); err == nil {
		t.Error("an empty folder was inspected")
	}
}

// TestInspectFor: each node is told, and of what cannot be lowered the reason.
func TestInspectFor(t *testing.T) {
	m := graph(onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 3}}, node("Det", "det", "x", "a"), node("Relu", "relu", "a", "y"))
	v, err := inspectFor(t.Context(), written(t, m).Artifact)
	if err != nil {
		t.Fatal(err)
	}
	b := string(mustJSON(t, v))
	for _, want := range []string{`"engine":"coreml iOS17 (foretold for x [1 3])"`, `"name":"det","op":"Det","precision":"unknown","reason":"there is no rule for the operator Det"`, `"name":"relu","op":"Relu","precision":"fp16"}`} {
		if !strings.Contains(b, want) {
			t.Errorf("%s has no %s", b, want)
		}
	}
}

// tensorOf is a tensor of some numbers.
func tensorOf(n int64, shape ...int64) tensor.Tensor {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.Sin(float64(i)*1.7) * 1.5)
	}
	return tensor.Of(shape, v)
}
