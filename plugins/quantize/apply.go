package quantize

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

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
	race     func(context.Context, sdk.Race) ([]sdk.Lap, error)
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
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Kind: "model", Format: "onnx", Path: outputFile}}, Facts: facts}
}

func quantizeStatic(ctx context.Context, j job, c StaticConfig) (*sdk.Result, error) {
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
	if ds := c.planRepair(); len(ds) > 0 {
		return nil, ds[0]
	}
	var repaired *RepairFacts
	if c.repairs() {
		repaired = &RepairFacts{Equalized: []string{}, Layers: []string{}}
	}
	options := placeOptions{Keep: c.KeepFloat}
	p := place(m, shapes, t, options)
	warnUnused(j, p.unused)
	if !p.multiplies() {
		return nil, nothingStatic(p)
	}
	values := p.values
	if c.Accuracy != nil || c.Budget != nil {
		values = p.possibleValues(m.Graph)
	}
	learnt, err := c.learn().learnRanges(ctx, j, m, values)
	if err != nil {
		return nil, err
	}
	each, total := weightBytes(m.Graph)
	if c.Equalize {
		better, err := c.equalized(ctx, j, &prepared{m, p, learnt}, t, options, repaired)
		if err != nil {
			return nil, err
		}
		m, p, learnt = better.model, better.place, better.learnt
	}
	v := &variants{model: m, full: p, target: t, options: options, ranges: rangesOf(learnt), perChannel: c.PerChannel}
	if c.rounds() || c.BiasCorrection {
		if err := c.repair(ctx, j, m, p, t, v.ranges, repaired); err != nil {
			return nil, err
		}
	}
	facts := StaticFacts{Repair: repaired, Target: t.Name, Samples: learnt.Samples, Method: string(learnt.Options.Method), RandomCalibration: learnt.Random}
	var chosen *variant
	if c.Accuracy != nil {
		if chosen, facts.Accuracy, err = c.controlled(ctx, j, t, v); err != nil {
			return nil, err
		}
		if chosen == nil {
			return c.passOn(j, p, facts)
		}
	} else if c.Budget != nil {
		if chosen, facts.Budget, err = c.budgeted(ctx, j, t, v); err != nil {
			return nil, err
		}
	} else if chosen, err = v.inPlace(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := chosen.model.WriteFile(filepath.Join(j.outDir, outputFile)); err != nil {
		return nil, fmt.Errorf("the quantized model cannot be written: %w", err)
	}
	var macs int64
	q := chosen.place
	for _, k := range slices.Concat(q.nodes, q.dynamic) {
		macs += q.macs[k.node]
	}
	facts.ShareMACs, facts.ShareWeightBytes = share(macs, q.macTotal), shareOf(chosen.quantized, each, total)
	facts.NodesQuantized, facts.NodesFloat, facts.OthersFloat = int64(len(q.nodes)+len(q.dynamic)), describe(q.floats), q.others
	return result(facts), nil
}

// passOn gives the model as it came.
func (c StaticConfig) passOn(j job, p *placement, facts StaticFacts) (*sdk.Result, error) {
	m, err := onnx.ReadFile(c.Model.Path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	if err := m.WriteFile(filepath.Join(j.outDir, outputFile)); err != nil {
		return nil, fmt.Errorf("the model cannot be written: %w", err)
	}
	facts.NodesFloat, facts.OthersFloat = describe(p.floats), p.others
	for _, k := range p.nodes {
		if k.product() {
			facts.NodesFloat = append(facts.NodesFloat, floatNode{k.node, "accuracy control found no choice of layers that holds"}.String())
		}
	}
	return result(facts), nil
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
