package weightonly

import (
	"context"
	"fmt"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
)

// gramBytes bounds the sums that are held at a time, if the largest layer allows it: they are what GPTQ's memory is
// made of. Fewer layers at a time cost more passes over the data, each as deep as the layers lie.
const gramBytes = 160 << 20

// inputs are the values that a unit's nodes multiply, each once; nil when one cannot be measured: values of a
// subgraph are no value of the model, and a table has none.
func (q *quantizer) inputs(u *unit) []string {
	if u.role != roleMatrix {
		return nil
	}
	var out []string
	seen := map[string]bool{}
	for _, n := range u.nodes {
		v := n.Input(0)
		if n.Graph() != q.graph || v == "" {
			return nil
		}
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// chunk is a run of units whose sums fit in memory together.
type chunk struct {
	units []*unit
	taps  []gram.Tap
}

// chunks splits units in graph order; units without inputs are not among them.
func (q *quantizer) chunks(units []*unit, taps map[*unit][]string) []chunk {
	var out []chunk
	var bytes int64
	var seen map[string]bool
	for _, u := range units {
		var fresh []gram.Tap
		var more int64
		for _, v := range taps[u] {
			if !seen[v] {
				fresh = append(fresh, gram.Tap{Value: v, K: u.k})
				more += 4 * int64(u.k) * int64(u.k)
			}
		}
		if len(out) == 0 || bytes+more > gramBytes && bytes > 0 {
			out = append(out, chunk{})
			bytes, seen, fresh, more = 0, map[string]bool{}, nil, 0
			for _, v := range taps[u] {
				fresh = append(fresh, gram.Tap{Value: v, K: u.k})
				more += 4 * int64(u.k) * int64(u.k)
			}
		}
		for _, t := range fresh {
			seen[t.Value] = true
		}
		bytes += more
		c := &out[len(out)-1]
		c.units = append(c.units, u)
		c.taps = append(c.taps, fresh...)
	}
	return out
}

// split separates the units that can be measured from those that cannot.
func (q *quantizer) split(units []*unit) (measured, rest []*unit, taps map[*unit][]string) {
	taps = map[*unit][]string{}
	for _, u := range units {
		if in := q.inputs(u); in != nil {
			taps[u] = in
			measured = append(measured, u)
		} else {
			rest = append(rest, u)
		}
	}
	return measured, rest, taps
}

// gptq quantizes layer by layer in graph order: each sees what the layers before it give once they are quantized.
func (q *quantizer) gptq(ctx context.Context, units []*unit) error {
	q.total = int64(len(units))
	uses := map[string]int{}
	for _, u := range units {
		uses[u.weight.Name()]++
	}
	measured, rest, taps := q.split(units)
	for _, u := range rest {
		if err := q.tableOrRest(u, uses); err != nil {
			return err
		}
	}
	for _, c := range q.chunks(measured, taps) {
		stats, err := q.opts.Data.Measure(ctx, c.taps)
		if err != nil {
			return err
		}
		byValue := map[string]*gram.Stat{}
		for i, t := range c.taps {
			byValue[t.Value] = stats[i]
		}
		for _, u := range c.units {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := q.gptqUnit(u, q.sum(taps[u], byValue), uses); err != nil {
				return fmt.Errorf("weight %q of node %q: %w", u.weight.Name(), nodeName(u.nodes[0]), err)
			}
		}
	}
	return nil
}

// sum adds the sums of several inputs up; the result must not be changed.
func (q *quantizer) sum(values []string, stats map[string]*gram.Stat) []float32 {
	h := stats[values[0]].Gram
	if len(values) == 1 {
		return h
	}
	h = append([]float32(nil), h...)
	for _, v := range values[1:] {
		for i, x := range stats[v].Gram {
			h[i] += x
		}
	}
	return h
}

// tableOrRest quantizes what cannot be measured, by the ranges with the smallest error.
func (q *quantizer) tableOrRest(u *unit, uses map[string]int) error {
	w, err := u.rows()
	if err != nil {
		return err
	}
	b := q.grid(u).refined(w, u.n, u.k, nil)
	if err := q.replace(u, b.Dequantize(q.opts.Threads), uses); err != nil {
		return err
	}
	return q.store(u, w, b, -1)
}

// replace lets the layers that follow see what a weight became.
func (q *quantizer) replace(u *unit, back []float32, uses map[string]int) error {
	if uses[u.weight.Name()] > 1 || q.graph.Initializer(u.weight.Name()) == nil {
		return nil
	}
	if !u.byRow {
		back = transpose(back, u.n, u.k)
	}
	return q.opts.Data.Replace(u.weight.Name(), back)
}

func (q *quantizer) gptqUnit(u *unit, h []float32, uses map[string]int) error {
	w, err := u.rows()
	if err != nil {
		return err
	}
	g := q.grid(u)
	r := newRounder(g, u.n, u.k, w, h)
	if q.opts.ActOrder {
		r.fixed(w)
	}
	wt := transpose(w, u.n, u.k)
	if err := solve.GPTQ(wt, u.k, u.n, append([]float32(nil), h...), r, q.opts.Gemm,
		solve.GPTQOptions{Damping: q.opts.Damping, ActOrder: q.opts.ActOrder, Threads: q.opts.Threads}); err != nil {
		return err
	}
	b := r.blocks()
	back := b.Dequantize(q.opts.Threads)
	e, err := q.outputError(w, back, u, h)
	if err != nil {
		return err
	}
	if err := q.replace(u, back, uses); err != nil {
		return err
	}
	return q.store(u, w, b, e)
}

// outputError is the error of the product relative to its energy over the calibration data.
func (q *quantizer) outputError(w, back []float32, u *unit, h []float32) (float64, error) {
	energy, err := solve.OutputError(w, u.n, u.k, h, q.opts.Gemm)
	if err != nil || energy == 0 {
		return 0, err
	}
	d := make([]float32, len(w))
	for i := range d {
		d[i] = w[i] - back[i]
	}
	e, err := solve.OutputError(d, u.n, u.k, h, q.opts.Gemm)
	return e / energy, err
}

// rounder is the solve.Rounder of blocks. It keeps codes by input, as GPTQ walks.
type rounder struct {
	g          grid
	b          *Blocks
	byInput    []uint8   // [K, N]
	importance []float32 // of each input: the Hessian's diagonal
	static     bool
	whole      []float32 // [N, K], the weight before: where it is zero it stays zero, as it may have been pruned
}

func newRounder(g grid, n, k int, w, h []float32) *rounder {
	r := &rounder{g: g, b: g.empty(n, k), byInput: make([]uint8, n*k), importance: make([]float32, k), whole: w}
	for i := range k {
		r.importance[i] = h[i*k+i]
	}
	return r
}

// fixed chooses all scales from the weights as they were, so that inputs may be walked in any order.
func (r *rounder) fixed(w []float32) {
	r.static = true
	b, k := r.b, r.b.K
	r.g.each(b, func(at, from, to int) {
		b.Scales[at], b.Zeros[at] = r.g.refine(w[from:to], r.importance[from%k:from%k+to-from])
	})
}

func (r *rounder) Ahead() int {
	if r.static {
		return 0
	}
	return r.b.Size
}

func (r *rounder) Fit(k, from, to, columns int, w func(i int) []float32) {
	per, at := r.b.PerRow(), k/r.b.Size
	cols := make([][]float32, columns)
	for i := range cols {
		cols[i] = w(i)
	}
	block, imp := make([]float32, columns), r.importance[k:k+columns]
	for n := range to - from {
		row := r.whole[(from+n)*r.b.K+k:]
		for i, c := range cols {
			if block[i] = c[n]; row[i] == 0 {
				block[i] = 0
			}
		}
		i := (from+n)*per + at
		r.b.Scales[i], r.b.Zeros[i] = r.g.refine(block, imp)
	}
}

func (r *rounder) Round(k, from int, w, out []float32) {
	per, at := r.b.PerRow(), k/r.b.Size
	codes := r.byInput[k*r.b.N+from:]
	for n, v := range w {
		i := (from+n)*per + at
		s, z := r.b.Scales[i], r.b.Zeros[i]
		if r.whole[(from+n)*r.b.K+k] == 0 {
			v = 0
		}
		c := r.g.code(v, inverse(s), z)
		codes[n] = c
		out[n] = (float32(c) - z) * s
	}
}

func (r *rounder) blocks() *Blocks {
	r.b.Codes = transpose(r.byInput, r.b.K, r.b.N)
	return r.b
}

// constantOf returns a constant vector's values when value is one of k elements (or one), else nil.
func constantOf(g *onnx.Graph, value string, k int) (*onnx.Tensor, []float32) {
	t := g.Initializer(value)
	if t == nil || t.DataType != onnx.Float && t.DataType != onnx.Float16 {
		return nil, nil
	}
	last := int64(1)
	if len(t.Dims) > 0 {
		last = t.Dims[len(t.Dims)-1]
	}
	if t.Elements() != last || last != int64(k) {
		return nil, nil
	}
	v, err := t.Float32s()
	if err != nil {
		return nil, nil
	}
	return t, v
}
