package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/plugins/prune/repair"
	"github.com/optimize-hcl/optimize/plugins/prune/trial"
	"github.com/optimize-hcl/optimize/sdk"
)

// The ways to win back what pruning costs.
const (
	repairOff       = "off"
	repairBias      = "bias"
	repairNorm      = "batch_norm"
	repairWeights   = "least_squares"
	perfectDecibels = 200
)

// RepairFacts tell what repair did.
type RepairFacts struct {
	Used    bool     `opt:"used" doc:"The repaired weights were taken; false where they were no better, on samples that were not solved on."`
	Before  float64  `opt:"sqnr_before" doc:"SQNR of the pruned model's worst output against the original, in dB, before the repair."`
	After   float64  `opt:"sqnr_after" doc:"The same after it."`
	Layers  []string `opt:"layers" doc:"Each layer with the error of its product, as a share of the product's energy, before and after."`
	Left    []string `opt:"left" doc:"Layers that could not be repaired, each with the reason."`
	Norms   int64    `opt:"norms" doc:"BatchNormalizations whose mean and variance were measured anew."`
	Samples int64    `opt:"samples" doc:"Samples that were solved on."`
}

// repairs tells how the result is repaired.
func (c ChannelsConfig) repairs() string {
	switch {
	case c.Repair != nil:
		return *c.Repair
	case c.Calibration != nil:
		return repairWeights
	}
	return repairOff
}

// repair changes the weights of a pruned model so that it computes more nearly what the original did.
func (w *work) repair(ctx context.Context, j job, s *groups.Selection, m *onnx.Model, data *samples) (_ *RepairFacts, err error) {
	how := w.config.repairs()
	o, err := w.config.open(newKeeper(w.config.Keep))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.done()) }()
	r, err := repair.Repair(ctx, o.model, m, repair.Options{LeastSquares: how == repairWeights, Bias: how == repairBias,
		BatchNorm: how == repairNorm || how == repairWeights, Kept: o.a.KeptOf(s), Source: data.source, Fixed: data.fixed, Dir: j.scratch,
		Threads: j.threads, Progress: func(done, total int64) { j.progress("repair", done, total, "layers") }})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, dataError("calibration", err)
	}
	return repairFacts(r), nil
}

// repairFacts tell what a repair did.
func repairFacts(r *repair.Report) *RepairFacts {
	f := &RepairFacts{Used: !r.Kept && len(r.Layers)+r.Norms > 0, Before: decibels(r.Before), After: decibels(r.After), Norms: int64(r.Norms), Samples: r.Samples,
		Layers: []string{}, Left: []string{}}
	if r.Kept {
		f.After = f.Before
	}
	for _, l := range r.Layers {
		f.Layers = append(f.Layers, fmt.Sprintf("%s: %.3g → %.3g", l.Name, l.Before, l.After))
	}
	for _, l := range r.Left {
		f.Left = append(f.Left, l.Name+": "+l.Reason)
	}
	return f
}

// decibels is an error as a ratio of signal to noise.
func decibels(noise float64) float64 {
	if !(noise > 0) {
		return perfectDecibels
	}
	return math.Round(-1000*math.Log10(noise)) / 100
}

// repaired checks the cut model as it is, repairs it and hands it over.
func (w *work) repaired(ctx context.Context, j job, s *groups.Selection, data *samples, f *ChannelsFacts) (sdk.Artifact, error) {
	file, err := writeScratch(w.model, filepath.Join(j.scratch, "cut"))
	if err != nil {
		return sdk.Artifact{}, err
	}
	in, _, err := w.inputs(j, data)
	if err != nil {
		return sdk.Artifact{}, err
	}
	if err := w.verify(ctx, j, s, data, file, f); err != nil {
		return sdk.Artifact{}, err
	}
	if f.Repair, err = w.repair(ctx, j, s, w.model, data); err != nil {
		return sdk.Artifact{}, err
	}
	out, err := writeModel(j, w.model)
	if err != nil {
		return sdk.Artifact{}, err
	}
	if file, err = onnx.ModelFile(filepath.Join(j.outDir, out.Path)); err != nil {
		return sdk.Artifact{}, err
	}
	got, err := trial.RunFile(file, in, j.threads)
	if err != nil {
		return sdk.Artifact{}, broken("ONNX Runtime does not run it once it is repaired", err)
	}
	if err := trial.Finite(got); err != nil {
		return sdk.Artifact{}, broken("once it is repaired, it gives what is no number", err)
	}
	return out, nil
}
