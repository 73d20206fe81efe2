package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
)

func (a *app) planCommand() *cobra.Command {
	var f recipeFlags
	c := &cobra.Command{
		Use:   "plan [RECIPE]",
		Short: "Show what apply would do",
		Long: `Show what apply would run, what the cache holds already, and for everything else
which field of its key changed. Nothing is run; plugins may look at the machine.`,
		Example: "  optimize plan recipe.hcl\n  optimize plan recipe.hcl --var max_drop=0.01 --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := recipePath(args)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			w, err := a.open(ctx, path, &f, false)
			if err != nil {
				return err
			}
			defer w.close(ctx)
			p, ds := w.session.Build(ctx)
			if len(ds) > 0 && (!a.json || ds.HasErrors()) {
				a.printDiags(ds, w.recipe.Files)
			}
			if ds.HasErrors() {
				return errPrinted
			}
			if a.json {
				e := json.NewEncoder(a.stdout)
				e.SetIndent("", "  ")
				return e.Encode(p)
			}
			writePlan(a.stdout, report.Style{Color: a.color(a.stdout)}, p)
			return nil
		},
	}
	f.register(c)
	c.Flags().BoolVar(&f.reuseBenchmarks, "reuse-benchmarks", false, "plan with the latencies of an earlier run")
	return c
}

// writePlan writes a line for each action, with the reasons of a miss below it, and a sum.
func writePlan(w io.Writer, s report.Style, p *plan.Plan) {
	width := 0
	for _, x := range p.Actions {
		width = max(width, len(x.Addr))
	}
	for _, x := range p.Actions {
		var word, note string
		switch x.Status {
		case plan.Cached:
			word, note = s.Green("cached "), sizeAndTime(x)
		case plan.Run:
			word = s.Yellow("run    ")
			if x.FirstRun {
				note = "no earlier run"
			}
		case plan.Pending:
			word, note = s.Yellow("pending"), "known after "+strings.Join(x.After, ", ")
		case plan.Measure:
			word, note = s.Yellow("measure"), "quality is cached, latency is measured again"
		case plan.Read:
			word, note = s.Faint("read   "), x.Path
		case plan.Publish:
			word, note = s.Faint("publish"), x.Path
		}
		if x.Type != "" {
			note = strings.TrimSuffix(x.Type+"  "+note, "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %s  %-*s  %s", word, width, x.Addr, note), " "))
		for _, c := range x.Reasons {
			fmt.Fprintf(w, "             %s\n", c)
		}
	}
	fmt.Fprintf(w, "\nPlan: %d to run, %d cached, %d pending.\n",
		p.Count(plan.Run, "step", "dataset", "evaluate")+p.Count(plan.Measure, "evaluate"), p.Count(plan.Cached, "step", "dataset", "evaluate"), p.Count(plan.Pending, "step", "evaluate"))
	for _, m := range p.Missing() {
		fmt.Fprintf(w, "%s %s: bring it with `%s`.\n", s.Red("Missing:"), m.What, m.Command)
	}
}

func sizeAndTime(x *plan.Action) string {
	if x.Record == nil {
		return ""
	}
	return fmt.Sprintf("%s, took %s", report.Bytes(x.Size), round(x.LastDuration))
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
