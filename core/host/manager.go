// Package host runs plugins as processes: it starts them lazily, once a run, speaks the protocol with them, winds them
// down and says in words what happened when one dies.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Ref says which plugin and how it is started.
type Ref struct {
	Name string
	// Command is the executable and its arguments.
	Command []string
	Version string
	// Digest is the executable's SHA-256.
	Digest  string
	Bundled bool
}

// Options are shared by the plugins of a run.
type Options struct {
	// RunDir takes the plugins' logs as logs/NAME.log; without it they are kept in memory for a crash report only.
	RunDir    string
	Telemetry *telemetry.Provider
	// Env are further variables that plugins see.
	Env    []string
	Logger *slog.Logger
	// MemoDir is where what Describe answered is remembered.
	MemoDir string
	// Grace is how long a stopped step may wind down; 0 means ten seconds.
	Grace time.Duration
	// Silence is how long an Apply may send nothing before it counts as hung; 0 means thirty seconds.
	Silence time.Duration
}

// Manager owns the plugin processes of a run.
type Manager struct {
	o       Options
	mu      sync.Mutex
	closed  bool
	plugins map[string]*starting
	dir     string // working folder of the plugins
}

type starting struct {
	once   sync.Once
	plugin *Plugin
	err    error
}

// NewManager gives a manager without processes.
func NewManager(o Options) *Manager {
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Silence == 0 {
		o.Silence = 30 * time.Second
	}
	return &Manager{o: o, plugins: map[string]*starting{}}
}

// Plugin gives the running plugin, starting it when this is the first call for its name.
func (m *Manager) Plugin(ctx context.Context, ref Ref) (*Plugin, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, fmt.Errorf("plugin %s is not started: the run is over", ref.Name)
	}
	s, ok := m.plugins[ref.Name]
	if !ok {
		s = &starting{}
		m.plugins[ref.Name] = s
	}
	m.mu.Unlock()
	s.once.Do(func() { s.plugin, s.err = m.start(ctx, ref) })
	return s.plugin, s.err
}

// workDir is a temporary folder that plugins work in, so that nothing is read by a relative path.
func (m *Manager) workDir() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir == "" {
		d, err := os.MkdirTemp("", "optimize-plugins-")
		if err != nil {
			return "", fmt.Errorf("no working folder for plugins: %w", err)
		}
		m.dir = d
	}
	return m.dir, nil
}

// Describe gives what a plugin declares: from the memo when this very executable was asked before.
func (m *Manager) Describe(ctx context.Context, ref Ref) (*pluginv1.DescribeResponse, error) {
	memo := ""
	if m.o.MemoDir != "" && ref.Digest != "" {
		memo = filepath.Join(m.o.MemoDir, ref.Name+"-"+ref.Version+"-"+ref.Digest+".pb")
		if b, err := os.ReadFile(memo); err == nil {
			r := &pluginv1.DescribeResponse{}
			if proto.Unmarshal(b, r) == nil && r.GetName() == ref.Name {
				return r, nil
			}
		}
	}
	p, err := m.Plugin(ctx, ref)
	if err != nil {
		return nil, err
	}
	r, err := p.client.Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return nil, err
	}
	b, err := proto.Marshal(r)
	switch {
	case err != nil:
		return nil, err
	case len(b) > pluginv1.MaxMessage:
		return nil, fmt.Errorf("plugin %s %s describes itself in %d bytes; the protocol allows %d", ref.Name, ref.Version, len(b), pluginv1.MaxMessage)
	case r.GetName() != ref.Name:
		return nil, fmt.Errorf("the plugin started as %s calls itself %q", ref.Name, r.GetName())
	}
	if memo != "" {
		remember(memo, b) // a convenience: failing, the plugin is asked again
	}
	return r, nil
}

func remember(path string, b []byte) {
	if os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".memo-*")
	if err != nil {
		return
	}
	_, werr := f.Write(b)
	if f.Close() != nil || werr != nil || os.Rename(f.Name(), path) != nil {
		_ = os.Remove(f.Name())
	}
}

// Close flushes and ends all plugins. Nothing of them is left running.
func (m *Manager) Close(ctx context.Context) {
	m.mu.Lock()
	m.closed = true
	all := make([]*starting, 0, len(m.plugins))
	for _, s := range m.plugins {
		all = append(all, s)
	}
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			s.once.Do(func() { s.err = fmt.Errorf("the run is over") }) // waits for one that is starting
			if s.plugin != nil {
				s.plugin.close(ctx)
			}
		})
	}
	wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir != "" {
		_ = os.RemoveAll(m.dir)
		m.dir = ""
	}
}

// allowed are the variables of the host that plugins see; the rest, secrets among it, stays here.
var allowed = []string{
	"PATH", "HOME", "TMPDIR", "TEMP", "TMP", "LANG", "TZ", "LD_LIBRARY_PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
	"http_proxy", "https_proxy", "no_proxy", "OPTIMIZE_DATA", "OPTIMIZE_CACHE", "OPTIMIZE_ONNXRUNTIME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
	"GOCOVERDIR", "GOMEMLIMIT", "GOTRACEBACK", "SYSTEMROOT", "SystemRoot", "LOCALAPPDATA", "LocalAppData", "USERPROFILE", "APPDATA",
}

func (m *Manager) env(ctx context.Context) []string {
	var env []string
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		if slices.Contains(allowed, k) || strings.HasPrefix(k, "LC_") || strings.HasPrefix(k, "DYLD_") {
			env = append(env, kv)
		}
	}
	env = append(env, m.o.Env...)
	return append(env, m.o.Telemetry.PluginEnv(ctx)...)
}
