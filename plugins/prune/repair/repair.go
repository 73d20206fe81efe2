// Package repair wins back, without training, what a model lost when channels were taken out of it. Layer by layer from
// the front, on calibration data, the weights that are left become those whose products with what the pruned model
// computes there are nearest to what the original gave (least squares, as He et al., 2017); the statistics of
// BatchNormalization are measured anew; or only the mean of each output is brought back, in the bias. Nothing but sums
// over the data is kept.
package repair

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// Options say how to repair, and on what.
type Options struct {
	// LeastSquares solves for weights and biases; Bias for biases alone, where LeastSquares is not set.
	LeastSquares, Bias bool
	// BatchNorm measures the mean and the variance of each BatchNormalization anew.
	BatchNorm bool
	// Damping is what holds the weights near to those that were left, as a share of the mean energy of the inputs; 0 is
	// DefaultDamping.
	Damping float64
	// Kept lists for each axis of a value of the original the indexes that are left in the pruned model; nil for an axis
	// that keeps all, and for a value that keeps all of all axes.
	Kept func(value string) [][]int

	Source  gram.Source
	Fixed   int64 // samples that the model takes at a time; 0: any
	Batch   int64 // samples to run at a time; 0: by their size
	Dir     string
	Threads int
	// Progress is called for each pass over the data; nil is allowed.
	Progress func(done, total int64)
}

// DefaultDamping is Options.Damping where that is 0.
const DefaultDamping = 0.01

// Report is what Repair did.
type Report struct {
	Layers []Layer
	Left   []Left
	// Norms is how many BatchNormalizations were measured anew.
	Norms int
	// Before and After are the energy of the error at the worst output, over that of the output, on samples that were not
	// solved on where there are enough.
	Before, After float64
	// Kept tells that the repaired model was no nearer to the original, so that the pruned one stays as it was.
	Kept bool
	// Samples were solved on, Judged were compared on.
	Samples, Judged int64
}

// Layer is one that was repaired: the energy of the error of its product over that of the product about its mean.
type Layer struct {
	Name          string
	Before, After float64
}

// Left is a layer that could not be repaired.
type Left struct{ Name, Reason string }

// fewest samples are split into those to solve on and those to judge by.
const fewest = 16

// sumBytes bounds the sums that are held at a time, if the largest layer allows it.
const sumBytes = 160 << 20

// mostInputs bounds the inputs of a layer, whose sums are a matrix of as many rows and columns.
const mostInputs = 12288

// Repair changes the weights, biases and statistics of pruned, whose nodes are those of original, by name of their
// outputs, with smaller weights. Constants of both are initializers and nodes are in order.
func Repair(ctx context.Context, original, pruned *onnx.Model, o Options) (*Report, error) {
	if o.Damping == 0 {
		o.Damping = DefaultDamping
	}
	r := &repairer{opts: o, pruned: pruned, report: &Report{}}
	fit, judge := o.Source, o.Source
	if n := o.Source.Samples(); n >= fewest && n/8 >= o.Fixed && n-n/8 >= o.Fixed {
		fit, judge = part{o.Source, 0, n - n/8}, part{o.Source, n - n/8, n / 8}
	}
	r.report.Samples, r.report.Judged = fit.Samples(), judge.Samples()
	r.find(original)
	if len(r.units) == 0 {
		return r.report, nil
	}
	both, err := twin(original, pruned)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "repair")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if r.work, err = gram.Open(both, dir, fit, gram.Options{Batch: o.Batch, Fixed: o.Fixed, Threads: o.Threads}); err != nil {
		return nil, err
	}
	if r.gemm, err = gram.NewGemm(o.Threads); err != nil {
		return nil, err
	}
	defer r.gemm.Close()
	if r.report.Before, err = r.work.Compare(ctx, judge, pairs(original)); err != nil {
		return nil, err
	}
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	if r.report.After, err = r.work.Compare(ctx, judge, pairs(original)); err != nil {
		return nil, err
	}
	if !(r.report.After < r.report.Before) {
		r.report.Kept = true
		return r.report, nil
	}
	return r.report, r.commit()
}

// part is some of the samples of a source.
type part struct {
	gram.Source
	start, n int64
}

func (p part) Samples() int64 { return p.n }

func (p part) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	return p.Source.Batch(p.start+start, n)
}

type repairer struct {
	opts   Options
	pruned *onnx.Model
	units  []*unit
	work   *gram.Workspace
	gemm   *gram.Gemm
	report *Report
	// what constants of the pruned model become
	changed map[string][]float32
}

// run repairs unit by unit; those that do not depend on one another share a pass over the data.
func (r *repairer) run(ctx context.Context) error {
	r.changed = map[string][]float32{}
	for at := 0; at < len(r.units); {
		if r.opts.Progress != nil {
			r.opts.Progress(int64(at), int64(len(r.units)))
		}
		end := r.wave(at)
		var taps []gram.Tap
		for _, u := range r.units[at:end] {
			taps = append(taps, u.tap)
		}
		stats, err := r.work.Measure(ctx, taps)
		if err != nil {
			return fmt.Errorf("layer %q: %w", r.units[at].name, err)
		}
		for i, u := range r.units[at:end] {
			if err := ctx.Err(); err != nil {
				return err
			}
			if u.norm {
				err = r.renorm(u, stats[i])
			} else {
				err = r.layer(u, stats[i])
			}
			if err != nil {
				return fmt.Errorf("layer %q: %w", u.name, err)
			}
			stats[i] = nil // what is left may be large
		}
		at = end
	}
	if r.opts.Progress != nil {
		r.opts.Progress(int64(len(r.units)), int64(len(r.units)))
	}
	return nil
}

// wave is where the units end that can be measured together with unit at: none reads what another of them makes, and
// their sums fit in memory.
func (r *repairer) wave(at int) int {
	made := map[*onnx.Node]bool{r.units[at].node: true}
	bytes := r.units[at].bytes()
	end := at + 1
	for ; end < len(r.units); end++ {
		u := r.units[end]
		if bytes += u.bytes(); bytes > sumBytes || dependsOn(u.node, made) {
			break
		}
		made[u.node] = true
	}
	return end
}

// dependsOn tells whether any of the nodes lies before n.
func dependsOn(n *onnx.Node, nodes map[*onnx.Node]bool) bool {
	seen := map[*onnx.Node]bool{n: true}
	queue := []*onnx.Node{n}
	for len(queue) > 0 {
		n := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, v := range readBy(n) {
			p := n.Graph().Producer(v)
			if p == nil || seen[p] {
				continue
			}
			if nodes[p] {
				return true
			}
			seen[p] = true
			queue = append(queue, p)
		}
	}
	return false
}

// layer solves one layer.
func (r *repairer) layer(u *unit, s *gram.Stat) error {
	size, square := u.n*u.k, u.k*u.k
	w, err := r.values(u.weight)
	if err != nil {
		return err
	}
	if u.byColumn {
		w = transpose(w, u.k, u.n)
	}
	old := make([]float32, u.groups*u.n)
	if u.own != nil {
		if old, err = r.values(u.own); err != nil {
			return err
		}
	}
	out, bias := slices.Clone(w), slices.Clone(old)
	rows := s.Rows
	errs := make([]error, u.groups)
	before, after, signal := make([]float64, u.groups), make([]float64, u.groups), make([]float64, u.groups)
	one := func(g, threads int) error {
		h, cross := s.Gram[g*square:(g+1)*square], s.Cross[g*size:(g+1)*size]
		x, y := s.Sum[g*u.k:(g+1)*u.k], s.Target[g*u.n:(g+1)*u.n]
		wg := w[g*size : (g+1)*size]
		var mul solve.Gemm = r.gemm
		if u.groups > 1 || size*u.k < 1<<14 {
			mul = solve.Plain{Threads: threads}
		}
		noise := func(w, b []float32) (float64, error) {
			return residual(w, b, h, cross, x, y, s.TargetSquare[g*u.n:], rows, u.n, u.k, mul)
		}
		var err error
		if before[g], err = noise(wg, old[g*u.n:(g+1)*u.n]); err != nil {
			return err
		}
		for o, v := range y {
			signal[g] += s.TargetSquare[g*u.n+o]
			if u.shifts() {
				signal[g] -= v * v / rows
			}
		}
		solved := wg
		if r.opts.LeastSquares {
			if u.shifts() {
				h, cross = centered(h, cross, x, y, rows)
			}
			if solved, err = solve.LeastSquares(wg, cross, h, u.n, u.k, r.opts.Damping, mul, threads); err != nil {
				return err
			}
			h, cross = s.Gram[g*square:(g+1)*square], s.Cross[g*size:(g+1)*size]
		}
		b := old[g*u.n : (g+1)*u.n]
		if u.shifts() {
			b = make([]float32, u.n)
			for o := range b {
				m := y[o]
				for i, v := range solved[o*u.k : (o+1)*u.k] {
					m -= float64(v) * x[i]
				}
				b[o] = float32(m / rows)
			}
		}
		if after[g], err = noise(solved, b); err != nil {
			return err
		}
		if !(after[g] < before[g]) || !finite(solved) || !finite(b) {
			after[g] = before[g]
			return nil
		}
		copy(out[g*size:], solved)
		copy(bias[g*u.n:], b)
		return nil
	}
	if u.groups == 1 {
		errs[0] = one(0, r.opts.Threads)
	} else {
		solve.Parallel(r.opts.Threads, u.groups, 1, func(from, to int) {
			for g := from; g < to; g++ {
				errs[g] = one(g, 1)
			}
		})
	}
	var b, a, e float64
	for g, err := range errs {
		if err != nil {
			return err
		}
		b, a, e = b+before[g], a+after[g], e+signal[g]
	}
	l := Layer{Name: u.name}
	if e > 0 {
		l.Before, l.After = b/e, a/e
	}
	r.report.Layers = append(r.report.Layers, l)
	return r.put(u, out, old, bias)
}

// put stores what a layer became, for what follows it and for commit.
func (r *repairer) put(u *unit, w, old, bias []float32) error {
	if r.opts.LeastSquares {
		if u.byColumn {
			w = transpose(w, u.n, u.k)
		}
		if err := r.set(u.weight, w); err != nil {
			return err
		}
	}
	if !u.shifts() {
		return nil
	}
	if u.own != nil {
		return r.set(u.own, bias)
	}
	// The shift goes into what follows: added by an Add, taken from the mean by a BatchNormalization.
	v, err := r.values(u.after)
	if err != nil {
		return err
	}
	v = slices.Clone(v)
	for i := range v {
		if u.mean {
			v[i] -= bias[i] - old[i]
		} else {
			v[i] += bias[i] - old[i]
		}
	}
	return r.set(u.after, v)
}

// renorm sets the statistics of a BatchNormalization to those of its input.
func (r *repairer) renorm(u *unit, s *gram.Stat) error {
	mean, variance := make([]float32, u.k), make([]float32, u.k)
	for i := range mean {
		m := s.Sum[i] / s.Rows
		mean[i], variance[i] = float32(m), float32(max(s.Square[i]/s.Rows-m*m, 0))
	}
	if !finite(mean) || !finite(variance) {
		return nil
	}
	r.report.Norms++
	if err := r.set(u.weight, mean); err != nil {
		return err
	}
	return r.set(u.own, variance)
}

// values are the elements of a constant as it is by now.
func (r *repairer) values(t *onnx.Tensor) ([]float32, error) {
	if v, ok := r.changed[t.Name()]; ok {
		return v, nil
	}
	return t.Float32s()
}

func (r *repairer) set(t *onnx.Tensor, v []float32) error {
	r.changed[t.Name()] = v
	return r.work.Replace(prefix+t.Name(), v)
}

// centered takes the means out of the sums: sum (x-mx)*(x-mx)^T and sum (y-my)*(x-mx)^T.
func centered(h, cross []float32, x, y []float64, rows float64) (hc, cc []float32) {
	k := len(x)
	hc, cc = make([]float32, len(h)), make([]float32, len(cross))
	for i, a := range x {
		for j, b := range x {
			hc[i*k+j] = float32(float64(h[i*k+j]) - a*b/rows)
		}
	}
	for o, a := range y {
		for j, b := range x {
			cc[o*k+j] = float32(float64(cross[o*k+j]) - a*b/rows)
		}
	}
	return hc, cc
}

// residual is the sum of |y - w*x - b|^2.
func residual(w, b, h, cross []float32, x, y, square []float64, rows float64, n, k int, g solve.Gemm) (float64, error) {
	p, err := g.Mul(w, h, n, k, k)
	if err != nil {
		return 0, err
	}
	var sum float64
	for o := range n {
		sum += square[o] - 2*float64(b[o])*y[o] + rows*float64(b[o])*float64(b[o])
		for i, v := range w[o*k : (o+1)*k] {
			sum += float64(v) * (float64(p[o*k+i]) - 2*float64(cross[o*k+i]) + 2*float64(b[o])*x[i])
		}
	}
	return max(sum, 0), nil
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return false
		}
	}
	return true
}

func transpose(v []float32, rows, cols int) []float32 {
	out := make([]float32, len(v))
	for r := range rows {
		for c, x := range v[r*cols : (r+1)*cols] {
			out[c*rows+r] = x
		}
	}
	return out
}
