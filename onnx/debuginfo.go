package onnx

// DropDebugInfo removes what exporters write about where each node came from: doc
// strings and metadata of nodes, inner values and constants, like the stack traces of
// PyTorch, which can take more room than the graph. What the model says of itself, its
// inputs and its outputs stays, and so do quantization annotations. It returns how
// many parts had some.
func (m *Model) DropDebugInfo() int {
	count := 0
	drop := func(doc *string, pairs *[]StringPair) {
		if *doc != "" || len(*pairs) > 0 {
			*doc, *pairs = "", nil
			count++
		}
	}
	values := func(g *Graph) {
		for _, v := range g.values {
			drop(&v.DocString, &v.Metadata)
		}
	}
	values(m.Graph)
	for n := range m.Graph.AllNodes() {
		drop(&n.DocString, &n.Metadata)
		for _, g := range n.Subgraphs() {
			values(g)
		}
	}
	for t := range m.AllTensors() {
		drop(&t.DocString, &t.Metadata)
	}
	return count
}
