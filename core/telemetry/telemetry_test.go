package telemetry

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

func start(t *testing.T) (*Provider, string) {
	t.Helper()
	for _, k := range []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "TRACEPARENT"} {
		t.Setenv(k, "")
	}
	file := filepath.Join(t.TempDir(), "trace.jsonl")
	p, err := Start(t.Context(), Options{TraceFile: file, ServiceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	return p, file
}

func spans(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range bytes.Lines(b) {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					out[s.Name()] = s.TraceID().String()
				}
			}
		}
	}
	return out
}

func TestTraceFile(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	p, file := start(t)
	t.Setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	ctx, root := p.StartRun(t.Context(), "r.hcl", "1")
	_, child := p.Tracer().Start(ctx, "step x")
	child.End()
	root.End()
	if env := strings.Join(p.PluginEnv(ctx), " "); !strings.Contains(env, "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-") || !strings.Contains(env, "OTEL_EXPORTER_OTLP_ENDPOINT=") {
		t.Error(env)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error("a second Shutdown:", err)
	}
	got := spans(t, file)
	for _, n := range []string{"RUN r.hcl", "step x"} {
		if got[n] != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %q is in trace %q", n, got[n])
		}
	}
}

// TestSlowCollector has a collector that takes connections and never answers: spans are written, the end is bounded.
func TestSlowCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	p, file := start(t)
	_, root := p.StartRun(t.Context(), "r.hcl", "1")
	root.End()
	began := time.Now()
	_ = p.Shutdown(t.Context()) // its error is the collector's
	if took := time.Since(began); took > 3*flushBound {
		t.Errorf("the end took %s", took)
	}
	if len(spans(t, file)) != 1 {
		t.Error("the trace file has no span")
	}
}

func TestNilProvider(t *testing.T) {
	var p *Provider
	if p.PluginEnv(t.Context()) != nil || p.Shutdown(t.Context()) != nil {
		t.Error("a nil provider does something")
	}
	_, span := p.Tracer().Start(t.Context(), "x")
	span.End()
}
