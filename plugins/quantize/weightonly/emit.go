package weightonly

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// put adds an initializer to the model's own graph, where subgraphs see it too, and counts its bytes.
func (q *quantizer) put(t *onnx.Tensor, bytes *int64) string {
	q.graph.AddInitializer(t)
	*bytes += t.Bytes()
	return t.Name()
}

func (q *quantizer) name(u *unit, part string) string {
	return q.graph.UniqueName(u.weight.Name() + "_" + part)
}

// emitBlocks puts blocks of integers in place of the weight and returns their bytes.
func (q *quantizer) emitBlocks(u *unit, b *Blocks) int64 {
	switch {
	case u.role == roleTable:
		return q.emitTable(u, b)
	case q.opts.Form == FormStandard:
		return q.emitDQ(u, b)
	}
	var bytes int64
	n, k, per := int64(b.N), int64(b.K), int64(b.PerRow())
	w := q.put(onnx.NewTensor(q.name(u, "blocks"), tensor.Of([]int64{n, per, int64(b.Size * b.Bits / 8)}, b.blobs())), &bytes)
	scales := q.put(u.floats(q.name(u, "scales"), u.scaled(b.Scales), n*per), &bytes)
	zeros := ""
	switch {
	case b.FloatZeros:
		zeros = q.put(u.floats(q.name(u, "zero_points"), b.Zeros, n*per), &bytes)
	case !b.Symmetric:
		rows := b.zeroRows()
		zeros = q.put(onnx.NewTensor(q.name(u, "zero_points"), tensor.Of([]int64{int64(len(rows))}, rows)), &bytes)
	}
	q.model.SetOpset(microsoft, 1)
	for _, node := range u.nodes {
		inputs := []string{node.Input(0), w, scales}
		if zeros != "" {
			inputs = append(inputs, zeros)
		}
		attrs := []*onnx.Attribute{onnx.IntAttr("K", k), onnx.IntAttr("N", n),
			onnx.IntAttr("bits", int64(b.Bits)), onnx.IntAttr("block_size", int64(b.Size))}
		if q.opts.Int8Compute {
			attrs = append(attrs, onnx.IntAttr("accuracy_level", 4))
		}
		q.product(node, "MatMulNBits", microsoft, inputs, attrs...)
	}
	return bytes
}

// emitDQ puts blocks in front of a MatMul, as [K, N] in blocks along K. ONNX Runtime makes MatMulNBits of that.
func (q *quantizer) emitDQ(u *unit, b *Blocks) int64 {
	var bytes int64
	n, k, per := int64(b.N), int64(b.K), int64(b.PerRow())
	elem := map[bool]map[int]onnx.DataType{
		true:  {4: onnx.Int4, 8: onnx.Int8},
		false: {4: onnx.Uint4, 8: onnx.Uint8},
	}[b.Symmetric][b.Bits]
	codes := transpose(b.Codes, b.N, b.K)
	if b.Symmetric {
		codes = signed(codes, b.Bits)
	}
	inputs := []string{
		q.put(small(q.name(u, "blocks"), elem, codes, k, n), &bytes),
		q.put(u.floats(q.name(u, "scales"), u.scaled(transpose(b.Scales, b.N, b.PerRow())), per, n), &bytes),
	}
	if !b.Symmetric {
		inputs = append(inputs, q.put(small(q.name(u, "zero_points"), elem, whole(transpose(b.Zeros, b.N, b.PerRow())), per, n), &bytes))
	}
	q.dequantized(u, inputs, onnx.IntAttr("axis", 0), onnx.IntAttr("block_size", int64(b.Size)))
	return bytes
}

// dequantized gives each node a DequantizeLinear of its own: the engine fuses those with one reader.
func (q *quantizer) dequantized(u *unit, inputs []string, attrs ...*onnx.Attribute) {
	for _, node := range u.nodes {
		out := q.name(u, "dequantized")
		node.Graph().InsertBefore(node, onnx.NewNode("DequantizeLinear", "", q.name(u, "DequantizeLinear"), q.local(node.Graph(), inputs), []string{out}, attrs...))
		q.product(node, "MatMul", "", []string{node.Input(0), out})
	}
}

// local returns the names under which a graph has the given initializers of the model's own. A subgraph gets copies:
// ONNX Runtime (1.32) makes MatMulNBits of a DequantizeLinear in a subgraph only where its weights are there too, and
// does not load the model else.
func (q *quantizer) local(g *onnx.Graph, names []string) []string {
	if g == q.graph {
		return names
	}
	out := make([]string, len(names))
	for i, name := range names {
		key := localKey{g, name}
		if q.locals[key] == "" {
			if q.locals == nil {
				q.locals = map[localKey]string{}
			}
			q.locals[key] = q.graph.UniqueName(name)
			g.AddInitializer(q.graph.Initializer(name).WithName(q.locals[key]))
		}
		out[i] = q.locals[key]
	}
	return out
}

// localKey is an initializer of the model's own graph as a subgraph has it.
type localKey struct {
	graph *onnx.Graph
	name  string
}

// emitBnb4 puts bitsandbytes' codes in place of the weight.
func (q *quantizer) emitBnb4(u *unit, f *fourBit, packed []byte, absmax []float32) int64 {
	var bytes int64
	w := q.put(onnx.NewTensor(q.name(u, "bnb4"), tensor.Of([]int64{int64(len(packed))}, packed)), &bytes)
	scales := q.put(u.floats(q.name(u, "absmax"), u.scaled(absmax), int64(len(absmax))), &bytes)
	q.model.SetOpset(microsoft, 1)
	for _, node := range u.nodes {
		q.product(node, "MatMulBnb4", microsoft, []string{node.Input(0), w, scales}, onnx.IntAttr("K", int64(u.k)), onnx.IntAttr("N", int64(u.n)),
			onnx.IntAttr("block_size", int64(q.opts.BlockSize)), onnx.IntAttr("quant_type", f.quantType))
	}
	return bytes
}

// emitFP8 puts 8-bit floats with one scale for each output in front of the node: [K, N], or a table's rows.
func (q *quantizer) emitFP8(u *unit, codes []uint8, scales []float32) int64 {
	var bytes int64
	n, k := int64(u.n), int64(u.k)
	if u.role == roleTable {
		w := q.put(small(q.name(u, "fp8"), onnx.Float8E4M3FN, codes, n, k), &bytes)
		s := q.put(u.floats(q.name(u, "scales"), scales, n), &bytes)
		for _, node := range u.nodes {
			out := q.name(u, "dequantized")
			node.Graph().InsertBefore(node, onnx.NewNode("DequantizeLinear", "", q.name(u, "DequantizeLinear"), []string{w, s}, []string{out}, onnx.IntAttr("axis", 0)))
			node.SetInput(0, out)
		}
		return bytes
	}
	w := q.put(small(q.name(u, "fp8"), onnx.Float8E4M3FN, transpose(codes, u.n, u.k), k, n), &bytes)
	s := q.put(u.floats(q.name(u, "scales"), u.scaled(scales), n), &bytes)
	q.dequantized(u, []string{w, s}, onnx.IntAttr("axis", 1))
	return bytes
}

// small makes an initializer of a type of at most 8 bits from one code a byte.
func small(name string, elem onnx.DataType, codes []uint8, dims ...int64) *onnx.Tensor {
	raw := codes
	if elem.Bits() == 4 {
		raw = nibbles(codes)
	}
	t := onnx.NewTensor(name, tensor.Tensor{DType: tensor.U8, Shape: dims, Data: raw})
	t.DataType = elem
	return t
}

// product puts an operator in the place of a MatMul or Gemm; a Gemm's third operand is added afterwards.
func (q *quantizer) product(node *onnx.Node, op, domain string, inputs []string, attrs ...*onnx.Attribute) {
	g := node.Graph()
	out, c := node.Output(0), ""
	beta := float32(0)
	if node.OpType == "Gemm" && node.Input(2) != "" {
		c, beta = node.Input(2), node.FloatAttr("beta", 1)
	}
	before := node.Prev()
	elem := onnx.Float
	if w := g.Constant(node.Input(1)); w != nil {
		elem = w.DataType
	}
	g.RemoveNode(node)
	add := func(n *onnx.Node) {
		if before == nil {
			g.PrependNode(n)
		} else {
			g.InsertAfter(before, n)
		}
		before = n
	}
	name := nodeName(node)
	if c == "" || beta == 0 {
		add(onnx.NewNode(op, domain, q.graph.UniqueName(name+"/"+op), inputs, []string{out}, attrs...))
		return
	}
	product := q.graph.UniqueName(name + "_product")
	add(onnx.NewNode(op, domain, q.graph.UniqueName(name+"/"+op), inputs, []string{product}, attrs...))
	if beta != 1 {
		factor := (&unit{weight: &onnx.Tensor{DataType: elem}}).floats(q.graph.UniqueName(name+"_beta"), []float32{beta})
		factor.Dims = nil
		q.graph.AddInitializer(factor)
		scaled := q.graph.UniqueName(name + "_scaled")
		add(onnx.NewNode("Mul", "", q.graph.UniqueName(name+"/Mul"), []string{c, factor.Name()}, []string{scaled}))
		c = scaled
	}
	add(onnx.NewNode("Add", "", q.graph.UniqueName(name+"/Add"), []string{product, c}, []string{out}))
}
