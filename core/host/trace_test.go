//go:build unix

package host

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	"github.com/optimize-hcl/optimize/core/telemetry"
)

// collector is a real OTLP receiver.
type collector struct {
	ptraceotlp.UnimplementedGRPCServer
	mu    sync.Mutex
	spans map[string]received
}

type received struct{ id, parent, trace, service string }

func (c *collector) Export(_ context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	c.take(r.Traces())
	return ptraceotlp.NewExportResponse(), nil
}

func (c *collector) take(td ptrace.Traces) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range td.ResourceSpans().All() {
		service, _ := rs.Resource().Attributes().Get("service.name")
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				c.spans[service.Str()+"|"+s.Name()+"|"+s.Kind().String()] = received{s.SpanID().String(), s.ParentSpanID().String(), s.TraceID().String(), service.Str()}
			}
		}
	}
}

func TestOneTrace(t *testing.T) {
	const outer, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := &collector{spans: map[string]received{}}
	srv := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(srv, got)
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("TRACEPARENT", "00-"+outer+"-"+parent+"-01")

	file := filepath.Join(t.TempDir(), "trace.jsonl")
	tel, err := telemetry.Start(t.Context(), telemetry.Options{TraceFile: file, ServiceVersion: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(context.Background())
	ctx, run := tel.StartRun(t.Context(), "digits.hcl", "r1")
	sctx, step := tel.Tracer().Start(ctx, "step.int8")
	r := newRig(t, func(o *Options) { o.Telemetry = tel })
	p, err := r.m.Plugin(sctx, fakeRef(asPlugin))
	if err != nil {
		t.Fatal(err)
	}
	r.p = p
	if o := r.apply(sctx, "echo", "hi", nil); o.err != nil {
		t.Fatal(o.err)
	}
	step.End()
	r.m.Close(t.Context())
	run.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tel.UploadError(); err != nil {
		t.Error(err)
	}

	inFile := &collector{spans: map[string]received{}}
	lines := bufio.NewScanner(bytes.NewReader(must(os.ReadFile(file))))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(lines.Bytes())
		if err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		inFile.take(td)
	}
	const call = "optimize.plugin.v1.Plugin/Apply"
	for name, c := range map[string]*collector{"collector": got, "file": inFile} {
		s := c.spans
		for _, edge := range [][2]string{
			{"optimize|step.int8|Internal", "optimize|RUN digits.hcl|Server"},
			{"optimize|" + call + "|Client", "optimize|step.int8|Internal"},
			{"optimize-plugin-fake|" + call + "|Server", "optimize|" + call + "|Client"},
			{"optimize-plugin-fake|echoing|Internal", "optimize-plugin-fake|" + call + "|Server"},
		} {
			if s[edge[0]].id == "" || s[edge[0]].parent != s[edge[1]].id {
				t.Errorf("%s: %s is not under %s: %v", name, edge[0], edge[1], s)
			}
		}
		if s["optimize|RUN digits.hcl|Server"].parent != parent {
			t.Errorf("%s: the run is not under the outer span: %v", name, s)
		}
		if s["optimize-plugin-fake|start plugin fake|Internal"].id == "" {
			t.Errorf("%s: no span of the plugin's start", name)
		}
		for n, v := range s {
			if v.trace != outer && n != "optimize-plugin-fake|start plugin fake|Internal" {
				t.Errorf("%s: %s is in trace %s", name, n, v.trace)
			}
		}
	}
	if len(got.spans) != len(inFile.spans) {
		t.Errorf("%d spans exported, %d in the file", len(got.spans), len(inFile.spans))
	}
}
