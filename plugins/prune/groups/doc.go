// Package groups finds which channels of an ONNX graph must go together, and takes them out.
//
// Every axis of every value is either fixed or labelled: a label is a vector of atoms, one for each index of the axis.
// Each operator has a rule that says what its inputs' atoms become in its outputs: they are carried along, repeated,
// joined, cut or moved; atoms that must leave together are tied (a union-find over atoms); atoms that cannot leave are
// pinned, with the node and the reason. What a rule does not know it pins, so that what is left over is safe. One walk
// over the graph in its order is enough, since ties work backwards.
//
// A class of atoms that is not pinned is a unit: one channel of a residual stream with everything that reads and writes
// it, one attention head, one hidden number of an LSTM. Units that lie in the same axes are a group. (The idea of
// dependency groups is of "DepGraph: Towards Any Structural Pruning", Fang et al. 2023; theirs are found by walking
// modules of a PyTorch program, these on the graph's own index sets.)
//
// What removal means is fixed by [Analysis.Mask]: the pruned model computes what the original does when all that sums
// over channels (a Conv, a MatMul, a ReduceSum) sees zeros in the place of those that left.
package groups
