package telemetry

import (
	"context"
	"fmt"
	"os"
	"sync"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// queued is how many batches wait for the collector; what does not fit is dropped from the export, not from the file.
const queued = 256

// hub takes the spans of host and plugins alike, as OTLP: they go to the trace file at once, and to the collector from
// a queue, so that a slow collector slows nothing.
type hub struct {
	coltrace.UnimplementedTraceServiceServer
	mu       sync.Mutex
	file     *os.File
	upstream otlptrace.Client
	queue    chan []*tracepb.ResourceSpans
	done     chan struct{}
	stopped  bool
}

func newHub(path string, upstream otlptrace.Client) (*hub, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the trace cannot be written: %w", err)
	}
	h := &hub{file: f, upstream: upstream, queue: make(chan []*tracepb.ResourceSpans, queued), done: make(chan struct{})}
	go h.forward()
	return h, nil
}

// forward sends the queue to the collector. An error is the collector's: the file has the spans.
func (h *hub) forward() {
	defer close(h.done)
	for batch := range h.queue {
		if h.upstream != nil {
			ctx, cancel := context.WithTimeout(context.Background(), flushBound)
			_ = h.upstream.UploadTraces(ctx, batch)
			cancel()
		}
	}
}

// take writes a batch to the file and queues it.
func (h *hub) take(spans []*tracepb.ResourceSpans) error {
	if len(spans) == 0 {
		return nil
	}
	// The proto's own JSON is not OTLP/JSON (ids would be base64), so the batch takes the way over pdata.
	b, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
	if err != nil {
		return err
	}
	line, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil
	}
	if _, err := h.file.Write(append(line, '\n')); err != nil {
		return err
	}
	select {
	case h.queue <- spans:
	default: // the collector is too slow
	}
	return nil
}

// Export takes the spans of a plugin.
func (h *hub) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	return &coltrace.ExportTraceServiceResponse{}, h.take(r.GetResourceSpans())
}

// Start does nothing: the hub is open.
func (h *hub) Start(context.Context) error { return nil }

// Stop does nothing: close does.
func (h *hub) Stop(context.Context) error { return nil }

// UploadTraces takes the host's own spans.
func (h *hub) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	return h.take(spans)
}

// close waits for the queue as long as ctx lasts, and closes the file.
func (h *hub) close(ctx context.Context) error {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return nil
	}
	h.stopped = true
	close(h.queue)
	h.mu.Unlock()
	select {
	case <-h.done:
		if h.upstream != nil {
			_ = h.upstream.Stop(ctx)
		}
	case <-ctx.Done():
	}
	return h.file.Close()
}
