package telemetry

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// signal is a kind of telemetry. Each has its own file and its own service, as the OTLP specification wants it.
type signal int

const (
	traces signal = iota
	metrics
	logs
	signals // how many there are
)

// path is the last part of the signal's URL, and the variable part of its environment variables in lower case.
func (s signal) path() string { return [...]string{"traces", "metrics", "logs"}[s] }

// file is the name of the signal's file in the run's folder.
func (s signal) file() string { return [...]string{"trace.jsonl", "metrics.jsonl", "logs.jsonl"}[s] }

// batch is one export request of a signal.
type batch struct {
	signal  signal
	request proto.Message // Export{Trace,Metrics,Logs}ServiceRequest
}

func (b batch) empty() bool {
	switch r := b.request.(type) {
	case *coltrace.ExportTraceServiceRequest:
		return len(r.GetResourceSpans()) == 0
	case *colmetrics.ExportMetricsServiceRequest:
		return len(r.GetResourceMetrics()) == 0
	case *collogs.ExportLogsServiceRequest:
		return len(r.GetResourceLogs()) == 0
	}
	return true
}

// jsonLine is one line of an OTLP/JSON file. The protobuf library's JSON is not OTLP/JSON, its ids would be base64, so
// the batch takes the way over pdata; a request's bytes are those of the data message of its signal.
func (b batch) jsonLine() ([]byte, error) {
	raw, err := proto.Marshal(b.request)
	if err != nil {
		return nil, err
	}
	var line []byte
	switch b.signal {
	case traces:
		d, uerr := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(raw)
		if err = uerr; err == nil {
			line, err = (&ptrace.JSONMarshaler{}).MarshalTraces(d)
		}
	case metrics:
		d, uerr := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(raw)
		if err = uerr; err == nil {
			line, err = (&pmetric.JSONMarshaler{}).MarshalMetrics(d)
		}
	case logs:
		d, uerr := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(raw)
		if err = uerr; err == nil {
			line, err = (&plog.JSONMarshaler{}).MarshalLogs(d)
		}
	default:
		err = fmt.Errorf("signal %d", b.signal)
	}
	return append(line, '\n'), err
}
