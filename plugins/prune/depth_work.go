package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/depth"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/plugins/prune/repair"
	"github.com/optimize-hcl/optimize/plugins/prune/trial"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// depthWork is a model whose blocks are dropped.
type depthWork struct {
	config DepthConfig
	model  *onnx.Model
	done   func() error
	blocks []*depth.Block // without those that keep names
	left   []string
	keep   *keeper
}

// open reads a model and finds its blocks. Each model that blocks are dropped from is read anew.
func (c DepthConfig) open() (_ *depthWork, err error) {
	m, done, err := mapModel(c.Model.Path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = firstOf(err, done())
		}
	}()
	if err := groups.Prepare(m); err != nil {
		if errors.Is(err, groups.ErrQuantized) {
			return nil, sdk.AttrError("model", "the model is quantized already", err.Error())
		}
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
	}
	all, left, err := depth.Find(m)
	if err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	w := &depthWork{config: c, model: m, done: done, left: []string{}, keep: newKeeper(c.Keep)}
	for _, l := range left {
		w.left = append(w.left, l.Name+": "+l.Reason)
	}
	for _, b := range all {
		if why := w.keep.why(b.Name); why != "" {
			w.left = append(w.left, b.Name+": "+why)
			continue
		}
		w.blocks = append(w.blocks, b)
	}
	if len(w.blocks) == 0 {
		detail := "It has no addition x + f(x) of two values of the same shape, of which one is computed from the other, outside of keep and control flow."
		if len(w.left) > 0 {
			detail += "\n" + strings.Join(w.left[:min(len(w.left), 8)], "\n")
		}
		return nil, sdk.AttrError("model", "the model has no residual blocks that could be dropped", detail)
	}
	return w, nil
}

func (w *depthWork) tooFew() sdk.Diagnostic {
	var names []string
	for _, b := range w.blocks {
		names = append(names, b.Name)
	}
	return sdk.Diagnostic{Path: []any{"blocks"}, Summary: fmt.Sprintf("%d blocks are to leave, and the model has only %d that could be dropped", *w.config.Blocks, len(w.blocks)),
		Detail: "They are: " + strings.Join(names, ", ") + "."}
}

// dropped reads the model anew and drops blocks by their numbers.
func (c DepthConfig) dropped(which []int) (*depthWork, error) {
	w, err := c.open()
	if err != nil {
		return nil, err
	}
	var blocks []*depth.Block
	for _, i := range which {
		blocks = append(blocks, w.blocks[i])
	}
	if err := depth.Drop(w.model, blocks); err != nil {
		return nil, errors.Join(sdk.AttrError("model", "a block cannot be dropped", err.Error()), w.done())
	}
	return w, nil
}

func pruneDepth(ctx context.Context, j job, c DepthConfig) (_ *sdk.Result, err error) {
	if c.Calibration == nil {
		return nil, noDepthData()
	}
	if err := loadEngine("prune_depth"); err != nil {
		return nil, err
	}
	w, err := c.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.done()) }()
	w.keep.warn(j)
	if c.Blocks != nil && *c.Blocks > int64(len(w.blocks)) {
		return nil, w.tooFew()
	}
	data, err := ChannelsConfig{Calibration: c.Calibration}.calibration(w.model)
	if err != nil {
		return nil, err
	}
	defer data.close()
	t := &depthTrials{c: c, j: j, data: data}
	f := DepthFacts{Blocks: []string{}, Dropped: []string{}, LeftAlone: w.left}
	if f.MACsBefore, err = macsOf(w.model); err != nil {
		return nil, err
	}
	f.ParametersBefore = onnx.CountParameters(w.model)
	which, err := t.choose(ctx, w, &f)
	if err != nil {
		return nil, err
	}
	f.Samples = t.samples
	return w.finish(ctx, j, which, data, f)
}

func macsOf(m *onnx.Model) (int64, error) {
	shapes, err := onnx.TypicalShapes(m)
	if err != nil {
		return 0, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	macs, _ := onnx.CountMACs(m, shapes)
	return macs, nil
}

// finish writes the model without the chosen blocks, repaired.
func (w *depthWork) finish(ctx context.Context, j job, which []int, data *samples, f DepthFacts) (_ *sdk.Result, err error) {
	if len(which) == 0 {
		m, done, err := mapModel(w.config.Model.Path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = done() }()
		out, err := writeModel(j, m)
		f.MACsAfter, f.ParametersAfter = f.MACsBefore, f.ParametersBefore
		j.warn(sdk.Diagnostic{Severity: sdk.SeverityWarning, Summary: "no block leaves the model", Detail: "It is passed on as it came; see the report for what each block is worth."})
		return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": out}, Facts: f}, err
	}
	s, err := w.config.dropped(which)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.done()) }()
	if err := onnx.Check(s.model); err != nil {
		return nil, broken("it is not valid ONNX", err)
	}
	if w.config.Repair != repairOff {
		how := w.config.Repair
		r, err := repair.Repair(ctx, w.model, s.model, repair.Options{LeastSquares: how == repairWeights, Bias: how == repairBias,
			BatchNorm: how == repairNorm || how == repairWeights, Source: data.source, Fixed: data.fixed, Dir: j.scratch, Threads: j.threads,
			Progress: func(done, total int64) { j.progress("repair", done, total, "layers") }})
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, dataError("calibration", err)
		}
		f.Repair = repairFacts(r)
	}
	if f.MACsAfter, err = macsOf(s.model); err != nil {
		return nil, err
	}
	f.ParametersAfter = onnx.CountParameters(s.model)
	out, err := writeModel(j, s.model)
	if err != nil {
		return nil, err
	}
	file, err := onnx.ModelFile(filepath.Join(j.outDir, out.Path))
	if err != nil {
		return nil, err
	}
	in, err := data.first()
	if err != nil {
		return nil, err
	}
	got, err := trial.RunFile(file, in, j.threads)
	if err == nil {
		err = trial.Finite(got)
	}
	if err != nil {
		return nil, broken("ONNX Runtime does not run it as it should", err)
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": out}, Facts: f}, ctx.Err()
}

// depthTrials tries what dropping blocks does to the outputs.
type depthTrials struct {
	c       DepthConfig
	j       job
	data    *samples
	want    []trial.Outputs // of the original, batch by batch
	samples int64
}

// most is how many samples blocks are tried on.
const mostDepthSamples = 64

// choose drops one block after the other.
func (t *depthTrials) choose(ctx context.Context, w *depthWork, f *DepthFacts) ([]int, error) {
	var gone []int
	done := func(noise float64) bool {
		switch {
		case t.c.Blocks != nil:
			return int64(len(gone)) >= *t.c.Blocks
		case t.c.MinSQNR != nil:
			return decibels(noise) < *t.c.MinSQNR
		}
		return false
	}
	if done(0) && t.c.Blocks != nil {
		return nil, nil
	}
	for len(gone) < len(w.blocks) {
		best, noise := -1, math.Inf(1)
		for i, b := range w.blocks {
			if slices.Contains(gone, i) {
				continue
			}
			t.j.progress(fmt.Sprintf("try blocks, round %d", len(gone)+1), int64(i), int64(len(w.blocks)), "blocks")
			x, err := t.noise(ctx, append(slices.Clone(gone), i))
			if err != nil {
				return nil, err
			}
			if len(gone) == 0 {
				f.Blocks = append(f.Blocks, fmt.Sprintf("%s: %d nodes, %.3f of the multiply-accumulates, %.3f of the parameters; SQNR %.1f dB without it", b.Name, b.Nodes,
					float64(b.MACs)/float64(max(f.MACsBefore, 1)), float64(b.Parameters)/float64(max(f.ParametersBefore, 1)), decibels(x)))
			}
			if best < 0 || x < noise {
				best, noise = i, x
			}
		}
		if t.c.MinSQNR != nil && done(noise) {
			return gone, nil
		}
		gone = append(gone, best)
		f.Dropped = append(f.Dropped, fmt.Sprintf("%s: SQNR %.1f dB", w.blocks[best].Name, decibels(noise)))
		if t.c.Blocks != nil && done(noise) {
			return gone, nil
		}
		if t.c.MACs != nil {
			s, err := t.c.dropped(gone)
			if err != nil {
				return nil, err
			}
			macs, err := macsOf(s.model)
			if err = errors.Join(err, s.done()); err != nil {
				return nil, err
			}
			if float64(macs) <= *t.c.MACs*float64(f.MACsBefore) {
				return gone, nil
			}
		}
	}
	if t.c.MACs != nil {
		return nil, sdk.AttrError("macs", "the budget cannot be reached by dropping blocks", "All that could be dropped are not enough. Allow more, or take channels out of the rest with prune_channels.")
	}
	return gone, nil
}

// noise is the energy of the error at the worst output over that of the output, with blocks dropped.
func (t *depthTrials) noise(ctx context.Context, which []int) (float64, error) {
	if t.want == nil {
		if err := t.run(ctx, nil, func(_ int, out trial.Outputs) error {
			t.want = append(t.want, out)
			return nil
		}); err != nil {
			return 0, err
		}
	}
	signal, noise := map[string]float64{}, map[string]float64{}
	err := t.run(ctx, which, func(i int, got trial.Outputs) error {
		for name, x := range t.want[i] {
			if !x.DType.IsFloat() {
				continue
			}
			a, err := tensor.ToFloat32(x)
			if err != nil {
				return err
			}
			b, err := tensor.ToFloat32(got[name])
			if err != nil {
				return err
			}
			if len(a) != len(b) {
				return broken("an output has another shape", fmt.Errorf("output %q is %v, and was %v", name, got[name].Shape, x.Shape))
			}
			for k, v := range a {
				d := float64(v) - float64(b[k])
				signal[name] += float64(v) * float64(v)
				noise[name] += d * d
			}
		}
		return nil
	})
	worst := 0.0
	for name, s := range signal {
		if x := noise[name] / max(s, 1e-30); x > worst || math.IsNaN(x) {
			worst = x
		}
	}
	if math.IsNaN(worst) {
		worst = math.MaxFloat64
	}
	return worst, err
}

// run runs the model without some blocks on the calibration data, batch by batch.
func (t *depthTrials) run(ctx context.Context, which []int, f func(i int, out trial.Outputs) error) error {
	w, err := t.c.dropped(which)
	if err != nil {
		return err
	}
	file, err := writeScratch(w.model, filepath.Join(t.j.scratch, "trial"))
	if err = errors.Join(err, w.done()); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(filepath.Join(t.j.scratch, "trial")) }()
	s, err := ort.NewSessionFile(file, ort.Options{Threads: t.j.threads, Arena: true})
	if err != nil {
		return dataError("calibration", err)
	}
	defer func() { _ = s.Close() }()
	total := min(t.data.source.Samples(), max(mostDepthSamples, t.data.batch))
	total = max(total/t.data.batch*t.data.batch, t.data.batch)
	for at := int64(0); at+t.data.batch <= total; at += t.data.batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := t.data.source.Batch(at, t.data.batch)
		if err != nil {
			return err
		}
		out, err := s.Run(in, nil)
		if err != nil {
			return dataError("calibration", err)
		}
		if err := f(int(at/t.data.batch), out); err != nil {
			return err
		}
	}
	t.samples = total
	return nil
}
