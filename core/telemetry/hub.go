package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// queued is how many batches wait for the collector; what does not fit is dropped from the export, not from the file.
const queued = 256

var errSlow = errors.New("the collector is too slow: spans were dropped")

// hub takes the spans of host and plugins alike, as OTLP: they go to the trace file at once, and to the collector from
// a queue, so that a slow collector slows nothing.
type hub struct {
	coltrace.UnimplementedTraceServiceServer
	upstream otlptrace.Client // nil: nobody wants them
	queue    chan []*tracepb.ResourceSpans
	ctx      context.Context // of uploads
	cancel   context.CancelFunc
	done     chan struct{}

	mu      sync.Mutex
	file    *os.File
	local   bool // nothing goes upstream
	stopped bool
	err     error // the first
}

func newHub(path string, upstream otlptrace.Client) (*hub, error) {
	h := &hub{upstream: upstream, queue: make(chan []*tracepb.ResourceSpans, queued), done: make(chan struct{})}
	if path != "" {
		var err error
		if h.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
			return nil, fmt.Errorf("the trace cannot be written: %w", err)
		}
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	go h.forward()
	return h, nil
}

// forward sends the queue to the collector until it is closed.
func (h *hub) forward() {
	defer close(h.done)
	for batch := range h.queue {
		ctx, cancel := context.WithTimeout(h.ctx, flushBound)
		h.failed(h.upstream.UploadTraces(ctx, batch))
		cancel()
	}
}

// take writes a batch to the file and queues it.
func (h *hub) take(spans []*tracepb.ResourceSpans) error {
	if len(spans) == 0 {
		return nil
	}
	line, err := jsonLine(spans)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil
	}
	if h.upstream != nil && !h.local {
		select {
		case h.queue <- spans:
		default:
			h.failedLocked(errSlow)
		}
	}
	if h.file == nil {
		return nil
	}
	_, err = h.file.Write(line)
	return err
}

// jsonLine is one line of an OTLP/JSON file. The protobuf library's JSON is not OTLP/JSON, its ids would be base64, so
// the batch takes the way over pdata.
func jsonLine(spans []*tracepb.ResourceSpans) ([]byte, error) {
	b, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return nil, err
	}
	td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
	if err != nil {
		return nil, err
	}
	line, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	return append(line, '\n'), err
}

// Export takes the spans of a plugin.
func (h *hub) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	if err := h.take(r.GetResourceSpans()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}

// Start does nothing: the hub is open.
func (h *hub) Start(context.Context) error { return nil }

// Stop does nothing: close does.
func (h *hub) Stop(context.Context) error { return nil }

// UploadTraces takes the host's own spans.
func (h *hub) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	return h.take(spans)
}

// keep keeps what comes from now on in the file.
func (h *hub) keep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.local = true
}

func (h *hub) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failedLocked(err)
}

func (h *hub) failedLocked(err error) {
	if h.err == nil {
		h.err = err
	}
}

func (h *hub) uploadError() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
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
	file := h.file
	h.mu.Unlock()
	select {
	case <-h.done:
	case <-ctx.Done():
		h.failed(fmt.Errorf("the collector did not take all spans within %s", flushBound))
	}
	h.cancel()
	if h.upstream != nil {
		_ = h.upstream.Stop(ctx)
	}
	if file == nil {
		return nil
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("the trace cannot be written: %w", err)
	}
	return nil
}
