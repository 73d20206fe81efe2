package calibrate

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// vectors tells whether the CPU has what the loops in count_amd64.s are written in; tests turn it off.
var vectors = cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)

// boundsAVX2 returns the smallest and largest of v[:n] and a number that is 0 when all of them are finite and none when
// one is not: then the other two mean nothing. n is a multiple of 32, not 0.
//
//go:noescape
func boundsAVX2(v *float32, n int) (lo, hi, odd float32)

// countAVX2 does for v[:n] what addGo does; n is a multiple of 8, not 0. Zeros are counted in the 8 counts behind
// counts[mask]: most values of a tensor may be zeros, and each increment of one count waits for that before.
//
//go:noescape
func countAVX2(v *float32, n int, inverse float32, half int32, mask uint32, counts *uint64)

// boundsVectors is boundsAVX2 for as many of v as it takes; done is how many those are.
func boundsVectors(v []float32) (lo, hi, odd float32, done int) {
	if done = len(v) &^ 31; !vectors || done == 0 {
		return 0, 0, 0, 0
	}
	lo, hi, odd = boundsAVX2(unsafe.SliceData(v), done)
	return lo, hi, odd, done
}

// addVectors counts as many of v as countAVX2 takes and returns their number.
func (h *Histogram) addVectors(v []float32, inverse float32) int {
	n := len(v) &^ 7
	if !vectors || n == 0 || cap(h.counts) < len(h.counts)+lanes {
		return 0
	}
	countAVX2(unsafe.SliceData(v), n, inverse, int32(h.half()), uint32(len(h.counts)-1), unsafe.SliceData(h.counts))
	extra := h.counts[len(h.counts) : len(h.counts)+lanes]
	for i, c := range extra {
		h.counts[h.half()] += c
		extra[i] = 0
	}
	return n
}
