package quantize

import (
	"context"
	"fmt"
	"path/filepath"

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

func nothingStatic(p *placement) error {
	detail := "It has no Conv, Gemm or MatMul with constant float weights outside of keep_float."
	const most = 5
	for i, f := range p.floats {
		if i == most {
			detail += fmt.Sprintf("\n%d more", len(p.floats)-most)
			break
		}
		detail += "\n" + f.String()
	}
	return sdk.AttrError("model", "the model has nothing that quantize_static can quantize", detail)
}

func quantizeDynamic(ctx context.Context, j job, c DynamicConfig) (*sdk.Result, error) {
	t, err := targetOf(c.Target, ThisCPU())
	if err != nil {
		return nil, err
	}
	m, err := readModel(c.Model.Path)
	if err != nil {
		return nil, err
	}
	shapes, err := prepare(m, t.MinOpset)
	if err != nil {
		return nil, err
	}
	each, total := weightBytes(m.Graph)
	d, err := lowerDynamic(m, shapes, t, placeOptions{Keep: c.KeepFloat}, c.PerChannel)
	if err != nil {
		return nil, err
	}
	warnUnused(j, d.unused)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := m.WriteFile(filepath.Join(j.outDir, outputFile)); err != nil {
		return nil, fmt.Errorf("the quantized model cannot be written: %w", err)
	}
	return result(Facts{
		Target: t.Name, ShareMACs: share(d.macs, d.total), ShareWeightBytes: shareOf(d.weights, each, total),
		NodesQuantized: int64(len(d.nodes)), NodesFloat: describe(d.floats), OthersFloat: d.others,
	}), nil
}
