package cli

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/term"
)

// runsList is what runs --json prints.
type runsList struct {
	Schema string    `json:"schema"`
	Dir    string    `json:"dir"`
	Runs   []pastRun `json:"runs"`
}

func (a *app) runsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "runs [RECIPE]",
		Short: "List the runs of a recipe",
		Long: `List the runs of a recipe, the newest first: when, how it ended, how long it took, how
many steps ran, were cached and failed, and how many ensures held. Without a RECIPE,
those of the recipes in this folder. A run that was killed has no record, and is shown
as such.`,
		Example: "  optimize runs\n  optimize runs recipes/digits --json\n  optimize runs prune --keep 20",
		Args:    between(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			base, runs, err := historyOf(path)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.stdout, runsList{"optimize.runs/v1", base, orEmpty(runs)})
			}
			if len(runs) == 0 {
				fmt.Fprintf(a.stdout, "No runs yet in %s: `optimize apply` makes one.\n", shortPath(base))
				return nil
			}
			a.writeRuns(runs)
			fmt.Fprintf(a.stdout, "\n%s in %s. One in full: `optimize show %s`.\n", count(len(runs), "run"), shortPath(base), runs[0].ID)
			return nil
		},
	}
	c.AddCommand(a.runsPruneCommand())
	return c
}

func (a *app) writeRuns(runs []pastRun) {
	rows := [][]string{{"run", "when", "status", "took", "done", "cached", "failed", "ensures", "recipe"}}
	for _, p := range runs {
		row := []string{p.ID, when(p.Started), p.Status, "", "", "", "", "", term.Clean(p.Recipe)}
		if p.record != nil {
			row[3], row[4], row[5], row[6] = round(p.Duration).String(), strconv.Itoa(p.Done), strconv.Itoa(p.Cached), strconv.Itoa(p.Failed)
			if p.Ensures > 0 {
				row[7] = fmt.Sprintf("%d/%d held", p.Held, p.Ensures)
			}
		}
		rows = append(rows, row)
	}
	a.writeColumns(rows)
}

// when writes a time for somebody who looks back: how long ago, or the day.
func when(t time.Time) string {
	if t.IsZero() || time.Since(t) > 14*24*time.Hour {
		return t.Local().Format("2006-01-02")
	}
	return ago(t)
}

// runsPruned is what runs prune --json prints.
type runsPruned struct {
	Schema  string    `json:"schema"`
	Dir     string    `json:"dir"`
	DryRun  bool      `json:"dry_run,omitempty"`
	Removed []pastRun `json:"removed"`
	Kept    int       `json:"kept"`
}

func (a *app) runsPruneCommand() *cobra.Command {
	keep, dry := 20, false
	c := &cobra.Command{
		Use:   "prune [RECIPE]",
		Short: "Remove the records of old runs",
		Long: `Remove the records, traces and logs of old runs and keep the newest. One that goes on is
never removed. Results are in the cache and stay there: see optimize cache gc.`,
		Example: "  optimize runs prune --keep 20\n  optimize runs prune recipes/digits --keep 0 --dry-run",
		Args:    between(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if keep < 0 {
				return usagef("--keep is 0 or more")
			}
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			base, runs, err := historyOf(path)
			if err != nil {
				return err
			}
			var old []pastRun
			for i, p := range runs {
				if i >= keep && p.Status != "running" {
					old = append(old, p)
				}
			}
			for _, p := range old {
				if dry {
					continue
				}
				if err := os.RemoveAll(p.Path); err != nil {
					return diag.Errorf("runs/prune", "A run cannot be removed", "%s: %s. Make its folder writable for this user.", p.Path, reasonOf(err))
				}
			}
			if a.json {
				return writeJSON(a.stdout, runsPruned{"optimize.runs.prune/v1", base, dry, orEmpty(old), len(runs) - len(old)})
			}
			verb := "Removed"
			if dry {
				verb = "Would remove"
			}
			if len(old) > 0 {
				a.writeRuns(old)
				fmt.Fprintln(a.stdout)
			}
			fmt.Fprintf(a.stdout, "%s %s and kept %d in %s.\n", verb, count(len(old), "run"), len(runs)-len(old), shortPath(base))
			return nil
		},
	}
	c.Flags().IntVar(&keep, "keep", keep, "how many to keep")
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return c
}
