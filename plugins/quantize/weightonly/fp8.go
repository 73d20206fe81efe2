package weightonly

import (
	"math"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// maxE4M3 is the largest number of the OCP 8-bit float E4M3 (the FN kind, without infinities).
const maxE4M3 = 448

// toE4M3 rounds to the nearest E4M3, ties to even; beyond 448 it saturates. x is finite.
func toE4M3(x float32) uint8 {
	b := math.Float32bits(x)
	sign := uint8(b >> 24 & 0x80)
	a := abs(x)
	switch {
	case a >= maxE4M3:
		return sign | 0x7e
	case a < 0x1p-6: // subnormal: multiples of 2^-9
		return sign | uint8(math.RoundToEven(float64(a)*0x1p9))
	}
	b &= 1<<31 - 1
	b += 1<<19 - 1 + b>>20&1 // keep 3 bits of the fraction; a carry raises the exponent as it should
	e := int(b>>23) - 127 + 7
	return sign | uint8(e<<3) | uint8(b>>20&7)
}

// fromE4M3 decodes; the codes 0x7f and 0xff are NaN.
func fromE4M3(c uint8) float32 {
	e, m := int(c>>3&15), float64(c&7)
	v := math.Ldexp(m, -9)
	if e > 0 {
		v = math.Ldexp(8+m, e-10)
	}
	if e == 15 && m == 7 {
		v = math.NaN()
	}
	if c&0x80 != 0 {
		v = -v
	}
	return float32(v)
}

// fp8Rows scales each row of w, [n, k], so that its largest magnitude is 448, and rounds to E4M3.
func fp8Rows(w []float32, n, k, threads int, store func(float32) float32) (codes []uint8, scales []float32) {
	codes, scales = make([]uint8, len(w)), make([]float32, n)
	solve.Parallel(threads, n, max(1, 1<<14/max(k, 1)), func(n0, n1 int) {
		for r := n0; r < n1; r++ {
			row := w[r*k : (r+1)*k]
			var m float32
			for _, v := range row {
				m = max(m, abs(v))
			}
			s := m / maxE4M3
			if store != nil {
				s = store(s)
			}
			if s < smallestNormal {
				s = 1
			}
			scales[r] = s
			for i, v := range row {
				codes[r*k+i] = toE4M3(v / s)
			}
		}
	})
	return codes, scales
}
