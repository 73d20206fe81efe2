package telemetry

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/propagators/envcar"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// flushBound is how long the end of a run waits for a collector.
const flushBound = 2 * time.Second

// Options say where a run's trace goes.
type Options struct {
	// TraceFile takes all spans as OTLP/JSON lines.
	TraceFile string
	// ServiceVersion is the host's service.version.
	ServiceVersion string
}

// Provider traces one run. A nil Provider traces nothing and is safe to use.
type Provider struct {
	provider *sdktrace.TracerProvider
	hub      *hub
	server   *grpc.Server
	dir      string // of the socket
	endpoint string
	closing  sync.Once
	closed   error
}

// Start begins tracing. It listens for the spans of plugins and opens the trace file; a collector that is away is no
// error. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none stop the export, not the trace file.
func Start(ctx context.Context, o Options) (*Provider, error) {
	h, err := newHub(o.TraceFile, upstream(ctx))
	if err != nil {
		return nil, err
	}
	p := &Provider{hub: h}
	if err := p.listen(); err != nil {
		h.close(ctx)
		return nil, err
	}
	res := resource.NewSchemaless(attribute.String("service.name", ServiceName), attribute.String("service.version", o.ServiceVersion))
	exp, err := otlptrace.New(ctx, h)
	if err != nil {
		return nil, err
	}
	p.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(exp))
	return p, nil
}

// listen serves the standard OTLP TraceService to plugins: on a unix socket in a folder of ours alone, on Windows on a
// loopback port.
func (p *Provider) listen() error {
	network, addr := "unix", ""
	if runtime.GOOS == "windows" {
		network, addr = "tcp", "127.0.0.1:0"
	} else {
		dir, err := SocketDir("optimize-otlp-")
		if err != nil {
			return fmt.Errorf("no socket for the plugins' traces: %w", err)
		}
		p.dir, addr = dir, filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		_ = os.RemoveAll(p.dir)
		return fmt.Errorf("no socket for the plugins' traces: %w", err)
	}
	p.endpoint = "unix://" + addr
	if network == "tcp" {
		p.endpoint = "http://" + l.Addr().String()
	}
	p.server = grpc.NewServer()
	coltrace.RegisterTraceServiceServer(p.server, p.hub)
	go func() { _ = p.server.Serve(l) }() // ends with Stop
	return nil
}

// upstream is the exporter that the standard variables ask for, or nil.
func upstream(ctx context.Context) otlptrace.Client {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || strings.EqualFold(os.Getenv("OTEL_TRACES_EXPORTER"), "none") {
		return nil
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil
	}
	protocol := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	var c otlptrace.Client
	if protocol == "grpc" {
		c = otlptracegrpc.NewClient()
	} else { // http/protobuf is the specification's default
		c = otlptracehttp.NewClient()
	}
	if c.Start(ctx) != nil {
		return nil
	}
	return c
}

// Tracer gives the host's tracer.
func (p *Provider) Tracer() trace.Tracer {
	if p == nil {
		return noop.NewTracerProvider().Tracer(Scope)
	}
	return p.provider.Tracer(Scope)
}

// StartRun begins the root span of a run, under an outer TRACEPARENT when there is one.
func (p *Provider) StartRun(ctx context.Context, recipe, id string) (context.Context, trace.Span) {
	ctx = propagation.TraceContext{}.Extract(ctx, &envcar.Carrier{})
	return p.Tracer().Start(ctx, SpanRun+recipe, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String(AttrPipelineName, recipe), attribute.String(AttrRunID, id)))
}

// TracerProvider is for instrumentation libraries.
func (p *Provider) TracerProvider() trace.TracerProvider {
	if p == nil {
		return noop.NewTracerProvider()
	}
	return p.provider
}

// PluginEnv gives the variables by which any language's stock exporter sends its spans to the host, and the parent of
// spans outside of a call.
func (p *Provider) PluginEnv(ctx context.Context) []string {
	if p == nil {
		return nil
	}
	env := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + p.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_INSECURE=true",
	}
	propagation.TraceContext{}.Inject(ctx, &envcar.Carrier{SetEnvFunc: func(k, v string) { env = append(env, k+"="+v) }})
	return env
}

// Shutdown exports what is left, waiting for a collector at most two seconds, and closes the trace file. It may be
// called more than once.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.closing.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, flushBound)
		defer cancel()
		p.closed = p.provider.Shutdown(ctx)
		p.server.Stop()
		if err := p.hub.close(ctx); p.closed == nil {
			p.closed = err
		}
		_ = os.RemoveAll(p.dir)
	})
	return p.closed
}

// DialOptions make a gRPC client carry the trace to a plugin; only calls for which traced is true get spans.
func (p *Provider) DialOptions(traced func(method string) bool) []grpc.DialOption {
	if p == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(p.provider), otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(i *stats.RPCTagInfo) bool { return traced(i.FullMethodName) })))}
}

// SocketDir makes a folder for unix sockets that only its owner may enter. A socket's path has at most 103 bytes on
// macOS, and the temporary folder's own may use up most of them.
func SocketDir(prefix string) (string, error) {
	base := os.TempDir()
	if st, err := os.Stat("/tmp"); len(base) > 40 && err == nil && st.IsDir() && runtime.GOOS != "windows" {
		if dir, err := os.MkdirTemp("/tmp", prefix); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp(base, prefix) // mode 0700
}
