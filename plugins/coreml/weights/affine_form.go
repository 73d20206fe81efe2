package weights

import (
	"math/bits"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// steps is a weight of integers and scales in one way to store it.
type steps struct {
	x     *source
	s     *Steps
	c     *centred
	scale []float32
	way   stored
	mask  []byte // nil: all elements are stored
	kept  int
}

// integers are the numbers that are stored, packed.
func (e *steps) integers() []byte {
	q := e.s.Q
	if !e.way.zeros {
		q = e.s.distances()
	}
	if e.mask != nil {
		q = keptOf(q, e.mask, e.kept)
	}
	return pack(q, e.way.typ.Bits())
}

// zeros are the zeros, packed.
func (e *steps) zeros() []byte {
	out := make([]byte, len(e.s.Zero))
	for i, z := range e.s.Zero {
		out[i] = byte(z)
	}
	return pack(out, e.way.typ.Bits())
}

func (e *steps) scaleBytes() []byte { return dense(e.x.typ.DataType, e.scale) }

// affine is the form before CoreML8: one scale, or one for each place of an axis.
func (e *steps) affine() form {
	return form{"constexpr_affine_dequantize, " + e.way.typ.String(), func(s *sink) []*mil.Operation {
		x, axis := e.x, e.s.own()
		scale := mil.Value{Type: mil.Type{DataType: x.typ.DataType}, Data: dense(x.typ.DataType, e.scale[:1])}
		zero := mil.Value{Type: mil.Type{DataType: e.way.typ}, Data: []byte{0}}
		if axis != tensorW {
			n := []int64{x.typ.Shape[axis]}
			scale = s.blob(mil.Type{DataType: x.typ.DataType, Shape: n}, e.scaleBytes)
			if e.way.zeros {
				zero = s.blob(mil.Type{DataType: e.way.typ, Shape: n}, e.zeros)
			}
		} else if e.way.zeros {
			zero.Data = e.zeros()
		}
		return []*mil.Operation{x.op("constexpr_affine_dequantize", x.out(),
			arg{key: "quantized_data", value: s.blob(mil.Type{DataType: e.way.typ, Shape: x.typ.Shape}, e.integers)},
			arg{key: "zero_point", value: zero}, arg{key: "scale", value: scale}, arg{key: "axis", value: mil.Int(int64(max(axis, 0)))})}
	}}
}

// scaleArgs are the scales and zeros as CoreML8 has them: with as many axes as the weight.
func (e *steps) scaleArgs(s *sink) []arg {
	args := []arg{{key: "scale", value: s.blob(mil.Type{DataType: e.x.typ.DataType, Shape: e.s.ScaleShape}, e.scaleBytes)}}
	if e.way.zeros {
		args = append(args, arg{key: "offset", value: s.blob(mil.Type{DataType: e.way.typ, Shape: e.s.ScaleShape}, e.zeros)})
	}
	return args
}

// blockwise is the form from CoreML8 on.
func (e *steps) blockwise() form {
	return form{"constexpr_blockwise_shift_scale, " + e.way.typ.String(), func(s *sink) []*mil.Operation {
		data := arg{key: "data", value: s.blob(mil.Type{DataType: e.way.typ, Shape: e.x.typ.Shape}, e.integers)}
		return []*mil.Operation{e.x.op("constexpr_blockwise_shift_scale", e.x.out(), append([]arg{data}, e.scaleArgs(s)...)...)}
	}}
}

// sparse stores only what is not zero.
func (e *steps) sparse() form {
	return form{"constexpr_sparse_blockwise_shift_scale, " + e.way.typ.String(), func(s *sink) []*mil.Operation {
		args := []arg{
			{key: "data_mask", value: s.blob(e.x.maskType(), func() []byte { return e.mask })},
			{key: "nonzero_data", value: s.blob(mil.Type{DataType: e.way.typ, Shape: []int64{int64(e.kept)}}, e.integers)}}
		return e.x.densified("constexpr_sparse_blockwise_shift_scale", e.kept, append(args, e.scaleArgs(s)...)...)
	}}
}

// lookedUpSteps is the form of few integers with many scales: the integers are looked up in a table of int8, then scaled.
func lookedUpSteps(x *source, s *Steps, c *centred, scale []float32) []form {
	if c.low < -128 || c.high > 127 {
		return nil
	}
	var values []byte
	var place [256]byte
	for i, there := range c.seen {
		if there {
			place[byte(i-255)] = byte(len(values))
			values = append(values, byte(i-255))
		}
	}
	if len(values) > 64 {
		return nil
	}
	width := bitsFor(len(values), x.opset)
	e := &steps{x: x, s: s, c: c, scale: scale, way: stored{mil.Int8, false}}
	return []form{{"constexpr_lut_to_dense with constexpr_blockwise_shift_scale, " + unsigned(width).String(), func(k *sink) []*mil.Operation {
		indexes := k.blob(mil.Type{DataType: unsigned(width), Shape: x.typ.Shape}, func() []byte {
			d := s.distances()
			q := make([]byte, len(d))
			for i, v := range d {
				q[i] = place[v]
			}
			return pack(q, width)
		})
		lut := k.blob(mil.Type{DataType: mil.Int8, Shape: lutShape(len(x.typ.Shape), 0, 1, width)}, func() []byte {
			t := make([]byte, 1<<width)
			copy(t, values)
			return t
		})
		data := mil.Named{Name: x.spare[0], Type: mil.Type{DataType: mil.Int8, Shape: x.typ.Shape}}
		return []*mil.Operation{
			x.op("constexpr_lut_to_dense", []mil.Named{data}, arg{key: "indices", value: indexes}, arg{key: "lut", value: lut}),
			x.op("constexpr_blockwise_shift_scale", x.out(), append([]arg{{key: "data", name: data.Name}}, e.scaleArgs(k)...)...)}
	}}}
}

// maskOfBytes has a bit for each byte, the lowest first: 1 where it is not 0.
func maskOfBytes(v []byte) []byte {
	out := make([]byte, (len(v)+7)/8)
	eights(len(v), func(from, to int) {
		for i := from; i < to; i += 8 {
			var m byte
			for j, x := range v[i:min(i+8, to)] {
				if x != 0 {
					m |= 1 << j
				}
			}
			out[i/8] = m
		}
	})
	return out
}

func countBits(mask []byte) (n int) {
	for _, m := range mask {
		n += bits.OnesCount8(m)
	}
	return n
}
