package onnx

import (
	"slices"
	"strings"
	"testing"
)

const geluRule = `
	d = Div(x, 1.4142135)
	e = Erf(d)
	a = Add(e, 1)
	m = Mul(x, a)
	y = Mul(m, 0.5)
	=>
	y = Gelu<approximate="none">(x)
`

func geluModel() *Model {
	m := graphOf(FixedDims(2, 3), "z", node("Relu", "r", "x"), node("Div", "d", "r", "root"), node("Erf", "e", "d"),
		node("Add", "a", "one", "e"), node("Mul", "m", "a", "r"), node("Mul", "y", "half", "m"), node("Neg", "z", "y"))
	m.Graph.AddInitializer(NewFloats("root", []float32{1.4142135}))
	m.Graph.AddInitializer(NewFloats("one", []float32{1}, 1))
	m.Graph.AddInitializer(NewFloats("half", []float32{0.5}))
	return m
}

func opsOf(m *Model) (ops []string) {
	for n := range m.Graph.Nodes() {
		ops = append(ops, n.OpType)
	}
	return ops
}

func TestRule(t *testing.T) {
	m := geluModel()
	if n := MustRule(geluRule).Apply(m); n != 1 {
		t.Fatalf("%d places were rewritten", n)
	}
	m.Graph.Prune()
	if err := Check(m); err != nil {
		t.Error(err)
	}
	if got := opsOf(m); !slices.Equal(got, []string{"Relu", "Gelu", "Neg"}) || m.Graph.NumInitializers() != 0 {
		t.Errorf("left are %v and %d initializers", got, m.Graph.NumInitializers())
	}
	if g := m.Graph.Producer("y"); g.Input(0) != "r" || g.StringAttr("approximate", "") != "none" {
		t.Errorf("Gelu reads %v", g.Inputs())
	}
}

func TestRuleLeavesAlone(t *testing.T) {
	for name, change := range map[string]func(*Model){
		"another number":   func(m *Model) { m.Graph.AddInitializer(NewFloats("half", []float32{0.75})) },
		"a number of many": func(m *Model) { m.Graph.AddInitializer(NewFloats("half", []float32{0.5, 0.25}, 2, 1)) },
		"another value":    func(m *Model) { m.Graph.Producer("m").SetInput(1, "x") },
		"read elsewhere":   func(m *Model) { m.Graph.Producer("z").SetInput(0, "e") },
		"an output":        func(m *Model) { m.Graph.AddOutput(NewValueInfo("e", Float, nil)) },
		"another operator": func(m *Model) { m.Graph.Producer("e").OpType = "Tanh" },
		"another domain":   func(m *Model) { m.Graph.Producer("e").Domain = "my" },
		"a variable constant": func(m *Model) {
			m.Graph.RemoveInitializer("one")
			m.Graph.AddInput(NewValueInfo("one", Float, FixedDims(1)))
		},
	} {
		m := geluModel()
		change(m)
		if n := MustRule(geluRule).Apply(m); n != 0 {
			t.Errorf("%s: rewritten", name)
		}
	}
}

func TestRuleTakesAttributesOver(t *testing.T) {
	m := graphOf(FixedDims(1, 2, 8, 8), "z", node("Pad", "p", "x", "pads"), with(node("Conv", "c", "p", "w"), IntsAttr("strides", 2, 2), IntAttr("group", 1)), node("Clip", "z", "c", "", "top"))
	m.Graph.AddInitializer(ints("pads", 0, 0, 1, 1, 0, 0, 1, 1))
	m.Graph.AddInitializer(NewFloats("w", random(1, 36), 2, 2, 3, 3))
	m.Graph.AddInitializer(NewFloats("top", []float32{6}))
	asked := 0
	r := MustRule(`
		p = Pad(x, $pads)
		c = Conv<strides=[2, 2]>(p, $w)   # no bias
		y = Clip(c, , 6)
		=>
		s = Conv<...c, pads=[1, 1, 1, 1]>(x, w)
		f = Reshape(s, [0, 2, -1])
		y = com.example.Last<by=2, scale=0.5>(f, 6, , x)
	`)
	r.When = func(m *Match) bool {
		asked++
		pads, err := m.Constant("pads").Ints()
		return err == nil && pads[2] == 1 && m.Node("c").OpType == "Conv" && m.Value("x") == "x" && m.Graph() != nil
	}
	if n := r.Apply(m); n != 1 || asked != 1 {
		t.Fatalf("%d rewritten, asked %d times", n, asked)
	}
	conv := m.Graph.First()
	if got := opsOf(m); !slices.Equal(got, []string{"Conv", "Reshape", "Last"}) || !slices.Equal(conv.IntsAttr("strides"), []int64{2, 2}) || !slices.Equal(conv.IntsAttr("pads"), []int64{1, 1, 1, 1}) {
		t.Errorf("left are %v, %v", got, conv.Attributes())
	}
	last := m.Graph.Producer("z")
	if len(last.Inputs()) != 4 || last.Input(2) != "" || last.Domain != "com.example" || last.FloatAttr("scale", 0) != 0.5 || last.IntAttr("by", 0) != 2 {
		t.Errorf("the last node is %v %v", last.Domain, last.Inputs())
	}
}

func TestRuleErrors(t *testing.T) {
	for text, want := range map[string]string{
		"y = Relu(x)":                           "some lines",
		"y = Relu(x)\n=>\nz = Relu(x)":          "does not make y",
		"y Relu(x)\n=>\ny = Relu(x)":            "line 1",
		"y = Relu x\n=>\ny = Relu(x)":           "brackets are missing",
		"y = Relu(1x)\n=>\ny = Relu(x)":         "no value",
		"y = Relu<a>(x)\n=>\ny = Relu(x)":       "name=value",
		"y = Relu<a=[1>(x)\n=>\ny = Relu(x)":    "not closed",
		"a = Relu(x)\ny = Abs(x)\n=>\ny = A(x)": "nothing reads",
		"a = Relu(x)\ny = Abs(a)\n=>\ny = A(a)": "not there any more",
		"y = Relu(x)\n=>\ny = Relu(q)":          "never was",
		"y = Relu(x)\n=>\n=>\ny = Relu(x)":      "second",
		"y = Relu(x)\n=>\ny = A<...q>(x)":       "which nothing on the left does",
		"y = Add(x, [1])\n=>\ny = A(x)":         "reads a list",
		"y = Add(x, b)\nb = A(x)\n=>\nb = A(x)": "before it is made",
	} {
		if _, err := NewRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
