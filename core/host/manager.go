// Package host runs plugin processes: it starts one when it is first needed, speaks the plugin protocol with it, stops
// steps, tells crashes and hangs in words, and leaves no process, socket or folder behind.
package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Ref says which plugin is meant and how it is started.
type Ref struct {
	Name string
	// Command is the executable's path and its arguments.
	Command []string
	Version string
	// Digest is the executable's SHA-256 in hex; without it nothing is remembered.
	Digest string
	// Bundled plugins are this program itself.
	Bundled bool
	// Attach is the address of a plugin that runs already, under a debugger: it is not started, not ended, and may be
	// silent for as long as its programmer thinks.
	Attach string
	// Role parts processes of one plugin from each other: an engine that crashes on a candidate must not take along the
	// step of the same plugin that asked. Empty for the process of its steps.
	Role string
}

// Options of a Manager. The zero value works.
type Options struct {
	// RunDir is the run's folder: plugins log into RunDir/logs/NAME.log. Empty means no log files.
	RunDir string
	// Telemetry takes the spans of plugins; nil takes none.
	Telemetry *telemetry.Provider
	// Env are names of further variables that plugins may see (LC_* style patterns too), or NAME=value to set one.
	Env []string
	// Logger takes what the host itself has to say about plugins; nil drops it.
	Logger *slog.Logger
	// MemoDir is where Describe answers are remembered; empty means nowhere.
	MemoDir string
	// Version is that of this program, for messages.
	Version string
	// Redact, when set, removes sensitive values from a line before it is logged or reported.
	Redact func(string) string

	// StartTimeout bounds a plugin's start, StopGrace what a step gets to wind down, HangTimeout the silence during
	// Apply, and CallTimeout the other calls of a plugin that is asked while planning. Zero means 30 s, 10 s, 30 s, 2 min.
	StartTimeout, StopGrace, HangTimeout, CallTimeout time.Duration
}

// Manager owns the plugin processes of one run. It may be used from several goroutines.
type Manager struct {
	opts   Options
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	entries map[string]*entry
	// certificate is made for the first plugin that is started.
	certificate func() (tls.Certificate, string, error)
	desk        *desk // nil until a step may ask
	closed      bool
}

// entry is one start of a plugin.
type entry struct {
	ready  chan struct{}
	plugin *Plugin
	err    error
}

// NewManager starts nothing.
func NewManager(o Options) *Manager {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.StartTimeout, 30*time.Second)
	def(&o.StopGrace, 10*time.Second)
	def(&o.HangTimeout, 30*time.Second)
	def(&o.CallTimeout, 2*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{opts: o, entries: map[string]*entry{}}
	var pem string
	cert := sync.OnceValues(func() (c tls.Certificate, err error) {
		c, pem, err = clientCertificate()
		return c, err
	})
	m.certificate = func() (tls.Certificate, string, error) {
		c, err := cert()
		return c, pem, err
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

var errClosed = errors.New("the run is over: no plugin is started any more")

// pluginName keeps names out of paths that are none.
var pluginName = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

// Describe tells what a plugin offers, from memory when the same executable was asked before.
func (m *Manager) Describe(ctx context.Context, r Ref) (*pluginv1.DescribeResponse, error) {
	if !pluginName.MatchString(r.Name) {
		return nil, fmt.Errorf("%q is no plugin name: write lower-case letters and digits, a letter first", r.Name)
	}
	if d, ok := m.remembered(r); ok {
		return d, nil
	}
	p, err := m.Plugin(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := bounded(ctx, p, "Describe", func(ctx context.Context) (*pluginv1.DescribeResponse, error) {
		return p.plugin.Describe(ctx, &pluginv1.DescribeRequest{})
	})
	if err != nil {
		return nil, err
	}
	if n := proto.Size(d); n > pluginv1.MaxMessage {
		return nil, p.callError("Describe", fmt.Sprintf("its description has %d bytes; at most %d are allowed. Its author must shorten its documentation", n, pluginv1.MaxMessage))
	}
	if d.GetName() != r.Name {
		return nil, p.callError("Describe", fmt.Sprintf("it calls itself %q; check its entry in required_plugins", d.GetName()))
	}
	if err := m.remember(r, d); err != nil {
		m.opts.Logger.Debug("a plugin's description was not remembered", "plugin", r.Name, "error", err)
	}
	return d, nil
}

// Plugin gives the running plugin, starting it when this is the first call for it in this run, or when it crashed since.
// A failed start is not tried again. Cancelling ctx ends the waiting, not the start, which others may wait for.
func (m *Manager) Plugin(ctx context.Context, r Ref) (*Plugin, error) {
	if !pluginName.MatchString(r.Name) || len(r.Command) == 0 && r.Attach == "" {
		return nil, fmt.Errorf("plugin %q has no usable name or command", r.Name)
	}
	key := r.Name + "\x00" + r.Role + "\x00" + fmt.Sprint(r.Command)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errClosed
	}
	e := m.entries[key]
	if e != nil && e.crashed() {
		e.plugin.release()
		e = nil
	}
	if e == nil {
		e = &entry{ready: make(chan struct{})}
		m.entries[key] = e
		go func() {
			defer close(e.ready)
			e.plugin, e.err = m.start(context.WithoutCancel(ctx), r)
		}()
	}
	m.mu.Unlock()
	select {
	case <-e.ready:
		return e.plugin, e.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (e *entry) crashed() bool {
	select {
	case <-e.ready:
		return e.plugin != nil && e.plugin.proc.lost()
	default:
		return false
	}
}

// Close exports the spans of plugins, then ends them and their children, and removes their sockets and scratch folders.
// It waits for spans no longer than ctx. It may be called more than once.
func (m *Manager) Close(ctx context.Context) {
	m.mu.Lock()
	m.closed = true
	entries, desk := m.entries, m.desk
	m.entries, m.desk = map[string]*entry{}, nil
	m.mu.Unlock()
	m.cancel() // ends starts in progress
	var wg sync.WaitGroup
	for _, e := range entries {
		wg.Go(func() {
			<-e.ready
			if e.plugin != nil {
				e.plugin.close(ctx)
			}
		})
	}
	wg.Wait()
	desk.close()
}

func (m *Manager) logPath(r Ref) string {
	if m.opts.RunDir == "" {
		return ""
	}
	name := r.Name
	if r.Role != "" {
		name += "-" + r.Role
	}
	return filepath.Join(m.opts.RunDir, "logs", name+".log")
}

// workDirPrefix is how the names of these folders begin.
const workDirPrefix = "optimize-plugin-"

// workDir makes the folder that a plugin's process runs in, with its sockets. Its path is short: a socket's may have
// about a hundred bytes.
func workDir() (dir string, remove func(), err error) {
	dir, remove, err = telemetry.SocketDir(workDirPrefix)
	if err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o700); err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}
