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
	Sink    Sink
	// ID is the run's, unique beside the recipe.
	ID string
	// Parallelism is how many actions may work at once.
	Parallelism int
	// PublishFailed writes the outputs although an ensure did not hold.
	PublishFailed bool

	mu     sync.Mutex
	record *report.Run
	diags  diag.Diags
	values map[string]*outputValue
}

// Run does everything that the cache does not hold, in the order of the graph, then publishes the outputs as one set.
// The record tells how each action ended; the diagnostics why some did not succeed.
func (r *Runner) Run(ctx context.Context) (*report.Run, diag.Diags) {
	s := r.Session
	started := time.Now()
	r.record = &report.Run{Schema: report.Schema, ID: r.ID, Recipe: s.Recipe.Path, Version: s.Version, Started: started.UTC(), Status: "ok"}
	r.values = map[string]*outputValue{}
	nodes := map[string]*recipe.Node{}
	var graph []Node
	for _, n := range s.Program.Nodes() {
		nodes[n.Addr] = n
		graph = append(graph, Node{Name: n.Addr, Deps: n.Deps})
	}
	outcomes := Schedule(ctx, graph, r.Parallelism, func(ctx context.Context, addr string) error {
		return r.node(ctx, nodes[addr])
	})
	failed, stopped := false, ctx.Err() != nil
	for _, n := range graph {
		switch outcomes[n.Name] {
		case Skipped, Stopped:
			a := report.Action{Addr: n.Name, Kind: nodes[n.Name].Kind, Status: outcomes[n.Name].String()}
			r.record.Actions = append(r.record.Actions, a)
			r.emit(Event{Type: "end", Addr: n.Name, Status: a.Status})
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
	e.Time = time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Sink != nil {
		r.Sink(e)
	}
}

// report adds diagnostics and gives an error when one of them is an error.
func (r *Runner) report(ds diag.Diags) error {
	r.mu.Lock()
	r.diags = r.diags.Append(ds...)
	r.mu.Unlock()
	return ds.Err()
}

// node does one node: it is resolved again now that everything before it is known, and worked on when the store does
// not hold its result.
func (r *Runner) node(ctx context.Context, n *recipe.Node) (err error) {
	started := time.Now()
	ctx, span := r.Tracer.Start(ctx, spanName(n), trace.WithAttributes(attribute.String(telemetry.AttrAddr, n.Addr)))
	act := report.Action{Addr: n.Addr, Kind: n.Kind, Status: "failed"}
	defer func() {
		act.Duration = time.Since(started)
		if err != nil && ctx.Err() != nil {
			// The stop, not the action, is the reason.
			act.Status = "stopped"
			err = context.Canceled
		}
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.SetAttributes(attribute.String(telemetry.AttrStatus, act.Status))
		span.End()
		if act.Status == "stopped" {
			return // Run notes it with the others
		}
		r.mu.Lock()
		r.record.Actions = append(r.record.Actions, act)
		r.mu.Unlock()
		if n.Kind != recipe.KindOutput {
			r.emit(Event{Type: "end", Addr: n.Addr, StepType: act.Type, Status: act.Status, Duration: act.Duration})
		}
	}()
	a, ds := r.Session.Resolve(ctx, n)
	if err := r.report(ds); err != nil {
		return err
	}
	act.Type, act.Plugin, act.PluginVersion = a.Type, a.Plugin, a.PluginVersion
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
		err = r.evaluate(ctx, n, &act)
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
	span.SetAttributes(attribute.String(telemetry.AttrPlugin, a.Plugin), attribute.String(telemetry.AttrKey, a.Sum))
	return err
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
