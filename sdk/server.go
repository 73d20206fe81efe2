package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// server is the service Plugin.
type server struct {
	pluginv1.UnimplementedPluginServer
	plugin *Plugin
	flush  func(context.Context) error

	mu   sync.Mutex
	runs map[string]*applying
}

// applying is one Apply in progress.
type applying struct {
	stop    context.CancelFunc
	stopped chan struct{}
	once    sync.Once
}

func (a *applying) halt() { a.once.Do(func() { close(a.stopped); a.stop() }) }

func newServer(p *Plugin, flush func(context.Context) error) *server {
	return &server{plugin: p, flush: flush, runs: map[string]*applying{}}
}

// Register adds the services of a plugin to a gRPC server. Serve does it; tests may, without a process of their own.
func Register(s grpc.ServiceRegistrar, p *Plugin) { register(s, newServer(p, nil)) }

func register(s grpc.ServiceRegistrar, srv *server) {
	pluginv1.RegisterPluginServer(s, srv)
	if srv.plugin.Runtime != nil {
		pluginv1.RegisterRuntimeServer(s, &runtimeServer{runtime: srv.plugin.Runtime, sessions: map[string]*session{}})
	}
}

func (s *server) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	d, err := s.plugin.Describe()
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return d, nil
}

func (s *server) step(name string) (*StepType, error) {
	t := s.plugin.step(name)
	if t == nil {
		return nil, status.Errorf(codes.NotFound, "the plugin %s has no step %q", s.plugin.Name, name)
	}
	return t, nil
}

func (s *server) Validate(ctx context.Context, r *pluginv1.ValidateRequest) (*pluginv1.ValidateResponse, error) {
	t, err := s.step(r.GetStepType())
	if err != nil {
		return nil, err
	}
	c, ds, err := t.decode(r.GetConfig(), nil, false)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if t.validate != nil && !ds.HasErrors() {
		err := guard(func() error {
			ds = append(ds, t.validate(context.WithValue(ctx, unknownKey{}, c.unknown), c.ptr).known(c.unknown)...)
			return nil
		})
		ds = append(ds, diagnosticsOf(err)...)
	}
	return &pluginv1.ValidateResponse{Diagnostics: ds.wire()}, nil
}

func (s *server) Plan(ctx context.Context, r *pluginv1.PlanRequest) (*pluginv1.PlanResponse, error) {
	t, err := s.step(r.GetStepType())
	if err != nil {
		return nil, err
	}
	c, ds, err := t.decode(r.GetConfig(), r.GetInputs(), false)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := &pluginv1.PlanResponse{}
	if t.plan != nil && !ds.HasErrors() {
		err := guard(func() error {
			p, err := t.plan(context.WithValue(ctx, unknownKey{}, c.unknown), &PlanRun{Threads: threads(r.GetThreads())}, c.ptr)
			if p != nil {
				ds = append(ds, p.Diagnostics.known(c.unknown)...)
				out.Fingerprint, out.Nondeterministic, out.Missing = p.Fingerprint, p.Nondeterministic, missing(p.Missing)
				if n := p.Needs; n != (Needs{}) {
					out.Needs = &pluginv1.Needs{MemoryBytes: max(0, n.Memory), Cores: int64(max(0, n.Cores))}
				}
			}
			return err
		})
		ds = append(ds, diagnosticsOf(err).known(c.unknown)...)
	}
	out.Diagnostics = ds.wire()
	return out, nil
}

func (s *server) Apply(r *pluginv1.ApplyRequest, stream grpc.ServerStreamingServer[pluginv1.ApplyEvent]) error {
	t, err := s.step(r.GetStepType())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	a := &applying{stop: cancel, stopped: make(chan struct{})}
	if err := s.begin(r.GetRunId(), a); err != nil {
		return err
	}
	defer s.end(r.GetRunId())
	ev := &events{send: stream.Send}
	beating, quiet := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { ev.beat(beating, time.Second) })
	done, ds, err := s.run(ctx, t, r, a, ev)
	quiet()
	wg.Wait()
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	for _, d := range ds {
		ev.diagnostic(d)
	}
	return ev.done(done)
}

func (s *server) begin(id string, a *applying) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" || s.runs[id] != nil {
		return status.Errorf(codes.InvalidArgument, "the run id %q is empty or in use", id)
	}
	s.runs[id] = a
	return nil
}

func (s *server) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, id)
}

func (s *server) run(ctx context.Context, t *StepType, r *pluginv1.ApplyRequest, a *applying, ev *events) (*pluginv1.Done, Diagnostics, error) {
	c, ds, err := t.decode(r.GetConfig(), r.GetInputs(), true)
	if err != nil || ds.HasErrors() {
		return &pluginv1.Done{}, ds, err
	}
	run := &Run{OutDir: r.GetOutDir(), ScratchDir: r.GetScratchDir(), Seed: r.GetSeed(), Threads: threads(r.GetThreads()),
		Log: slog.New(&logHandler{events: ev}), stopped: a.stopped, events: ev,
		host: dialHost(r.GetHost())}
	defer run.host.close()
	var res *Result
	err = guard(func() (err error) {
		res, err = t.apply(ctx, run, c.ptr)
		return err
	})
	select {
	case <-a.stopped:
		// Whatever it returned: an output that was cut short must not look finished, and its complaint about being
		// cancelled is no news.
		return &pluginv1.Done{Stopped: true}, nil, nil
	default:
	}
	if err != nil {
		return &pluginv1.Done{}, append(ds, diagnosticsOf(err)...), nil
	}
	if ev.hasFailed() {
		return &pluginv1.Done{}, ds, nil
	}
	done, err := t.finish(run, res)
	if err != nil {
		return &pluginv1.Done{}, append(ds, Diagnostic{Summary: "The plugin " + s.plugin.Name + " has a bug in the step " + t.spec.Name,
			Detail: err.Error(), Code: "plugin/output"}), nil
	}
	return done, ds, nil
}

// finish checks what the step says that it wrote.
func (t *StepType) finish(run *Run, res *Result) (*pluginv1.Done, error) {
	if res == nil {
		res = &Result{}
	}
	done := &pluginv1.Done{Outputs: map[string]*pluginv1.Artifact{}}
	declared := map[string]bool{}
	for _, o := range t.spec.Outputs {
		declared[o.Name] = true
		a, ok := res.Outputs[o.Name]
		if !ok {
			return nil, fmt.Errorf("it did not return its output %q", o.Name)
		}
		size, err := within(run.OutDir, a.Path)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", o.Name, err)
		}
		w := a.wire()
		w.Path, w.Size, w.Digest = filepath.ToSlash(filepath.Clean(a.Path)), size, ""
		if w.Kind == "" {
			w.Kind = o.Kind
		}
		if w.Format == "" {
			w.Format = o.Format
		}
		done.Outputs[o.Name] = w
	}
	for name := range res.Outputs {
		if !declared[name] {
			return nil, fmt.Errorf("it returned the output %q, which it does not declare", name)
		}
	}
	var err error
	done.Result, err = t.encodeFacts(res.Facts)
	return done, err
}

// within returns the size in bytes of a file or folder that must lie in dir; links that lead out are refused.
func within(dir, path string) (int64, error) {
	if !filepath.IsLocal(filepath.FromSlash(path)) || filepath.Clean(path) == "." {
		return 0, fmt.Errorf("the path %q is not relative to the output folder", path)
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return 0, err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("it did not write %q in the output folder", path)
	}
	if err != nil {
		return 0, err
	}
	if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
		return 0, fmt.Errorf("%q leads out of the output folder", path)
	}
	var size int64
	err = filepath.WalkDir(real, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		i, err := e.Info()
		if err == nil {
			size += i.Size()
		}
		return err
	})
	return size, err
}

func (s *server) Stop(_ context.Context, r *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	s.mu.Lock()
	a := s.runs[r.GetRunId()]
	s.mu.Unlock()
	if a != nil { // it may have ended just now
		a.halt()
	}
	return &pluginv1.StopResponse{}, nil
}

// stopAll is for a host that is gone.
func (s *server) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.runs {
		a.halt()
	}
}

// idle tells whether no Apply is in progress.
func (s *server) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs) == 0
}

func (s *server) Inspect(ctx context.Context, r *pluginv1.InspectRequest) (*pluginv1.InspectResponse, error) {
	inspect := s.plugin.Inspect
	if name := r.GetTarget(); name != "" {
		i := slices.IndexFunc(s.plugin.Targets, func(t Target) bool { return t.Name == name })
		if i < 0 {
			return nil, status.Errorf(codes.NotFound, "the plugin %s has no target %q", s.plugin.Name, name)
		}
		inspect = s.plugin.Targets[i].Inspect
	}
	if inspect == nil {
		return nil, status.Errorf(codes.Unimplemented, "the plugin %s cannot inspect artifacts", s.plugin.Name)
	}
	var doc []byte
	err := guard(func() error {
		v, err := inspect(ctx, artifactOf(r.GetArtifact()))
		if err == nil {
			doc, err = json.Marshal(v)
		}
		return err
	})
	return &pluginv1.InspectResponse{Diagnostics: diagnosticsOf(err).wire(), Document: doc}, nil
}

func (s *server) Flush(ctx context.Context, _ *pluginv1.FlushRequest) (*pluginv1.FlushResponse, error) {
	if s.flush != nil {
		if err := s.flush(ctx); err != nil { // a lost span is no reason to fail a run
			fmt.Fprintln(os.Stderr, "the spans of this plugin were not all exported:", err)
		}
	}
	return &pluginv1.FlushResponse{}, nil
}

// guard runs plugin code; a panic becomes an error with the code plugin/panic, its stack goes to the log.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic recovered: %v\n\n%s\n", p, debug.Stack())
			summary, _, _ := strings.Cut(fmt.Sprint(p), "\n")
			err = Diagnostic{Summary: "The plugin has a bug: " + summary, Code: "plugin/panic",
				Detail: "The plugin's log file of this run has the stack; please report it to the plugin's author."}
		}
	}()
	return f()
}

func threads(n int64) int { return int(max(1, min(n, 1<<16))) }

func missing(ms []Missing) []*pluginv1.Missing {
	var out []*pluginv1.Missing
	for _, m := range ms {
		out = append(out, &pluginv1.Missing{What: valid(m.What), Command: valid(m.Command)})
	}
	return out
}
