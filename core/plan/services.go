package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/evaluate"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Services gives what the step addr of a plugin may ask of the core while it works: to have candidates of its own making graded,
// timed and looked into on the engines of this run.
func (s *Session) Services(addr, plugin string) host.Services {
	return &services{s, addr, plugin}
}

type services struct {
	session *Session
	addr    string
	plugin  string // of the step
}

// Evaluate grades a candidate. Figures are cached by content, for steps of the same plugin, so that a search that was
// interrupted goes on where it was. Those of an evaluate block are others: a plugin has no hand in its own grade.
func (v *services) Evaluate(ctx context.Context, r *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
	spec, err := v.spec(ctx, r.GetRuntime(), r.GetDataset())
	if err != nil {
		return &pluginv1.EvaluateResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	if spec.Metrics, err = evaluate.Named(r.GetMetrics()); err != nil {
		return &pluginv1.EvaluateResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	named := map[string]*pluginv1.Artifact{"candidate": r.GetCandidate()}
	order := []string{"candidate"}
	if r.GetBaseline() != nil {
		named["baseline"], order = r.GetBaseline(), []string{"baseline", "candidate"}
	}
	for _, name := range order {
		if err := v.add(ctx, spec, name, r.GetRuntime(), named[name]); err != nil {
			return &pluginv1.EvaluateResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
		}
	}
	res, err := evaluate.Run(ctx, v.session.Store, *spec, nil)
	if err != nil {
		return &pluginv1.EvaluateResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	return &pluginv1.EvaluateResponse{Metrics: wireMetrics(res.Measurements[len(order)-1].Metrics), Samples: res.Samples}, nil
}

// Race times candidates side by side.
func (v *services) Race(ctx context.Context, r *pluginv1.RaceRequest) (*pluginv1.RaceResponse, error) {
	if len(r.GetCandidates()) == 0 || r.GetBatch() < 1 || r.GetThreads() < 1 || r.GetDurationNs() < 1 {
		return nil, host.InvalidRequest("a race needs candidates, and a batch, threads and a duration of at least 1")
	}
	spec, err := v.spec(ctx, r.GetRuntime(), r.GetDataset())
	if err != nil {
		return &pluginv1.RaceResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	spec.Benchmark = &evaluate.Benchmark{Batch: r.GetBatch(), Threads: r.GetThreads(), Duration: time.Duration(r.GetDurationNs())}
	for i, c := range r.GetCandidates() {
		if err := v.add(ctx, spec, fmt.Sprintf("candidate %d", i+1), r.GetRuntime(), c); err != nil {
			return &pluginv1.RaceResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
		}
	}
	laps, err := evaluate.Race(ctx, v.session.Store, *spec)
	if err != nil {
		return &pluginv1.RaceResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	out := &pluginv1.RaceResponse{}
	for _, l := range laps {
		lap := &pluginv1.Lap{Metrics: wireMetrics(l.Metrics)}
		if l.Lost != nil {
			lap.Diagnostics = []*pluginv1.Diagnostic{l.Lost.Diagnostic}
		}
		out.Laps = append(out.Laps, lap)
	}
	return out, nil
}

// ReadCoverage gives the engine's own graph of a candidate.
func (v *services) ReadCoverage(ctx context.Context, r *pluginv1.ReadCoverageRequest) (*pluginv1.ReadCoverageResponse, error) {
	spec := v.bare()
	err := v.add(ctx, spec, "candidate", r.GetRuntime(), r.GetCandidate())
	if err != nil {
		return &pluginv1.ReadCoverageResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	doc, err := evaluate.Cover(ctx, v.session.Store, *spec)
	if err != nil {
		return &pluginv1.ReadCoverageResponse{Diagnostics: diagnosticOf(err)}, notProblem(err)
	}
	return &pluginv1.ReadCoverageResponse{Document: doc}, nil
}

func (v *services) bare() *evaluate.Spec {
	return &evaluate.Spec{Name: v.addr, RecordName: cache.Name(v.session.Recipe.Dir, v.addr), Threads: v.session.Threads, Platform: v.session.Platform,
		AskedBy: v.plugin}
}

func (v *services) spec(ctx context.Context, runtime string, data *pluginv1.Artifact) (*evaluate.Spec, error) {
	if data.GetPath() == "" {
		return nil, host.InvalidRequest("a dataset is needed: an input of the step, as it was given")
	}
	spec := v.bare()
	digest := data.GetDigest()
	if digest == "" {
		var err error
		if digest, _, err = v.session.Store.HashPath(ctx, data.GetPath(), true); err != nil {
			return nil, host.InvalidRequest("the dataset cannot be read: %s", err)
		}
	}
	spec.Dataset = evaluate.Dataset{Dir: data.GetPath(), Digest: digest}
	return spec, nil
}

// add adds a subject. Its digest is ours: a step may write one candidate after the other to the same path.
func (v *services) add(ctx context.Context, spec *evaluate.Spec, name, runtime string, a *pluginv1.Artifact) error {
	if !filepath.IsAbs(a.GetPath()) || a.GetFormat() == "" {
		return host.InvalidRequest("%s needs an absolute path and a format", name)
	}
	st, err := os.Stat(a.GetPath())
	if err != nil {
		return host.InvalidRequest("%s cannot be read: %s", name, err)
	}
	digest, size, err := v.session.Store.HashPath(ctx, a.GetPath(), st.IsDir())
	if err != nil {
		return host.InvalidRequest("%s cannot be read: %s", name, err)
	}
	e, inspector, err := v.session.engineFor(ctx, runtime, a.GetFormat())
	if err != nil {
		return err
	}
	e.apart = e.ref.Name == v.plugin
	spec.Subjects = append(spec.Subjects, evaluate.Subject{Name: name, Engine: e, Inspector: inspector,
		Artifact: cache.Artifact{Kind: "model", Format: a.GetFormat(), Path: a.GetPath(), Digest: digest, Size: size, Tree: st.IsDir()}})
	return nil
}

// engineFor finds the plugin that runs a format, the native one when no name is given, and the one that inspects it.
func (s *Session) engineFor(ctx context.Context, runtime, format string) (*engine, evaluate.Inspector, error) {
	name := runtime
	if name == "" {
		var ok bool
		var err error
		if name, ok, err = s.Registry.NativeRuntime(ctx, format); err != nil {
			return nil, nil, err
		} else if !ok {
			return nil, nil, host.InvalidRequest("no plugin runs %s natively; name a runtime", format)
		}
	}
	ref, ok := s.Registry.Ref(name)
	if !ok {
		return nil, nil, host.InvalidRequest("there is no plugin %q in this run; there are %s", name, strings.Join(s.Registry.Names(), ", "))
	}
	if runs, err := s.Registry.Runs(ctx, name, format); err != nil {
		return nil, nil, err
	} else if !runs {
		return nil, nil, host.InvalidRequest("plugin %s does not run %s", name, format)
	}
	var inspector evaluate.Inspector
	if name, ok, err := s.Registry.Inspector(ctx, format); err == nil && ok {
		if ref, ok := s.Registry.Ref(name); ok {
			inspector = &engine{registry: s.Registry, ref: ref}
		}
	}
	return &engine{registry: s.Registry, ref: ref}, inspector, nil
}

func wireMetrics(m map[string]metrics.Estimate) []*pluginv1.Metric {
	var out []*pluginv1.Metric
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &pluginv1.Metric{Name: name, Value: m[name].Point, Low: m[name].Low, High: m[name].High})
	}
	return out
}

// problemOf gives what is wrong with a candidate, which the step is told: the engine's own words, or that its process did
// not survive. nil is a fault of the request or of the core.
func problemOf(err error) *pluginv1.Diagnostic {
	var p *evaluate.Problem
	var crash *host.CrashError
	var hang *host.HangError
	switch {
	case errors.As(err, &p):
		return p.Diagnostic
	case errors.As(err, &crash), errors.As(err, &hang):
		return &pluginv1.Diagnostic{Severity: pluginv1.Diagnostic_SEVERITY_ERROR, Summary: "the engine did not survive the candidate", Detail: err.Error(), Code: "host/engine-lost"}
	}
	return nil
}

func diagnosticOf(err error) []*pluginv1.Diagnostic {
	if d := problemOf(err); d != nil {
		return []*pluginv1.Diagnostic{d}
	}
	return nil
}

func notProblem(err error) error {
	if problemOf(err) != nil {
		return nil
	}
	return err
}
