package lower_test

import (
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

func attentionCases() []opCase {
	ms := "com.microsoft:"
	heads, mha := ai("num_heads", 2), "com.microsoft:MultiHeadAttention"
	q, k, v := x(2, 3, 8), other(2, 4, 8), between(-1, 1, 2, 4, 8)
	mask := operand{value: tensor.Of([]int64{2, 3}, []int32{1, 1, 0, 1, 1, 1})}
	keys := operand{value: tensor.Of([]int64{2, 4}, []int32{1, 1, 0, 1, 1, 1, 1, 0})}
	lengths := operand{value: tensor.Of([]int64{2}, []int32{2, 3})}
	four := []operand{x(2, 2, 3, 4), other(2, 2, 5, 4), between(-1, 1, 2, 2, 5, 6)}
	onnxHeads := []*onnx.Attribute{ai("q_num_heads", 2), ai("kv_num_heads", 2)}
	return []opCase{
		node("Attention", 23, four...), node("Attention 3", 23, q, k, v).with(onnxHeads...),
		node("Attention mask", 23, append(slices.Clone(four), between(-3, 0, 3, 5))...), node("Attention bools", 23, append(slices.Clone(four), bools35())...),
		node("Attention causal", 23, x(2, 2, 4, 4), other(2, 2, 4, 4), between(-1, 1, 2, 2, 4, 4)).with(ai("is_causal", 1)),
		node("Attention scale", 23, four...).with(af("scale", 0.3)), node("Attention softcap", 23, four...).with(af("softcap", 2)),
		node("Attention shared", 23, x(1, 4, 3, 4), other(1, 2, 5, 4), between(-1, 1, 1, 2, 5, 4)),
		node("Attention past", 23, x(1, 2, 3, 4), other(1, 2, 3, 4), between(-1, 1, 1, 2, 3, 4), none, between(-2, 1, 1, 2, 2, 4), between(-1, 2, 1, 2, 2, 4)).outputs(3).with(ai("is_causal", 1)),
		node("RotaryEmbedding", 23, x(1, 2, 3, 4), w(6, 2), weights(-0.9, 0.9, 6, 2), ints2(3, 0, 1, 5)), node("RotaryEmbedding pairs", 23, x(1, 3, 8), w(6, 2), weights(-0.9, 0.9, 6, 2), ints2(3, 0, 1, 5)).with(heads, ai("interleaved", 1)),
		node("RotaryEmbedding part", 23, x(1, 2, 3, 8), w(1, 3, 2), weights(-0.9, 0.9, 1, 3, 2)).with(ai("rotary_embedding_dim", 4)),
		node(ms+"Attention", 17, x(2, 3, 8), weights(-0.5, 0.5, 8, 24), w(24)).with(heads), node(ms+"Attention keys", 17, x(2, 3, 8), weights(-0.5, 0.5, 8, 24), w(24), mask).with(heads),
		node(ms+"Attention lengths", 17, x(2, 3, 8), weights(-0.5, 0.5, 8, 24), w(24), lengths).with(heads), node(ms+"Attention causal", 17, x(2, 3, 8), weights(-0.5, 0.5, 8, 24), w(24)).with(heads, ai("unidirectional", 1)),
		node(ms+"Attention past", 17, x(2, 3, 8), weights(-0.5, 0.5, 8, 24), w(24), none, between(-1, 1, 2, 2, 2, 4, 4)).outputs(2).with(heads),
		node(ms+"Attention bias", 17, x(2, 3, 8), weights(-0.5, 0.5, 8, 24), w(24), none, none, between(-2, 0, 2, 2, 3, 3)).with(heads),
		node(mha, 17, q, k, v).with(heads), node(mha+" bias", 17, q, k, v, w(24), keys, between(-2, 0, 1, 2, 3, 4)).with(heads), node(mha+" scale", 17, q, k, v).with(heads, af("scale", 0.2)),
		node(mha+" causal", 17, x(1, 3, 8), other(1, 3, 8), between(-1, 1, 1, 3, 8)).with(heads, ai("unidirectional", 1)),
		node(mha+" keys of heads", 17, q, other(2, 2, 4, 4), between(-1, 1, 2, 2, 4, 4)).with(heads),
	}
}

// bools35 is a mask [3, 5] in which every query sees a key.
func bools35() operand {
	b := make([]byte, 15)
	for i := range b {
		if i%3 != 1 || i%5 == 0 {
			b[i] = 1
		}
	}
	return operand{value: tensor.Tensor{DType: tensor.Bool, Shape: []int64{3, 5}, Data: b}, constant: true}
}

// ints2 are positions [1, n] of an input.
func ints2(n int64, v ...int64) operand {
	return operand{value: tensor.Of([]int64{1, n}, v)}
}

// branch is a graph of one node.
func branch(op string, in []string, out string, shape ...int64) *onnx.Graph {
	g := onnx.NewGraph("branch")
	g.AppendNode(onnx.NewNode(op, "", op+" of a branch", in, []string{out}))
	g.AddOutput(onnx.NewValueInfo(out, onnx.Float, onnx.FixedDims(shape...)))
	return g
}

func controlCases() []opCase {
	boxes := given(floats([]int64{1, 6, 4}, 0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, -0.1, 1, 0.9, 0, 10, 1, 11, 0, 10.1, 1, 11.1, 0, 100, 1, 101))
	scores := given(floats([]int64{1, 2, 6}, 0.9, 0.75, 0.6, 0.95, 0.5, 0.3, 0.1, 0.8, 0.85, 0.4, 0.7, 0.2))
	centred := given(floats([]int64{1, 4, 4}, 0.5, 0.5, 1, 1, 0.5, 0.6, 1, 1, 0.5, 10.5, 1, 1, 0.5, 10.6, 1, 1))
	quantized := func(m *onnx.Model, domain string) {
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
		m.Graph.AddInitializer(onnx.NewTensor("scale", tensor.Of([]int64{}, []float32{0.02})))
		m.Graph.AddInitializer(onnx.NewTensor("zero", tensor.Of([]int64{}, []uint8{120})))
		m.Graph.AppendNode(onnx.NewNode("QuantizeLinear", domain, "q", []string{"x0", "scale", "zero"}, []string{"q"}))
		m.Graph.AppendNode(onnx.NewNode("DequantizeLinear", domain, "d", []string{"q", "scale", "zero"}, []string{"y"}))
	}
	return []opCase{
		{name: "QuantizeLinear of com.microsoft", op: "QuantizeLinear", domain: "com.microsoft", opset: 17, half: 2e-2, feeds: []operand{x(2, 3)}, build: func(t *testing.T, m *onnx.Model) {
			quantized(m, "com.microsoft")
			give(t, m, nil, "y")
		}},
		{name: "DequantizeLinear of com.microsoft", op: "DequantizeLinear", domain: "com.microsoft", opset: 17, half: 2e-2, feeds: []operand{other(3, 3)}, build: func(t *testing.T, m *onnx.Model) {
			quantized(m, "com.microsoft")
			give(t, m, nil, "y")
		}},
		{name: "DequantizeLinear", op: "DequantizeLinear", opset: 17, half: 2e-2, feeds: []operand{other(3, 3)}, build: func(t *testing.T, m *onnx.Model) {
			quantized(m, "")
			give(t, m, nil, "y")
		}},
		{name: "Shape", op: "Shape", opset: 15, feeds: []operand{x(2, 3)}, build: func(t *testing.T, m *onnx.Model) {
			appendNode(m, "NonZero", []string{"x0"}, "places")
			appendNode(m, "Shape", []string{"places"}, "y")
			appendNode(m, "Shape", []string{"places"}, "end", ai("start", 1))
			give(t, m, nil, "y", "end")
		}},
		{name: "Size", op: "Size", opset: 13, feeds: []operand{x(2, 3)}, build: func(t *testing.T, m *onnx.Model) {
			appendNode(m, "NonZero", []string{"x0"}, "places")
			appendNode(m, "Size", []string{"places"}, "y")
			give(t, m, nil, "y")
		}},
		node("NonMaxSuppression", 11, boxes, scores, scalarInt(3), scalar(0.5), scalar(0.25)),
		node("NonMaxSuppression centred", 11, centred, given(floats([]int64{1, 1, 4}, 0.5, 0.9, 0.8, 0.4)), scalarInt(10), scalar(0.5), scalar(0)).with(ai("center_point_box", 1)),
		{name: "If", op: "If", opset: 16, feeds: []operand{x(2, 3)}, build: func(t *testing.T, m *onnx.Model) {
			appendNode(m, "ReduceSum", []string{"x0"}, "sum", ai("keepdims", 0))
			m.Graph.AddInitializer(onnx.NewTensor("zero", tensor.Of([]int64{}, []float32{0})))
			appendNode(m, "Greater", []string{"sum", "zero"}, "cond")
			appendNode(m, "If", []string{"cond"}, "y", onnx.GraphAttr("then_branch", branch("Exp", []string{"x0"}, "r", 2, 3)), onnx.GraphAttr("else_branch", branch("Neg", []string{"x0"}, "r", 2, 3)))
			give(t, m, nil, "y")
		}},
		{name: "Loop", op: "Loop", opset: 16, feeds: []operand{x(2, 3)}, build: func(t *testing.T, m *onnx.Model) {
			m.Graph.AddInitializer(onnx.NewInt64s("turns", []int64{3}))
			g := onnx.NewGraph("body")
			g.AddInput(onnx.NewValueInfo("i", onnx.Int64, []onnx.Dim{}))
			g.AddInput(onnx.NewValueInfo("go", onnx.Bool, []onnx.Dim{}))
			g.AddInput(onnx.NewValueInfo("a", onnx.Float, onnx.FixedDims(2, 3)))
			for _, n := range []*onnx.Node{
				onnx.NewNode("Identity", "", "", []string{"go"}, []string{"again"}), onnx.NewNode("Cast", "", "", []string{"i"}, []string{"f"}, ai("to", 1)),
				onnx.NewNode("Add", "", "", []string{"a", "f"}, []string{"b"}), onnx.NewNode("Mul", "", "", []string{"b", "x0"}, []string{"s"}),
			} {
				g.AppendNode(n)
			}
			g.AddOutput(onnx.NewValueInfo("again", onnx.Bool, []onnx.Dim{}))
			g.AddOutput(onnx.NewValueInfo("b", onnx.Float, onnx.FixedDims(2, 3)))
			g.AddOutput(onnx.NewValueInfo("s", onnx.Float, onnx.FixedDims(2, 3)))
			m.Graph.AppendNode(onnx.NewNode("Loop", "", "loop", []string{"turns", "", "x0"}, []string{"y", "all"}, onnx.GraphAttr("body", g)))
			give(t, m, nil, "y", "all")
		}},
		{name: "Scan", op: "Scan", opset: 16, feeds: []operand{x(3), other(4, 3)}, build: func(t *testing.T, m *onnx.Model) {
			g := onnx.NewGraph("body")
			g.AddInput(onnx.NewValueInfo("a", onnx.Float, onnx.FixedDims(3)))
			g.AddInput(onnx.NewValueInfo("e", onnx.Float, onnx.FixedDims(3)))
			g.AppendNode(onnx.NewNode("Add", "", "", []string{"a", "e"}, []string{"b"}))
			g.AppendNode(onnx.NewNode("Tanh", "", "", []string{"b"}, []string{"s"}))
			g.AddOutput(onnx.NewValueInfo("b", onnx.Float, onnx.FixedDims(3)))
			g.AddOutput(onnx.NewValueInfo("s", onnx.Float, onnx.FixedDims(3)))
			m.Graph.AppendNode(onnx.NewNode("Scan", "", "scan", []string{"x0", "x1"}, []string{"y", "all"}, onnx.GraphAttr("body", g), ai("num_scan_inputs", 1), ais("scan_input_directions", 1), ais("scan_output_axes", 1)))
			give(t, m, nil, "y", "all")
		}},
	}
}
