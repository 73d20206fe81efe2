// Package depth finds the residual blocks of a model, which a model does without: where y = x + f(x), dropping f leaves
// y = x, of the same shape. The blocks of a residual network, and the attentions and feed-forward parts of a transformer,
// are such. ("ShortGPT", Men et al. 2024, and "Deep Networks with Stochastic Depth", Huang et al. 2016, on why that goes
// well.)
package depth

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// Block is a residual block.
type Block struct {
	// Name is that of the addition that ends it.
	Name string
	Add  *onnx.Node
	// skip is the input of the addition that passes the block by.
	skip int
	// Nodes are how many go with it, MACs and Parameters what they take.
	Nodes            int
	MACs, Parameters int64
}

// Left is an addition that ends no block, and why.
type Left struct{ Name, Reason string }

// Find lists the blocks of a model in order, and the additions of two computed values that end none.
func Find(m *onnx.Model) ([]*Block, []Left, error) {
	shapes, err := onnx.InferOwnShapes(m)
	if err != nil {
		return nil, nil, err
	}
	typical, err := onnx.TypicalShapes(m)
	if err != nil {
		return nil, nil, err
	}
	_, macs := onnx.CountMACs(m, typical)
	g := m.Graph
	place := map[*onnx.Node]int{}
	for n := range g.Nodes() {
		place[n] = len(place)
	}
	var blocks []*Block
	var left []Left
	for n := range g.Nodes() {
		if !n.Is("Add") && !n.Is("Sum") || len(n.Inputs()) != 2 || g.Constant(n.Input(0)) != nil || g.Constant(n.Input(1)) != nil {
			continue
		}
		name := n.Name
		if name == "" {
			name = n.Output(0)
		}
		elem, out, ok := shapes.Of(n.Output(0))
		if !ok || out == nil || !elem.DType().IsFloat() {
			continue // arithmetic on sizes, or of no known shape
		}
		if len(n.Subgraphs()) > 0 || n.Input(0) == n.Input(1) {
			continue
		}
		b := &Block{Name: name, Add: n, skip: -1}
		for i := range 2 {
			if _, d, _ := shapes.Of(n.Input(i)); slices.Equal(d, out) && reaches(g, n.Input(1-i), n.Input(i), place) {
				b.skip = i
			}
		}
		if b.skip < 0 {
			left = append(left, Left{name, "neither of what it adds is computed from the other in the same shape, so neither can stand for the sum"})
			continue
		}
		b.cost(g, macs)
		blocks = append(blocks, b)
	}
	return blocks, left, nil
}

// reaches tells whether a value is computed from another one.
func reaches(g *onnx.Graph, value, from string, place map[*onnx.Node]int) bool {
	start := -1 // what comes before the producer of from cannot read it
	if p := g.Producer(from); p != nil {
		start = place[p]
	}
	seen := map[*onnx.Node]bool{}
	queue := []string{value}
	for len(queue) > 0 {
		v := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if v == from {
			return true
		}
		p := g.Producer(v)
		if p == nil || seen[p] || place[p] <= start {
			continue
		}
		seen[p] = true
		queue = append(queue, readBy(p)...)
	}
	return false
}

// readBy are the values of its graph that a node reads, also in its subgraphs.
func readBy(n *onnx.Node) []string {
	out := slices.Clone(n.Inputs())
	for _, g := range n.Subgraphs() {
		for k := range g.AllNodes() {
			out = append(out, k.Inputs()...)
		}
		for _, o := range g.Outputs() {
			out = append(out, o.Name())
		}
	}
	return out
}

// cost counts what only the block needs: the nodes that nothing else depends on.
func (b *Block) cost(g *onnx.Graph, macs map[*onnx.Node]int64) {
	gone := map[*onnx.Node]bool{b.Add: true}
	queue := []string{b.Add.Input(1 - b.skip)}
	weights := map[*onnx.Tensor]bool{}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if v == "" || v == b.Add.Input(b.skip) || g.IsOutput(v) {
			continue
		}
		for _, c := range g.Consumers(v) {
			if !gone[c] {
				v = ""
			}
		}
		if v == "" {
			continue // something else reads it; where that goes too, it comes up again
		}
		if t := g.Initializer(v); t != nil {
			if !weights[t] {
				weights[t] = true
				b.Parameters += max(t.Elements(), 0)
			}
			continue
		}
		p := g.Producer(v)
		if p == nil || gone[p] || slices.ContainsFunc(p.Outputs(), func(o string) bool {
			return g.IsOutput(o) || slices.ContainsFunc(g.Consumers(o), func(c *onnx.Node) bool { return !gone[c] })
		}) {
			continue
		}
		gone[p] = true
		b.Nodes++
		b.MACs += macs[p]
		queue = append(queue, readBy(p)...)
	}
}

// Drop takes blocks out of the model. Those that lie in another one that goes are gone with it.
func Drop(m *onnx.Model, blocks []*Block) error {
	for _, b := range blocks {
		if b.Add.Graph() == nil {
			continue
		}
		if !m.Graph.Bypass(b.Add, b.Add.Input(b.skip)) {
			return fmt.Errorf("block %q ends in an output of the model that its input cannot stand for", b.Name)
		}
	}
	m.Graph.Prune()
	return nil
}
