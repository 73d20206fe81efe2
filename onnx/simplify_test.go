package onnx

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// simplified builds a model of one graph, simplifies it and returns its operators.
func simplified(t *testing.T, m *Model) []string {
	t.Helper()
	if err := Check(m); err != nil {
		t.Fatalf("the test's model: %v", err)
	}
	if _, err := Simplify(m, SimplifyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Check(m); err != nil {
		t.Fatalf("the simplified model: %v", err)
	}
	var ops []string
	for n := range m.Graph.AllNodes() {
		ops = append(ops, n.OpType)
	}
	return ops
}

// graphOf makes a model with the input x of the given axes from nodes.
func graphOf(x []Dim, out string, nodes ...*Node) *Model {
	m := NewModel("g", 17)
	m.Graph.AddInput(NewValueInfo("x", Float, x))
	for _, n := range nodes {
		m.Graph.AppendNode(n)
	}
	m.Graph.AddOutput(NewValueInfo(out, Float, nil))
	return m
}

func node(op, out string, in ...string) *Node { return NewNode(op, "", op+out, in, []string{out}) }

func with(n *Node, attrs ...*Attribute) *Node {
	for _, a := range attrs {
		n.SetAttr(a)
	}
	return n
}

func ints(name string, v ...int64) *Tensor { return NewInt64s(name, v, int64(len(v))) }

func TestSimplify(t *testing.T) {
	dynamic := []Dim{ParamDim("n"), {Value: 4}, ParamDim("?"), ParamDim("?")}
	cases := map[string]struct {
		m    *Model
		init []*Tensor
		want []string
	}{
		"shape of a fixed axis": {
			graphOf(dynamic, "y", node("Shape", "s", "x"), node("Gather", "g", "s", "one"), node("Cast", "f", "g"), node("Mul", "y", "x", "f")),
			[]*Tensor{NewInt64s("one", []int64{1})},
			[]string{"Mul"},
		},
		"reshape by computed shape": {
			graphOf(dynamic, "y", node("Shape", "s", "x"), node("Gather", "g", "s", "zero"), node("Unsqueeze", "u", "g", "axis"),
				with(node("Concat", "c", "u", "rest"), IntAttr("axis", 0)), node("Reshape", "y", "x", "c")),
			[]*Tensor{NewInt64s("zero", []int64{0}), ints("axis", 0), ints("rest", 4, -1)},
			[]string{"Reshape"},
		},
		"placeholders are not equal": {
			graphOf(dynamic, "y", with(node("Transpose", "t", "x"), IntsAttr("perm", 0, 1, 3, 2)), node("Shape", "s", "x"), node("Reshape", "y", "t", "s")),
			nil,
			// Were both "?" one size, the Reshape would seem to change nothing.
			[]string{"Transpose", "Shape", "Reshape"},
		},
		"no-ops": {
			graphOf(dynamic, "y", node("Identity", "a", "x"), node("Add", "b", "a", "zeros"), node("Mul", "c", "ones", "b"),
				with(node("Cast", "d", "c"), IntAttr("to", 1)), node("Relu", "e", "d"), node("Relu", "f", "e"), node("Dropout", "y", "f")),
			[]*Tensor{NewFloats("zeros", []float32{0}), NewFloats("ones", []float32{1, 1, 1, 1}, 4, 1, 1)},
			[]string{"Relu"},
		},
		"adding zeros that broadcast": {
			graphOf(FixedDims(1, 4), "y", node("Add", "y", "x", "zeros")),
			[]*Tensor{NewFloats("zeros", make([]float32, 8), 2, 4)},
			[]string{"Add"},
		},
		"transposes that cancel": {
			graphOf(dynamic, "y", with(node("Transpose", "a", "x"), IntsAttr("perm", 0, 2, 3, 1)), with(node("Transpose", "b", "a"), IntsAttr("perm", 0, 3, 1, 2)), node("Relu", "y", "b")),
			nil,
			[]string{"Relu"},
		},
		"views in a row": {
			graphOf(dynamic, "y", node("Unsqueeze", "a", "x", "axis"), node("Squeeze", "b", "a", "axis"), node("Relu", "c", "b"), with(node("Flatten", "d", "c"), IntAttr("axis", 1)), node("Unsqueeze", "y", "d", "axis")),
			[]*Tensor{ints("axis", 0)},
			[]string{"Relu", "Flatten", "Unsqueeze"},
		},
		"reversing is no no-op": {
			graphOf(FixedDims(1, 4), "y", node("Slice", "y", "x", "start", "end", "axis", "step")),
			[]*Tensor{ints("start", -1), ints("end", -100), ints("axis", 1), ints("step", -1)},
			[]string{"Slice"},
		},
		"equal nodes": {
			graphOf(dynamic, "y", node("Sigmoid", "a", "x"), node("Sigmoid", "b", "x"), node("Add", "y", "a", "b")),
			nil,
			[]string{"Sigmoid", "Add"},
		},
		"random nodes are not equal": {
			graphOf(dynamic, "y", node("RandomNormalLike", "a", "x"), node("RandomNormalLike", "b", "x"), node("Add", "y", "a", "b")),
			nil,
			[]string{"RandomNormalLike", "RandomNormalLike", "Add"},
		},
		"padding": {
			graphOf(dynamic, "y", node("Pad", "p", "x", "pads"), node("Conv", "y", "p", "w")),
			[]*Tensor{ints("pads", 0, 0, 1, 1, 0, 0, 1, 1), NewFloats("w", random(1, 36), 1, 4, 3, 3)},
			[]string{"Conv"},
		},
		"matrix product and bias": {
			graphOf([]Dim{ParamDim("n"), {Value: 4}}, "y", node("MatMul", "m", "x", "w"), node("Add", "y", "b", "m")),
			[]*Tensor{NewFloats("w", random(1, 12), 4, 3), NewFloats("b", random(2, 3), 3)},
			[]string{"Gemm"},
		},
		"a bias that spreads the product": {
			graphOf(FixedDims(1, 4), "y", node("MatMul", "m", "x", "w"), node("Add", "y", "b", "m")),
			[]*Tensor{NewFloats("w", random(1, 12), 4, 3), NewFloats("b", random(2, 6), 2, 3)},
			[]string{"MatMul", "Add"},
		},
		"a reduced axis put back": {
			graphOf(dynamic, "y", with(node("ReduceMean", "r", "x"), IntsAttr("axes", 1), IntAttr("keepdims", 0)), node("Unsqueeze", "u", "r", "axis"), node("Relu", "y", "u")),
			[]*Tensor{ints("axis", -3)},
			[]string{"ReduceMean", "Relu"},
		},
		"another axis put back": {
			graphOf(dynamic, "y", with(node("ReduceMean", "r", "x"), IntsAttr("axes", 1), IntAttr("keepdims", 0)), node("Unsqueeze", "u", "r", "axis"), node("Relu", "y", "u")),
			[]*Tensor{ints("axis", 0)},
			[]string{"ReduceMean", "Unsqueeze", "Relu"},
		},
		"slices of two axes": {
			graphOf(FixedDims(4, 4), "y", node("Slice", "a", "x", "one", "top", "zero"), node("Slice", "y", "a", "one", "top", "one")),
			[]*Tensor{ints("zero", 0), ints("one", 1), ints("top", 3)},
			[]string{"Slice"},
		},
		"slices of one axis": {
			graphOf(FixedDims(4, 4), "y", node("Slice", "a", "x", "one", "top", "zero"), node("Slice", "y", "a", "one", "top", "zero")),
			[]*Tensor{ints("zero", 0), ints("one", 1), ints("top", 3)},
			[]string{"Slice", "Slice"},
		},
		"the expand that PyTorch writes": {
			graphOf(dynamic, "y", node("Shape", "s", "x"), with(node("Concat", "t", "minus", "minus", "minus", "minus"), IntAttr("axis", 0)), node("Shape", "k", "t"),
				with(node("ConstantOfShape", "o", "k"), TensorAttr("value", ints("", 1))), node("Mul", "m", "o", "minus"), node("Equal", "e", "s", "m"),
				node("Where", "w", "e", "o", "s"), node("Expand", "x2", "x", "w"), node("Relu", "y", "x2")),
			[]*Tensor{ints("minus", -1)},
			[]string{"Relu"},
		},
		"concatenations": {
			graphOf(dynamic, "y", node("Relu", "r", "x"), with(node("Concat", "a", "x", "r"), IntAttr("axis", 1)), with(node("Concat", "y", "a", "x"), IntAttr("axis", -3))),
			nil,
			[]string{"Relu", "Concat"},
		},
		"range and expand": {
			graphOf(FixedDims(2, 3), "y", node("Shape", "s", "x"), node("Gather", "n", "s", "one"), node("Range", "r", "zero", "n", "one"),
				node("Expand", "e", "r", "s"), with(node("Cast", "f", "e"), IntAttr("to", 1)), node("Add", "y", "x", "f")),
			[]*Tensor{NewInt64s("zero", []int64{0}), NewInt64s("one", []int64{1})},
			[]string{"Add"},
		},
	}
	cases["shape of a fixed axis"].m.Graph.NodeByName("Castf").SetAttr(IntAttr("to", 1))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, i := range c.init {
				c.m.Graph.AddInitializer(i)
			}
			if got := simplified(t, c.m); !slices.Equal(got, c.want) {
				t.Errorf("left are %v, want %v", got, c.want)
			}
		})
	}
}

func TestSimplifyTakesTheBranch(t *testing.T) {
	branch := func(op string) *Graph {
		g := NewGraph(op)
		g.AppendNode(node(op, "inner", "x"))
		g.AppendNode(node("Neg", "result", "inner"))
		g.AddOutput(NewValueInfo("result", Float, nil))
		return g
	}
	n := node("If", "y", "condition")
	n.SetAttr(GraphAttr("then_branch", branch("Sin")))
	n.SetAttr(GraphAttr("else_branch", branch("Cos")))
	// A value outside has the name of one inside the other branch.
	m := graphOf(FixedDims(2), "z", node("Shape", "s", "x"), node("Size", "k", "x"), node("Equal", "condition", "k", "two"), n, node("Tan", "z", "y"))
	m.Graph.AddInitializer(NewInt64s("two", []int64{2}))
	if got := simplified(t, m); !slices.Equal(got, []string{"Sin", "Neg", "Tan"}) {
		t.Errorf("left are %v", got)
	}
}

func TestSimplifyDigits(t *testing.T) {
	m, _ := readDigits(t)
	stats, err := Simplify(m, SimplifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stats.NodesBefore != 31 || stats.NodesAfter != 22 || stats.Fused != 9 {
		t.Errorf("stats are %+v", stats)
	}
	first := marshal(t, m)
	for range 3 { // nothing depends on the order of a map
		again, _ := readDigits(t)
		if _, err := Simplify(again, SimplifyOptions{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(marshal(t, again), first) {
			t.Fatal("a second run gives other bytes")
		}
	}
	kept, _ := readDigits(t)
	if stats, err = Simplify(kept, SimplifyOptions{Keep: []string{"BatchNormalization"}}); err != nil || stats.NodesAfter != 31 {
		t.Errorf("kept %+v, %v", stats, err)
	}
}

func TestSimplifyGrowth(t *testing.T) {
	make := func() *Model {
		m := graphOf(FixedDims(1), "y", with(node("ConstantOfShape", "c", "s"), TensorAttr("value", NewFloats("", []float32{2}, 1))), node("Add", "y", "x", "c"))
		m.Graph.AddInitializer(ints("s", 1000))
		return m
	}
	for growth, want := range map[int64]int{-1: 2, 100: 2, 0: 1, 4000: 1} {
		m := make()
		if _, err := Simplify(m, SimplifyOptions{MaxGrowth: growth}); err != nil || m.Graph.NumNodes() != want {
			t.Errorf("MaxGrowth %d leaves %d nodes, want %d (%v)", growth, m.Graph.NumNodes(), want, err)
		}
	}
}

// manySimple is a graph of n nodes of which nothing can be left but a few.
func manySimple(n int) *Model {
	m := graphOf(FixedDims(1, 4), "y")
	m.Graph.AddInitializer(NewFloats("one", []float32{1}))
	last := "x"
	for i := range n {
		out := fmt.Sprint("v", i)
		op := []string{"Mul", "Identity", "Relu", "Reshape"}[i%4]
		in := []string{last}
		switch op {
		case "Mul":
			in = append(in, "one")
		case "Reshape":
			s := fmt.Sprint("s", i)
			m.Graph.AddInitializer(ints(s, 1, 4))
			in = append(in, s)
		}
		m.Graph.AppendNode(NewNode(op, "", fmt.Sprint("n", i), in, []string{out}))
		last = out
	}
	m.Graph.AppendNode(node("Sigmoid", "y", last))
	return m
}

func BenchmarkSimplify(b *testing.B) {
	for _, n := range []int{5000, 20000, 80000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				m := manySimple(n)
				b.StartTimer()
				if _, err := Simplify(m, SimplifyOptions{}); err != nil {
					b.Fatal(err)
				}
				if m.Graph.NumNodes() != 2 {
					b.Fatalf("%d nodes are left", m.Graph.NumNodes())
				}
			}
		})
	}
}

// Up to IR version 3 every initializer is an input too.
func TestSimplifyOldModels(t *testing.T) {
	m := graphOf(FixedDims(2), "y", node("Add", "a", "b", "c"), node("Add", "y", "x", "a"))
	m.IRVersion = 3
	for i, name := range []string{"b", "c"} {
		m.Graph.AddInput(NewValueInfo(name, Float, FixedDims(2)))
		m.Graph.AddInitializer(NewFloats(name, []float32{float32(i), 2}, 2))
	}
	if got := simplified(t, m); !slices.Equal(got, []string{"Add"}) {
		t.Errorf("left are %v", got)
	}
	if len(m.Graph.Inputs()) != 1 || m.Graph.NumInitializers() != 1 {
		t.Errorf("%d inputs and %d initializers are left", len(m.Graph.Inputs()), m.Graph.NumInitializers())
	}
	// From version 4 on an initializer that alone is an input is a default.
	m = graphOf(FixedDims(2), "y", node("Add", "a", "b", "c"), node("Add", "y", "x", "a"))
	m.Graph.AddInput(NewValueInfo("b", Float, FixedDims(2)))
	m.Graph.AddInitializer(NewFloats("b", []float32{1, 2}, 2))
	m.Graph.AddInitializer(NewFloats("c", []float32{1, 2}, 2))
	if got := simplified(t, m); !slices.Equal(got, []string{"Add", "Add"}) {
		t.Errorf("a default was folded: %v", got)
	}
}

// Equal weights in the branches of an If are kept once, outside.
func TestSimplifySharesAcrossBranches(t *testing.T) {
	branch := func(op string) *Graph {
		g := NewGraph(op)
		g.AddInitializer(NewFloats("w", random(1, 64), 64))
		g.AppendNode(NewNode(op, "", "", []string{"x", "w"}, []string{"r"}))
		g.AddOutput(NewValueInfo("r", Float, nil))
		return g
	}
	n := node("If", "y", "c")
	n.SetAttr(GraphAttr("then_branch", branch("Add")))
	n.SetAttr(GraphAttr("else_branch", branch("Mul")))
	m := graphOf(FixedDims(64), "y", n)
	m.Graph.AddInput(NewValueInfo("c", Bool, []Dim{}))
	if got := simplified(t, m); !slices.Equal(got, []string{"If", "Add", "Mul"}) {
		t.Errorf("left are %v", got)
	}
	if _, inits := m.count(); inits != 1 || m.Graph.NumInitializers() != 1 {
		t.Errorf("%d initializers are left, %d of them outside", inits, m.Graph.NumInitializers())
	}
}

func TestNewTensorWithoutShapeIsAScalar(t *testing.T) {
	if d := NewFloats("a", []float32{1}).Dims; d == nil || len(d) != 0 {
		t.Errorf("the shape is %v", d)
	}
	if d := NewInt64s("a", []int64{1}).Dims; d == nil || len(d) != 0 {
		t.Errorf("the shape is %v", d)
	}
}
