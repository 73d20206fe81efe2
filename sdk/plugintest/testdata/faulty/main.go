// Command faulty is a plugin that breaks one rule of the contract, the one that its argument names. Without an argument
// it keeps them all.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// fault is the rule that is broken, "" for none.
var fault string

func main() {
	if len(os.Args) < 2 {
		sdk.Serve(good())
		return
	}
	fault = os.Args[1]
	if fault == "list" {
		for _, id := range faults() {
			fmt.Println(id)
		}
		return
	}
	atStart()
	serve()
}

// faults are the rules that this program knows to break: those of its hooks, and those broken elsewhere in it.
func faults() []string {
	all := []string{"start/handshake", "start/quiet", "start/protocol", "start/mtls", "start/strangers", "start/socket", "start/by-hand",
		"start/bare", "start/anywhere", "start/clean", "start/quick", "life/host-gone", "life/host-gone-busy", "life/alone", "life/spans"}
	for id := range describeFaults {
		all = append(all, id)
	}
	for id := range callFaults {
		all = append(all, id)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// atStart breaks the rules of a start.
func atStart() {
	byHand := os.Getenv(pluginv1.MagicCookieKey) == ""
	switch fault {
	case "start/by-hand":
		if byHand {
			os.Exit(0)
		}
	case "start/handshake":
		os.Exit(1)
	case "start/quiet":
		fmt.Println("hello")
	case "start/mtls", "start/strangers":
		_ = os.Unsetenv("PLUGIN_CLIENT_CERT")
	case "start/socket":
		_ = os.Unsetenv("PLUGIN_UNIX_SOCKET_DIR")
		_ = os.Setenv("TMPDIR", "/tmp")
	case "start/bare":
		if os.Getenv("HOME") == "" {
			os.Exit(1)
		}
	case "start/anywhere":
		if err := os.WriteFile("scratch", nil, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "start/clean":
		_ = os.WriteFile("left", nil, 0o644)
	case "start/quick":
		time.Sleep(10500 * time.Millisecond)
	}
}

// serve puts a front before the good plugin that breaks the rule. It has no SDK around it, and so no lease, no look at
// its parent, and no trace.
func serve() {
	l := bufconn.Listen(1 << 20)
	inner := grpc.NewServer()
	sdk.Register(inner, good())
	go func() { _ = inner.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:inner", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	version := pluginv1.ProtocolVersion
	if fault == "start/protocol" {
		version = 7
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieVal},
		VersionedPlugins: map[int]goplugin.PluginSet{version: {pluginv1.SetName: front{conn: conn}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.StatsHandler(&lease{}), grpc.MaxSendMsgSize(64<<20))...)
		},
	})
}

type front struct {
	goplugin.NetRPCUnsupportedPlugin
	conn *grpc.ClientConn
}

func (f front) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pluginv1.RegisterPluginServer(s, &plugin{inner: pluginv1.NewPluginClient(f.conn)})
	pluginv1.RegisterRuntimeServer(s, &runtime{inner: pluginv1.NewRuntimeClient(f.conn)})
	return nil
}

func (front) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("a plugin is no client")
}

// lease ends the process with its host, unless that is the rule to break.
type lease struct{ conns atomic.Int64 }

func (l *lease) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (l *lease) HandleRPC(context.Context, stats.RPCStats)                         {}
func (l *lease) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (l *lease) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		l.conns.Add(1)
	case *stats.ConnEnd:
		if l.conns.Add(-1) == 0 && fault != "life/host-gone" && fault != "life/host-gone-busy" {
			os.Exit(1)
		}
	}
}
