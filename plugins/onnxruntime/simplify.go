package onnxruntime

import (
	"context"
	"errors"
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

const simplifyExample = `step "onnxruntime_simplify" "plain" {
  model = model.detector
}`

// SimplifyConfig is the configuration of onnxruntime_simplify.
type SimplifyConfig struct {
	Model         sdk.Model          `opt:"model,required" accepts:"onnx" doc:"Model to simplify."`
	Keep          []string           `opt:"keep" default:"[]" doc:"Operators whose nodes are left as they are, such as \"Dropout\"."`
	MaxGrowth     int64              `opt:"max_growth" default:"67108864" doc:"Bytes that constants may add to the model in all, where an operator that makes a large tensor out of little is worked out."`
	Inline        bool               `opt:"inline_functions" default:"false" doc:"Put the functions that the model defines in the place of their calls first, so that what is in them is simplified too."`
	KeepDebugInfo bool               `opt:"keep_debug_info" default:"false" doc:"Keep doc strings and metadata of nodes, such as the stack traces that PyTorch writes."`
	InputShapes   map[string][]int64 `opt:"input_shapes" doc:"Sizes that inputs always have, by input: { input = [-1, 576] }, where -1 leaves an axis free. What depends on them is worked out, such as which branch of an If is taken; the engine refuses other sizes then."`
	InputValues   map[string]float64 `opt:"input_values" doc:"Numbers that inputs always are, by input: { sr = 16000 }. The model becomes one for that value alone. The input stays, so that callers need not change, and is not read any more."`
}

// SimplifyFacts are what the step tells about its work: step.NAME.result.
type SimplifyFacts struct {
	NodesBefore  int64 `opt:"nodes_before" doc:"Nodes of the model that came in, those of subgraphs included."`
	NodesAfter   int64 `opt:"nodes_after" doc:"Nodes of the simplified model."`
	SizeBefore   int64 `opt:"size_before" doc:"Bytes of the model that came in, with its weights."`
	SizeAfter    int64 `opt:"size_after" doc:"Bytes of the simplified model."`
	NodesFolded  int64 `opt:"nodes_folded" doc:"Nodes whose results are constants now."`
	NodesRemoved int64 `opt:"nodes_removed" doc:"Nodes that passed a value on as it was."`
	NodesFused   int64 `opt:"nodes_fused" doc:"Nodes that became a part of another, such as batch normalizations."`
	Shared       int64 `opt:"shared" doc:"Nodes and constants that repeated another."`
}

// Validate checks what the schema cannot.
func (c SimplifyConfig) Validate(context.Context) sdk.Diagnostics {
	var ds sdk.Diagnostics
	if c.MaxGrowth < 0 {
		ds = append(ds, sdk.Diagnostic{Path: []any{"max_growth"}, Summary: fmt.Sprintf("max_growth is %d", c.MaxGrowth),
			Detail: "It is a number of bytes; 0 lets nothing grow."})
	}
	for i, op := range c.Keep {
		if op == "" {
			ds = append(ds, sdk.Diagnostic{Path: []any{"keep", sdk.Index(i)}, Summary: "an empty name keeps nothing",
				Detail: "Write the name of an operator, such as \"Dropout\"."})
		}
	}
	return ds
}

// largest is how large a model may be as one file; tests make it small.
var largest int64 = onnx.LargestFile

// applySimplify needs no library: the work is done on the model's graph.
func applySimplify(ctx context.Context, run *sdk.Run, c SimplifyConfig) (result *sdk.Result, err error) {
	// An input of a step is a file of the store, which nobody changes.
	m, unmap, err := onnx.MapFile(c.Model.Path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	defer func() { err = errors.Join(err, unmap()) }()
	if err := onnx.Check(m); err != nil {
		return nil, sdk.AttrError("model", "the model is not valid ONNX", err.Error())
	}
	facts := SimplifyFacts{SizeBefore: m.Size()}
	if err := fixInputs(m, c.InputShapes, c.InputValues); err != nil {
		return nil, err
	}
	options := onnx.SimplifyOptions{MaxGrowth: c.MaxGrowth, Keep: c.Keep, InlineFunctions: c.Inline, KeepDebugInfo: c.KeepDebugInfo}
	if c.MaxGrowth == 0 {
		options.MaxGrowth = -1
	}
	stats, err := onnx.Simplify(m, options)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
	}
	// A fault here is ours: the user must not find it in the model that comes out.
	if err := onnx.Check(m); err != nil {
		return nil, fmt.Errorf("the simplified model is not valid: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, size, err := m.WriteArtifact(run.OutDir, largest)
	if err != nil {
		return nil, fmt.Errorf("the simplified model cannot be written: %w", err)
	}
	facts.NodesBefore, facts.NodesAfter = int64(stats.NodesBefore), int64(stats.NodesAfter)
	facts.SizeAfter = size
	facts.NodesFolded, facts.NodesRemoved = int64(stats.Folded), int64(stats.Removed)
	facts.NodesFused, facts.Shared = int64(stats.Fused), int64(stats.Shared)
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Kind: "model", Format: formatONNX, Path: name}}, Facts: facts}, nil
}

// fixInputs tells the model what its inputs always are.
func fixInputs(m *onnx.Model, shapes map[string][]int64, values map[string]float64) error {
	err := onnx.FixInputs(m, shapes, values)
	var wrong *onnx.FixError
	if !errors.As(err, &wrong) {
		return err
	}
	argument := "input_shapes"
	if wrong.Value {
		argument = "input_values"
	}
	return sdk.AttrError(argument, "the model's inputs cannot be fixed", wrong.Error()+".")
}
