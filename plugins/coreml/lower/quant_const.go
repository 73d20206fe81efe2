package lower

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/weights"
	"github.com/optimize-hcl/optimize/tensor"
)

// dequantized is the constant that DequantizeLinear makes of another one: integers of up to 8 bits stay what they are until
// the package is written, and others become floats then.
func dequantized(data, scale, zero *onnx.Tensor, axis, block int64) (*Const, error) {
	rank := int64(len(data.Dims))
	shape := slices.Repeat([]int64{1}, int(rank)) // of the scales
	switch n := scale.Elements(); {
	case n == 1 && block == 0:
	case axis < -rank || axis >= rank:
		return nil, fmt.Errorf("there is no axis %d in a tensor of %d", axis, rank)
	case block == 0:
		axis = (axis + rank) % rank
		if n != data.Dims[axis] {
			return nil, fmt.Errorf("it has %d scales for an axis of %d", n, data.Dims[axis])
		}
		shape[axis] = n
	default:
		axis = (axis + rank) % rank
		shape = slices.Clone(data.Dims)
		shape[axis] = (data.Dims[axis] + block - 1) / block
		if !slices.Equal(shape, scale.Dims) {
			return nil, fmt.Errorf("its scales are %v for a tensor of %v in blocks of %d along axis %d", scale.Dims, data.Dims, block, axis)
		}
	}
	if zero != nil && zero.Elements() != scale.Elements() {
		return nil, fmt.Errorf("it has %d zero points and %d scales", zero.Elements(), scale.Elements())
	}
	low, _, ok := rangeOf(data.DataType)
	read := func() (*weights.Steps, error) {
		q, err := bytesOf(data)
		if err != nil {
			return nil, err
		}
		s := &weights.Steps{Shape: data.Dims, Bits: data.DataType.Bits(), Signed: low < 0, Q: q, ScaleShape: shape}
		return s, scalesOf(s, scale, zero)
	}
	k := &Const{float: true, shape: slices.Clone(data.Dims)}
	if ok && data.DataType.Bits() <= 8 && (block == 0 || data.Dims[axis]%block == 0) {
		k.steps = read
		k.floats = func() ([]float32, error) {
			s, err := read()
			if err != nil {
				return nil, err
			}
			return s.Floats(), nil
		}
		return k, nil
	}
	if !ok && data.DataType != onnx.Int32 && data.DataType.Bits() != 8 {
		return nil, fmt.Errorf("it makes floats of %s", data.DataType)
	}
	k.floats = func() ([]float32, error) { return wideFloats(data, scale, zero, axis, block, shape) }
	return k, nil
}

// bytesOf are integers of up to 8 bits, one a byte.
func bytesOf(t *onnx.Tensor) ([]byte, error) {
	v, err := t.Tensor()
	if err == nil {
		switch v.DType {
		case tensor.U8, tensor.I8:
			return v.Data, nil
		case tensor.U4, tensor.I4:
			out := make([]byte, v.Elements())
			for i := range out {
				b := v.Data[i/2] >> (4 * (i & 1)) & 15
				if v.DType == tensor.I4 {
					b = byte(int8(b<<4) >> 4)
				}
				out[i] = b
			}
			return out, nil
		}
	}
	ints, err := t.Ints() // of 2 bits
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(ints))
	for i, x := range ints {
		out[i] = byte(x)
	}
	return out, nil
}

// scalesOf reads scales and zeros.
func scalesOf(s *weights.Steps, scale, zero *onnx.Tensor) (err error) {
	if s.Scale, err = scale.Float32s(); err != nil || zero == nil {
		return err
	}
	z, err := zero.Ints()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(z, func(v int64) bool { return v != 0 }) {
		s.Zero = make([]int16, len(z))
		for i, v := range z {
			s.Zero[i] = int16(v)
		}
	}
	return nil
}

// wideFloats are the floats of integers of more than 8 bits, of small floats, or of blocks the last of which is not whole.
func wideFloats(data, scale, zero *onnx.Tensor, axis, block int64, shape []int64) ([]float32, error) {
	v, err := data.Float32s()
	if err != nil {
		return nil, err
	}
	scales, err := scale.Float32s()
	if err != nil {
		return nil, err
	}
	var zeros []float32
	if zero != nil {
		if zeros, err = zero.Float32s(); err != nil {
			return nil, err
		}
	}
	out := make([]float32, len(v))
	inner := int64(1)
	for _, d := range data.Dims[min(axis+1, int64(len(data.Dims))):] {
		inner *= d
	}
	for i, x := range v {
		at := int64(0)
		if len(scales) > 1 {
			length := data.Dims[axis]
			place, rest := int64(i)/inner%length, int64(i)%inner
			at = place
			if block > 0 {
				at = (int64(i)/(inner*length)*shape[axis]+place/block)*inner + rest
			}
		}
		if zeros != nil {
			x -= zeros[at]
		}
		out[i] = x * scales[at]
	}
	return out, nil
}

// lowerMatMulNBits: the weight is [N, K] in blocks along K, as a linear layer has it.
func lowerMatMulNBits(c *Context, n *onnx.Node) error {
	k, outs, bits, block := n.IntAttr("K", 0), n.IntAttr("N", 0), n.IntAttr("bits", 4), n.IntAttr("block_size", 0)
	data, scale, zero := c.Tensor(n, 1), c.Tensor(n, 2), c.Tensor(n, 3)
	switch {
	case data == nil || scale == nil || c.Has(n, 3) && zero == nil:
		return c.Failf("its weight is computed")
	case c.Has(n, 4):
		return c.Failf("its weight has columns in another order (g_idx)")
	case bits != 2 && bits != 4 && bits != 8:
		return c.Failf("its weight has %d bits", bits)
	case block < 1 || k < 1 || outs < 1 || block*bits%8 != 0:
		return c.Failf("K is %d, N is %d, block_size is %d", k, outs, block)
	}
	blocks := (k + block - 1) / block
	if data.Elements() != outs*blocks*block*bits/8 || scale.Elements() != outs*blocks {
		return c.Failf("its weight has %d bytes and %d scales, which are not those of %d by %d in blocks of %d", data.Elements(), scale.Elements(), outs, k, block)
	}
	floatZeros := zero != nil && zero.DataType != onnx.Uint8
	perRow := (blocks*bits + 7) / 8
	if zero != nil && (floatZeros && zero.Elements() != outs*blocks || !floatZeros && zero.Elements() != outs*perRow) {
		return c.Failf("it has %d zero points", zero.Elements())
	}
	unpack := func(b []byte, row, perRow, count int64, out []byte) {
		per := 8 / bits
		for i := range count {
			out[i] = b[row*perRow+i/per] >> (i % per * bits) & byte(1<<bits-1)
		}
	}
	read := func() (*weights.Steps, error) {
		raw, err := bytesOf(data)
		if err != nil {
			return nil, err
		}
		s := &weights.Steps{Shape: []int64{outs, k}, Bits: int(bits), ScaleShape: []int64{outs, blocks}, Q: make([]byte, outs*k), Zero: make([]int16, outs*blocks)}
		for r := range outs {
			unpack(raw, r, blocks*block*bits/8, k, s.Q[r*k:(r+1)*k])
		}
		if s.Scale, err = scale.Float32s(); err != nil {
			return nil, err
		}
		for i := range s.Zero {
			s.Zero[i] = 1 << (bits - 1)
		}
		if zero == nil || floatZeros {
			return s, nil
		}
		raw, err = bytesOf(zero)
		if err != nil {
			return nil, err
		}
		z := make([]byte, blocks)
		for r := range outs {
			unpack(raw, r, perRow, blocks, z)
			for i, v := range z {
				s.Zero[r*blocks+int64(i)] = int16(v)
			}
		}
		return s, nil
	}
	w := &Const{float: true, shape: []int64{outs, k}, floats: func() ([]float32, error) {
		s, err := read()
		if err != nil {
			return nil, err
		}
		var zeros []float32
		if floatZeros {
			if zeros, err = zero.Float32s(); err != nil {
				return nil, err
			}
		}
		f := make([]float32, outs*k)
		for r := range outs {
			for i := range k {
				at := r*blocks + i/block
				z := float32(s.Zero[at])
				if zeros != nil {
					z = zeros[at]
				}
				f[r*k+i] = (float32(s.Q[r*k+i]) - z) * s.Scale[at]
			}
		}
		return f, nil
	}}
	if !floatZeros && k%block == 0 {
		w.steps = read
	}
	x, bias := c.In(n, 0), c.In(n, 5)
	if c.err != nil {
		return c.err
	}
	return c.nbits(n, x, w, bias)
}

// nbits emits the product, and adds the bias where it is no constant vector.
func (c *Context) nbits(n *onnx.Node, x Value, w *Const, bias Value) error {
	var y Value
	if r := x.Rank(); r == 2 || r == 3 {
		if k := bias.Const(); k != nil && bias.Rank() == 1 {
			c.Set(n, 0, c.linear(x, w, true, bias))
			return c.err
		}
		y = c.linear(x, w, true, Value{})
	} else {
		y = c.Emit("matmul", "x", x, "y", c.From(w), "transpose_x", false, "transpose_y", true)
	}
	if bias.Valid() {
		y = c.Emit("add", "x", y, "y", bias)
	}
	c.Set(n, 0, y)
	return c.err
}
