package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// sliceLimit bounds a benchmark's slice: a run of a huge model may take far longer than the slice asks for, but not for
// ever.
func sliceLimit(r *pluginv1.BenchmarkRequest, least time.Duration) time.Duration {
	return max(least, 200*time.Duration(r.GetDurationNs())) + time.Duration(r.GetWarmupRuns())*10*time.Second
}

var (
	errHung = errors.New("hung")
	errSlow = errors.New("too slow")
)

// watched makes a call that has no heartbeats of its own ([silent]): the process is asked for a sign of
// life meanwhile, and a slice of a benchmark has a time limit. A process that hangs is ended.
func (p *Plugin) watched(ctx context.Context, method string, req any, conn grpc.ClientConnInterface, call func(context.Context) error) error {
	if p.ref.Attach != "" {
		return call(ctx)
	}
	o := p.manager.opts
	c, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.Duration(0)
	if b, ok := req.(*pluginv1.BenchmarkRequest); ok {
		limit = sliceLimit(b, o.CallTimeout)
		t := time.AfterFunc(limit, func() { cancel(errSlow) })
		defer t.Stop()
	}
	go p.listen(c, conn, func() { cancel(errHung) })
	err := call(c)
	cause := context.Cause(c)
	if err == nil || ctx.Err() != nil || !errors.Is(cause, errHung) && !errors.Is(cause, errSlow) {
		return err
	}
	name := method[strings.LastIndexByte(method, '/')+1:]
	silence := o.HangTimeout
	if errors.Is(cause, errSlow) {
		silence = limit
	}
	_, last, path := p.out.report()
	p.proc.end(fmt.Sprintf("ended by optimize, since its %s gave no sign of life for %s", name, silence))
	waitFor(p.proc.exited, 2*time.Second, nil) // so that the next call finds a new process
	return &HangError{Plugin: p.ref.Name, Version: p.ref.Version, Step: name, Silence: silence, LastLines: last, LogPath: path}
}

// listen asks for signs of life until ctx ends, and calls silent when many in a row did not come. One long silence by
// the clock proves nothing: this process may have been suspended itself.
func (p *Plugin) listen(ctx context.Context, conn grpc.ClientConnInterface, silent func()) {
	pause := p.manager.opts.HangTimeout / hangTicks
	health := grpc_health_v1.NewHealthClient(conn)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for missed := 0; missed < hangTicks; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c, cancel := context.WithTimeout(ctx, pause)
		_, err := health.Check(c, &grpc_health_v1.HealthCheckRequest{Service: goplugin.GRPCServiceName})
		timedOut := c.Err() != nil
		cancel()
		if missed++; err == nil || !timedOut {
			missed = 0 // an error is an answer too; a process that is gone is told by the call itself
		}
	}
	if ctx.Err() == nil {
		silent()
	}
}
