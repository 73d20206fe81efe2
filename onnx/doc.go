// Package onnx holds an ONNX model in memory: it reads, writes, walks and
// rewrites models, infers their shapes and counts their work. It needs neither
// cgo nor a runtime.
//
// # Bytes
//
// Parse copies nothing: strings and weights are slices of the input, which
// belongs to the model from then on and must not change or be unmapped while the
// model or anything taken from it is in use. Each message remembers the bytes it
// was read from. Marshal compares it with them and, where it still says the same,
// writes them as they were: a model that was not changed is written byte by byte
// as it was read, a changed one keeps the bytes of every node and tensor that was
// not touched. Fields that this package does not know are kept as well.
//
// # Graphs
//
// Whatever an index depends on is reached through methods: which nodes a graph
// has and in what order, the names of their inputs and outputs, the initializers
// and the graph's own inputs and outputs. So Producer, Consumers, Initializer,
// IsInput and IsOutput are true after every edit, also where a value is used
// inside a subgraph (If, Loop, Scan). Everything else is a plain field, or a method
// where few messages have it: a graph in memory takes three to seven times its bytes
// without the weights, and Parse refuses a file that would take more than ten.
//
//	m, err := onnx.ReadFile("model.onnx")
//	for n := range m.Graph.Nodes() { // nodes may be added and removed meanwhile
//		if n.OpType == "Relu" {
//			m.Graph.ReplaceAllUses(n.Output(0), n.Input(0))
//		}
//	}
//	m.Graph.Prune()
//	err = m.WriteFile("smaller.onnx")
//
// # Passes
//
// Simplify makes a model smaller without a change of what it computes; a Rule rewrites
// every place that looks like its left side. FoldBatchNorm, ConstantsToInitializers,
// EliminateIdentity, InlineFunctions and SparseToDense are single passes, UpgradeOpset
// brings a model to later operators. InferShapes covers the whole standard domain.
//
// A model is not safe for concurrent edits; it may be read by many goroutines
// only after its indexes exist (m.Graph.BuildIndex).
package onnx
