package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Apply runs a step and hands its events to on, one after the other: progress, log and diagnostics (those are returned
// too). r.RunId may be empty.
//
// When ctx ends, the step is asked to stop and has the grace period to wind down; the returned Done then says Stopped,
// and the error is why ctx ended. A step that does not obey costs the process, and so every other step in it: the error
// is a *StopError. Other errors are *CrashError, *HangError and *CallError. Without an error the step may still have
// failed: see the diagnostics.
//
// The step may ask services while it works; nil offers none.
func (p *Plugin) Apply(ctx context.Context, r *pluginv1.ApplyRequest, services Services, on func(*pluginv1.ApplyEvent)) (*pluginv1.Done, []*pluginv1.Diagnostic, error) {
	if r.RunId == "" {
		r.RunId = rand.Text()
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	// The stream outlives ctx: cancelling it would cut the step off in the middle of its cleaning up.
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if services != nil {
		d, err := p.manager.openDesk()
		if err != nil {
			return nil, nil, err
		}
		var release func()
		r.Host, release = d.admit(sctx, services)
		defer release()
	}
	stream, err := p.plugin.Apply(sctx, r)
	if err != nil {
		return nil, nil, p.explain(sctx, err, "Apply", r.GetStepType())
	}
	a := &apply{plugin: p, req: r, on: on, events: make(chan *pluginv1.ApplyEvent), failed: make(chan error, 1)}
	go func() {
		for {
			e, err := stream.Recv()
			if err != nil {
				a.failed <- err
				return
			}
			select {
			case a.events <- e:
			case <-sctx.Done():
				a.failed <- sctx.Err()
				return
			}
		}
	}()
	return a.wait(ctx, sctx)
}

// apply is one Apply in progress.
type apply struct {
	plugin *Plugin
	req    *pluginv1.ApplyRequest
	on     func(*pluginv1.ApplyEvent)
	events chan *pluginv1.ApplyEvent
	failed chan error

	done  *pluginv1.Done
	diags []*pluginv1.Diagnostic
}

// hangTicks is how often in a row nothing must have come. One long silence by the clock proves nothing: this process may
// have been suspended itself.
const hangTicks = 10

func (a *apply) wait(ctx, sctx context.Context) (*pluginv1.Done, []*pluginv1.Diagnostic, error) {
	o := a.plugin.manager.opts
	tick := time.NewTicker(o.HangTimeout / hangTicks)
	defer tick.Stop()
	cancelled := ctx.Done()
	var grace <-chan time.Time
	silent := 0
	for {
		select {
		case e := <-a.events:
			silent = 0
			if err := a.take(e); err != nil {
				return nil, a.diags, err
			}
		case err := <-a.failed:
			return a.end(ctx, sctx, err)
		case <-cancelled:
			cancelled = nil
			t := time.NewTimer(o.StopGrace)
			defer t.Stop()
			grace = t.C
			go a.stop(sctx)
		case <-grace:
			e := &StopError{Plugin: a.plugin.ref.Name, Version: a.plugin.ref.Version, Step: a.req.GetStepType(), Grace: o.StopGrace, Cause: context.Cause(ctx)}
			a.plugin.proc.end(fmt.Sprintf("ended by optimize, since its step %s did not stop within %s", e.Step, e.Grace))
			return nil, a.diags, e
		case <-tick.C:
			if silent++; silent >= hangTicks && a.plugin.ref.Attach == "" {
				return nil, a.diags, a.hang(o.HangTimeout)
			}
		}
	}
}

func (a *apply) take(e *pluginv1.ApplyEvent) error {
	if a.done != nil {
		return a.plugin.callError("Apply", fmt.Sprintf("step %s sent an event after its last one: report this to the plugin's author", a.req.GetStepType()))
	}
	switch v := e.GetEvent().(type) {
	case *pluginv1.ApplyEvent_Done:
		a.done = v.Done
		return nil
	case *pluginv1.ApplyEvent_Heartbeat, nil: // nil: of a newer protocol
		return nil
	case *pluginv1.ApplyEvent_Diagnostic:
		a.diags = append(a.diags, v.Diagnostic)
	}
	if a.on != nil {
		a.on(e)
	}
	return nil
}

// stop asks the step to wind down. If even that does not get through, the grace period ends it.
func (a *apply) stop(ctx context.Context) {
	c, cancel := context.WithTimeout(ctx, a.plugin.manager.opts.StopGrace)
	defer cancel()
	_, _ = a.plugin.plugin.Stop(c, &pluginv1.StopRequest{RunId: a.req.GetRunId()})
}

// end is the end of the stream.
func (a *apply) end(ctx, sctx context.Context, err error) (*pluginv1.Done, []*pluginv1.Diagnostic, error) {
	switch {
	case a.done != nil: // whatever ended the stream after it
		if a.done.GetStopped() && ctx.Err() != nil {
			return a.done, a.diags, context.Cause(ctx)
		}
		if a.done.GetStopped() {
			return a.done, a.diags, a.plugin.callError("Apply", fmt.Sprintf("step %s stopped although nobody asked it to", a.req.GetStepType()))
		}
		return a.done, a.diags, nil
	case errors.Is(err, io.EOF):
		return nil, a.diags, a.plugin.callError("Apply", fmt.Sprintf("step %s ended without saying how: report this to the plugin's author", a.req.GetStepType()))
	}
	return nil, a.diags, a.plugin.explain(sctx, err, "Apply", a.req.GetStepType())
}

func (a *apply) hang(silence time.Duration) error {
	_, last, path := a.plugin.out.report()
	a.plugin.proc.end(fmt.Sprintf("ended by optimize, since its step %s gave no sign of life for %s", a.req.GetStepType(), silence))
	return &HangError{Plugin: a.plugin.ref.Name, Version: a.plugin.ref.Version, Step: a.req.GetStepType(), Silence: silence, LastLines: last, LogPath: path}
}
