package cli

import (
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/install"
)

// completeRecipe completes the one argument of a command: a recipe's file, or a folder.
func completeRecipe(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"hcl", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeBundled completes the name of a bundled plugin.
func (a *app) completeBundled(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(a.Bundled)), cobra.ShellCompDirectiveNoFileComp
}

// completePluginDocs completes a plugin's name, then one of its step types. Only bundled plugins are started.
func (a *app) completePluginDocs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	none := cobra.ShellCompDirectiveNoFileComp
	switch len(args) {
	case 0:
		names := slices.Sorted(maps.Keys(a.Bundled))
		for _, f := range install.ListPlugins(install.PluginDirs(os.Getenv)) {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
		return names, none
	case 1:
		a.looks = true
		w := &work{app: a}
		defer w.close(cmd.Context())
		if w.prepare(false) != nil {
			return nil, none
		}
		if _, ok := w.registry.Ref(args[0]); !ok {
			return nil, none
		}
		d, err := w.registry.Describe(cmd.Context(), args[0])
		if err != nil {
			return nil, none
		}
		var names []string
		for _, s := range d.GetSteps() {
			names = append(names, s.GetName())
		}
		return names, none
	}
	return nil, none
}
