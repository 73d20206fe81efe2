package prune

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// job is what the steps need of an sdk.Run; tests make one without a host.
type job struct {
	outDir, scratch string
	threads         int
	seed            uint64
	progress        func(phase string, done, total int64, unit string)
	warn            func(sdk.Diagnostic)
	evaluate        func(context.Context, sdk.Evaluation) (map[string]sdk.Estimate, int64, error)
	race            func(context.Context, sdk.Race) ([]sdk.Lap, error)
}

func jobOf(run *sdk.Run) job {
	return job{run.OutDir, run.ScratchDir, run.Threads, run.Seed, run.Progress, run.Warn, run.Evaluate, run.Race}
}

// mapModel maps the model of a step, which the store keeps from changing, and checks it. What the model's tensors hold
// must not be written to, nor used after done.
func mapModel(path string) (m *onnx.Model, done func() error, err error) {
	m, done, err = onnx.MapFile(path)
	if err != nil {
		return nil, nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	if err := onnx.Check(m); err != nil {
		return nil, nil, errors.Join(sdk.AttrError("model", "the model is not valid ONNX", err.Error()), done())
	}
	return m, done, nil
}

// largest is how large a model may be as one file; tests make it small.
var largest int64 = onnx.LargestFile

// writeModel writes a step's model into its folder and returns the artifact.
func writeModel(j job, m *onnx.Model) (sdk.Artifact, error) {
	name, _, err := m.WriteArtifact(j.outDir, largest)
	if err != nil {
		return sdk.Artifact{}, fmt.Errorf("the pruned model cannot be written: %w", err)
	}
	return sdk.Artifact{Kind: "model", Format: "onnx", Path: name}, nil
}

// planEngine adds the engine that a step runs to its fingerprint, or says that it is missing.
func planEngine(r *sdk.PlanResult, threads int) error {
	lib, err := ort.Find()
	var missing *ort.NotFoundError
	switch {
	case errors.As(err, &missing):
		r.Missing = append(r.Missing, sdk.Missing{What: "ONNX Runtime " + ort.MinVersion + " or newer", Command: missing.Command()})
		return nil
	case err != nil:
		return err
	}
	if r.Fingerprint == nil {
		r.Fingerprint = map[string]string{}
	}
	r.Fingerprint["threads"] = strconv.Itoa(threads)
	r.Fingerprint["onnxruntime"] = lib.Version
	r.Fingerprint["onnxruntime_digest"] = lib.Digest
	return nil
}

// loadEngine brings ONNX Runtime into the process; what says for what.
func loadEngine(what string) error {
	lib, err := ort.Find()
	if err != nil {
		return sdk.CodeError("prune/no-runtime", what+" needs ONNX Runtime", err.Error())
	}
	if err := ort.Load(lib); err != nil {
		return sdk.CodeError("prune/no-runtime", "ONNX Runtime cannot be loaded", err.Error())
	}
	return nil
}

// openData opens a dataset that is an argument of the step.
func openData(argument string, d *sdk.Dataset) (*tensor.Shards, error) {
	s, err := d.Open()
	if err != nil {
		return nil, sdk.AttrError(argument, "the dataset cannot be read", err.Error())
	}
	if s.Samples() == 0 {
		return nil, errors.Join(sdk.AttrError(argument, "the dataset is empty", "It has no samples to learn from."), s.Close())
	}
	return s, nil
}
