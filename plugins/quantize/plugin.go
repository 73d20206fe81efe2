// Package quantize is the bundled plugin of 8-bit quantization. It keeps three things apart: calibration (the range of
// each tensor), lowering (a table of rules per target, in target.go) and the report of what was left in float, and why.
package quantize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/optimize-hcl/optimize/ort"
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
		Steps: []sdk.StepType{
			sdk.Step(sdk.StepSpec{
				Name:     "quantize_static",
				Revision: 1,
				Doc: "Quantizes weights and activations to 8 bits, with ranges measured on a calibration dataset, in the layout that the " +
					"target's kernels want. For convolutional networks.",
				Examples:      []string{staticExample},
				Outputs:       output,
				ResultExample: StaticFacts{},
			}, applyStatic),
			sdk.Step(sdk.StepSpec{
				Name:     "quantize_dynamic",
				Revision: 1,
				Doc: "Quantizes the weights of MatMul and Gemm to 8 bits; the range of activations is measured while the model runs, so no " +
					"data is needed. For transformers. Convolutions stay in float: a dynamic one is several times slower.",
				Examples:      []string{dynamicExample},
				Outputs:       output,
				ResultExample: Facts{},
			}, applyDynamic),
			float16Step(),
		},
	}
}

const staticExample = `step "quantize_static" "int8" {
  model       = model.classifier
  calibration = dataset.train
  target      = "auto"
}`

const dynamicExample = `step "quantize_dynamic" "int8" {
  model      = model.encoder
  keep_float = ["/pooler/*"]
}`

// StaticConfig is the configuration of quantize_static.
type StaticConfig struct {
	Model       sdk.Model   `opt:"model,required" accepts:"onnx" doc:"Float model to quantize."`
	Calibration sdk.Dataset `opt:"calibration,required" doc:"Samples like those that the model will meet; 32 to 256 are enough. Labels are not used."`
	Target      string      `opt:"target" default:"auto" oneof:"auto,onnxruntime-x86-vnni,onnxruntime-x86,onnxruntime-arm64,tensorrt,openvino,coreml,tflite" doc:"What the model will run on. \"auto\" looks at this machine. Layouts for onnxruntime-arm64, tensorrt, coreml and tflite follow their engines' rules, but have not been run on them."`
	Method      string      `opt:"method" default:"minmax" oneof:"minmax" doc:"How a range is chosen from what calibration saw: \"minmax\" takes the smallest and largest value."`
	PerChannel  bool        `opt:"per_channel" default:"true" doc:"One scale for each output channel of a weight, else one for the whole weight."`
	KeepFloat   []string    `opt:"keep_float" default:"[]" doc:"Names of nodes to leave in float; * stands for any characters and ? for one."`
	Batch       *int64      `opt:"batch" doc:"Samples that calibration runs at a time. Without it at most 8, and fewer when their activations are large."`
}

// DynamicConfig is the configuration of quantize_dynamic.
type DynamicConfig struct {
	Model      sdk.Model `opt:"model,required" accepts:"onnx" doc:"Float model to quantize."`
	Target     string    `opt:"target" default:"auto" oneof:"auto,onnxruntime-x86-vnni,onnxruntime-x86,onnxruntime-arm64" doc:"What the model will run on. \"auto\" looks at this machine."`
	PerChannel bool      `opt:"per_channel" default:"true" doc:"One scale for each output channel of a weight, else one for the whole weight."`
	KeepFloat  []string  `opt:"keep_float" default:"[]" doc:"Names of nodes to leave in float; * stands for any characters and ? for one."`
}

// Validate checks what the schema cannot.
func (c StaticConfig) Validate(context.Context) sdk.Diagnostics {
	ds := validateKeepFloat(c.KeepFloat)
	if c.Batch != nil && *c.Batch < 1 {
		ds = append(ds, sdk.Diagnostic{Path: []any{"batch"}, Summary: fmt.Sprintf("batch is %d", *c.Batch), Detail: "Calibration runs at least one sample at a time."})
	}
	return ds
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
func (c StaticConfig) Plan(_ context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	cpu := ThisCPU()
	r, err := planTarget(c.Target, cpu)
	if err != nil {
		return nil, err
	}
	lib, err := ort.Find()
	var missing *ort.NotFoundError
	switch {
	case errors.As(err, &missing):
		r.Missing = append(r.Missing, sdk.Missing{What: "ONNX Runtime " + ort.MinVersion + " or newer", Command: missing.Command()})
	case err != nil:
		return nil, err
	}
	r.Needs = staticNeeds(c.Model.Size, run.Threads)
	r.Fingerprint["cpu"] = cpu.String()
	r.Fingerprint["threads"] = strconv.Itoa(run.Threads)
	r.Fingerprint["onnxruntime"] = lib.Version
	r.Fingerprint["onnxruntime_digest"] = lib.Digest
	return r, nil
}

// Plan tells what the bytes will depend on: the target that "auto" stands for here.
func (c DynamicConfig) Plan(context.Context, *sdk.PlanRun) (*sdk.PlanResult, error) {
	r, err := planTarget(c.Target, ThisCPU())
	if r != nil {
		r.Needs = dynamicNeeds(c.Model.Size)
	}
	return r, err
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
