package float16

import (
	"github.com/optimize-hcl/optimize/onnx"
)

// opInfo says how an operator takes half precision.
type opInfo struct {
	// half and bfloat are the first opset whose schema lets all of the operator's own values be FLOAT16 or BFLOAT16; 0
	// is never. They are those of onnx.defs, release 1.23.
	half, bfloat int64
	heavy        bool // it has weights, or most of the work: it decides, others follow
	bounded      bool // its result is small, whatever its inputs are
	moves        bool // it only moves, selects or clamps values: no arithmetic
	floatIn      []int
	floatOut     []int
	why          string // why it stays in float by default; empty when it need not
}

const (
	whyAccumulates = "its sum of squares or product can leave the range of half precision"
	whySteep       = "its result changes by more than half precision can tell for small or large inputs"
	whyIndexes     = "it compares or counts, and the smallest difference decides"
)

// ops are the operators of the standard domain whose float values may be in half precision. Those that are not here
// stay as they are.
var ops = func() map[string]opInfo {
	t := map[string]opInfo{}
	add := func(o opInfo, names ...string) {
		for _, n := range names {
			t[n] = o
		}
	}
	add(opInfo{half: 1, bfloat: 22, heavy: true}, "Conv", "ConvTranspose", "LSTM", "GRU", "RNN")
	add(opInfo{half: 1, bfloat: 13, heavy: true}, "MatMul", "Gemm")
	add(opInfo{half: 12, bfloat: 28, heavy: true}, "Einsum")
	add(opInfo{half: 23, bfloat: 23, heavy: true}, "Attention")

	add(opInfo{half: 1, bfloat: 13}, "Add", "Sub", "Mul", "Neg", "Abs", "Sum", "Div")
	add(opInfo{half: 1, bfloat: 13, moves: true}, "Relu", "Max", "Min", "Clip", "Concat", "Reshape", "Transpose", "Squeeze",
		"Unsqueeze", "Slice", "Gather", "Split", "Flatten", "Tile", "Identity", "Cast", "DepthToSpace", "SpaceToDepth", "Pad")
	add(opInfo{half: 11, bfloat: 13, moves: true}, "GatherElements", "GatherND", "ScatterElements", "ScatterND")
	add(opInfo{half: 8, bfloat: 13, moves: true}, "Expand")
	add(opInfo{half: 9, bfloat: 16, moves: true}, "Where")
	add(opInfo{half: 9, bfloat: 20, moves: true}, "ConstantOfShape")
	add(opInfo{half: 14, bfloat: 14, moves: true}, "Trilu")
	add(opInfo{half: 1, bfloat: 16}, "LeakyRelu", "PRelu")
	add(opInfo{half: 1, bfloat: 22}, "Elu", "Selu", "Softplus", "ThresholdedRelu", "AveragePool", "GlobalAveragePool")
	add(opInfo{half: 28, bfloat: 28}, "Celu")
	add(opInfo{half: 1, bfloat: 22, moves: true}, "MaxPool", "GlobalMaxPool")
	add(opInfo{half: 20, bfloat: 20}, "Gelu")
	add(opInfo{half: 14, bfloat: 22}, "HardSwish")
	add(opInfo{half: 18, bfloat: 22}, "Mish")
	add(opInfo{half: 24, bfloat: 24}, "Swish")
	add(opInfo{half: 1, bfloat: 13, bounded: true}, "Sigmoid", "Tanh", "Softmax")
	add(opInfo{half: 9, bfloat: 13, bounded: true}, "Erf")
	add(opInfo{half: 1, bfloat: 22, bounded: true}, "HardSigmoid", "Softsign")
	add(opInfo{half: 17, bfloat: 17, floatOut: []int{1, 2}}, "LayerNormalization")
	add(opInfo{half: 23, bfloat: 23}, "RMSNormalization")
	add(opInfo{half: 1, bfloat: 22}, "InstanceNormalization")
	add(opInfo{half: 21, bfloat: 21}, "GroupNormalization")
	add(opInfo{half: 1, bfloat: 14}, "BatchNormalization")
	add(opInfo{half: 1, bfloat: 13}, "ReduceMean", "ReduceSum")
	add(opInfo{half: 1, bfloat: 13, moves: true}, "ReduceMax", "ReduceMin")

	// These could be, and are only when the caller allows it by name.
	add(opInfo{half: 10, bfloat: 13, floatIn: []int{1, 2}, why: "engines have no half kernel for it, or one that rounds positions"}, "Resize")
	add(opInfo{half: 1, bfloat: 13, why: whyAccumulates}, "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
		"ReduceLogSumExp", "ReduceProd", "LogSoftmax", "Pow", "LRN", "MeanVarianceNormalization")
	add(opInfo{half: 14, bfloat: 14, why: whyAccumulates}, "CumSum")
	add(opInfo{half: 1, bfloat: 22, why: whyAccumulates}, "LpNormalization", "LpPool", "GlobalLpPool")
	add(opInfo{half: 1, bfloat: 13, why: whySteep}, "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Sign", "Mod")
	add(opInfo{half: 11, bfloat: 22, why: whySteep}, "Round")
	add(opInfo{half: 7, bfloat: 22, why: whySteep}, "Sin", "Cos", "Tan", "Asin", "Acos", "Atan")
	add(opInfo{half: 1, bfloat: 13, why: whyIndexes}, "ArgMax", "ArgMin", "Greater", "Less", "Hardmax")
	add(opInfo{half: 11, bfloat: 13, why: whyIndexes}, "Equal")
	add(opInfo{half: 12, bfloat: 16, why: whyIndexes}, "GreaterOrEqual", "LessOrEqual")
	add(opInfo{half: 1, bfloat: 24, why: whyIndexes}, "TopK")
	add(opInfo{half: 16, bfloat: 22, why: "engines have no half kernel for it, or one that rounds positions"}, "GridSample")
	add(opInfo{half: 10, bfloat: 22, why: "engines have no half kernel for it, or one that rounds positions"}, "RoiAlign")
	return t
}()

// infoOf returns what is known of a node's operator; ok is false for those that stay as they are.
func infoOf(n *onnx.Node) (o opInfo, ok bool) {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return o, false
	}
	o, ok = ops[n.OpType]
	return o, ok
}

// Knows tells whether an operator of the standard domain can be in half precision.
func Knows(op string) bool {
	_, ok := ops[op]
	return ok
}

// since is the first opset in which the operator takes the element type, 0 for none.
func (o opInfo) since(d onnx.DataType) int64 {
	if d == onnx.BFloat16 {
		return o.bfloat
	}
	return o.half
}

// reads tells what a node does with a value: whether the value must be in the node's own precision. Operators that look
// at the shape only, and Cast, take any.
func takesAny(n *onnx.Node) bool {
	return n.Is("Shape") || n.Is("Size") || n.Is("Cast")
}

func has(list []int, i int) bool {
	for _, x := range list {
		if x == i {
			return true
		}
	}
	return false
}
