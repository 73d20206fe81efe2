package onnx

import (
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// CountMACs returns how many multiply-accumulates the model takes and how many each
// node does: Conv, ConvTranspose, Gemm and MatMul in all their float, integer and
// fused forms; other nodes count nothing and are not in the map. A batch of dynamic
// size counts as one sample, as does any other axis that s does not know. Quantize
// and dequantize nodes change nothing: the node between them is what is counted.
// Nodes of a subgraph count once.
func CountMACs(m *Model, s *Shapes) (total int64, perNode map[*Node]int64) {
	perNode = map[*Node]int64{}
	for n := range m.Graph.AllNodes() {
		dims := macDims(n, s)
		if dims == nil {
			continue
		}
		macs := int64(1)
		for _, d := range dims {
			if d.Fixed() {
				var ok bool
				if macs, ok = mul(macs, d.Value); !ok {
					macs = 0 // such a model cannot run either
				}
			}
		}
		perNode[n] = macs
		total += macs
	}
	return total, perNode
}

// macDims returns the axes whose product is the work of a node, nil for none.
func macDims(n *Node, s *Shapes) []Dim {
	shape := func(value string) []Dim { _, d, _ := s.Of(value); return d }
	out, in := shape(n.Output(0)), shape(n.Input(0))
	switch domain := canonicalDomain(n.Domain); {
	case domain != "" && domain != "com.microsoft":
		return nil
	case n.OpType == "Conv", n.OpType == "FusedConv", n.OpType == "ConvInteger":
		return joinDims(out, shape(n.Input(1)), 1)
	case n.OpType == "QLinearConv":
		return joinDims(out, shape(n.Input(3)), 1)
	case n.OpType == "ConvTranspose":
		return joinDims(in, shape(n.Input(1)), 1)
	case n.OpType == "Gemm", n.OpType == "FusedGemm", n.OpType == "QGemm":
		inner := in
		if len(in) == 2 {
			k := 1 - n.IntAttr("transA", 0)&1
			inner = in[k : k+1]
		}
		return joinDims(out, inner, 0)
	case n.OpType == "MatMulNBits", n.OpType == "MatMulBnb4":
		return joinDims(out, []Dim{{Value: max(n.IntAttr("K", -1), -1)}}, 0)
	case strings.HasPrefix(n.OpType, "MatMul"), n.OpType == "QLinearMatMul", n.OpType == "FusedMatMul", n.OpType == "DynamicQuantizeMatMul":
		if len(in) == 0 {
			return nil
		}
		k := len(in) - 1
		if n.OpType == "FusedMatMul" && n.IntAttr("transA", 0) != 0 && k > 0 {
			k--
		}
		return joinDims(out, in[k:k+1], 0)
	}
	return nil
}

// joinDims joins a and the axes of b from the given one; nil when either is not known.
func joinDims(a, b []Dim, from int) []Dim {
	if a == nil || len(b) <= from {
		return nil
	}
	return append(append([]Dim{}, a...), b[from:]...)
}

// CountParameters returns how many numbers of the model's constants are weights:
// what is multiplied, added or looked up, in initializers and Constant nodes,
// subgraphs included. A tensor that several nodes read counts once, and a palette
// as the weight that is looked up in it. Scales and zero points, limits, and tensors
// that hold shapes, axes or indexes do not count.
func CountParameters(m *Model) int64 {
	var total int64
	counted := map[*Tensor]bool{}
	looked := map[string]int64{} // of palettes: what indexes stand for, and nothing for tables
	palettes, _ := Palettes(m)   // metadata that cannot be read say nothing
	for _, p := range palettes {
		if n, err := tensor.Elements(p.Shape); err == nil {
			looked[p.Indexes], looked[p.Table] = n, 0
		}
	}
	for n := range m.Graph.AllNodes() {
		for i, value := range n.inputs {
			t := n.graph.Constant(value)
			if t == nil || counted[t] || !holdsWeights(n, i, t) {
				continue
			}
			counted[t] = true
			if p, ok := looked[t.Name()]; ok {
				total += p
				continue
			}
			if n.OpType == "MatMulNBits" || n.OpType == "MatMulBnb4" { // several weights to a byte
				if p, ok := mul(max(n.IntAttr("N", 0), 0), max(n.IntAttr("K", 0), 0)); ok {
					total += p
				}
				continue
			}
			per := int64(1)
			if n.OpType == "GatherBlockQuantized" && t.DataType == Uint8 {
				per = 8 / min(max(n.IntAttr("bits", 4), 1), 8)
			}
			total += max(t.Elements(), 0) * per
		}
	}
	return total
}

// weightInputs says which inputs of an operator may be weights, where not all may.
var weightInputs = map[string][]int{
	"QuantizeLinear": {0}, "DequantizeLinear": {0},
	"QLinearConv": {0, 3, 8}, "QLinearMatMul": {0, 3}, "ConvInteger": {0, 1}, "MatMulInteger": {0, 1},
	"QLinearAdd": {0, 3}, "QLinearMul": {0, 3}, "QGemm": {0, 3, 6},
	"DynamicQuantizeMatMul": {0, 1, 4}, "MatMulIntegerToFloat": {0, 1, 6}, "MatMulNBits": {1, 5}, "MatMulBnb4": {1}, "GatherBlockQuantized": {0},
	"QLinearAveragePool": {0}, "QLinearGlobalAveragePool": {0}, "QLinearSigmoid": {0}, "QLinearLeakyRelu": {0},
	"QLinearSoftmax": {0},
	"Reshape":        {0}, "Expand": {0}, "Tile": {0}, "Slice": {0}, "Squeeze": {0}, "Unsqueeze": {0}, "Split": {0},
	"Pad": {0}, "Resize": {0}, "Upsample": {0}, "TopK": {0}, "Clip": {0}, "CumSum": {0}, "Gather": {0},
	"GatherElements": {0}, "GatherND": {0}, "OneHot": {}, "ConstantOfShape": {}, "Range": {}, "Dropout": {0},
}

func holdsWeights(n *Node, i int, t *Tensor) bool {
	if n.OpType == "QLinearConcat" {
		return i >= 2 && (i-2)%3 == 0
	}
	if strings.HasPrefix(n.OpType, "Reduce") && i > 0 {
		return false
	}
	if allowed, ok := weightInputs[n.OpType]; ok {
		found := false
		for _, k := range allowed {
			found = found || k == i
		}
		if !found {
			return false
		}
	}
	switch t.DataType {
	case Int64, Bool, String, Undefined:
		return false
	case Int32: // a quantized bias, or else an index
		return n.OpType == "DequantizeLinear" || n.OpType == "QLinearConv" || n.OpType == "QGemm"
	}
	return true
}

// typicalSize is what an axis of open size is taken for where only shares count.
const typicalSize = 64

// TypicalShapes are the shapes of a model whose inputs have a usual size wherever they
// leave it open: one sample, and typicalSize along the other axes; axes of one name are
// of one size. Counts of work by them (CountMACs) are made up, but their shares are
// near the real ones, where a size of 1 would make all layers of a convolutional
// network look equally small. The model is not changed.
func TypicalShapes(m *Model) (*Shapes, error) {
	return (&inference{assume: func(axis int) int64 {
		if axis == 0 {
			return 1
		}
		return typicalSize
	}}).of(m)
}
