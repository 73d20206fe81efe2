package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/plugins/quantize/accuracy"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/sdk"
)

// AccuracyConfig is the block accuracy of quantize_static.
type AccuracyConfig struct {
	Metric    string   `opt:"metric" doc:"What is measured: a metric as in an evaluate block that needs no options, such as \"top1\", \"f1_macro\", \"agreement\", \"cosine\" or \"sqnr\". Without it top-1 accuracy where validation has labels, else the cosine of the outputs with those of the float model."`
	MaxDrop   *float64 `opt:"max_drop" doc:"How much of the metric may be lost against the float model: 0.005 is half a percentage point of top-1. For agreement and cosine, how far below 1 it may be; a metric of which less is better may rise by as much. Give this or minimum."`
	Minimum   *float64 `opt:"minimum" doc:"The figure that must be reached, such as 30 for sqnr, in decibels."`
	Worst     bool     `opt:"worst" default:"false" doc:"Hold the worse end of the figure's 95% interval within the bound, not the figure itself."`
	TimeLimit *string  `opt:"time_limit" doc:"Such as \"10m\": when it is up, what was found so far counts. The result then depends on how fast the machine is."`
	Otherwise string   `opt:"otherwise" default:"error" oneof:"error,float" doc:"What to do when no layer can be quantized within the bound: \"error\" fails the step, \"float\" passes the model on as it is."`
}

func (c *AccuracyConfig) validate(ctx context.Context) sdk.Diagnostics {
	var ds sdk.Diagnostics
	fail := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"accuracy", arg}, Summary: summary, Detail: detail})
	}
	switch {
	case c.MaxDrop == nil && c.Minimum == nil:
		if sdk.Known(ctx, "accuracy") {
			fail("max_drop", "accuracy has no bound", "Write max_drop, or minimum for a metric such as sqnr.")
		}
	case c.MaxDrop != nil && c.Minimum != nil:
		fail("minimum", "accuracy has two bounds", "Write max_drop or minimum, not both.")
	case c.MaxDrop != nil && !(*c.MaxDrop >= 0) || c.MaxDrop != nil && math.IsInf(*c.MaxDrop, 0):
		fail("max_drop", fmt.Sprintf("max_drop is %v", *c.MaxDrop), "It is at least 0.")
	default:
		if _, _, err := c.gauge(); err != nil {
			arg := "metric"
			if c.Minimum != nil {
				arg = "minimum"
			}
			fail(arg, "this bound does not fit the metric", err.Error()+".")
		}
	}
	if _, err := c.limit(); err != nil {
		fail("time_limit", fmt.Sprintf("time_limit is %q", *c.TimeLimit), "It is a duration such as \"90s\" or \"10m\", more than 0.")
	}
	return ds
}

func (c *AccuracyConfig) gauge() (g accuracy.Gauge, limit float64, err error) {
	if c.Minimum != nil {
		g, err = accuracy.LevelGauge(c.Metric)
		return g, -*c.Minimum, err
	}
	g, err = accuracy.DropGauge(c.Metric)
	if c.MaxDrop != nil {
		limit = *c.MaxDrop
	}
	return g, limit, err
}

func (c *AccuracyConfig) limit() (time.Duration, error) {
	if c.TimeLimit == nil {
		return 0, nil
	}
	d, err := time.ParseDuration(*c.TimeLimit)
	if err != nil || d <= 0 {
		return 0, errors.New("it is a duration such as \"90s\" or \"10m\", more than 0")
	}
	return d, nil
}

// gate is a bound that candidates are measured against, through the core, in the runtime that the target names.
type gate struct {
	config   *AccuracyConfig
	gauge    accuracy.Gauge
	limit    float64
	evaluate evaluateFunc
	baseline sdk.Artifact
	data     sdk.Dataset
	runtime  string
	path     string // of candidates; one after the other
	samples  int64
}

// evaluateFunc is sdk.Run.Evaluate.
type evaluateFunc func(context.Context, sdk.Evaluation) (map[string]sdk.Estimate, int64, error)

func (c StaticConfig) newGate(j job, t *Target) (*gate, error) {
	if ds := c.planAccuracy(t); len(ds) > 0 {
		return nil, ds[0]
	}
	g := &gate{config: c.Accuracy, evaluate: j.evaluate, baseline: c.Model.Artifact, data: *c.Validation, runtime: t.Engine,
		path: filepath.Join(j.scratch, "candidate.onnx")}
	var err error
	g.gauge, g.limit, err = c.Accuracy.gauge()
	return g, err
}

// planAccuracy checks what only Plan and Apply know: which artifacts are given.
func (c StaticConfig) planAccuracy(t *Target) sdk.Diagnostics {
	fail := func(arg, summary, detail string) sdk.Diagnostics {
		return sdk.Diagnostics{{Path: []any{arg}, Summary: summary, Detail: detail}}
	}
	switch {
	case c.Accuracy == nil && c.Budget == nil && c.Validation != nil:
		return fail("validation", "validation does nothing", "It is what the blocks accuracy and budget measure on: write one of them, or leave validation out.")
	case c.Accuracy != nil && c.Budget != nil:
		return fail("budget", "accuracy and budget are given", "One bounds the loss, the other the size or the time: write one of them, and check the other with ensure in an evaluate block.")
	case c.Budget != nil && c.Validation == nil && c.Calibration == nil:
		return fail("validation", "budget has no data to measure errors on", "Write validation = dataset.NAME, or calibration = dataset.NAME.")
	case c.Budget != nil && c.Budget.Speedup != nil && t.Engine == "":
		return fail("budget", fmt.Sprintf("%s cannot be timed", t.Name), "No runtime of Optimize runs this target's layout. Write size instead of speedup, or choose a target that runs here, such as \"auto\".")
	case c.Budget != nil && len(c.States) > 0:
		return fail("budget", "errors cannot be measured for a model with states", "Samples are run one by one, without what a state carries from one to the next. Leave the block budget out.")
	case c.Accuracy == nil:
		return nil
	case c.Validation == nil:
		return fail("validation", "accuracy has no data to measure on", "Write validation = dataset.NAME: samples that calibration does not use, with labels where the metric needs them.")
	case t.Engine == "":
		return fail("accuracy", fmt.Sprintf("accuracy cannot be measured for %s", t.Name),
			"No runtime of Optimize runs this target's layout. Leave the block accuracy out, or choose a target that runs here, such as \"auto\".")
	case len(c.States) > 0:
		return fail("accuracy", "accuracy cannot be measured for a model with states", "An evaluation runs sample by sample, without what a state carries from one to the next. Leave the block accuracy out.")
	}
	return nil
}

// loss measures a candidate.
func (g *gate) loss(ctx context.Context, v *variant) (float64, error) {
	if err := v.model.WriteFile(g.path); err != nil {
		return 0, fmt.Errorf("a candidate cannot be written: %w", err)
	}
	got, n, err := g.evaluate(ctx, sdk.Evaluation{Candidate: sdk.Artifact{Kind: "model", Format: "onnx", Path: g.path},
		Baseline: g.baseline, Dataset: g.data, Runtime: g.runtime, Metrics: g.gauge.Metrics()})
	if err != nil {
		var ds sdk.Diagnostics
		if errors.As(err, &ds) {
			return 0, sdk.AttrError("accuracy", "a candidate cannot be measured", err.Error())
		}
		return 0, err
	}
	g.samples = n
	if g.gauge, err = g.gauge.Settle(func(m string) bool { _, ok := got[m]; return ok }); err != nil {
		return 0, sdk.AttrError("accuracy.metric", "there is no metric to go by", err.Error())
	}
	e, ok := got[g.gauge.Ask]
	if !ok {
		return 0, sdk.AttrError("accuracy.metric", fmt.Sprintf("the evaluation gave no %s", g.gauge.Ask), "Name a metric that fits the model's outputs and the data.")
	}
	loss, worst := g.gauge.Loss(e.Value, e.Low, e.High)
	if g.config.Worst {
		loss = worst
	}
	return loss, nil
}

// AccuracyFacts tell what accuracy control did.
type AccuracyFacts struct {
	Metric    string   `opt:"metric" doc:"What was measured."`
	First     float64  `opt:"first" doc:"The loss with all layers quantized: a drop, a rise, what a share is short of 1; with minimum, the figure itself."`
	Last      float64  `opt:"last" doc:"The same of the model that came out."`
	Restored  []string `opt:"restored" doc:"Layers given back their float form, those that hurt most first, each with its SQNR when it alone is quantized and what it would cost to quantize it again."`
	Held      bool     `opt:"held" doc:"The bound holds; false where the float model was passed on."`
	Trials    int64    `opt:"trials" doc:"Candidates that were measured."`
	Samples   int64    `opt:"samples" doc:"Samples that each was measured on."`
	OutOfTime bool     `opt:"out_of_time" doc:"The time limit ended the search."`
}

// controlled finds which layers stay in float so that the accuracy holds. nil: the float model is all that holds.
func (c StaticConfig) controlled(ctx context.Context, j job, t *Target, v *variants) (*variant, *AccuracyFacts, error) {
	g, err := c.newGate(j, t)
	if err != nil {
		return nil, nil, err
	}
	span, err := c.Accuracy.limit()
	if err != nil {
		return nil, nil, err
	}
	late, lateRank := accuracy.Deadline(span), accuracy.Deadline(span/2)
	full, err := v.with(nil)
	if err != nil {
		return nil, nil, err
	}
	// Most models hold at once: nothing is ranked then.
	j.progress("accuracy", 0, 1, "trials")
	first, err := g.loss(ctx, full)
	if err != nil {
		return nil, nil, err
	}
	facts := &AccuracyFacts{First: g.figure(first), Last: g.figure(first), Metric: g.gauge.Label, Held: true, Trials: 1, Samples: g.samples, Restored: []string{}}
	if first <= g.limit {
		return full, facts, nil
	}
	layers, err := c.ranked(ctx, j, v, late, lateRank)
	if err != nil {
		return nil, nil, err
	}
	out, err := accuracy.Control(ctx, layers, func(ctx context.Context, float []string) (float64, error) {
		if len(float) == 0 {
			return first, nil
		}
		w, err := v.with(g.exclude(float))
		if err != nil {
			return 0, err
		}
		if !w.quantizes() {
			return 0, nil // what is left is not worth quantizing: the float model
		}
		return g.loss(ctx, w)
	}, accuracy.Options{Limit: g.limit, Late: late, Progress: func(done, most int) { j.progress("accuracy", int64(done), int64(most), "trials") }})
	if err != nil {
		return nil, nil, err
	}
	facts.Trials, facts.OutOfTime, facts.Held, facts.Last = int64(out.Trials), out.Late, out.Held, g.figure(out.Loss)
	var names []string
	for _, r := range out.Restored {
		names = append(names, r.Name)
		facts.Restored = append(facts.Restored, g.describe(r))
	}
	if out.Late && out.Held {
		j.warn(sdk.AttrWarning("accuracy.time_limit", "time was up before accuracy control was done",
			fmt.Sprintf("The bound holds with %d layers in float; with more time, fewer might do.", len(names))))
	}
	if out.Held {
		w, err := v.with(g.exclude(names))
		if err != nil {
			return nil, nil, err
		}
		if w.quantizes() {
			return w, facts, nil
		}
	}
	facts.Held = false
	why := fmt.Sprintf("The best of %d candidates has %s, and %s is asked for.", out.Trials, g.gauge.Show(out.Best), g.gauge.Show(g.limit))
	if out.Late {
		why = "Time was up before a candidate held. " + why
	}
	if c.Accuracy.Otherwise == "float" {
		j.warn(sdk.AttrWarning("accuracy", "the model stays in float", "No layer can be quantized within the bound. "+why))
		return nil, facts, nil
	}
	return nil, nil, sdk.AttrError("accuracy", "no layer can be quantized within the bound",
		why+" Allow more loss, try method = \"mse\" or per_channel = true, give more calibration samples, or write otherwise = \"float\" to go on with the float model."+hurt(layers))
}

// figure is the loss as it is reported.
func (g *gate) figure(loss float64) float64 {
	if g.config.Minimum != nil {
		return -loss
	}
	return loss
}

func (g *gate) exclude(float []string) map[string]string {
	out := map[string]string{}
	for _, n := range float {
		out[n] = "accuracy control gave it back its float form"
	}
	return out
}

func (g *gate) describe(r accuracy.Restored) string {
	s := r.Name
	if !math.IsNaN(r.Noise) {
		s += fmt.Sprintf(": SQNR %.1f dB alone", r.SQNR())
	}
	if !math.IsNaN(r.Without) {
		s += fmt.Sprintf("; quantized again, %s", g.gauge.Show(r.Without))
	}
	return s
}

// hurt names the layers that hurt most.
func hurt(ranked []accuracy.Layer) string {
	var parts []string
	for _, l := range ranked[:min(3, len(ranked))] {
		if !math.IsNaN(l.Noise) {
			parts = append(parts, fmt.Sprintf("%s (%.1f dB alone)", l.Name, l.SQNR()))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " What hurts most: " + strings.Join(parts, ", ") + "."
}

// ranked measures the layers, each alone in integers.
func (c StaticConfig) ranked(ctx context.Context, j job, v *variants, late, lateRank func() bool) ([]accuracy.Layer, error) {
	if err := loadEngine("accuracy control"); err != nil {
		return nil, err
	}
	data, err := c.Validation.Open()
	if err != nil {
		return nil, sdk.AttrError("validation", "the dataset cannot be read", err.Error())
	}
	defer data.Close()
	r, err := newRanker(ctx, v, &calibrate.Job{Model: v.model, Data: data, Argument: "validation"}, j.threads)
	if err != nil {
		return nil, err
	}
	layers := layersOf(v.model, v.full)
	if err := r.rank(ctx, layers, lateRank, func(done, total int64) { j.progress("rank layers", done, total, "layers") }); err != nil {
		return nil, err
	}
	return accuracy.Rank(slices.Clone(layers)), nil
}
