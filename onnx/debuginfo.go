package onnx

// DropDebugInfo removes what exporters write about where each node came from: doc
// strings and metadata of nodes, inner values and constants, like the stack traces of
// PyTorch, which can take more room than the graph. What the model says of itself, its
// inputs and its outputs stays, and so do quantization annotations. It returns how
// many parts had some.
func (m *Model) DropDebugInfo() int {
	count := 0
	drop := func(doc string, pairs []StringPair, clear func()) {
		if doc != "" || len(pairs) > 0 {
			clear()
			count++
		}
	}
	values := func(g *Graph) {
		for _, v := range g.values {
			drop(v.DocString(), v.Metadata(), func() {
				setRare(&v.rare, func(r *valueRare) { r.doc, r.metadata = "", nil })
			})
		}
	}
	values(m.Graph)
	for n := range m.Graph.AllNodes() {
		drop(n.DocString(), n.Metadata(), func() {
			setRare(&n.rare, func(r *nodeRare) { r.doc, r.metadata = "", nil })
		})
		for _, g := range n.Subgraphs() {
			values(g)
		}
	}
	for t := range m.AllTensors() {
		drop(t.DocString(), t.Metadata(), func() {
			setRare(&t.rare, func(r *tensorRare) { r.doc, r.metadata = "", nil })
		})
	}
	return count
}
