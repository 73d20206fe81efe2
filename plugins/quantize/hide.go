package quantize

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// hideFloat keeps the engine's hands off nodes that stay in float between quantized ones (Target.Requantizes). The
// engine looks for a DequantizeLinear with a single scale: such a node reads its activation through one that has the
// same scale once for every channel, which computes the same at the same cost. An activation of one channel cannot be
// hidden so.
func (e *emitter) hideFloat() {
	g := e.graph
	for n := range g.Nodes() {
		if e.place.byNode[n] != nil || n.Domain != "" && n.Domain != "ai.onnx" || !slices.Contains(e.target.Requantizes, n.OpType) {
			continue
		}
		w, dq := g.Initializer(n.Input(1)), g.Producer(n.Input(0))
		if w == nil || dq == nil || !dq.Is("DequantizeLinear") || !leadsToQuantize(g, n) {
			continue
		}
		channels := inputChannels(n, w)
		scale, zero := g.Initializer(dq.Input(1)), g.Initializer(dq.Input(2))
		if channels < 2 || scale == nil || zero == nil {
			continue
		}
		value := n.Input(0)
		s, z := g.UniqueName(value+"_scale"), g.UniqueName(value+"_zero_point")
		scales, err := scale.Float32s()
		if err != nil || len(scales) != 1 {
			continue
		}
		zp, err := zero.Tensor()
		if err != nil {
			continue
		}
		g.AddInitializer(floats(s, []int64{channels}, slices.Repeat(scales, int(channels))))
		zp.Shape, zp.Data = []int64{channels}, slices.Repeat(zp.Data, int(channels))
		g.AddInitializer(onnx.NewTensor(z, zp))
		out := g.UniqueName(value + "_dequantized")
		g.InsertBefore(n, onnx.NewNode("DequantizeLinear", "", g.UniqueName(value+"_DequantizeLinear"),
			[]string{dq.Input(0), s, z}, []string{out}, onnx.IntAttr("axis", 1)))
		n.SetInput(0, out)
	}
}

// leadsToQuantize tells whether a node's only way on is a QuantizeLinear, through Relu and Clip at most.
func leadsToQuantize(g *onnx.Graph, n *onnx.Node) bool {
	for {
		c := g.Consumers(n.Output(0))
		if len(c) != 1 || g.IsOutput(n.Output(0)) {
			return false
		}
		switch n = c[0]; n.OpType {
		case "QuantizeLinear":
			return true
		case "Relu", "Clip":
		default:
			return false
		}
	}
}

// inputChannels returns the size of axis 1 of the activation that a node multiplies with w.
func inputChannels(n *onnx.Node, w *onnx.Tensor) int64 {
	switch {
	case n.OpType == "Gemm" && n.IntAttr("transA", 0) != 0 || len(w.Dims) < 2:
		return 0
	case n.OpType == "Gemm" && n.IntAttr("transB", 0) != 0:
		return w.Dims[1]
	case n.OpType == "Conv":
		return w.Dims[1] * n.IntAttr("group", 1)
	}
	return w.Dims[0]
}
