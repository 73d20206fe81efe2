package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// startWithin bounds the time from starting a process to its handshake.
const startWithin = 30 * time.Second

// Plugin is a running plugin process.
type Plugin struct {
	ref     Ref
	o       *Options
	process *goplugin.Client
	cmd     *exec.Cmd
	log     *logFile
	client  pluginv1.PluginClient
	runtime pluginv1.RuntimeClient
	ending  sync.Once
	stopped bool // by us: its end is no crash
	mu      sync.Mutex
}

// grpcClient hands out the bare connection.
type grpcClient struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (grpcClient) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host serves no plugin")
}

func (grpcClient) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

func (m *Manager) start(ctx context.Context, ref Ref) (*Plugin, error) {
	dir, err := m.workDir()
	if err != nil {
		return nil, err
	}
	logPath := ""
	if m.o.RunDir != "" {
		logPath = filepath.Join(m.o.RunDir, "logs", ref.Name+".log")
	}
	log, err := openLog(logPath)
	if err != nil {
		return nil, err
	}
	p := &Plugin{ref: ref, o: &m.o, log: log}
	p.cmd = exec.Command(ref.Command[0], ref.Command[1:]...)
	p.cmd.Env = m.env(ctx)
	p.cmd.Dir = dir
	ownGroup(p.cmd)
	p.process = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieVal},
		VersionedPlugins: map[int]goplugin.PluginSet{pluginv1.ProtocolVersion: {pluginv1.SetName: grpcClient{}}},
		Cmd:              p.cmd,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     startWithin,
		Logger:           hclog.NewNullLogger(),
		Stderr:           log,
		SyncStdout:       io.Discard,
		SyncStderr:       io.Discard,
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxWireMessage), grpc.MaxCallSendMsgSize(pluginv1.MaxWireMessage)),
			grpc.WithChainUnaryInterceptor(p.explainUnary),
			grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithFilter(ours),
				otelgrpc.WithTracerProvider(m.o.Telemetry.TracerProvider()), otelgrpc.WithPropagators(propagation.TraceContext{}))),
		},
	})
	c, err := p.process.Client()
	if err != nil {
		return nil, p.startError(err)
	}
	raw, err := c.Dispense(pluginv1.SetName)
	if err != nil {
		return nil, p.startError(err)
	}
	conn := raw.(*grpc.ClientConn)
	p.client, p.runtime = pluginv1.NewPluginClient(conn), pluginv1.NewRuntimeClient(conn)
	return p, nil
}

// ours keeps go-plugin's own calls and our bookkeeping out of the trace.
func ours(i *stats.RPCTagInfo) bool {
	service, method, _ := strings.Cut(strings.TrimPrefix(i.FullMethodName, "/"), "/")
	switch service {
	case pluginv1.Plugin_ServiceDesc.ServiceName:
		return method != "Flush" && method != "Stop" && method != "Describe"
	case pluginv1.Runtime_ServiceDesc.ServiceName:
		return true
	}
	return false
}

// startError says why a process did not become a plugin.
func (p *Plugin) startError(err error) error {
	p.kill()
	what := fmt.Sprintf("plugin %s %s (%s) did not start", p.ref.Name, p.ref.Version, strings.Join(p.ref.Command, " "))
	msg := err.Error()
	switch {
	case strings.Contains(msg, "ncompatible API version"), strings.Contains(msg, "ncompatible core API version"):
		return fmt.Errorf("%s: it speaks another protocol than this version of optimize, which speaks version %d; install a version of the plugin that is made for it", what, pluginv1.ProtocolVersion)
	case strings.Contains(msg, "Unrecognized remote plugin message"), strings.Contains(msg, "plugin exited before we could connect"):
		e := p.crash("start")
		return fmt.Errorf("%s: its first line was no handshake, so it is no plugin, or it ended first\n%w", what, e)
	}
	msg, _, _ = strings.Cut(msg, "\n")
	return fmt.Errorf("%s: %s", what, msg)
}

// explainUnary turns the end of the process during a call into a report of what happened.
func (p *Plugin) explainUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return p.explain(ctx, filepath.Base(method), invoke(ctx, method, req, reply, cc, opts...))
}

func (p *Plugin) explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.Unavailable, codes.Canceled:
		// The connection breaks a moment before the process is known to be gone.
		for range 50 {
			if p.process.Exited() {
				return p.crash(doing)
			}
			time.Sleep(10 * time.Millisecond)
		}
	case codes.Unimplemented:
		return fmt.Errorf("plugin %s %s does not know the call %s", p.ref.Name, p.ref.Version, doing)
	}
	return fmt.Errorf("plugin %s %s: %s: %s", p.ref.Name, p.ref.Version, doing, s.Message())
}

// Validate asks the plugin about a configuration.
func (p *Plugin) Validate(ctx context.Context, r *pluginv1.ValidateRequest) (*pluginv1.ValidateResponse, error) {
	return p.client.Validate(ctx, r)
}

// Plan asks the plugin what a step depends on.
func (p *Plugin) Plan(ctx context.Context, r *pluginv1.PlanRequest) (*pluginv1.PlanResponse, error) {
	return p.client.Plan(ctx, r)
}

// Inspect asks the plugin what is in an artifact.
func (p *Plugin) Inspect(ctx context.Context, r *pluginv1.InspectRequest) (*pluginv1.InspectResponse, error) {
	return p.client.Inspect(ctx, r)
}

// Runtime gives the plugin as something that runs artifacts.
func (p *Plugin) Runtime() pluginv1.RuntimeClient { return p.runtime }

// Apply has the plugin work and tells events as they come. When ctx ends, the plugin is asked to stop and has the
// grace to wind down and answer; after it the process is ended. Diagnostics are what the plugin said about the step.
func (p *Plugin) Apply(ctx context.Context, r *pluginv1.ApplyRequest, event func(*pluginv1.ApplyEvent)) (*pluginv1.Done, []*pluginv1.Diagnostic, error) {
	// A cancelled stream would cut the plugin's last words off.
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := p.client.Apply(sctx, r)
	if err != nil {
		return nil, nil, p.explain(ctx, r.GetStepType(), err)
	}
	type item struct {
		event *pluginv1.ApplyEvent
		err   error
	}
	items := make(chan item)
	go func() {
		for {
			e, err := stream.Recv()
			select {
			case items <- item{e, err}:
			case <-sctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var (
		ds      []*pluginv1.Diagnostic
		done    *pluginv1.Done
		stop    = ctx.Done()
		grace   <-chan time.Time
		silence = time.NewTimer(p.o.Silence)
	)
	defer silence.Stop()
	for {
		select {
		case <-stop:
			stop = nil
			grace = time.After(p.o.Grace)
			go func() { _, _ = p.client.Stop(sctx, &pluginv1.StopRequest{RunId: r.GetRunId()}) }()
		case <-grace:
			p.kill()
			return nil, ds, ctx.Err()
		case <-silence.C:
			p.kill()
			return nil, ds, &HangError{Plugin: p.ref.Name, Version: p.ref.Version, Step: r.GetStepType(), Silence: p.o.Silence, LastLines: p.log.tail(), LogPath: p.log.path}
		case i := <-items:
			silence.Reset(p.o.Silence)
			switch {
			case errors.Is(i.err, io.EOF) && done != nil:
				return done, ds, nil
			case errors.Is(i.err, io.EOF):
				return nil, ds, fmt.Errorf("plugin %s %s ended %s without an answer; this is a fault of the plugin", p.ref.Name, p.ref.Version, r.GetStepType())
			case i.err != nil:
				return nil, ds, p.explain(ctx, r.GetStepType(), i.err)
			case i.event.GetDone() != nil:
				done = i.event.GetDone()
			case i.event.GetDiagnostic() != nil:
				ds = append(ds, i.event.GetDiagnostic())
			case i.event.GetHeartbeat() == nil && event != nil:
				event(i.event)
			}
		}
	}
}

// close flushes and ends the process.
func (p *Plugin) close(ctx context.Context) {
	if !p.process.Exited() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, _ = p.client.Flush(ctx, &pluginv1.FlushRequest{}) // spans of a plugin that cannot answer are lost with it
		cancel()
	}
	p.kill()
	p.log.close()
}

// kill ends the process and what it started.
func (p *Plugin) kill() {
	p.ending.Do(func() {
		p.mu.Lock()
		p.stopped = true
		p.mu.Unlock()
		p.process.Kill()
		killGroup(p.cmd)
	})
}
