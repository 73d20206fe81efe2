package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// save writes a plan to a file that apply takes.
func (w *work) save(p *plan.Plan, f *recipeFlags, out string) error {
	abs, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	for name := range w.recipe.Files {
		if at, err := filepath.Abs(name); err == nil && at == abs {
			return diag.Errorf("plan/out", "The plan would go over the recipe", "Write it elsewhere: --out plan.json.")
		}
	}
	if st, err := os.Stat(abs); err == nil && st.IsDir() {
		return diag.Errorf("plan/out", out+" is a folder", "Name the file that the plan goes to: --out %s.", filepath.Join(out, "plan.json"))
	}
	if st, err := os.Stat(abs); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
		if was, err := plan.ReadFile(abs); err == nil && was == nil { // a damaged plan is one
			return diag.Errorf("plan/out", "The plan would go over "+out, "That file is no saved plan. Write it elsewhere, --out plan.json, or remove the file first.")
		}
	}
	if err := w.session.Save(p, w.parsed, w.values, f.targets, f.refresh); err != nil {
		return err
	}
	if err := p.Write(abs); err != nil {
		return diag.Errorf("plan/out", "The plan cannot be saved", "%s. Write it to a folder that may be written.", reasonOf(err))
	}
	return nil
}

// takeSaved reads a saved plan when path is one, and gives the recipe that it is of. The flags of such an apply come
// from the plan.
func (f *recipeFlags) takeSaved(c *cobra.Command, path string) (string, error) {
	p, err := plan.ReadFile(path)
	if err != nil {
		return "", diag.Errorf("plan/read", path+" cannot be carried out", "%s.", err)
	}
	if p == nil {
		return path, nil
	}
	for _, name := range []string{"target", "refresh", "no-cache", "reuse-benchmarks", "var-file"} {
		if c.Flags().Changed(name) {
			return "", usagef("--%s has no place beside a saved plan: what it does was settled when the plan was made", name)
		}
	}
	s := p.Saved
	f.saved, f.savedAt = p, path
	f.targets, f.refresh, f.noCache, f.reuseBenchmarks = s.Targets, s.Refresh, s.NoCache, s.ReuseBenchmarks
	if !exists(s.Recipe) {
		return "", diag.Errorf("plan/stale", "The recipe of this plan is gone", "It was %s. A plan is carried out where it was made.", s.Recipe)
	}
	return shortPath(s.Recipe), nil
}

// savedValues are the variables of a saved plan; now are those of this command, of which only sensitive ones count.
func (f *recipeFlags) savedValues(now *given) (*given, error) {
	s := f.saved.Saved
	out := maps.Clone(recipe.Values(s.Variables))
	if out == nil {
		out = recipe.Values{}
	}
	secret := map[string]bool{}
	for _, name := range s.Sensitive {
		secret[name] = true
		v, ok := now.values[name]
		if !ok {
			return nil, diag.Errorf("plan/sensitive", fmt.Sprintf("The plan does not hold the value of variable %q", name),
				"It is sensitive, so it is not saved. Give the same value again: OPTIMIZE_VAR_%s=..., or --var %s=....", name, name)
		}
		out[name] = v
	}
	for name, v := range now.values {
		if strings.HasPrefix(v.From, "--") && !secret[name] {
			return nil, usagef("%s has no place beside a saved plan: only sensitive variables are given again", v.From)
		}
	}
	return &given{values: out, files: now.files, ds: now.ds}, nil
}

// stale says why a saved plan is not carried out, and how a new one is made.
func (a *app) stale(f *recipeFlags, why *plan.Stale) error {
	return diag.Errorf("plan/stale", why.What+" since the plan was made", "%s\n\nNothing was run. Make a new plan: `%s`.", why.Detail, f.planAgain())
}

// planAgain is the command that makes a saved plan anew.
func (f *recipeFlags) planAgain() string {
	s := f.saved.Saved
	args := []string{"optimize", "plan", quoteArg(shortPath(s.Recipe))}
	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		switch v := s.Variables[name]; {
		case !v.OfFile():
			args = append(args, "--var", quoteArg(name+"="+v.Text))
		case !slices.Contains(args, quoteArg(v.From)):
			args = append(args, "--var-file", quoteArg(v.From))
		}
	}
	for _, t := range s.Targets {
		args = append(args, "--target", quoteArg(t))
	}
	for _, t := range s.Refresh {
		args = append(args, "--refresh", quoteArg(t))
	}
	if s.NoCache {
		args = append(args, "--no-cache")
	}
	if s.ReuseBenchmarks {
		args = append(args, "--reuse-benchmarks")
	}
	return strings.Join(append(args, "--out", quoteArg(f.savedAt)), " ")
}

// reasonOf is an error without the path that a *fs.PathError repeats.
func reasonOf(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return upperFirst(pe.Err.Error())
	}
	return upperFirst(err.Error())
}
