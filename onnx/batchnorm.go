package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// FoldBatchNorm folds what follows a Conv, ConvTranspose or Gemm with constant
// weights, and only scales and shifts its output channels, into its weights and
// bias: BatchNormalization at inference, and Add or Mul of a constant per channel.
// The arithmetic is in float64, each result is rounded once to the weights' type.
// The node takes over the name of the output, so that what reads it stays as it is.
// It returns how many nodes went. Where the numbers do not allow it (a variance of
// zero or less, an overflow), the node stays. Weights that cannot be read are an
// error.
func FoldBatchNorm(m *Model) (int, error) {
	count := 0
	for n := range m.Graph.AllNodes() {
		for n.Is("Conv") || n.Is("ConvTranspose") || n.Is("Gemm") {
			folded, err := m.foldNext(n)
			if err != nil {
				return count, fmt.Errorf("fold batch normalization into %s: %w", n.Label(), err)
			}
			if !folded {
				break
			}
			count++
		}
	}
	return count, nil
}

// affine is what a node does to each channel: y = x*scale + shift.
type affine struct{ scale, shift []float64 }

func (m *Model) foldNext(n *Node) (bool, error) {
	g, mid := n.graph, n.Output(0)
	next := g.Consumers(mid)
	if mid == "" || len(next) != 1 || g.IsOutput(mid) || next[0].Output(0) == "" {
		return false, nil
	}
	weights, ok := readChannels(n)
	if !ok {
		return false, nil
	}
	f := next[0]
	var a affine
	var err error
	switch {
	case f.Is("BatchNormalization") && f.Input(0) == mid:
		a, ok, err = m.batchNorm(f, weights.channels)
	case f.Is("Add"), f.Is("Mul"):
		a, ok, err = perChannel(f, mid, weights)
	default:
		return false, nil
	}
	if err != nil || !ok {
		return false, err
	}
	if ok, err = n.applyAffine(weights, a); err != nil || !ok {
		return false, err
	}
	out, read := f.Output(0), slices.Clone(f.inputs)
	g.RemoveNode(f)
	n.SetOutput(0, out)
	g.RemoveValueInfo(mid)
	g.dropUnread(read...)
	return true, nil
}

// channels describes the weights of a Conv, ConvTranspose or Gemm.
type channels struct {
	tensor   *Tensor
	channels int64
	rank     int   // of the node's output
	inner    int64 // elements between one channel and the next in the weights
	perGroup int64 // channels in a row, 0: all (ConvTranspose has groups)
	period   int64 // ConvTranspose: elements after which the group changes
}

// channelOf returns the output channel that element i of the weights belongs to.
func (c *channels) channelOf(i int64) int64 {
	if c.perGroup == 0 {
		return i / c.inner % c.channels
	}
	return i/c.period*c.perGroup + i/c.inner%c.perGroup
}

func readChannels(n *Node) (*channels, bool) {
	w := n.graph.Constant(n.Input(1))
	if w == nil || w.Elements() <= 0 || !foldable(w.DataType) {
		return nil, false
	}
	d := w.Dims
	product := func(s []int64) int64 { p, _ := tensor.Elements(s); return p }
	c := &channels{tensor: w, rank: len(d)}
	switch {
	case n.Is("Gemm"):
		if len(d) != 2 {
			return nil, false
		}
		c.channels, c.inner = d[1], 1
		if n.IntAttr("transB", 0) != 0 {
			c.channels, c.inner = d[0], d[1]
		}
	case len(d) < 3:
		return nil, false
	case n.Is("Conv"):
		c.channels, c.inner = d[0], product(d[1:])
	default: // ConvTranspose: [C, M/group, k...]
		group := n.IntAttr("group", 1)
		if group < 1 || d[0]%group != 0 || d[1] > math.MaxInt64/group {
			return nil, false
		}
		c.channels, c.inner = d[1]*group, product(d[2:])
		c.perGroup, c.period = d[1], product(d[1:])*(d[0]/group)
	}
	return c, true
}

func foldable(d DataType) bool {
	return d == Float || d == Double || d == Float16 || d == BFloat16
}

// batchNorm reads a BatchNormalization at inference; ok is false when it trains or
// its parameters are not constant.
func (m *Model) batchNorm(n *Node, c int64) (a affine, ok bool, err error) {
	for _, s := range n.outputs[1:] {
		if s != "" && (n.graph.IsOutput(s) || n.graph.NumConsumers(s) > 0) {
			return affine{}, false, nil
		}
	}
	opset := m.Opset(DefaultDomain)
	trains := n.IntAttr("training_mode", 0) != 0 || opset < 7 && n.IntAttr("is_test", 0) == 0
	if trains || opset < 9 && n.IntAttr("spatial", 1) == 0 {
		return affine{}, false, nil
	}
	var p [4][]float64 // scale, shift, mean, variance
	for i := range p {
		t := n.graph.Constant(n.Input(i + 1))
		if t == nil || !foldable(t.DataType) || t.Elements() != c {
			return affine{}, false, nil
		}
		if p[i], err = t.float64s(); err != nil {
			return affine{}, false, err
		}
	}
	epsilon := float64(n.FloatAttr("epsilon", 1e-5))
	a = affine{make([]float64, c), make([]float64, c)}
	for i := range a.scale {
		// The square root is taken of a positive number or the node stays.
		v := p[3][i] + epsilon
		if !(v > 0) {
			return affine{}, false, nil
		}
		a.scale[i] = p[0][i] / math.Sqrt(v)
		a.shift[i] = p[1][i] - p[2][i]*a.scale[i]
	}
	return a, true, nil
}

// perChannel reads an Add or Mul of value and a constant that is the same within a
// channel.
func perChannel(n *Node, value string, c *channels) (a affine, ok bool, err error) {
	other := n.Input(0)
	if other == value {
		other = n.Input(1)
	}
	t := n.graph.Constant(other)
	if other == value || t == nil || t.DataType != c.tensor.DataType || len(t.Dims) > c.rank {
		return affine{}, false, nil
	}
	for i, d := range t.Dims {
		// Axis 1 of the output holds the channels.
		if channel := i+c.rank-len(t.Dims) == 1; d != 1 && !(channel && d == c.channels) {
			return affine{}, false, nil
		}
	}
	v, err := t.float64s()
	if err != nil || len(v) == 0 {
		return affine{}, false, err
	}
	a = affine{make([]float64, c.channels), make([]float64, c.channels)}
	for i := range a.scale {
		x := v[i%len(v)]
		if n.Is("Add") {
			a.scale[i], a.shift[i] = 1, x
		} else {
			a.scale[i] = x
		}
	}
	return a, true, nil
}

// applyAffine puts a into the node's weights and bias; ok is false when it cannot.
func (n *Node) applyAffine(c *channels, a affine) (ok bool, err error) {
	bias, ok, err := n.biasOf(c)
	if err != nil || !ok {
		return false, err
	}
	scales := slices.ContainsFunc(a.scale, func(s float64) bool { return s != 1 })
	for i := range bias {
		bias[i] = bias[i]*a.scale[i] + a.shift[i]
	}
	newBias, ok := fromFloat64s(c.tensor.DataType, []int64{c.channels}, bias)
	if !ok {
		return false, nil
	}
	if scales {
		weights, ok, err := c.scaled(a.scale)
		if err != nil || !ok {
			return false, err
		}
		n.graph.replaceConstant(n, 1, n.Input(1)+"_folded", weights)
	}
	if n.Is("Gemm") {
		n.RemoveAttr("beta") // it is in the bias now
	}
	n.graph.replaceConstant(n, 2, n.Input(1)+"_bias", newBias)
	return true, nil
}

// scaled returns the weights times the scale of their channels.
func (c *channels) scaled(scale []float64) (out tensor.Tensor, ok bool, err error) {
	v, err := c.tensor.Tensor()
	if err != nil {
		return out, false, err
	}
	if v.DType == tensor.F64 {
		w, err := c.tensor.float64s()
		if err != nil {
			return out, false, err
		}
		for i := range w {
			w[i] *= scale[c.channelOf(int64(i))]
		}
		out, ok = fromFloat64s(Double, v.Shape, w)
		return out, ok, nil
	}
	w, err := tensor.ToFloat32(v)
	if err != nil {
		return out, false, err
	}
	scaled := make([]float32, len(w))
	for start := int64(0); start < int64(len(w)); start += c.inner {
		s := scale[c.channelOf(start)]
		for i, x := range w[start : start+c.inner] {
			scaled[start+int64(i)] = float32(float64(x) * s)
		}
	}
	return roundTo(c.tensor.DataType, v.Shape, scaled)
}

// biasOf returns the node's bias per channel, zeros when it has none.
func (n *Node) biasOf(c *channels) (bias []float64, ok bool, err error) {
	bias = make([]float64, c.channels)
	if n.Input(2) == "" {
		return bias, true, nil
	}
	t := n.graph.Constant(n.Input(2))
	if t == nil || t.DataType != c.tensor.DataType {
		return nil, false, nil
	}
	beta := 1.0
	if n.Is("Gemm") {
		// C may be [M], [1 M], [1] or a scalar; one row for each sample cannot fold.
		if len(t.Dims) > 2 || len(t.Dims) == 2 && t.Dims[0] != 1 {
			return nil, false, nil
		}
		beta = float64(n.FloatAttr("beta", 1))
	}
	v, err := t.float64s()
	if err != nil {
		return nil, false, err
	}
	if int64(len(v)) != c.channels && (len(v) != 1 || !n.Is("Gemm")) {
		return nil, false, nil
	}
	for i := range bias {
		bias[i] = beta * v[i%len(v)]
	}
	return bias, true, nil
}

// float64s returns a copy of the elements of a floating-point tensor.
func (t *Tensor) float64s() ([]float64, error) {
	v, err := t.Tensor()
	if err != nil {
		return nil, err
	}
	if v.DType == tensor.F64 {
		s, err := tensor.View[float64](v)
		return slices.Clone(s), err
	}
	s, err := tensor.ToFloat32(v)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(s))
	for i, x := range s {
		out[i] = float64(x)
	}
	return out, nil
}

// fromFloat64s rounds to a tensor of type d; ok is false when a number is or
// becomes infinite or NaN.
func fromFloat64s(d DataType, shape []int64, data []float64) (out tensor.Tensor, ok bool) {
	if d == Double {
		finite := !slices.ContainsFunc(data, func(x float64) bool { return math.IsNaN(x - x) })
		return tensor.Of(shape, data), finite
	}
	s := make([]float32, len(data))
	for i, x := range data {
		s[i] = float32(x)
	}
	out, ok, err := roundTo(d, shape, s)
	return out, ok && err == nil
}

// roundTo makes a tensor of type d; ok is false when a number is or becomes
// infinite or NaN.
func roundTo(d DataType, shape []int64, s []float32) (out tensor.Tensor, ok bool, err error) {
	if out, err = tensor.FromFloat32(d.DType(), shape, s); err != nil {
		return out, false, err
	}
	if d != Float { // a half overflows much earlier
		if s, err = tensor.ToFloat32(out); err != nil {
			return out, false, err
		}
	}
	// The difference is NaN for an infinity and for a NaN.
	return out, !slices.ContainsFunc(s, func(x float32) bool { return x-x != 0 }), nil
}
