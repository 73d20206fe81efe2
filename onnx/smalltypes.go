package onnx

import (
	"fmt"
	"math"
)

// Element types that package tensor does not have: floats of eight bits and less, and
// integers of two. Their values are those of ONNX's specification of float8, float4
// and of int2, and the same that ml_dtypes gives.

// smallFloats returns the elements of such a tensor as float32; ok is false for a type
// that is not one of them.
func (t *Tensor) smallFloats() (out []float32, ok bool, err error) {
	var value func(b byte) float32
	switch t.DataType {
	case Float8E4M3FNUZ:
		value = func(b byte) float32 { return fnuz(b, 3, 8) }
	case Float8E5M2FNUZ:
		value = func(b byte) float32 { return fnuz(b, 2, 16) }
	case Float8E8M0:
		value = scale8
	case Float4E2M1:
		value = func(b byte) float32 { return float4[b&15] }
	case Float6E2M3:
		value = func(b byte) float32 { return float6(b, 3, 1) }
	case Float6E3M2:
		value = func(b byte) float32 { return float6(b, 2, 3) }
	case Uint2:
		value = func(b byte) float32 { return float32(b & 3) }
	case Int2:
		value = func(b byte) float32 { return float32(int8(b<<6) >> 6) }
	default:
		return nil, false, nil
	}
	codes, err := t.codes()
	if err != nil {
		return nil, true, err
	}
	out = make([]float32, len(codes))
	for i, c := range codes {
		out[i] = value(c)
	}
	return out, true, nil
}

// codes returns one byte for each element of a type of at most eight bits, the lowest
// bits of a packed byte first.
func (t *Tensor) codes() ([]byte, error) {
	if t.IsExternal() {
		return nil, fmt.Errorf("tensor %q has its data in another file: read the model with ReadFile", t.name)
	}
	b, err := t.elements()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.name, err)
	}
	n, want := t.Elements(), t.Bytes()
	bits := t.DataType.Bits()
	if bits == 6 && !t.hasData() { // one element per entry of int32_data
		want = n
	}
	if want < 0 || int64(len(b)) != want {
		return nil, fmt.Errorf("tensor %q, %s%v, needs %d bytes of data and has %d", t.name, t.DataType, t.Dims, want, len(b))
	}
	switch {
	case bits == 8, bits == 6 && !t.hasData():
		return b, nil
	case bits == 6: // a stream of bits: four elements in three bytes
		out := make([]byte, n)
		for i := range out {
			at := i * 6
			c := uint16(b[at/8])
			if at/8+1 < len(b) {
				c |= uint16(b[at/8+1]) << 8
			}
			out[i] = byte(c>>(at%8)) & 63
		}
		return out, nil
	}
	per := 8 / bits
	out := make([]byte, n)
	for i := range out {
		out[i] = b[i/per] >> (i % per * bits) & (1<<bits - 1)
	}
	return out, nil
}

// float4 are the values of FLOAT4E2M1.
var float4 = [16]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6}

// float6 decodes the six-bit floats of OCP's Microscaling Formats specification 1.0, section 5.3.2: a sign, the exponent
// and the mantissa; they have neither infinities nor NaN.
func float6(b byte, mantissa, bias int) float32 {
	m := float64(b & (1<<mantissa - 1))
	e := int(b&31) >> mantissa
	v := math.Ldexp(m, 1-bias-mantissa)
	if e > 0 {
		v = math.Ldexp(m+float64(int(1)<<mantissa), e-bias-mantissa)
	}
	if b&32 != 0 {
		v = math.Copysign(v, -1)
	}
	return float32(v)
}

// fnuz decodes the eight-bit floats without infinities and without a negative zero,
// whose code is the only NaN.
func fnuz(b byte, mantissa, bias int) float32 {
	if b == 0x80 {
		return float32(math.NaN())
	}
	m := float64(b & (1<<mantissa - 1))
	e := int(b&0x7f) >> mantissa
	v := math.Ldexp(m, 1-bias-mantissa) // below the smallest normal number
	if e > 0 {
		v = math.Ldexp(m+float64(int(1)<<mantissa), e-bias-mantissa)
	}
	if b&0x80 != 0 {
		v = -v
	}
	return float32(v)
}

// scale8 decodes FLOAT8E8M0, which is a power of two and nothing else.
func scale8(b byte) float32 {
	if b == 0xff {
		return float32(math.NaN())
	}
	return float32(math.Ldexp(1, int(b)-127))
}

// smallInts returns the elements of a tensor of integers of four or two bits.
func (t *Tensor) smallInts() ([]int64, error) {
	codes, err := t.codes()
	if err != nil {
		return nil, err
	}
	free := 8 - t.DataType.Bits()
	out := make([]int64, len(codes))
	for i, c := range codes {
		out[i] = int64(c)
		if t.DataType == Int4 || t.DataType == Int2 {
			out[i] = int64(int8(c<<free) >> free)
		}
	}
	return out, nil
}
