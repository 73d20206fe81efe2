package prune

import (
	"compress/flate"
	"context"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/layer"
	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
)

// weightsWork is one run of prune_weights.
type weightsWork struct {
	job     job
	config  WeightsConfig
	model   *onnx.Model
	pattern sparse.Pattern
	share   map[*layer.Layer]float64

	facts           WeightsFacts
	kept            []layer.Kept
	list            []onnx.Sparsity
	zeros, elements int64
	errors          []float64
	packers         [2]*packer
}

// run prunes the layers one after the other.
func (w *weightsWork) run(ctx context.Context, layers []*layer.Layer) error {
	w.packers = [2]*packer{newPacker(), newPacker()}
	layers = slices.DeleteFunc(layers, func(l *layer.Layer) bool {
		why := w.leaves(l)
		if why != "" {
			w.leave(l, why)
		}
		return why != ""
	})
	var err error
	switch {
	case w.config.calibrates():
		err = w.calibrated(ctx, layers)
	case w.config.Scope == scopeGlobal, w.config.Scope == scopeLAMP:
		err = w.together(ctx, layers)
	default:
		err = w.alone(ctx, layers)
	}
	if err != nil {
		return err
	}
	w.facts.PackedBefore, w.facts.PackedAfter = w.packers[0].size(), w.packers[1].size()
	if n := len(w.errors); n > 0 {
		var sum float64
		for _, e := range w.errors {
			sum += e
		}
		sum /= float64(n)
		w.facts.OutputError = &sum
	}
	return nil
}

// leaves says why a layer stays whole, "" when it does not.
func (w *weightsWork) leaves(l *layer.Layer) string {
	switch {
	case w.share[l] == 0 && !w.pattern.Fixed():
		return "its share is 0"
	case w.pattern.Fixed() && l.Channels <= w.pattern.Keep:
		return fmt.Sprintf("%s keeps %d of the inputs that lie side by side, and there are %d", w.pattern, w.pattern.Keep, l.Channels)
	case w.config.calibrates() && l.Taps() == nil:
		return "its inputs cannot be measured: it lies in a subgraph, or has too many"
	}
	return ""
}

func (w *weightsWork) leave(l *layer.Layer, why string) {
	for _, n := range l.Nodes {
		w.kept = append(w.kept, layer.Kept{Name: layer.NodeName(n), Op: n.OpType, Reason: why})
	}
}

func (w *weightsWork) choice(l *layer.Layer) sparse.Choice {
	return sparse.Choice{Pattern: w.pattern, Sparsity: w.share[l], Segment: l.Channels, Threads: w.job.threads, PerOutput: w.config.Method == methodWanda}
}

// alone prunes each layer by its own magnitudes.
func (w *weightsWork) alone(ctx context.Context, layers []*layer.Layer) error {
	for i, l := range layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.job.progress("prune", int64(i), int64(len(layers)), "layers")
		rows, err := l.Rows()
		if err != nil {
			return sdk.AttrError("model", "a weight cannot be pruned", err.Error())
		}
		sparse.Apply(rows, w.maskGroups(l, rows))
		if err := w.store(l, rows, -1); err != nil {
			return err
		}
	}
	return nil
}

// maskGroups chooses within the whole layer, blocks within each group: they do not reach over the end of one.
func (w *weightsWork) maskGroups(l *layer.Layer, rows []float32) []bool {
	if !w.pattern.Blocks() {
		return w.choice(l).Mask(sparse.Magnitude(rows), l.Groups*l.N, l.K)
	}
	var mask []bool
	size := l.N * l.K
	for g := range l.Groups {
		mask = append(mask, w.choice(l).Mask(sparse.Magnitude(rows[g*size:(g+1)*size]), l.N, l.K)...)
	}
	return mask
}

// together lets the weights of all layers compete.
func (w *weightsWork) together(ctx context.Context, layers []*layer.Layer) error {
	scores := make([][]float32, len(layers))
	var total int64
	for i, l := range layers {
		rows, err := l.Rows()
		if err != nil {
			return sdk.AttrError("model", "a weight cannot be pruned", err.Error())
		}
		if w.config.Scope == scopeLAMP {
			scores[i] = sparse.LAMP(rows)
		} else {
			scores[i] = sparse.Magnitude(rows)
			var sum float64
			for _, s := range scores[i] {
				sum += float64(s)
			}
			if mean := float32(sum / float64(len(rows))); mean > 0 {
				for k := range scores[i] {
					scores[i][k] /= mean
				}
			}
		}
		total += int64(len(rows))
	}
	t := sparse.Select(scores, int64(math.Round(w.config.sparsity(w.pattern)*float64(total))))
	for i, l := range layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.job.progress("prune", int64(i), int64(len(layers)), "layers")
		rows, err := l.Rows()
		if err != nil {
			return sdk.AttrError("model", "a weight cannot be pruned", err.Error())
		}
		for k, s := range scores[i] {
			if t.Takes(s) {
				rows[k] = 0
			}
		}
		scores[i] = nil
		if err := w.store(l, rows, -1); err != nil {
			return err
		}
	}
	return nil
}

// store puts a pruned weight into the model. e is the error of its product, -1 where it was not measured.
func (w *weightsWork) store(l *layer.Layer, rows []float32, e float64) error {
	var zeros int64
	for _, v := range rows {
		if v == 0 {
			zeros++
		}
	}
	if err := w.packers[0].add(l.Weight); err != nil {
		return err
	}
	if err := l.SetRows(rows); err != nil {
		return err
	}
	if err := w.packers[1].add(l.Weight); err != nil {
		return err
	}
	n := int64(len(rows))
	w.zeros, w.elements = w.zeros+zeros, w.elements+n
	bytes := int64(l.Weight.DataType.Bits() / 8)
	w.facts.BytesWeights += n * bytes
	w.facts.BytesBitMask += (n-zeros)*bytes + (n+7)/8
	share := float64(zeros) / float64(n)
	w.list = append(w.list, onnx.Sparsity{Weight: l.Weight.Name(), Pattern: w.pattern.String(), Share: math.Round(share*1e6) / 1e6})
	text := fmt.Sprintf("%s: %.2f%% of %d weights zero", l.Name(), 100*share, n)
	if e >= 0 {
		w.errors = append(w.errors, e)
		text += fmt.Sprintf(", error of the product %.3g", e)
	}
	w.facts.Layers = append(w.facts.Layers, text)
	return nil
}

// gramBytes bounds the sums that are held at a time, if the largest layer allows it.
const gramBytes = 160 << 20

// calibrated prunes by what the layers' inputs are: as many layers at a time as there is memory for their sums; those
// that follow see what these became.
func (w *weightsWork) calibrated(ctx context.Context, layers []*layer.Layer) error {
	work, gemm, done, err := w.openData()
	if err != nil {
		return err
	}
	defer done()
	for at := 0; at < len(layers); {
		end, bytes := at, int64(0)
		var taps []gram.Tap
		for ; end < len(layers); end++ {
			l := layers[end]
			t := l.Taps()
			if bytes += 4 * int64(len(t)*l.Groups) * int64(l.K) * int64(l.K); bytes > gramBytes && end > at {
				break
			}
			taps = append(taps, t...)
		}
		stats, err := work.Measure(ctx, taps)
		if err != nil {
			return dataError("calibration", err)
		}
		for i := at; i < end; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			w.job.progress("prune", int64(i), int64(len(layers)), "layers")
			l, n := layers[i], len(layers[i].Taps())
			h := stats[0].Gram
			for _, s := range stats[1:n] {
				for k, v := range s.Gram {
					h[k] += v
				}
			}
			stats = stats[n:]
			if err := w.one(l, h, gemm, work); err != nil {
				return err
			}
		}
		at = end
	}
	return nil
}

// one prunes a layer whose inputs are known: h is [Groups, K, K].
func (w *weightsWork) one(l *layer.Layer, h []float32, gemm *gram.Gemm, work *gram.Workspace) error {
	rows, err := l.Rows()
	if err != nil {
		return sdk.AttrError("model", "a weight cannot be pruned", err.Error())
	}
	before := slices.Clone(rows)
	size, square := l.N*l.K, l.K*l.K
	noise, signal := make([]float64, l.Groups), make([]float64, l.Groups)
	errs := make([]error, l.Groups)
	group := func(g, threads int) error {
		r, b := rows[g*size:(g+1)*size], before[g*size:(g+1)*size]
		hg := l.Gram(h[g*square : (g+1)*square])
		c := w.choice(l)
		c.Threads = threads
		var mul solve.Gemm = gemm
		if size*l.K < 1<<14 || l.Groups > 1 {
			mul = solve.Plain{Threads: threads} // a call of the engine would cost more than the product
		}
		if w.config.Method == methodWanda {
			sparse.Apply(r, c.Mask(sparse.Wanda(r, hg, l.N, l.K), l.N, l.K))
		} else if err := sparse.SparseGPT(r, l.N, l.K, slices.Clone(hg), c, w.config.Damping, mul); err != nil {
			return err
		}
		d := make([]float32, size)
		for i := range d {
			d[i] = b[i] - r[i]
		}
		var err error
		if noise[g], err = solve.OutputError(d, l.N, l.K, hg, mul); err != nil {
			return err
		}
		signal[g], err = solve.OutputError(b, l.N, l.K, hg, mul)
		return err
	}
	if l.Groups == 1 {
		errs[0] = group(0, w.job.threads)
	} else {
		solve.Parallel(w.job.threads, l.Groups, 1, func(from, to int) {
			for g := from; g < to; g++ {
				errs[g] = group(g, 1)
			}
		})
	}
	var n, s float64
	for g, err := range errs {
		if err != nil {
			return sdk.AttrError("model", "a weight cannot be pruned", fmt.Sprintf("Weight %q of node %q: %v.", l.Weight.Name(), l.Name(), err))
		}
		n, s = n+noise[g], s+signal[g]
	}
	e := 0.0
	if s > 0 {
		e = n / s
	}
	if err := work.Replace(l.Weight.Name(), l.Stored(rows)); err != nil {
		return err
	}
	return w.store(l, rows, e)
}

// openData opens what calibration runs; done closes it.
func (w *weightsWork) openData() (work *gram.Workspace, gemm *gram.Gemm, done func(), err error) {
	if err := loadEngine(w.config.Method); err != nil {
		return nil, nil, nil, err
	}
	data, err := openData("calibration", w.config.Calibration)
	if err != nil {
		return nil, nil, nil, err
	}
	src, fixed, err := fitData("calibration", w.model, data)
	if err != nil {
		data.Close()
		return nil, nil, nil, err
	}
	dir, err := os.MkdirTemp(w.job.scratch, "gram")
	if err != nil {
		data.Close()
		return nil, nil, nil, err
	}
	remove := func() { _, _ = data.Close(), os.RemoveAll(dir) }
	o := gram.Options{Fixed: fixed, Threads: w.job.threads, Progress: func(n, total int64) { w.job.progress("calibrate", n, total, "samples") }}
	if w.config.Batch != nil {
		o.Batch = *w.config.Batch
	}
	if work, err = gram.Open(w.model, dir, src, o); err == nil {
		gemm, err = gram.NewGemm(w.job.threads)
	}
	if err != nil {
		remove()
		return nil, nil, nil, err
	}
	w.facts.Samples = data.Samples()
	return work, gemm, func() { _ = gemm.Close(); remove() }, nil
}

// packer measures what weights take in an archive, without keeping it.
type packer struct {
	n counter
	w *flate.Writer
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

func newPacker() *packer {
	p := &packer{}
	p.w, _ = flate.NewWriter(&p.n, flate.BestSpeed) // the level is one that exists
	return p
}

// packed bounds the bytes of each weight that are packed: the share of a part is that of the whole.
const packed = 4 << 20

func (p *packer) add(w *onnx.Tensor) error {
	t, err := w.Tensor()
	if err != nil {
		return err
	}
	before, part := p.n, t.Data[:min(len(t.Data), packed)]
	if _, err := p.w.Write(part); err != nil {
		return err
	}
	if err := p.w.Flush(); err != nil {
		return err
	}
	if len(t.Data) > packed {
		p.n = before + counter(float64(p.n-before)*float64(len(t.Data))/packed)
	}
	return nil
}

func (p *packer) size() int64 { _ = p.w.Close(); return int64(p.n) }
