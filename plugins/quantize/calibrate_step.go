package quantize

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/sdk"
)

func calibrateStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "quantize_calibrate",
		Revision: 1,
		Doc: "Learns the range of each tensor from data, once, for any number of quantize_static steps and targets. The data is " +
			"streamed: bounds and histograms are kept, activations never, so memory does not grow with the number of samples. Neither the " +
			"order of the samples nor the number of threads changes a byte: histograms lie on grids of powers of two, of which a wider one " +
			"adds up whole bins of a narrower one.",
		Examples:      []string{calibrateExample},
		Outputs:       []sdk.Output{{Name: "ranges", Kind: "ranges", Format: calibrate.Format, Doc: "The ranges, and the histograms they were chosen from: a safetensors file."}},
		ResultExample: CalibrateFacts{},
	}, applyCalibrate)
}

const calibrateExample = `step "quantize_calibrate" "ranges" {
  model       = model.classifier
  calibration = dataset.train
  method      = "percentile"
  percentile  = 99.99
}

step "quantize_static" "int8" {
  model  = model.classifier
  ranges = step.ranges.ranges
  target = "onnxruntime-x86-vnni"
}`

// CalibrateConfig is the configuration of quantize_calibrate.
type CalibrateConfig struct {
	Model       sdk.Model         `opt:"model,required" accepts:"onnx" doc:"Float model to run."`
	Calibration *sdk.Dataset      `opt:"calibration" doc:"Samples like those that the model will meet; 32 to 256 are enough. Labels are not used. Give this or calibration_random."`
	Random      *int64            `opt:"calibration_random" doc:"Instead of data: this many made-up samples, from the step's seed. They say nothing about real data; for timing and trials."`
	Method      *string           `opt:"method" oneof:"minmax,moving_average,entropy,percentile,mse" doc:"How a range is chosen from what was seen. \"minmax\", the default: the smallest and largest value. \"moving_average\": the mean over the samples of each. \"entropy\": the range whose 8-bit histogram diverges least from the whole. \"percentile\": the same share cut off on both sides. \"mse\": the least squared error."`
	Percentile  *float64          `opt:"percentile" doc:"For \"percentile\": the share of values kept, in percent; 99.999 without it."`
	Bins        *int64            `opt:"bins" doc:"For \"entropy\" and \"percentile\": bins of the histogram that they look at, from 128 on; 2048 without it. ONNX Runtime's default for entropy is 128, which leaves nothing to choose: its entropy is min-max then."`
	PerChannel  bool              `opt:"per_channel" default:"false" doc:"Learn the range of each channel too."`
	Histograms  *bool             `opt:"histograms" doc:"Keep histograms, so that quantize_static may choose by another method later. Without it they are kept where the method needs them."`
	Tensors     string            `opt:"tensors" default:"quantizable" oneof:"quantizable,all" doc:"\"quantizable\": what goes in and out of nodes that some target computes in integers. \"all\": each floating-point tensor."`
	Batch       *int64            `opt:"batch" doc:"Samples run at a time; 1 without it."`
	MemoryMB    *int64            `opt:"calibration_memory" doc:"Megabytes that the tensors of one run may take; 1024 without it. When they take more, the data is run several times."`
	States      map[string]string `opt:"states" doc:"Inputs that the data does not have, such as the state of a recurrent model: each with the output that is its value for the next sample. They begin as zeros; the samples are a sequence then, whose order matters."`
}

// CalibrateFacts are what quantize_calibrate tells about its work.
type CalibrateFacts struct {
	Method            string `opt:"method" doc:"How ranges were chosen."`
	Samples           int64  `opt:"samples" doc:"Samples that the model was run on."`
	Tensors           int64  `opt:"tensors" doc:"Tensors that have a range."`
	RandomCalibration bool   `opt:"random_calibration" doc:"The samples were made up: the ranges say nothing about real data."`
}

func (c CalibrateConfig) learn() learnConfig {
	return learnConfig{calibration: c.Calibration, random: c.Random, method: c.Method, percentile: c.Percentile, bins: c.Bins,
		batch: c.Batch, memoryMB: c.MemoryMB, states: c.States, perChannel: c.PerChannel, histograms: c.Histograms != nil && *c.Histograms}
}

// Validate checks what the schema cannot.
func (c CalibrateConfig) Validate(ctx context.Context) sdk.Diagnostics {
	ds := c.learn().validate(ctx)
	if m := c.learn().options().Method; c.Histograms != nil && !*c.Histograms && m.Histograms() {
		ds = append(ds, sdk.Diagnostic{Path: []any{"histograms"}, Summary: fmt.Sprintf("%s needs histograms", m), Detail: "It chooses ranges from them: leave histograms out."})
	}
	return ds
}

// Plan tells what the bytes will depend on: the engine that runs the model.
func (c CalibrateConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	if sdk.Known(ctx, "calibration_random") {
		r.Diagnostics = c.learn().source()
	}
	return r, planEngine(r, run.Threads, c.Model.Size)
}

// rangesFile is the name of the ranges in the step's folder.
const rangesFile = "ranges.safetensors"

func applyCalibrate(ctx context.Context, run *sdk.Run, c CalibrateConfig) (*sdk.Result, error) {
	return calibrateModel(ctx, jobOf(run), c)
}

func calibrateModel(ctx context.Context, j job, c CalibrateConfig) (*sdk.Result, error) {
	m, err := readModel(c.Model.Path)
	if err != nil {
		return nil, err
	}
	opset := Targets[0].MinOpset
	for _, t := range Targets {
		opset = min(opset, t.MinOpset)
	}
	shapes, err := prepare(m, opset)
	if err != nil {
		return nil, err
	}
	names := calibratable(m.Graph, shapes, c.Tensors == "all")
	if c.Tensors != "all" && !slices.ContainsFunc(slices.Collect(m.Graph.Nodes()), floatProduct) {
		if err := alreadyQuantized(m); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		detail := `It has no floating-point tensor beside a node that a target computes in integers; tensors = "all" takes all there are.`
		if len(inSubgraphs(m.Graph)) > 0 {
			detail += wayRound
		}
		return nil, sdk.AttrError("model", "the model has nothing to calibrate", detail)
	}
	r, err := c.learn().learnRanges(ctx, j, m, names)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.Write(filepath.Join(j.outDir, rangesFile)); err != nil {
		return nil, fmt.Errorf("the ranges cannot be written: %w", err)
	}
	return &sdk.Result{
		Outputs: map[string]sdk.Artifact{"ranges": {Kind: "ranges", Format: calibrate.Format, Path: rangesFile}},
		Facts: CalibrateFacts{Method: string(r.Options.Method), Samples: r.Samples, Tensors: int64(len(r.Tensors)),
			RandomCalibration: r.Random},
	}, nil
}

// floatProduct tells whether a node multiplies floats; its weight may come from anywhere but a DequantizeLinear.
func floatProduct(n *onnx.Node) bool {
	if !n.Is("Conv") && !n.Is("ConvTranspose") && !n.Is("Gemm") && !n.Is("MatMul") {
		return false
	}
	w := n.Graph().Producer(n.Input(1))
	return w == nil || !w.Is("DequantizeLinear")
}

// neverInteger are operators that no target computes in integers, and that pass no integers on.
var neverInteger = []string{"Shape", "Size", "Cast", "LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "Erf", "Exp",
	"Log", "Sqrt", "Pow", "Reciprocal", "If", "Loop", "Scan", "LSTM", "GRU", "RNN", "Range", "NonZero", "Where", "Equal", "Less", "Greater", "CumSum",
	"RandomNormal", "RandomUniform", "Einsum", "STFT", "DFT"}

// calibratable are the floating-point tensors of the main graph that are no constants: all of them, or those that go in
// or out of a node that some target may compute in integers. Names are in graph order.
func calibratable(g *onnx.Graph, shapes *onnx.Shapes, all bool) []string {
	var names []string
	seen := map[string]bool{"": true}
	add := func(v string) {
		if seen[v] || g.Initializer(v) != nil || g.Producer(v) == nil && !g.IsInput(v) {
			return
		}
		seen[v] = true
		if elem, _, ok := shapes.Of(v); ok && elem.DType().IsFloat() {
			names = append(names, v)
		}
	}
	if all {
		for _, in := range g.Inputs() {
			add(in.Name())
		}
	}
	for n := range g.Nodes() {
		if !all && slices.Contains(neverInteger, n.OpType) {
			continue
		}
		for _, v := range n.Inputs() {
			add(v)
		}
		for _, v := range n.Outputs() {
			add(v)
		}
	}
	return names
}
