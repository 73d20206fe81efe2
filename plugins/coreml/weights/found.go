package weights

import (
	"github.com/optimize-hcl/optimize/tensor"
	"math"
	"slices"
)

// findSteps looks for integers in floats: a weight each of whose elements is a scale times an integer of at most 8 bits, to
// the last bit, is what some tool made of a quantized one. One scale for all, for each place of the first axis, and for each
// of the second are looked for. Nil where there are none.
func findSteps(shape []int64, f []float32) *Steps {
	w := view[uint32](tensor.U32, rawOf(f))
	if s := stepsOf(shape, f, w, groupsOf(shape, 0, 1)); s != nil {
		return s
	}
	for axis := range min(len(shape), 2) {
		if shape[axis] > 1 {
			if s := stepsOf(shape, f, w, groupsOf(shape, axis, shape[axis])); s != nil {
				return s
			}
		}
	}
	return nil
}

// stepsOf looks for integers with one scale for each group.
func stepsOf(shape []int64, f []float32, w []uint32, g groups) *Steps {
	if s := first(w, g, true); s == nil || scaleOf(s.vals) == 0 && len(s.vals) > 0 {
		return nil
	}
	sets := census(w, g, true)
	if sets == nil {
		return nil
	}
	out := &Steps{Shape: shape, Bits: 8, ScaleShape: slices.Repeat([]int64{1}, len(shape)), Q: make([]byte, len(f)),
		Scale: make([]float32, len(sets)), Zero: make([]int16, len(sets))}
	out.ScaleShape[g.axis] = g.count
	signed := true
	low := make([]int, len(sets))
	for i, s := range sets {
		if len(s.vals) == 0 {
			out.Scale[i] = 1
			continue
		}
		out.Scale[i] = scaleOf(s.vals)
		if out.Scale[i] == 0 {
			return nil
		}
		high := 0
		for _, v := range s.vals {
			q := int(math.Round(float64(math.Float32frombits(v)) / float64(out.Scale[i])))
			low[i], high = min(low[i], q), max(high, q)
		}
		if high-low[i] > 255 {
			return nil
		}
		signed = signed && low[i] >= -128 && high <= 127
	}
	out.Signed = signed
	if signed {
		out.Zero = nil
	} else {
		for i, l := range low {
			out.Zero[i] = int16(-l)
		}
	}
	runs := int(int64(len(f)) / g.run)
	parts(runs, int(g.run), func(from, to int) bool {
		for r := from; r < to; r++ {
			k := r % len(sets)
			zero := 0
			if !signed {
				zero = int(out.Zero[k])
			}
			scale := float64(out.Scale[k])
			o := out.Q[r*int(g.run) : (r+1)*int(g.run)]
			for i, v := range f[r*int(g.run) : (r+1)*int(g.run)] {
				o[i] = byte(int(math.Round(float64(v)/scale)) + zero)
			}
		}
		return true
	})
	return out
}

// scaleOf is the scale by which floats (as bits, none of them 0) are integers of at most 8 bits and a sign; 0 where there is
// none.
func scaleOf(bits []uint32) float32 {
	abs := make([]float64, 0, len(bits)+1)
	abs = append(abs, 0)
	for _, b := range bits {
		v := math.Abs(float64(math.Float32frombits(b)))
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return 0
		}
		abs = append(abs, v)
	}
	slices.Sort(abs)
	largest := abs[len(abs)-1]
	gap := largest
	for i := range abs[1:] {
		// Floats of one integer with two signs are equal; what is nearer than rounding can tell apart is not two integers.
		if d := abs[i+1] - abs[i]; d > largest*0x1p-16 {
			gap = min(gap, d)
		} else if d > 0 {
			return 0
		}
	}
	count := math.Round(largest / gap)
	if count > 255 {
		return 0
	}
	// The gap is a scale where two integers are neighbours, else some times it: fewer integers would not be told apart.
	for times := 1.0; times <= 4 && count*times <= 255; times++ {
		n := float32(count * times)
		s := float32(largest) / n
		for _, try := range []float32{s, math.Nextafter32(s, 0), math.Nextafter32(s, math.MaxFloat32)} {
			if try > 0 && allSteps(bits, try) {
				return try
			}
		}
	}
	return 0
}

// allSteps tells whether each float is the scale times an integer, as single precision multiplies.
func allSteps(bits []uint32, scale float32) bool {
	for _, b := range bits {
		v := math.Float32frombits(b)
		if q := float32(math.Round(float64(v) / float64(scale))); q*scale != v {
			return false
		}
	}
	return true
}
