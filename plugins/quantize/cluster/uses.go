package cluster

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// use is a node that a constant is the weight of.
type use struct {
	node *onnx.Node
	// axis of the output channels, in the constant.
	axis int
}

// usesOf finds the nodes that read a constant as a weight: at once, or behind a Cast between float types, as half precision is
// stored for engines that compute in float32, or behind the Transpose of a matrix, as PyTorch exports a linear layer.
// An engine folds these too once the weight is looked up. others tells that
// something else reads it too.
func usesOf(g *onnx.Graph, t *onnx.Tensor) (out []use, others bool) {
	seen := map[string]bool{} // a value may pass through a node twice
	var follow func(value string, moved bool)
	follow = func(value string, moved bool) {
		if seen[value] {
			return
		}
		seen[value] = true
		for _, n := range g.Consumers(value) {
			switch {
			case n.Is("Cast") && floatType(onnx.DataType(n.IntAttr("to", 0))) && n.Graph() == g:
				follow(n.Output(0), moved)
			case n.Is("Transpose") && n.Graph() == g && len(t.Dims) == 2:
				follow(n.Output(0), moved != turns(n))
			default:
				axis, ok := channelAxis(n, value, len(t.Dims))
				if !ok {
					others = true
					continue
				}
				if moved {
					axis = 1 - axis
				}
				out = append(out, use{n, axis})
			}
		}
	}
	follow(t.Name(), false)
	return out, others
}

// turns tells whether a Transpose of two axes changes their order.
func turns(n *onnx.Node) bool {
	perm := n.IntsAttr("perm")
	return perm == nil || slices.Equal(perm, []int64{1, 0})
}

func floatType(d onnx.DataType) bool {
	return d == onnx.Float || d == onnx.Float16 || d == onnx.BFloat16 || d == onnx.Double
}

// weightOf returns the constant that usesOf finds a node's operand to be; nil when there is none.
func weightOf(g *onnx.Graph, value string) *onnx.Tensor {
	for range 8 {
		if t := g.Initializer(value); t != nil {
			return t
		}
		p := g.Producer(value)
		if p == nil || !p.Is("Cast") && !p.Is("Transpose") {
			return nil
		}
		value = p.Input(0)
	}
	return nil
}

// channelAxis returns the axis of the output channels of a node's weight; ok is false when the node does not use the
// value as one. A weight of a recurrent layer counts its directions first, and an embedding its rows.
func channelAxis(n *onnx.Node, value string, rank int) (axis int, ok bool) {
	at := slices.Index(n.Inputs(), value)
	switch {
	case at == 1 && n.Is("Conv") && rank >= 3:
		return 0, true
	case at == 1 && n.Is("ConvTranspose") && rank >= 3 && n.IntAttr("group", 1) == 1:
		return 1, true
	case at == 1 && n.Is("Gemm") && rank == 2:
		if n.IntAttr("transB", 0) != 0 {
			return 0, true
		}
		return 1, true
	case at == 0 && n.Is("Gemm") && rank == 2:
		return 0, true
	case at == 1 && n.Is("MatMul"):
		return rank - 1, true
	case at == 0 && n.Is("MatMul"):
		return rank - 2, true
	case at == 0 && n.Is("Gather") && n.IntAttr("axis", 0) == 0 && rank == 2:
		return 0, true
	case (at == 1 || at == 2) && (n.Is("LSTM") || n.Is("GRU") || n.Is("RNN")) && rank == 3:
		return 1, true
	}
	return 0, false
}
