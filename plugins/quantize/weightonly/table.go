package weightonly

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// emitTable puts blocks of integers in place of a table whose rows Gather looks up.
//
// ONNX Runtime's own operator looks up codes and gives floats. With standard operators the rows that are asked for
// are looked up as 8-bit codes, with their scales and zero points, and then dequantized; ONNX Runtime's Gather takes
// no codes of four bits, so there the whole table is dequantized first: it is small on disk, not in memory.
func (q *quantizer) emitTable(u *unit, b *Blocks) int64 {
	if q.opts.Form == FormRuntime {
		return q.emitGatherBlocks(u, b)
	}
	var bytes int64
	n, k, per := int64(b.N), int64(b.K), int64(b.PerRow())
	elem, codes := onnx.Uint8, b.Codes
	switch {
	case b.Bits == 4 && b.Symmetric:
		elem, codes = onnx.Int4, signed(codes, 4)
	case b.Bits == 4:
		elem = onnx.Uint4
	case b.Symmetric:
		elem, codes = onnx.Int8, signed(codes, 8)
	}
	parts := []string{
		q.put(small(q.name(u, "blocks"), elem, codes, n, k), &bytes),
		q.put(u.floats(q.name(u, "scales"), b.Scales, n, per), &bytes),
	}
	if !b.Symmetric {
		parts = append(parts, q.put(small(q.name(u, "zero_points"), elem, whole(b.Zeros), n, per), &bytes))
	}
	for _, node := range u.nodes {
		g, out := node.Graph(), q.name(u, "dequantized")
		if b.Bits == 4 || multiplied(node) {
			g.InsertBefore(node, onnx.NewNode("DequantizeLinear", "", q.name(u, "DequantizeLinear"), parts, []string{out},
				onnx.IntAttr("axis", 1), onnx.IntAttr("block_size", int64(b.Size))))
			node.SetInput(0, out)
			continue
		}
		looked := make([]string, len(parts))
		for i, p := range parts {
			looked[i] = q.graph.UniqueName(p + "_rows")
			g.InsertBefore(node, onnx.NewNode("Gather", "", q.graph.UniqueName(nodeName(node)+"/Gather"), []string{p, node.Input(1)}, []string{looked[i]}, onnx.IntAttr("axis", 0)))
		}
		result, before := node.Output(0), node.Prev()
		g.RemoveNode(node)
		g.InsertAfter(before, onnx.NewNode("DequantizeLinear", "", q.name(u, "DequantizeLinear"), looked, []string{result},
			onnx.IntAttr("axis", -1), onnx.IntAttr("block_size", int64(b.Size))))
	}
	return bytes
}

// multiplied tells whether a product reads what a node looks up. ONNX Runtime (1.32) takes a DequantizeLinear of an
// activation in front of one with a quantized weight for a product of integers, whatever its blocks are, and then
// fails on them.
func multiplied(n *onnx.Node) bool {
	for _, c := range n.Graph().Consumers(n.Output(0)) {
		if c.Is("MatMul") || c.Is("Gemm") {
			return true
		}
	}
	return false
}

func (q *quantizer) emitGatherBlocks(u *unit, b *Blocks) int64 {
	var bytes int64
	n, per := int64(b.N), int64(b.PerRow())
	codes := b.codeRows()
	parts := []string{
		q.put(onnx.NewTensor(q.name(u, "blocks"), tensor.Of([]int64{n, int64(len(codes)) / n}, codes)), &bytes),
		"", // the indices
		q.put(u.floats(q.name(u, "scales"), b.Scales, n, per), &bytes),
	}
	if !b.Symmetric {
		zeros := b.zeroRows()
		parts = append(parts, q.put(onnx.NewTensor(q.name(u, "zero_points"), tensor.Of([]int64{n, int64(len(zeros)) / n}, zeros)), &bytes))
	}
	q.model.SetOpset(microsoft, 1)
	for _, node := range u.nodes {
		g, out, before := node.Graph(), node.Output(0), node.Prev()
		inputs := append([]string{}, parts...)
		inputs[1] = node.Input(1)
		g.RemoveNode(node)
		lookup := onnx.NewNode("GatherBlockQuantized", microsoft, q.graph.UniqueName(nodeName(node)+"/GatherBlockQuantized"), inputs, []string{out},
			onnx.IntAttr("gather_axis", 0), onnx.IntAttr("quantize_axis", 1), onnx.IntAttr("block_size", int64(b.Size)), onnx.IntAttr("bits", int64(b.Bits)))
		if before == nil {
			g.PrependNode(lookup)
		} else {
			g.InsertAfter(before, lookup)
		}
	}
	return bytes
}
