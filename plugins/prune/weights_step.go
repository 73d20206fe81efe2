package prune

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/layer"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
)

// The ways to choose which weights become zero.
const (
	methodMagnitude = "magnitude"
	methodWanda     = "wanda"
	methodSparseGPT = "sparsegpt"
)

// Among which weights the ones that go are chosen.
const (
	scopeLayer  = "layer"
	scopeGlobal = "global"
	scopeLAMP   = "lamp"
)

func weightsStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "prune_weights",
		Revision: 1,
		Doc: "Makes weights of Conv, Gemm and MatMul zero: anywhere, in a pattern such as 2:4, or in blocks. Shapes stay as they are, so few engines gain " +
			"by it; the plan says which do. Where every engine shall be faster, prune_channels takes out whole channels. " +
			"The zeros themselves are the mask: steps that quantize afterwards keep them, and the model's metadata (optimize.sparsity) names the weights and their pattern.",
		Examples: []string{weightsExample},
		Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx",
			Doc: "The model with zeros in its weights. Everything else is as it was."}},
		ResultExample: WeightsFacts{},
	}, func(ctx context.Context, run *sdk.Run, c WeightsConfig) (*sdk.Result, error) {
		return pruneWeights(ctx, jobOf(run), c)
	})
}

const weightsExample = `step "prune_weights" "two_of_four" {
  model       = model.classifier
  pattern     = "2:4"
  method      = "sparsegpt"
  calibration = dataset.train
  targets     = ["tensorrt"]
}

step "prune_weights" "sparse" {
  model    = model.classifier
  sparsity = 0.75
  scope    = "global"
  keep     = ["/fc/*"]
  targets  = ["coreml"]
}`

// WeightsConfig is the configuration of prune_weights.
type WeightsConfig struct {
	Model       sdk.Model          `opt:"model,required" accepts:"onnx" doc:"Float model, in float32 or half precision, whose weights to prune. Quantize afterwards."`
	Pattern     string             `opt:"pattern" default:"unstructured" doc:"Where zeros lie. \"unstructured\": anywhere. \"2:4\", or any other two numbers: so many of every so many weights along the inputs stay, of a convolution along its channels at each place of the kernel. \"16x1\", or any other block: so many outputs by so many inputs become zero together."`
	Sparsity    *float64           `opt:"sparsity" doc:"Share of the weights that become zero, from 0 up to less than 1; 0.5 without it. A pattern such as 2:4 has its own."`
	Method      string             `opt:"method" default:"magnitude" oneof:"magnitude,wanda,sparsegpt" doc:"Which weights go. \"magnitude\": the smallest. \"wanda\": those with the smallest product of weight and norm of its input on the calibration data, compared within each output. \"sparsegpt\": those that cost least once the weights that stay have made up for them, which they do; on the calibration data, layer by layer, the most accurate."`
	Scope       string             `opt:"scope" default:"layer" oneof:"layer,global,lamp" doc:"Among which weights those that go are chosen, by magnitude and without a fixed pattern. \"layer\": every layer loses the same share. \"global\": the smallest of all layers, each layer's measured by its root mean square. \"lamp\": all layers by a score that spares those with few weights (LAMP)."`
	Ratios      map[string]float64 `opt:"ratios" default:"{}" doc:"Shares for single layers, by node name or a pattern with * and ?, in the place of sparsity; of several patterns that fit the one with the most characters besides * and ? counts."`
	Sensitivity *sdk.Artifact      `opt:"sensitivity" kind:"sensitivity" accepts:"optimize-sensitivity" doc:"What prune_sensitivity found with what = \"weights\": sparsity is reached by giving each layer a share of its own, so that all lose as little."`
	Calibration *sdk.Dataset       `opt:"calibration" doc:"Samples like those that the model will meet, for \"wanda\" and \"sparsegpt\"; 32 to 256 are enough. Labels are not used."`
	Damping     float64            `opt:"damping" default:"0.01" doc:"sparsegpt: what is added to the diagonal of the Hessian, as a share of its mean. More is safer and less accurate."`
	Batch       *int64             `opt:"batch" doc:"Samples that calibration runs at a time. Without it at most 8, and fewer when they are large."`
	Keep        []string           `opt:"keep" default:"[]" doc:"Names of nodes whose weights stay; * stands for any characters and ? for one."`
	Targets     []string           `opt:"targets" default:"[\"onnxruntime\"]" oneof:"onnxruntime,openvino,tensorrt,coreml,tflite" doc:"What the model will run on: the plan says before the wait where the zeros will bring nothing. It changes no bytes of the model."`
}

// WeightsFacts are what prune_weights tells about its work.
type WeightsFacts struct {
	Pattern      string   `opt:"pattern" doc:"Where zeros lie."`
	Method       string   `opt:"method" doc:"How they were chosen."`
	ShareZeros   float64  `opt:"share_zeros" doc:"Share of zeros in the weights that were pruned, from 0 to 1."`
	ShareWeights float64  `opt:"share_weights" doc:"Share of the elements of all float weights that lie in the pruned ones, from 0 to 1."`
	Layers       []string `opt:"layers" doc:"Each pruned layer with its share of zeros; with calibration also the error of its product on the calibration data, relative to the product's energy."`
	OutputError  *float64 `opt:"output_error" doc:"Mean of these errors; null without calibration."`
	NodesKept    []string `opt:"nodes_kept" doc:"Nodes that keep all their weights, each with the reason."`
	Gains        []string `opt:"gains" doc:"What the zeros bring on each of the targets."`
	PackedBefore int64    `opt:"packed_before" doc:"Bytes of the pruned weights as they were, compressed with DEFLATE: what an archive holds of them."`
	PackedAfter  int64    `opt:"packed_after" doc:"The same now."`
	BytesBitMask int64    `opt:"bytes_bit_mask" doc:"Bytes of the pruned weights stored as a bit mask and the elements that are left, as a Core ML package can."`
	BytesWeights int64    `opt:"bytes_weights" doc:"Bytes of the pruned weights in the model, zeros included."`
	Samples      int64    `opt:"samples" doc:"Samples that calibration has seen."`
}

func (c WeightsConfig) calibrates() bool {
	return c.Method == methodWanda || c.Method == methodSparseGPT
}

func (c WeightsConfig) sparsity(p sparse.Pattern) float64 {
	switch {
	case p.Fixed():
		return p.Sparsity()
	case c.Sparsity != nil:
		return *c.Sparsity
	}
	return 0.5
}

// Validate checks what the schema cannot.
func (c WeightsConfig) Validate(context.Context) sdk.Diagnostics {
	var ds sdk.Diagnostics
	bad := func(attr, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{attr}, Summary: summary, Detail: detail})
	}
	p, err := sparse.ParsePattern(c.Pattern)
	if err != nil {
		bad("pattern", fmt.Sprintf("pattern is %q", c.Pattern), err.Error()+".")
	}
	if c.Sparsity != nil && !(*c.Sparsity >= 0 && *c.Sparsity < 1) {
		bad("sparsity", fmt.Sprintf("sparsity is %v", *c.Sparsity), "It is a share from 0 up to less than 1: 0.5 makes half of the weights zero.")
	}
	if p.Fixed() && (c.Sparsity != nil || len(c.Ratios) > 0) {
		attr := "sparsity"
		if c.Sparsity == nil {
			attr = "ratios"
		}
		bad(attr, fmt.Sprintf("%s says how many weights go", p), fmt.Sprintf("The pattern makes %.4g of them zero in every layer. Leave %s out, or name the layers that stay whole with keep.", p.Sparsity(), attr))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ratios)) {
		if r := c.Ratios[name]; !(r >= 0 && r < 1) {
			ds = append(ds, sdk.Diagnostic{Path: []any{"ratios", sdk.Key(name)}, Summary: fmt.Sprintf("the ratio is %v", r), Detail: "It is a share from 0 up to less than 1."})
		}
	}
	if c.Scope != scopeLayer && c.Scope != "" {
		switch {
		case p.Fixed():
			bad("scope", "scope is for patterns without a fixed share", fmt.Sprintf("%s takes the same share of every few weights. Leave scope out.", p))
		case p.Blocks():
			bad("scope", "scope is for single weights", "Blocks are compared within their layer. Leave scope out.")
		case c.Method != methodMagnitude:
			bad("scope", fmt.Sprintf("%s compares within a layer", c.Method), "Leave scope out, or take method = \"magnitude\".")
		case len(c.Ratios) > 0:
			bad("ratios", "ratios are shares of layers, and scope lets the weights decide", "Leave one of them out.")
		}
	}
	if !(c.Damping > 0 && c.Damping <= 10) {
		bad("damping", fmt.Sprintf("damping is %v", c.Damping), "It is more than 0 and at most 10; 0.01 is usual.")
	}
	if c.Batch != nil && *c.Batch < 1 {
		bad("batch", fmt.Sprintf("batch is %d", *c.Batch), "Calibration runs at least one sample at a time.")
	}
	return append(ds, validateKeep(c.Keep)...)
}

// source checks which artifacts are given: only Plan and Apply know.
func (c WeightsConfig) source() sdk.Diagnostics {
	fail := func(attr, summary, detail string) sdk.Diagnostics {
		return sdk.Diagnostics{{Path: []any{attr}, Summary: summary, Detail: detail}}
	}
	p, err := sparse.ParsePattern(c.Pattern)
	switch {
	case c.calibrates() && c.Calibration == nil:
		return fail("calibration", c.Method+" needs calibration data", "Name a dataset: calibration = dataset.NAME. Without data, method = \"magnitude\" is what there is.")
	case !c.calibrates() && c.Calibration != nil:
		return fail("calibration", "magnitude looks at no data", "Take method = \"wanda\" or \"sparsegpt\", or leave calibration out.")
	case c.Sensitivity != nil && err == nil && p.Fixed():
		return fail("sensitivity", fmt.Sprintf("%s says how many weights go", p), "Every layer loses the same. Leave sensitivity out, or take another pattern.")
	case c.Sensitivity != nil && (c.Scope != scopeLayer || len(c.Ratios) > 0):
		return fail("sensitivity", "shares of layers are given twice", "Leave out scope and ratios, or sensitivity.")
	}
	return nil
}

// Plan tells what the zeros will bring on the targets, and what the bytes depend on.
func (c WeightsConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	if sdk.Known(ctx, "method") && sdk.Known(ctx, "pattern") {
		r.Diagnostics = c.source()
	}
	if p, err := sparse.ParsePattern(c.Pattern); err == nil && sdk.Known(ctx, "pattern") && sdk.Known(ctx, "targets") && sdk.Known(ctx, "sparsity") {
		r.Diagnostics = append(r.Diagnostics, planGains(c.Targets, p, c.sparsity(p))...)
	}
	if c.Model.Size > 0 {
		r.Needs = sdk.Needs{Memory: 2*c.Model.Size + 64<<20, Cores: run.Threads}
	}
	if !c.calibrates() {
		return r, nil
	}
	if c.Model.Size > 0 {
		r.Needs.Memory = 3*c.Model.Size + 768<<20 // the engine, and the sums of a few layers
	}
	return r, planEngine(r, run.Threads)
}

func pruneWeights(ctx context.Context, j job, c WeightsConfig) (_ *sdk.Result, err error) {
	if ds := c.source(); len(ds) > 0 {
		return nil, ds[0]
	}
	p, err := sparse.ParsePattern(c.Pattern)
	if err != nil {
		return nil, sdk.AttrError("pattern", fmt.Sprintf("pattern is %q", c.Pattern), err.Error())
	}
	m, unmap, err := mapModel(c.Model.Path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmap()) }()
	if err := floatOnly(m); err != nil {
		return nil, err
	}
	m.RaiseIR(4) // initializers that nobody overrides
	if _, err := onnx.ConstantsToInitializers(m); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	keep := newKeeper(c.Keep)
	layers, kept := layer.Find(m, keep.why)
	keep.warn(j)
	if len(layers) == 0 {
		return nil, nothingToPrune(kept)
	}
	w := &weightsWork{job: j, config: c, model: m, pattern: p, facts: WeightsFacts{Pattern: p.String(), Method: c.Method}}
	if err := w.shares(layers); err != nil {
		return nil, err
	}
	if err := w.run(ctx, layers); err != nil {
		return nil, err
	}
	for _, k := range append(kept, w.kept...) {
		w.facts.NodesKept = append(w.facts.NodesKept, k.String())
	}
	if len(w.list) == 0 {
		return nil, nothingToPrune(append(kept, w.kept...))
	}
	return w.finish()
}

// finish writes the model and what is told about it.
func (w *weightsWork) finish() (*sdk.Result, error) {
	if err := onnx.SetSparsities(w.model, w.list); err != nil {
		return nil, sdk.AttrError("model", "the model's list of pruned weights cannot be written", err.Error())
	}
	if err := onnx.Check(w.model); err != nil {
		return nil, fmt.Errorf("the pruned graph is not valid: %w", err)
	}
	f := &w.facts
	f.ShareZeros = float64(w.zeros) / float64(w.elements)
	var all int64
	for t := range w.model.AllTensors() {
		if t.DataType.DType().IsFloat() && len(t.Dims) > 1 {
			all += t.Elements()
		}
	}
	f.ShareWeights = math.Min(float64(w.elements)/float64(max(all, 1)), 1)
	f.Gains = gains(w.config.Targets, w.pattern, f.ShareZeros)
	a, err := writeModel(w.job, w.model)
	if err != nil {
		return nil, err
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": a}, Facts: w.facts}, nil
}

// shares decides how much each layer loses.
func (w *weightsWork) shares(layers []*layer.Layer) error {
	c := w.config
	w.share = map[*layer.Layer]float64{}
	for _, l := range layers {
		w.share[l] = c.sparsity(w.pattern)
	}
	for _, l := range layers {
		best := -1
		for _, pattern := range slices.Sorted(maps.Keys(c.Ratios)) {
			if n := literal(pattern); n > best && slices.ContainsFunc(l.Nodes, func(n *onnx.Node) bool { return sdk.MatchName(pattern, layer.NodeName(n)) }) {
				best, w.share[l] = n, c.Ratios[pattern]
			}
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Ratios)) {
		if !slices.ContainsFunc(layers, func(l *layer.Layer) bool {
			return slices.ContainsFunc(l.Nodes, func(n *onnx.Node) bool { return sdk.MatchName(pattern, layer.NodeName(n)) })
		}) {
			return sdk.Diagnostic{Path: []any{"ratios", sdk.Key(pattern)}, Summary: fmt.Sprintf("no layer is called %q", pattern), Detail: "Layers that can be pruned: " + layerNames(layers) + "."}
		}
	}
	if c.Sensitivity == nil {
		return nil
	}
	file, err := sensitivity.Read(c.Sensitivity.Path)
	if err != nil {
		return sdk.AttrError("sensitivity", "the sensitivity cannot be read", err.Error())
	}
	if file.What != sensitivity.Weights {
		return sdk.AttrError("sensitivity", "it is a scan of "+file.What, "prune_weights takes one that was made with what = \"weights\".")
	}
	ratios, _, err := file.Allocate(c.sparsity(w.pattern), nil)
	if err != nil {
		return sdk.AttrError("sensitivity", "the sensitivity gives no shares", err.Error())
	}
	found := 0
	for _, l := range layers {
		if r, ok := ratios[l.Name()]; ok {
			w.share[l] = r
			found++
		} else {
			w.share[l] = 0 // not scanned
		}
	}
	if found == 0 {
		return sdk.AttrError("sensitivity", "it is about another model", "None of its groups is a layer of this one. Layers: "+layerNames(layers)+".")
	}
	return nil
}

// literal is how many characters of a pattern stand for themselves.
func literal(pattern string) int {
	return len(pattern) - strings.Count(pattern, "*") - strings.Count(pattern, "?")
}

func layerNames(layers []*layer.Layer) string {
	const most = 8
	s := ""
	for i, l := range layers {
		if i == most {
			return s + fmt.Sprintf(" and %d more", len(layers)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += l.Name()
	}
	return s
}
