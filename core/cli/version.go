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

func (a *app) pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Work with plugins", Hidden: true}
	c.AddCommand(&cobra.Command{
		Use:   "serve NAME",
		Short: "Serve a bundled plugin (started by optimize itself)",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			// A known name was served before the command line was parsed.
			return usagef("there is no bundled plugin %q; there are %v", args[0], slices.Sorted(maps.Keys(a.Bundled)))
		},
	})
	return c
}
