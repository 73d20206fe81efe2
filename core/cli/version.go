package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  optimize version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			plugins := slices.Sorted(maps.Keys(a.Bundled))
			if a.json {
				return json.NewEncoder(a.stdout).Encode(map[string]any{
					"schema": "optimize.version/v1", "version": a.Version, "platform": platform(), "go": runtime.Version(), "bundled_plugins": plugins,
				})
			}
			_, err := fmt.Fprintf(a.stdout, "optimize %s (%s)\n", a.Version, platform())
			return err
		},
	}
}
