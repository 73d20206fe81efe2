package onnx

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	m, _ := readDigits(t)
	if err := Check(m); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(m *Model, g *Graph){
		"no graph":                      func(m *Model, _ *Graph) { m.Graph = nil },
		"no ir_version":                 func(m *Model, _ *Graph) { m.IRVersion = 0 },
		"imports no operator set":       func(m *Model, _ *Graph) { m.Opsets = nil },
		`domain "my", which`:            func(_ *Model, g *Graph) { g.First().Domain = "my" },
		`"a" is defined twice`:          func(_ *Model, g *Graph) { g.NodeByName("b_node").SetOutput(0, "a") },
		`"x" is defined twice`:          func(_ *Model, g *Graph) { g.NodeByName("b_node").SetOutput(0, "x") },
		`reads "none", which nothing`:   func(_ *Model, g *Graph) { g.First().SetInput(0, "none") },
		"comes before":                  func(_ *Model, g *Graph) { g.PrependNode(g.NodeByName("y_node")) },
		"cycle":                         func(_ *Model, g *Graph) { g.First().SetInput(0, "y") },
		"no operator":                   func(_ *Model, g *Graph) { g.First().OpType = "" },
		`output "none" is made by no`:   func(_ *Model, g *Graph) { g.AddOutput(NewValueInfo("none", Float, nil)) },
		"a graph input has no name":     func(_ *Model, g *Graph) { g.AddInput(NewValueInfo("", Float, nil)) },
		"needs 12 bytes":                func(_ *Model, g *Graph) { g.AddInitializer(NewFloats("w", []float32{1}, 3)) },
		"impossible shape":              func(_ *Model, g *Graph) { g.AddInitializer(NewFloats("w", nil, -3)) },
		"no element type":               func(_ *Model, g *Graph) { g.AddInitializer(&Tensor{name: "w"}) },
		"has 0 strings":                 func(_ *Model, g *Graph) { g.AddInitializer(&Tensor{name: "w", DataType: String}) },
		`attribute "a" twice`:           func(_ *Model, g *Graph) { g.First().attrs = []*Attribute{IntAttr("a", 1), IntAttr("a", 2)} },
		`defined twice: by a graph inp`: func(_ *Model, g *Graph) { g.AddInput(NewValueInfo("x", Float, nil)) },
	} {
		m := chain()
		edit(m, m.Graph)
		err := Check(m)
		var e *CheckError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	m, body := withSubgraph()
	if err := Check(m); err != nil && !strings.Contains(err.Error(), "If") {
		t.Error(err)
	}
	body.First().SetOutput(0, "a")
	if err := Check(m); err == nil {
		t.Error("a subgraph hides a value of the graph around it")
	}
	many := NewModel("g", 13)
	for i := range 100 {
		many.Graph.AppendNode(NewNode("Relu", "", "", []string{"none"}, []string{fmt.Sprint(i)}))
	}
	var e *CheckError
	if !errors.As(Check(many), &e) || len(e.Problems) != maxProblems {
		t.Error("the list has an end")
	}
}
