// Package evaluate grades candidates against a baseline: it has a Runtime plugin run them on a dataset, computes the
// metrics itself (plugins do not grade their own work), times them in alternating slices and reads the engine's own
// graph back. Everything but latency is cached by content.
package evaluate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Revision enters the keys of cached evaluations: it is raised when the same inputs would give other figures.
const Revision = 1

// Engine is a plugin that runs artifacts.
type Engine interface {
	Name() string
	Version() string
	// Digest is the SHA-256 of the plugin's executable.
	Digest() string
	Probe(ctx context.Context, r *pluginv1.ProbeRequest) (*pluginv1.ProbeResponse, error)
	Runtime(ctx context.Context) (pluginv1.RuntimeClient, error)
}

// Inspector reads what is in an artifact; the answer is a document of the schema optimize.inspect/v1.
type Inspector interface {
	Name() string
	Version() string
	Digest() string
	Inspect(ctx context.Context, a *pluginv1.Artifact) (*pluginv1.InspectResponse, error)
}

// Subject is one artifact to measure and the engine that runs it.
type Subject struct {
	Name      string
	Artifact  cache.Artifact
	Engine    Engine
	Inspector Inspector // nil when no plugin inspects the format
	// Options set the engine up, in its plugin's words.
	Options map[string]string
}

// Dataset is a materialised dataset.
type Dataset struct {
	Dir    string
	Digest string
}

// Benchmark says how latency is measured. Batch is samples a run, Threads the intra-op threads of the engine,
// Duration the time spent on each subject.
type Benchmark struct {
	Batch    int64
	Threads  int64
	Duration time.Duration
}

// Spec is one evaluation. The first subject is the baseline.
type Spec struct {
	Name string
	// RecordName begins the names under which the runs of this evaluation are compared.
	RecordName string
	Dataset    Dataset
	Subjects   []Subject
	Metrics    []Metric // empty: the defaults of the task
	Threads    int64    // for quality, not for latency
	Benchmark  *Benchmark
	// ReuseBenchmarks takes latencies from the cache when they are there.
	ReuseBenchmarks bool
	// Fresh takes nothing from the cache.
	Fresh    bool
	Platform string
	// AskedBy is the plugin whose step asked; empty for an evaluate block. It names the files itself and may change them
	// meanwhile, so that its figures are kept apart from those that a user is shown.
	AskedBy string
}

// Measurement is what is known of one subject.
type Measurement struct {
	Name     string                      `json:"name"`
	Format   string                      `json:"format"`
	Digest   string                      `json:"digest"`
	Engine   string                      `json:"engine"`
	Metrics  map[string]metrics.Estimate `json:"metrics"`
	Facts    map[string]string           `json:"facts,omitempty"`
	Coverage json.RawMessage             `json:"coverage,omitempty"`
	// Cached says that no quality figure had to be computed; LatencyReused that latency comes from an earlier run.
	Cached        bool `json:"cached"`
	LatencyReused bool `json:"latency_reused,omitempty"`
}

// Result is an evaluation: the baseline first, then the candidates in the order of the Spec.
type Result struct {
	Name    string `json:"name"`
	Samples int64  `json:"samples"`
	// Quality describes the metrics that were asked for, in their order; empty when they are the defaults.
	Quality      []Described   `json:"quality,omitempty"`
	Measurements []Measurement `json:"measurements"`
}

// Problem is a diagnostic of an engine about one subject, or a mismatch that the grading found.
type Problem struct {
	Subject    string // name, or "" for the dataset
	Diagnostic *pluginv1.Diagnostic
}

func (p *Problem) Error() string {
	s := p.Diagnostic.GetSummary()
	if d := p.Diagnostic.GetDetail(); d != "" {
		s += ": " + d
	}
	return s
}

// problem turns the diagnostics of an answer into an error; warnings are dropped here, the engine's log has them.
func problem(subject string, ds []*pluginv1.Diagnostic) error {
	for _, d := range ds {
		if d.GetSeverity() == pluginv1.Diagnostic_SEVERITY_ERROR {
			return &Problem{Subject: subject, Diagnostic: d}
		}
	}
	return nil
}

func problemf(subject, detail, format string, args ...any) error {
	return &Problem{Subject: subject, Diagnostic: &pluginv1.Diagnostic{
		Severity: pluginv1.Diagnostic_SEVERITY_ERROR, Summary: fmt.Sprintf(format, args...), Detail: detail,
	}}
}

// Run measures every subject of s. Progress, when not nil, is told what is being done.
func Run(ctx context.Context, store *cache.Store, s Spec, progress func(phase string)) (*Result, error) {
	if progress == nil {
		progress = func(string) {}
	}
	g := &grader{store: store, spec: s, progress: progress}
	defer g.close(context.WithoutCancel(ctx))
	if err := g.probe(ctx); err != nil {
		return nil, err
	}
	r := &Result{Name: s.Name}
	for _, m := range s.Metrics {
		r.Quality = append(r.Quality, m.Describe())
	}
	for i := range s.Subjects {
		m, err := g.quality(ctx, i)
		if err != nil {
			return nil, err
		}
		r.Measurements = append(r.Measurements, m.Measurement)
		r.Samples = m.Samples
	}
	if s.Benchmark != nil {
		if err := g.latency(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}
