package prune

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/plugins/prune/score"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

func pruneChannels(ctx context.Context, j job, c ChannelsConfig) (_ *sdk.Result, err error) {
	if ds := c.planData(ctx); len(ds) > 0 {
		return nil, ds[0]
	}
	if err := loadEngine("prune_channels, to check its result,"); err != nil {
		return nil, err
	}
	keep := newKeeper(c.Keep)
	w, err := c.open(keep)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.done()) }()
	keep.warn(j)
	data, err := c.calibration(w.model)
	if err != nil {
		return nil, err
	}
	defer data.close()
	if err := w.prepare(ctx, j, data); err != nil {
		return nil, err
	}
	s, facts, err := w.choose(ctx, j, data)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := w.facts(s)
	f.Accuracy = facts
	if s.Empty() {
		return w.unchanged(j, f)
	}
	if err := w.a.Cut(s, j.threads); err != nil {
		return nil, sdk.AttrError("model", "the channels cannot be taken out", err.Error())
	}
	out, err := w.write(ctx, j, s, data, &f)
	if err != nil {
		return nil, err
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": out}, Facts: f}, nil
}

// samples are a dataset that fits the model; the zero value has none.
type samples struct {
	source gram.Source
	shards *tensor.Shards
	batch  int64
	fixed  int64 // that the model takes at a time; 0: any
}

func (s *samples) close() {
	if s.shards != nil {
		_ = s.shards.Close()
	}
}

// usualBatch is how many samples are run at a time where the model takes any number.
const usualBatch = 8

// calibration opens the dataset, where there is one.
func (c ChannelsConfig) calibration(m *onnx.Model) (*samples, error) {
	if c.Calibration == nil {
		return &samples{}, nil
	}
	shards, err := openData("calibration", c.Calibration)
	if err != nil {
		return nil, err
	}
	src, fixed, err := fitData("calibration", m, shards)
	if err != nil {
		return nil, errors.Join(err, shards.Close())
	}
	s := &samples{src, shards, fixed, fixed}
	if s.batch == 0 {
		s.batch = min(usualBatch, shards.Samples())
	}
	return s, nil
}

// first is the first batch.
func (s *samples) first() (map[string]tensor.Tensor, error) {
	return s.source.Batch(0, min(s.batch, s.source.Samples()))
}

// whole rounds the number of samples down to whole batches, for models that take a fixed number.
type whole struct {
	gram.Source
	batch int64
}

func (w whole) Samples() int64 { return w.Source.Samples() / w.batch * w.batch }

// prepare scores the units, or reads the scan that chooses for it.
func (w *work) prepare(ctx context.Context, j job, data *samples) error {
	c := w.config
	o := score.Options{Method: c.importance(), Seed: j.seed, Threads: j.threads}
	switch c.importance() {
	case score.Activation:
		energy, err := score.Measure(ctx, w.a, score.Run{Source: whole{data.source, data.batch}, Batch: data.batch, Threads: j.threads,
			Progress: func(done, total int64) { j.progress("measure activations", done, total, "samples") }})
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return dataError("calibration", err)
		}
		o.Energy = energy
	case score.FPGM:
		g, err := gram.NewGemm(j.threads)
		if err != nil {
			return err
		}
		defer func() { _ = g.Close() }()
		o.Gemm = g
	}
	r, err := score.Of(w.a, o)
	if err != nil {
		return sdk.AttrError("importance", "channels cannot be compared by "+c.importance(), err.Error())
	}
	if len(r.Of) == 0 {
		return sdk.AttrError("importance", fmt.Sprintf("importance = %q says nothing about this model", c.importance()),
			fmt.Sprintf("Of its %d groups of channels none has what it looks at: %s. Write \"l2\", or another one.", len(w.a.Groups), r.Skipped[w.a.Groups[0]]))
	}
	w.ranked(r)
	if c.Sensitivity == nil {
		return nil
	}
	scan, err := sensitivity.Read(c.Sensitivity.Path)
	if err != nil {
		return sdk.AttrError("sensitivity", "the scan cannot be read", err.Error())
	}
	if scan.What != sensitivity.Channels {
		return sdk.AttrError("sensitivity", "the scan is about weights, not channels", "Make it with prune_sensitivity and what = \"channels\".")
	}
	known := map[string]bool{}
	for _, g := range w.a.Groups {
		known[g.Name] = true
	}
	for _, g := range scan.Groups {
		if !known[g.Name] {
			return sdk.AttrError("sensitivity", "the scan is of another model", fmt.Sprintf("It has a group %q, which this model does not have. Make it with prune_sensitivity from the same model.", g.Name))
		}
	}
	w.scan = scan
	return nil
}

// choose finds what leaves.
func (w *work) choose(ctx context.Context, j job, data *samples) (*groups.Selection, *SearchFacts, error) {
	c := w.config
	switch {
	case c.Accuracy != nil:
		return w.accurate(ctx, j, data)
	case c.Budget != nil && c.Budget.Speedup != nil:
		return w.faster(ctx, j, data)
	case c.Budget != nil:
		s, err := w.within()
		return s, nil, err
	case c.Ratio != nil:
		s, err := w.level(*c.Ratio)
		if err != nil {
			return nil, nil, sdk.AttrError("ratio", "the scan of sensitivity does not reach this ratio", err.Error())
		}
		return s, nil, nil
	}
	return w.local(0), nil, nil
}

// within finds the least that leaves for a budget.
func (w *work) within() (*groups.Selection, error) {
	b := w.config.Budget
	fits := func(c groups.Cost) bool {
		return (b.MACs == nil || float64(c.MACs) <= *b.MACs*float64(w.before.MACs)) &&
			(b.Parameters == nil || float64(c.Parameters) <= *b.Parameters*float64(w.before.Parameters))
	}
	s, ok, err := w.smallest(fits)
	if err != nil {
		return nil, err
	}
	if ok {
		return s, nil
	}
	least := w.a.Cost(s)
	return nil, sdk.AttrError("budget", "the budget cannot be reached",
		fmt.Sprintf("With all that may leave (max_ratio, round_to, keep and ratios bound it), %.3f of the multiply-accumulates and %.3f of the parameters are left. ",
			shareOf(least.MACs, w.before.MACs), shareOf(least.Parameters, w.before.Parameters))+
			"Allow more, or look at left_alone of a run with a smaller ratio for what stays.")
}

func shareOf(part, all int64) float64 {
	if all == 0 {
		return 1
	}
	return float64(part) / float64(all)
}

// facts tell about a selection.
func (w *work) facts(s *groups.Selection) ChannelsFacts {
	after := w.a.Cost(s)
	f := ChannelsFacts{Importance: w.config.importance(), Scope: w.config.Scope, RoundTo: w.round, MACsBefore: w.before.MACs, ParametersBefore: w.before.Parameters,
		MACsAfter: after.MACs, ParametersAfter: after.Parameters, Groups: w.lines(s), LeftAlone: w.leftAlone(), Difference: -1}
	if w.scan != nil {
		f.Scope = "sensitivity"
	}
	for _, g := range w.a.Groups {
		for _, u := range g.Units {
			f.ChannelsBefore += int64(g.Channels)
			if s.Has(u) {
				f.ChannelsRemoved += int64(g.Channels)
			}
		}
	}
	return f
}

// unchanged passes the model on as it came.
func (w *work) unchanged(j job, f ChannelsFacts) (*sdk.Result, error) {
	m, done, err := mapModel(w.config.Model.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }()
	out, err := writeModel(j, m)
	if err != nil {
		return nil, err
	}
	f.Check, f.Difference = "nothing left the model: it is the same, byte by byte", 0
	j.warn(sdk.Diagnostic{Severity: sdk.SeverityWarning, Summary: "no channel leaves the model",
		Detail: "It is passed on as it came. What stays of a group is a multiple of round_to; see the report for each group."})
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": out}, Facts: f}, nil
}

// write checks the pruned model and hands it over.
func (w *work) write(ctx context.Context, j job, s *groups.Selection, data *samples, f *ChannelsFacts) (sdk.Artifact, error) {
	if err := w.sound(); err != nil {
		return sdk.Artifact{}, err
	}
	shapes, err := onnx.TypicalShapes(w.model)
	if err != nil {
		return sdk.Artifact{}, broken("shapes", err)
	}
	f.MACsAfter, _ = onnx.CountMACs(w.model, shapes)
	f.ParametersAfter = onnx.CountParameters(w.model)
	if w.config.repairs() != repairOff {
		return w.repaired(ctx, j, s, data, f)
	}
	out, err := writeModel(j, w.model)
	if err != nil {
		return sdk.Artifact{}, err
	}
	file, err := onnx.ModelFile(filepath.Join(j.outDir, out.Path))
	if err != nil {
		return sdk.Artifact{}, err
	}
	j.progress("check", 0, 2, "runs")
	if err := w.verify(ctx, j, s, data, file, f); err != nil {
		return sdk.Artifact{}, err
	}
	j.progress("check", 2, 2, "runs")
	return out, nil
}

// broken is the error of a check that a pruned model failed.
func broken(what string, err error) error {
	return sdk.CodeError("prune/broken-result", "the pruned model is not sound: "+what,
		err.Error()+". This is a fault of prune_channels, not of the recipe; nothing was written. Keep the layers in question with keep, and report the model.")
}
