package depth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

// chain is three blocks, a projection, which ends none, and one more block.
func chain() *onnx.Model {
	m := onnx.NewModel("chain", 13)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 4}}))
	g.AddInitializer(onnx.NewFloats("w", make([]float32, 16), 4, 4))
	add := func(op, name string, in ...string) string {
		g.AppendNode(onnx.NewNode(op, "", name, in, []string{name}))
		return name
	}
	x := "x"
	for i := range 4 {
		w := fmt.Sprintf("w%d", i)
		g.AddInitializer(onnx.NewFloats(w, make([]float32, 16), 4, 4))
		f := add("MatMul", fmt.Sprintf("f%d", i), add("Relu", fmt.Sprintf("r%d", i), x), w)
		if i == 2 {
			add("Add", "projected", add("MatMul", "p", x, "w"), f)
			x = "projected"
			continue
		}
		in := []string{x, f}
		if i%2 == 1 {
			in = []string{f, x}
		}
		x = add("Add", fmt.Sprintf("block%d", i), in...)
	}
	g.AddOutput(onnx.NewValueInfo(x, onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 4}}))
	return m
}

func TestFind(t *testing.T) {
	m := chain()
	blocks, left, err := Find(m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range blocks {
		got = append(got, fmt.Sprint(b.Name, b.Nodes, b.MACs, b.Parameters))
	}
	if want := "block02 16 16 block12 16 16 block32 16 16"; strings.Join(got, " ") != want {
		t.Errorf("blocks %v, want %s", got, want)
	}
	if len(left) != 1 || left[0].Name != "projected" {
		t.Error(left)
	}
	if err := Drop(m, []*Block{blocks[0], blocks[2]}); err != nil {
		t.Fatal(err)
	}
	if err := onnx.Check(m); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for n := range m.Graph.Nodes() {
		nodes = append(nodes, n.Name+"("+strings.Join(n.Inputs(), ",")+")")
	}
	if got, want := strings.Join(nodes, " "), "r1(x) f1(r1,w1) block1(f1,x) r2(block1) f2(r2,w2) p(block1,w) projected(p,f2)"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	if m.Graph.Outputs()[0].Name() != "block3" {
		t.Error("the output has another name:", m.Graph.Outputs()[0].Name())
	}
}

// TestNested drops a block around another one.
func TestNested(t *testing.T) {
	m := onnx.NewModel("nested", 13)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 4)))
	for _, n := range [][]string{{"Relu", "a", "x"}, {"Tanh", "b", "a"}, {"Add", "inner", "a", "b"}, {"Add", "outer", "x", "inner"}, {"Abs", "y", "outer"}} {
		g.AppendNode(onnx.NewNode(n[0], "", n[1], n[2:], []string{n[1]}))
	}
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, onnx.FixedDims(2, 4)))
	blocks, _, err := Find(m)
	if err != nil || len(blocks) != 2 {
		t.Fatal(blocks, err)
	}
	if err := Drop(m, []*Block{blocks[1], blocks[0]}); err != nil || m.Graph.NumNodes() != 1 || onnx.Check(m) != nil {
		t.Error(err, m.Graph.NumNodes())
	}
}
