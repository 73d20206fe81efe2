package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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
	p.env = append(p.env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	if out := p.run(t, 0, "apply", "recipe.hcl"); strings.Count(out, "Warning: ") != 1 || strings.Count(out, "127.0.0.1:1") > 1 {
		t.Error(out)
	}
}
