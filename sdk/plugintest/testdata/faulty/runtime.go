package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

type runtime struct {
	pluginv1.UnimplementedRuntimeServer
	inner pluginv1.RuntimeClient
}

func (t *runtime) Probe(ctx context.Context, r *pluginv1.ProbeRequest) (*pluginv1.ProbeResponse, error) {
	out, err := t.inner.Probe(ctx, r)
	if err == nil && fault == "runtime/probe" {
		out.Fingerprint["process"] = fmt.Sprint(os.Getpid())
	}
	return out, err
}

func (t *runtime) Open(ctx context.Context, r *pluginv1.OpenRequest) (*pluginv1.OpenResponse, error) {
	out, err := t.inner.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	switch fault {
	case "runtime/open":
		out.Facts = nil
	case "runtime/open-broken":
		out.Diagnostics = nil
	case "runtime/sessions":
		out.Session = "the one"
	}
	return out, nil
}

func (t *runtime) Predict(ctx context.Context, r *pluginv1.PredictRequest) (*pluginv1.PredictResponse, error) {
	out, err := t.inner.Predict(ctx, r)
	if err != nil {
		return nil, err
	}
	value := float32(-1)
	rows := out.GetSamples()
	switch fault {
	case "runtime/mismatch":
		return &pluginv1.PredictResponse{Samples: 2}, nil
	case "runtime/predict":
		rows--
		value = 0
	case "runtime/batches":
		value = float32(r.GetBatch())
	case "runtime/stable":
		value = float32(calls.Add(1))
	case "runtime/finite":
		value = float32(math.NaN())
	}
	if value != -1 && len(out.GetDiagnostics()) == 0 {
		data := make([]byte, 0, rows*40)
		for range rows * 10 {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value))
		}
		err = tensor.WriteFile(r.GetOutput(), []tensor.Named{{Name: "logits", Tensor: tensor.Tensor{DType: tensor.F32, Shape: []int64{rows, 10}, Data: data}}}, nil)
	}
	return out, err
}

func (t *runtime) Benchmark(ctx context.Context, r *pluginv1.BenchmarkRequest) (*pluginv1.BenchmarkResponse, error) {
	if fault == "runtime/benchmark" {
		return &pluginv1.BenchmarkResponse{LatencyNs: []int64{0, 0}}, nil
	}
	return t.inner.Benchmark(ctx, r)
}

func (t *runtime) Coverage(ctx context.Context, r *pluginv1.CoverageRequest) (*pluginv1.CoverageResponse, error) {
	if fault == "runtime/coverage" {
		return &pluginv1.CoverageResponse{Document: []byte("all of it")}, nil
	}
	return t.inner.Coverage(ctx, r)
}

var closed = map[string]bool{}

func (t *runtime) Close(ctx context.Context, r *pluginv1.CloseRequest) (*pluginv1.CloseResponse, error) {
	if fault == "runtime/close" {
		if closed[r.GetSession()] {
			return nil, status.Error(codes.NotFound, "it is closed")
		}
		closed[r.GetSession()] = true
	}
	return t.inner.Close(ctx, r)
}
