package quantize

import (
	"context"
	"errors"
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// job is what the steps need of an sdk.Run.
type job struct {
	outDir   string
	scratch  string
	threads  int
	seed     uint64
	progress func(phase string, done, total int64, unit string)
	warn     func(sdk.Diagnostic)
	evaluate evaluateFunc
	// race has the core time candidates. Without it no step searches.
	race func(context.Context, sdk.Race) ([]sdk.Lap, error)
}

func jobOf(run *sdk.Run) job {
	return job{run.OutDir, run.ScratchDir, run.Threads, run.Seed, run.Progress, run.Warn, run.Evaluate, run.Race}
}

func applyStatic(ctx context.Context, run *sdk.Run, c StaticConfig) (*sdk.Result, error) {
	return quantizeStatic(ctx, jobOf(run), c)
}

func applyDynamic(ctx context.Context, run *sdk.Run, c DynamicConfig) (*sdk.Result, error) {
	return quantizeDynamic(ctx, jobOf(run), c)
}

// outputFile is the name of the quantized model in the step's folder.
const outputFile = "model.onnx"

func result(facts any) *sdk.Result {
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Kind: "model", Format: "onnx", Path: outputFile}}, Facts: detached(facts)}
}

func nothingStatic(m *onnx.Model, p *placement) error {
	if err := alreadyQuantized(m); err != nil {
		return err
	}
	detail := "It has no Conv, Gemm or MatMul with constant float weights outside of keep_float."
	const most = 5
	for i, f := range p.floats {
		if i == most {
			detail += fmt.Sprintf("\n%d more", len(p.floats)-most)
			break
		}
		detail += "\n" + f.String()
	}
	if len(inSubgraphs(m.Graph)) > 0 {
		detail += wayRound
	}
	return sdk.AttrError("model", "the model has nothing that quantize_static can quantize", detail)
}

func quantizeDynamic(ctx context.Context, j job, c DynamicConfig) (_ *sdk.Result, err error) {
	t, err := targetOf(c.Target, ThisCPU())
	if err != nil {
		return nil, err
	}
	m, done, err := mapModel(c.Model.Path, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	shapes, err := prepare(m, t.MinOpset)
	if err != nil {
		return nil, err
	}
	m, shapes, smooth, err := c.smoothed(ctx, j, m, shapes, t)
	if err != nil {
		return nil, err
	}
	each, total := weightBytes(m.Graph)
	d, err := lowerDynamic(m, shapes, t, dynamicOptions{placeOptions: placeOptions{Keep: c.KeepFloat}, perChannel: c.PerChannel,
		embeddings: c.Embeddings, used: m.Release})
	if err != nil {
		return foldInstead(ctx, j, c.Model.Path, err, func(share float64) any { return Facts{Target: t.Name, ShareWeightBytes: share} })
	}
	warnUnused(j, d.unused)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return writeModelTo(j.outDir, m, Facts{
		Target: t.Name, ShareMACs: share(d.macs, d.total), ShareWeightBytes: shareOf(d.weights, each, total),
		NodesQuantized: int64(len(d.nodes)), NodesFloat: describe(d.floats), OthersFloat: d.others, Smooth: smooth.lines(),
	})
}
