package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/run"
)

// registerPlan adds the flags that say what a plan takes in; apply has them too.
func (f *recipeFlags) registerPlan(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.targets, "target", nil, "only this and all that it needs, such as step.int8 or evaluate.digits (may be repeated)")
	c.Flags().StringArrayVar(&f.refresh, "refresh", nil, "run this although the cache holds its result (may be repeated)")
	c.Flags().BoolVar(&f.noCache, "no-cache", false, "take nothing from the cache; results are still written to it")
	c.Flags().BoolVar(&f.reuseBenchmarks, "reuse-benchmarks", false, "take latencies of an earlier run instead of measuring again")
	c.Flags().StringVar(&f.memory, "memory", "", "memory that the steps may take together, such as 8GiB (also: OPTIMIZE_MEMORY; default: what is free)")
}

// registerApply adds the flags that say how a plan is carried out.
func (f *recipeFlags) registerApply(c *cobra.Command) {
	c.Flags().IntVar(&f.parallelism, "parallelism", 0, "how many actions may work at once (default: the number of cores)")
	c.Flags().BoolVar(&f.failFast, "fail-fast", false, "let the first failure stop everything else")
	c.Flags().StringArrayVar(&f.reports, "report", nil, "write a report too: FILE.md, FILE.html, FILE.xml (JUnit) or FILE.json (may be repeated)")
	c.Flags().BoolVar(&f.publishFailed, "publish-failed", false, "write the outputs although an ensure did not hold")
}

// bounds works out the limits of a run from flags, environment and machine.
func (f *recipeFlags) bounds(c *cobra.Command) error {
	f.limits = run.DefaultLimits()
	if c.Flags().Changed("parallelism") {
		if f.parallelism < 1 {
			return usagef("--parallelism is at least 1")
		}
		f.limits.Parallelism = f.parallelism
	}
	text, from := f.memory, "--memory"
	if text == "" {
		text, from = os.Getenv("OPTIMIZE_MEMORY"), "OPTIMIZE_MEMORY"
	}
	if text == "" && !c.Flags().Changed("memory") {
		return nil
	}
	n, err := run.ParseSize(text)
	if err != nil {
		return usagef("%s: %s", from, err)
	}
	f.limits.Memory = n
	return nil
}

// refreshed are the addresses that --refresh means.
func (f *recipeFlags) refreshed(p *recipe.Program) (map[string]bool, diag.Diags) {
	out := map[string]bool{}
	var ds diag.Diags
	for _, name := range f.refresh {
		nodes, more := p.Find("--refresh", name)
		ds = ds.Append(more...)
		for _, n := range nodes {
			if n.Kind == recipe.KindModel || n.Kind == recipe.KindOutput {
				ds = ds.Append(diag.Errorf("run/refresh", n.Addr+" is not cached", "--refresh takes steps, datasets and evaluations. A model's file is read in every run."))
			}
			out[n.Addr] = true
		}
	}
	return out, ds
}

// hide keeps texts out of everything that is shown or written from now on.
func (a *app) hide(secrets []string) {
	a.secrets = secrets
	a.hidden.Store(&secrets)
}

// redact takes sensitive texts out of a line.
func (a *app) redact(line string) string {
	if hidden := a.hidden.Load(); hidden != nil {
		for _, s := range *hidden {
			line = strings.ReplaceAll(line, s, "(sensitive)")
		}
	}
	return line
}
