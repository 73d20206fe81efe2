package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
)

func (a *app) planCommand() *cobra.Command {
	var f recipeFlags
	var out string
	c := &cobra.Command{
		Use:   "plan [RECIPE]",
		Short: "Show what apply would do",
		Long: `Show what apply would run, what the cache holds already, and for everything else
which field of its key changed. Nothing is run; plugins may look at the machine.
Times and sizes are those of earlier runs.

With --out the plan is saved: apply carries a saved plan out exactly, or says what
has changed since.`,
		Example: "  optimize plan recipe.hcl\n  optimize plan recipe.hcl --var max_drop=0.01 --json\n  optimize plan recipe.hcl --target step.int8\n  optimize plan recipe.hcl --out plan.json && optimize apply plan.json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := recipePath(args)
			if err != nil {
				return err
			}
			if err := f.bounds(cmd); err != nil {
				return err
			}
			return a.plan(cmd.Context(), path, &f, out)
		},
	}
	f.register(c)
	f.registerPlan(c)
	c.Flags().StringVar(&out, "out", "", "save the plan to this file, for apply")
	return c
}

func (a *app) plan(ctx context.Context, path string, f *recipeFlags, out string) error {
	w, err := a.open(ctx, path, f, false)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	p, ds := w.build(ctx)
	if ds.HasErrors() {
		a.printDiags(ds, w.recipe.Files)
		return errPrinted
	}
	if out != "" {
		if err := w.save(p, f, out); err != nil {
			return err
		}
	}
	if a.json {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(p)
	}
	s := report.Style{Color: a.color(a.stdout)}
	writePlan(a.stdout, s, p)
	if out != "" {
		fmt.Fprintf(a.stdout, "Saved to %s. Carry it out with `optimize apply %s`.\n", out, quoteArg(out))
	}
	return nil
}

// build makes the plan of an opened recipe; the warnings are in it and in the diagnostics.
func (w *work) build(ctx context.Context) (*plan.Plan, diag.Diags) {
	p, ds := w.session.Build(ctx)
	p.Left = w.left
	ds = ds.Append(w.room(p)...)
	all := w.warnings.Append(ds...).Sorted()
	if len(all) > 0 {
		p.Diagnostics = (&diag.Renderer{Files: w.recipe.Files, Hide: w.app.secrets}).Document(all).Diagnostics
	}
	return p, ds
}

// writePlan writes a line for each action, with the reasons of a miss and the warnings below it, and a sum.
func writePlan(w io.Writer, s report.Style, p *plan.Plan) {
	width := 0
	for _, x := range p.Actions {
		width = max(width, len(x.Addr))
	}
	for _, x := range p.Actions {
		word := map[plan.Status]string{
			plan.Cached: s.Green("cached "), plan.Run: s.Yellow("run    "), plan.Pending: s.Yellow("pending"), plan.Measure: s.Yellow("measure"),
			plan.Read: s.Faint("read   "), plan.Publish: s.Faint("publish"),
		}[x.Status]
		note := strings.Join(slices.DeleteFunc([]string{x.Type, planNote(x)}, func(s string) bool { return s == "" }), "  ")
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %s  %-*s  %s", word, width, x.Addr, note), " "))
		for _, c := range x.Reasons {
			fmt.Fprintf(w, "             %s\n", c)
		}
		for _, d := range p.Diagnostics {
			if d.Step == x.Addr && d.Severity == "warning" {
				writeWarning(w, s, d)
			}
		}
	}
	t := p.Summary
	fmt.Fprintf(w, "\nPlan: %d to run, %d cached, %d pending.%s\n", t.Run, t.Cached, t.Pending, leftOut(p.Left))
	if works := t.Run + t.Pending; works > 0 {
		fmt.Fprintln(w, estimate(t))
	}
	for _, d := range p.Diagnostics {
		if d.Step == "" && (d.Code == codeSpace || d.Code == codeReadOnly) {
			fmt.Fprintln(w)
			writeWarning(w, s, d)
		}
	}
	for _, m := range p.Missing() {
		fmt.Fprintf(w, "%s %s: bring it with `%s`.\n", s.Red("Missing:"), m.What, m.Command)
	}
}

// planNote says in a few words what is known of an action.
func planNote(x *plan.Action) string {
	var notes []string
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	earlier := func() {
		switch {
		case x.Kind == recipe.KindEvaluate && x.LastDuration > 0: // a benchmark says how long it takes, also the first time
			add("takes about %s", round(x.LastDuration))
		case x.LastDuration > 0 && x.Size > 0:
			add("last time %s in %s", report.Bytes(x.Size), round(x.LastDuration))
		case x.LastDuration > 0:
			add("last time %s", round(x.LastDuration))
		}
	}
	switch x.Status {
	case plan.Cached:
		if x.Size > 0 {
			add("%s", report.Bytes(x.Size))
		}
		if x.LastDuration > 0 {
			add("took %s", round(x.LastDuration))
		}
	case plan.Run, plan.Measure:
		if x.Why != "" {
			add("%s", x.Why)
		}
		earlier()
	case plan.Pending:
		if x.Forced {
			add("%s", x.Why)
		}
		add("known after %s", strings.Join(x.After, ", "))
		earlier()
	case plan.Read:
		add("%s", shortPath(x.Path))
		add("%s", report.Bytes(x.Size))
	case plan.Publish:
		if x.Path != "" {
			add("%s", shortPath(x.Path))
		}
		if x.Size > 0 && len(x.After) == 0 {
			add("%s", report.Bytes(x.Size))
		}
		if len(x.After) > 0 {
			add("known after %s", strings.Join(x.After, ", "))
		}
	}
	for _, m := range x.Missing {
		add("lacks %s", m.What)
	}
	// What any machine has is not worth a word; the JSON has all of it.
	if n := x.Needs; n != nil && x.Status != plan.Cached && n.Memory >= 1e9 {
		add("needs %s of memory", report.Bytes(n.Memory))
	}
	return strings.Join(notes, "; ")
}

func writeWarning(w io.Writer, s report.Style, d diag.JSONDiag) {
	at := ""
	if d.Range != nil {
		at = fmt.Sprintf(" (%s line %d)", d.Range.Filename, d.Range.Start.Line)
	}
	fmt.Fprintf(w, "           %s %s%s\n", s.Yellow("Warning:"), d.Summary, at)
	for line := range strings.Lines(d.Detail) {
		fmt.Fprintf(w, "             %s\n", strings.TrimSpace(line))
	}
}

// estimate says how long it takes and what is written, by earlier runs.
func estimate(t plan.Summary) string {
	var parts []string
	switch works := t.Run + t.Pending; {
	case t.Unknown == works:
		parts = append(parts, "No earlier run tells how long it takes.")
	case t.Unknown > 0:
		parts = append(parts, fmt.Sprintf("Work: about %s, and %d that never ran.", round(t.Estimate), t.Unknown))
	default:
		parts = append(parts, fmt.Sprintf("Work: about %s.", round(t.Estimate)))
	}
	var bytes []string
	if t.Store > 0 {
		bytes = append(bytes, report.Bytes(t.Store)+" to the cache")
	}
	if t.Outputs > 0 {
		bytes = append(bytes, report.Bytes(t.Outputs)+" to outputs")
	}
	if len(bytes) > 0 {
		parts = append(parts, "Written: about "+strings.Join(bytes, ", ")+".")
	}
	return strings.Join(parts, " ")
}

// leftOut names what --target leaves out, as a sentence.
func leftOut(left []string) string {
	if len(left) == 0 {
		return ""
	}
	return " Left out by --target: " + strings.Join(left, ", ") + "."
}

// round keeps about three digits of a duration.
func round(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= 10*unit {
			return d.Round(unit / 10)
		}
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}
