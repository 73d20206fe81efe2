package weights

import (
	"math"
	"math/bits"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

// pack puts numbers of few bits side by side, the lowest bit of a byte first.
func pack(in []byte, width int) []byte {
	if width == 8 {
		return in
	}
	out := make([]byte, (len(in)*width+7)/8)
	keep := uint64(1)<<width - 1
	eights(len(in), func(from, to int) {
		// Eight numbers are width bytes.
		for i := from; i < to; i += 8 {
			var w uint64
			for j, b := range in[i:min(i+8, to)] {
				w |= (uint64(b) & keep) << (j * width)
			}
			o := out[i/8*width : min((i/8+1)*width, len(out))]
			for j := range o {
				o[j] = byte(w >> (8 * j))
			}
		}
	})
	return out
}

// bitsFor is how many bits an index takes into a table of n values, of the widths that Core ML has.
func bitsFor(n, opset int) int {
	b := max(1, bits.Len(uint(n-1)))
	switch {
	case b == 3 && opset < 8:
		return 4
	case b == 5:
		return 6
	case b == 7:
		return 8
	}
	return b
}

// unsigned is the type of numbers of so many bits.
func unsigned(width int) mil.DataType {
	return map[int]mil.DataType{1: mil.Uint1, 2: mil.Uint2, 3: mil.Uint3, 4: mil.Uint4, 6: mil.Uint6, 8: mil.Uint8}[width]
}

// countKept counts the elements that are not zero.
func countKept[T word](v []T) int {
	k := max(1, len(v)/share)
	counts := make([]int, k)
	parts(k, share, func(from, to int) bool {
		for p := from; p < to; p++ {
			n := 0
			for _, x := range v[p*len(v)/k : (p+1)*len(v)/k] {
				if x+x != 0 {
					n++
				}
			}
			counts[p] = n
		}
		return true
	})
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// maskOf has a bit for each element, the lowest of a byte first: 1 where it is not zero.
func maskOf[T word](v []T) []byte {
	out := make([]byte, (len(v)+7)/8)
	eights(len(v), func(from, to int) {
		for i := from; i < to; i += 8 {
			var m byte
			for j, x := range v[i:min(i+8, to)] {
				if x+x != 0 {
					m |= 1 << j
				}
			}
			out[i/8] = m
		}
	})
	return out
}

// keptOf picks the elements whose bit is set; n is how many there are.
func keptOf[T any](v []T, mask []byte, n int) []T {
	out := make([]T, 0, n)
	for i, m := range mask {
		for ; m != 0; m &= m - 1 {
			out = append(out, v[i*8+bits.TrailingZeros8(m)])
		}
	}
	return out
}

// view are bytes as the numbers that they are.
func view[T word](d tensor.DType, b []byte) []T {
	v, err := tensor.View[T](tensor.Tensor{DType: d, Shape: []int64{int64(len(b)) / int64(d.Bits()/8)}, Data: b})
	if err != nil {
		panic(err) // the bytes were numbers of this size
	}
	return v
}

// rawOf are the bytes of numbers, without a copy.
func rawOf[T tensor.Number](v []T) []byte { return tensor.Of([]int64{int64(len(v))}, v).Data }

// allHalf tells whether half precision holds each element as it is.
func allHalf(f []float32) bool {
	return parts(len(f), 1, func(from, to int) bool {
		for _, v := range f[from:to] {
			if math.Float32bits(tensor.F16ToFloat32(tensor.Float32ToF16(v))) != math.Float32bits(v) {
				return false
			}
		}
		return true
	})
}
