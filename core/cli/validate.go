package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
)

func (a *app) validateCommand() *cobra.Command {
	var f recipeFlags
	c := &cobra.Command{
		Use:   "validate [RECIPE]",
		Short: "Check a recipe without running anything",
		Long: `Check a recipe: its syntax, every argument against the plugins' schemas, every
reference and every variable. All mistakes are shown in one run. Plugins are asked
about the arguments that are known. Nothing is read but the recipe, and nothing is run.`,
		Example: "  optimize validate recipe.hcl\n  optimize validate recipe.hcl --json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := recipePath(args)
			if err != nil {
				return err
			}
			a.looks = true
			w, err := a.open(cmd.Context(), path, &f, false)
			if err != nil {
				return err
			}
			defer w.close(cmd.Context())
			ds := w.session.Validate(cmd.Context())
			if a.json {
				ds = w.warnings.Append(ds...).Sorted()
				if err := (&diag.Renderer{Files: w.recipe.Files, Hide: a.secrets}).JSON(a.stdout, ds); err != nil {
					return err
				}
			} else if len(ds) > 0 {
				a.printDiags(ds, w.recipe.Files)
			}
			if ds.HasErrors() {
				return errPrinted
			}
			if a.json {
				return nil
			}
			counts := map[string]int{}
			for _, n := range w.session.Program.Nodes() {
				counts[n.Kind]++
			}
			var parts []string
			for _, k := range []struct{ kind, word string }{{"model", "model"}, {"dataset", "dataset"}, {"step", "step"}, {"evaluate", "evaluation"}, {"output", "output"}} {
				part := fmt.Sprintf("%d %s", counts[k.kind], k.word)
				if counts[k.kind] != 1 {
					part += "s"
				}
				parts = append(parts, part)
			}
			_, err = fmt.Fprintf(a.stdout, "%s is valid: %s.\n", path, strings.Join(parts, ", "))
			return err
		},
	}
	f.register(c)
	return c
}
