package telemetry

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/propagators/envcar"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/stats"
)

// uploadBound is how long one batch waits for the collector's answer.
const uploadBound = 2 * time.Second

// flushBound is how long the end of a run waits for a collector. Spans of a run of some length are there by then; what a
// collector that is slow does not take in this time is left to a process that outlives the run. OTEL_BSP_EXPORT_TIMEOUT,
// in milliseconds, asks for more patience.
const flushBound = 100 * time.Millisecond

func patience(getenv func(string) string) time.Duration {
	if ms, err := strconv.Atoi(getenv("OTEL_BSP_EXPORT_TIMEOUT")); err == nil && ms > 0 {
		return min(time.Duration(ms)*time.Millisecond, time.Minute)
	}
	return flushBound
}

// Options say where a run's trace goes.
type Options struct {
	// TraceFile takes all spans as OTLP/JSON lines; empty means no file.
	TraceFile string
	// ServiceVersion is the host's service.version.
	ServiceVersion string
	// Redact takes what is sensitive out of a text; nil takes nothing out. It is called from several goroutines.
	Redact func(string) string
	// Sender is a command that calls [Send] with its last argument: it is left what a slow collector has not taken when
	// the run ends. Empty drops that from the export.
	Sender []string
}

// Provider traces one run. A nil Provider traces nothing and is safe to use.
type Provider struct {
	provider *sdktrace.TracerProvider
	meters   *meters
	resource *resource.Resource
	hub      *hub

	mu      sync.Mutex
	records []*logspb.LogRecord // not written yet
	relay   *relay              // nil until the first plugin needs it
	down    bool
	closed  func() error
}

// quiet keeps raw lines of libraries off the user's terminal. gRPC's logger may only be set before gRPC is used.
var quiet = sync.OnceFunc(func() {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // UploadError has the one that matters
	otel.SetLogger(logr.Discard())
})

func init() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
}

// Start begins tracing: it opens the trace file. A collector that is away is no error; it is not even asked here. The
// receiver for the spans of plugins is opened by the first PluginEnv.
//
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT name a collector, by gRPC or HTTP, with the standard
// variables for protocol, headers, timeouts and certificates. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none stop
// the export, not the trace file.
func Start(ctx context.Context, o Options) (*Provider, error) {
	quiet()
	h, err := newHub(o.TraceFile, upstream(ctx, os.Getenv))
	if err != nil {
		return nil, err
	}
	h.redact, h.sender = o.Redact, o.Sender
	exp, err := otlptrace.New(ctx, h)
	if err != nil {
		_ = h.close(ctx)
		return nil, fmt.Errorf("tracing cannot start: %w", err)
	}
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last and win. What the user's variables get wrong costs them
	// their attributes, not the run.
	res, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", ServiceName),
		attribute.String("service.version", o.ServiceVersion)), resource.WithFromEnv())
	if err != nil && res == nil {
		res = resource.Empty()
	}
	p := &Provider{hub: h, resource: res}
	if p.meters, err = newMeters(res); err != nil {
		_ = h.close(ctx)
		return nil, fmt.Errorf("tracing cannot start: %w", err)
	}
	// Every span, whatever the sampler of the environment says: the trace file is whole. StartRun keeps a trace that its
	// parent did not sample away from the collector.
	p.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithBatcher(exp, sdktrace.WithBatchTimeout(time.Second)))
	p.closed = sync.OnceValue(p.shutdown)
	return p, nil
}

// Tracer gives the host's tracer.
func (p *Provider) Tracer() trace.Tracer { return p.TracerProvider().Tracer(Scope) }

// TracerProvider is for instrumentation libraries.
func (p *Provider) TracerProvider() trace.TracerProvider {
	if p == nil {
		return noop.NewTracerProvider()
	}
	return p.provider
}

// StartRun begins the root span of a run, under an outer TRACEPARENT when there is one. A parent that is not sampled
// keeps the trace in the file.
func (p *Provider) StartRun(ctx context.Context, recipe, id string) (context.Context, trace.Span) {
	ctx = propagation.TraceContext{}.Extract(ctx, &envcar.Carrier{})
	if parent := trace.SpanContextFromContext(ctx); p != nil && parent.IsRemote() && !parent.IsSampled() {
		p.hub.keep()
	}
	return p.Tracer().Start(ctx, SpanRun+recipe, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String(AttrPipelineName, recipe), attribute.String(AttrRunID, id),
			attribute.String(AttrPipelineAction, "RUN")))
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

// ServerOptions make a gRPC server of the host continue the trace of a plugin that calls it.
func (p *Provider) ServerOptions() []grpc.ServerOption {
	if p == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(p.provider), otelgrpc.WithPropagators(propagation.TraceContext{})))}
}

// PluginEnv gives the variables by which any language's stock exporter sends its spans to the host, and the parent of
// spans outside of a call. It is empty when no receiver could be opened: the plugin then works untraced.
func (p *Provider) PluginEnv(ctx context.Context) []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil
	}
	if p.relay == nil {
		r, err := listen(p.hub)
		if err != nil {
			p.hub.failed(err)
			return nil
		}
		p.relay = r
	}
	env := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + p.relay.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_INSECURE=true",
		"OTEL_EXPORTER_OTLP_HEADERS=" + tokenHeader + "=" + p.relay.token,
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=otlp", "OTEL_LOGS_EXPORTER=otlp",
	}
	propagation.TraceContext{}.Inject(ctx, &envcar.Carrier{SetEnvFunc: func(k, v string) { env = append(env, k+"="+v) }})
	return env
}

// UploadError is why spans did not reach the collector, or nil. It says most after Shutdown.
func (p *Provider) UploadError() error {
	if p == nil {
		return nil
	}
	return p.hub.uploadError()
}

// Shutdown exports what is left, waiting for a collector at most two seconds, and closes the trace file. It may be
// called more than once. The error is the trace file's.
func (p *Provider) Shutdown(context.Context) error {
	if p == nil {
		return nil
	}
	return p.closed()
}

// shutdown has its own time limit: the run's context is often cancelled by now.
func (p *Provider) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience(os.Getenv))
	defer cancel()
	err := p.provider.Shutdown(ctx)
	p.flushLogs()
	p.hub.failed(p.meters.collect(ctx, p.hub))
	p.mu.Lock()
	p.down = true
	relay := p.relay
	p.mu.Unlock()
	relay.close()
	if cerr := p.hub.close(ctx); err == nil {
		err = cerr
	}
	return err
}
