package onnx

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
)

// Equal nodes and equal constants are kept once.

// shareNodes lets nodes that do the same to the same values be one, in each graph for
// itself. Nodes with subgraphs, of other domains, and those that draw numbers stay.
func (s *simplifier) shareNodes(g *Graph) {
	first := make(map[string]*Node, g.count)
	var key []byte
	for n := range g.Nodes() {
		for _, sub := range n.Subgraphs() {
			s.shareNodes(sub)
		}
		if n.subgraphs || canonicalDomain(n.Domain) != "" || random1(n.OpType) || s.keep[n.OpType] || n.Is("Constant") {
			continue
		}
		key = n.appendKey(key[:0])
		same := first[string(key)]
		if same == nil {
			first[string(key)] = n
			continue
		}
		if s.unite(same, n) {
			s.stats.Shared++
			s.edits++
		}
	}
}

// random1 tells whether two runs of the operator on the same inputs may differ.
func random1(op string) bool {
	switch op {
	case "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout":
		return true
	}
	return false
}

// unite lets what reads b's outputs read a's, which must come first.
func (s *simplifier) unite(a, b *Node) bool {
	g := a.graph
	for i, out := range b.outputs {
		if out == "" {
			continue
		}
		if g.IsOutput(out) || i >= len(a.outputs) || a.outputs[i] == "" {
			return false
		}
	}
	outputs := b.outputs
	g.RemoveNode(b)
	for i, out := range outputs {
		if out != "" {
			g.ReplaceAllUses(out, a.outputs[i])
		}
	}
	return true
}

// appendKey writes what a node does, its name and those of its outputs left out.
func (n *Node) appendKey(key []byte) []byte {
	text := func(s string) {
		key = binary.AppendUvarint(key, uint64(len(s)))
		key = append(key, s...)
	}
	text(n.OpType)
	text(n.Overload())
	key = binary.AppendUvarint(key, uint64(len(n.inputs)))
	for _, in := range n.inputs {
		text(in)
	}
	key = binary.AppendUvarint(key, uint64(len(n.outputs)))
	for _, out := range n.outputs {
		if out == "" { // left out: it may change what the node does
			key = append(key, 0)
		} else {
			key = append(key, 1)
		}
	}
	attrs := n.attrs
	if !slices.IsSortedFunc(attrs, compareAttrs) {
		attrs = slices.Clone(attrs)
		slices.SortStableFunc(attrs, compareAttrs)
	}
	for _, a := range attrs {
		text(a.Name)
		text(a.RefName())
		key = append(key, byte(a.Type))
		key = binary.LittleEndian.AppendUint32(key, math.Float32bits(a.F))
		key = binary.AppendVarint(key, a.I)
		text(string(a.S))
		key = binary.AppendUvarint(key, uint64(len(a.Floats())))
		for _, f := range a.Floats() {
			key = binary.LittleEndian.AppendUint32(key, math.Float32bits(f))
		}
		key = binary.AppendUvarint(key, uint64(len(a.Ints)))
		for _, i := range a.Ints {
			key = binary.AppendVarint(key, i)
		}
		key = binary.AppendUvarint(key, uint64(len(a.Strings())))
		for _, b := range a.Strings() {
			text(string(b))
		}
		tensors := a.Tensors()
		if a.T != nil {
			tensors = []*Tensor{a.T}
		}
		for _, t := range tensors {
			var w writer
			w.tensor(t)
			for _, c := range w.list() {
				text(string(c))
			}
		}
		text(string(rareOf(a.rare).unknown))
	}
	return key
}

func compareAttrs(a, b *Attribute) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }

// placed is an initializer and the graph it belongs to.
type placed struct {
	graph  *Graph
	tensor *Tensor
}

// shareTensors keeps one of several equal initializers. Those in subgraphs are moved
// to the model's graph for it, where every subgraph sees them.
func (s *simplifier) shareTensors() {
	type kind struct {
		elem  DataType
		bytes int64
	}
	kinds := map[kind][]placed{}
	var order []kind
	var collect func(g *Graph)
	collect = func(g *Graph) {
		for t := range g.Initializers() {
			if t.IsExternal() || t.DataType == String || g.IsInput(t.name) || g.IsOutput(t.name) {
				continue
			}
			k := kind{t.DataType, t.Bytes()}
			if k.bytes < 0 {
				continue
			}
			if kinds[k] == nil {
				order = append(order, k)
			}
			kinds[k] = append(kinds[k], placed{g, t})
		}
		for n := range g.Nodes() {
			for _, sub := range n.Subgraphs() {
				collect(sub)
			}
		}
	}
	collect(s.m.Graph)
	seed := maphash.MakeSeed()
	for _, k := range order {
		if all := kinds[k]; len(all) > 1 {
			s.shareEqual(seed, all)
		}
	}
}

// shareEqual takes tensors of one type and size.
func (s *simplifier) shareEqual(seed maphash.Seed, all []placed) {
	type first struct {
		placed
		data []byte
	}
	// The hash only sorts them into heaps; the first of a heap stays whatever its value.
	heaps := map[uint64][]*first{}
	for _, p := range all {
		data, err := p.tensor.elements()
		if err != nil || int64(len(data)) != p.tensor.Bytes() {
			continue
		}
		sum := maphash.Bytes(seed, data)
		var same *first
		for _, f := range heaps[sum] {
			if slices.Equal(f.tensor.Dims, p.tensor.Dims) && bytes.Equal(f.data, data) {
				same = f
				break
			}
		}
		if same == nil {
			heaps[sum] = append(heaps[sum], &first{p, data})
			continue
		}
		root := s.m.Graph
		if same.graph != p.graph && same.graph != root {
			// They lie in different subgraphs: the one that stays moves out of its own.
			name := root.UniqueName(same.tensor.name)
			moved := same.tensor.WithName(name)
			root.AddInitializer(moved)
			same.graph.renameReads(same.tensor.name, name)
			same.graph.RemoveInitializer(same.tensor.name)
			same.placed = placed{root, moved}
		}
		p.graph.renameReads(p.tensor.name, same.tensor.name)
		p.graph.RemoveInitializer(p.tensor.name)
		s.stats.Shared++
		s.edits++
	}
}
