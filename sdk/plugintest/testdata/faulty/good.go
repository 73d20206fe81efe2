package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// good is a plugin that keeps every rule: a step that copies a model, and an engine that looks like one.
func good() *sdk.Plugin {
	return &sdk.Plugin{Name: "faulty", Version: "1.0.0", Licence: "MIT", RequiresCore: ">= 0.1",
		Steps: []sdk.StepType{sdk.Step(sdk.StepSpec{Name: "faulty_copy", Revision: 1, Doc: "Copy a model.", ResultExample: facts{},
			Examples: []string{"step \"faulty_copy\" \"a\" {\n  model = model.a\n  mode  = \"fast\"\n\n  rule {\n    bits = 4\n  }\n}\n"},
			Outputs:  []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The copy."}}}, copyModel)},
		Formats: []sdk.Format{{Name: "onnx", Extensions: []string{".onnx"}, Native: true}},
		Runtime: engine{},
		Inspect: func(_ context.Context, a sdk.Artifact) (any, error) {
			if _, err := readModel(a.Path); err != nil {
				return nil, err
			}
			return map[string]any{"schema": "optimize.inspect/v1", "format": "onnx"}, nil
		},
		Targets: []sdk.Target{{Name: "faulty", Formats: []string{"onnx"}, Doc: "This engine.", Inspect: func(context.Context, sdk.Artifact) (any, error) {
			return map[string]any{"schema": "optimize.coverage/v1"}, nil
		}}},
	}
}

type config struct {
	Model sdk.Model `opt:"model,required" doc:"What is copied." accepts:"onnx"`
	Mode  string    `opt:"mode" default:"fast" oneof:"fast,slow" doc:"How."`
	Key   string    `opt:"key,sensitive" doc:"A secret."`
	Rules []struct {
		Bits int `opt:"bits" default:"8" doc:"How many."`
	} `opt:"rule,block" max:"2" doc:"Rules."`
}

type facts struct {
	Bytes int64 `opt:"bytes" doc:"Its size."`
}

// readModel refuses what is no whole model.
func readModel(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 3000 || !bytes.Contains(b, []byte("logits")) {
		return nil, fmt.Errorf("the model is cut short: it has %d bytes", len(b))
	}
	return b, nil
}

func copyModel(ctx context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
	_, span := sdk.StartSpan(ctx, "copy")
	defer span.End()
	b, err := readModel(c.Model.Path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	run.Progress("copying", 1, 2, "parts")
	run.Log.Info("copying")
	if err := os.WriteFile(run.Path("model.onnx"), b, 0o644); err != nil {
		return nil, err
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "model.onnx"}}, Facts: facts{Bytes: int64(len(b))}}, nil
}

// engine gives each sample ten scores that its pixels determine.
type engine struct{}

func (engine) Probe(context.Context, sdk.ProbeRequest) (sdk.ProbeResult, error) {
	return sdk.ProbeResult{Fingerprint: map[string]string{"engine": "1"}}, nil
}

func (engine) Open(_ context.Context, r sdk.OpenRequest) (sdk.RuntimeSession, error) {
	if _, err := readModel(r.Artifact.Path); err != nil {
		return nil, err
	}
	return session{}, nil
}

type session struct{}

func (session) Info() sdk.SessionInfo {
	return sdk.SessionInfo{Facts: map[string]string{"runtime": "faulty"},
		Inputs:  []sdk.TensorInfo{{Name: "input", DType: tensor.F32, Shape: []int64{-1, 1, 16, 16}}},
		Outputs: []sdk.TensorInfo{{Name: "logits", DType: tensor.F32, Shape: []int64{-1, 10}}}}
}

func (session) Predict(_ context.Context, r sdk.PredictRequest) (int64, error) {
	n := r.Dataset.Samples()
	if r.Dataset.Fields()[0].Name != "input" {
		return 0, fmt.Errorf("the dataset has %s; the model wants input", r.Dataset.Fields()[0].Name)
	}
	out := make([]byte, 0, n*40)
	for i := range n * 10 {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(i%7)))
	}
	return n, tensor.WriteFile(r.Output, []tensor.Named{{Name: "logits", Tensor: tensor.Tensor{DType: tensor.F32, Shape: []int64{n, 10}, Data: out}}}, nil)
}

func (session) Benchmark(context.Context, sdk.BenchmarkRequest) ([]int64, error) {
	began := time.Now()
	time.Sleep(time.Millisecond)
	return []int64{int64(time.Since(began))}, nil
}

func (session) Coverage(context.Context) (any, error) {
	return map[string]any{"schema": "optimize.coverage/v1"}, nil
}

func (session) Close() error { return nil }
