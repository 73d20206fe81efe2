package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Plugin is a running plugin. It may be used from several goroutines.
type Plugin struct {
	manager *Manager
	ref     Ref
	client  *goplugin.Client
	proc    *process
	out     *output
	dir     string
	plugin  pluginv1.PluginClient
	runtime pluginv1.RuntimeClient
	release func() // ends what is left of the process and removes dir; once
}

func (m *Manager) start(ctx context.Context, r Ref) (*Plugin, error) {
	if r.Attach != "" {
		return m.attach(ctx, r)
	}
	p := &Plugin{manager: m, ref: r, out: &output{path: m.logPath(r), redact: m.opts.Redact}}
	dir, remove, err := workDir()
	if err != nil {
		return nil, &StartError{Plugin: r.Name, Version: r.Version, Command: r.Command[0], Err: err,
			Reason: fmt.Sprintf("no temporary folder: %s. Point TMPDIR to a writable one", err)}
	}
	p.dir = dir
	cert, certPEM, err := m.certificate()
	if err != nil {
		remove()
		return nil, &StartError{Plugin: r.Name, Version: r.Version, Command: r.Command[0], Err: err, Reason: "no certificate could be made: " + err.Error()}
	}
	env := append(m.pluginEnv(), m.opts.Telemetry.PluginEnv(ctx)...)
	env = append(env, "PLUGIN_CLIENT_CERT="+certPEM)
	var mu sync.Mutex
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieVal},
		VersionedPlugins: map[int]goplugin.PluginSet{pluginv1.ProtocolVersion: {pluginv1.SetName: grpcPlugin{}}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		TLSConfig:        tlsFor(cert),
		SkipHostEnv:      true,
		StartTimeout:     m.opts.StartTimeout,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: p.dir},
		Logger:           hclog.NewNullLogger(), // its messages are for programmers of go-plugin
		SyncStdout:       &lineWriter{out: p.out},
		SyncStderr:       &lineWriter{out: p.out},
		GRPCDialOptions:  p.dialOptions(),
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			mu.Lock()
			defer mu.Unlock()
			if m.ctx.Err() != nil {
				return nil, errClosed
			}
			p.proc = newProcess(r.Command, append(env, cmd.Env...), filepath.Join(p.dir, "work"), p.out)
			return p.proc, nil
		},
	})
	p.release = sync.OnceFunc(func() {
		p.client.Kill()
		if p.proc.ran() {
			p.proc.end("ended by optimize")
			<-p.proc.exited
		}
		p.out.close()
		remove()
	})
	// go-plugin's start cannot be cancelled, so the end of the run ends the process that it waits for.
	stop := context.AfterFunc(m.ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if p.proc != nil {
			p.proc.end("ended by optimize: the run is over")
		}
	})
	rpc, err := p.client.Client()
	ended := !stop()
	if err == nil && !ended {
		raw, derr := rpc.Dispense(pluginv1.SetName)
		if derr == nil {
			conn := raw.(grpc.ClientConnInterface)
			p.plugin, p.runtime = pluginv1.NewPluginClient(conn), pluginv1.NewRuntimeClient(conn)
			m.opts.Logger.Debug("started a plugin", "plugin", r.Name, "version", r.Version, "pid", p.proc.ID())
			return p, nil
		}
		err = derr
	}
	err = p.startError(err, ended)
	p.release()
	return nil, err
}

// startError puts a failed start into words.
func (p *Plugin) startError(err error, ended bool) error {
	if ended {
		return errClosed
	}
	r := p.ref
	if !p.proc.ran() {
		return &StartError{Plugin: r.Name, Version: r.Version, Command: r.Command[0], Reason: startReason(r.Command[0], err), Err: err}
	}
	if v := p.proc.offered(); v != 0 && v != pluginv1.ProtocolVersion {
		return p.manager.protocolError(r, v)
	}
	// A process that ended is the better story, and its last lines tell it.
	waitFor(p.proc.exited, time.Second, nil)
	p.proc.mu.Lock()
	died := p.proc.state != nil && p.proc.reason == ""
	p.proc.mu.Unlock()
	if died {
		return p.crash("")
	}
	_, last, path := p.out.report()
	reason := err.Error()
	if strings.Contains(reason, "timeout while waiting") {
		reason = fmt.Sprintf("it did not answer within %s; is %s a plugin of Optimize?", p.manager.opts.StartTimeout, r.Command[0])
	}
	return &StartError{Plugin: r.Name, Version: r.Version, Command: r.Command[0], Reason: reason, LastLines: last, LogPath: path, Err: err}
}

// grpcPlugin hands out the connection.
type grpcPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (grpcPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host is no plugin")
}

func (grpcPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

func (p *Plugin) dialOptions() []grpc.DialOption {
	o := p.manager.opts.Telemetry.DialOptions(traced)
	return append(o,
		grpc.WithIdleTimeout(0), // the connection is the plugin's lease on life
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			var err error
			if silent(method) {
				err = p.watched(ctx, method, req, cc, func(ctx context.Context) error { return invoke(ctx, method, req, reply, cc, opts...) })
			} else {
				err = invoke(ctx, method, req, reply, cc, opts...)
			}
			var hang *HangError
			if err == nil || !ours(method) || errors.As(err, &hang) {
				return err
			}
			return p.explain(ctx, err, method[strings.LastIndexByte(method, '/')+1:], "")
		}))
}

// silent tells the methods that may take long and have no heartbeats of their own.
func silent(method string) bool {
	switch method {
	case pluginv1.Plugin_Validate_FullMethodName, pluginv1.Plugin_Plan_FullMethodName, pluginv1.Plugin_Inspect_FullMethodName:
		return true
	}
	return strings.HasPrefix(method, "/"+pluginv1.Runtime_ServiceDesc.ServiceName+"/")
}

// ours tells the plugin protocol's methods from go-plugin's own.
func ours(method string) bool {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service == pluginv1.Plugin_ServiceDesc.ServiceName && name != "Flush" || service == pluginv1.Runtime_ServiceDesc.ServiceName
}

// traced keeps bookkeeping out of the trace; the SDK does the same.
func traced(method string) bool {
	return ours(method) && method != pluginv1.Plugin_Describe_FullMethodName && method != pluginv1.Plugin_Stop_FullMethodName
}

// explain turns what gRPC says into what happened.
func (p *Plugin) explain(ctx context.Context, err error, call, step string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch st.Code() {
	case codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown:
		// The connection breaks before the process is known to be gone.
		if waitFor(p.proc.exited, 2*time.Second, ctx) || st.Code() == codes.Unavailable {
			return p.crash(step)
		}
	case codes.Unimplemented:
		return p.callError(call, "it does not offer this call")
	}
	return p.callError(call, st.Message())
}

// waitFor tells whether c was closed in time. ctx may be nil.
func waitFor(c <-chan struct{}, d time.Duration, ctx context.Context) bool {
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
	case <-done:
	}
	return false
}

func (p *Plugin) crash(step string) error {
	panics, last, path := p.out.report()
	return &CrashError{Plugin: p.ref.Name, Version: p.ref.Version, Step: step, ExitStatus: p.proc.status(), Panic: panics, LastLines: last, LogPath: path}
}

func (p *Plugin) callError(call, reason string) error {
	return &CallError{Plugin: p.ref.Name, Version: p.ref.Version, Call: call, Reason: reason}
}

// in names the step in a crash report.
func in(step string, err error) error {
	var c *CrashError
	if errors.As(err, &c) && c.Step == "" {
		c.Step = step
	}
	return err
}

// bounded makes a call that must not take forever; one that does is a hang, and ends the process.
func bounded[T any](ctx context.Context, p *Plugin, call string, f func(context.Context) (T, error)) (T, error) {
	limit := p.manager.opts.CallTimeout
	if p.ref.Attach != "" {
		return f(ctx)
	}
	hung := errors.New("hung")
	c, cancel := context.WithTimeoutCause(ctx, limit, hung)
	defer cancel()
	v, err := f(c)
	if err != nil && errors.Is(err, hung) {
		_, last, path := p.out.report()
		p.proc.end(fmt.Sprintf("ended by optimize: %s took more than %s", call, limit))
		err = &HangError{Plugin: p.ref.Name, Version: p.ref.Version, Step: call, Silence: limit, LastLines: last, LogPath: path}
	}
	return v, err
}

// Ref is what the plugin was started from.
func (p *Plugin) Ref() Ref { return p.ref }

// Validate asks the plugin about a step's configuration, of the type that its schema implies. It may hold unknown values.
func (p *Plugin) Validate(ctx context.Context, step string, config cty.Value, ty cty.Type) ([]*pluginv1.Diagnostic, error) {
	b, err := ctymsgpack.Marshal(config, ty)
	if err != nil {
		return nil, fmt.Errorf("the configuration of step %s cannot be sent to plugin %s: %w", step, p.ref.Name, err)
	}
	r, err := bounded(ctx, p, "Validate", func(ctx context.Context) (*pluginv1.ValidateResponse, error) {
		return p.plugin.Validate(ctx, &pluginv1.ValidateRequest{StepType: step, Config: &pluginv1.Value{Msgpack: b}})
	})
	return r.GetDiagnostics(), in(step, err)
}

// Plan asks what a step's bytes will depend on and what the machine lacks.
func (p *Plugin) Plan(ctx context.Context, r *pluginv1.PlanRequest) (*pluginv1.PlanResponse, error) {
	a, err := bounded(ctx, p, "Plan", func(ctx context.Context) (*pluginv1.PlanResponse, error) { return p.plugin.Plan(ctx, r) })
	return a, in(r.GetStepType(), err)
}

// Inspect asks what is in an artifact.
func (p *Plugin) Inspect(ctx context.Context, r *pluginv1.InspectRequest) (*pluginv1.InspectResponse, error) {
	return bounded(ctx, p, "Inspect", func(ctx context.Context) (*pluginv1.InspectResponse, error) { return p.plugin.Inspect(ctx, r) })
}

// Runtime is the plugin's runtime. Its calls return *CrashError, *HangError and *CallError as the others do. Predict may
// take as long as it likes, as long as its process gives signs of life.
func (p *Plugin) Runtime() pluginv1.RuntimeClient { return p.runtime }

// close exports the plugin's spans and ends it.
func (p *Plugin) close(ctx context.Context) {
	if p.manager.opts.Telemetry != nil && !p.proc.hasExited() {
		// Before Kill: afterwards the plugin's spans are lost.
		c, cancel := context.WithTimeout(ctx, 2*time.Second)
		if _, err := p.plugin.Flush(c, &pluginv1.FlushRequest{}); err != nil {
			p.manager.opts.Logger.Debug("a plugin's spans were not exported", "plugin", p.ref.Name, "error", err)
		}
		cancel()
	}
	p.release()
}
