package groups

import (
	"fmt"
	"os"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

func TestDebug(t *testing.T) {
	f := os.Getenv("PRUNE_DEBUG")
	if f == "" {
		t.Skip()
	}
	m, err := onnx.ReadFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := Prepare(m); err != nil {
		t.Fatal(err)
	}
	a, err := Analyze(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range a.Groups {
		fmt.Printf("%-40s %4d units x %d, %d nodes, %d uses, %d sums\n", g.Name, len(g.Units), g.Channels, len(g.Nodes), len(g.Uses), len(g.Sums))
	}
	for _, l := range a.Left {
		fmt.Println("LEFT", l)
	}
	fmt.Println(a.Cost(a.Select()))
}

func TestDebugNode(t *testing.T) {
	f := os.Getenv("PRUNE_DEBUG")
	if f == "" {
		t.Skip()
	}
	m, _ := onnx.ReadFile(f)
	if err := Prepare(m); err != nil {
		t.Fatal(err)
	}
	s, _ := onnx.InferOwnShapes(m)
	for n := range m.Graph.AllNodes() {
		if n.OpType != os.Getenv("PRUNE_OP") {
			continue
		}
		fmt.Println(n.Label())
		for i, v := range append(append([]string{}, n.Inputs()...), n.Outputs()...) {
			_, d, ok := s.Of(v)
			fmt.Printf("   %d %s %+v %v", i, v, d, ok)
			if c := m.Graph.Constant(v); c != nil && c.DataType == onnx.Int64 {
				x, _ := c.Ints()
				fmt.Print(x)
			}
			if p := m.Graph.Producer(v); p != nil {
				fmt.Print(" by ", p.OpType)
			}
			fmt.Println()
		}
	}
}
