package lower

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// attentions weigh values by how queries and keys go together.
var attentions = []Rule{
	{Op: "Attention", Covers: "3 and 4 axes, masks of bools and floats, causal masks, past keys and values, softcap, shared heads; tensors of known shapes. From iOS 18 on by scaled_dot_product_attention.", Lower: lowerAttention},
	{Op: "RotaryEmbedding", Covers: "All of it, on tensors of known shapes.", Lower: lowerRotary},
	{Domain: "com.microsoft", Op: "Attention", Covers: "Masks of keys [batch, keys] and of whole scores, lengths [batch], causal masks, past keys and values; no rotary embedding.", Lower: lowerAttentionMS},
	{Domain: "com.microsoft", Op: "MultiHeadAttention", Covers: "As Attention; queries, keys and values apart, with and without a bias.", Lower: lowerMultiHead},
}

// attention is softmax(q·k + bias)·v: q is [batch, heads, queries, size], k and v [batch, heads, keys, size].
type attention struct {
	q, k, v Value
	bias    Value // added to the scores; may be left out
	scale   float64
	softcap float64
}

// attend emits an attention. From iOS 18 on MIL has an operation for it, which scales by the size of a head.
func (c *Context) attend(a attention) Value {
	if c.err != nil {
		return Value{}
	}
	own := 1 / math.Sqrt(float64(a.q.Dim(-1)))
	if mil.Takes("scaled_dot_product_attention", c.Opset(), "query") && a.softcap == 0 && a.q.Dim(-1) > 0 {
		q := a.q
		if f := a.scale / own; math.Abs(f-1) > 1e-7 {
			q = c.Binary("mul", q, f)
		}
		return c.Emit("scaled_dot_product_attention", "query", q, "key", a.k, "value", a.v, "attn_mask", a.bias)
	}
	scores := c.Emit("matmul", "x", c.Binary("mul", a.q, a.scale), "y", a.k, "transpose_x", false, "transpose_y", true)
	if a.softcap > 0 {
		scores = c.Binary("mul", c.Emit("tanh", "x", c.Binary("mul", scores, 1/a.softcap)), a.softcap)
	}
	if a.bias.Valid() {
		scores = c.Binary("add", scores, a.bias)
	}
	return c.Emit("matmul", "x", c.Emit("softmax", "x", scores, "axis", -1), "y", a.v, "transpose_x", false, "transpose_y", false)
}

// hidden is a score that no softmax sees. Half of the range is kept, so that the score itself may be added.
func (c *Context) hidden() float64 { return -largest(c.float) / 2 }

// causal hides the keys behind each query, of which past came before the first: [1, 1, queries, keys].
func (c *Context) causal(queries, keys, past int64) Value {
	if queries < 0 || keys < 0 || queries*keys > largestMask {
		_ = c.Failf("it is causal, and the lengths of its sequences are open or too large")
		return Value{}
	}
	f := make([]float32, queries*keys)
	for i := range queries {
		for j := i + past + 1; j < keys; j++ {
			f[i*keys+j] = float32(c.hidden())
		}
	}
	return c.FloatsConst([]int64{1, 1, queries, keys}, f)
}

// masked turns a mask of truths into scores to add: 0 where it holds, low where not.
func (c *Context) masked(mask Value, low float64) Value {
	if !mask.Valid() {
		return mask
	}
	if mask.Type.DataType != mil.Bool {
		mask = c.Binary("not_equal", mask, mil.Int(0))
	}
	return c.Select(mask, c.Filled(c.FloatsConst(ones(mask.Rank()), []float32{0}), 0), c.FloatsConst(ones(mask.Rank()), []float32{float32(low)}))
}

// both adds biases of which each may be left out.
func (c *Context) both(a, b Value) Value {
	switch {
	case !a.Valid():
		return b
	case !b.Valid():
		return a
	}
	return c.Binary("add", a, b)
}

// heads makes [batch, heads, steps, size] of [batch, steps, heads*size].
func (c *Context) heads(x Value, count int64) Value {
	if c.err != nil || !x.Valid() {
		return Value{}
	}
	if x.Rank() != 3 || !x.Fixed() || count < 1 || x.Dim(2)%count != 0 {
		_ = c.Failf("it has %d heads in a tensor %v, whose shape must be known", count, x.Shape())
		return Value{}
	}
	y := c.Reshape(x, x.Dim(0), x.Dim(1), count, x.Dim(2)/count)
	return c.Transpose(y, 0, 2, 1, 3)
}

// joined is heads turned back.
func (c *Context) joined(x Value) Value {
	if c.err != nil {
		return Value{}
	}
	s := slices.Clone(x.Shape())
	return c.Reshape(c.Transpose(x, 0, 2, 1, 3), s[0], s[2], s[1]*s[3])
}

// shared repeats the heads of keys and values for those of the queries that share them.
func (c *Context) shared(x Value, heads int64) Value {
	if c.err != nil || x.Dim(1) == heads {
		return x
	}
	if heads%x.Dim(1) != 0 {
		_ = c.Failf("%d heads of queries do not share %d of keys", heads, x.Dim(1))
		return Value{}
	}
	places := make([]int64, heads)
	for i := range places {
		places[i] = int64(i) / (heads / x.Dim(1))
	}
	return c.Gather(x, c.IntsConst([]int64{heads}, places), 1)
}

func lowerAttention(c *Context, n *onnx.Node) error {
	q, k, v := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	if c.Wants(n, 3) {
		return c.Failf("its scores are read")
	}
	if c.Has(n, 6) {
		return c.Failf("its keys have lengths that are computed")
	}
	flat := q.Rank() == 3
	if flat {
		q, k, v = c.heads(q, n.IntAttr("q_num_heads", 0)), c.heads(k, n.IntAttr("kv_num_heads", 0)), c.heads(v, n.IntAttr("kv_num_heads", 0))
	}
	if c.err != nil {
		return c.err
	}
	if q.Rank() != 4 || !q.Fixed() || !k.Fixed() || !v.Fixed() {
		return c.Failf("the shapes of its queries and keys, %v and %v, must be known", q.Shape(), k.Shape())
	}
	past := int64(0)
	if c.Has(n, 4) {
		before := c.In(n, 4)
		if c.err != nil || before.Rank() != 4 {
			return c.Failf("its past is no tensor of 4 axes")
		}
		past = before.Dim(2)
		k, v = c.Join(2, before, k), c.Join(2, c.In(n, 5), v)
	}
	c.Set(n, 1, k)
	c.Set(n, 2, v)
	if c.err != nil {
		return c.err
	}
	bias := c.In(n, 3)
	if bias.Valid() {
		if d := k.Dim(2) - bias.Dim(-1); d > 0 { // keys behind a short mask are hidden
			bias = c.maskTail(bias, d)
		}
		if bias.Valid() && !bias.Float() {
			bias = c.masked(bias, c.hidden())
		}
		bias = c.Raise(bias, 4)
	}
	if n.IntAttr("is_causal", 0) != 0 {
		bias = c.both(bias, c.causal(q.Dim(2), k.Dim(2), past))
	}
	scale := 1 / math.Sqrt(float64(q.Dim(-1)))
	if a := n.Attr("scale"); a != nil {
		scale = float64(a.F)
	}
	y := c.attend(attention{q, c.shared(k, q.Dim(1)), c.shared(v, q.Dim(1)), bias, scale, float64(n.FloatAttr("softcap", 0))})
	if flat {
		y = c.joined(y)
	}
	c.Set(n, 0, y)
	return c.err
}

// maskTail makes a mask longer by keys that are hidden.
func (c *Context) maskTail(mask Value, more int64) Value {
	after := make([]int64, mask.Rank())
	after[len(after)-1] = more
	value := 0.0
	if mask.Float() {
		value = c.hidden()
	}
	return c.Pad(mask, make([]int64, mask.Rank()), after, "constant", value, Value{})
}

// scaleMS is the scale of ONNX Runtime's operators.
func scaleMS(n *onnx.Node, size int64) float64 {
	if s := n.FloatAttr("scale", 0); s != 0 {
		return float64(s)
	}
	return 1 / math.Sqrt(float64(size))
}

// keyMask makes scores of ONNX Runtime's masks: of keys [batch, keys], of scores [batch, queries, keys] or with heads, or
// of lengths [batch].
func (c *Context) keyMask(n *onnx.Node, mask Value, keys int64) Value {
	if !mask.Valid() || c.err != nil {
		return Value{}
	}
	low := float64(n.FloatAttr("mask_filter_value", -10000))
	switch mask.Rank() {
	case 1:
		m := c.Binary("less", c.Counting(keys, 1, 2), c.Reshape(mask, mask.Dim(0), 1))
		return c.Reshape(c.masked(m, low), mask.Dim(0), 1, 1, keys)
	case 2:
		return c.Reshape(c.masked(mask, low), mask.Dim(0), 1, 1, mask.Dim(1))
	case 3:
		return c.Reshape(c.masked(mask, low), mask.Dim(0), 1, mask.Dim(1), mask.Dim(2))
	}
	_ = c.Failf("its mask %v is not one of keys, of scores or of lengths", mask.Shape())
	return Value{}
}

func lowerAttentionMS(c *Context, n *onnx.Node) error {
	x, w, b, mask := c.In(n, 0), c.In(n, 1), c.In(n, 2), c.In(n, 3)
	if c.err != nil {
		return c.err
	}
	count := n.IntAttr("num_heads", 0)
	if n.IntAttr("do_rotary", 0) != 0 {
		return c.Failf("it turns its queries and keys (do_rotary)")
	}
	if x.Rank() != 3 || !x.Fixed() || w.Rank() != 2 {
		return c.Failf("it takes [batch, steps, size] of a known shape, and %v is given", x.Shape())
	}
	if mask.Valid() && mask.Rank() == 1 && mask.Dim(0) != x.Dim(0) {
		return c.Failf("its mask tells both ends of the keys")
	}
	sizes := n.IntsAttr("qkv_hidden_sizes")
	if sizes == nil {
		sizes = []int64{w.Dim(1) / 3, w.Dim(1) / 3, w.Dim(1) / 3}
	}
	var y Value
	if k := w.Const(); k != nil {
		y = c.linear(x, k, false, b)
	} else {
		y = c.both(c.Emit("matmul", "x", x, "y", w, "transpose_x", false, "transpose_y", false), b)
	}
	parts := c.Chunks(y, 2, sizes...)
	q, k, v := c.heads(parts[0], count), c.heads(parts[1], count), c.heads(parts[2], count)
	past := int64(0)
	if c.Has(n, 4) {
		before := c.In(n, 4) // [2, batch, heads, past, size]
		if c.err != nil {
			return c.err
		}
		past = before.Dim(3)
		k = c.Join(2, c.pick(before, 0), k)
		v = c.Join(2, c.pick(before, 1), v)
	}
	if c.err != nil {
		return c.err
	}
	if c.Wants(n, 1) {
		c.Set(n, 1, c.Emit("stack", "values", []Value{k, v}, "axis", 0))
	}
	bias := c.keyMask(n, mask, k.Dim(2))
	if n.IntAttr("unidirectional", 0) != 0 {
		bias = c.both(bias, c.causal(q.Dim(2), k.Dim(2), past))
	}
	if c.Has(n, 5) {
		bias = c.both(bias, c.In(n, 5))
	}
	if c.err != nil {
		return c.err
	}
	c.Set(n, 0, c.joined(c.attend(attention{q, k, v, bias, scaleMS(n, q.Dim(-1)), 0})))
	return c.err
}

// pick is place i of the first axis, which goes.
func (c *Context) pick(x Value, i int64) Value {
	return c.Emit("squeeze", "x", c.Slice(x, 0, i, i+1), "axes", []int64{0})
}

func lowerMultiHead(c *Context, n *onnx.Node) error {
	count := n.IntAttr("num_heads", 0)
	q, k, v := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	if !q.Fixed() {
		return c.Failf("the shape of its queries, %v, must be known", q.Shape())
	}
	if !k.Valid() || !v.Valid() || q.Rank() != 3 {
		return c.Failf("its queries are %v, packed with keys or values, or these are missing", q.Shape())
	}
	if b := c.In(n, 3); b.Valid() {
		var parts []Value
		sizes := []int64{q.Dim(2), q.Dim(2), b.Dim(0) - 2*q.Dim(2)}
		if kb := b.Const(); kb != nil {
			at := int64(0)
			for _, s := range sizes {
				parts = append(parts, c.From(kb.Take(0, axesFrom(int(at), int(at+s)))))
				at += s
			}
		} else {
			parts = c.Chunks(b, 0, sizes...)
		}
		q = c.Binary("add", q, parts[0])
		if k.Rank() == 3 {
			k, v = c.Binary("add", k, parts[1]), c.Binary("add", v, parts[2])
		}
	}
	q = c.heads(q, count)
	if c.err == nil && k.Rank() == 3 {
		k, v = c.heads(k, count), c.heads(v, count)
	}
	past := int64(0)
	if c.Has(n, 6) {
		before := c.In(n, 6)
		if c.err != nil {
			return c.err
		}
		past = before.Dim(2)
		k, v = c.Join(2, before, k), c.Join(2, c.In(n, 7), v)
	}
	c.Set(n, 1, k)
	c.Set(n, 2, v)
	if c.err != nil {
		return c.err
	}
	mask := c.In(n, 4)
	if mask.Valid() && mask.Rank() == 1 && mask.Dim(0) != q.Dim(0) {
		return c.Failf("its mask tells both ends of the keys")
	}
	bias := c.keyMask(n, mask, k.Dim(2))
	if c.Has(n, 5) {
		bias = c.both(bias, c.In(n, 5))
	}
	if n.IntAttr("unidirectional", 0) != 0 {
		bias = c.both(bias, c.causal(q.Dim(2), k.Dim(2), past))
	}
	c.Set(n, 0, c.joined(c.attend(attention{q, k, v, bias, scaleMS(n, q.Dim(-1)), 0})))
	return c.err
}

// lowerRotary turns pairs of numbers by angles that depend on their position.
func lowerRotary(c *Context, n *onnx.Node) error {
	x, cos, sin := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	flat := x.Rank() == 3
	if flat {
		x = c.heads(x, n.IntAttr("num_heads", 0))
	}
	if c.err != nil {
		return c.err
	}
	if x.Rank() != 4 || !x.Fixed() {
		return c.Failf("the shape of its input, %v, must be known", x.Shape())
	}
	if c.Has(n, 3) {
		at := c.In(n, 3)
		cos, sin = c.Gather(cos, c.Places(at, cos.Dim(0)), 0), c.Gather(sin, c.Places(at, sin.Dim(0)), 0)
	}
	cos, sin = c.Emit("expand_dims", "x", cos, "axes", []int64{1}), c.Emit("expand_dims", "x", sin, "axes", []int64{1}) // [batch, 1, steps, half]
	size := x.Dim(3)
	turned := n.IntAttr("rotary_embedding_dim", 0)
	if turned == 0 {
		turned = size
	}
	rest := Value{}
	if turned < size {
		parts := c.Chunks(x, 3, turned, size-turned)
		x, rest = parts[0], parts[1]
	}
	if c.err != nil {
		return c.err
	}
	var a, b Value
	pairs := n.IntAttr("interleaved", 0) != 0
	half := turned / 2
	if pairs {
		even, odd := make([]int64, half), make([]int64, half)
		for i := range half {
			even[i], odd[i] = 2*i, 2*i+1
		}
		a, b = c.Gather(x, c.IntsConst([]int64{half}, even), 3), c.Gather(x, c.IntsConst([]int64{half}, odd), 3)
	} else {
		parts := c.Chunks(x, 3, half, half)
		a, b = parts[0], parts[1]
	}
	re := c.Binary("sub", c.Binary("mul", a, cos), c.Binary("mul", b, sin))
	im := c.Binary("add", c.Binary("mul", a, sin), c.Binary("mul", b, cos))
	if c.err != nil {
		return c.err
	}
	var y Value
	if pairs {
		y = c.Emit("stack", "values", []Value{re, im}, "axis", 4)
		y = c.Reshape(y, append(slices.Clone(re.Shape()[:3]), turned)...)
	} else {
		y = c.Join(3, re, im)
	}
	if rest.Valid() {
		y = c.Join(3, y, rest)
	}
	if flat {
		y = c.joined(y)
	}
	c.Set(n, 0, y)
	return c.err
}
