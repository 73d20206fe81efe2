package telemetry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"path/filepath"
	"runtime"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// tokenHeader proves that a sender is one of our plugins. The socket's folder does so already, a loopback port does not.
const tokenHeader = "optimize-token"

// relay is the host as an OTLP receiver: the standard services, so that the stock exporters of any language work.
type relay struct {
	server   *grpc.Server
	dir      string // of the socket
	remove   func() // removes it
	endpoint string
	token    string
}

// listen opens a unix socket in a folder of ours alone; on Windows, whose gRPC libraries disagree about unix sockets, a
// loopback port.
func listen(h *hub) (*relay, error) { return listenOn(h, runtime.GOOS == "windows") }

func listenOn(h *hub, loopback bool) (*relay, error) {
	r := &relay{token: rand.Text()}
	network, addr := "tcp", "127.0.0.1:0"
	if !loopback {
		dir, remove, err := SocketDir("optimize-otlp-")
		if err != nil {
			return nil, fmt.Errorf("no socket for the traces of plugins: %w", err)
		}
		network, r.dir, r.remove, addr = "unix", dir, remove, filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("no socket for the traces of plugins: %w", err)
	}
	r.endpoint = "unix://" + addr
	if loopback {
		r.endpoint = "http://" + l.Addr().String()
	}
	r.server = grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.UnaryInterceptor(r.check))
	coltrace.RegisterTraceServiceServer(r.server, traceService{hub: h})
	colmetrics.RegisterMetricsServiceServer(r.server, metricsService{hub: h})
	collogs.RegisterLogsServiceServer(r.server, logsService{hub: h})
	go func() { _ = r.server.Serve(l) }() // ends with close
	return r, nil
}

func (r *relay) check(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	got := metadata.ValueFromIncomingContext(ctx, tokenHeader)
	if len(got) != 1 || subtle.ConstantTimeCompare([]byte(got[0]), []byte(r.token)) != 1 {
		return nil, status.Error(codes.Unauthenticated, "this receiver is for the plugins of one run")
	}
	return handle(ctx, req)
}

func (r *relay) close() {
	if r == nil {
		return
	}
	if r.server != nil {
		r.server.Stop()
	}
	if r.remove != nil {
		r.remove()
	}
}
