package groups

import (
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
)

// rules say what each operator does with labels. What is not here pins all that it reads.
var rules = map[string]func(*visit){}

func register(f func(*visit), ops ...string) {
	for _, op := range ops {
		rules[op] = f
	}
}

func init() {
	register((*visit).elementwise, "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "Mod", "Where", "PRelu", "And", "Or", "Xor",
		"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "com.microsoft.BiasGelu")
	register((*visit).carry, "Identity", "Cast", "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid",
		"HardSwish", "Swish", "Tanh", "Softplus", "Softsign", "Gelu", "Mish", "Shrink", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg",
		"Floor", "Ceil", "Round", "Sign", "Not", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Clip",
		"Dropout", "IsNaN", "IsInf", "com.microsoft.Gelu", "com.microsoft.FastGelu", "com.microsoft.QuickGelu")
	register((*visit).conv, "Conv", "com.microsoft.FusedConv")
	register((*visit).convTranspose, "ConvTranspose")
	register((*visit).matMul, "MatMul", "com.microsoft.FusedMatMul")
	register((*visit).gemm, "Gemm", "com.microsoft.FusedGemm")
	register((*visit).einsum, "Einsum")
	register((*visit).recurrent, "LSTM", "GRU", "RNN")
	register((*visit).batchNorm, "BatchNormalization")
	register((*visit).instanceNorm, "InstanceNormalization")
	register((*visit).groupNorm, "GroupNormalization")
	register((*visit).layerNorm, "LayerNormalization", "RMSNormalization", "com.microsoft.SimplifiedLayerNormalization", "SimplifiedLayerNormalization")
	register((*visit).skipLayerNorm, "com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
	register((*visit).softmax, "Softmax", "LogSoftmax", "Hardmax")
	register((*visit).alongAxis, "ArgMax", "ArgMin", "TopK", "CumSum")
	register((*visit).pool, "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LRN")
	register((*visit).reduce, "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
		"ReduceLogSum", "ReduceLogSumExp")
	register((*visit).transpose, "Transpose")
	register((*visit).reshape, "Reshape")
	register((*visit).flatten, "Flatten")
	register((*visit).squeeze, "Squeeze")
	register((*visit).unsqueeze, "Unsqueeze")
	register((*visit).concat, "Concat")
	register((*visit).split, "Split")
	register((*visit).slice, "Slice")
	register((*visit).gather, "Gather")
	register((*visit).pad, "Pad")
	register((*visit).resize, "Resize", "Upsample")
	register((*visit).expand, "Expand")
	register((*visit).tile, "Tile")
	register((*visit).depthToSpace, "DepthToSpace")
	register((*visit).spaceToDepth, "SpaceToDepth")
	register((*visit).shape, "Shape")
	register((*visit).constantOfShape, "ConstantOfShape")
}

// apply runs the rule of the node, or pins what it reads.
func (v *visit) apply() {
	op := v.n.OpType
	if d := v.n.Domain; d != "" && d != "ai.onnx" {
		op = d + "." + op
	}
	if subs := v.n.Subgraphs(); len(subs) > 0 {
		r := v.reason("is control flow, which channels are not followed into")
		v.pinInputs(r)
		for _, g := range subs {
			v.pinCaptured(g, r)
		}
		return
	}
	if f := rules[op]; f != nil {
		f(v)
		return
	}
	text := "is an operator that channels are not followed through"
	if strings.HasPrefix(op, "com.microsoft.") {
		text += "; take the model as it was before ONNX Runtime fused it"
	}
	v.pinInputs(Reason{v.n, text})
}

// pinInputs fixes all that the node reads; what it makes is fixed too, since nothing is set.
func (v *visit) pinInputs(r Reason) {
	for _, o := range v.in {
		v.fixAll(o, r)
	}
}

// pinCaptured fixes what a subgraph, and those in it, read of this graph.
func (v *visit) pinCaptured(g *onnx.Graph, r Reason) {
	for n := range g.AllNodes() {
		for _, name := range n.Inputs() {
			if c := v.constantOf(name); c != nil {
				v.fixAll(&operand{name: name, con: c, dims: onnx.FixedDims(c.dims...), axes: c.axes}, r)
			} else {
				v.pinAll(v.values[name], r)
			}
		}
	}
	for _, o := range g.Outputs() {
		v.pinAll(v.axesOf(o.Name()), r)
	}
}

// carry is the rule of operators that work on each element for itself.
func (v *visit) carry() {
	x := v.input(0)
	if x == nil {
		return
	}
	for _, o := range v.in[1:] {
		if !o.there() {
			continue
		}
		if v.n.OpType == "FastGelu" && o.rank() == 1 && x.rank() > 0 { // a bias along the last axis
			v.follow(o, 0, v.want(x, x.rank()-1), Other)
			continue
		}
		v.fixAll(o, v.reason("reads them as a setting"))
	}
	axes := make([]label, x.rank())
	for i := range axes {
		axes[i] = v.want(x, i)
	}
	for i := range v.n.Outputs() {
		v.set(i, append([]label(nil), axes...))
	}
}

// elementwise is the rule of operators that broadcast.
func (v *visit) elementwise() {
	rank := 0
	for _, o := range v.in {
		if !o.there() {
			continue
		}
		if o.dims == nil {
			v.pinInputs(v.reason("reads %q, whose shape cannot be inferred", o.name))
			return
		}
		rank = max(rank, o.rank())
	}
	axes := make([]label, rank)
	for a := range axes {
		var first *operand
		at := 0
		for _, o := range v.in {
			i := a - rank
			if !o.there() || o.rank()+i < 0 || o.size(o.rank()+i) == 1 {
				continue
			}
			i += o.rank()
			if first == nil {
				first, at = o, i
				axes[a] = v.want(o, i)
				continue
			}
			axes[a] = v.tie(first, at, o, i)
		}
		for _, o := range v.in {
			if i := a - rank + o.rank(); o.there() && i >= 0 && o.size(i) != 1 {
				v.used(o, i, Other)
			}
		}
	}
	v.set(0, axes)
}

// alongAxis is the rule of operators that look at an axis as a whole, and at the others one by one.
func (v *visit) alongAxis() {
	x := v.input(0)
	if x == nil {
		return
	}
	def := int64(0)
	if v.n.OpType == "TopK" {
		def = -1
	}
	at := v.n.IntAttr("axis", def)
	if v.n.OpType == "CumSum" {
		k, ok := v.ints(1)
		if !ok || len(k) != 1 {
			v.pinInputs(v.reason("works along an axis that is computed"))
			return
		}
		at = k[0]
	}
	a, ok := axis(at, x.rank())
	if !ok {
		v.pinInputs(v.reason("has axis %d for a value of %d axes", at, x.rank()))
		return
	}
	v.fix(x, a, v.reason("looks at all of them together"))
	axes := make([]label, x.rank())
	copy(axes, x.axes)
	axes[a] = nil
	if (v.n.OpType == "ArgMax" || v.n.OpType == "ArgMin") && v.n.IntAttr("keepdims", 1) == 0 {
		axes = append(axes[:a], axes[a+1:]...)
	}
	for i := range v.n.Outputs() {
		v.set(i, append([]label(nil), axes...))
	}
}

// pool is the rule of operators that work on each channel of an image for itself.
func (v *visit) pool() {
	x := v.input(0)
	if x == nil || x.rank() < 2 {
		v.pinInputs(v.reason("reads a value whose shape cannot be inferred"))
		return
	}
	for a := 2; a < x.rank(); a++ {
		v.fix(x, a, v.reason("slides over them"))
	}
	l := v.want(x, 1)
	if v.n.OpType == "LRN" {
		v.fix(x, 1, v.reason("normalizes each by its neighbours"))
		l = nil
	}
	axes := make([]label, x.rank())
	axes[0], axes[1] = x.axes[0], l
	for i := range v.n.Outputs() {
		v.set(i, append([]label(nil), axes...))
	}
}

// sums are the reductions that see no difference between a channel that is zero and one that is not there.
var sums = map[string]bool{"ReduceSum": true, "ReduceSumSquare": true, "ReduceL1": true, "ReduceL2": true}

func (v *visit) reduce() {
	x := v.input(0)
	if x == nil {
		return
	}
	over, known := v.n.IntsAttr("axes"), true
	if v.input(1) != nil {
		over, known = v.ints(1)
	}
	if !known {
		v.pinInputs(v.reason("sums over axes that are computed"))
		return
	}
	gone := make([]bool, x.rank())
	if len(over) == 0 && v.n.IntAttr("noop_with_empty_axes", 0) == 0 {
		for i := range gone {
			gone[i] = true
		}
	}
	for _, a := range over {
		i, ok := axis(a, x.rank())
		if !ok {
			v.pinInputs(v.reason("has axis %d for a value of %d axes", a, x.rank()))
			return
		}
		gone[i] = true
	}
	var axes []label
	for i := range gone {
		switch {
		case !gone[i]:
			axes = append(axes, v.want(x, i))
			continue
		case sums[v.n.OpType] && x.con == nil:
			v.contract(x, i)
		default:
			v.fix(x, i, v.reason("works on all of them together: with fewer it would give something else"))
		}
		if v.n.IntAttr("keepdims", 1) != 0 {
			axes = append(axes, nil)
		}
	}
	v.set(0, axes)
}
