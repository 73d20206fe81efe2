package cli

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/install"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// Completion reads the recipe's text alone: it starts no plugin but to list the step types of a bundled one.

// completer gives what may stand at a place of the command line.
type completer = func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// complete gives a command completion from what its usage and its flags say, where it has none of its own.
func (a *app) complete(c *cobra.Command) {
	if c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 && c.Runnable() {
		c.ValidArgsFunction = completeUsage
	}
	for name, f := range map[string]completer{
		"target":   completeAddress(recipe.KindStep, recipe.KindEvaluate, recipe.KindDataset, recipe.KindOutput),
		"refresh":  completeAddress(recipe.KindStep, recipe.KindEvaluate, recipe.KindDataset),
		"var":      completeVariable,
		"var-file": filesOf("hcl", "json"),
		"report":   filesOf("md", "html", "xml", "json"),
	} {
		if c.LocalNonPersistentFlags().Lookup(name) != nil {
			_ = c.RegisterFlagCompletionFunc(name, f)
		}
	}
}

func filesOf(endings ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// completeUsage completes an argument by the word that stands for it in the usage.
func completeUsage(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	words := strings.Fields(c.Use)[1:]
	if len(args) >= len(words) {
		if len(words) == 0 || !strings.HasSuffix(words[len(words)-1], "...]") && !strings.HasSuffix(words[len(words)-1], "...") {
			return nil, noFiles
		}
		args = args[:len(words)-1]
	}
	switch word := words[len(args)]; {
	case strings.Contains(word, "RECIPE"):
		return filesOf("hcl", "json")(c, nil, typed)
	case strings.Contains(word, "STEP"):
		return completeAddress(recipe.KindStep, recipe.KindEvaluate, recipe.KindDataset)(c, args, typed)
	case strings.Contains(word, "RUN"):
		return runIDs(), noFiles
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeRecipe completes the one argument of a command: a recipe's file, or a folder.
func completeRecipe(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return filesOf("hcl", "json")(c, args, typed)
}

// recipeOf is the recipe that a command line names, or the one that lies here; nil when it cannot be read.
func recipeOf(args []string) *recipe.Recipe {
	for _, path := range append(slices.Clone(args), "recipe.hcl", ".") {
		if _, err := os.Stat(path); err == nil {
			r, _ := recipe.Load(path)
			return r
		}
	}
	return nil
}

// completeAddress completes the blocks of a recipe.
func completeAddress(kinds ...string) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		r := recipeOf(args)
		if r == nil {
			return nil, noFiles
		}
		return r.Addresses(kinds...), noFiles
	}
}

func completeVariable(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	r := recipeOf(args)
	if r == nil {
		return nil, noFiles
	}
	var out []string
	for _, v := range r.Variables() {
		out = append(out, v+"=")
	}
	return out, noFiles | cobra.ShellCompDirectiveNoSpace
}

// runIDs are the runs of the recipes in this folder, the newest first.
func runIDs() []string {
	dir, err := runsDir(".")
	if err != nil {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	slices.Sort(found)
	slices.Reverse(found)
	for i, f := range found {
		found[i] = filepath.Base(f)
	}
	return found
}

// completeBundled completes the name of a bundled plugin.
func (a *app) completeBundled(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return slices.Sorted(maps.Keys(a.Bundled)), noFiles
}

// completePluginDocs completes a plugin's name, then one of its step types. Only bundled plugins are started.
func (a *app) completePluginDocs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		names := slices.Sorted(maps.Keys(a.Bundled))
		for _, f := range install.ListPlugins(install.PluginDirs(os.Getenv)) {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
		return names, noFiles
	case 1:
		a.looks = true
		w := &work{app: a}
		defer w.close(cmd.Context())
		if w.prepare(false) != nil {
			return nil, noFiles
		}
		if _, ok := w.registry.Ref(args[0]); !ok {
			return nil, noFiles
		}
		d, err := w.registry.Describe(cmd.Context(), args[0])
		if err != nil {
			return nil, noFiles
		}
		var names []string
		for _, s := range d.GetSteps() {
			names = append(names, s.GetName())
		}
		return names, noFiles
	}
	return nil, noFiles
}
