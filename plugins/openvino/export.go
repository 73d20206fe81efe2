package openvino

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
)

// The files of the artifact, a folder.
const (
	irFolder     = "model"
	irFile       = "model.xml"
	weightsFile  = "model.bin"
	compiledFile = "model.blob"
	compiledNote = "model.blob.json"
)

const exportExample = `step "openvino" "ir" {
  model = model.classifier
}`

const preparedExample = `step "openvino" "camera" {
  model            = step.int8.model
  compress_to_fp16 = true
  shapes           = { image = ["1..8", 3, 224, 224] }

  input "image" {
    type             = "u8"
    layout           = "NHWC"
    resize           = "linear"
    reverse_channels = true
    mean             = [123.675, 116.28, 103.53]
    scale            = [58.395, 57.12, 57.375]
  }
}`

func exportStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     pluginName,
		Revision: 1,
		Doc: "Converts a model to OpenVINO's IR with OpenVINO's own reader and writer: a folder with `model.xml`, the graph, and `model.bin`, " +
			"the weights. Names of inputs and outputs stay. What quantize_static wrote arrives as FakeQuantize with its weights in 8 bits; " +
			"weights of 4 and 8 bits stay as small as they are. The same model gives the same bytes, but for a compiled form. Shapes can be fixed or freed, and " +
			"the preparation of pictures becomes a part of the model, so that a camera's bytes are what it takes.",
		Examples: []string{exportExample, preparedExample},
		Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: formatIR,
			Doc: "The folder with `model.xml` and `model.bin`; with `compiled` also `model.blob`, and `model.blob.json`, which tells what it is for."}},
		ResultExample: ExportFacts{},
	}, applyExport)
}

// ExportConfig is the configuration of the step openvino.
type ExportConfig struct {
	Model          sdk.Model              `opt:"model,required" accepts:"onnx" doc:"Model to convert."`
	CompressToFP16 bool                   `opt:"compress_to_fp16" default:"false" doc:"Store float weights in half precision, as OpenVINO's own converter does when nothing is said. A CPU computes in float all the same. Without it weights stay as they are."`
	Simplify       bool                   `opt:"simplify" default:"true" doc:"Run the passes of OpenVINO's own converter: what is constant is worked out, and what can be one layer becomes one. They are left out where they would make the weights larger, as they do with some in 8 bits."`
	Shapes         map[string][]string    `opt:"shapes" default:"{}" doc:"Shapes of inputs, by name: { image = [1, 3, 224, 224] }. An axis is a number, \"?\" for any length, or a range such as \"1..8\"."`
	Inputs         map[string]InputConfig `opt:"input,block" doc:"What becomes of an input before the model sees it, as a part of the model, in this order: conversion to float, resize, reverse_channels, minus mean, divided by scale, transposition to the model's layout. Shapes are set before."`
	Compiled       string                 `opt:"compiled" default:"" doc:"Device to compile for as well, such as \"CPU\", \"GPU\" or \"NPU\". What is compiled loads in about half the time; the runtime openvino takes it in the place of the graph where version, device and precision are the same, and reports it."`
	Precision      string                 `opt:"precision" default:"f32" oneof:"f32,f16,bf16,device" doc:"What the compiled form computes floats in. \"device\" leaves the choice to the device: a CPU with AMX takes bf16."`
}

// ExportFacts are what the step tells about its work: step.NAME.result.
type ExportFacts struct {
	OpenVINO   string            `opt:"openvino" doc:"Version of the OpenVINO that wrote the model."`
	Size       int64             `opt:"size" doc:"Bytes of the graph and the weights, without a compiled form."`
	Simplified bool              `opt:"simplified" doc:"Whether OpenVINO's passes were run, and what came out was kept."`
	Layers     int64             `opt:"layers" doc:"Layers of the graph, constants left out."`
	Operations map[string]int64  `opt:"operations" doc:"Layers by operation."`
	Weights    map[string]int64  `opt:"weights" doc:"Bytes of constants by element type, such as f32, i8 or u4."`
	Inputs     map[string]string `opt:"inputs" doc:"Type and shape of each input, such as f32 [?, 3, 224, 224]."`
	Outputs    map[string]string `opt:"outputs" doc:"Type and shape of each output."`
	Device     string            `opt:"device" doc:"Full name of the device that the model was compiled for, or empty."`

	bin int64 // bytes of the weights
}

// Validate checks what the schema cannot.
func (c ExportConfig) Validate(context.Context) sdk.Diagnostics {
	ds := append(checkShapes(c.Shapes), checkInputs(c.Inputs)...)
	if c.Compiled != "" && !deviceName.MatchString(c.Compiled) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"compiled"}, Summary: fmt.Sprintf("%q is no device", c.Compiled),
			Detail: "A model is compiled for one device, such as \"CPU\", \"GPU\", \"GPU.1\" or \"NPU\"."})
	}
	return ds
}

// Plan tells what the bytes depend on: the library; with a compiled form, the device and the processor too.
func (c ExportConfig) Plan(_ context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	// OpenVINO holds the weights once and writes from there; its libraries take about 100 MB.
	r.Needs = sdk.Needs{Memory: 3*c.Model.Size + 150<<20, Cores: 1}
	var err error
	if r.Missing, err = probe(r.Fingerprint); len(r.Missing) > 0 {
		r.Diagnostics = whyMissing()
	}
	if err != nil || len(r.Missing) > 0 || c.Compiled == "" {
		return r, err
	}
	r.Needs.Cores, r.Needs.Memory = run.Threads, 5*c.Model.Size+300<<20
	if _, err := load(); err != nil {
		return nil, err
	}
	if r.Fingerprint["device"], err = fullName(c.Compiled); err != nil {
		return nil, err
	}
	// A device's own form holds names with a number that counts on.
	r.Nondeterministic = true
	r.Fingerprint["cpu"] = strings.Join(cpuid.CPU.FeatureSet(), ",")
	return r, nil
}

// job is where a step works.
type job struct {
	out     string // the folder of its outputs
	threads int
	phase   func(string)
}

func applyExport(ctx context.Context, run *sdk.Run, c ExportConfig) (*sdk.Result, error) {
	return export(ctx, job{run.OutDir, run.Threads, func(phase string) { run.Progress(phase, 0, 0, "") }}, c)
}

// export writes the IR, and what is compiled of it.
func export(ctx context.Context, j job, c ExportConfig) (*sdk.Result, error) {
	lib, err := load()
	if err != nil {
		return nil, err
	}
	path, err := onnx.ModelFile(c.Model.Path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", sentence(err.Error()))
	}
	known := look(path)
	facts, err := j.convert(ctx, path, c, c.Simplify, known)
	if err != nil {
		return nil, err
	}
	if facts.Simplified && facts.bin > known.size+known.size/20+1<<16 {
		// Numbers in few bits became floats: the model as it was read is smaller, and the same to a device.
		if facts, err = j.convert(ctx, path, c, false, known); err != nil {
			return nil, err
		}
	}
	facts.OpenVINO = lib.Version
	dir := filepath.Join(j.out, irFolder)
	if c.Compiled != "" {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		j.phase("compile")
		if facts.Device, err = compile(filepath.Join(dir, irFile), dir, c, lib, j.threads); err != nil {
			return nil, err
		}
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Kind: "model", Format: formatIR, Path: irFolder}}, Facts: facts}, nil
}

// convert reads the model, does with it what the recipe says, and writes it into the job's folder.
func (j job) convert(ctx context.Context, path string, c ExportConfig, simplify bool, known source) (facts ExportFacts, err error) {
	j.phase("read")
	m, err := known.read(path)
	if err != nil {
		return facts, readError(path, err)
	}
	defer m.Close()
	in, _, err := m.Ports()
	if err != nil {
		return facts, readError(path, err)
	}
	if err := reshape(m, in, c.Shapes); err != nil {
		return facts, err
	}
	if err := prepare(m, c.Inputs); err != nil {
		return facts, err
	}
	if err := ctx.Err(); err != nil {
		return facts, err
	}
	if simplify {
		j.phase("simplify")
		if facts.Simplified, err = m.Simplify(); err != nil {
			return facts, sdk.CodeError(codeModel, "OpenVINO cannot simplify the model", sentence(err.Error())+" simplify = false leaves it as it is.")
		}
		if err := ctx.Err(); err != nil {
			return facts, err
		}
	}
	j.phase("write")
	dir := filepath.Join(j.out, irFolder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return facts, fmt.Errorf("the model cannot be written: %w", err)
	}
	if err := write(m, dir, c.CompressToFP16, known.given, &facts); err != nil {
		return facts, err
	}
	return facts, describe(m, known.outputs, &facts)
}

// write saves the IR, gives it the names that it has every time, and checks that all of it is there: OpenVINO does not
// notice a disk that is full.
func write(m *ov.Model, dir string, halved bool, given func(string) bool, facts *ExportFacts) error {
	xml, bin := filepath.Join(dir, irFile), filepath.Join(dir, weightsFile)
	if err := m.Save(xml, halved); err != nil {
		return sdk.CodeError(codeWrite, "the model cannot be written", sentence(err.Error()))
	}
	text, err := os.ReadFile(xml)
	if err != nil {
		return fmt.Errorf("the model cannot be written: %w", err)
	}
	doc, err := parseIR(text)
	if err != nil {
		return sdk.CodeError(codeWrite, "the model was not written whole", fmt.Sprintf("%s: %s. Is the disk full?", irFile, err))
	}
	st, err := os.Stat(bin)
	if errors.Is(err, os.ErrNotExist) && doc.end == 0 {
		// A model without constants has no weights; the folder has the same files all the same.
		if err = os.WriteFile(bin, nil, 0o644); err == nil {
			st, err = os.Stat(bin)
		}
	}
	if err != nil {
		return fmt.Errorf("the model cannot be written: %w", err)
	}
	if st.Size() < doc.end {
		return sdk.CodeError(codeWrite, "the model was not written whole", fmt.Sprintf("%s has %d bytes, and the graph names %d. Is the disk full?", weightsFile, st.Size(), doc.end))
	}
	if text, changed := doc.settled(given); changed {
		if err := os.WriteFile(xml, text, 0o644); err != nil {
			return fmt.Errorf("the model cannot be written: %w", err)
		}
		doc.size = int64(len(text))
	}
	facts.Size, facts.bin = doc.size+st.Size(), st.Size()
	facts.Operations, facts.Weights = doc.operations, doc.weights
	for op, n := range doc.operations {
		if op != "Const" {
			facts.Layers += n
		}
	}
	return nil
}

// describe puts the model's inputs and outputs into the facts. An output may have several names, of which OpenVINO tells any:
// the ONNX model's counts.
func describe(m *ov.Model, outputs []string, facts *ExportFacts) error {
	in, out, err := m.Ports()
	if err != nil {
		return err
	}
	for i := range out {
		if len(outputs) == len(out) {
			out[i].Name = outputs[i]
		}
	}
	told := func(ports []ov.Port) map[string]string {
		t := map[string]string{}
		for _, p := range ports {
			t[p.Name] = p.Kind()
		}
		return t
	}
	facts.Inputs, facts.Outputs = told(in), told(out)
	return nil
}
