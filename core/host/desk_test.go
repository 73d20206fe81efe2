//go:build unix

package host

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// answers is what the core would say.
type answers struct {
	evaluate func(context.Context, *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error)
	asked    atomic.Int64
}

func (a *answers) Evaluate(ctx context.Context, r *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
	a.asked.Add(1)
	return a.evaluate(ctx, r)
}

func (a *answers) Race(context.Context, *pluginv1.RaceRequest) (*pluginv1.RaceResponse, error) {
	return nil, InvalidRequest("nobody races here")
}

func (a *answers) ReadCoverage(context.Context, *pluginv1.ReadCoverageRequest) (*pluginv1.ReadCoverageResponse, error) {
	return nil, errors.New("the core is broken")
}

func TestStepAsks(t *testing.T) {
	r := newRig(t, nil)
	a := &answers{evaluate: func(_ context.Context, q *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
		return &pluginv1.EvaluateResponse{Samples: 7, Metrics: []*pluginv1.Metric{{Name: "top1", Value: 0.5}},
			Diagnostics: []*pluginv1.Diagnostic{{Severity: pluginv1.Diagnostic_SEVERITY_WARNING, Summary: q.GetCandidate().GetFormat()}}}, nil
	}}
	r.services = a
	if o := r.apply(t.Context(), "ask", "evaluate", nil); o.err != nil || len(o.diags) > 0 {
		t.Fatal(o.err, o.diags)
	}
	for text, want := range map[string]string{"race": "nobody races here", "coverage": "the core is broken"} {
		o := r.apply(t.Context(), "ask", text, nil)
		if o.err != nil || len(o.diags) != 1 || !strings.Contains(o.diags[0].GetSummary(), want) {
			t.Errorf("%s: %v %v", text, o.err, o.diags)
		}
	}
	// A step that is stopped while it waits for an answer ends, and so does the work for it.
	ended := make(chan error, 1)
	a.evaluate = func(ctx context.Context, _ *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if o := r.apply(ctx, "ask", "evaluate", nil); !errors.Is(o.err, context.Canceled) {
		t.Error(o.err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the work for a stopped step goes on")
	}
	r.services = nil
	if o := r.apply(t.Context(), "ask", "evaluate", nil); len(o.diags) != 1 || !strings.Contains(o.diags[0].GetSummary(), "requires_core") {
		t.Errorf("without services: %v %v", o.err, o.diags)
	}
}

func TestDeskKnowsItsCallers(t *testing.T) {
	for name, loopback := range map[string]bool{"unix": false, "loopback": true} {
		t.Run(name, func(t *testing.T) {
			d, err := openDeskOn(nil, loopback)
			if err != nil {
				t.Fatal(err)
			}
			dir := d.dir
			a := &answers{evaluate: func(context.Context, *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
				return &pluginv1.EvaluateResponse{}, nil
			}}
			e, release := d.admit(t.Context(), a)
			conn, err := grpc.NewClient(e.GetAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ask := func(token string) codes.Code {
				ctx := metadata.AppendToOutgoingContext(t.Context(), pluginv1.TokenHeader, token)
				_, err := pluginv1.NewHostClient(conn).Evaluate(ctx, &pluginv1.EvaluateRequest{})
				return status.Code(err)
			}
			if got := ask(e.GetToken()); got != codes.OK {
				t.Error("with the token:", got)
			}
			if got := ask("guess"); got != codes.Unauthenticated {
				t.Error("with another:", got)
			}
			release()
			if got := ask(e.GetToken()); got != codes.Unauthenticated {
				t.Error("after the step:", got)
			}
			if n := a.asked.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
			d.close()
			if _, err := os.Stat(dir); dir != "" && err == nil {
				t.Error("the socket's folder is left")
			}
		})
	}
}

// TestRuntimeHangs stops the process in the middle of Predict, and lets a benchmark's slice take for ever.
func TestRuntimeHangs(t *testing.T) {
	r := newRig(t, func(o *Options) { o.HangTimeout, o.CallTimeout = time.Second, 500*time.Millisecond })
	open := func() string {
		r.Helper()
		s, err := r.p.Runtime().Open(t.Context(), &pluginv1.OpenRequest{Artifact: &pluginv1.Artifact{Format: "fake"}, Threads: 1})
		if err != nil || len(s.GetDiagnostics()) > 0 {
			t.Fatal(err, s.GetDiagnostics())
		}
		return s.GetSession()
	}
	dataset := t.TempDir()
	writeShard(t, dataset)
	_, err := r.p.Runtime().Benchmark(t.Context(), &pluginv1.BenchmarkRequest{Session: open(), Dataset: dataset, Batch: 1, DurationNs: 1})
	var hang *HangError
	if !errors.As(err, &hang) || hang.Step != "Benchmark" {
		t.Fatalf("a slice without an end: %v", err)
	}
	r.start()
	_, err = r.p.Runtime().Predict(t.Context(), &pluginv1.PredictRequest{Session: open(), Dataset: dataset, Output: dataset + "/out", Batch: 1})
	if !errors.As(err, &hang) || hang.Step != "Predict" {
		t.Fatalf("a process that was stopped: %v", err)
	}
}
