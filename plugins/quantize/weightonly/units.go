package weightonly

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// role is how a weight is used.
type role uint8

const (
	roleMatrix role = iota // the second operand of MatMul or Gemm
	roleTable              // what Gather looks up along axis 0
)

// unit is a weight in one use, with all nodes that use it so; it is quantized once.
type unit struct {
	role   role
	weight *onnx.Tensor
	// stored [N, K]: a Gemm's with transB, and tables. Else [K, N].
	byRow bool
	alpha float32 // a Gemm's factor: it goes into the scales
	n, k  int
	nodes []*onnx.Node
}

type unitKey struct {
	weight *onnx.Tensor
	role   role
	byRow  bool
	alpha  float32
}

// units finds what can be quantized, in graph order, subgraphs included, and reports what cannot.
func (q *quantizer) units() []*unit {
	var units []*unit
	found := map[unitKey]*unit{}
	for n := range q.graph.AllNodes() {
		u, reason := q.unit(n)
		if reason != "" {
			q.report.Float = append(q.report.Float, Kept{nodeName(n), n.OpType, reason})
		}
		if u == nil {
			continue
		}
		key := unitKey{u.weight, u.role, u.byRow, u.alpha}
		if old := found[key]; old != nil {
			old.nodes = append(old.nodes, n)
			continue
		}
		u.nodes = []*onnx.Node{n}
		found[key] = u
		units = append(units, u)
	}
	return units
}

// unit returns what a node is, or why it keeps its weight in float: "" where nobody would ask.
func (q *quantizer) unit(n *onnx.Node) (*unit, string) {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return nil, ""
	}
	at := 1
	if n.OpType == "Gather" {
		at = 0
	}
	w := n.Graph().Constant(n.Input(at))
	switch {
	case w == nil || !w.DataType.DType().IsFloat():
		return nil, ""
	case n.OpType == "Conv" || n.OpType == "ConvTranspose":
		return nil, "no operator convolves with weights in blocks; quantize_static makes it smaller and faster"
	case n.OpType == "LSTM" || n.OpType == "GRU" || n.OpType == "RNN":
		return nil, "no recurrent operator takes weights in blocks"
	case n.OpType != "MatMul" && n.OpType != "Gemm" && n.OpType != "Gather":
		return nil, ""
	}
	if why := q.opts.Keep(nodeName(n)); why != "" {
		return nil, why
	}
	if w.DataType != onnx.Float && w.DataType != onnx.Float16 {
		return nil, fmt.Sprintf("its weight is of type %s: only FLOAT and FLOAT16 are taken", w.DataType)
	}
	u := &unit{weight: w, alpha: 1}
	if n.OpType == "Gather" {
		return q.asTable(n, u)
	}
	return q.asMatrix(n, u)
}

func (q *quantizer) asTable(n *onnx.Node, u *unit) (*unit, string) {
	u.role, u.byRow = roleTable, true
	dims := u.weight.Dims
	switch {
	case len(dims) != 2 || dims[1] < 16 || dims[0] < 2:
		return nil, "" // positions, shapes and the like
	case !q.opts.Embeddings:
		return nil, "tables are left in float: embeddings = true takes them too"
	case n.IntAttr("axis", 0) != 0 && n.IntAttr("axis", 0) != -2:
		return nil, "it does not look up rows"
	case q.opts.Format == NF4 || q.opts.Format == FP4:
		return nil, "no operator looks up " + q.opts.Format
	}
	u.n, u.k = int(dims[0]), int(dims[1])
	return u, ""
}

func (q *quantizer) asMatrix(n *onnx.Node, u *unit) (*unit, string) {
	dims := u.weight.Dims
	for len(dims) > 2 && dims[0] == 1 {
		dims = dims[1:]
	}
	if len(dims) != 2 {
		return nil, fmt.Sprintf("its weight has the shape %v: only matrices are taken", u.weight.Dims)
	}
	if extra := len(u.weight.Dims); extra > 2 {
		// [1, 1, K, N] broadcasts its leading axes to the product, which a plain matrix does not.
		_, shape, ok := q.shapes.Of(n.Input(0))
		if !ok || shape == nil || len(shape) < extra {
			return nil, fmt.Sprintf("its weight has the shape %v, which gives the product axes of its own", u.weight.Dims)
		}
	}
	u.k, u.n = int(dims[0]), int(dims[1])
	if n.OpType == "Gemm" {
		if n.IntAttr("transA", 0) != 0 {
			return nil, "it transposes its first operand"
		}
		if n.IntAttr("transB", 0) != 0 {
			u.byRow, u.k, u.n = true, u.n, u.k
		}
		u.alpha = n.FloatAttr("alpha", 1)
	}
	if u.k < 8 || u.n < 1 { // half a block of the smallest size
		return nil, fmt.Sprintf("its weight has %d inputs: less than half of the smallest block", u.k)
	}
	return u, ""
}

// rows returns the weight as [N, K]; the slice must not be changed.
func (u *unit) rows() ([]float32, error) {
	v, err := u.weight.Float32s()
	if err != nil {
		return nil, fmt.Errorf("weight %q of node %q: %w", u.weight.Name(), nodeName(u.nodes[0]), err)
	}
	for i, x := range v {
		if !(abs(x) <= maxFloat) {
			return nil, fmt.Errorf("weight %q of node %q: element %d is %v: no code can stand for it", u.weight.Name(), nodeName(u.nodes[0]), i, x)
		}
	}
	if u.byRow {
		return v, nil
	}
	return transpose(v, u.k, u.n), nil
}

const maxFloat = 0x1.fffffep127

// half tells whether the model computes in float16 there.
func (u *unit) half() bool { return u.weight.DataType == onnx.Float16 }

// scaleType rounds scales to the type that they are stored in: that of the activations.
func (u *unit) scaleType() func(float32) float32 {
	if !u.half() {
		return nil
	}
	return func(x float32) float32 { return tensor.F16ToFloat32(tensor.Float32ToF16(x)) }
}

// floats makes an initializer of the activations' type.
func (u *unit) floats(name string, v []float32, dims ...int64) *onnx.Tensor {
	if !u.half() {
		return onnx.NewTensor(name, tensor.Of(dims, v))
	}
	t, err := tensor.FromFloat32(tensor.F16, dims, v)
	if err != nil { // the lengths are ours
		panic(err)
	}
	return onnx.NewTensor(name, t)
}

// scaled multiplies scales with the Gemm's factor.
func (u *unit) scaled(scales []float32) []float32 {
	if u.alpha == 1 {
		return scales
	}
	out := slices.Clone(scales)
	for i := range out {
		out[i] *= u.alpha
	}
	return out
}

// nodeName is what keep_float matches and what a report shows: a node without a name goes by its first output.
func nodeName(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}
