package weightonly

import "github.com/optimize-hcl/optimize/gram/solve"

// The four-bit types of bitsandbytes (Dettmers et al., QLoRA, 2023, appendix E; FP4 as in its CUDA kernels), which
// ONNX Runtime's MatMulBnb4 multiplies with. A block is scaled by its largest magnitude, and blocks run over the whole
// weight, [N, K], row after row; the first element of a byte is in its high half.

// fourBit is such a type: the value of each code, from -1 to 1.
type fourBit struct {
	quantType int64 // the attribute of MatMulBnb4
	values    [16]float32
	code      func(x float32) uint8
}

var nf4Values = [16]float32{-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
	-0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
	0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1}

var fp4Values = [16]float32{0, 0.0052083333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25,
	0, -0.0052083333, -0.66666667, -1, -0.33333333, -0.5, -0.16666667, -0.25}

// nf4Bounds[i] is half way between the codes i and i+1.
var nf4Bounds = [15]float32{-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544,
	-0.23460740596055984, -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513,
	0.2035212516784668, 0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011}

var (
	nf4 = &fourBit{quantType: 1, values: nf4Values, code: func(x float32) uint8 {
		c, step := 0, 8
		for ; step > 0; step /= 2 { // the bounds are in order: bisect
			if x > nf4Bounds[c+step-1] {
				c += step
			}
		}
		return uint8(c)
	}}
	fp4 = &fourBit{quantType: 0, values: fp4Values, code: func(x float32) uint8 {
		var sign uint8
		if x < 0 {
			sign, x = 8, -x
		}
		switch {
		case x > 0.8333333:
			return sign | 3
		case x > 0.583333:
			return sign | 2
		case x > 0.4166667:
			return sign | 5
		case x > 0.29166667:
			return sign | 4
		case x > 0.20833333:
			return sign | 7
		case x > 0.0859375:
			return sign | 6
		case x > 0.00260417:
			return sign | 1
		}
		return sign
	}}
)

// quantize returns the packed codes and the largest magnitude of each block of size elements.
func (f *fourBit) quantize(w []float32, size, threads int) (packed []byte, absmax []float32) {
	blocks := (len(w) + size - 1) / size
	packed, absmax = make([]byte, (len(w)+1)/2), make([]float32, blocks)
	solve.Parallel(threads, blocks, 256, func(b0, b1 int) {
		for b := b0; b < b1; b++ {
			from, to := b*size, min((b+1)*size, len(w))
			var m float32
			for _, v := range w[from:to] {
				m = max(m, abs(v))
			}
			absmax[b] = m
			inv := inverse(m)
			for i := from; i < to; i += 2 {
				c := f.code(w[i]*inv) << 4
				if i+1 < to {
					c |= f.code(w[i+1] * inv)
				} else {
					c |= f.code(0)
				}
				packed[i/2] = c
			}
		}
	})
	return packed, absmax
}

// dequantize is the inverse for n elements.
func (f *fourBit) dequantize(packed []byte, absmax []float32, size, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = f.values[packed[i/2]>>(4-i%2*4)&15] * absmax[i/size]
	}
	return out
}
