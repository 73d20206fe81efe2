package calibrate

import (
	"math"
	"math/bits"
	"slices"
)

// Histogram counts values on a grid of powers of two: bin i, from 0 on, holds those from i*2^Exponent on, and less than
// (i+1)*2^Exponent; bin -1-i holds the negative values of such a magnitude. When a value lies outside of the grid, its
// width is doubled until it does not, and neighbours are added up, two and two. A bin of the wider grid is just the
// union of bins of the narrower one, so the counts are what they would be on the wider grid from the start; and the
// width depends on the largest magnitude only. So the order of the values does not matter.
type Histogram struct {
	// Exponent of the width of a bin.
	Exponent int
	// counts of the bins from from on. While values are added these are -half to half-1, where half is a power of two.
	counts []uint64
	from   int
}

const (
	// minExponent is where a grid begins: 2^126 is the largest power of two whose inverse is a normal float32.
	minExponent = -126
	// tensorHalf and channelHalf are the bins on each side, of the histogram of a tensor and of one of its channels. The
	// used part is more than half of it.
	tensorHalf  = 1 << 14
	channelHalf = 1 << 11
)

// lanes is how many counts lie behind those of a histogram that is added to, for loops that use them (count_amd64.s).
// They are zero in between.
const lanes = 8

func newHistogram(half int) *Histogram {
	return &Histogram{Exponent: minExponent, counts: make([]uint64, 2*half, 2*half+lanes), from: -half}
}

// histogramBytes is what a histogram takes.
func histogramBytes(half int) int64 { return int64(half) * 2 * 8 }

func (h *Histogram) half() int { return len(h.counts) / 2 }

// cover widens the grid until values of magnitude a fit. a is finite and not negative.
func (h *Histogram) cover(a float32) {
	if a == 0 {
		return
	}
	// a < 2^e, and the grid ends at half*2^Exponent.
	_, e := math.Frexp(float64(a))
	h.widen(e - bits.TrailingZeros(uint(h.half())))
}

// widen makes bins 2^exponent wide, if they are narrower.
func (h *Histogram) widen(exponent int) {
	shift := exponent - h.Exponent
	if shift <= 0 {
		return
	}
	h.Exponent = exponent
	shift = min(shift, bits.Len(uint(h.half())))
	half := h.half()
	for i := 1; i < half; i++ {
		if n := h.counts[half+i]; n != 0 {
			h.counts[half+i] = 0
			h.counts[half+i>>shift] += n
		}
		if n := h.counts[half-1-i]; n != 0 {
			h.counts[half-1-i] = 0
			h.counts[half-1-i>>shift] += n
		}
	}
}

// add counts values, all of which are finite and within seen.
func (h *Histogram) add(v []float32, seen Range) {
	h.cover(max(seen.Max, -seen.Min))
	inverse := float32(math.Ldexp(1, -h.Exponent))
	h.addGo(v[h.addVectors(v, inverse):], inverse)
}

// addGo counts values on the grid as it is.
func (h *Histogram) addGo(v []float32, inverse float32) {
	half := int32(h.half())
	counts := h.counts
	mask := uint32(len(counts) - 1)
	for _, x := range v {
		// Adding 0 makes a positive zero of a negative one. The product is exact, unless it is far less than a bin; then
		// it has the sign still, which alone counts.
		y := (x + 0) * inverse
		i := int32(y) + int32(math.Float32bits(y))>>31 + half
		counts[uint32(i)&mask]++
	}
}

// Total is the number of values counted.
func (h *Histogram) Total() uint64 {
	var n uint64
	for _, c := range h.counts {
		n += c
	}
	return n
}

// bounds are the first bin that holds something and the one after the last, and false when none does.
func (h *Histogram) bounds() (first, end int, ok bool) {
	first, end = 0, len(h.counts)
	for first < end && h.counts[first] == 0 {
		first++
	}
	for end > first && h.counts[end-1] == 0 {
		end--
	}
	return first + h.from, end + h.from, first < end
}

// count is that of bin i, which is among those kept.
func (h *Histogram) count(i int) uint64 { return h.counts[i-h.from] }

// trimmed is a histogram of the same values that cannot be added to, without the empty bins at both ends.
func (h *Histogram) trimmed() *Histogram {
	first, end, ok := h.bounds()
	if !ok {
		return &Histogram{Exponent: h.Exponent}
	}
	return &Histogram{Exponent: h.Exponent, counts: slices.Clone(h.counts[first-h.from : end-h.from]), from: first}
}

// Rebin returns the counts in equal bins from -limit to limit, with all values in them. limit must not be less than the
// largest absolute value. Where an edge cuts a bin of the grid, its values count as evenly spread over it; the
// rounded sums up to each edge differ, so that no value gets lost.
func (h *Histogram) Rebin(bins int, limit float64) []uint64 {
	out := make([]uint64, bins)
	first, end, ok := h.bounds()
	if !ok || !(limit > 0) {
		if ok {
			out[bins/2] = h.Total()
		}
		return out
	}
	scale := math.Ldexp(1, h.Exponent)
	width := 2 * limit / float64(bins)
	k, before, given := 0, uint64(0), uint64(0)
	for i := first; i < end; i++ {
		c := h.count(i)
		if c == 0 {
			continue
		}
		lo := max(float64(i)*scale, -limit)
		hi := min(float64(i+1)*scale, limit)
		for k < bins-1 {
			edge := -limit + float64(k+1)*width
			if k+1 == bins/2 && bins%2 == 0 {
				edge = 0 // exactly: the grid has an edge there, and most values of a tensor may be zeros
			}
			if edge >= hi {
				break
			}
			upto := before
			if edge > lo {
				upto += uint64(math.RoundToEven(float64(c) * (edge - lo) / (hi - lo)))
			}
			if upto > given {
				out[k] += upto - given
				given = upto
			}
			k++
		}
		before += c
		out[k] += before - given
		given = before
	}
	return out
}
