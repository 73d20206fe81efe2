package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// queued is how many batches wait for the collector; what does not fit is dropped from the export, not from the files.
const queued = 256

var errSlow = errors.New("the collector is too slow: spans were dropped")

// hub takes the telemetry of host and plugins alike, as OTLP: it goes to the run's files at once, and to the collector
// from a queue, so that a slow collector slows nothing.
type hub struct {
	upstream [signals]uploader // nil: nobody wants that signal
	queue    chan batch
	ctx      context.Context // of uploads
	cancel   context.CancelFunc
	done     chan struct{}
	redact   func(string) string // nil: nothing is sensitive

	// sender is the command that is left what a slow collector did not take; empty for none.
	sender []string

	mu      sync.Mutex
	current *batch          // being uploaded
	handed  []batch         // left to the sender
	paths   [signals]string // "" for no file
	files   [signals]*os.File
	local   bool // nothing goes upstream
	stopped bool
	err     error // the first
}

// uploader sends batches of one signal to the collector.
type uploader interface {
	upload(ctx context.Context, b batch) error
	stop(ctx context.Context)
}

// newHub opens the trace file at path; the files of the other signals lie beside it and are made when they are needed.
func newHub(path string, upstream [signals]uploader) (*hub, error) {
	h := &hub{upstream: upstream, queue: make(chan batch, queued), done: make(chan struct{})}
	if path != "" {
		for s := range signals {
			h.paths[s] = filepath.Join(filepath.Dir(path), s.file())
		}
		h.paths[traces] = path
		if err := h.open(traces); err != nil {
			return nil, fmt.Errorf("the trace cannot be written: %w", err)
		}
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	go h.forward()
	return h, nil
}

func (h *hub) open(s signal) (err error) {
	h.files[s], err = os.OpenFile(h.paths[s], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return err
}

// forward sends the queue to the collector until it is closed.
func (h *hub) forward() {
	defer close(h.done)
	for b := range h.queue {
		h.mu.Lock()
		h.current = &b
		h.mu.Unlock()
		ctx, cancel := context.WithTimeout(h.ctx, max(uploadBound, patience(os.Getenv)))
		err := h.upstream[b.signal].upload(ctx, b)
		cancel()
		h.mu.Lock()
		h.current = nil
		if h.handed == nil {
			h.failedLocked(err)
		}
		h.mu.Unlock()
	}
}

// leave takes what has not reached the collector out of the queue and hands it over.
func (h *hub) leave() {
	slow := errors.New("the collector did not take all spans in time; OTEL_BSP_EXPORT_TIMEOUT gives it more")
	var left []batch
	h.mu.Lock()
	if h.current != nil {
		left = append(left, *h.current)
	}
	h.mu.Unlock()
	for b := range h.queue { // closed: what the forwarder does not take meanwhile
		left = append(left, b)
	}
	if len(h.sender) == 0 || len(left) == 0 {
		h.failed(slow)
		return
	}
	err := handOver(h.sender, left)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.handed = left; err != nil {
		h.handed = nil
		h.failedLocked(slow)
	}
}

// take writes a batch to its file and queues it.
func (h *hub) take(b batch) error {
	if b.empty() {
		return nil
	}
	clean(b.request, h.redact)
	line, err := b.jsonLine()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil
	}
	if h.upstream[b.signal] != nil && !h.local {
		select {
		case h.queue <- b:
		default:
			h.failedLocked(errSlow)
		}
	}
	if h.paths[b.signal] == "" {
		return nil
	}
	if h.files[b.signal] == nil {
		if err := h.open(b.signal); err != nil {
			return err
		}
	}
	_, err = h.files[b.signal].Write(line)
	return err
}

// receive answers a plugin's exporter.
func (h *hub) receive(b batch) error {
	if err := h.take(b); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// The three services of OTLP.
type (
	traceService struct {
		coltrace.UnimplementedTraceServiceServer
		*hub
	}
	metricsService struct {
		colmetrics.UnimplementedMetricsServiceServer
		*hub
	}
	logsService struct {
		collogs.UnimplementedLogsServiceServer
		*hub
	}
)

func (s traceService) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	return &coltrace.ExportTraceServiceResponse{}, s.receive(batch{traces, r})
}

func (s metricsService) Export(_ context.Context, r *colmetrics.ExportMetricsServiceRequest) (*colmetrics.ExportMetricsServiceResponse, error) {
	return &colmetrics.ExportMetricsServiceResponse{}, s.receive(batch{metrics, r})
}

func (s logsService) Export(_ context.Context, r *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	return &collogs.ExportLogsServiceResponse{}, s.receive(batch{logs, r})
}

// Start does nothing: the hub is open.
func (h *hub) Start(context.Context) error { return nil }

// Stop does nothing: close does.
func (h *hub) Stop(context.Context) error { return nil }

// UploadTraces takes the host's own spans.
func (h *hub) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	return h.take(batch{traces, &coltrace.ExportTraceServiceRequest{ResourceSpans: spans}})
}

// keep keeps what comes from now on in the files.
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

// close waits for the queue as long as ctx lasts, and closes the files.
func (h *hub) close(ctx context.Context) error {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return nil
	}
	h.stopped = true
	close(h.queue)
	files := h.files
	h.mu.Unlock()
	select {
	case <-h.done:
	case <-ctx.Done():
		h.leave()
	}
	h.cancel()
	for _, u := range h.upstream {
		if u != nil {
			u.stop(ctx)
		}
	}
	var errs []error
	for s, f := range files {
		if f == nil {
			continue
		}
		if err := f.Close(); err != nil {
			errs = append(errs, fmt.Errorf("%s cannot be written: %w", signal(s).file(), err))
		}
	}
	return errors.Join(errs...)
}

// traceUploader is the exporter of the OpenTelemetry SDK.
type traceUploader struct{ client otlptrace.Client }

func (u traceUploader) upload(ctx context.Context, b batch) error {
	return u.client.UploadTraces(ctx, b.request.(*coltrace.ExportTraceServiceRequest).GetResourceSpans())
}

func (u traceUploader) stop(ctx context.Context) { _ = u.client.Stop(ctx) }
