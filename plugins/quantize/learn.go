package quantize

import (
	"context"
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/sdk"
)

// learnConfig are the arguments that say where ranges come from; quantize_calibrate and quantize_static share them.
type learnConfig struct {
	calibration *sdk.Dataset
	ranges      *sdk.Artifact
	orRanges    bool // the step takes ranges
	random      *int64
	method      *string
	percentile  *float64
	bins        *int64
	batch       *int64
	memoryMB    *int64
	states      map[string]string
	perChannel  bool
	histograms  bool
	quiet       bool // others say where the samples came from
}

// options are how ranges are chosen.
func (c learnConfig) options() calibrate.Options {
	o := calibrate.Options{Method: calibrate.MinMax}
	if c.method != nil {
		o.Method = calibrate.Method(*c.method)
	}
	if c.percentile != nil {
		o.Percentile = *c.percentile
	}
	if c.bins != nil {
		o.Bins = int(min(*c.bins, 1<<30))
	}
	return o
}

// maxRandom bounds made-up samples: they say nothing, however many there are.
const maxRandom = 1 << 20

// validate checks the arguments but for the artifacts.
func (c learnConfig) validate(ctx context.Context) sdk.Diagnostics {
	var ds sdk.Diagnostics
	fail := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{arg}, Summary: summary, Detail: detail})
	}
	if c.random != nil && (*c.random < 1 || *c.random > maxRandom) {
		fail("calibration_random", fmt.Sprintf("calibration_random is %d", *c.random), fmt.Sprintf("It is a number of samples, from 1 to %d.", maxRandom))
	}
	if c.batch != nil && *c.batch < 1 {
		fail("batch", fmt.Sprintf("batch is %d", *c.batch), "Calibration runs at least one sample at a time.")
	}
	if c.memoryMB != nil && (*c.memoryMB < 1 || *c.memoryMB > 1<<30) {
		fail("calibration_memory", fmt.Sprintf("calibration_memory is %d", *c.memoryMB), "It is a number of megabytes, at least 1.")
	}
	o := c.options()
	if c.percentile != nil && *c.percentile == 0 || c.bins != nil && *c.bins == 0 {
		o.Bins = -1 // zero stands for the default only where nothing is written
		if c.percentile != nil && *c.percentile == 0 {
			o.Bins, o.Percentile = 0, -1
		}
	}
	if arg, problem := o.Check(); arg != "" && !(arg == "method" && !sdk.Known(ctx, "method")) {
		fail(arg, "a calibration argument is out of bounds", problem)
	}
	if c.method == nil && sdk.Known(ctx, "method") && !c.orRanges || c.method != nil {
		for arg, used := range map[string]bool{"percentile": c.percentile == nil || o.Method == calibrate.Percentile,
			"bins": c.bins == nil || o.Method == calibrate.Percentile || o.Method == calibrate.Entropy} {
			if !used {
				fail(arg, fmt.Sprintf("%s does nothing", arg), fmt.Sprintf("The method %s does not look at it.", o.Method))
			}
		}
	}
	return ds
}

// source checks that ranges come from one place. Only Plan and Apply know which artifacts are given.
func (c learnConfig) source() sdk.Diagnostics {
	var ds sdk.Diagnostics
	fail := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{arg}, Summary: summary, Detail: detail})
	}
	choices := "calibration = dataset.NAME or calibration_random = N"
	if c.orRanges {
		choices = "calibration = dataset.NAME, ranges = step.NAME.ranges or calibration_random = N"
	}
	given := map[string]bool{"calibration": c.calibration != nil, "ranges": c.ranges != nil, "calibration_random": c.random != nil}
	var names []string
	for _, n := range []string{"calibration", "ranges", "calibration_random"} {
		if given[n] {
			names = append(names, n)
		}
	}
	switch {
	case len(names) == 0:
		fail("calibration", "there is nothing to learn ranges from", "Write one of "+choices+".")
	case len(names) > 1:
		fail(names[1], fmt.Sprintf("%s are given", strings.Join(names, " and ")), "Ranges come from one place: write one of "+choices+".")
	}
	return ds
}

// learnSome is learnRanges, and runs nothing where no ranges are wanted.
func (c learnConfig) learnSome(ctx context.Context, j job, m *onnx.Model, names []string) (*calibrate.Ranges, error) {
	if len(names) == 0 {
		return &calibrate.Ranges{Options: c.options(), Tensors: map[string]*calibrate.Tensor{}}, nil
	}
	return c.learnRanges(ctx, j, m, names)
}

// learnRanges returns the ranges of the named tensors of a prepared model, or of more: read, or learnt from the data.
func (c learnConfig) learnRanges(ctx context.Context, j job, m *onnx.Model, names []string) (*calibrate.Ranges, error) {
	if ds := c.source(); len(ds) > 0 {
		return nil, ds[0]
	}
	if c.ranges != nil {
		return c.readRanges(j, names)
	}
	if err := loadEngine("calibration"); err != nil {
		return nil, err
	}
	cal := calibrate.Job{Model: m, Tensors: names, Options: c.options(), Histograms: c.histograms, PerChannel: c.perChannel,
		Threads: j.threads, States: c.states, ScratchDir: j.scratch,
		Progress: func(done, total int64) { j.progress("calibrate", done, total, "samples") }}
	if c.batch != nil {
		cal.Batch = *c.batch
	}
	if c.memoryMB != nil {
		cal.Memory = *c.memoryMB << 20
	}
	switch {
	case c.random != nil:
		source, err := calibrate.NewRandomSource(m, *c.random, j.seed, c.states)
		if err != nil {
			return nil, err
		}
		cal.Data, cal.Argument = source, "calibration_random"
		if !c.quiet {
			defer warnRandom(j, *c.random)
		}
	case c.calibration != nil:
		data, err := c.calibration.Open()
		if err != nil {
			return nil, sdk.AttrError("calibration", "the dataset cannot be read", err.Error())
		}
		defer data.Close()
		cal.Data = data
	}
	return calibrate.Collect(ctx, cal)
}

func warnRandom(j job, n int64) {
	j.warn(sdk.AttrWarning("calibration_random", fmt.Sprintf("the ranges come from %d made-up samples", n),
		"They say nothing about real data, and a model quantized with them may be worth nothing on it: good for timing and trials only."))
}

// readRanges reads ranges that another step learnt, and chooses anew where the arguments say so.
func (c learnConfig) readRanges(j job, names []string) (*calibrate.Ranges, error) {
	r, err := calibrate.Read(c.ranges.Path)
	if err != nil {
		return nil, sdk.AttrError("ranges", "the ranges cannot be read", err.Error())
	}
	if missing := r.Missing(names); len(missing) > 0 {
		return nil, sdk.AttrError("ranges", "the ranges are not those of this model",
			fmt.Sprintf("They hold no tensor %q, and %d in all of the %d that are needed: give quantize_calibrate the same model, and tensors = \"all\" if they are in it.", missing[0], len(missing), len(names)))
	}
	if c.method != nil || c.percentile != nil || c.bins != nil {
		o := c.options()
		if c.method == nil {
			o.Method = r.Options.Method
		}
		if err := r.Choose(o, j.threads); err != nil {
			return nil, sdk.AttrError("method", "the ranges cannot be chosen by this method", err.Error()+". Write histograms = true, or the method itself, in quantize_calibrate.")
		}
	}
	if r.Random {
		warnRandom(j, r.Samples)
	}
	return r, nil
}
