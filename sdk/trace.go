package sdk

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/propagators/envcar"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

const scope = "github.com/optimize-hcl/optimize/sdk"

// StartSpan opens a span of the run's trace for a part of the work, named in the user's words: "calibrate". The caller
// ends it. It costs next to nothing when nobody collects a trace.
func StartSpan(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	return otel.Tracer(scope).Start(ctx, name, trace.WithAttributes(attrs...))
}

// tracing exports the spans of this process to the host. nil when the host collects none.
type tracing struct {
	provider *sdktrace.TracerProvider
	open     openSpans
	start    trace.Span
}

// startTracing follows the standard variables, which the host sets for us alone: its own receiver on a socket.
func startTracing(p *Plugin) *tracing {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil
	}
	if proto := os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"); proto != "" && proto != "grpc" {
		return nil
	}
	// A receiver that is gone must not print into the plugin's log once a second.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	ctx := context.Background()
	exp, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil
	}
	t := &tracing{}
	res := resource.NewSchemaless(attribute.String("service.name", "optimize-plugin-"+p.Name),
		attribute.String("service.version", p.Version), attribute.Int("process.pid", os.Getpid()))
	metering.mu.Lock()
	metering.resource = res
	metering.mu.Unlock()
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithSpanProcessor(&t.open),
		sdktrace.WithBatcher(exp, sdktrace.WithBatchTimeout(time.Second)))
	otel.SetTracerProvider(t.provider)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	// What happens before the first call hangs under what started this process.
	_, t.start = StartSpan(otel.GetTextMapPropagator().Extract(ctx, &envcar.Carrier{}), pluginv1.SpanStart+p.Name)
	return t
}

// connected ends the span of the start.
func (t *tracing) connected() {
	if t != nil {
		t.start.End()
	}
}

func (t *tracing) serverOptions() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(ours)))}
}

// ours keeps go-plugin's own calls, which last as long as the process, and the bookkeeping of ours out of the trace.
func ours(i *stats.RPCTagInfo) bool {
	service, method, _ := strings.Cut(strings.TrimPrefix(i.FullMethodName, "/"), "/")
	switch service {
	case pluginv1.Plugin_ServiceDesc.ServiceName:
		return method != "Flush" && method != "Stop" && method != "Describe"
	case pluginv1.Runtime_ServiceDesc.ServiceName:
		return true
	}
	return false
}

// flush waits for open spans, since the server's span of a call ends a moment after the client saw its answer, and
// exports what there is. The host calls it before it ends the process: later is too late.
func (t *tracing) flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	// Bounded, since a plugin may have forgotten to end a span.
	for until := time.Now().Add(500 * time.Millisecond); t.open.n.Load() > 0 && time.Now().Before(until) && ctx.Err() == nil; {
		<-tick.C
	}
	return errors.Join(t.provider.ForceFlush(ctx), metering.flush(ctx))
}

func (t *tracing) close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_ = t.provider.Shutdown(ctx)
}

// openSpans counts spans that were started and not ended.
type openSpans struct{ n atomic.Int64 }

func (o *openSpans) OnStart(context.Context, sdktrace.ReadWriteSpan) { o.n.Add(1) }
func (o *openSpans) OnEnd(sdktrace.ReadOnlySpan)                     { o.n.Add(-1) }
func (o *openSpans) Shutdown(context.Context) error                  { return nil }
func (o *openSpans) ForceFlush(context.Context) error                { return nil }
