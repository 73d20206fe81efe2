package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
)

// receiver is a real OTLP receiver.
type receiver struct {
	ptraceotlp.UnimplementedGRPCServer
	mu     sync.Mutex
	traces []ptrace.Traces
}

func (r *receiver) Export(_ context.Context, req ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	td := ptrace.NewTraces()
	req.Traces().CopyTo(td)
	r.traces = append(r.traces, td)
	return ptraceotlp.NewExportResponse(), nil
}

type span struct{ service, name, trace, id, parent string }

func spansOf(all []ptrace.Traces) (out []span) {
	for _, td := range all {
		for _, rs := range td.ResourceSpans().All() {
			service, _ := rs.Resource().Attributes().Get("service.name")
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					out = append(out, span{service.Str(), s.Name(), s.TraceID().String(), s.SpanID().String(), s.ParentSpanID().String()})
				}
			}
		}
	}
	return out
}

// TestOneTrace applies the recipe under an outer TRACEPARENT with a receiver, and finds one whole trace there and in
// the run's folder.
func TestOneTrace(t *testing.T) {
	p := newPlace(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	g := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(g, r)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()

	const outer, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	p.env = append(p.env, "TRACEPARENT=00-"+outer+"-"+parent+"-01",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	p.run(t, 0, "apply", "recipe.hcl")

	files, _ := filepath.Glob(filepath.Join(p.dir, ".optimize/runs/*/trace.jsonl"))
	if len(files) != 1 {
		t.Fatalf("trace files: %v", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var written []ptrace.Traces
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, td)
	}
	r.mu.Lock()
	received := r.traces
	r.mu.Unlock()
	for where, all := range map[string][]ptrace.Traces{"receiver": received, "file": written} {
		spans := spansOf(all)
		ids := map[string]bool{parent: true}
		seen := map[string]bool{}
		for _, s := range spans {
			ids[s.id] = true
			seen[s.service+" "+strings.Fields(s.name)[0]] = true
			if s.trace != outer {
				t.Errorf("%s: %s %q is in another trace: %s", where, s.service, s.name, s.trace)
			}
		}
		for _, s := range spans {
			if !ids[s.parent] {
				t.Errorf("%s: %s %q hangs under %q, which is not there", where, s.service, s.name, s.parent)
			}
		}
		for _, want := range []string{
			"optimize RUN", "optimize step", "optimize evaluate", "optimize-plugin-quantize optimize.plugin.v1.Plugin/Apply",
			"optimize-plugin-quantize calibrate", "optimize-plugin-onnxruntime optimize.plugin.v1.Runtime/Predict",
		} {
			if !seen[want] {
				t.Errorf("%s: no span %q; there are %v", where, want, seen)
			}
		}
	}
}

// TestDeadCollector applies with a collector that is not there: the run holds, and one line says so.
func TestDeadCollector(t *testing.T) {
	p := newPlace(t)
	// Patience is a bound: a refused connection is told at once, on a machine however busy.
	p.env = append(p.env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_BSP_EXPORT_TIMEOUT=20000")
	if out := p.run(t, 0, "apply", "recipe.hcl"); strings.Count(out, "Warning: ") != 1 || strings.Count(out, "127.0.0.1:1") > 1 {
		t.Error(out)
	}
}

// meters and loggers are the other two services of a collector.
type meters struct {
	pmetricotlp.UnimplementedGRPCServer
	mu    sync.Mutex
	names map[string]bool
}

func (m *meters) Export(_ context.Context, req pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rm := range req.Metrics().ResourceMetrics().All() {
		service, _ := rm.Resource().Attributes().Get("service.name")
		for _, sm := range rm.ScopeMetrics().All() {
			for _, x := range sm.Metrics().All() {
				m.names[service.Str()+" "+x.Name()] = true
			}
		}
	}
	return pmetricotlp.NewExportResponse(), nil
}

type loggers struct {
	plogotlp.UnimplementedGRPCServer
	mu     sync.Mutex
	bodies map[string]string // body → trace id
}

func (l *loggers) Export(_ context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rl := range req.Logs().ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, x := range sl.LogRecords().All() {
				l.bodies[x.Body().AsString()] = x.TraceID().String()
			}
		}
	}
	return plogotlp.NewExportResponse(), nil
}

// TestMetricsLogsAndChildren has a third-party plugin count, log and start a process that traces by itself: all of it
// arrives at the collector and in the run's files, in the one trace.
func TestMetricsLogsAndChildren(t *testing.T) {
	p := newPlace(t)
	if err := os.WriteFile(filepath.Join(p.dir, "recipe.hcl"), []byte(`
recipe {
  required_plugins {
    demo = { version = "~> 1.2" }
  }
}
model "digits" {
  source = "digits.onnx"
}
step "demo_copy" "a" {
  model = model.digits
  child = true
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spans, counts, lines := &receiver{}, &meters{names: map[string]bool{}}, &loggers{bodies: map[string]string{}}
	g := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(g, spans)
	pmetricotlp.RegisterGRPCServer(g, counts)
	plogotlp.RegisterGRPCServer(g, lines)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	const outer = "0af7651916cd43dd8448eb211c80319c"
	p.env = append(p.env, "OPTIMIZE_PLUGINS="+plugins, "TRACEPARENT=00-"+outer+"-b7ad6b7169203331-01",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	p.run(t, 0, "apply", "recipe.hcl")
	found := false
	for _, s := range spansOf(spans.traces) {
		found = found || s.name == "work of the child" && s.trace == outer
	}
	if !found {
		t.Error("the span of the child did not arrive")
	}
	for _, want := range []string{"optimize optimize.actions", "optimize optimize.action.duration", "optimize-plugin-demo demo.copies"} {
		if !counts.names[want] {
			t.Errorf("no metric %q; there are %v", want, counts.names)
		}
	}
	if lines.bodies["copied"] != outer {
		t.Errorf("logs: %v", lines.bodies)
	}
	for _, file := range []string{"trace.jsonl", "metrics.jsonl", "logs.jsonl"} {
		b, err := filepath.Glob(filepath.Join(p.dir, ".optimize/runs/*", file))
		if err != nil || len(b) != 1 {
			t.Errorf("%s: %v %v", file, b, err)
		}
	}
}

// slowReceiver takes its time for each request.
type slowReceiver struct {
	receiver
	delay time.Duration
}

func (r *slowReceiver) Export(ctx context.Context, req ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	time.Sleep(r.delay)
	return r.receiver.Export(ctx, req)
}

// TestSlowCollector has a collector that needs longer than the run: the run does not wait for it, and what it had not
// taken by then arrives afterwards.
func TestSlowCollector(t *testing.T) {
	p := newPlace(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &slowReceiver{delay: 1500 * time.Millisecond}
	g := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(g, r)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	p.run(t, 0, "apply", "recipe.hcl")
	p.env = append(p.env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none")
	out := p.run(t, 0, "apply", "--reuse-benchmarks", "recipe.hcl")
	if strings.Contains(out, "Warning") {
		t.Error(out)
	}
	r.mu.Lock()
	n := len(r.traces)
	r.mu.Unlock()
	if n > 0 {
		t.Error("the run waited for the collector")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r.mu.Lock()
		spans := spansOf(r.traces)
		r.mu.Unlock()
		if slices.ContainsFunc(spans, func(s span) bool { return strings.HasPrefix(s.name, "RUN ") }) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the run's span never arrived; there are %d", len(spans))
		}
	}
	p.noProcesses(t)
}
