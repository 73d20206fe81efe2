package onnx

import (
	"slices"
	"strings"
	"testing"
)

// functionModel has a function Scaled(x; by = 2) = Twice(x) * by that calls another,
// and calls it at the top and inside a branch.
func functionModel(t testing.TB) *Model {
	t.Helper()
	body := func(n *Node) []byte {
		var w writer
		w.node(n)
		return slices.Concat(w.list()...)
	}
	by := IntAttr("value_int", 0)
	*by = *RefAttr(by.Name, "by", by.Type)
	constant := NewNode("Constant", "", "", nil, []string{"k"})
	constant.SetAttr(RefAttr("value_int", "by", AttrInt))
	var def writer
	def.attribute(IntAttr("by", 2))
	scaled := message(nil).text(1, "Scaled").text(4, "x").text(5, "y").text(5, "same").
		bytes(7, body(NewNode("Twice", "my", "t", []string{"x"}, []string{"two"}))).
		bytes(7, body(constant)).
		bytes(7, body(NewNode("CastLike", "", "", []string{"k", "x"}, []string{"kf"}))).
		bytes(7, body(NewNode("Mul", "", "", []string{"two", "kf"}, []string{"y"}))).
		bytes(7, body(NewNode("Identity", "", "", []string{"x"}, []string{"same"}))).
		bytes(9, message(nil).varint(2, 17)).text(10, "my").bytes(11, slices.Concat(def.list()...))
	twice := message(nil).text(1, "Twice").text(4, "a").text(5, "b").
		bytes(7, body(NewNode("Add", "", "", []string{"a", "a"}, []string{"b"}))).text(10, "my")
	m := graphOf(FixedDims(2), "z",
		NewNode("Scaled", "my", "first", []string{"x"}, []string{"p", "q"}),
		NewNode("Scaled", "my", "", []string{"q"}, []string{"two"}, IntAttr("by", 5)), // a name that the function has too
		node("Add", "z", "p", "two"))
	m.SetOpset("my", 1)
	m.Functions = [][]byte{scaled, twice}
	return m
}

func TestInlineFunctions(t *testing.T) {
	m := functionModel(t)
	if err := Check(m); err != nil {
		t.Fatal(err)
	}
	n, err := InlineFunctions(m)
	if err != nil || n != 4 {
		t.Fatalf("%d calls inlined: %v", n, err)
	}
	if err := Check(m); err != nil {
		t.Error(err)
	}
	if len(m.Functions) > 0 || m.Opset("my") != 0 {
		t.Error("the functions or their operator set are still there")
	}
	var ops []string
	var values []int64
	for n := range m.Graph.AllNodes() {
		ops = append(ops, n.OpType)
		if n.Is("Constant") {
			values = append(values, n.IntAttr("value_int", -1))
		}
	}
	if want := []int64{2, 5}; !slices.Equal(values, want) {
		t.Errorf("the attribute is %v, want %v", values, want)
	}
	if want := "Add Constant CastLike Mul Identity Add Constant CastLike Mul Identity Add"; strings.Join(ops, " ") != want {
		t.Errorf("the nodes are %v", ops)
	}
	// (x+x)*2 + (x+x)*5 with x = 3
	if got := valueAt(t, m, 3); got != 42 {
		t.Errorf("it computes %v, want 42", got)
	}
}

// valueAt makes x constant, folds everything and returns the first element of z.
func valueAt(t *testing.T, m *Model, x float32) float32 {
	t.Helper()
	again := reparse(t, m)
	again.Graph.RemoveInput("x")
	again.Graph.AddInitializer(NewFloats("x", []float32{x, x}, 2))
	again.Graph.RemoveOutput("z")
	again.Graph.AppendNode(node("Neg", "last", "z"))
	again.Graph.AppendNode(node("Shape", "out", "last"))
	again.Graph.AddOutput(NewValueInfo("out", Int64, nil))
	again.Graph.AddOutput(NewValueInfo("w", Float, nil))
	again.Graph.AppendNode(NewNode("Softmax", "", "", []string{"z"}, []string{"w"}))
	if _, err := Simplify(again, SimplifyOptions{}); err != nil {
		t.Fatal(err)
	}
	p := again.Graph.Producer("w")
	v, err := again.Graph.Constant(p.Input(0)).Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v[0]
}

func TestInlineFunctionErrors(t *testing.T) {
	loop := functionModel(t)
	loop.Functions[1] = message(nil).text(1, "Twice").text(4, "a").text(5, "b").
		bytes(7, message(nil).text(1, "a").text(2, "b").text(4, "Twice").text(7, "my")).text(10, "my")
	if _, err := InlineFunctions(loop); err == nil || !strings.Contains(err.Error(), "calls itself") {
		t.Errorf("a function that calls itself: %v", err)
	}
	other := functionModel(t)
	other.SetOpset("", 13)
	if _, err := InlineFunctions(other); err == nil || !strings.Contains(err.Error(), "version 17") {
		t.Errorf("another operator set: %v", err)
	}
	// Each function calls the next one twice: a million million nodes.
	grown := functionModel(t)
	for i := range 40 {
		name, next := string(rune('A'+i)), string(rune('A'+i+1))
		call := message(nil).text(1, "a").text(2, "b").text(4, next).text(7, "my")
		grown.Functions = append(grown.Functions, message(nil).text(1, name).text(4, "a").text(5, "b").bytes(7, call).bytes(7, call).text(10, "my"))
	}
	grown.Graph.AppendNode(NewNode("A", "my", "", []string{"x"}, []string{"big"}))
	if _, err := InlineFunctions(grown); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too many nodes: %v", err)
	}
}

func TestSparseToDense(t *testing.T) {
	sparse := func(name string, indices *Tensor) []byte {
		var v, i writer
		v.tensor(NewFloats(name, []float32{5, 7}, 2))
		i.tensor(indices)
		return message(nil).bytes(1, slices.Concat(v.list()...)).bytes(2, slices.Concat(i.list()...)).varint(3, 2).varint(3, 3)
	}
	for name, indices := range map[string]*Tensor{
		"counted":  NewInt64s("", []int64{1, 5}, 2),
		"by axis":  NewInt64s("", []int64{0, 1, 1, 2}, 2, 2),
		"constant": NewInt64s("", []int64{1, 5}, 2),
	} {
		m := graphOf(FixedDims(2, 3), "y", node("Add", "y", "x", "s"))
		if name == "constant" {
			a := &Attribute{Name: "sparse_value", Type: AttrSparseTensor, rare: &attrRare{unknown: message(nil).bytes(22, sparse("", indices))}}
			m.Graph.PrependNode(NewNode("Constant", "", "", nil, []string{"s"}, a))
		} else {
			m.Graph.rare = &graphRare{sparse: [][]byte{sparse("s", indices)}, sparseNames: []string{"s"}}
		}
		m = reparse(t, m)
		if _, err := SparseToDense(m, 16); err == nil {
			t.Errorf("%s: 24 bytes fit into 16", name)
		}
		if n, err := SparseToDense(m, 24); err != nil || n != 1 {
			t.Fatalf("%s: %d, %v", name, n, err)
		}
		v, err := m.Graph.Constant("s").Float32s()
		if err != nil || !slices.Equal(v, []float32{0, 5, 0, 0, 0, 7}) {
			t.Errorf("%s gives %v, %v", name, v, err)
		}
		if err := Check(m); err != nil {
			t.Error(err)
		}
	}
	bad := graphOf(FixedDims(2, 3), "y", node("Add", "y", "x", "s"))
	bad.Graph.rare = &graphRare{sparse: [][]byte{sparse("s", NewInt64s("", []int64{1, 6}, 2))}, sparseNames: []string{"s"}}
	if _, err := SparseToDense(bad, 1<<20); err == nil || !strings.Contains(err.Error(), "outside") {
		t.Errorf("a value outside: %v", err)
	}
}
