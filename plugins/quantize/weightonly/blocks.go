package weightonly

import (
	"math"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// Blocks is a weight of N rows, one for each output, whose K elements become integers block by block along the row:
// w = (code - zero) * scale, with one scale and zero for each block.
type Blocks struct {
	N, K, Size int // Size elements to a block; the last block of a row may be shorter
	Bits       int // 4 or 8
	Codes      []uint8
	Scales     []float32 // [N, PerRow]
	Zeros      []float32 // [N, PerRow]; integers from 0 to 2^Bits-1 unless FloatZeros
	// Symmetric says that every zero is 2^(Bits-1), so that it need not be stored.
	Symmetric bool
	// FloatZeros says that zeros are no integers (HQQ).
	FloatZeros bool
}

// grid is how blocks are chosen.
type grid struct {
	size, bits int
	symmetric  bool
	// store rounds a scale to the type that it is stored in; nil keeps float32.
	store   func(float32) float32
	threads int
}

func (g grid) mid() float32 { return float32(int(1) << (g.bits - 1)) }
func (g grid) top() float32 { return float32(int(1)<<g.bits - 1) }

// PerRow returns the number of blocks of a row.
func (b *Blocks) PerRow() int { return (b.K + b.Size - 1) / b.Size }

func (g grid) empty(n, k int) *Blocks {
	per := (k + g.size - 1) / g.size
	return &Blocks{N: n, K: k, Size: g.size, Bits: g.bits, Symmetric: g.symmetric,
		Codes: make([]uint8, n*k), Scales: make([]float32, n*per), Zeros: make([]float32, n*per)}
}

// fit chooses scale and zero of a block from its bounds, with shrink times its range. The formulas are those of
// onnxruntime.quantization's MatMulNBits quantizer: symmetric blocks give the bound of larger magnitude the code 0,
// of which there is one more than above the middle; asymmetric ones hold zero exactly.
func (g grid) fit(lo, hi, shrink float32) (scale, zero float32) {
	if g.symmetric {
		bound := lo
		if abs(hi) > abs(lo) {
			bound = hi
		}
		scale, zero = bound*shrink/-g.mid(), g.mid()
	} else {
		lo, hi = min(lo, 0)*shrink, max(hi, 0)*shrink
		scale = (hi - lo) / g.top()
		if scale != 0 {
			zero = min(max(roundHalfAway(-lo/scale), 0), g.top())
		}
	}
	if g.store != nil {
		scale = g.store(scale)
	}
	if abs(scale) < smallestNormal { // a dead block: every code stands for 0
		return 0, g.mid()
	}
	return scale, zero
}

// smallestNormal is the smallest positive float32 that engines do not flush to zero.
const smallestNormal = 0x1p-126

// code rounds one element.
func (g grid) code(w, inverse, zero float32) uint8 {
	return uint8(min(max(roundHalfAway(w*inverse+zero), 0), g.top()))
}

func inverse(scale float32) float32 {
	if scale == 0 {
		return 0
	}
	return 1 / scale
}

// fill rounds the elements of one block to codes.
func (g grid) fill(codes []uint8, w []float32, scale, zero float32) {
	inv := inverse(scale)
	for i, v := range w {
		codes[i] = g.code(v, inv, zero)
	}
}

// nearest quantizes w, [n, k], by rounding to the nearest code (RTN).
func (g grid) nearest(w []float32, n, k int) *Blocks {
	b := g.empty(n, k)
	g.each(b, func(at, from, to int) {
		lo, hi := bounds(w[from:to])
		b.Scales[at], b.Zeros[at] = g.fit(lo, hi, 1)
		g.fill(b.Codes[from:to], w[from:to], b.Scales[at], b.Zeros[at])
	})
	return b
}

// shrinks are the parts of a block's range that refined tries: cutting off the extremes makes the steps finer.
var shrinks = []float32{1, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.79}

// refine chooses scale and zero of one block for the smallest squared error, each element weighted by importance
// (nil: all alike).
func (g grid) refine(w, importance []float32) (scale, zero float32) {
	lo, hi := bounds(w)
	best := math.Inf(1)
	for _, s := range shrinks {
		sc, z := g.fit(lo, hi, s)
		inv, e := inverse(sc), 0.0
		for i, v := range w {
			d := v - (float32(g.code(v, inv, z))-z)*sc
			if importance != nil {
				e += float64(d * d * importance[i])
			} else {
				e += float64(d * d)
			}
		}
		if e < best {
			best, scale, zero = e, sc, z
		}
	}
	return scale, zero
}

// refined is nearest with ranges that refine chose; importance has k elements.
func (g grid) refined(w []float32, n, k int, importance []float32) *Blocks {
	b := g.empty(n, k)
	g.each(b, func(at, from, to int) {
		var imp []float32
		if importance != nil {
			imp = importance[from%k : from%k+to-from]
		}
		b.Scales[at], b.Zeros[at] = g.refine(w[from:to], imp)
		g.fill(b.Codes[from:to], w[from:to], b.Scales[at], b.Zeros[at])
	})
	return b
}

// each calls f for every block with its number and the range of its elements, on several threads.
func (g grid) each(b *Blocks, f func(at, from, to int)) {
	per := b.PerRow()
	solve.Parallel(g.threads, b.N, max(1, 1<<14/max(b.K, 1)), func(n0, n1 int) {
		for n := n0; n < n1; n++ {
			for i := range per {
				f(n*per+i, n*b.K+i*b.Size, n*b.K+min((i+1)*b.Size, b.K))
			}
		}
	})
}

// Dequantize returns what the codes stand for, [N, K].
func (b *Blocks) Dequantize(threads int) []float32 {
	out := make([]float32, len(b.Codes))
	grid{threads: threads}.each(b, func(at, from, to int) {
		s, z := b.Scales[at], b.Zeros[at]
		for i := from; i < to; i++ {
			out[i] = (float32(b.Codes[i]) - z) * s
		}
	})
	return out
}

func bounds(w []float32) (lo, hi float32) {
	if len(w) == 0 {
		return 0, 0
	}
	lo, hi = w[0], w[0]
	for _, v := range w[1:] {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// roundHalfAway rounds to the nearest whole number, ties away from zero. Its argument is small.
func roundHalfAway(x float32) float32 {
	if x < 0 {
		return float32(int32(x - 0.5))
	}
	return float32(int32(x + 0.5))
}
