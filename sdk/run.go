package sdk

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Run is what a step is given beside its configuration. Its methods may be called from several goroutines.
type Run struct {
	// OutDir is empty and writable: only what lands here is kept. Inputs are read-only.
	OutDir string
	// ScratchDir is for temporary files; the host removes it.
	ScratchDir string
	// Seed is for whatever random numbers the step needs.
	Seed uint64
	// Threads the step may use, at least 1.
	Threads int
	// Log goes to the host as events; stdout and stderr of the process go to its log file.
	Log *slog.Logger

	stopped <-chan struct{}
	events  *events
	host    *hostClient // nil when the core offers no service
}

// Result is what a step returns.
type Result struct {
	// Outputs by the names that StepSpec declares, each with a Path relative to OutDir. Kind and format default to the
	// declared ones.
	Outputs map[string]Artifact
	// Facts about the work, of the type of StepSpec.ResultExample: coverage, sparsity reached. Never a grade.
	Facts any
}

// Progress shows how far the step is: "calibrate", 12, 64, "samples". Total is 0 when unknown. Calls may be frequent:
// the SDK drops what nobody could see.
func (r *Run) Progress(phase string, current, total int64, unit string) {
	r.events.progress(&pluginv1.Progress{Phase: valid(phase), Current: current, Total: total, Unit: valid(unit)})
}

// Warn shows a diagnostic without failing the step; one of SeverityError does fail it.
func (r *Run) Warn(d Diagnostic) { r.events.diagnostic(d) }

// Stopped is closed when the user asks the step to stop; the step's context is cancelled at the same moment.
func (r *Run) Stopped() <-chan struct{} { return r.stopped }

// Path is a path within OutDir, for writing an output that is then named by its relative path.
func (r *Run) Path(relative string) string {
	return filepath.Join(r.OutDir, filepath.FromSlash(relative))
}

// events is the one writer of an Apply's stream: a gRPC stream takes one message at a time, and nothing after Done.
type events struct {
	mu     sync.Mutex
	send   func(*pluginv1.ApplyEvent) error
	closed bool
	failed bool // an error diagnostic was sent

	last      *pluginv1.Progress // as sent
	lastAt    time.Time
	withheld  *pluginv1.Progress
	heartbeat time.Time
}

// progressEvery bounds how often the same phase is reported.
const progressEvery = 50 * time.Millisecond

func (e *events) emit(ev *pluginv1.ApplyEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.emitLocked(ev)
}

// emitLocked ignores a failed send: the stream is gone then, the step's context is cancelled, and the lease ends us.
func (e *events) emitLocked(ev *pluginv1.ApplyEvent) {
	if e.closed {
		return
	}
	e.heartbeat = time.Now()
	_ = e.send(ev)
}

func (e *events) progress(p *pluginv1.Progress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	same := e.last != nil && e.last.Phase == p.Phase && e.last.Total == p.Total
	if same && now.Sub(e.lastAt) < progressEvery && (p.Total == 0 || p.Current < p.Total) {
		e.withheld = p
		return
	}
	if !same {
		e.flushProgressLocked() // the phase before ends with its last figure
	}
	e.withheld, e.last, e.lastAt = nil, p, now
	e.emitLocked(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Progress{Progress: p}})
}

func (e *events) flushProgressLocked() {
	if p := e.withheld; p != nil {
		e.withheld, e.last, e.lastAt = nil, p, time.Now()
		e.emitLocked(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Progress{Progress: p}})
	}
}

func (e *events) diagnostic(d Diagnostic) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.Severity == SeverityError {
		e.failed = true
	}
	e.emitLocked(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Diagnostic{Diagnostic: d.wire()}})
}

// done sends the last event; whatever comes later, from a goroutine that the step forgot, is dropped.
func (e *events) done(d *pluginv1.Done) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flushProgressLocked()
	e.closed = true
	return e.send(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Done{Done: d}})
}

// hasFailed tells whether the step reported an error by itself.
func (e *events) hasFailed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

// beat keeps the stream alive until ctx ends: the host takes silence for a hang.
func (e *events) beat(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			e.mu.Lock()
			e.flushProgressLocked()
			if time.Since(e.heartbeat) >= every/2 {
				e.emitLocked(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Heartbeat{Heartbeat: &pluginv1.Heartbeat{}}})
			}
			e.mu.Unlock()
		}
	}
}

// logHandler sends log records as events.
type logHandler struct {
	events *events
	fields map[string]string
	group  string
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	l := &pluginv1.Log{Message: valid(r.Message), Fields: maps.Clone(h.fields)}
	switch {
	case r.Level >= slog.LevelError:
		l.Level = pluginv1.Log_LEVEL_ERROR
	case r.Level >= slog.LevelWarn:
		l.Level = pluginv1.Log_LEVEL_WARN
	case r.Level >= slog.LevelInfo:
		l.Level = pluginv1.Log_LEVEL_INFO
	default:
		l.Level = pluginv1.Log_LEVEL_DEBUG
	}
	if l.Fields == nil {
		l.Fields = map[string]string{}
	}
	r.Attrs(func(a slog.Attr) bool { addField(l.Fields, h.group, a); return true })
	h.events.emit(&pluginv1.ApplyEvent{Event: &pluginv1.ApplyEvent_Log{Log: l}})
	return nil
}

func (h *logHandler) WithAttrs(as []slog.Attr) slog.Handler {
	c := &logHandler{events: h.events, group: h.group, fields: maps.Clone(h.fields)}
	if c.fields == nil {
		c.fields = map[string]string{}
	}
	for _, a := range as {
		addField(c.fields, c.group, a)
	}
	return c
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{events: h.events, fields: h.fields, group: h.group + name + "."}
}

func addField(to map[string]string, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, m := range v.Group() {
			addField(to, group, m)
		}
		return
	}
	if a.Key != "" {
		to[valid(group+a.Key)] = valid(v.String())
	}
}
