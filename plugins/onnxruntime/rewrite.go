package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/onnx/rewrite"
	"github.com/optimize-hcl/optimize/sdk"
)

const rewriteExample = `step "onnxruntime_rewrite" "fast" {
  model = model.detector
}`

const rewriteFixedExample = `step "onnxruntime_rewrite" "fixed" {
  model        = model.speech
  input_shapes = { input = [-1, 576] }
  input_values = { sr = 16000 }
}`

// RewriteConfig is the configuration of onnxruntime_rewrite.
type RewriteConfig struct {
	Model       sdk.Model          `opt:"model,required" accepts:"onnx" doc:"Float model to rewrite."`
	Skip        []string           `opt:"skip" default:"[]" doc:"Rewrites to leave out, by the names that the result lists under matches."`
	InputShapes map[string][]int64 `opt:"input_shapes" doc:"Sizes that inputs always have, by input: { input = [-1, 576] }, where -1 leaves an axis free. What depends on them is worked out, such as which branch of an If is taken; the engine refuses other sizes then."`
	InputValues map[string]float64 `opt:"input_values" doc:"Numbers that inputs always are, by input: { sr = 16000 }. The model becomes one for that value alone. The input stays, so that callers need not change, and is not read any more."`
	Portable    bool               `opt:"portable" default:"false" doc:"Write standard operators only. Without it the tanh form of GELU becomes com.microsoft.FastGelu, which other engines do not have."`
}

// RewriteFacts are what the step tells about its work: step.NAME.result.
type RewriteFacts struct {
	NodesBefore int64            `opt:"nodes_before" doc:"Nodes of the model that came in, those of subgraphs included."`
	NodesAfter  int64            `opt:"nodes_after" doc:"Nodes of the rewritten model."`
	SizeBefore  int64            `opt:"size_before" doc:"Bytes of the model that came in, with its weights."`
	SizeAfter   int64            `opt:"size_after" doc:"Bytes of the rewritten model."`
	Matches     map[string]int64 `opt:"matches" doc:"How often each rewrite was done."`
}

// rewriteDoc tells what the rewrites are.
func rewriteDoc() string {
	var b strings.Builder
	b.WriteString("Simplifies a model as onnxruntime_simplify does and writes what exporters spell out as the engine's kernels want it: " +
		"on CPU, that alone makes many mobile nets 1.2 to 1.5 times as fast, in float. The results differ by rounding only. It needs no " +
		"library and no data, and the same model gives the same bytes on every machine. Its rewrites:\n")
	for _, k := range rewrite.Kinds {
		fmt.Fprintf(&b, "\n- `%s`: %s", k.Name, k.Doc)
	}
	return b.String()
}

// Validate checks what the schema cannot.
func (c RewriteConfig) Validate(context.Context) sdk.Diagnostics {
	var ds sdk.Diagnostics
	for i, name := range c.Skip {
		if !slices.Contains(rewrite.Names(), name) {
			ds = append(ds, sdk.Diagnostic{Path: []any{"skip", sdk.Index(i)}, Summary: fmt.Sprintf("there is no rewrite %q", name),
				Detail: "They are " + strings.Join(rewrite.Names(), ", ") + "."})
		}
	}
	return ds
}

// applyRewrite needs no library: the work is done on the model's graph.
func applyRewrite(ctx context.Context, run *sdk.Run, c RewriteConfig) (result *sdk.Result, err error) {
	// An input of a step is a file of the store, which nobody changes.
	m, unmap, err := onnx.MapFile(c.Model.Path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	defer func() { err = errors.Join(err, unmap()) }()
	if err := onnx.Check(m); err != nil {
		return nil, sdk.AttrError("model", "the model is not valid ONNX", err.Error())
	}
	facts := RewriteFacts{SizeBefore: m.Size(), Matches: map[string]int64{}}
	if err := fixInputs(m, c.InputShapes, c.InputValues); err != nil {
		return nil, err
	}
	stats, err := rewrite.Apply(m, rewrite.Options{Skip: c.Skip, Contrib: !c.Portable})
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be rewritten", err.Error())
	}
	// A fault here is ours: the user must not find it in the model that comes out.
	if err := onnx.Check(m); err != nil {
		return nil, fmt.Errorf("the rewritten model is not valid: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, size, err := m.WriteArtifact(run.OutDir, largest)
	if err != nil {
		return nil, fmt.Errorf("the rewritten model cannot be written: %w", err)
	}
	for _, name := range rewrite.Names() {
		facts.Matches[name] = int64(stats.Matches[name])
	}
	facts.NodesBefore, facts.NodesAfter = int64(stats.Simplify.NodesBefore), int64(stats.Simplify.NodesAfter)
	facts.SizeAfter = size
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Kind: "model", Format: formatONNX, Path: name}}, Facts: facts}, nil
}
