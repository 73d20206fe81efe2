package sparse

import (
	"slices"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// panel is how many inputs SparseGPT looks at when it chooses anywhere along an output.
const panel = 128

// SparseGPT makes weights of one group, [n, k], zero and lets those that are left make up for it (Frantar and Alistarh,
// 2023): it walks along the inputs, chooses by the square of a weight over that of its pivot, which is what losing it
// costs once the inputs behind it have answered, and spreads the error over these. Where zeros lie anywhere, every
// output loses the same share of each 128 inputs; of blocks, the mask is chosen before the walk. w is overwritten; h is
// the sum of x*x^T over the inputs, [k, k], and is overwritten. damping is added to its diagonal, as a share of the mean.
func SparseGPT(w []float32, n, k int, h []float32, c Choice, damping float64, g solve.Gemm) error {
	t := make([]float32, len(w))
	turnInto(t, w, n, k)
	p := &pruner{choice: c, n: n, k: k, mask: make([]bool, n*k)}
	if c.Pattern.Blocks() {
		p.whole = slices.Clone(w)
	}
	if err := solve.GPTQ(t, k, n, h, p, g, solve.GPTQOptions{Damping: damping, Threads: c.Threads}); err != nil {
		return err
	}
	turnInto(w, t, k, n)
	return nil
}

// pruner is the solve.Rounder that rounds some weights to 0 and the others not at all. mask lies by input, [k, n].
type pruner struct {
	choice Choice
	n, k   int
	cost   []float32 // of an error of 1 in each column
	mask   []bool
	whole  []float32 // the weight, where the mask is chosen beforehand
}

// Pivots implements solve.Pivoter.
func (p *pruner) Pivots(d []float32) {
	p.cost = make([]float32, len(d))
	for i, v := range d {
		p.cost[i] = 1 / (v * v)
	}
	if p.whole == nil {
		return
	}
	s := make([]float32, len(p.whole))
	for i, v := range p.whole {
		s[i] = v * v * p.cost[i%p.k]
	}
	for i, m := range p.choice.Mask(s, p.n, p.k) {
		p.mask[i%p.k*p.n+i/p.k] = m
	}
}

// Ahead implements solve.Rounder: a whole group of a fixed pattern, or the inputs at one place where groups do not end
// with them.
func (p *pruner) Ahead() int {
	switch {
	case p.choice.Pattern.Blocks():
		return 0
	case !p.choice.Pattern.Fixed():
		return panel
	case p.choice.Segment%p.choice.Pattern.Of == 0:
		return p.choice.Pattern.Of
	}
	return p.choice.Segment
}

// Fit implements solve.Rounder.
func (p *pruner) Fit(k, from, to, columns int, w func(i int) []float32) {
	cols := make([][]float32, columns)
	for i := range cols {
		cols[i] = w(i)
	}
	scores := make([]float32, columns)
	c := p.choice
	c.Segment, c.Threads, c.PerOutput = columns, 1, true
	if !c.Pattern.Fixed() {
		// Counts add up to the share of all inputs so far.
		count := share(c.Sparsity, k+columns) - share(c.Sparsity, k)
		c.Sparsity = float64(count) / float64(columns)
	}
	for o := range to - from {
		for i, col := range cols {
			scores[i] = col[o] * col[o] * p.cost[k+i]
		}
		for i, m := range c.Mask(scores, 1, columns) {
			p.mask[(k+i)*p.n+from+o] = m
		}
	}
}

// Round implements solve.Rounder.
func (p *pruner) Round(k, from int, w, out []float32) {
	mask := p.mask[k*p.n+from:]
	for i, v := range w {
		if mask[i] {
			v = 0
		}
		out[i] = v
	}
}

func turnInto(dst, src []float32, rows, cols int) {
	for r := range rows {
		for c, v := range src[r*cols : (r+1)*cols] {
			dst[c*rows+r] = v
		}
	}
}
