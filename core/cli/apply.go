package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/telemetry"
)

func (a *app) applyCommand() *cobra.Command {
	var f recipeFlags
	c := &cobra.Command{
		Use:   "apply [RECIPE]",
		Short: "Run a recipe: do what is not cached, measure, check the budgets, write the outputs",
		Long: `Run a recipe. Steps whose result is in the cache are not run again. Candidates are
measured against their baseline, latency side by side in this run. When an ensure
does not hold, nothing is written and the exit code is 3.`,
		Example: "  optimize apply recipe.hcl\n  optimize apply recipe.hcl --var max_drop=0.01\n  optimize apply recipe.hcl --json --reuse-benchmarks",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := recipePath(args)
			if err != nil {
				return err
			}
			if f.parallelism < 1 {
				return usagef("--parallelism is at least 1")
			}
			return a.apply(cmd.Context(), path, &f)
		},
	}
	f.register(c)
	c.Flags().BoolVar(&f.reuseBenchmarks, "reuse-benchmarks", false, "take latencies of an earlier run instead of measuring again")
	c.Flags().BoolVar(&f.publishFailed, "publish-failed", false, "write the outputs although an ensure did not hold")
	c.Flags().IntVar(&f.parallelism, "parallelism", 2, "how many actions may work at once")
	return c
}

func (a *app) apply(ctx context.Context, path string, f *recipeFlags) error {
	w, err := a.open(ctx, path, f, true)
	if err != nil {
		return err
	}
	closed := sync.OnceFunc(func() { w.close(ctx) })
	defer closed()

	ctx, span := w.ctx, w.span
	w.registry.Warm(ctx, w.plugins()...)
	// The whole plan is made first, so that a mistake in the last step shows before the first one runs.
	p, ds := w.session.Build(ctx)
	if ctx.Err() != nil {
		endRun(span, "cancellation")
		return diag.Errorf("run/stopped", "Stopped by a signal", "Nothing was run. Apply again.")
	}
	if ds.HasErrors() {
		endRun(span, "failure")
		a.printDiags(ds, w.recipe.Files)
		return errPrinted
	}
	if m := p.Missing(); len(m) > 0 {
		endRun(span, "failure")
		return diag.Errorf("run/missing", m[0].What+" is not installed", "Bring it with `%s`.", m[0].Command)
	}
	view := a.newView()
	r := &run.Runner{
		Session: w.session, Tracer: w.tracing.Tracer(), Sink: view.event, ID: w.runID, Parallelism: f.parallelism, PublishFailed: f.publishFailed,
	}
	rec, ds := r.Run(ctx)
	if rec.Status == "stopped" {
		ds = nil // what the stop broke off is no mistake of the recipe
	}
	rec.TraceID = span.SpanContext().TraceID().String()
	endRun(span, map[string]string{"ok": "success", "failed": "failure", "ensure_failed": "failure", "stopped": "cancellation"}[rec.Status])
	werr := rec.Write(w.runDir)
	closed()
	if err := w.tracing.UploadError(); err != nil {
		fmt.Fprintf(a.stderr, "Warning: not all spans reached the collector: %s\n", err)
	}
	if a.json {
		if len(ds) > 0 {
			doc := (&diag.Renderer{Files: w.recipe.Files, Hide: a.secrets}).Document(ds.Sorted())
			view.event(run.Event{Type: "diagnostic", Time: time.Now().UTC(), Diagnostics: doc.Diagnostics})
		}
		view.event(run.Event{Type: "result", Time: time.Now().UTC(), Run: rec})
	} else {
		if len(ds) > 0 {
			a.printDiags(ds, w.recipe.Files)
		}
		a.lastLine(w, rec)
	}
	a.exit = rec.ExitCode
	if werr != nil {
		return diag.Errorf("run/record", "The record of this run cannot be written", "%s", werr)
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

// lastLine says how the run ended and what to do.
func (a *app) lastLine(w *work, rec *report.Run) {
	s := report.Style{Color: a.color(a.stdout)}
	took := round(rec.Duration)
	rel := w.runDir
	if wd, err := os.Getwd(); err == nil {
		if r, err := filepath.Rel(wd, w.runDir); err == nil {
			rel = r
		}
	}
	switch rec.Status {
	case "ok":
		fmt.Fprintf(a.stdout, "%s in %s. Record and trace: %s\n", s.Green("Done"), took, rel)
	case "ensure_failed":
		fmt.Fprintf(a.stdout, "%s after %s: an ensure did not hold, so the outputs were not written (--publish-failed writes them). Record and trace: %s\n", s.Red("Missed"), took, rel)
	case "stopped":
		fmt.Fprintf(a.stdout, "%s after %s. What was finished is in the cache: apply goes on from there.\n", s.Yellow("Stopped"), took)
	default:
		for _, x := range rec.Actions {
			if x.Status == "failed" {
				fmt.Fprintf(a.stdout, "%s: %s did not succeed. Record, trace and logs: %s\n", s.Red("Failed"), x.Addr, rel)
				return
			}
		}
		fmt.Fprintf(a.stdout, "%s after %s. Record, trace and logs: %s\n", s.Red("Failed"), took, rel)
	}
}
