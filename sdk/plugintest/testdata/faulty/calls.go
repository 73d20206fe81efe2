package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// callFaults are the rules that the calls below break.
var callFaults = map[string]bool{
	"describe/answers": true, "describe/stable": true,
	"validate/answers": true, "validate/unknown-values": true, "validate/pure": true, "validate/damaged": true, "validate/wrong-type": true,
	"validate/unknown-step": true, "validate/places": true, "validate/clean": true,
	"plan/answers": true, "plan/nothing-yet": true, "plan/stable": true, "plan/pure": true, "plan/missing": true, "plan/needs": true,
	"plan/unknown-step": true, "plan/clean": true,
	"apply/works": true, "apply/done": true, "apply/outputs": true, "apply/inside": true, "apply/links": true, "apply/inputs": true,
	"apply/deterministic": true, "apply/date": true, "apply/stateless": true, "apply/parallel": true, "apply/run-id": true, "apply/unknown-step": true,
	"apply/result": true, "apply/heartbeat": true, "apply/progress": true, "apply/messages": true, "apply/clean": true, "apply/read-only": true,
	"apply/broken-model": true, "apply/no-model": true, "apply/empty-model": true, "apply/after-failure": true, "apply/stop": true,
	"apply/stop-nothing": true, "apply/diagnostics": true,
	"inspect/document": true, "inspect/stable": true, "inspect/broken": true, "inspect/targets": true, "inspect/unknown-target": true,
	"runtime/probe": true, "runtime/open": true, "runtime/open-broken": true, "runtime/sessions": true, "runtime/predict": true,
	"runtime/batches": true, "runtime/stable": true, "runtime/finite": true, "runtime/benchmark": true, "runtime/coverage": true,
	"runtime/close": true, "runtime/mismatch": true,
	"life/flush": true, "life/secrets": true, "life/goes-on": true,
}

// calls counts what the process was asked: a plugin with a memory.
var calls atomic.Int64

type plugin struct {
	pluginv1.UnimplementedPluginServer
	inner pluginv1.PluginClient
}

func wrong(summary string) []*pluginv1.Diagnostic {
	return []*pluginv1.Diagnostic{{Severity: pluginv1.Diagnostic_SEVERITY_ERROR, Summary: summary}}
}

func (p *plugin) Describe(ctx context.Context, r *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	if fault == "describe/answers" {
		return nil, status.Error(codes.Internal, "no")
	}
	if fault == "life/goes-on" {
		time.AfterFunc(100*time.Millisecond, func() { os.Exit(0) })
	}
	d, err := p.inner.Describe(ctx, r)
	if err != nil {
		return nil, err
	}
	if fault == "describe/stable" {
		d.Steps[0].Markdown += fmt.Sprint(os.Getpid())
	}
	if spoil, ok := describeFaults[fault]; ok {
		spoil(d)
	}
	return d, nil
}

func (p *plugin) Validate(ctx context.Context, r *pluginv1.ValidateRequest) (*pluginv1.ValidateResponse, error) {
	n := calls.Add(1)
	switch fault {
	case "validate/answers", "validate/unknown-values":
		return &pluginv1.ValidateResponse{Diagnostics: wrong("I do not like it")}, nil
	case "validate/pure":
		return &pluginv1.ValidateResponse{Diagnostics: wrong(fmt.Sprint(n))}, nil
	case "validate/places":
		d := wrong("somewhere")
		d[0].Path = []*pluginv1.PathStep{{Step: &pluginv1.PathStep_Attribute{Attribute: "nowhere"}}}
		return &pluginv1.ValidateResponse{Diagnostics: d}, nil
	case "validate/clean":
		_ = os.WriteFile("validated", nil, 0o644)
	}
	out, err := p.inner.Validate(ctx, r)
	if err != nil && (fault == "validate/damaged" || fault == "validate/wrong-type" || fault == "validate/unknown-step") {
		return &pluginv1.ValidateResponse{}, nil
	}
	return out, err
}

func (p *plugin) Plan(ctx context.Context, r *pluginv1.PlanRequest) (*pluginv1.PlanResponse, error) {
	n := calls.Add(1)
	if fault == "plan/clean" {
		_ = os.WriteFile("planned", nil, 0o644)
	}
	out, err := p.inner.Plan(ctx, r)
	if err != nil {
		if fault == "plan/unknown-step" {
			return &pluginv1.PlanResponse{}, nil
		}
		return nil, err
	}
	switch fault {
	case "plan/answers":
		out.Diagnostics = wrong("not today")
	case "plan/nothing-yet":
		if r.GetInputs()["model"].GetPath() == "" {
			out.Diagnostics = wrong("there is no model")
		}
	case "plan/stable":
		out.Fingerprint = map[string]string{"language": os.Getenv("LANG")}
	case "plan/pure":
		out.Fingerprint = map[string]string{"asked": fmt.Sprint(n)}
	case "plan/missing":
		out.Missing = []*pluginv1.Missing{{What: "luck"}}
	case "plan/needs":
		out.Needs = &pluginv1.Needs{MemoryBytes: -1}
	}
	return out, nil
}

func (p *plugin) Inspect(ctx context.Context, r *pluginv1.InspectRequest) (*pluginv1.InspectResponse, error) {
	n := calls.Add(1)
	out, err := p.inner.Inspect(ctx, r)
	switch fault {
	case "inspect/document":
		return &pluginv1.InspectResponse{Document: []byte("a fine model")}, nil
	case "inspect/stable":
		return &pluginv1.InspectResponse{Document: fmt.Appendf(nil, `{"schema":"x","n":%d}`, n)}, nil
	case "inspect/broken", "inspect/targets":
		return nil, status.Error(codes.Internal, "oops")
	case "inspect/unknown-target":
		return &pluginv1.InspectResponse{}, nil
	}
	return out, err
}

func (p *plugin) Stop(ctx context.Context, r *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	switch fault {
	case "apply/stop-nothing":
		return nil, status.Error(codes.NotFound, "no such run")
	case "apply/stop":
		return &pluginv1.StopResponse{}, nil
	}
	return p.inner.Stop(ctx, r)
}

func (p *plugin) Flush(ctx context.Context, r *pluginv1.FlushRequest) (*pluginv1.FlushResponse, error) {
	if fault == "life/flush" {
		time.Sleep(2500 * time.Millisecond)
	}
	return &pluginv1.FlushResponse{}, nil
}

// working and failedOnce are a memory that no plugin should have.
var (
	working    atomic.Int64
	failedOnce atomic.Bool
)

func (p *plugin) Apply(r *pluginv1.ApplyRequest, s grpc.ServerStreamingServer[pluginv1.ApplyEvent]) error {
	n := calls.Add(1)
	model := r.GetInputs()["model"].GetPath()
	size := int64(0)
	st, statErr := os.Stat(model)
	if statErr == nil {
		size = st.Size()
	}
	alone := working.Add(1) == 1
	defer working.Add(-1)
	if fault == "apply/parallel" {
		if !alone {
			return status.Error(codes.ResourceExhausted, "one at a time, please")
		}
		time.Sleep(500 * time.Millisecond)
	}
	ended := func() error {
		return s.Send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Done{Done: &pluginv1.Done{}}})
	}
	say := func(d *pluginv1.Diagnostic) error {
		if err := s.Send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Diagnostic{Diagnostic: d}}); err != nil {
			return err
		}
		return ended()
	}
	switch fault {
	case "apply/works":
		return say(wrong("I cannot")[0])
	case "apply/run-id":
		if r.GetRunId() == "" {
			return ended()
		}
	case "apply/unknown-step":
		if r.GetStepType() != "faulty_copy" {
			return ended()
		}
	case "apply/heartbeat":
		time.Sleep(5500 * time.Millisecond)
	case "apply/messages":
		if err := s.Send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Log{Log: &pluginv1.Log{Message: strings.Repeat("long ", 1<<18)}}}); err != nil {
			return err
		}
	case "apply/progress":
		if err := s.Send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Progress{Progress: &pluginv1.Progress{Phase: "far", Current: 9, Total: 3}}}); err != nil {
			return err
		}
	case "apply/inputs":
		_ = os.Chmod(model, 0o644)
		f, err := os.OpenFile(model, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, _ = f.WriteString("x")
		_ = f.Close()
	case "apply/clean":
		_ = os.WriteFile("applied", nil, 0o644)
	case "apply/read-only":
		if statErr == nil && st.Mode()&0o200 == 0 {
			return say(wrong("the model is read-only")[0])
		}
	case "apply/broken-model", "apply/empty-model":
		if statErr == nil && size < 3000 {
			return ended()
		}
	case "apply/no-model":
		if statErr != nil {
			os.Exit(4)
		}
	case "apply/after-failure":
		if statErr != nil {
			failedOnce.Store(true)
		}
		if failedOnce.Load() {
			return say(wrong("I am still upset")[0])
		}
	case "apply/diagnostics":
		if statErr != nil {
			return say(&pluginv1.Diagnostic{Summary: "two\nlines"})
		}
	case "apply/stop":
		for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
			_ = s.Send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Heartbeat{Heartbeat: &pluginv1.Heartbeat{}}})
		}
	case "life/secrets":
		if os.Getenv("USER_TOKEN") == "" {
			return say(wrong("USER_TOKEN is not set")[0])
		}
	case "life/host-gone-busy":
		_ = s.Send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Heartbeat{Heartbeat: &pluginv1.Heartbeat{}}})
		time.Sleep(time.Minute)
	}
	stream, err := p.inner.Apply(s.Context(), r)
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if d := e.GetDone(); d != nil {
			spoilDone(r, d, n)
		}
		if err := s.Send(e); err != nil {
			return err
		}
	}
	if fault == "apply/done" {
		return ended()
	}
	return nil
}

// spoilDone breaks the rules of what a step leaves.
func spoilDone(r *pluginv1.ApplyRequest, d *pluginv1.Done, n int64) {
	out := filepath.Join(r.GetOutDir(), "model.onnx")
	more := func(text string) {
		if f, err := os.OpenFile(out, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString(text)
			_ = f.Close()
		}
	}
	switch fault {
	case "apply/outputs":
		d.Outputs = nil
	case "apply/inside":
		d.Outputs["model"].Path = "../out/model.onnx"
	case "apply/links":
		_ = os.Symlink("/etc/hostname", filepath.Join(r.GetOutDir(), "link"))
	case "apply/deterministic":
		more(r.GetOutDir())
	case "apply/date":
		more("built " + time.Now().Format(time.RFC3339))
	case "apply/stateless":
		more(fmt.Sprint(n))
	case "apply/result":
		d.Result = &pluginv1.Value{Msgpack: []byte{0x07}}
	}
}
