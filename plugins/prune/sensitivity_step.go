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
	"github.com/optimize-hcl/optimize/plugins/prune/layer"
	"github.com/optimize-hcl/optimize/plugins/prune/score"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
)

func sensitivityStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "prune_sensitivity",
		Revision: 1,
		Doc: "Finds how much each group of channels, or each layer's weights, can lose and at what cost: one group at a time loses a share, and the model is " +
			"compared with the original. The scan is an artifact of its own, so that prune_channels and prune_weights can use it again and again; the HTML " +
			"report draws its curves.",
		Examples: []string{sensitivityExample},
		Outputs: []sdk.Output{{Name: "sensitivity", Kind: sensitivity.Kind, Format: sensitivity.Format,
			Doc: "The scan, as JSON (optimize.sensitivity/v1): for each group its nodes, how many weights go with it, and the loss at each ratio."}},
		ResultExample: SensitivityFacts{},
	}, func(ctx context.Context, run *sdk.Run, c SensitivityConfig) (*sdk.Result, error) {
		return pruneSensitivity(ctx, jobOf(run), c)
	})
}

const sensitivityExample = `step "prune_sensitivity" "scan" {
  model      = model.classifier
  validation = dataset.validation
  ratios     = [0.25, 0.5, 0.75]
}

step "prune_channels" "narrow" {
  model       = model.classifier
  ratio       = 0.3
  sensitivity = step.scan.sensitivity
}`

// SensitivityConfig is the configuration of prune_sensitivity.
type SensitivityConfig struct {
	Model       sdk.Model    `opt:"model,required" accepts:"onnx" doc:"Float model to scan."`
	What        string       `opt:"what" default:"channels" oneof:"channels,weights" doc:"What is taken away: \"channels\" of groups, for prune_channels, or \"weights\" of layers, for prune_weights."`
	Importance  string       `opt:"importance" default:"lamp" oneof:"l1,l2,bn_scale,fpgm,lamp,activation,random" doc:"Which channels of a group go first, as in prune_channels. \"activation\" needs calibration data."`
	Pattern     string       `opt:"pattern" default:"unstructured" doc:"Where zeros lie when weights are taken away: \"unstructured\", or a block such as \"16x1\". The smallest go first. A pattern such as 2:4 has a share of its own, so there is nothing to scan."`
	Ratios      []float64    `opt:"ratios" default:"[0.1, 0.25, 0.5, 0.75, 0.9]" doc:"Shares that each group loses, rising, more than 0 and less than 1."`
	Calibration *sdk.Dataset `opt:"calibration" doc:"Samples without labels: the loss is the error at the outputs (noise), the energy of the difference from the original over that of the original, of the worst output. 16 to 64 are enough. Give this or validation."`
	Validation  *sdk.Dataset `opt:"validation" doc:"Samples that a metric is measured on, with labels where it needs them."`
	Metric      string       `opt:"metric" default:"" doc:"With validation: what is measured, as in an evaluate block, such as \"top1\", \"f1_macro\" or \"agreement\"; its drop is the loss. Without it top-1 accuracy where validation has labels, else the cosine of the outputs with those of the original."`
	Keep        []string     `opt:"keep" default:"[]" doc:"Names of nodes to leave out of the scan; * stands for any characters and ? for one."`
}

// SensitivityFacts are what prune_sensitivity tells about its work.
type SensitivityFacts struct {
	What        string    `opt:"what" doc:"What was taken away."`
	Metric      string    `opt:"metric" doc:"What the loss is."`
	Groups      int64     `opt:"groups" doc:"Groups of channels, or layers, that were scanned."`
	Trials      int64     `opt:"trials" doc:"Models that were compared with the original."`
	Samples     int64     `opt:"samples" doc:"Samples that each was compared on."`
	Most        []string  `opt:"most_sensitive" doc:"The groups that lose most, at the middle ratio: up to five."`
	Least       []string  `opt:"least_sensitive" doc:"The groups that lose least there: up to five."`
	Left        []string  `opt:"left_out" doc:"Groups, or nodes, that were not scanned, each with the reason."`
	Sensitivity sdk.Chart `opt:"sensitivity" doc:"The curves, which the HTML report draws."`
}

// Validate checks what the schema cannot.
func (c SensitivityConfig) Validate(context.Context) sdk.Diagnostics {
	ds := validateKeep(c.Keep)
	bad := func(attr, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{attr}, Summary: summary, Detail: detail})
	}
	last := 0.0
	for i, r := range c.Ratios {
		if !(r > last && r < 1) {
			ds = append(ds, sdk.Diagnostic{Path: []any{"ratios", sdk.Index(i)}, Summary: fmt.Sprintf("ratio %d is %v", i+1, r), Detail: "Ratios rise, from more than 0 to less than 1."})
			break
		}
		last = r
	}
	if len(c.Ratios) == 0 {
		bad("ratios", "there are no ratios", "Write at least one, such as [0.25, 0.5, 0.75].")
	}
	p, err := sparse.ParsePattern(c.Pattern)
	switch {
	case err != nil:
		bad("pattern", fmt.Sprintf("pattern is %q", c.Pattern), err.Error()+".")
	case p.Fixed():
		bad("pattern", fmt.Sprintf("%s has a share of its own", p), "There is nothing to scan: prune_weights takes the same share of every layer. keep names layers that stay whole.")
	case c.What == sensitivity.Channels && c.Pattern != sparse.Unstructured:
		bad("pattern", "channels have no pattern", "Leave pattern out, or write what = \"weights\".")
	}
	if c.Metric == "sqnr" {
		bad("metric", "sqnr compares with the original, whose own is without bound", "Leave metric and validation out, and give calibration: the loss is the error at the outputs then, which is what sqnr is the logarithm of.")
	}
	return ds
}

// source checks which datasets are given: only Plan and Apply know.
func (c SensitivityConfig) source() sdk.Diagnostics {
	fail := func(attr, summary, detail string) sdk.Diagnostics {
		return sdk.Diagnostics{{Path: []any{attr}, Summary: summary, Detail: detail}}
	}
	switch {
	case c.Calibration == nil && c.Validation == nil:
		return fail("validation", "there is nothing to measure the loss on", "Name a dataset: validation with labels, or calibration without.")
	case c.Metric != "" && c.Validation == nil:
		return fail("metric", "a metric needs validation data", "Write validation = dataset.NAME, or leave metric out.")
	case c.Importance == score.Activation && c.What == sensitivity.Channels && c.Calibration == nil:
		return fail("calibration", "activation needs calibration data", "Write calibration = dataset.NAME, or another importance.")
	case c.Calibration != nil && c.Validation != nil && (c.Importance != score.Activation || c.What != sensitivity.Channels):
		return fail("calibration", "the loss is measured on one dataset", "Leave out calibration to measure a metric on validation, or validation to measure the error at the outputs.")
	}
	return nil
}

// Plan tells what the bytes depend on.
func (c SensitivityConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	if sdk.Known(ctx, "metric") && sdk.Known(ctx, "what") && sdk.Known(ctx, "importance") {
		r.Diagnostics = c.source()
	}
	r.Needs = sdk.Needs{Cores: run.Threads}
	if c.Model.Size > 0 {
		r.Needs.Memory = 6*c.Model.Size + 256<<20
	}
	return r, planEngine(r, run.Threads)
}

func pruneSensitivity(ctx context.Context, j job, c SensitivityConfig) (*sdk.Result, error) {
	if ds := c.source(); len(ds) > 0 {
		return nil, ds[0]
	}
	if err := loadEngine("prune_sensitivity"); err != nil {
		return nil, err
	}
	s := &scan{job: j, config: c, file: &sensitivity.File{What: c.What, Method: c.Importance}}
	if err := s.measure(ctx); err != nil {
		return nil, err
	}
	defer s.close()
	var err error
	if c.What == sensitivity.Weights {
		s.file.Method, s.file.Pattern = methodMagnitude, c.Pattern
		err = s.weights(ctx)
	} else {
		err = s.channels(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.file.Metric, s.file.Samples = s.loss.name, s.samples
	if err := s.file.Write(filepath.Join(j.outDir, "sensitivity.json")); err != nil {
		return nil, fmt.Errorf("the scan cannot be written: %w", err)
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"sensitivity": {Kind: sensitivity.Kind, Format: sensitivity.Format, Path: "sensitivity.json"}}, Facts: s.facts()}, nil
}

// scan is one run of prune_sensitivity.
type scan struct {
	job     job
	config  SensitivityConfig
	file    *sensitivity.File
	loss    *lossOf
	samples int64
	trials  int64
	left    []string
	done    int64
	total   int64
}

// point measures a candidate.
func (s *scan) point(ctx context.Context, ratio float64, candidate sdk.Artifact) (sensitivity.Point, error) {
	if err := ctx.Err(); err != nil {
		return sensitivity.Point{}, err
	}
	s.job.progress("scan", s.done, s.total, "trials")
	s.done++
	s.trials++
	p := sensitivity.Point{Ratio: ratio}
	var err error
	p.Loss, p.Low, p.High, err = s.loss.of(ctx, candidate)
	return p, err
}

// weights scans layer by layer.
func (s *scan) weights(ctx context.Context) (err error) {
	m, unmap, err := mapModel(s.config.Model.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmap()) }()
	if err := floatOnly(m); err != nil {
		return err
	}
	m.RaiseIR(4)
	if _, err := onnx.ConstantsToInitializers(m); err != nil {
		return sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	keep := newKeeper(s.config.Keep)
	layers, kept := layer.Find(m, keep.why)
	keep.warn(s.job)
	if len(layers) == 0 {
		return nothingToPrune(kept)
	}
	for _, k := range kept {
		s.left = append(s.left, k.String())
	}
	p, err := sparse.ParsePattern(s.config.Pattern)
	if err != nil {
		return sdk.AttrError("pattern", fmt.Sprintf("pattern is %q", s.config.Pattern), err.Error())
	}
	s.total = int64(len(layers) * len(s.config.Ratios))
	// Names are copied: the scan outlives the mapped model that they lie in.
	w := &weightsWork{job: s.job, pattern: p, share: map[*layer.Layer]float64{}}
	for _, l := range layers {
		whole, err := l.Weight.Tensor()
		if err != nil {
			return sdk.AttrError("model", "a weight cannot be pruned", err.Error())
		}
		rows, err := l.Rows()
		if err != nil {
			return sdk.AttrError("model", "a weight cannot be pruned", err.Error())
		}
		g := sensitivity.Group{Name: strings.Clone(l.Name()), Elements: int64(len(rows))}
		for _, n := range l.Nodes {
			g.Nodes = append(g.Nodes, strings.Clone(layer.NodeName(n)))
		}
		for _, r := range s.config.Ratios {
			w.share[l] = r
			v := slices.Clone(rows)
			sparse.Apply(v, w.maskGroups(l, v))
			if err := l.SetRows(v); err != nil {
				return err
			}
			path, err := writeScratch(m, filepath.Join(s.job.scratch, "candidate"))
			if err != nil {
				return err
			}
			point, err := s.point(ctx, r, sdk.Artifact{Kind: "model", Format: "onnx", Path: path})
			if err != nil {
				return err
			}
			g.Points = append(g.Points, point)
		}
		l.Weight.SetTensor(whole)
		s.file.Groups = append(s.file.Groups, g)
	}
	return os.RemoveAll(filepath.Join(s.job.scratch, "candidate"))
}

// channels scans group by group.
func (s *scan) channels(ctx context.Context) (err error) {
	one := int64(1)
	conf := ChannelsConfig{Model: s.config.Model, Importance: &s.config.Importance, Keep: s.config.Keep, Calibration: s.config.Calibration,
		RoundTo: &one, MaxRatio: 0.999, Scope: scopeEach, Target: "auto"}
	keep := newKeeper(s.config.Keep)
	w, err := conf.open(keep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.done()) }()
	keep.warn(s.job)
	data, err := conf.calibration(w.model)
	if err != nil {
		return err
	}
	defer data.close()
	if err := w.prepare(ctx, s.job, data); err != nil {
		return err
	}
	s.left = append(s.left, w.leftAlone()...)
	t := &trials{w: w, j: s.job}
	s.total = int64(len(w.a.Groups) * len(s.config.Ratios))
	for _, g := range w.a.Groups {
		if w.scores.Of[g] == nil {
			s.left = append(s.left, fmt.Sprintf("%s: %s", g.Name, w.scores.Skipped[g]))
			s.done += int64(len(s.config.Ratios))
			continue
		}
		found := sensitivity.Group{Name: strings.Clone(g.Name), Channels: int64(len(g.Units) * g.Channels)}
		for _, n := range g.Nodes {
			found.Nodes = append(found.Nodes, strings.Clone(layer.NodeName(n)))
		}
		for _, u := range g.Uses {
			if u.Constant == nil {
				continue
			}
			var at int64
			for _, i := range u.At {
				at += int64(len(i))
			}
			found.Elements += u.Constant.Elements() / max(u.Constant.Dims[u.Axis], 1) * at
		}
		last := 0
		for _, r := range s.config.Ratios {
			n := min(int(math.Round(r*float64(len(g.Units)))), len(g.Units)-1)
			if n <= last {
				s.done++
				continue // the group is too narrow for a point of its own
			}
			last = n
			sel := w.a.Select()
			for _, u := range w.order[g][:n] {
				sel.Remove(u)
			}
			a, err := t.candidate(ctx, sel, "candidate")
			if err != nil {
				return sdk.AttrError("model", "the channels cannot be taken out", err.Error())
			}
			// The share that left is what the loss is of.
			p, err := s.point(ctx, float64(n)/float64(len(g.Units)), a)
			if err != nil {
				return err
			}
			found.Points = append(found.Points, p)
		}
		if len(found.Points) == 0 {
			s.left = append(s.left, fmt.Sprintf("%s: it has %d units, too few for these ratios", g.Name, len(g.Units)))
			continue
		}
		s.file.Groups = append(s.file.Groups, found)
	}
	if len(s.file.Groups) == 0 {
		return sdk.AttrError("ratios", "no group is wide enough to lose any of these shares", "Write larger ratios.")
	}
	return os.RemoveAll(filepath.Join(s.job.scratch, "candidate"))
}
