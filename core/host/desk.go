package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Services is what a step may ask of the core while it works. Its errors are faults of the core; what is wrong with a
// candidate is a diagnostic in the answer.
type Services interface {
	Evaluate(ctx context.Context, r *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error)
	Race(ctx context.Context, r *pluginv1.RaceRequest) (*pluginv1.RaceResponse, error)
	ReadCoverage(ctx context.Context, r *pluginv1.ReadCoverageRequest) (*pluginv1.ReadCoverageResponse, error)
}

// desk is where steps ask: the service Host on a socket of ours, shared by all plugins of a run. A token tells whose call
// it is, and is good for one Apply.
type desk struct {
	pluginv1.UnimplementedHostServer
	dir     string // of the socket
	remove  func() // removes it
	address string
	server  *grpc.Server

	mu    sync.Mutex
	calls map[string]*call
}

// call is an Apply that may ask.
type call struct {
	ctx      context.Context // ends with the Apply
	services Services
}

// openDesk listens on a unix socket in a folder of ours alone; on Windows on a loopback port, where the token alone
// proves that a caller is one of our plugins.
func openDesk(t *telemetry.Provider) (*desk, error) { return openDeskOn(t, runtime.GOOS == "windows") }

func openDeskOn(t *telemetry.Provider, loopback bool) (*desk, error) {
	d := &desk{calls: map[string]*call{}}
	network, addr := "tcp", "127.0.0.1:0"
	if !loopback {
		dir, remove, err := telemetry.SocketDir("optimize-host-")
		if err != nil {
			return nil, err
		}
		network, d.dir, d.remove, addr = "unix", dir, remove, filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		d.close()
		return nil, err
	}
	d.address = "unix://" + addr
	if loopback {
		d.address = l.Addr().String()
	}
	options := append(t.ServerOptions(), grpc.MaxRecvMsgSize(pluginv1.MaxWireMessage), grpc.MaxSendMsgSize(pluginv1.MaxWireMessage))
	d.server = grpc.NewServer(options...)
	pluginv1.RegisterHostServer(d.server, d)
	go func() { _ = d.server.Serve(l) }() // ends with close
	return d, nil
}

func (d *desk) close() {
	if d == nil {
		return
	}
	if d.server != nil {
		d.server.Stop()
	}
	if d.remove != nil {
		d.remove()
	}
}

// admit lets an Apply ask until release is called, which also ends what is still being worked on for it.
func (d *desk) admit(ctx context.Context, s Services) (endpoint *pluginv1.HostEndpoint, release func()) {
	token := rand.Text()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.mu.Lock()
	d.calls[token] = &call{ctx, s}
	d.mu.Unlock()
	return &pluginv1.HostEndpoint{Address: d.address, Token: token}, func() {
		d.mu.Lock()
		delete(d.calls, token)
		d.mu.Unlock()
		cancel()
	}
}

// serve finds the Apply that a request belongs to and works for it as long as both last.
func serve[T any](d *desk, ctx context.Context, work func(context.Context, Services) (T, error)) (T, error) {
	var none T
	got := metadata.ValueFromIncomingContext(ctx, pluginv1.TokenHeader)
	d.mu.Lock()
	var c *call
	if len(got) == 1 {
		c = d.calls[got[0]]
	}
	d.mu.Unlock()
	if c == nil {
		return none, status.Error(codes.Unauthenticated, "this step has ended, or the token is not the one that its ApplyRequest carried")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	out, err := work(ctx, c.services)
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return none, status.Error(codes.Canceled, "the step was stopped")
	case errors.Is(err, errInvalid):
		return none, status.Error(codes.InvalidArgument, err.Error())
	}
	return none, status.Error(codes.Internal, err.Error())
}

var errInvalid = errors.New("the request is not valid")

// InvalidRequest makes the error of [Services] for a request that breaks the protocol.
func InvalidRequest(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errInvalid, fmt.Sprintf(format, args...))
}

func (d *desk) Evaluate(ctx context.Context, r *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
	return serve(d, ctx, func(ctx context.Context, s Services) (*pluginv1.EvaluateResponse, error) { return s.Evaluate(ctx, r) })
}

func (d *desk) Race(ctx context.Context, r *pluginv1.RaceRequest) (*pluginv1.RaceResponse, error) {
	return serve(d, ctx, func(ctx context.Context, s Services) (*pluginv1.RaceResponse, error) { return s.Race(ctx, r) })
}

func (d *desk) ReadCoverage(ctx context.Context, r *pluginv1.ReadCoverageRequest) (*pluginv1.ReadCoverageResponse, error) {
	return serve(d, ctx, func(ctx context.Context, s Services) (*pluginv1.ReadCoverageResponse, error) {
		return s.ReadCoverage(ctx, r)
	})
}

// desk gives the run's desk, opening it for the first step that may ask.
func (m *Manager) openDesk() (*desk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed
	}
	if m.desk == nil {
		d, err := openDesk(m.opts.Telemetry)
		if err != nil {
			return nil, fmt.Errorf("there is no socket on which steps could ask the core: %w", err)
		}
		m.desk = d
	}
	return m.desk, nil
}
