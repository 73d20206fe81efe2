package onnxruntime

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

func TestInspectDigits(t *testing.T) {
	doc, err := inspect(t.Context(), sdk.Artifact{Format: "onnx", Path: recipe(t, "digits.onnx")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", b)
	if got["schema"] != "optimize.inspect/v1" || got["format"] != "onnx" || got["size"] != float64(316837) || got["quantized"] != false {
		t.Errorf("%s", b)
	}
	if in := got["inputs"].([]any)[0].(map[string]any); in["name"] != "input" || in["dtype"] != "F32" || !reflect.DeepEqual(in["shape"].([]any)[1:], []any{1.0, 28.0, 28.0}) {
		t.Errorf("inputs %v", in)
	}
	if _, ok := got["inputs"].([]any)[0].(map[string]any)["shape"].([]any)[0].(string); !ok {
		t.Errorf("the free axis has no name: %s", b)
	}
	if ops := got["ops"].(map[string]any); ops["Conv"] != 9.0 || ops["Add"] != 3.0 {
		t.Errorf("ops %v", ops)
	}
	p, m := got["parameters"].(float64), got["macs"].(float64)
	if p < 60_000 || p > 90_000 || m < 1e6 {
		t.Errorf("%v parameters, %v MACs", p, m)
	}
	if f32 := got["weights"].(map[string]any)["F32"].(float64); f32 < 4*p {
		t.Errorf("%v bytes for %v parameters", f32, p)
	}
}

func TestInspectEdges(t *testing.T) {
	m := onnx.NewModel("g", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, nil))
	m.Graph.AddInput(onnx.NewValueInfo("u", onnx.Int64, []onnx.Dim{{Value: -1}, {Value: 3}}))
	m.Graph.AppendNode(onnx.NewNode("QuantizeLinear", "", "q", []string{"x", "s"}, []string{"y"}))
	m.Graph.AddInitializer(onnx.NewFloats("s", []float32{0.5}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Uint8, []onnx.Dim{}))
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	doc, err := inspect(t.Context(), sdk.Artifact{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	d := doc.(*engine.Inspection)
	if !d.Quantized || d.Inputs[0].Shape != nil || !reflect.DeepEqual(d.Inputs[1].Shape, []any{"?", int64(3)}) || d.Outputs[0].Shape == nil || d.Outputs[0].DType != "U8" {
		t.Fatalf("%+v", d)
	}
}

// TestInspectMissing: weights in files that are not there, or too short, are told; those that are there count.
func TestInspectMissing(t *testing.T) {
	m, err := onnx.ReadFile(recipe(t, "digits.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFileExternal(path, 0); err != nil {
		t.Fatal(err)
	}
	look := func() *engine.Inspection {
		doc, err := inspect(t.Context(), sdk.Artifact{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return doc.(*engine.Inspection)
	}
	whole := look()
	files, err := filepath.Glob(path + "?*")
	if err != nil || len(files) != 1 || whole.Missing != nil || whole.Size < 310000 {
		t.Fatalf("%+v, %v, %v", whole, files, err)
	}
	for _, spoil := range []func() error{func() error { return os.Truncate(files[0], 1000) }, func() error { return os.Remove(files[0]) }} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if d := look(); !reflect.DeepEqual(d.Missing, []string{filepath.Base(files[0])}) || d.Size > 20000 || d.Parameters != whole.Parameters {
			t.Errorf("%+v", d)
		}
	}
}

func TestCoverageOfDigits(t *testing.T) {
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "optimize-coverage-*"))
	s := load(t, recipe(t, "digits.onnx"))
	doc, err := s.Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := doc.(*engine.Coverage)
	t.Logf("%+v", c.Ops)
	if c.Schema != "optimize.coverage/v1" || !strings.HasPrefix(c.Engine, "onnxruntime 1.") {
		t.Fatal(c.Schema, c.Engine)
	}
	conv := 0
	for _, o := range c.Ops {
		if strings.Contains(o.Op, "Conv") {
			conv += o.Count
		}
		if o.Precision != "fp32" && o.Op != "Constant" {
			t.Errorf("%+v", o)
		}
	}
	total := 0
	for _, o := range c.Ops {
		total += o.Count
	}
	if conv != 9 || total != len(c.Nodes) {
		t.Fatalf("%d Conv, %d nodes, %d counted", conv, len(c.Nodes), total)
	}
	after, _ := filepath.Glob(filepath.Join(os.TempDir(), "optimize-coverage-*"))
	if len(after) > len(before) {
		t.Fatal("left behind:", after)
	}
}

// TestCoverageOfIntegers quantizes one MatMul by hand and expects the engine to fuse it.
func TestCoverageOfIntegers(t *testing.T) {
	m := onnx.NewModel("g", 13)
	n := []onnx.Dim{onnx.ParamDim("N"), {Value: 2}}
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, n))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, n))
	m.Graph.AddInitializer(onnx.NewFloats("s", []float32{0.1}))
	m.Graph.AddInitializer(onnx.NewTensor("z", tensor.Of([]int64{}, []uint8{128})))
	m.Graph.AddInitializer(onnx.NewTensor("wz", tensor.Of([]int64{}, []int8{0})))
	m.Graph.AddInitializer(onnx.NewTensor("w", tensor.Of([]int64{2, 2}, []int8{1, 2, 3, 4})))
	add := func(op, name string, out string, in ...string) {
		m.Graph.AppendNode(onnx.NewNode(op, "", name, in, []string{out}))
	}
	add("QuantizeLinear", "q1", "xq", "x", "s", "z")
	add("DequantizeLinear", "d1", "xd", "xq", "s", "z")
	add("DequantizeLinear", "dw", "wd", "w", "s", "wz")
	add("MatMul", "mm", "p", "xd", "wd")
	add("QuantizeLinear", "q2", "pq", "p", "s", "z")
	add("DequantizeLinear", "d2", "y", "pq", "s", "z")
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	doc, err := load(t, path).Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := doc.(*engine.Coverage)
	t.Logf("%+v", c.Ops)
	want := []engine.OpCoverage{{Op: "DequantizeLinear", Precision: "fp32", Count: 1}, {Op: "QLinearMatMul", Precision: "int8", Count: 1}, {Op: "QuantizeLinear", Precision: "int8", Count: 1}}
	if !reflect.DeepEqual(c.Ops, want) {
		t.Fatalf("got %+v, want %+v", c.Ops, want)
	}
}

func TestPrecision(t *testing.T) {
	types := typesOf{declared: map[string]tensor.DType{"f": tensor.F32, "h": tensor.F16, "u": tensor.U8, "i": tensor.I64, "s": tensor.I16}, shapes: &onnx.Shapes{}}
	for _, c := range []struct {
		op   string
		in   []string
		out  string
		want string
	}{
		{"Conv", []string{"f"}, "f", "fp32"},
		{"Conv", []string{"h"}, "h", "fp16"},
		{"MaxPool", []string{"u"}, "u", "int8"},
		{"QLinearConv", []string{"u"}, "u", "int8"},
		{"QLinearMatMul", []string{"s"}, "s", "int16"},
		{"MatMulIntegerToFloat", []string{"u"}, "f", "int8"},
		{"DynamicQuantizeMatMul", []string{"f"}, "f", "int8"},
		{"QGemm", []string{"u"}, "f", "int8"},
		{"MatMulNBits", []string{"f"}, "f", "int4"},
		{"Shape", []string{"f"}, "i", "int64"},
		{"Strange", []string{"", "h"}, "?", "fp16"},
		{"Strange", nil, "?", "unknown"},
	} {
		if got := types.precision(onnx.NewNode(c.op, "", "", c.in, []string{c.out})); got != c.want {
			t.Errorf("%s of %v: %s, want %s", c.op, c.in, got, c.want)
		}
	}
}

func TestTypesFollowTheEnginesOperators(t *testing.T) {
	types := typesOf{declared: map[string]tensor.DType{"u": tensor.U8, "i": tensor.I8, "f": tensor.F32}, shapes: &onnx.Shapes{}}
	for _, c := range []struct {
		op   string
		in   []string
		want tensor.DType
	}{
		{"QLinearAdd", []string{"u", "f", "u", "u", "f", "u", "f", "u"}, tensor.U8},
		{"QLinearConcat", []string{"f", "i", "i", "f", "i"}, tensor.I8},
		{"QGemm", []string{"u", "f", "u", "i", "f", "i", "", "f", "u"}, tensor.U8},
		{"QGemm", []string{"u", "f", "u", "i", "f", "i"}, tensor.F32},
		{"MatMulIntegerToFloat", []string{"u", "i", "f", "f", "u", "i"}, tensor.F32},
		{"DequantizeLinear", []string{"u", "f", "u"}, tensor.F32},
		{"QuantizeLinear", []string{"f", "f", "u"}, tensor.U8},
		{"ReorderOutput", []string{"f"}, tensor.F32},
		{"Strange", nil, tensor.Invalid},
	} {
		types.follow(onnx.NewNode(c.op, "com.microsoft", "", c.in, []string{"y"}))
		if got := types.of("y"); got != c.want {
			t.Errorf("%s of %v: %s, want %s", c.op, c.in, got, c.want)
		}
		delete(types.declared, "y")
	}
}
