package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// engine runs the format "demo": a text of words that say how a model behaves.
//
//	delay MS   one run takes so long
//	refuse     it cannot be loaded
//	crash      the process ends when it is timed
//	hang       a run never ends
type engine struct{}

func (engine) Probe(context.Context, sdk.ProbeRequest) (sdk.ProbeResult, error) {
	return sdk.ProbeResult{Fingerprint: map[string]string{"demo": "1"}}, nil
}

func (engine) Open(_ context.Context, r sdk.OpenRequest) (sdk.RuntimeSession, error) {
	b, err := os.ReadFile(r.Artifact.Path)
	if err != nil {
		return nil, err
	}
	s := &session{words: strings.Fields(string(b))}
	if s.has("refuse") {
		return nil, sdk.CodeError("demo/refused", "this model refuses to be loaded", "Take another.")
	}
	return s, nil
}

type session struct{ words []string }

func (s *session) has(word string) bool {
	for _, w := range s.words {
		if w == word {
			return true
		}
	}
	return false
}

func (s *session) delay() time.Duration {
	for i, w := range s.words[:max(len(s.words)-1, 0)] {
		if ms, err := strconv.ParseFloat(s.words[i+1], 64); w == "delay" && err == nil {
			return time.Duration(ms * float64(time.Millisecond))
		}
	}
	return time.Millisecond
}

func (s *session) Info() sdk.SessionInfo {
	return sdk.SessionInfo{Facts: map[string]string{"runtime": "demo"}}
}

// Predict gives each sample ten scores, all of them zero.
func (s *session) Predict(_ context.Context, r sdk.PredictRequest) (int64, error) {
	n := r.Dataset.Samples()
	w, err := tensor.Create(r.Output, []tensor.Info{{Name: "y", DType: tensor.F32, Shape: []int64{n, 10}}}, nil)
	if err != nil {
		return 0, err
	}
	if err := w.Write("y", make([]byte, 4*n*10)); err != nil {
		return 0, err
	}
	return n, w.Close()
}

func (s *session) Benchmark(ctx context.Context, r sdk.BenchmarkRequest) ([]int64, error) {
	if s.has("crash") {
		fmt.Fprintln(os.Stderr, "the engine crashes on this model")
		os.Exit(9)
	}
	if s.has("hang") {
		select {}
	}
	var out []int64
	for began := time.Now(); len(out) == 0 || time.Since(began) < r.Duration; {
		one := time.Now()
		time.Sleep(s.delay())
		out = append(out, int64(time.Since(one)))
	}
	return out, nil
}

func (s *session) Coverage(context.Context) (any, error) {
	return map[string]any{"schema": "optimize.coverage/v1", "engine": "demo", "ops": []any{}, "nodes": []any{}}, nil
}

func (s *session) Close() error { return nil }
