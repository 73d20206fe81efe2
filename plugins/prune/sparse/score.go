package sparse

import (
	"math"
	"slices"
)

// Magnitude scores weights by their squares.
func Magnitude(w []float32) []float32 {
	out := make([]float32, len(w))
	for i, v := range w {
		out[i] = v * v
	}
	return out
}

// Wanda scores the weights of one group, [n, k], by the squares of weight times norm of its input over the calibration
// data (Sun et al., 2023). h is the sum of x*x^T, [k, k].
func Wanda(w, h []float32, n, k int) []float32 {
	out := make([]float32, len(w))
	for o := range n {
		for i := range k {
			v := w[o*k+i]
			out[o*k+i] = v * v * max(h[i*k+i], 0)
		}
	}
	return out
}

// LAMP scores the weights of a layer by their squares over the sum of the squares of those that are not smaller (Lee et
// al., 2021), which makes the scores of layers comparable: the last weight of a layer always scores 1.
func LAMP(w []float32) []float32 {
	order := make([]uint64, len(w))
	for i, v := range w {
		order[i] = uint64(math.Float32bits(v*v))<<32 | uint64(uint32(i))
	}
	slices.Sort(order)
	out := make([]float32, len(w))
	var sum float64
	for i := len(order) - 1; i >= 0; i-- {
		at := uint32(order[i])
		s := float64(w[at]) * float64(w[at])
		if sum += s; sum > 0 {
			out[at] = float32(s / sum)
		}
	}
	return out
}

// Apply writes zeros where the mask says and returns how many weights are zero now.
func Apply(w []float32, mask []bool) (zeros int64) {
	for i, m := range mask {
		if m {
			w[i] = 0
		}
		if w[i] == 0 {
			zeros++
		}
	}
	return zeros
}
