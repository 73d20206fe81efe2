package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

// runtimeServer is the service Runtime.
type runtimeServer struct {
	pluginv1.UnimplementedRuntimeServer
	runtime Runtime

	mu       sync.Mutex
	next     int
	sessions map[string]*session
}

// session is one loaded artifact; mu makes its calls follow one another.
type session struct {
	mu     sync.Mutex
	s      RuntimeSession
	closed bool
}

func (r *runtimeServer) Probe(ctx context.Context, q *pluginv1.ProbeRequest) (*pluginv1.ProbeResponse, error) {
	var p ProbeResult
	err := guard(func() (err error) {
		p, err = r.runtime.Probe(ctx, ProbeRequest{Options: q.GetOptions(), Threads: threads(q.GetThreads())})
		return err
	})
	return &pluginv1.ProbeResponse{Diagnostics: append(p.Diagnostics, diagnosticsOf(err)...).wire(),
		Fingerprint: p.Fingerprint, Missing: missing(p.Missing)}, nil
}

func (r *runtimeServer) CheckOptions(ctx context.Context, q *pluginv1.CheckOptionsRequest) (*pluginv1.CheckOptionsResponse, error) {
	c, ok := r.runtime.(OptionChecker)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "options are checked by Probe")
	}
	err := guard(func() error { return c.CheckOptions(ctx, q.GetOptions()) })
	return &pluginv1.CheckOptionsResponse{Diagnostics: diagnosticsOf(err).wire()}, nil
}

func (r *runtimeServer) Open(ctx context.Context, q *pluginv1.OpenRequest) (*pluginv1.OpenResponse, error) {
	var s RuntimeSession
	var info SessionInfo
	start := time.Now()
	err := guard(func() (err error) {
		// What the session keeps of the context must not end with this call.
		s, err = r.runtime.Open(context.WithoutCancel(ctx), OpenRequest{Artifact: artifactOf(q.GetArtifact()), Options: q.GetOptions(), Threads: threads(q.GetThreads())})
		if err == nil && s == nil {
			err = errors.New("the runtime returned no session")
		}
		return err
	})
	load := time.Since(start)
	if err == nil {
		if err = guard(func() error { info = s.Info(); return ctx.Err() }); err != nil { // or nobody would close it
			_ = guard(s.Close)
		}
	}
	if err != nil {
		return &pluginv1.OpenResponse{Diagnostics: diagnosticsOf(err).wire()}, nil
	}
	r.mu.Lock()
	r.next++
	id := strconv.Itoa(r.next)
	r.sessions[id] = &session{s: s}
	r.mu.Unlock()
	return &pluginv1.OpenResponse{Session: id, Inputs: tensorInfos(info.Inputs), Outputs: tensorInfos(info.Outputs), Facts: info.Facts, LoadNs: load.Nanoseconds()}, nil
}

func tensorInfos(in []TensorInfo) []*pluginv1.TensorInfo {
	var out []*pluginv1.TensorInfo
	for _, t := range in {
		out = append(out, &pluginv1.TensorInfo{Name: valid(t.Name), Dtype: t.DType.String(), Shape: t.Shape})
	}
	return out
}

// with runs f on an open session. The gRPC error is for a host that names no such session.
func (r *runtimeServer) with(id string, f func(RuntimeSession) error) ([]*pluginv1.Diagnostic, error) {
	r.mu.Lock()
	s := r.sessions[id]
	r.mu.Unlock()
	if s == nil {
		return nil, status.Errorf(codes.NotFound, "there is no open session %q", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, status.Errorf(codes.NotFound, "session %q was closed", id)
	}
	return diagnosticsOf(guard(func() error { return f(s.s) })).wire(), nil
}

// dataset opens shards around f.
func dataset(dir string, batch int64, f func(*tensor.Shards) error) (err error) {
	if batch < 1 {
		return fmt.Errorf("a batch of %d samples: it must be at least 1", batch)
	}
	sh, err := tensor.OpenShards(dir)
	if err != nil {
		return fmt.Errorf("cannot read the dataset: %w", err)
	}
	defer func() { err = errors.Join(err, sh.Close()) }()
	return f(sh)
}

func (r *runtimeServer) Predict(ctx context.Context, q *pluginv1.PredictRequest) (*pluginv1.PredictResponse, error) {
	out := &pluginv1.PredictResponse{}
	ds, err := r.with(q.GetSession(), func(s RuntimeSession) error {
		if !filepath.IsAbs(q.GetOutput()) {
			return fmt.Errorf("the output path %q is not absolute", q.GetOutput())
		}
		return dataset(q.GetDataset(), q.GetBatch(), func(sh *tensor.Shards) (err error) {
			start := time.Now()
			out.Samples, err = s.Predict(ctx, PredictRequest{Dataset: sh, Output: q.GetOutput(), Names: q.GetNames(), Batch: q.GetBatch()})
			out.ElapsedNs = time.Since(start).Nanoseconds()
			return err
		})
	})
	out.Diagnostics = ds
	return answer(out, err)
}

func (r *runtimeServer) Benchmark(ctx context.Context, q *pluginv1.BenchmarkRequest) (*pluginv1.BenchmarkResponse, error) {
	out := &pluginv1.BenchmarkResponse{}
	ds, err := r.with(q.GetSession(), func(s RuntimeSession) error {
		return dataset(q.GetDataset(), q.GetBatch(), func(sh *tensor.Shards) (err error) {
			out.LatencyNs, err = s.Benchmark(ctx, BenchmarkRequest{Dataset: sh, Batch: q.GetBatch(),
				Duration: time.Duration(q.GetDurationNs()), WarmupRuns: int(q.GetWarmupRuns())})
			return err
		})
	})
	out.Diagnostics = ds
	return answer(out, err)
}

func (r *runtimeServer) Coverage(ctx context.Context, q *pluginv1.CoverageRequest) (*pluginv1.CoverageResponse, error) {
	out := &pluginv1.CoverageResponse{}
	ds, err := r.with(q.GetSession(), func(s RuntimeSession) error {
		v, err := s.Coverage(ctx)
		if err == nil {
			out.Document, err = json.Marshal(v)
		}
		return err
	})
	out.Diagnostics = ds
	return answer(out, err)
}

func (r *runtimeServer) Close(_ context.Context, q *pluginv1.CloseRequest) (*pluginv1.CloseResponse, error) {
	r.mu.Lock()
	s := r.sessions[q.GetSession()]
	delete(r.sessions, q.GetSession())
	r.mu.Unlock()
	if s == nil {
		return &pluginv1.CloseResponse{}, nil
	}
	s.mu.Lock() // waits for the call in progress
	defer s.mu.Unlock()
	s.closed = true
	if err := guard(s.s.Close); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &pluginv1.CloseResponse{}, nil
}

func answer[T any](out *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}
