package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/term"
)

// cacheVerify is what cache verify --json prints.
type cacheVerify struct {
	Schema   string         `json:"schema"`
	Dir      string         `json:"dir"`
	Entries  int            `json:"entries"`
	Size     int64          `json:"size_bytes"`
	Problems []cacheProblem `json:"problems"`
	// Repaired says that what is damaged was removed.
	Repaired bool `json:"repaired,omitempty"`
}

type cacheProblem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
	// Steps have to run again when it is removed.
	Steps []cache.Use `json:"steps"`
}

func (a *app) cacheVerifyCommand() *cobra.Command {
	var repair bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read everything in the cache and check that it is whole",
		Long: `Read everything in the cache again and compare it with its checksums. What is damaged
is listed with the steps that need it, and the exit code is 1. With --repair it is
removed, so that those steps run again in the next apply, and the exit code is 0.`,
		Example: "  optimize cache verify\n  optimize cache verify --repair",
		Args:    between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.cacheVerify(cmd.Context(), repair)
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "remove what is damaged, so that it is made again")
	return c
}

func (a *app) cacheVerify(ctx context.Context, repair bool) error {
	s, err := openCache()
	if err != nil {
		return err
	}
	defer s.Close()
	entries, total, err := s.Entries(ctx)
	if err != nil {
		return err
	}
	problems, err := s.Verify(ctx)
	if ctx.Err() != nil {
		return diag.Errorf("cache/stopped", "Stopped by a signal", "Nothing was changed.")
	}
	if err != nil {
		return err
	}
	repaired := false
	if repair && len(problems) > 0 {
		if err := s.Repair(problems); err != nil {
			return err
		}
		repaired = true
	}
	if len(problems) > 0 && !repaired {
		a.exit = ExitFailed
	}
	if a.json {
		doc := cacheVerify{Schema: "optimize.cache.verify/v1", Dir: s.Dir(), Entries: len(entries), Size: total, Problems: []cacheProblem{}, Repaired: repaired}
		for _, p := range problems {
			doc.Problems = append(doc.Problems, cacheProblem{p.Path, p.Reason, orEmpty(p.Steps)})
		}
		return writeJSON(a.stdout, doc)
	}
	a.writeProblems(s, problems)
	switch {
	case len(problems) == 0:
		fmt.Fprintf(a.stdout, "%s, %s: everything is whole in %s\n", countEntries(entries), report.Bytes(total), s.Dir())
	case repaired:
		fmt.Fprintf(a.stdout, "\nRemoved what is damaged (%d). The steps named above run again in the next apply.\n", len(problems))
	default:
		fmt.Fprintf(a.stdout, "\nDamaged: %d, in %s. Remove it with `optimize cache verify --repair`; the steps named above run again then.\n", len(problems), s.Dir())
	}
	return nil
}

func (a *app) writeProblems(s *cache.Store, problems []cache.Problem) {
	style := report.Style{Color: a.color(a.stdout)}
	for _, p := range problems {
		path := p.Path
		if r, err := filepath.Rel(s.Dir(), path); err == nil {
			path = r
		}
		fmt.Fprintf(a.stdout, "%s %s: %s\n", style.Red("damaged"), path, p.Reason)
		for _, u := range p.Steps {
			where := ""
			if u.Place != "" {
				where = " of " + shortPath(u.Place)
			}
			fmt.Fprintf(a.stdout, "  needed by %s%s\n", term.Clean(u.Addr), term.Clean(where))
		}
	}
}
