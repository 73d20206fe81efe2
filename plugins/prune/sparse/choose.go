package sparse

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// Choice says how many weights become zero, and among which they compete.
type Choice struct {
	Pattern  Pattern
	Sparsity float64 // the share that becomes zero; a fixed pattern has its own
	// PerOutput lets the weights of each output compete among themselves only, not with those of the whole layer.
	PerOutput bool
	// Segment is how many inputs lie side by side at one place of a kernel: fixed patterns do not reach over its end.
	Segment int
	Threads int
}

// Mask is true where a weight becomes zero, [n, k], by scores that are not negative: the smallest go.
func (c Choice) Mask(scores []float32, n, k int) []bool {
	mask := make([]bool, n*k)
	switch {
	case c.Pattern.Fixed():
		solve.Parallel(c.Threads, n, max(1, 1<<14/k), func(from, to int) {
			var order []int
			for o := from; o < to; o++ {
				for s := 0; s < k; s += c.Segment {
					for at := s; at < s+c.Segment; at += c.Pattern.Of {
						end := min(at+c.Pattern.Of, s+c.Segment)
						order = smallest(scores[o*k+at:o*k+end], c.Pattern.Keep, order)
						for _, i := range order {
							mask[o*k+at+i] = true
						}
					}
				}
			}
		})
	case c.Pattern.Blocks():
		b := blocksOf(scores, n, k, c.Pattern)
		t := Select([][]float32{b.scores}, share(c.Sparsity, len(b.scores)))
		for i, s := range b.scores {
			if t.Takes(s) {
				b.each(i, func(at int) { mask[at] = true })
			}
		}
	case c.PerOutput:
		solve.Parallel(c.Threads, n, max(1, 1<<14/k), func(from, to int) {
			for o := from; o < to; o++ {
				mark(mask[o*k:(o+1)*k], scores[o*k:(o+1)*k], c.Sparsity)
			}
		})
	default:
		mark(mask, scores, c.Sparsity)
	}
	return mask
}

func mark(mask []bool, scores []float32, sparsity float64) {
	t := Select([][]float32{scores}, share(sparsity, len(scores)))
	for i, s := range scores {
		mask[i] = t.Takes(s)
	}
}

// share of n, rounded.
func share(sparsity float64, n int) int64 { return int64(math.Round(sparsity * float64(n))) }

// smallest are the indexes of all but the keep largest of scores; of equal ones the first go. buf is used again.
func smallest(scores []float32, keep int, buf []int) []int {
	buf = buf[:0]
	if len(scores) <= keep {
		return buf
	}
	for i := range scores {
		buf = append(buf, i)
	}
	slices.SortStableFunc(buf, func(a, b int) int {
		switch x, y := scores[a], scores[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return buf[:len(scores)-keep]
}

// Threshold takes the scores below a bound, and the first of those that are equal to it.
type Threshold struct {
	bits uint32
	ties int64
}

// Takes is asked once for each score, in the order in which Select was given them.
func (t *Threshold) Takes(score float32) bool {
	b := math.Float32bits(score)
	if b != t.bits {
		return b < t.bits
	}
	if t.ties == 0 {
		return false
	}
	t.ties--
	return true
}

// fewScores is up to how many scores sorting is faster than counting.
const fewScores = 1024

// Select finds the threshold that takes count of the scores, the smallest; none is negative or a NaN. It takes two
// passes and no sorting: the bits of such numbers are in the order of the numbers.
func Select(scores [][]float32, count int64) Threshold {
	if count <= 0 {
		return Threshold{}
	}
	if len(scores) == 1 && len(scores[0]) <= fewScores {
		var buf [fewScores]uint32
		sorted := buf[:len(scores[0])]
		for i, s := range scores[0] {
			sorted[i] = math.Float32bits(s)
		}
		slices.Sort(sorted)
		t := Threshold{bits: sorted[min(count, int64(len(sorted)))-1]}
		first, _ := slices.BinarySearch(sorted, t.bits)
		t.ties = count - int64(first)
		return t
	}
	high := make([]int64, 1<<16)
	for _, part := range scores {
		for _, s := range part {
			high[math.Float32bits(s)>>16]++
		}
	}
	at := 0
	for ; at < len(high)-1 && high[at] < count; at++ {
		count -= high[at]
	}
	low := make([]int64, 1<<16)
	for _, part := range scores {
		for _, s := range part {
			if b := math.Float32bits(s); int(b>>16) == at {
				low[b&0xffff]++
			}
		}
	}
	i := 0
	for ; i < len(low)-1 && low[i] < count; i++ {
		count -= low[i]
	}
	return Threshold{bits: uint32(at)<<16 | uint32(i), ties: count}
}

// blocks are the mean scores of a matrix cut into blocks; those at the edges may be smaller.
type blocks struct {
	scores     []float32
	n, k       int
	rows, cols int
	across     int
}

func blocksOf(scores []float32, n, k int, p Pattern) *blocks {
	b := &blocks{n: n, k: k, rows: p.Rows, cols: p.Cols, across: (k + p.Cols - 1) / p.Cols}
	b.scores = make([]float32, (n+p.Rows-1)/p.Rows*b.across)
	for i := range b.scores {
		var sum float64
		size := 0
		b.each(i, func(at int) { sum += float64(scores[at]); size++ })
		b.scores[i] = float32(sum / float64(size))
	}
	return b
}

// each visits the elements of block i.
func (b *blocks) each(i int, f func(at int)) {
	top, left := i/b.across*b.rows, i%b.across*b.cols
	for o := top; o < min(top+b.rows, b.n); o++ {
		for c := left; c < min(left+b.cols, b.k); c++ {
			f(o*b.k + c)
		}
	}
}
