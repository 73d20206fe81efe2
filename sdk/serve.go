package sdk

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

const (
	// connectWithin ends a plugin whose host died before it connected.
	connectWithin = time.Minute
	// leaseGrace is what steps get to wind down when the host is gone.
	leaseGrace = 2 * time.Second
)

// Serve serves the plugin to the host that started this process, and returns when the host is done with it. It owns
// stdout from its first line on: what the plugin prints goes to the plugin's log file. The process and its children do
// not outlive the host.
func Serve(p *Plugin) {
	if os.Getenv(pluginv1.MagicCookieKey) != pluginv1.MagicCookieVal {
		if len(os.Args) == 2 && os.Args[1] == debugArgument {
			if err := serveDebug(p); err != nil {
				fmt.Fprintln(os.Stderr, "this plugin cannot be served:", err)
				os.Exit(1)
			}
			return
		}
		fmt.Fprintf(os.Stderr, "%s is a plugin of Optimize and does nothing by itself: name it in a recipe's required_plugins and run `optimize apply`.\nWith the argument %q it waits to be run under a debugger.\n", p.Name, debugArgument)
		os.Exit(2)
	}
	out, err := takeStdio()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot redirect standard output:", err)
		os.Exit(1)
	}
	if err := p.Check(); err != nil {
		fmt.Fprintln(os.Stderr, "this plugin cannot be served:", err)
		os.Exit(1)
	}
	stderr := os.Stderr
	os.Stdout = out // go-plugin prints the handshake there

	t := startTracing(p)
	srv := newServer(p, t.flush)
	var closing atomic.Bool
	l := &lease{}
	l.first = func() {
		t.connected()
		// go-plugin sent both through gRPC, where a crash loses the last lines. The file descriptors cannot.
		os.Stdout, os.Stderr = stderr, stderr
	}
	l.lost = func() {
		srv.stopAll()
		for end := time.Now().Add(leaseGrace); ; {
			time.Sleep(100 * time.Millisecond)
			if closing.Load() { // the host said good-bye: Serve returns by itself
				return
			}
			if srv.idle() || time.Now().After(end) {
				killStrays()
				killGroup()
				os.Exit(1)
			}
		}
	}
	// Until somebody connects there is no lease; a host that dies meanwhile is seen by our parent being another.
	orphaned := orphan()
	go func() {
		for !l.connected.Load() {
			if orphaned() {
				os.Exit(1)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	time.AfterFunc(connectWithin, func() {
		if !l.connected.Load() {
			fmt.Fprintln(stderr, "nobody connected to this plugin: it ends")
			os.Exit(1)
		}
	})
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieVal},
		VersionedPlugins: map[int]goplugin.PluginSet{pluginv1.ProtocolVersion: {pluginv1.SetName: &grpcPlugin{srv: srv}}},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: stderr}),
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			o = append(o, grpc.MaxRecvMsgSize(pluginv1.MaxWireMessage), grpc.MaxSendMsgSize(pluginv1.MaxWireMessage), grpc.StatsHandler(l))
			return grpc.NewServer(append(o, t.serverOptions()...)...)
		},
	})
	closing.Store(true)
	t.close()
}

// grpcPlugin registers our services with go-plugin.
type grpcPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	srv *server
}

func (g *grpcPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	register(s, g.srv)
	return nil
}

func (g *grpcPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("a plugin is no client")
}

// lease ties this process to the host's connection: portable, without polling, and without help from the host.
type lease struct {
	conns     atomic.Int64
	once      sync.Once
	connected atomic.Bool
	first     func()
	lost      func()
}

func (l *lease) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (l *lease) HandleRPC(context.Context, stats.RPCStats)                       {}
func (l *lease) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

func (l *lease) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		l.conns.Add(1)
		l.connected.Store(true)
		l.once.Do(l.first)
	case *stats.ConnEnd:
		if l.conns.Add(-1) == 0 {
			go l.lost()
		}
	}
}
