package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/install"
)

func (a *app) initCommand() *cobra.Command {
	var f recipeFlags
	var from string
	c := &cobra.Command{
		Use:   "init [RECIPE]",
		Short: "Bring the native libraries that a recipe needs",
		Long: `Bring the native libraries that the plugins of a recipe load, by name, pinned version
and hash, through your own pip or uv: its mirrors, proxies and certificates are used.
Without a network: --from takes a folder with the wheels or the unpacked library.
A library that you name by OPTIMIZE_ONNXRUNTIME, or that the system has, is used
as it is.`,
		Example: "  optimize init recipe.hcl\n  optimize init --from /media/wheels recipe.hcl",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.looks = true // at the recipe; what it brings does not go into the store
			ctx := cmd.Context()
			if len(args) == 1 {
				w, err := a.open(ctx, args[0], &f, false)
				if err != nil {
					return err
				}
				w.close(ctx)
			}
			dir, err := install.DataDir(os.Getenv)
			if err != nil {
				return err
			}
			var results []install.Result
			// Both bundled plugins work with ONNX Runtime, so every recipe needs it.
			for _, r := range install.Runtimes {
				res, err := install.Install(ctx, install.Options{DataDir: dir, Name: r.Name, From: from, Progress: func(s string) {
					if !a.json {
						fmt.Fprintln(a.stdout, s)
					}
				}})
				if err != nil {
					return err
				}
				results = append(results, res)
				if a.json {
					continue
				}
				state := "is there already"
				if res.Fresh {
					state = "installed"
				}
				fmt.Fprintf(a.stdout, "%s %s %s: %s\n", r.Title, res.Version, state, res.Library)
			}
			if a.json {
				return json.NewEncoder(a.stdout).Encode(map[string]any{"schema": "optimize.init/v1", "runtimes": results})
			}
			return nil
		},
	}
	f.register(c)
	c.Flags().StringVar(&from, "from", "", "take the packages from this folder instead of pip or uv")
	return c
}
