package onnx

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// chain is x -> Relu -> a -> Relu -> b -> Relu -> y.
func chain() *Model {
	m := NewModel("chain", 13)
	m.Graph.AddInput(NewValueInfo("x", Float, FixedDims(1)))
	for _, io := range [][2]string{{"x", "a"}, {"a", "b"}, {"b", "y"}} {
		m.Graph.AppendNode(NewNode("Relu", "", io[1]+"_node", []string{io[0]}, []string{io[1]}))
	}
	m.Graph.AddOutput(NewValueInfo("y", Float, FixedDims(1)))
	return m
}

func names(g *Graph) (out []string) {
	for n := range g.Nodes() {
		out = append(out, n.Name)
	}
	return out
}

func TestInsertAndRemove(t *testing.T) {
	g := chain().Graph
	node := func(name string) *Node { return NewNode("Abs", "", name, nil, nil) }
	g.PrependNode(node("first"))
	g.AppendNode(node("last"))
	g.InsertBefore(g.NodeByName("b_node"), node("before"))
	g.InsertAfter(g.NodeByName("b_node"), node("after"))
	if got := names(g); !slices.Equal(got, []string{"first", "a_node", "before", "b_node", "after", "y_node", "last"}) {
		t.Errorf("order %v", got)
	}
	g.InsertBefore(g.First(), g.NodeByName("last")) // a move
	g.InsertAfter(g.NodeByName("last"), g.NodeByName("last"))
	g.AppendNode(g.NodeByName("first"))
	g.AppendNode(g.NodeByName("first")) // to where it is
	if got := names(g); !slices.Equal(got, []string{"last", "a_node", "before", "b_node", "after", "y_node", "first"}) {
		t.Errorf("order %v", got)
	}
	for _, n := range slices.Collect(g.Nodes()) {
		g.RemoveNode(n)
		g.RemoveNode(n)
	}
	if g.NumNodes() != 0 || g.First() != nil {
		t.Error("nodes are left")
	}
}

func TestWalkSurvivesEdits(t *testing.T) {
	g := chain().Graph
	var seen []string
	for n := range g.Nodes() {
		seen = append(seen, n.Name)
		if n.Name == "a_node" {
			next := n.Next()
			g.RemoveNode(n)
			g.RemoveNode(next)
			g.InsertBefore(g.NodeByName("y_node"), NewNode("Abs", "", "new", nil, nil))
		}
	}
	// What is put where removed nodes were may be missed; the rest must be seen.
	if seen[0] != "a_node" || slices.Contains(seen, "b_node") || !slices.Contains(seen, "y_node") {
		t.Errorf("saw %v", seen)
	}
	for w := range chain().Graph.Initializers() {
		t.Errorf("initializer %v of none", w)
	}
}

func TestReplaceAllUsesAndBypass(t *testing.T) {
	g := chain().Graph
	if n := g.ReplaceAllUses("a", "x"); n != 1 || g.NodeByName("b_node").Input(0) != "x" || len(g.Consumers("a")) != 0 {
		t.Error("uses of a")
	}
	if got := g.Consumers("x"); len(got) != 2 {
		t.Errorf("%d nodes read x", len(got))
	}
	g = chain().Graph
	if !g.Bypass(g.NodeByName("y_node"), "b") || g.Producer("y").Name != "b_node" || !g.IsOutput("y") {
		t.Error("the node before an output takes over its name")
	}
	if !g.Bypass(g.NodeByName("a_node"), "x") || g.NodeByName("b_node").Input(0) != "x" {
		t.Error("a node in the middle")
	}
	if g.Bypass(g.NodeByName("b_node"), "x") || g.NumNodes() != 1 {
		t.Error("an input became an output")
	}
	g = chain().Graph
	g.SetValueInfo(NewValueInfo("a", Float, FixedDims(1)))
	if !g.RenameValue("a", "aa") || g.NodeByName("b_node").Input(0) != "aa" || g.ValueInfos()[0].Name() != "aa" {
		t.Error("rename")
	}
	if g.RenameValue("aa", "x") || g.RenameValue("y", "z") || g.RenameValue("x", "z") {
		t.Error("renamed to a name that is taken, an output, or an input")
	}
}

// withSubgraph has an If whose branch reads the value a from around it.
func withSubgraph() (*Model, *Graph) {
	m := chain()
	body := NewGraph("body")
	body.AppendNode(NewNode("Abs", "", "inner", []string{"a"}, []string{"t"}))
	body.AddOutput(NewValueInfo("t", Float, nil))
	m.Graph.AddInput(NewValueInfo("cond", Bool, nil))
	m.Graph.AppendNode(NewNode("If", "", "if", []string{"cond"}, []string{"z"}, GraphAttr("then_branch", body), GraphAttr("else_branch", NewGraph("empty"))))
	m.Graph.AddOutput(NewValueInfo("z", Float, nil))
	return m, body
}

func TestSubgraphs(t *testing.T) {
	m, body := withSubgraph()
	g := m.Graph
	if c := g.Consumers("a"); len(c) != 2 || c[1].Name != "if" {
		t.Fatalf("%d nodes read a", len(c))
	}
	if g.ReplaceAllUses("a", "b") != 2 || body.First().Input(0) != "b" {
		t.Error("the use in the subgraph was not replaced")
	}
	if len(g.Consumers("a")) != 0 || len(g.Consumers("b")) != 3 {
		t.Error("the index is wrong after that")
	}
	// An edit inside is seen outside.
	body.First().SetInput(0, "x")
	if len(g.Consumers("b")) != 2 || len(g.Consumers("x")) != 2 {
		t.Error("an edit in the subgraph is not seen around it")
	}
	body.InsertBefore(body.First(), NewNode("Abs", "", "inner2", []string{"y"}, []string{"u"}))
	if len(g.Consumers("y")) != 1 || body.UniqueName("a") != "a_1" || g.UniqueName("u") != "u_1" || g.UniqueName("inner2") != "inner2_1" {
		t.Error("a node added in the subgraph")
	}
	if body.Owner().Name != "if" || len(slices.Collect(g.AllNodes())) != 6 {
		t.Error("owner or walk")
	}
	// The value of a subgraph's own hides the outer one.
	body.AddInput(NewValueInfo("x", Float, nil))
	if g.ReplaceAllUses("x", "cond") != 1 {
		t.Error("a use of the subgraph's own x was replaced")
	}
	// It survives the bytes.
	got := reparse(t, m).Graph.NodeByName("if").Attr("then_branch").Graph()
	if got == nil || got.Owner() == nil || got.NumNodes() != 2 {
		t.Error("the subgraph was not written")
	}
}

func TestUniqueName(t *testing.T) {
	g := chain().Graph
	for _, want := range []string{"a_1", "a_2", "a_3"} {
		if got := g.UniqueName("a"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if g.UniqueName("new") != "new" || g.UniqueName("new") != "new_1" || g.UniqueName("") == "" {
		t.Error("a free name, the same again, or none")
	}
	g.AddInitializer(NewFloats("w", nil, 0))
	g.AppendNode(NewNode("Relu", "", "n", []string{"w"}, []string{"o"}))
	g.AddOutput(NewValueInfo("o", Float, nil))
	for _, s := range []string{"w", "n", "o"} {
		if g.UniqueName(s) == s {
			t.Errorf("%s is taken", s)
		}
	}
}

func TestInitializers(t *testing.T) {
	m := NewModel("g", 13)
	g := m.Graph
	for i := range 5 {
		g.AddInitializer(NewInt64s(fmt.Sprint(i), []int64{int64(i)}))
	}
	for w := range g.Initializers() {
		if w.Name() == "1" || w.Name() == "3" {
			g.RemoveInitializer(w.Name())
		}
	}
	g.RemoveInitializer("none")
	g.AddInitializer(NewInt64s("2", []int64{22}))
	var got []string
	for w := range reparse(t, m).Graph.Initializers() {
		v, _ := w.Ints()
		got = append(got, fmt.Sprint(w.Name(), v))
	}
	if strings.Join(got, " ") != "0 [0] 2 [22] 4 [4]" && strings.Join(got, " ") != "0[0] 2[22] 4[4]" {
		t.Errorf("initializers %v", got)
	}
	if g.NumInitializers() != 3 || g.Initializer("1") != nil || g.Initializer("4") == nil {
		t.Error("index")
	}
	w := g.Initializer("4").WithName("five")
	if w.Name() != "five" || g.Initializer("4").Name() != "4" {
		t.Error("WithName")
	}
}

func TestOldModelsListInitializersAsInputs(t *testing.T) {
	m := chain()
	m.IRVersion = 3
	m.Graph.AddInitializer(NewFloats("w", []float32{1}, 1))
	m.Graph.First().SetInput(1, "w")
	got := reparse(t, m)
	if !got.Graph.IsInput("w") || len(got.Graph.Feeds()) != 1 {
		t.Error("IR version 3 wants the initializer among the inputs")
	}
	if got.Graph.Constant("w") == nil {
		t.Error("it is constant all the same")
	}
	got.RaiseIR(8)
	if got.Graph.IsInput("w") || got.IRVersion != 8 || !got.Graph.IsInput("x") {
		t.Error("later versions do not")
	}
	got.Graph.AddInitializer(NewFloats("v", []float32{1}, 1))
	got.Graph.AddInput(NewValueInfo("v", Float, nil))
	if got.Graph.Constant("v") != nil || got.Graph.Constant("w") == nil || got.Graph.Constant("x") != nil {
		t.Error("what a caller may override is not constant")
	}
	got.Graph.RemoveInitializer("v")
	if got.Graph.IsInput("v") {
		t.Error("the input went with the initializer")
	}
}

func TestTopoSort(t *testing.T) {
	m, body := withSubgraph()
	g := m.Graph
	g.PrependNode(g.NodeByName("if"))
	g.PrependNode(g.NodeByName("y_node"))
	if err := g.TopoSort(); err != nil {
		t.Fatal(err)
	}
	// y needs b needs a; if needs a by its subgraph.
	if got := names(g); !slices.Equal(got, []string{"a_node", "b_node", "y_node", "if"}) {
		t.Errorf("order %v", got)
	}
	before := names(g)
	g.NodeByName("a_node").SetInput(0, "y")
	if err := g.TopoSort(); err == nil || !strings.Contains(err.Error(), "cycle") {
		t.Errorf("cycle: %v", err)
	}
	if !slices.Equal(names(g), before) {
		t.Error("a failed sort changed the order")
	}
	g.NodeByName("a_node").SetInput(0, "x")
	body.First().SetInput(0, "z")
	if err := g.TopoSort(); err == nil {
		t.Error("a cycle through a subgraph")
	}
	long := NewModel("long", 13)
	for i := 200_000; i > 0; i-- { // the deepest first: no recursion may follow it
		long.Graph.AppendNode(NewNode("Relu", "", "", []string{fmt.Sprint(i)}, []string{fmt.Sprint(i + 1)}))
	}
	if err := long.Graph.TopoSort(); err != nil || long.Graph.First().Input(0) != "1" {
		t.Error("a long chain", err)
	}
}

func TestPrune(t *testing.T) {
	m, _ := withSubgraph()
	g := m.Graph
	g.AddInitializer(NewFloats("unused", []float32{1}))
	g.AppendNode(NewNode("Relu", "", "dead", []string{"b"}, []string{"d"}))
	g.AppendNode(NewNode("Relu", "", "dead too", []string{"d"}, []string{"e"}))
	g.SetValueInfo(NewValueInfo("d", Float, nil))
	g.SetValueInfo(NewValueInfo("a", Float, nil))
	if n := g.Prune(); n != 3 || len(g.ValueInfos()) != 1 {
		t.Errorf("%d went, %d types are left", n, len(g.ValueInfos()))
	}
	g.RemoveOutput("y")
	if n := g.Prune(); n != 2 || !slices.Equal(names(g), []string{"a_node", "if"}) {
		t.Errorf("%d went, %v are left", n, names(g))
	}
	if !g.IsInput("x") || !g.IsInput("cond") {
		t.Error("inputs stay")
	}
}

// TestIndexesStayTrue edits at random and compares with an index built anew.
func TestIndexesStayTrue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m, body := withSubgraph()
	g := m.Graph
	value := func() string { return fmt.Sprint("v", r.IntN(12)) }
	pick := func() *Node {
		all := slices.Collect(g.AllNodes())
		return all[r.IntN(len(all))]
	}
	for step := range 3000 {
		graph := g
		if r.IntN(4) == 0 {
			graph = body
		}
		switch r.IntN(9) {
		case 0, 1:
			graph.AppendNode(NewNode("Op", "", "", []string{value(), value()}, []string{value()}))
		case 2:
			if n := pick(); n.Name != "if" && n.Graph().NumNodes() > 1 {
				n.Graph().RemoveNode(n)
			}
		case 3:
			pick().SetInput(r.IntN(3), value())
		case 4:
			pick().SetOutput(0, value())
		case 5:
			graph.ReplaceAllUses(value(), value())
		case 6:
			graph.AddOutput(NewValueInfo(value(), Float, nil))
			graph.RemoveOutput(value())
		case 7:
			graph.AddInput(NewValueInfo(value(), Float, nil))
			graph.RemoveInput(value())
		case 8:
			if n := pick(); n.Name != "if" && n != n.Graph().First() {
				n.Graph().InsertBefore(n.Graph().First(), n)
			}
		}
		for _, graph := range []*Graph{g, body} {
			have := graph.idx
			if have == nil {
				continue
			}
			graph.idx = nil
			want := graph.indexed()
			same := maps.EqualFunc(want.inputs, have.inputs, func(a, b *ValueInfo) bool { return a.name == b.name }) &&
				maps.EqualFunc(want.outputs, have.outputs, func(a, b *ValueInfo) bool { return a.name == b.name })
			for i := range 12 {
				v := fmt.Sprint("v", i)
				// With two producers, which one is named does not matter.
				same = same && (want.producers[v] == have.producers[v] || have.ambiguous) && sameNodes(want.consumers[v].list(), have.consumers[v].list())
			}
			if !same {
				t.Fatalf("step %d: the index is not true any more", step)
			}
			if r.IntN(2) == 0 {
				graph.idx = have // else the one built anew goes on
			}
		}
	}
}

func sameNodes(a, b []*Node) bool {
	if len(a) != len(b) {
		return false
	}
	for _, n := range a {
		if !slices.Contains(b, n) {
			return false
		}
	}
	return true
}
