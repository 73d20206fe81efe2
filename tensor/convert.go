package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
)

// ToFloat32 returns the elements as float32, row-major. A float32 tensor is
// returned as a view (do not write to it); everything else is converted: Bool to 0
// and 1, integers to the nearest float32, F64 rounded to nearest.
func ToFloat32(t Tensor) ([]float32, error) {
	if t.DType == F32 {
		return View[float32](t)
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	out := room[float32](int(t.Elements())) // every case below writes all of it
	b := t.Data
	switch t.DType {
	case Bool:
		each(b, out, func(v uint8) float32 { return float32(min(v, 1)) })
	case U8:
		each(b, out, func(v uint8) float32 { return float32(v) })
	case I8:
		each(b, out, func(v uint8) float32 { return float32(int8(v)) })
	case U16:
		return out, numbers[uint16](t, out)
	case I16:
		return out, numbers[int16](t, out)
	case U32:
		return out, numbers[uint32](t, out)
	case I32:
		return out, numbers[int32](t, out)
	case U64:
		return out, numbers[uint64](t, out)
	case I64:
		return out, numbers[int64](t, out)
	case F64:
		return out, numbers[float64](t, out)
	case F16, BF16:
		v, err := View[uint16](Tensor{U16, t.Shape, b})
		if err != nil {
			return nil, err
		}
		split(len(v), func(from, to int) {
			part, o := v[from:to], out[from:to]
			o = o[:len(part)]
			if t.DType == BF16 {
				for i, h := range part {
					o[i] = BF16ToFloat32(h)
				}
				return
			}
			widenHalves(o, b[2*from:2*to])
		})
	case U4:
		for i := range out {
			out[i] = float32(b[i/2] >> (4 * (i & 1)) & 15)
		}
	case I4:
		for i := range out {
			// Shift the nibble to the top and back, so that its sign spreads.
			out[i] = float32(int8(b[i/2]>>(4*(i&1))<<4) >> 4)
		}
	case F8E4M3, F8E5M2:
		table := &fp8Tables().e4m3
		if t.DType == F8E5M2 {
			table = &fp8Tables().e5m2
		}
		each(b, out, func(v uint8) float32 { return table[v] })
	default:
		return nil, fmt.Errorf("%s cannot be converted to float32", t.DType)
	}
	return out, nil
}

// each looks all 256 bytes up, so that one loop serves every type of a byte.
func each(b []byte, out []float32, of func(uint8) float32) {
	var table [256]float32
	for i := range table {
		table[i] = of(uint8(i))
	}
	split(len(b), func(from, to int) {
		part, o := b[from:to], out[from:to]
		o = o[:len(part)]
		for i, v := range part {
			o[i] = table[v]
		}
	})
}

// numbers converts elements of a type that Go has.
func numbers[T Number](t Tensor, out []float32) error {
	v, err := View[T](t)
	if err != nil {
		return err
	}
	split(len(v), func(from, to int) {
		part, o := v[from:to], out[from:to]
		o = o[:len(part)]
		for i, x := range part {
			o[i] = float32(x)
		}
	})
	return nil
}

// FromFloat32 converts data to a floating-point type: F16 and BF16 are rounded to
// nearest, ties to even. The result has its own bytes except for F32.
func FromFloat32(d DType, shape []int64, data []float32) (Tensor, error) {
	n, err := Elements(shape)
	if err != nil {
		return Tensor{}, err
	}
	if n != int64(len(data)) {
		return Tensor{}, fmt.Errorf("shape %v has %d elements, but there are %d", shape, n, len(data))
	}
	switch d {
	case F32:
		return Of(shape, data), nil
	case F16, BF16:
		h := room[uint16](len(data))
		split(len(data), func(from, to int) {
			part, o := data[from:to], h[from:to]
			o = o[:len(part)]
			if d == BF16 {
				narrowToBrain(o, part)
				return
			}
			for i, v := range part {
				// What is neither tiny nor large, which nearly everything is, without a call.
				bits := math.Float32bits(v)
				if abs := bits & 0x7fffffff; abs-0x38800000 < 0x477ff000-0x38800000 {
					r := abs - 112<<23
					o[i] = uint16(bits>>16&0x8000 | (r+0xfff+r>>13&1)>>13)
				} else {
					o[i] = Float32ToF16(v)
				}
			}
		})
		return Tensor{DType: d, Shape: shape, Data: bytesOf(h)}, nil
	case F64:
		f := room[float64](len(data))
		split(len(data), func(from, to int) {
			part, o := data[from:to], f[from:to]
			o = o[:len(part)]
			for i, v := range part {
				o[i] = float64(v)
			}
		})
		return Tensor{DType: d, Shape: shape, Data: bytesOf(f)}, nil
	}
	return Tensor{}, fmt.Errorf("float32 cannot be converted to %s: F16, BF16, F32 and F64 are supported", d)
}

// F16ToFloat32 widens an IEEE half given as its bits; it is exact.
func F16ToFloat32(h uint16) float32 {
	// The exponent's bias is 112 less: a product with 2^112 makes up for it, for subnormal halves too.
	abs := uint32(h&0x7fff) << 13
	bits := math.Float32bits(math.Float32frombits(abs) * 0x1p112)
	if abs >= 0x7c00<<13 { // infinity or NaN
		bits |= 0x7f800000
	}
	return math.Float32frombits(bits | uint32(h&0x8000)<<16)
}

// widenHalves is [F16ToFloat32] of many, four at a time, each pair in the two halves of a word. Of a normal half, which
// nearly every one is, only the exponent's bias changes.
func widenHalves(out []float32, b []byte) {
	const each = 1<<32 + 1
	pair := func(x uint64) (uint64, bool) {
		x = x&0xffff | x<<16&(0xffff<<32)
		abs := x & (0x7fff * each)
		normal := ((abs|0x8000*each)-0x400*each)&^(abs+0x400*each)&(0x8000*each) == 0x8000*each
		return x&(0x8000*each)<<16 | abs<<13 + 112<<23*each, normal
	}
	dst := bytesOf(out)
	for ; len(b) >= 8 && len(dst) >= 16; b, dst = b[8:], dst[16:] {
		v := binary.LittleEndian.Uint64(b)
		low, ok := pair(v)
		high, too := pair(v >> 32)
		if !ok || !too {
			for i := range 4 {
				binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(F16ToFloat32(binary.LittleEndian.Uint16(b[2*i:]))))
			}
			continue
		}
		binary.LittleEndian.PutUint64(dst, low)
		binary.LittleEndian.PutUint64(dst[8:], high)
	}
	for ; len(b) >= 2; b, dst = b[2:], dst[4:] {
		binary.LittleEndian.PutUint32(dst, math.Float32bits(F16ToFloat32(binary.LittleEndian.Uint16(b))))
	}
}

// narrowToBrain is [Float32ToBF16] of many, four at a time, each pair in the two halves of a word.
func narrowToBrain(out []uint16, in []float32) {
	const each = 1<<32 + 1
	pair := func(x uint64) (uint64, bool) {
		// Nothing carries over from one to the other, unless an exponent is that of infinity or NaN.
		exponents := x & (0x7f800000 * each)
		special := (exponents+0x00800000*each)&(0x80000000*each) != 0
		x += 0x7fff*each + x>>16&each
		return x>>16&0xffff | x>>32&0xffff0000, !special
	}
	src, dst := bytesOf(in), bytesOf(out)
	for ; len(src) >= 16 && len(dst) >= 8; src, dst, in = src[16:], dst[8:], in[4:] {
		low, ok := pair(binary.LittleEndian.Uint64(src))
		high, too := pair(binary.LittleEndian.Uint64(src[8:]))
		if !ok || !too {
			for i, v := range in[:4] {
				binary.LittleEndian.PutUint16(dst[2*i:], Float32ToBF16(v))
			}
			continue
		}
		binary.LittleEndian.PutUint64(dst, low|high<<32)
	}
	for i, v := range in {
		binary.LittleEndian.PutUint16(dst[2*i:], Float32ToBF16(v))
	}
}

// Float32ToF16 rounds to the nearest half, ties to even; beyond 65504 it becomes
// infinity, and a NaN stays a NaN.
func Float32ToF16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	abs := bits & 0x7fffffff
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00 | uint16(abs>>13&0x3ff)
	case abs >= 0x477ff000: // 65520 and more rounds to infinity
		return sign | 0x7c00
	case abs >= 0x38800000: // normal: rebias, then round on the 13 bits dropped
		r := abs - 112<<23
		r += 0xfff + r>>13&1
		return sign | uint16(r>>13)
	case abs <= 0x33000000: // 2^-25 and less rounds to zero
		return sign
	}
	// Subnormal: count units of 2^-24.
	exp := abs >> 23
	man := abs&0x7fffff | 0x800000
	shift := 126 - exp
	half := uint32(1) << (shift - 1)
	r := man >> shift
	rest := man & (1<<shift - 1)
	if rest > half || rest == half && r&1 == 1 {
		r++
	}
	return sign | uint16(r)
}

// BF16ToFloat32 widens a bfloat16 given as its bits; it is exact.
func BF16ToFloat32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// Float32ToBF16 rounds to the nearest bfloat16, ties to even; a NaN stays a NaN.
func Float32ToBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

type fp8 struct{ e4m3, e5m2 [256]float32 }

// fp8Tables holds all 256 values of either 8-bit float; made once, when first needed.
var fp8Tables = sync.OnceValue(func() *fp8 {
	var t fp8
	for i := range 256 {
		// E5M2 is the upper byte of a half.
		t.e5m2[i] = F16ToFloat32(uint16(i) << 8)
		exp, man := i>>3&15, i&7
		v := math.Ldexp(float64(man), -9)
		if exp > 0 {
			v = math.Ldexp(float64(8+man), exp-10)
		}
		if exp == 15 && man == 7 { // the only NaN; there is no infinity
			v = math.NaN()
		}
		if i >= 128 {
			v = math.Copysign(v, -1)
		}
		t.e4m3[i] = float32(v)
	}
	return &t
})
