package sdk

import (
	"context"
	"os"
	"strings"
	"sync"

	"go.opentelemetry.io/contrib/propagators/envcar"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Meter makes instruments whose figures go to the run's metrics.jsonl, and to the user's collector when there is one.
// Without a host that collects them they cost next to nothing.
func Meter() metric.Meter {
	metering.start()
	return otel.Meter(scope)
}

// metering exports the metrics of this process to the host, once a plugin asks for a Meter.
var metering meterSetup

type meterSetup struct {
	mu       sync.Mutex
	resource *resource.Resource // nil when the host collects nothing
	provider *sdkmetric.MeterProvider
}

func (m *meterSetup) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resource == nil || m.provider != nil || strings.EqualFold(os.Getenv("OTEL_METRICS_EXPORTER"), "none") {
		return
	}
	exp, err := otlpmetricgrpc.New(context.Background())
	if err != nil {
		return // metrics are a convenience
	}
	m.provider = sdkmetric.NewMeterProvider(sdkmetric.WithResource(m.resource), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exp)))
	otel.SetMeterProvider(m.provider)
}

func (m *meterSetup) flush(ctx context.Context) error {
	m.mu.Lock()
	p := m.provider
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.ForceFlush(ctx)
}

// Environ is the environment for a process that a step starts: this process's own, with the span of ctx as the parent of
// whatever the child traces. Any OpenTelemetry SDK in the child then exports to the host by the standard variables.
func Environ(ctx context.Context) []string {
	var out []string
	for _, kv := range os.Environ() {
		if k, _, _ := strings.Cut(kv, "="); k != "TRACEPARENT" && k != "TRACESTATE" {
			out = append(out, kv)
		}
	}
	otel.GetTextMapPropagator().Inject(ctx, &envcar.Carrier{SetEnvFunc: func(k, v string) { out = append(out, k+"="+v) }})
	return out
}
