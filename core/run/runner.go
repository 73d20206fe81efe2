package run

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/telemetry"
)

// Runner carries out one recipe.
type Runner struct {
	Session *plan.Session
	Tracer  trace.Tracer
	// Telemetry takes metrics and the logs of steps; nil drops them.
	Telemetry *telemetry.Provider
	Sink      Sink
	// ID is the run's, unique beside the recipe.
	ID string
	// Limits bound what works at once.
	Limits Limits
	// FailFast has the first failure stop everything else.
	FailFast bool
	// PublishFailed writes the outputs although an ensure did not hold.
	PublishFailed bool
	// Told are the warnings that the plan gave already.
	Told diag.Diags
	// LogDir is where each step's log goes; empty writes none. Redact removes what may not show.
	LogDir string
	Redact func(string) string

	nodes   map[string]*recipe.Node
	actions map[string]*prepared
	logs    logs

	mu     sync.Mutex
	record *report.Run
	diags  diag.Diags
	values map[string]*outputValue
}

// prepared is an action that was resolved, or why it could not be.
type prepared struct {
	action *plan.Action
	err    error
}

// Run does everything that the cache does not hold, in the order of the graph, then publishes the outputs as one set.
// The record tells how each action ended; the diagnostics why some did not succeed.
func (r *Runner) Run(ctx context.Context) (*report.Run, diag.Diags) {
	s := r.Session
	started := time.Now()
	r.record = &report.Run{Schema: report.Schema, ID: r.ID, Recipe: s.Recipe.Path, Version: s.Version, Started: started.UTC(), Status: "ok"}
	r.values, r.nodes, r.actions = map[string]*outputValue{}, map[string]*recipe.Node{}, map[string]*prepared{}
	r.logs = logs{dir: r.LogDir, redact: r.Redact}
	defer r.logs.close()
	var graph []Node
	for _, n := range s.Program.Nodes() {
		r.nodes[n.Addr] = n
		graph = append(graph, Node{Name: n.Addr, Deps: n.Deps})
	}
	r.emit(Event{Type: "run", ID: r.ID, Recipe: s.Recipe.Path, Version: s.Version})
	outcomes := Schedule(ctx, graph, r.Limits, r.FailFast, r)
	failed, stopped := false, ctx.Err() != nil
	for _, n := range graph {
		switch o := outcomes[n.Name]; o {
		case Skipped, Stopped:
			r.leave(ctx, r.nodes[n.Name], o)
		case Failed:
			failed = true
		}
	}
	missed := slices.ContainsFunc(r.record.Evaluations, func(e report.Evaluation) bool {
		return slices.ContainsFunc(e.Ensures, func(c report.Ensure) bool { return !c.OK })
	})
	if !failed && !stopped && (!missed || r.PublishFailed) {
		failed = !r.publish(ctx)
		stopped = ctx.Err() != nil
	} else {
		r.withhold()
	}
	order := map[string]int{}
	for i, n := range graph {
		order[n.Name] = i
	}
	slices.SortStableFunc(r.record.Actions, func(a, b report.Action) int { return cmp.Compare(order[a.Addr], order[b.Addr]) })
	switch {
	case stopped:
		r.record.Status, r.record.ExitCode = "stopped", 130
	case failed:
		r.record.Status, r.record.ExitCode = "failed", 1
	case missed:
		r.record.Status, r.record.ExitCode = "ensure_failed", 3
	}
	r.record.Duration = time.Since(started)
	return r.record, r.diags
}

func (r *Runner) emit(e Event) {
	e.Schema, e.Time = EventSchema, time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Sink != nil {
		r.Sink(e)
	}
}

// report adds diagnostics and gives an error when one of them is an error.
func (r *Runner) report(ds diag.Diags) error {
	ds = ds.Without(r.Told)
	r.mu.Lock()
	r.diags = r.diags.Append(ds...)
	r.mu.Unlock()
	return ds.Err()
}

// fault reports what went wrong, unless the run was stopped: then that is the reason, and no fault.
func (r *Runner) fault(ctx context.Context, ds diag.Diags) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.report(ds)
}

// leave notes a node that did not get to its end.
func (r *Runner) leave(ctx context.Context, n *recipe.Node, o Outcome) {
	a := report.Action{Addr: n.Addr, Kind: n.Kind, Type: n.Type, Status: o.String()}
	r.record.Actions = append(r.record.Actions, a)
	if o == Skipped {
		_, span := r.Tracer.Start(ctx, spanName(n), trace.WithAttributes(r.taskAttributes(n)...))
		span.SetAttributes(attribute.String(telemetry.AttrStatus, a.Status), attribute.String(telemetry.AttrTaskResult, "skip"))
		span.End()
	}
	r.emit(Event{Type: "end", Addr: n.Addr, StepType: a.Type, Status: a.Status})
}

// Prepare resolves a node now that everything before it is known, and tells what its work takes.
func (r *Runner) Prepare(ctx context.Context, addr string) (Need, error) {
	a, ds := r.Session.Resolve(ctx, r.nodes[addr])
	p := &prepared{action: a, err: r.report(ds)}
	r.actions[addr] = p // the scheduler prepares one at a time, and works on a node afterwards
	if p.err != nil || len(a.Missing) > 0 {
		return Need{Free: true}, nil // Do tells
	}
	return needOf(a, r.Session.Threads), nil
}

// needOf is what an action takes of the machine.
func needOf(a *plan.Action, threads int64) Need {
	switch {
	case a.Status != plan.Run && a.Status != plan.Measure:
		return Need{Free: true}
	case a.Kind == recipe.KindEvaluate:
		return Need{Cores: threads, Alone: a.Timed}
	case a.Needs != nil:
		return Need{Cores: a.Needs.Cores, Memory: a.Needs.Memory}
	}
	return Need{}
}

// Do does one node: it is worked on when the store does not hold its result.
func (r *Runner) Do(ctx context.Context, addr string) (err error) {
	n, p := r.nodes[addr], r.actions[addr]
	started := time.Now()
	ctx, span := r.Tracer.Start(ctx, spanName(n), trace.WithAttributes(r.taskAttributes(n)...))
	act := report.Action{Addr: n.Addr, Kind: n.Kind, Type: n.Type, Status: "failed"}
	defer func() {
		act.Duration = time.Since(started)
		if err != nil && ctx.Err() != nil {
			// The stop, not the action, is the reason.
			act.Status = "stopped"
			err = context.Canceled
		}
		if err != nil {
			span.SetStatus(codes.Error, r.clean(err.Error()))
		}
		span.SetAttributes(attribute.String(telemetry.AttrStatus, act.Status), attribute.String(telemetry.AttrTaskResult, taskResult(act.Status, err)))
		span.End()
		if act.Status == "stopped" {
			return // Run notes it with the others
		}
		r.mu.Lock()
		r.record.Actions = append(r.record.Actions, act)
		r.mu.Unlock()
		count := telemetry.Action{Kind: act.Kind, Status: act.Status, StepType: act.Type, Plugin: act.Plugin, Duration: act.Duration}
		for _, o := range act.Outputs {
			count.Size += o.Size
		}
		r.Telemetry.Count(ctx, count)
		if n.Kind != recipe.KindOutput {
			r.emit(Event{Type: "end", Addr: n.Addr, StepType: act.Type, Status: act.Status, Duration: act.Duration, Result: act.Result})
		}
	}()
	defer r.recovered(n, &err)
	if p.err != nil {
		return p.err
	}
	a := p.action
	act.Plugin, act.PluginVersion = a.Plugin, a.PluginVersion
	act.Key, act.Reasons, act.Fingerprint = a.Sum, a.Reasons, a.Fingerprint
	if len(a.Missing) > 0 {
		m := a.Missing[0]
		return r.report(diag.Diags{diag.At(n.Range, "run/missing", m.What+" is not installed", "Bring it with `%s`.", m.Command)})
	}
	switch n.Kind {
	case recipe.KindDataset:
		err = r.dataset(ctx, n, a, &act)
	case recipe.KindStep:
		err = r.step(ctx, n, a, &act)
	case recipe.KindEvaluate:
		err = r.evaluate(ctx, n, a, &act)
	case recipe.KindOutput:
		err = r.output(n)
		act.Status = "done"
	default:
		act.Status = "done"
	}
	if a.Record != nil {
		act.Outputs, act.Result = a.Record.Outputs, a.Record.Result
		span.SetAttributes(attribute.Bool(telemetry.AttrCached, act.Status == "cached"))
	}
	span.SetAttributes(attribute.String(telemetry.AttrPlugin, a.Plugin), attribute.String(telemetry.AttrStepType, a.Type), attribute.String(telemetry.AttrKey, a.Sum))
	return err
}

// taskAttributes are what a span says of its node from the beginning.
func (r *Runner) taskAttributes(n *recipe.Node) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String(telemetry.AttrAddr, n.Addr), attribute.String(telemetry.AttrTaskName, n.Addr),
		attribute.String(telemetry.AttrTaskRunID, r.ID+"/"+n.Addr),
	}
}

// taskResult is a status in the words of the semantic conventions.
func taskResult(status string, err error) string {
	switch {
	case err == nil:
		return "success"
	case errors.Is(err, errTimeout):
		return "timeout"
	case status == "stopped":
		return "cancellation"
	}
	return "failure"
}

func spanName(n *recipe.Node) string { return n.Kind + " " + strings.TrimPrefix(n.Addr, n.Kind+".") }

// asDiags turns any error into diagnostics at a node.
func asDiags(n *recipe.Node, summary string, err error) diag.Diags {
	var ds diag.Diags
	if errors.As(err, &ds) {
		return ds
	}
	d := diag.At(n.Range, "", summary, "%s", err)
	d.Step = n.Addr
	return diag.Diags{d}
}
