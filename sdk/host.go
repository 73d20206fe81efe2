package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// ErrNoHost is returned when a step asks a core that offers no service to steps.
var ErrNoHost = errors.New("this version of Optimize cannot be asked by steps; require a newer one with requires_core")

// Estimate is a figure with its 95% interval; the bounds equal the figure where it has no uncertainty.
type Estimate struct{ Value, Low, High float64 }

// Evaluation asks how good a candidate is.
type Evaluation struct {
	// Candidate is a model of the step's own making, in its output or scratch folder, or one of its inputs. Its Path is
	// absolute and its Format is set; the rest is not needed.
	Candidate Artifact
	// Baseline is what it is compared with, for metrics that compare; the zero value compares with nothing.
	Baseline Artifact
	// Dataset is an input of the step.
	Dataset Dataset
	// Runtime names the plugin that runs both; empty takes the native one of each format.
	Runtime string
	// Metrics are those of an evaluate block; empty takes the defaults of the task.
	Metrics []string
}

// Evaluate has the core run a candidate and grade it: the metrics by name, and how many samples they are over. What is
// wrong with the candidate comes back as Diagnostics.
func (r *Run) Evaluate(ctx context.Context, e Evaluation) (metrics map[string]Estimate, samples int64, err error) {
	q := &pluginv1.EvaluateRequest{Candidate: e.Candidate.wire(), Dataset: e.Dataset.wire(), Runtime: e.Runtime, Metrics: e.Metrics}
	if e.Baseline.Exists() {
		q.Baseline = e.Baseline.wire()
	}
	a, err := ask(r, ctx, q, pluginv1.HostClient.Evaluate)
	if err != nil {
		return nil, 0, err
	}
	return estimates(a.GetMetrics()), a.GetSamples(), diagnosticsFrom(a.GetDiagnostics()).Err()
}

// Race asks which of several candidates is the fastest.
type Race struct {
	// Candidates are as in Evaluation; the speed-ups are over the first.
	Candidates []Artifact
	Dataset    Dataset
	Runtime    string
	// Batch is samples a run and Threads the engine's; 0 means 1.
	Batch, Threads int
	// Duration is the time spent on each candidate; 0 means a second.
	Duration time.Duration
}

// Lap is what a race found of one candidate.
type Lap struct {
	// Metrics are latency_p50, latency_p90 and latency_p99 in milliseconds, and speedup as a factor.
	Metrics map[string]Estimate
	// Lost says why there are no figures: the engine refused the candidate, or did not survive it.
	Lost error
}

// Race has the core time candidates side by side, in alternating slices, so that the same weather of a busy machine
// blows on all of them. A lap for each candidate comes back, in their order. A step that chooses by it answers
// Nondeterministic when it is planned.
func (r *Run) Race(ctx context.Context, c Race) ([]Lap, error) {
	q := &pluginv1.RaceRequest{Dataset: c.Dataset.wire(), Runtime: c.Runtime, Batch: int64(max(c.Batch, 1)),
		Threads: int64(max(c.Threads, 1)), DurationNs: int64(c.Duration)}
	if c.Duration <= 0 {
		q.DurationNs = int64(time.Second)
	}
	for _, a := range c.Candidates {
		q.Candidates = append(q.Candidates, a.wire())
	}
	a, err := ask(r, ctx, q, pluginv1.HostClient.Race)
	if err != nil {
		return nil, err
	}
	if err := diagnosticsFrom(a.GetDiagnostics()).Err(); err != nil {
		return nil, err
	}
	if len(a.GetLaps()) != len(c.Candidates) {
		return nil, fmt.Errorf("the core answered with %d laps for %d candidates", len(a.GetLaps()), len(c.Candidates))
	}
	var laps []Lap
	for _, l := range a.GetLaps() {
		laps = append(laps, Lap{Metrics: estimates(l.GetMetrics()), Lost: diagnosticsFrom(l.GetDiagnostics()).Err()})
	}
	return laps, nil
}

// Coverage gives the engine's own optimized graph of a candidate: a document of the schema optimize.coverage/v1.
func (r *Run) Coverage(ctx context.Context, candidate Artifact, runtime string) (json.RawMessage, error) {
	a, err := ask(r, ctx, &pluginv1.ReadCoverageRequest{Candidate: candidate.wire(), Runtime: runtime}, pluginv1.HostClient.ReadCoverage)
	if err != nil {
		return nil, err
	}
	return a.GetDocument(), diagnosticsFrom(a.GetDiagnostics()).Err()
}

// hostClient is a step's way to the core.
type hostClient struct {
	conn   *grpc.ClientConn
	client pluginv1.HostClient
	token  string
	err    error
}

// dialHost connects with the first call.
func dialHost(e *pluginv1.HostEndpoint) *hostClient {
	if e.GetAddress() == "" {
		return nil
	}
	conn, err := grpc.NewClient(e.GetAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxWireMessage)))
	if err != nil {
		return &hostClient{err: err}
	}
	return &hostClient{conn: conn, client: pluginv1.NewHostClient(conn), token: e.GetToken()}
}

func (h *hostClient) close() {
	if h != nil && h.conn != nil {
		_ = h.conn.Close()
	}
}

// ask makes one call of the service Host.
func ask[Q, A any](r *Run, ctx context.Context, q Q, call func(pluginv1.HostClient, context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	var none A
	switch {
	case r.host == nil:
		return none, ErrNoHost
	case r.host.err != nil:
		return none, r.host.err
	}
	a, err := call(r.host.client, metadata.AppendToOutgoingContext(ctx, pluginv1.TokenHeader, r.host.token), q)
	if err == nil {
		return a, nil
	}
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	st := status.Convert(err)
	if st.Code() == codes.Unimplemented {
		return none, ErrNoHost
	}
	return none, fmt.Errorf("the core could not help: %s", st.Message())
}

func estimates(in []*pluginv1.Metric) map[string]Estimate {
	out := map[string]Estimate{}
	for _, m := range in {
		out[m.GetName()] = Estimate{m.GetValue(), m.GetLow(), m.GetHigh()}
	}
	return out
}

// diagnosticsFrom reads what the core says about a candidate; paths lead into no configuration of this step.
func diagnosticsFrom(in []*pluginv1.Diagnostic) Diagnostics {
	var out Diagnostics
	for _, d := range in {
		x := Diagnostic{Summary: d.GetSummary(), Detail: d.GetDetail(), Code: d.GetCode()}
		if d.GetSeverity() == pluginv1.Diagnostic_SEVERITY_WARNING {
			x.Severity = SeverityWarning
		}
		out = append(out, x)
	}
	return out
}
