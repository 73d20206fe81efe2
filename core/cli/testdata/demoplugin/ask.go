package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
)

// searchConfig is that of demo_search, a search that times its candidates on an engine before it chooses.
type searchConfig struct {
	Data       sdk.Dataset `opt:"data,required" doc:"Samples to time with."`
	Candidates []string    `opt:"candidates,required" doc:"Texts of the format demo."`
}

type searchFacts struct {
	Chosen  int     `opt:"chosen" doc:"Index of the fastest candidate."`
	Lost    []int64 `opt:"lost" doc:"Indices of those that their engine did not run."`
	Speedup float64 `opt:"speedup" doc:"Of the fastest over the first."`
}

func (searchConfig) Plan(context.Context, *sdk.PlanRun) (*sdk.PlanResult, error) {
	return &sdk.PlanResult{Nondeterministic: true}, nil
}

func search(ctx context.Context, run *sdk.Run, c searchConfig) (*sdk.Result, error) {
	race := sdk.Race{Dataset: c.Data, Duration: 150 * time.Millisecond}
	for i, text := range c.Candidates {
		path := run.Path(fmt.Sprintf("candidate-%d.demo", i))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
		race.Candidates = append(race.Candidates, sdk.Artifact{Path: path, Format: "demo"})
	}
	laps, err := run.Race(ctx, race)
	if err != nil {
		return nil, err
	}
	f := searchFacts{Chosen: -1, Lost: []int64{}}
	for i, l := range laps {
		if l.Lost != nil {
			run.Log.Warn("lost a candidate", "index", i, "reason", l.Lost.Error())
			f.Lost = append(f.Lost, int64(i))
			continue
		}
		if f.Chosen < 0 || l.Metrics["latency_p50"].Value < laps[f.Chosen].Metrics["latency_p50"].Value {
			f.Chosen, f.Speedup = i, l.Metrics["speedup"].Value
		}
	}
	if f.Chosen < 0 {
		return nil, sdk.AttrError("candidates", "no candidate runs", "Write another one.")
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: fmt.Sprintf("candidate-%d.demo", f.Chosen)}}, Facts: f}, nil
}

// controlConfig is that of demo_control, which has a model of its own making graded on another plugin's engine.
type controlConfig struct {
	Model   sdk.Model   `opt:"model,required" doc:"What the candidate is compared with." accepts:"onnx"`
	Data    sdk.Dataset `opt:"data,required" doc:"Samples with labels."`
	Break   bool        `opt:"break" doc:"Make a candidate that no engine loads."`
	Runtime string      `opt:"runtime" doc:"The engine; the native one when left out."`
}

type controlFacts struct {
	Top1    float64 `opt:"top1" doc:"Of the candidate."`
	Drop    float64 `opt:"drop" doc:"Baseline minus candidate."`
	Samples int64   `opt:"samples" doc:"How many were graded."`
	Ops     int64   `opt:"ops" doc:"Kinds of operators in the engine's own graph."`
}

func control(ctx context.Context, run *sdk.Run, c controlConfig) (*sdk.Result, error) {
	b, err := os.ReadFile(c.Model.Path)
	if err != nil {
		return nil, err
	}
	if c.Break {
		b = b[:len(b)/2]
	}
	candidate := sdk.Artifact{Path: run.Path("model.onnx"), Format: "onnx"}
	if err := os.WriteFile(candidate.Path, b, 0o644); err != nil {
		return nil, err
	}
	m, n, err := run.Evaluate(ctx, sdk.Evaluation{Candidate: candidate, Baseline: c.Model.Artifact, Dataset: c.Data, Runtime: c.Runtime})
	if err != nil {
		return nil, err
	}
	doc, err := run.Coverage(ctx, candidate, c.Runtime)
	if err != nil {
		return nil, err
	}
	var coverage struct {
		Ops []json.RawMessage `json:"ops"`
	}
	if err := json.Unmarshal(doc, &coverage); err != nil {
		return nil, err
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "model.onnx"}},
		Facts: controlFacts{Top1: m["top1"].Value, Drop: m["top1_drop"].Value, Samples: n, Ops: int64(len(coverage.Ops))}}, nil
}
