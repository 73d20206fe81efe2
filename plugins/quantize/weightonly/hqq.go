package weightonly

import (
	"math"
	"slices"
)

// Half-quadratic quantization (Badri and Shaji, 2023): zero points that minimize the p-norm, p = 0.7, of a block's
// error, which counts the many small errors and lets the few outliers be. No data are needed.
const (
	hqqNorm   = 0.7
	hqqBeta   = 10.0
	hqqKappa  = 1.01
	hqqRounds = 20
)

// hqq quantizes w, [n, k]. With floatZeros the zeros are real numbers; else, or where blocks are symmetric, they are
// codes, and only the scale is fitted.
func (g grid) hqq(w []float32, n, k int, floatZeros bool) *Blocks {
	b := g.empty(n, k)
	b.FloatZeros = floatZeros && !g.symmetric
	g.each(b, func(at, from, to int) {
		b.Scales[at], b.Zeros[at] = g.hqqBlock(w[from:to], b.FloatZeros)
		g.fill(b.Codes[from:to], w[from:to], b.Scales[at], b.Zeros[at])
	})
	return b
}

// hqqBlock solves the widest grid for its zero, tries narrower ones too, and keeps the best of all that it met: the
// result is never worse than rounding to nearest.
func (g grid) hqqBlock(w []float32, floatZeros bool) (scale, zero float32) {
	lo, hi := bounds(w)
	best := math.Inf(1)
	try := func(s, z float32) float64 { // the error, in the end that of the best
		e := g.pnorm(w, s, z)
		if e < best {
			best, scale, zero = e, s, z
		}
		return e
	}
	for _, shrink := range shrinks {
		try(g.fit(lo, hi, shrink))
	}
	if scale == 0 || g.symmetric {
		return scale, zero
	}
	s, z := g.fit(lo, hi, 1)
	// Between two codes no code stands for 0, and what was pruned would not stay so.
	floatZeros = floatZeros && !slices.Contains(w, 0)
	if floatZeros { // a zero that is no code need not lie within the range: the block's own bounds do
		s, z = (hi-lo)/g.top(), -lo*g.top()/(hi-lo)
		if g.store != nil {
			s, z = g.store(s), g.store(z)
		}
		if !(abs(s) >= smallestNormal) || !(abs(z) <= 1<<15) { // all elements are alike, or nearly
			return scale, zero
		}
	}
	last := try(s, z)
	for beta, round := hqqBeta, 0; round < hqqRounds; round, beta = round+1, beta*hqqKappa {
		z = g.solveZero(w, s, z, beta)
		switch {
		case !floatZeros:
			z = min(max(roundHalfAway(z), 0), g.top())
		case g.store != nil:
			z = g.store(z)
		}
		e := try(s, z)
		if e >= last {
			break
		}
		last = e
	}
	return scale, zero
}

// solveZero is one round: the error shrinks by the proximal operator of the p-norm, the zero is what is left on
// average.
func (g grid) solveZero(w []float32, scale, zero float32, beta float64) float32 {
	inv, sum := inverse(scale), 0.0
	for _, v := range w {
		c := g.code(v, inv, zero)
		e := float64(v - (float32(c)-zero)*scale)
		mag := math.Abs(e)
		shrunk := mag - math.Pow(mag+1e-8, hqqNorm-1)/beta
		if shrunk < 0 {
			shrunk = 0
		}
		sum += float64(c) - (float64(v)-math.Copysign(shrunk, e))*float64(inv)
	}
	return float32(sum / float64(len(w)))
}

// pnorm is the sum of the errors' magnitudes; it orders as the p-norm does and costs less.
func (g grid) pnorm(w []float32, scale, zero float32) float64 {
	inv, sum := inverse(scale), float32(0)
	for _, v := range w {
		sum += abs(v - (float32(g.code(v, inv, zero))-zero)*scale)
	}
	return float64(sum)
}
