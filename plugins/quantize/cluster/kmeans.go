// Package cluster stores weights as indexes into small tables of values (palettes): k-means in one dimension chooses the
// table, and a few nodes, which engines fold when they load the model, look the weights up.
package cluster

import (
	"math"
	"slices"
)

// MaxClusters is the most that an index of one byte tells apart.
const MaxClusters = 256

// exactMost bounds the points that the exact search looks at, which takes time in proportion to points times centers:
// by what a few million values take to sort, and so that small tables do not cost more than all else. Half-precision
// weights have few enough distinct values to stay below it. Beyond it neighbours are joined first, and Lloyd's method
// finishes on all values.
func exactMost(values, k int) int {
	const least, perValue, most = 2048, 64, 1 << 21
	return max(least, min(perValue*values, most)/k)
}

// points are distinct values in order, each with its weight, as sums of all up to it: of weights, weighted values and
// weighted squares, the values less their mean.
type points struct {
	v          []float64
	w0, w1, w2 []float64 // [len(v)+1]
	mean       float64
}

// Centers returns at most k values, in order, such that the sum over all values of importance times the squared distance
// to the nearest is least: exactly for up to 2048 distinct values and for more where k is small (by dynamic programming
// over the sorted ones, as Wang and Song 2011, split at the best cuts by divide and conquer), else from the best of as
// many joined ones by Lloyd's method. importance may be nil for 1; it must be finite and not negative. Where zeros are many, zero is among
// the centers: what was pruned stays pruned. Values must be finite.
func Centers(values, importance []float32, k int) []float32 {
	p := sortPoints(values, importance)
	if len(p.v) <= k {
		out := make([]float32, len(p.v))
		for i, v := range p.v {
			out[i] = float32(v + p.mean)
		}
		return out
	}
	q := p
	if most := exactMost(len(values), k); len(p.v) > most {
		q = p.join(most)
	}
	cuts := q.divide(k)
	centers := make([]float64, len(cuts))
	for i, end := range cuts {
		start := 0
		if i > 0 {
			start = cuts[i-1]
		}
		centers[i] = q.center(start, end)
	}
	if len(q.v) != len(p.v) {
		centers = p.lloyd(centers)
	}
	out := make([]float32, 0, len(centers))
	for _, c := range centers {
		if x := float32(c + p.mean); len(out) == 0 || x > out[len(out)-1] {
			out = append(out, x)
		}
	}
	keepZero(out, values)
	return out
}

// keepZero moves the center nearest to zero there if at least a tenth of the values are zero.
func keepZero(centers, values []float32) {
	n := 0
	for _, v := range values {
		if v == 0 {
			n++
		}
	}
	if n*10 < len(values) || n == 0 {
		return
	}
	best := 0
	for i, c := range centers {
		if math.Abs(float64(c)) < math.Abs(float64(centers[best])) {
			best = i
		}
	}
	centers[best] = 0
}

func sortPoints(values, importance []float32) *points {
	var mean, total float64
	p := &points{}
	if importance == nil {
		s := slices.Clone(values)
		slices.Sort(s)
		for _, v := range s {
			mean += float64(v)
		}
		p.mean = mean / float64(len(s))
		p.reserve(min(len(s), 1<<16))
		for i := 0; i < len(s); {
			j := i + 1
			for j < len(s) && s[j] == s[i] {
				j++
			}
			p.add(float64(s[i])-p.mean, float64(j-i))
			i = j
		}
		return p
	}
	type pair struct{ v, w float32 }
	s := make([]pair, len(values))
	for i, v := range values {
		s[i] = pair{v, importance[i]}
		mean += float64(v) * float64(importance[i])
		total += float64(importance[i])
	}
	if total > 0 {
		p.mean = mean / total
	}
	slices.SortFunc(s, func(a, b pair) int {
		switch {
		case a.v < b.v:
			return -1
		case a.v > b.v:
			return 1
		case a.w < b.w: // equal values in a fixed order, so that sums are the same
			return -1
		case a.w > b.w:
			return 1
		}
		return 0
	})
	p.reserve(min(len(s), 1<<16))
	for i := 0; i < len(s); {
		var w float64
		j := i
		for j < len(s) && s[j].v == s[i].v {
			w += float64(s[j].w)
			j++
		}
		// What has no importance at all still wants a center near it.
		p.add(float64(s[i].v)-p.mean, max(w, 1e-12*total/float64(len(s)), math.SmallestNonzeroFloat32))
		i = j
	}
	return p
}

func (p *points) reserve(n int) {
	p.v = make([]float64, 0, n)
	for _, s := range []*[]float64{&p.w0, &p.w1, &p.w2} {
		*s = append(make([]float64, 0, n+1), 0)
	}
}

func (p *points) add(v, w float64) {
	n := len(p.v)
	p.v = append(p.v, v)
	p.w0 = append(p.w0, p.w0[n]+w)
	p.w1 = append(p.w1, p.w1[n]+w*v)
	p.w2 = append(p.w2, p.w2[n]+w*v*v)
}

// center is the mean of points start to end-1.
func (p *points) center(start, end int) float64 {
	return (p.w1[end] - p.w1[start]) / (p.w0[end] - p.w0[start])
}

// cost is the weighted sum of squared distances of points start to end-1 to their mean.
func (p *points) cost(start, end int) float64 {
	w := p.w0[end] - p.w0[start]
	s := p.w1[end] - p.w1[start]
	return p.w2[end] - p.w2[start] - s*s/w
}

// join returns about most points in the place of many: cut both into as many parts of equal width and into as many
// of equal number, so that neither the middle nor the tails lose detail.
func (p *points) join(most int) *points {
	n := len(p.v)
	q := &points{mean: p.mean}
	q.reserve(most + 2)
	lo, width := p.v[0], (p.v[n-1]-p.v[0])/float64(most/2)
	for i := 0; i < n; {
		bin := math.Floor((p.v[i] - lo) / width)
		part := i * (most / 2) / n
		j := i + 1
		for j < n && math.Floor((p.v[j]-lo)/width) == bin && j*(most/2)/n == part {
			j++
		}
		w := p.w0[j] - p.w0[i]
		q.add(p.center(i, j), w)
		i = j
	}
	return q
}

// divide cuts the points into k runs of the least total cost and returns their ends.
func (p *points) divide(k int) []int {
	n := len(p.v)
	best, next := make([]float64, n+1), make([]float64, n+1)
	for j := 1; j <= n; j++ {
		best[j] = p.cost(0, j)
	}
	from := make([][]int32, k)
	for c := 1; c < k; c++ {
		from[c] = make([]int32, n+1)
		// The best last cut moves to the right with the end of the run, so halves need look at a part each.
		var solve func(lo, hi, cutLo, cutHi int)
		solve = func(lo, hi, cutLo, cutHi int) {
			for lo <= hi {
				mid := (lo + hi) / 2
				least, at := math.Inf(1), cutLo
				for i := cutLo; i <= min(cutHi, mid-1); i++ {
					if x := best[i] + p.cost(i, mid); x < least {
						least, at = x, i
					}
				}
				next[mid], from[c][mid] = least, int32(at)
				solve(lo, mid-1, cutLo, at)
				lo, cutLo = mid+1, at
			}
		}
		solve(c+1, n, c, n-1)
		best, next = next, best
	}
	ends := make([]int, k)
	for c, end := k-1, n; c >= 0; c-- {
		ends[c] = end
		if c > 0 {
			end = int(from[c][end])
		}
	}
	return ends
}

// lloyd moves centers to the means of what is nearest to them until nothing changes.
func (p *points) lloyd(centers []float64) []float64 {
	const rounds = 100
	for range rounds {
		moved := false
		start := 0
		for i := range centers {
			end := len(p.v)
			if i+1 < len(centers) {
				mid := (centers[i] + centers[i+1]) / 2
				end, _ = slices.BinarySearch(p.v[start:], mid)
				end += start
			}
			if end > start {
				c := p.center(start, end)
				moved = moved || c != centers[i]
				centers[i] = c
			}
			start = end
		}
		slices.Sort(centers)
		if !moved {
			break
		}
	}
	return centers
}

// Assign returns for each value the index of the nearest center; of two at equal distance the lower. Centers are in
// order.
func Assign(values, centers []float32) []uint8 {
	mids := make([]float64, max(len(centers)-1, 0))
	for i := range mids {
		mids[i] = (float64(centers[i]) + float64(centers[i+1])) / 2
	}
	out := make([]uint8, len(values))
	for i, v := range values {
		x, lo, n := float64(v), 0, len(mids)
		for n > 0 {
			half := n / 2
			if mids[lo+half] < x {
				lo += half + 1
				n -= half + 1
			} else {
				n = half
			}
		}
		out[i] = uint8(lo)
	}
	return out
}
