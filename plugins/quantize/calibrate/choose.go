package calibrate

import (
	"math"
	"sort"
)

// choose returns the range of one tensor. h may be nil where the method needs none.
func (o Options) choose(seen, average Range, h *Histogram) Range {
	limit := max(seen.Max, -seen.Min)
	if o.Method == MovingAverage {
		return average
	}
	if !o.Method.Histograms() || h == nil || limit == 0 {
		return seen
	}
	var r Range
	switch o.Method {
	case Entropy:
		r = entropyRange(h.Rebin(o.Bins, float64(limit)), float64(limit))
	case Percentile:
		r = percentileRange(h.Rebin(o.Bins, float64(limit)), float64(limit), o.Percentile)
	default:
		return mseRange(h, seen)
	}
	return Range{max(r.Min, seen.Min), min(r.Max, seen.Max)}
}

// edge is the lower bound of bin i.
func edge(i, bins int, limit float64) float32 {
	if 2*i == bins {
		return 0
	}
	return float32(-limit + float64(i)*2*limit/float64(bins))
}

// percentileRange follows ONNX Runtime's PercentileCalibrater: the lower edges of the first bins where the share of
// values up to and with them reaches the share to cut off, and the share to keep.
func percentileRange(counts []uint64, limit, percentile float64) Range {
	var total uint64
	cumulated := make([]uint64, len(counts))
	for i, c := range counts {
		total += c
		cumulated[i] = total
	}
	cut := (100 - percentile) / 200
	at := func(share float64) float32 {
		i := sort.Search(len(counts), func(i int) bool { return float64(cumulated[i])/float64(total) >= share })
		return edge(i, len(counts), limit)
	}
	return Range{at(cut), at(1 - cut)}
}

// entropyRange follows ONNX Runtime's EntropyCalibrater: of all ranges of whole bins around zero, that whose counts,
// added up in 128 groups and spread out again, diverge least from the counts with what lies outside added to the ends.
// As there, the two are smoothed by 0.0001 for each empty bin, and groups spread over all of their bins.
func entropyRange(counts []uint64, limit float64) Range {
	bins := len(counts)
	zero, half := bins/2, quantizedBins/2
	sums := make([]uint64, bins+1)
	filled := make([]int, bins+1)
	for i, c := range counts {
		sums[i+1], filled[i+1] = sums[i]+c, filled[i]
		if c != 0 {
			filled[i+1]++
		}
	}
	best, chosen := math.Inf(1), half
	var e divergence
	for i := half; i <= zero; i++ {
		start, end := zero-i, min(zero+i+1, bins)
		if d := e.of(counts, sums, filled, start, end); d < best || i == half {
			best, chosen = d, i
		}
	}
	return Range{edge(zero-chosen, bins, limit), edge(min(zero+chosen+1, bins), bins, limit)}
}

// divergence computes that of one range after the other, in the same memory.
type divergence struct{ groups []group }

// group is one of the 128: the bins from..to, the value that each gets back.
type group struct {
	from, to int
	value    uint64
}

const smoothing = 0.0001

// of returns the divergence for the bins start to end, which is excluded; infinite where ONNX Runtime gives up.
func (d *divergence) of(counts, sums []uint64, filled []int, start, end int) float64 {
	size := end - start
	left, right := sums[start], sums[len(counts)]-sums[end]
	merged := size / quantizedBins
	first, last := counts[start]+left, counts[end-1]+right
	if size == 1 {
		first += right
		last = first
	}
	// Bins that are not empty, once what lies outside is added.
	nonzero := func(from, to int) int {
		n := filled[to] - filled[from]
		if from == start && counts[start] == 0 && first != 0 {
			n++
		}
		if to == end && from < end && counts[end-1] == 0 && last != 0 {
			n++
		}
		return n
	}
	d.groups = d.groups[:0]
	for g := range quantizedBins {
		from := start + g*merged
		to := from + merged
		sum := sums[to] - sums[from]
		if g == quantizedBins-1 {
			sum += sums[end] - sums[to]
		}
		var v uint64
		if n := nonzero(from, to); n != 0 {
			v = sum / uint64(n)
		}
		d.groups = append(d.groups, group{from, to, v})
	}
	if tail := start + quantizedBins*merged; tail < end {
		d.groups = append(d.groups, group{tail, end, 0})
	}
	pFilled := nonzero(start, end)
	qFilled, qSum := 0, 0.0
	for _, g := range d.groups {
		if g.value != 0 {
			qFilled += g.to - g.from
			qSum += float64(g.value) * float64(g.to-g.from)
		}
	}
	if pFilled == 0 || qFilled == 0 {
		return math.Inf(1)
	}
	pEps := smoothing * float64(size-pFilled) / float64(pFilled)
	qEps := smoothing * float64(size-qFilled) / float64(qFilled)
	if pEps >= 1 || qEps >= 1 {
		return math.Inf(1)
	}
	// Smoothing keeps the sums: what the empty bins get, the others lose.
	pSum := float64(sums[len(counts)])
	shift := math.Log(pSum) - math.Log(qSum)
	var total float64
	for _, g := range d.groups {
		q := smoothing
		if g.value != 0 {
			q = float64(g.value) - qEps
		}
		logq := math.Log(q) + shift
		empty := 0
		for i := g.from; i < g.to; i++ {
			c := counts[i]
			if i == start {
				c = first
			} else if i == end-1 {
				c = last
			}
			if c == 0 {
				empty++
				continue
			}
			p := float64(c) - pEps
			total += p * (math.Log(p) - logq)
		}
		total += float64(empty) * smoothing * (math.Log(smoothing) - logq)
	}
	return total / pSum
}

const (
	mseBins  = 2048
	mseSteps = 64
	mseGrid  = 255 // steps of an 8-bit grid
)

// mseRange returns the range within seen whose 8-bit grid, with zero on it, has the least squared error on the values
// of h, clipping included. Both bounds shrink together first, then each for itself, by sixty-fourths of their length.
func mseRange(h *Histogram, seen Range) Range {
	limit := float64(max(seen.Max, -seen.Min))
	counts := h.Rebin(mseBins, limit)
	var points, weights []float64
	for i, c := range counts {
		if c == 0 {
			continue
		}
		x := -limit + (float64(i)+0.5)*2*limit/mseBins
		if i == mseBins/2 && c > 2*(counts[i-1]+counts[min(i+1, mseBins-1)])+1 {
			x = 0 // zeros outweigh the rest of their bin, and have no error
		}
		points, weights = append(points, min(max(x, float64(seen.Min)), float64(seen.Max))), append(weights, float64(c))
	}
	lo, hi := float64(min(seen.Min, 0)), float64(max(seen.Max, 0))
	best := math.Inf(1)
	at := [2]int{mseSteps, mseSteps}
	try := func(a, b int) {
		if a < 1 || b < 1 || a > mseSteps || b > mseSteps {
			return
		}
		if e := gridError(points, weights, lo*float64(a)/mseSteps, hi*float64(b)/mseSteps); e < best {
			best, at = e, [2]int{a, b}
		}
	}
	for s := mseSteps; s >= 1; s-- {
		try(s, s)
	}
	for range 2 {
		from := at
		if lo < 0 && hi > 0 {
			for d := 1; d <= mseSteps; d++ {
				try(d, from[1])
			}
			from = at
			for d := 1; d <= mseSteps; d++ {
				try(from[0], d)
			}
		}
		if from == at {
			break
		}
	}
	return Range{max(seen.Min, float32(lo*float64(at[0])/mseSteps)), min(seen.Max, float32(hi*float64(at[1])/mseSteps))}
}

// gridError is the sum of squared errors on the 8-bit grid of lo to hi.
func gridError(points, weights []float64, lo, hi float64) float64 {
	step := (hi - lo) / mseGrid
	if !(step > 0) {
		return math.Inf(1)
	}
	zero := math.RoundToEven(-lo / step)
	qlo, qhi := -zero*step, (mseGrid-zero)*step
	var sum float64
	inverse := 1 / step
	for i, x := range points {
		y := min(max(x, qlo), qhi)
		y = math.Floor(y*inverse+0.5) * step
		sum += weights[i] * (x - y) * (x - y)
	}
	return sum
}
