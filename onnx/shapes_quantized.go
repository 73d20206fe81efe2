package onnx

import "slices"

func registerQuantized() {
	register(inferQuantize, "QuantizeLinear")
	register(inferDequantize, "DequantizeLinear")
	register(inferDynamicQuantize, "DynamicQuantizeLinear")
	register(inferAttention, "Attention")
}

// inferMicrosoft holds the operators of ONNX Runtime's own domain, com.microsoft.
var inferMicrosoft = map[string]func(*inferContext){
	"QuantizeLinear":                   inferQuantize,
	"DequantizeLinear":                 inferDequantize,
	"QLinearAdd":                       inferQLinearBinary,
	"QLinearMul":                       inferQLinearBinary,
	"QLinearConv":                      func(c *inferContext) { inferConv(c, 0, 3, c.in(7).elem) },
	"QLinearSigmoid":                   inferFirst,
	"QLinearLeakyRelu":                 inferFirst,
	"QLinearSoftmax":                   inferFirst,
	"QLinearAveragePool":               inferPool,
	"QLinearGlobalAveragePool":         inferGlobalPool,
	"QLinearConcat":                    inferQLinearConcat,
	"QGemm":                            inferQGemm,
	"FusedConv":                        func(c *inferContext) { inferConv(c, 0, 1, c.in(0).elem) },
	"FusedGemm":                        inferGemm,
	"FusedMatMul":                      inferFusedMatMul,
	"MatMulNBits":                      inferMatMulNBits,
	"MatMulBnb4":                       inferMatMulNBits,
	"GatherBlockQuantized":             inferGatherBlocks,
	"DynamicQuantizeMatMul":            func(c *inferContext) { inferMatMul(c, 0, 1, c.in(0).elem) },
	"MatMulIntegerToFloat":             func(c *inferContext) { inferMatMul(c, 0, 1, c.in(2).elem) },
	"Gelu":                             inferFirst,
	"FastGelu":                         inferFirst,
	"QuickGelu":                        inferFirst,
	"BiasGelu":                         inferFirst,
	"SkipLayerNormalization":           inferFirst,
	"SimplifiedLayerNormalization":     inferFirst,
	"SkipSimplifiedLayerNormalization": inferFirst,
	"RotaryEmbedding":                  inferFirst,
}

// inferQuantize: the zero point gives the type, or output_dtype, or uint8.
func inferQuantize(c *inferContext) {
	elem := Uint8
	if d := c.n.IntAttr("output_dtype", 0); d != 0 {
		elem = DataType(d)
	}
	if c.has(2) {
		elem = c.in(2).elem
	}
	c.out(0, c.in(0).of(elem))
}

func inferDequantize(c *inferContext) {
	elem := c.in(1).elem
	if d := c.n.IntAttr("output_dtype", 0); d != 0 {
		elem = DataType(d)
	}
	if elem == Undefined {
		elem = Float
	}
	c.out(0, c.in(0).of(elem))
}

func inferDynamicQuantize(c *inferContext) {
	c.out(0, c.in(0).of(Uint8))
	c.tensor(1, Float)
	c.tensor(2, Uint8)
}

// Inputs: A, its scale and zero point, B, its scale and zero point, C's.
func inferQLinearBinary(c *inferContext) {
	a, b := c.in(0), c.in(3)
	if !a.ranked || !b.ranked {
		c.elemOnly(0, a.elem)
		return
	}
	c.tensor(0, a.elem, broadcast(a.dims, b.dims)...)
}

// Inputs: Y's scale and zero point, then each input with its own.
func inferQLinearConcat(c *inferContext) {
	var values []string
	for i := 2; i < len(c.n.inputs); i += 3 {
		values = append(values, c.n.inputs[i])
	}
	inferConcat(c, values, c.in(1).elem)
}

// Inputs: A, scale, zero point, B, scale, zero point, C, Y's scale and zero point.
func inferQGemm(c *inferContext) {
	rows, columns := anyDim, anyDim
	if a := c.in(0); a.ranked && len(a.dims) == 2 {
		rows = a.dims[c.n.IntAttr("transA", 0)&1]
	}
	if b := c.in(3); b.ranked && len(b.dims) == 2 {
		columns = b.dims[1-c.n.IntAttr("transB", 0)&1]
	}
	elem := Float
	if c.has(8) {
		elem = c.in(8).elem
	}
	c.tensor(0, elem, rows, columns)
}

func inferFusedMatMul(c *inferContext) {
	a, b := c.in(0), c.in(1)
	if !a.ranked || !b.ranked || len(a.dims) < 2 || len(b.dims) < 2 ||
		c.n.IntAttr("transBatchA", 0) != 0 || c.n.IntAttr("transBatchB", 0) != 0 {
		c.elemOnly(0, a.elem)
		return
	}
	flip := func(dims []Dim, attr string) []Dim {
		if c.n.IntAttr(attr, 0) != 0 {
			dims = slices.Clone(dims)
			n := len(dims)
			dims[n-1], dims[n-2] = dims[n-2], dims[n-1]
		}
		return dims
	}
	c.tensor(0, a.elem, matMulDims(flip(a.dims, "transA"), flip(b.dims, "transB"))...)
}

func inferMatMulNBits(c *inferContext) {
	a := c.in(0)
	if !a.ranked || len(a.dims) == 0 {
		c.elemOnly(0, a.elem)
		return
	}
	dims := slices.Clone(a.dims)
	dims[len(dims)-1] = Dim{Value: max(c.n.IntAttr("N", -1), -1)}
	c.tensor(0, a.elem, dims...)
}

// inferGatherBlocks: a lookup along axis 0 of a table in blocks, whose data may be packed, so that the last axis is
// known for elements of their own type only.
func inferGatherBlocks(c *inferContext) {
	data, index, elem := c.in(0), c.in(1), c.in(2).elem
	if !data.ranked || !index.ranked || len(data.dims) != 2 || c.n.IntAttr("gather_axis", 0) != 0 {
		c.elemOnly(0, elem)
		return
	}
	last := data.dims[1]
	if data.elem == Uint8 && last.Fixed() {
		bits := c.n.IntAttr("bits", 4)
		if bits < 1 || bits > 8 || last.Value > 1<<40 {
			last = anyDim
		} else {
			last = Dim{Value: last.Value * (8 / bits)}
		}
	}
	c.tensor(0, elem, append(slices.Clone(index.dims), last)...)
}

// inferAttention: Y has the shape of Q, except for the size of a head, which is V's.
func inferAttention(c *inferContext) {
	q, v := c.in(0), c.in(2)
	if !q.ranked || !v.ranked || len(q.dims) != len(v.dims) || len(q.dims) != 3 && len(q.dims) != 4 {
		c.elemOnly(0, q.elem)
		return
	}
	dims := slices.Clone(q.dims)
	last := v.dims[len(v.dims)-1]
	if len(dims) == 3 {
		// The heads lie side by side: hidden size of V per head times heads of Q.
		qHeads, kvHeads := c.n.IntAttr("q_num_heads", 0), c.n.IntAttr("kv_num_heads", 0)
		if kvHeads <= 0 || qHeads <= 0 || !last.Fixed() {
			last = anyDim
		} else if p, ok := mul(last.Value/kvHeads, qHeads); ok {
			last = Dim{Value: p}
		}
	}
	dims[len(dims)-1] = last
	c.tensor(0, q.elem, dims...)
	// The product of queries and keys: each head, each query, each key so far.
	keys := anyDim
	if k := c.in(1); k.ranked && len(k.dims) >= 2 {
		keys = k.dims[len(k.dims)-2]
	}
	if past := c.in(4); c.has(4) {
		if !past.ranked || len(past.dims) != 4 || !past.dims[2].Fixed() || !keys.Fixed() {
			keys = anyDim
		} else {
			keys = Dim{Value: keys.Value + past.dims[2].Value}
		}
	}
	heads, queries := q.dims[1], q.dims[len(q.dims)-2]
	if len(q.dims) == 3 {
		heads = Dim{Value: max(c.n.IntAttr("q_num_heads", -1), -1)}
	}
	c.tensor(3, q.elem, q.dims[0], heads, queries, keys)
	// The keys and values so far, when those of the past are given.
	for i := 1; i <= 2; i++ {
		past, now := c.in(i+3), c.in(i)
		if !c.has(i+3) || !past.ranked || len(past.dims) != 4 {
			continue
		}
		present := slices.Clone(past.dims)
		step := anyDim
		if now.ranked && len(now.dims) >= 2 {
			step = now.dims[len(now.dims)-2]
		}
		if present[2].Fixed() && step.Fixed() {
			present[2] = Dim{Value: present[2].Value + step.Value}
		} else {
			present[2] = anyDim
		}
		c.tensor(i, past.elem, present...)
	}
}
