package smooth

import "math"

// NewStats returns what nothing was measured of yet, of k channels.
func NewStats(k int) *Stats {
	s := &Stats{Min: make([]float64, k), Max: make([]float64, k), Square: make([]float64, k)}
	for i := range k {
		s.Min[i], s.Max[i] = math.Inf(1), math.Inf(-1)
	}
	return s
}

// Add folds rows of one number for each channel; false when one is not finite.
func (s *Stats) Add(x []float32) bool {
	k := len(s.Square)
	for ; len(x) >= k && k > 0; x = x[k:] {
		lo, hi, square := s.Min[:k], s.Max[:k], s.Square[:k]
		for i, v := range x[:k] {
			f := float64(v)
			if f < lo[i] {
				lo[i] = f
			}
			if f > hi[i] {
				hi[i] = f
			}
			square[i] += f * f
		}
		s.Rows++
	}
	for _, v := range s.Square {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
