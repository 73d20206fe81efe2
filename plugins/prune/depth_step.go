package prune

import (
	"context"
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/sdk"
)

func depthStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "prune_depth",
		Revision: 1,
		Doc: "Drops whole residual blocks: where y = x + f(x), f leaves and y becomes x. The blocks of a residual network, and the attentions and " +
			"feed-forward parts of a transformer, are such. Each block is dropped on trial, and that whose loss changes the model's outputs on the calibration data " +
			"least goes first; then the rest is tried anew. What follows is repaired without training. A block's whole latency leaves with it, whatever the engine.",
		Examples:      []string{depthExample},
		Outputs:       []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The shallower model. Its inputs and outputs are those of the original."}},
		ResultExample: DepthFacts{},
	}, func(ctx context.Context, run *sdk.Run, c DepthConfig) (*sdk.Result, error) {
		return pruneDepth(ctx, jobOf(run), c)
	})
}

const depthExample = `step "prune_depth" "shallow" {
  model       = model.encoder
  calibration = dataset.train
  blocks      = 2
}`

// DepthConfig is the configuration of prune_depth.
type DepthConfig struct {
	Model       sdk.Model    `opt:"model,required" accepts:"onnx" doc:"Float model to prune. Quantize afterwards."`
	Calibration *sdk.Dataset `opt:"calibration" doc:"Samples like those that the model will meet, to see what each block is worth and to repair what is left; 32 to 256 are enough. Labels are not used."`
	Blocks      *int64       `opt:"blocks" doc:"How many blocks leave. Give this, macs or min_sqnr."`
	MACs        *float64     `opt:"macs" doc:"Largest number of multiply-accumulates, as a share of the original's: as few blocks leave as that takes."`
	MinSQNR     *float64     `opt:"min_sqnr" doc:"Signal-to-noise ratio in dB, against the original on calibration data and before the repair, that the model keeps: as many blocks leave as that allows."`
	Keep        []string     `opt:"keep" default:"[]" doc:"Names of blocks that stay, as the report has them: those of the additions that end them; * stands for any characters and ? for one."`
	Repair      string       `opt:"repair" default:"least_squares" oneof:"off,bias,batch_norm,least_squares" doc:"How the layers behind a block that left make up for it, as in prune_channels."`
}

// DepthFacts are what prune_depth tells about its work.
type DepthFacts struct {
	Blocks           []string     `opt:"blocks" doc:"Each block with what it takes, and the SQNR at the outputs when it alone is dropped."`
	Dropped          []string     `opt:"dropped" doc:"Blocks that left, in order, each with the SQNR at the outputs from then on."`
	LeftAlone        []string     `opt:"left_alone" doc:"Additions that end no block, each with the reason."`
	MACsBefore       int64        `opt:"macs_before" doc:"Multiply-accumulates for a sample of usual size, of the original."`
	MACsAfter        int64        `opt:"macs_after" doc:"The same of the result."`
	ParametersBefore int64        `opt:"parameters_before" doc:"Parameters of the original."`
	ParametersAfter  int64        `opt:"parameters_after" doc:"Parameters of the result."`
	Samples          int64        `opt:"samples" doc:"Calibration samples that blocks were tried on."`
	Repair           *RepairFacts `opt:"repair" doc:"What the repair did; null without one."`
}

// Validate checks what the schema cannot.
func (c DepthConfig) Validate(ctx context.Context) sdk.Diagnostics {
	ds := validateKeep(c.Keep)
	bad := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{arg}, Summary: summary, Detail: detail})
	}
	var given []string
	unknown := false
	for _, a := range []struct {
		name  string
		given bool
	}{{"blocks", c.Blocks != nil}, {"macs", c.MACs != nil}, {"min_sqnr", c.MinSQNR != nil}} {
		unknown = unknown || !sdk.Known(ctx, a.name)
		if a.given {
			given = append(given, a.name)
		}
	}
	switch {
	case len(given) > 1:
		bad(given[1], strings.Join(given, " and ")+" say how much is to leave", "Write one of blocks, macs and min_sqnr.")
	case len(given) == 0 && !unknown:
		bad("blocks", "nothing says how much is to leave", "Write blocks, macs or min_sqnr.")
	}
	if c.Blocks != nil && *c.Blocks < 0 {
		bad("blocks", fmt.Sprintf("blocks is %d", *c.Blocks), "It is a number of blocks, at least 0.")
	}
	if c.MACs != nil && !(*c.MACs > 0 && *c.MACs <= 1) {
		bad("macs", fmt.Sprintf("macs is %v", *c.MACs), "It is a share of the original's: more than 0, up to 1.")
	}
	return ds
}

// Plan tells what the bytes depend on, and what the model does not have.
func (c DepthConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{}
	if err := planEngine(r, run.Threads); err != nil {
		return r, err
	}
	r.Needs = sdk.Needs{Memory: 256<<20 + 6*c.Model.Size, Cores: run.Threads}
	if c.Calibration == nil && sdk.Known(ctx, "calibration") {
		r.Diagnostics = append(r.Diagnostics, noDepthData())
	}
	if c.Model.Exists() && c.Model.Size <= seenAtPlan {
		w, err := c.open()
		if err != nil {
			r.Diagnostics = append(r.Diagnostics, asDiagnostics(err)...)
			return r, nil
		}
		defer func() { _ = w.done() }()
		if c.Blocks != nil && *c.Blocks > int64(len(w.blocks)) {
			r.Diagnostics = append(r.Diagnostics, w.tooFew())
		}
	}
	return r, nil
}

func noDepthData() sdk.Diagnostic {
	return sdk.Diagnostic{Path: []any{"calibration"}, Summary: "prune_depth has no data to try blocks on",
		Detail: "Write calibration = dataset.NAME: 32 to 256 samples like those that the model will meet."}
}
