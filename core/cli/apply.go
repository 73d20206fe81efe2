package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/telemetry"
)

func (a *app) applyCommand() *cobra.Command {
	var f recipeFlags
	c := &cobra.Command{
		Use:   "apply [RECIPE|PLAN]",
		Short: "Run a recipe: do what is not cached, measure, check the budgets, write the outputs",
		Long: `Run a recipe. Steps whose result is in the cache are not run again. Candidates are
measured against their baseline, latency side by side in this run. When an ensure
does not hold, nothing is written and the exit code is 3.

A plan that ` + "`optimize plan --out`" + ` saved is carried out exactly, or refused with what has
changed since. A step that fails skips what depends on it; the others finish.`,
		Example: "  optimize apply recipe.hcl\n  optimize apply recipe.hcl --var max_drop=0.01\n  optimize apply recipe.hcl --json --reuse-benchmarks\n  optimize apply recipe.hcl --target step.int8 --refresh step.int8\n  optimize apply plan.json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := recipePath(args)
			if err != nil {
				return err
			}
			if err := f.bounds(cmd); err != nil {
				return err
			}
			given := path
			if path, err = f.takeSaved(cmd, path); err != nil {
				return err
			}
			return a.apply(cmd.Context(), path, given, &f)
		},
	}
	f.register(c)
	f.registerPlan(c)
	f.registerApply(c)
	return c
}

// apply runs a recipe. given is the argument, which may be a saved plan of it.
func (a *app) apply(ctx context.Context, path, given string, f *recipeFlags) error {
	if err := checkReports(f.reports); err != nil {
		return err
	}
	a.events = true
	view, shown := a.show()
	defer shown()
	w, err := a.open(ctx, path, f, true)
	if err != nil {
		return err
	}
	closed := sync.OnceFunc(func() { w.close(ctx) })
	defer closed()

	ctx, span := w.ctx, w.span
	w.registry.Warm(ctx, w.plugins()...)
	view.Status("planning")
	// The whole plan is made first, so that a mistake in the last step shows before the first one runs.
	p, ds := w.build(ctx)
	if ctx.Err() != nil {
		endRun(span, "cancellation")
		return diag.Errorf("run/stopped", "Stopped by a signal", "Nothing was run. Apply again.")
	}
	if ds.HasErrors() {
		endRun(span, "failure")
		a.printDiags(ds, w.recipe.Files)
		return errPrinted
	}
	if f.saved != nil {
		if why := f.saved.CheckPlan(p); why != nil {
			endRun(span, "failure")
			return a.stale(f, why)
		}
	}
	if ds := w.missing(p); len(ds) > 0 {
		endRun(span, "failure")
		a.printDiags(ds, w.recipe.Files)
		return errPrinted
	}
	news := ds
	if !a.json {
		news = ds.Without(w.warnings) // those are on the terminal already
	}
	if len(news) > 0 {
		a.printDiags(news, w.recipe.Files)
	}
	view.Expect(w.actions())
	r := &run.Runner{
		Session: w.session, Tracer: w.tracing.Tracer(), Telemetry: w.tracing, Sink: view.Event, ID: w.runID, Limits: f.limits, FailFast: f.failFast,
		PublishFailed: f.publishFailed, Told: ds, LogDir: filepath.Join(w.runDir, "logs"), Redact: a.redact,
	}
	rec, rds := r.Run(ctx)
	if !a.json {
		shown()
	}
	if rec.Status == "stopped" {
		rds = nil // what the stop broke off is no mistake of the recipe
	}
	rec.Left = w.left
	rec.Diagnostics = a.document(w, slices.Concat(ds, rds))
	rec.TraceID = span.SpanContext().TraceID().String()
	endRun(span, map[string]string{"ok": "success", "failed": "failure", "ensure_failed": "failure", "stopped": "cancellation"}[rec.Status])
	werr := rec.Write(w.runDir)
	closed()
	if err := w.tracing.UploadError(); err != nil {
		fmt.Fprintf(a.stderr, "Warning: not all spans reached the collector: %s\n", err)
	}
	if len(rds) > 0 {
		a.printDiags(rds, w.recipe.Files)
	}
	rerr := writeReports(f.reports, rec)
	if a.json {
		e := run.NewEvent("result")
		e.Run = rec
		view.Event(e)
	} else {
		a.lastLine(w, rec, given)
	}
	a.exit = rec.ExitCode
	if werr != nil {
		return recordError(w.runDir, werr)
	}
	if rerr != nil {
		return rerr
	}
	if rec.ExitCode == ExitFailed {
		return errPrinted
	}
	return nil
}

// plugins are those that this run will need: of the steps, and when something is measured, all that the recipe names.
func (w *work) plugins() []string {
	names := w.session.Program.Plugins()
	for _, n := range w.session.Program.Nodes() {
		if n.Kind == recipe.KindEvaluate {
			for _, p := range w.recipe.RequiredPlugins {
				names = append(names, p.Name)
			}
			break
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func endRun(span trace.Span, result string) {
	span.SetAttributes(attribute.String(telemetry.AttrRunResult, result))
	if result != "success" {
		span.SetStatus(codes.Error, result)
	}
	span.End()
}

// missing says for each action what the machine lacks for it.
func (w *work) missing(p *plan.Plan) (ds diag.Diags) {
	at := map[string]hcl.Range{}
	for _, n := range w.session.Program.Nodes() {
		at[n.Addr] = n.Range
	}
	told := map[plan.Missing]bool{}
	for _, x := range p.Actions {
		for _, m := range x.Missing {
			if !told[m] {
				told[m] = true
				d := diag.At(at[x.Addr], "run/missing", m.What+" is not installed", "%s needs it. Bring it with `%s`.", x.Addr, m.Command)
				d.Step = x.Addr
				ds = ds.Append(d)
			}
		}
	}
	return ds
}
