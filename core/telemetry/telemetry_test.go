package telemetry

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// unset clears what the machine that runs the tests may have set.
func unset(t *testing.T) {
	for _, kv := range os.Environ() {
		if k, _, _ := strings.Cut(kv, "="); strings.HasPrefix(k, "OTEL_") || k == "TRACEPARENT" {
			t.Setenv(k, "")
		}
	}
}

// sink is an OTLP receiver over HTTP.
type sink struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string]string // name → service
	auth  string
}

func newSink(t *testing.T) *sink {
	s := &sink{spans: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		q := ptraceotlp.NewExportRequest()
		if err := q.UnmarshalProto(b); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.auth = r.Header.Get("Authorization")
		collect(q.Traces(), s.spans)
	}))
	t.Cleanup(s.Close)
	return s
}

func collect(td ptrace.Traces, into map[string]string) {
	for _, rs := range td.ResourceSpans().All() {
		service, _ := rs.Resource().Attributes().Get("service.name")
		for _, ss := range rs.ScopeSpans().All() {
			for _, sp := range ss.Spans().All() {
				into[sp.Name()] = service.Str()
			}
		}
	}
}

func readFile(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(lines.Bytes())
		if err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		collect(td, out)
	}
	return out
}

// pluginSpan is what a plugin would send.
func pluginSpan(name string) *coltrace.ExportTraceServiceRequest {
	return &coltrace.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "a-plugin"}}}}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: name, TraceId: bytes.Repeat([]byte{1}, 16), SpanId: bytes.Repeat([]byte{2}, 8)}}}},
	}}}
}

func send(t *testing.T, endpoint, token, name string) error {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(endpoint, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), tokenHeader, token)
	_, err = coltrace.NewTraceServiceClient(conn).Export(ctx, pluginSpan(name))
	return err
}

func run(t *testing.T) (file map[string]string, p *Provider) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	p, err := Start(t.Context(), Options{TraceFile: path, ServiceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, root := p.StartRun(t.Context(), "digits.hcl", "r1")
	_, child := p.Tracer().Start(ctx, "step.int8")
	child.End()
	p.PluginEnv(ctx)
	if err := send(t, p.relay.endpoint, p.relay.token, "calibrate"); err != nil {
		t.Error(err)
	}
	root.End()
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	return readFile(t, path), p
}

func TestFileAndUpstream(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
	for name, c := range map[string]struct {
		env      map[string]string
		upstream bool
	}{
		"nothing set":   {nil, false},
		"endpoint":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20abc"}, true},
		"traces":        {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "URL/v1/traces"}, true},
		"sampled":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "TRACEPARENT": parent + "01"}, true},
		"not sampled":   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "TRACEPARENT": parent + "00"}, false},
		"disabled":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_SDK_DISABLED": "true"}, false},
		"exporter none": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_EXPORTER": "none"}, false},
		"always off":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_SAMPLER": "always_off"}, false},
		"exporter list": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_EXPORTER": "console, otlp"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			unset(t)
			s := newSink(t)
			for k, v := range c.env {
				t.Setenv(k, strings.ReplaceAll(v, "URL", s.URL))
			}
			file, p := run(t)
			want := map[string]string{"RUN digits.hcl": "optimize", "step.int8": "optimize", "calibrate": "a-plugin"}
			for n, service := range want {
				if file[n] != service {
					t.Errorf("file: %v", file)
				}
				if got := s.spans[n]; (got == service) != c.upstream {
					t.Errorf("upstream: %v", s.spans)
				}
			}
			if name == "endpoint" && s.auth != "Basic abc" {
				t.Errorf("header %q", s.auth)
			}
			if err := p.UploadError(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A collector that takes the connection and never answers costs the end of the run two seconds, and nobody a line.
func TestDeadCollector(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			unset(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			stderr := os.Stderr
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			os.Stderr = w
			start := time.Now()
			file, p := run(t)
			took := time.Since(start)
			os.Stderr = stderr
			_ = w.Close()
			if b, _ := io.ReadAll(r); len(b) > 0 {
				t.Errorf("printed: %s", b)
			}
			if took > flushBound+2*time.Second {
				t.Errorf("took %s", took)
			}
			if len(file) != 3 {
				t.Errorf("file: %v", file)
			}
			if p.UploadError() == nil {
				t.Error("no word on the collector")
			}
		})
	}
}

func TestRelayRefusesStrangers(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		if runtime.GOOS == "windows" && !loopback {
			continue
		}
		h, err := newHub("", [signals]uploader{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := listenOn(h, loopback)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{"", "wrong"} {
			if err := send(t, r.endpoint, token, "x"); status.Code(err) != codes.Unauthenticated {
				t.Errorf("token %q: %v", token, err)
			}
		}
		if err := send(t, r.endpoint, r.token, "x"); err != nil {
			t.Error(err)
		}
		if r.dir != "" {
			if st, err := os.Stat(r.dir); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", st, err)
			}
		}
		r.close()
		if _, err := os.Stat(r.dir); r.dir != "" && !os.IsNotExist(err) {
			t.Errorf("%s is left", r.dir)
		}
		if err := h.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestPluginEnv(t *testing.T) {
	unset(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
	p, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := p.StartRun(t.Context(), "a.hcl", "r")
	env := strings.Join(p.PluginEnv(ctx), "\n") + "\n"
	for _, want := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc\n", "OTEL_EXPORTER_OTLP_ENDPOINT=", "TRACEPARENT=00-" + span.SpanContext().TraceID().String()} {
		if !strings.Contains(env, want) {
			t.Errorf("%q is not in %s", want, env)
		}
	}
	if strings.Contains(env, "secret") {
		t.Error("the collector's secret reached the plugin")
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if env := p.PluginEnv(ctx); env != nil {
		t.Errorf("after the end: %v", env)
	}
}

func TestNilProvider(t *testing.T) {
	var p *Provider
	ctx, span := p.StartRun(context.Background(), "a.hcl", "r")
	span.End()
	if p.PluginEnv(ctx) != nil || p.DialOptions(nil) != nil || p.Shutdown(ctx) != nil || p.UploadError() != nil {
		t.Error("a nil Provider does something")
	}
}

func TestStartIsCheapAndSaysWhatIsWrong(t *testing.T) {
	unset(t)
	if _, err := Start(t.Context(), Options{TraceFile: filepath.Join(t.TempDir(), "no", "trace.jsonl")}); err == nil || !strings.Contains(err.Error(), "trace cannot be written") {
		t.Error(err)
	}
	best := time.Hour // of a few: the machine may be busy
	for range 10 {
		start := time.Now()
		p, err := Start(t.Context(), Options{TraceFile: filepath.Join(t.TempDir(), "t")})
		best = min(best, time.Since(start))
		if err != nil {
			t.Fatal(err)
		}
		if p.relay != nil {
			t.Error("a receiver that nobody asked for")
		}
		_ = p.Shutdown(t.Context())
	}
	if best > 5*time.Millisecond {
		t.Errorf("Start takes %s", best)
	}
	t.Logf("Start takes %s", best)
}

// The slow part of a collector must not be felt: the queue is bounded and what does not fit is dropped.
func TestBoundedQueue(t *testing.T) {
	block := make(chan struct{})
	h, err := newHub("", [signals]uploader{traces: &slowClient{block}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range queued * 2 {
		if err := h.take(batch{traces, pluginSpan("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if time.Since(start) > time.Second {
		t.Errorf("took %s", time.Since(start))
	}
	if h.uploadError() != errSlow {
		t.Errorf("%v", h.uploadError())
	}
	close(block)
	if err := h.close(t.Context()); err != nil {
		t.Error(err)
	}
}

type slowClient struct{ block chan struct{} }

func (*slowClient) stop(context.Context) {}
func (c *slowClient) upload(context.Context, batch) error {
	<-c.block
	return nil
}
