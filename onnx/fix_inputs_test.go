package onnx

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// branching is a model that squeezes its last axis where that is 1, and adds what sr says.
func branching(t *testing.T) *Model {
	t.Helper()
	m := NewModel("branching", 17)
	g := m.Graph
	g.AddInput(NewValueInfo("x", Float, []Dim{ParamDim("batch"), ParamDim("time")}))
	g.AddInput(NewValueInfo("h", Float, []Dim{ParamDim("time"), {Value: 4}}))
	g.AddInput(NewValueInfo("sr", Int64, []Dim{}))
	g.AddOutput(NewValueInfo("y", Float, []Dim{ParamDim("batch"), ParamDim("time")}))
	g.AddOutput(NewValueInfo("z", Float, nil))
	g.AddInitializer(NewInt64s("one", []int64{1}))
	g.AddInitializer(NewInt64s("rate", []int64{16000}))
	branch := func(name, op string) *Graph {
		b := NewGraph(name)
		b.AppendNode(NewNode(op, "", name, []string{"x"}, []string{name + "_out"}))
		b.AddOutput(NewValueInfo(name+"_out", Float, nil))
		return b
	}
	g.AppendNode(NewNode("Shape", "", "shape", []string{"x"}, []string{"s"}))
	g.AppendNode(NewNode("Gather", "", "axis", []string{"s", "one"}, []string{"n"}))
	g.AppendNode(NewNode("Equal", "", "eq", []string{"n", "one"}, []string{"c"}))
	g.AppendNode(NewNode("If", "", "if", []string{"c"}, []string{"y"}, GraphAttr("then_branch", branch("then", "Neg")), GraphAttr("else_branch", branch("else", "Abs"))))
	g.AppendNode(NewNode("Equal", "", "eq2", []string{"sr", "rate"}, []string{"c2"}))
	g.AppendNode(NewNode("If", "", "if2", []string{"c2"}, []string{"z"}, GraphAttr("then_branch", branch("then2", "Exp")), GraphAttr("else_branch", branch("else2", "Sqrt"))))
	if err := Check(m); err != nil {
		t.Fatal(err)
	}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if m, err = Parse(b); err != nil { // as a file's, whose messages are kept where nobody changes them
		t.Fatal(err)
	}
	return m
}

func sortedOps(m *Model) []string {
	var out []string
	for n := range m.Graph.AllNodes() {
		out = append(out, n.OpType)
	}
	slices.Sort(out)
	return out
}

// TestFixInputs: what hangs on a shape or a number that is told is worked out, and only that; it survives the file.
func TestFixInputs(t *testing.T) {
	for _, c := range []struct {
		name   string
		shapes map[string][]int64
		values map[string]float64
		want   []string
	}{
		{"shape", map[string][]int64{"x": {-1, 3}}, nil, []string{"Abs", "Equal", "Exp", "If", "Sqrt"}},
		{"shape of another input with that axis", map[string][]int64{"h": {1, 4}}, nil, []string{"Equal", "Exp", "If", "Neg", "Sqrt"}},
		{"both", map[string][]int64{"x": {-1, 1}}, map[string]float64{"sr": 16000}, []string{"Exp", "Neg"}},
		{"the other value", map[string][]int64{"x": {-1, 1}}, map[string]float64{"sr": 8000}, []string{"Neg", "Sqrt"}},
	} {
		m := branching(t)
		if err := FixInputs(m, c.shapes, c.values); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if m, err = Parse(b); err != nil {
			t.Fatal(err)
		}
		if _, err := Simplify(m, SimplifyOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := sortedOps(m); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v is left, want %v", c.name, got, c.want)
		}
		in := m.Graph.Inputs()
		if len(in) != 3 || in[0].Type.Shape[0].Param != "batch" || !in[0].Type.Shape[1].Fixed() || in[1].Type.Shape[0] != in[0].Type.Shape[1] ||
			m.Graph.Outputs()[0].Type.Shape[1] != in[0].Type.Shape[1] {
			t.Errorf("%s: the inputs are %+v", c.name, in)
		}
	}
}

// TestFixInputsErrors: what contradicts the model is refused, and the model stays as it was.
func TestFixInputsErrors(t *testing.T) {
	for _, c := range []struct {
		shapes map[string][]int64
		values map[string]float64
		value  bool
		want   string
	}{
		{map[string][]int64{"nope": {1}}, nil, false, `no input "nope": it takes "x", "h", "sr"`},
		{map[string][]int64{"x": {1}}, nil, false, `input "x" has 2 axes, not 1`},
		{map[string][]int64{"x": {0, 1}}, nil, false, `axis 0 of input "x" cannot be 0`},
		{map[string][]int64{"x": {-2, 1}}, nil, false, "cannot be -2"},
		{map[string][]int64{"h": {-1, 5}}, nil, false, `axis 1 of input "h" is 4 in the model, not 5`},
		{map[string][]int64{"h": {2, 4}, "x": {1, 3}}, nil, false, `is called "time", which is 2 elsewhere, not 3`},
		{nil, map[string]float64{"nope": 1}, true, `no input "nope"`},
		{nil, map[string]float64{"sr": 0.5}, true, "0.5 is no INT64"},
		{nil, map[string]float64{"x": 1}, true, `input "x" has an axis without a size: give its shape too`},
		{map[string][]int64{"x": {1 << 20, 2}}, map[string]float64{"x": 1}, true, "more than 1048576 elements"},
	} {
		m := branching(t)
		before, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		err = FixInputs(m, c.shapes, c.values)
		var f *FixError
		if !errors.As(err, &f) || f.Value != c.value || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v, want %q", c.shapes, c.values, err, c.want)
		}
		if after, err := m.Marshal(); err != nil || !slices.Equal(before, after) {
			t.Errorf("%v %v changed the model (%v)", c.shapes, c.values, err)
		}
	}
}
