// Package quantize is the bundled plugin of 8-bit quantization. It keeps three things apart: calibration (the range of
// each tensor), lowering (a table of rules per target, in target.go) and the report of what was left in float, and why.
package quantize

import (
	"context"
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/sdk"
)

// Plugin returns the plugin, for sdk.Serve.
func Plugin(version string) *sdk.Plugin {
	output := []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The quantized model. Its inputs and outputs are those of the original, in float."}}
	return &sdk.Plugin{
		Name:         "quantize",
		Version:      version,
		Licence:      "MPL-2.0",
		RequiresCore: ">= 0.1",
		Runtimes:     []string{"onnxruntime"},
		Targets:      inspectTargets(),
		Steps: []sdk.StepType{
			sdk.Step(sdk.StepSpec{
				Name:     "quantize_static",
				Revision: 6,
				Doc: "Quantizes weights and activations to 8 bits, with ranges measured on a calibration dataset, in the layout that the " +
					"target's kernels want. For convolutional networks, and for transformers. Where the target can be timed, layouts are: which nodes stay in float, and in " +
					"which form the others are written. The fastest of those that are accurate enough is used, and when integers are slower " +
					"than float, the model stays in float.",
				Examples: []string{staticExample, accuracyExample, budgetExample, repairExample, layoutExample},
				Outputs: append(slices.Clone(output), sdk.Output{Name: "layout", Kind: layout.Kind, Format: layout.Format,
					Doc: "How the model was lowered, for the argument layout: with it, the same bytes come out without a search."}),
				ResultExample: StaticFacts{},
			}, applyStatic),
			calibrateStep(),
			sdk.Step(sdk.StepSpec{
				Name:     "quantize_dynamic",
				Revision: 3,
				Doc: "Quantizes the weights of MatMul, Gemm and LSTM to 8 bits, in subgraphs too; the range of activations is measured while " +
					"the model runs, so no data is needed. Tables that Gather looks up are stored in 8 bits. For transformers and recurrent " +
					"nets. Convolutions stay in float: a dynamic one is several times slower.",
				Examples:      []string{dynamicExample},
				Outputs:       output,
				ResultExample: Facts{},
			}, applyDynamic),
			float16Step(),
			sdk.Step(sdk.StepSpec{
				Name:     "quantize_weights",
				Revision: 2,
				Doc: "Makes the weights of MatMul, Gemm and Gather smaller, to 4 or 8 bits a weight, and leaves activations in float. " +
					"For transformers, whose weights are most of what is read for each token.",
				Examples:      []string{weightsExample},
				Outputs:       output,
				ResultExample: WeightsFacts{},
			}, applyWeights),
			clusterStep(),
		},
	}
}

const staticExample = `step "quantize_static" "int8" {
  model       = model.classifier
  calibration = dataset.train
  target      = "auto"
}`

const accuracyExample = `step "quantize_static" "bounded" {
  model       = model.classifier
  calibration = dataset.train
  validation  = dataset.validation

  accuracy {
    metric     = "top1"
    max_drop   = 0.003
    time_limit = "10m"
  }
}`

const budgetExample = `step "quantize_static" "small" {
  model       = model.encoder
  calibration = dataset.train

  budget {
    size = 0.2
  }
}`

const repairExample = `step "quantize_static" "repaired" {
  model           = model.classifier
  calibration     = dataset.train
  rounding        = "adaround"
  bias_correction = true
  equalize        = true
}`

const layoutExample = `step "quantize_static" "searched" {
  model        = model.classifier
  calibration  = dataset.train
  search_limit = 20
}

step "quantize_static" "again" {
  model       = model.classifier
  calibration = dataset.train
  layout      = step.searched.layout
}`

const dynamicExample = `step "quantize_dynamic" "int8" {
  model      = model.encoder
  keep_float = ["/pooler/*"]
}`

// StaticConfig is the configuration of quantize_static.
type StaticConfig struct {
	Model          sdk.Model         `opt:"model,required" accepts:"onnx" doc:"Float model to quantize."`
	Calibration    *sdk.Dataset      `opt:"calibration" doc:"Samples like those that the model will meet; 32 to 256 are enough. Labels are not used. Give this, ranges or calibration_random."`
	Ranges         *sdk.Artifact     `opt:"ranges" kind:"ranges" accepts:"optimize-ranges" doc:"What quantize_calibrate learnt about this model: no data is run then."`
	Target         string            `opt:"target" default:"auto" oneof:"auto,onnxruntime-x86-vnni,onnxruntime-x86,onnxruntime-arm64,tensorrt,openvino,coreml,tflite" doc:"What the model will run on. \"auto\" looks at this machine. Layouts for onnxruntime-arm64, tensorrt, coreml and tflite follow their engines' rules, but have not been run on them."`
	PerChannel     bool              `opt:"per_channel" default:"true" doc:"One scale for each output channel of a weight, else one for the whole weight."`
	KeepFloat      []string          `opt:"keep_float" default:"[]" doc:"Names of nodes to leave in float; * stands for any characters and ? for one."`
	Smooth         *bool             `opt:"smooth" doc:"Move outliers of the activations behind a LayerNormalization, whole or written out, into the weights of the products that read them (SmoothQuant), as much as is found best for each. Without it: where a dataset is given and the model has at most 1 GiB. It is measured on the calibration data, and left out where it does not pay."`
	Also           []string          `opt:"also_quantize" default:"[]" oneof:"attention,elementwise,embeddings,output_projection" doc:"Of a transformer, products with a constant weight are quantized; this is taken too: \"attention\" (products of two activations), \"elementwise\" (residual additions and the like, which TensorRT and OpenVINO take in any case), \"embeddings\" (tables that are looked up, with 8 bits in blocks of 128; without it they have 8 bits and a scale a row on ONNX Runtime where they are a twentieth of the weights or more: what is looked up is float all the same) and \"output_projection\" (the product that makes the model's output)."`
	Rounding       string            `opt:"rounding" default:"nearest" oneof:"nearest,gptq,adaround" doc:"How weights are rounded. \"nearest\" looks at the weight alone. \"gptq\" and \"adaround\" look for the smallest error of each layer's product on the calibration data, at the same size and speed: gptq goes input by input and lets those that follow make up for the error; adaround decides for each weight whether it goes up or down, which takes longer and mostly leaves the smaller error in the layers. Which of the two is better at the model's outputs, an evaluate block tells."`
	BiasCorrection *bool             `opt:"bias_correction" doc:"Correct the bias of each Conv and Gemm, and what an Add behind a MatMul adds, by the mean error that rounding its weights causes on the calibration data. true also measures the errors of the layers, which takes long. Without it: for the target openvino, where a dataset is given and the model is no transformer; only means are measured then."`
	Equalize       bool              `opt:"equalize" default:"false" doc:"Scale the channels between layers that follow each other so that their ranges are alike, which the float model does not notice. It pays where channels differ much, as in nets with depthwise convolutions, above all with per_channel = false; it is measured on the calibration data, and left out where it does not pay."`
	Validation     *sdk.Dataset      `opt:"validation" doc:"Samples that accuracy is measured on; not those of calibration, which flatter. With labels where the metric needs them."`
	Accuracy       *AccuracyConfig   `opt:"accuracy,block" doc:"A bound on what quantization may cost: candidates are measured on validation, in the runtime that the target names, and layers are given back their float form until the bound holds, those first that hurt most."`
	Budget         *BudgetConfig     `opt:"budget,block" doc:"A size or a speed that the model must have: the form of each layer is chosen so that it holds with the least error. Errors are measured on validation, or else on calibration."`
	Random         *int64            `opt:"calibration_random" doc:"Instead of data: this many made-up samples, from the step's seed. They say nothing about real data; for timing and trials."`
	Method         *string           `opt:"method" oneof:"minmax,moving_average,entropy,percentile,mse" doc:"How a range is chosen from what was seen. \"minmax\", the default but for the target openvino, where it is \"percentile\": the smallest and largest value. \"moving_average\": the mean over the samples of each. \"entropy\": the range whose 8-bit histogram diverges least from the whole. \"percentile\": the same share cut off on both sides. \"mse\": the least squared error. With ranges, the default is what they were made with."`
	Percentile     *float64          `opt:"percentile" doc:"For \"percentile\": the share of values kept, in percent; 99.999 without it."`
	Bins           *int64            `opt:"bins" doc:"For \"entropy\" and \"percentile\": bins of the histogram that they look at, from 128 on; 2048 without it."`
	Batch          *int64            `opt:"batch" doc:"Samples that calibration runs at a time; 1 without it."`
	MemoryMB       *int64            `opt:"calibration_memory" doc:"Megabytes that the tensors of one run may take; 1024 without it. When they take more, the data is run several times."`
	States         map[string]string `opt:"states" doc:"Inputs that the data does not have, such as the state of a recurrent model: each with the output that is its value for the next sample. They begin as zeros."`
	Search         string            `opt:"search" default:"on" oneof:"on,off" doc:"\"on\" times layouts on this machine, one sample at a time on one thread, and takes the fastest that is good enough, or leaves the model in float when integers lose. \"off\" follows the target's rules as they are. Nothing is timed for a target that does not run here, nor without calibration."`
	SearchLimit    *float64          `opt:"search_limit" doc:"Seconds after which a search tries nothing new; 60 without it."`
	MinSQNR        *float64          `opt:"min_sqnr" doc:"Signal-to-noise ratio in dB that a searched layout keeps on calibration data, against the model in float. Without it 20, or where no layout that keeps it is faster than float, the first of 18, 16, 14, 12 and 10 that one keeps."`
	MinAgreement   *float64          `opt:"min_agreement" doc:"Of a classifier, the share of calibration samples, from 0 to 1, whose class a searched layout keeps: as the leads of the classes let expect of more samples, and no more than was seen. Without it 0.985, or where no layout that keeps it is faster than float, the first of 0.97, 0.95, 0.93 and 0.9 that one keeps."`
	Layout         *sdk.Artifact     `opt:"layout" kind:"layout" accepts:"optimize-layout" doc:"How an earlier search found that the model should be lowered: nothing is timed then."`
}

// DynamicConfig is the configuration of quantize_dynamic.
type DynamicConfig struct {
	Model       sdk.Model    `opt:"model,required" accepts:"onnx" doc:"Float model to quantize."`
	Target      string       `opt:"target" default:"auto" oneof:"auto,onnxruntime-x86-vnni,onnxruntime-x86,onnxruntime-arm64" doc:"What the model will run on. \"auto\" looks at this machine."`
	PerChannel  bool         `opt:"per_channel" default:"true" doc:"One scale for each output channel of a weight, else one for the whole weight."`
	Calibration *sdk.Dataset `opt:"calibration" doc:"Samples like those that the model will meet, for one thing: to move outliers of the activations behind a LayerNormalization into the weights of the products that read them (SmoothQuant), as much as is found best for each, where that makes the outputs better. Nothing is run without them. Labels are not used."`
	Embeddings  bool         `opt:"embeddings" default:"true" doc:"Store the tables that Gather looks up in 8 bits too, with a scale for each row."`
	KeepFloat   []string     `opt:"keep_float" default:"[]" doc:"Names of nodes to leave in float; * stands for any characters and ? for one."`
}

// Validate checks what the schema cannot.
func (c StaticConfig) Validate(ctx context.Context) sdk.Diagnostics {
	ds := append(validateKeepFloat(c.KeepFloat), c.validateSearch()...)
	if c.Accuracy != nil {
		ds = append(ds, c.Accuracy.validate(ctx)...)
	}
	if c.Budget != nil {
		ds = append(ds, c.Budget.validate()...)
	}
	return append(ds, c.learn().validate(ctx)...)
}

// learn are the arguments that say where ranges come from.
func (c StaticConfig) learn() learnConfig {
	method := c.Method
	if method == nil && c.Ranges == nil && c.Target == "openvino" {
		// No search looks for a layout there that forgives a few extreme values, and NNCF does not trust them either.
		percentile := "percentile"
		method = &percentile
	}
	return learnConfig{calibration: c.Calibration, ranges: c.Ranges, orRanges: true, random: c.Random, method: method, percentile: c.Percentile,
		bins: c.Bins, batch: c.Batch, memoryMB: c.MemoryMB, states: c.States}
}

// Validate checks what the schema cannot.
func (c DynamicConfig) Validate(context.Context) sdk.Diagnostics {
	return validateKeepFloat(c.KeepFloat)
}

func validateKeepFloat(patterns []string) sdk.Diagnostics {
	var ds sdk.Diagnostics
	for i, p := range patterns {
		if p == "" {
			ds = append(ds, sdk.Diagnostic{Path: []any{"keep_float", sdk.Index(i)}, Summary: "an empty pattern keeps nothing in float", Detail: "Write a node's name, or a part of it with *, such as \"stem/*\"."})
		}
	}
	return ds
}

// Plan tells what the bytes will depend on: the target that "auto" stands for here, and the engine that calibrates.
func (c StaticConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	cpu := ThisCPU()
	r, err := planTarget(c.Target, cpu)
	if err != nil {
		return nil, err
	}
	// A value that is not known yet may be one of made-up samples.
	if sdk.Known(ctx, "calibration_random") {
		r.Diagnostics = append(r.Diagnostics, c.learn().source()...)
	}
	r.Nondeterministic = c.Accuracy != nil && c.Accuracy.TimeLimit != nil || c.Budget != nil && c.Budget.Speedup != nil
	r.Diagnostics = append(append(r.Diagnostics, c.planRepair()...), c.planSmooth()...)
	if t, err := resolveTarget(c.Target, cpu); err == nil {
		r.Nondeterministic = r.Nondeterministic || c.noSearch(t, cpu) == ""
		r.Diagnostics = append(append(r.Diagnostics, c.planAccuracy(t)...), c.planSearch(t, cpu)...)
	}
	if c.Ranges != nil && c.Accuracy == nil && c.Budget == nil {
		r.Needs = dynamicNeeds(c.Model.Size) // nothing is run
		return r, nil
	}
	if err := planEngine(r, run.Threads, c.Model.Size); err != nil {
		return r, err
	}
	if c.copies() {
		r.Needs.Memory *= 2 // measured on a transformer of 70 MB: 840 MB
	}
	return r, nil
}

// Plan tells what the bytes will depend on: the target that "auto" stands for here, and with data the engine that runs it.
func (c DynamicConfig) Plan(_ context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r, err := planTarget(c.Target, ThisCPU())
	if err != nil {
		return nil, err
	}
	if r.Needs = dynamicNeeds(c.Model.Size); c.Calibration == nil {
		return r, nil
	}
	if err := planEngine(r, run.Threads, c.Model.Size); err != nil {
		return r, err
	}
	r.Needs.Memory *= 2 // copies are held and run, as by quantize_static
	return r, nil
}

// copies tells whether lowered copies of the model are held and run beside it.
func (c StaticConfig) copies() bool {
	return c.Accuracy != nil || c.Budget != nil || c.repairs() || c.smooths()
}

// staticNeeds is what calibration takes: the engine holds the weights twice, and we the float and the 8-bit ones. Peaks
// that were measured on convolutional nets of 18, 72 and 180 MB are 170, 436 and 1085 MB, the process included.
func staticNeeds(model int64, threads int) sdk.Needs {
	if model <= 0 {
		return sdk.Needs{Cores: threads} // it is not there yet
	}
	return sdk.Needs{Memory: 6*model + 64<<20, Cores: threads}
}

// dynamicNeeds: no engine runs, and weights of the file are read as they lie there. Peaks that were measured on nets of
// MatMul of 32, 128 and 256 MB are 76, 244 and 485 MB.
func dynamicNeeds(model int64) sdk.Needs {
	if model <= 0 {
		return sdk.Needs{}
	}
	return sdk.Needs{Memory: 2*model + 32<<20}
}

func planTarget(name string, cpu CPU) (*sdk.PlanResult, error) {
	t, err := targetOf(name, cpu)
	if err != nil {
		return nil, err
	}
	r := &sdk.PlanResult{Fingerprint: map[string]string{"target": t.Name}}
	// Cross-quantizing is fine, but the result must not be judged by what it does here.
	if name == t.Name && slices.Contains(t.Arch, cpu.Arch) && !t.fits(cpu) {
		r.Diagnostics = append(r.Diagnostics, sdk.AttrWarning("target", fmt.Sprintf("this machine is no %s", t.Name),
			"Its CPU lacks what the target counts on, so weights of 8 bits may saturate: accuracy and latency measured here are not those of the target."))
	}
	return r, nil
}

// targetOf resolves a target and points at the argument when there is none.
func targetOf(name string, cpu CPU) (*Target, error) {
	t, err := resolveTarget(name, cpu)
	if err != nil {
		return nil, sdk.AttrError("target", "no target to quantize for", err.Error())
	}
	return t, nil
}
