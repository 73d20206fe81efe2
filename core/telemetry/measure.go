package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"

	"go.opentelemetry.io/otel/trace"
)

// meters are the host's own instruments. They are read once, at the end of the run: a run is short.
type meters struct {
	reader   *sdkmetric.ManualReader
	provider *sdkmetric.MeterProvider
	actions  metric.Int64Counter
	duration metric.Float64Histogram
	output   metric.Int64Histogram
}

func newMeters(res *resource.Resource) (*meters, error) {
	m := &meters{reader: sdkmetric.NewManualReader()}
	m.provider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(m.reader), sdkmetric.WithResource(res))
	meter := m.provider.Meter(Scope)
	var err error
	if m.actions, err = meter.Int64Counter(MetricActions, metric.WithUnit("{action}")); err != nil {
		return nil, err
	}
	if m.duration, err = meter.Float64Histogram(MetricDuration, metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(0.001, 0.01, 0.1, 1, 10, 60, 600, 3600)); err != nil {
		return nil, err
	}
	m.output, err = meter.Int64Histogram(MetricOutput, metric.WithUnit("By"),
		metric.WithExplicitBucketBoundaries(1<<10, 1<<16, 1<<20, 1<<24, 1<<28, 1<<32, 1<<36))
	return m, err
}

// Action is one action of a run, as the metrics count it.
type Action struct {
	Kind, Status, StepType, Plugin string
	Duration                       time.Duration
	// Size of what it gave, in bytes; 0 when it gave nothing.
	Size int64
}

// Count counts an action that ended.
func (p *Provider) Count(ctx context.Context, a Action) {
	if p == nil {
		return
	}
	set := []attribute.KeyValue{attribute.String(AttrKind, a.Kind)}
	if a.StepType != "" {
		set = append(set, attribute.String(AttrStepType, a.StepType), attribute.String(AttrPlugin, a.Plugin))
	}
	ended := metric.WithAttributes(append(set, attribute.String(AttrStatus, a.Status))...)
	p.meters.actions.Add(ctx, 1, ended)
	p.meters.duration.Record(ctx, a.Duration.Seconds(), ended)
	if a.Size > 0 {
		p.meters.output.Record(ctx, a.Size, metric.WithAttributes(set...))
	}
}

// collect hands the host's metrics to the hub.
func (m *meters) collect(ctx context.Context, h *hub) error {
	var rm metricdata.ResourceMetrics
	if err := m.reader.Collect(ctx, &rm); err != nil {
		return err
	}
	out := &metricspb.ResourceMetrics{Resource: resourceOf(rm.Resource)}
	for _, sm := range rm.ScopeMetrics {
		s := &metricspb.ScopeMetrics{Scope: &commonpb.InstrumentationScope{Name: sm.Scope.Name}}
		for _, x := range sm.Metrics {
			w := &metricspb.Metric{Name: x.Name, Unit: x.Unit}
			switch d := x.Data.(type) {
			case metricdata.Sum[int64]:
				sum := &metricspb.Sum{IsMonotonic: d.IsMonotonic, AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}
				for _, p := range d.DataPoints {
					sum.DataPoints = append(sum.DataPoints, &metricspb.NumberDataPoint{Attributes: attributes(p.Attributes.ToSlice()),
						StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time), Value: &metricspb.NumberDataPoint_AsInt{AsInt: p.Value}})
				}
				w.Data = &metricspb.Metric_Sum{Sum: sum}
			case metricdata.Histogram[float64]:
				w.Data = &metricspb.Metric_Histogram{Histogram: histogram(d)}
			case metricdata.Histogram[int64]:
				w.Data = &metricspb.Metric_Histogram{Histogram: histogram(d)}
			}
			s.Metrics = append(s.Metrics, w)
		}
		out.ScopeMetrics = append(out.ScopeMetrics, s)
	}
	if len(out.ScopeMetrics) == 0 {
		return nil
	}
	return h.take(batch{metrics, &colmetrics.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{out}}})
}

func histogram[N int64 | float64](d metricdata.Histogram[N]) *metricspb.Histogram {
	h := &metricspb.Histogram{AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}
	for _, p := range d.DataPoints {
		sum := float64(p.Sum)
		w := &metricspb.HistogramDataPoint{Attributes: attributes(p.Attributes.ToSlice()), StartTimeUnixNano: nanos(p.StartTime),
			TimeUnixNano: nanos(p.Time), Count: p.Count, Sum: &sum, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds}
		if v, ok := p.Min.Value(); ok {
			f := float64(v)
			w.Min = &f
		}
		if v, ok := p.Max.Value(); ok {
			f := float64(v)
			w.Max = &f
		}
		h.DataPoints = append(h.DataPoints, w)
	}
	return h
}

// Record is a line that a step logged.
type Record struct {
	Addr, Plugin string
	// Level is debug, info, warn or error.
	Level, Message string
	Fields         map[string]string
}

// maxRecords is how many log records wait for each other before they are written.
const maxRecords = 64

// severities are the numbers of the logs data model (OpenTelemetry specification, Logs Data Model, SeverityNumber).
var severities = map[string]logspb.SeverityNumber{
	"debug": logspb.SeverityNumber_SEVERITY_NUMBER_DEBUG, "info": logspb.SeverityNumber_SEVERITY_NUMBER_INFO,
	"warn": logspb.SeverityNumber_SEVERITY_NUMBER_WARN, "error": logspb.SeverityNumber_SEVERITY_NUMBER_ERROR,
}

// Log keeps what a step logged, under the span of ctx.
func (p *Provider) Log(ctx context.Context, r Record) {
	if p == nil {
		return
	}
	now := nanos(time.Now())
	w := &logspb.LogRecord{TimeUnixNano: now, ObservedTimeUnixNano: now, SeverityNumber: severities[r.Level], SeverityText: r.Level,
		Body:       &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: r.Message}},
		Attributes: attributes([]attribute.KeyValue{attribute.String(AttrAddr, r.Addr), attribute.String(AttrPlugin, r.Plugin)})}
	for k, v := range r.Fields {
		w.Attributes = append(w.Attributes, &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}})
	}
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		t, id := s.TraceID(), s.SpanID()
		w.TraceId, w.SpanId, w.Flags = t[:], id[:], uint32(s.TraceFlags())
	}
	p.mu.Lock()
	p.records = append(p.records, w)
	full := len(p.records) >= maxRecords
	p.mu.Unlock()
	if full {
		p.flushLogs()
	}
}

func (p *Provider) flushLogs() {
	p.mu.Lock()
	records := p.records
	p.records = nil
	p.mu.Unlock()
	if len(records) == 0 {
		return
	}
	p.hub.failed(p.hub.take(batch{logs, &collogs.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{{
		Resource:  resourceOf(p.resource),
		ScopeLogs: []*logspb.ScopeLogs{{Scope: &commonpb.InstrumentationScope{Name: Scope}, LogRecords: records}},
	}}}}))
}

func resourceOf(r *resource.Resource) *resourcepb.Resource {
	return &resourcepb.Resource{Attributes: attributes(r.Attributes())}
}

func attributes(in []attribute.KeyValue) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for _, kv := range in {
		v := &commonpb.AnyValue{}
		switch kv.Value.Type() {
		case attribute.BOOL:
			v.Value = &commonpb.AnyValue_BoolValue{BoolValue: kv.Value.AsBool()}
		case attribute.INT64:
			v.Value = &commonpb.AnyValue_IntValue{IntValue: kv.Value.AsInt64()}
		case attribute.FLOAT64:
			v.Value = &commonpb.AnyValue_DoubleValue{DoubleValue: kv.Value.AsFloat64()}
		default:
			v.Value = &commonpb.AnyValue_StringValue{StringValue: kv.Value.String()}
		}
		out = append(out, &commonpb.KeyValue{Key: string(kv.Key), Value: v})
	}
	return out
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }
