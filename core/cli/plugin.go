package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/install"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

func (a *app) pluginCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "plugin",
		Short: "List plugins and show what they can do",
		Long: `Plugins bring step types, formats and runtimes. Some are bundled; others are
executables optimize-plugin-NAME in a folder of OPTIMIZE_PLUGINS, in the folder
plugins of the data folder, or in PATH. One that is not bundled is run only when a
recipe's required_plugins names it, or when you ask for its documentation.`,
		Example: "  optimize plugin list\n  optimize plugin docs quantize quantize_static",
	}
	c.AddCommand(a.pluginListCommand(), a.pluginDocsCommand(), a.pluginCheckCommand(), a.pluginNewCommand(), a.pluginServeCommand())
	return c
}

func (a *app) pluginServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve NAME",
		Short: "Serve a bundled plugin (optimize starts it itself)",
		Long: `Serve a bundled plugin over the plugin protocol. Optimize starts this command itself,
as a process of its own for each plugin that a recipe needs; by hand it only says
that it is a plugin.`,
		Example:           "  optimize plugin serve quantize",
		Args:              between(1, 1),
		Annotations:       map[string]string{noJSON: ""},
		ValidArgsFunction: a.completeBundled,
		RunE: func(_ *cobra.Command, args []string) error {
			// A known name was served before the command line was parsed.
			names := slices.Sorted(maps.Keys(a.Bundled))
			if slices.Contains(names, args[0]) {
				return usagef("optimize plugin serve %s takes no flags", args[0])
			}
			return usagef("there is no bundled plugin %q%s", args[0], nearestOf(args[0], names))
		},
	}
}

// pluginRow is one plugin of the list.
type pluginRow struct {
	Name string `json:"name"`
	// Version is empty as long as the plugin was not asked.
	Version string `json:"version,omitempty"`
	// Source is bundled, found or missing.
	Source    string      `json:"source"`
	Path      string      `json:"path,omitempty"`
	StepTypes []string    `json:"step_types"`
	Formats   []formatDoc `json:"formats"`
	// Required is the constraint of required_plugins, NeededBy what of the recipe uses the plugin.
	Required string   `json:"required,omitempty"`
	NeededBy []string `json:"needed_by"`
	// Problem says why the recipe cannot have it.
	Problem string `json:"problem,omitempty"`
}

// pluginList is what plugin list --json prints.
type pluginList struct {
	Schema  string      `json:"schema"`
	Recipe  string      `json:"recipe,omitempty"`
	Plugins []pluginRow `json:"plugins"`
	// Searched are the folders that third-party plugins are looked for in.
	Searched []string `json:"searched"`
}

func (a *app) pluginListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [RECIPE]",
		Short: "List the plugins that are there",
		Long: `List the bundled plugins and those that are found: version, where from, step types,
formats. With a RECIPE also what it needs each for, and what is missing; the exit
code is 1 then.`,
		Example:           "  optimize plugin list\n  optimize plugin list recipe.hcl\n  optimize plugin list --json",
		Args:              between(0, 1),
		ValidArgsFunction: completeRecipe,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			a.looks = true
			w := &work{app: a}
			defer w.close(ctx)
			if err := w.prepare(false); err != nil {
				return err
			}
			list := pluginList{Schema: "optimize.plugin.list/v1", Searched: orEmpty(install.PluginDirs(os.Getenv))}
			var ds diag.Diags
			if len(args) == 1 {
				list.Recipe = args[0]
				var more diag.Diags
				if w.recipe, more = recipe.Load(args[0]); w.recipe == nil || more.HasErrors() {
					a.printDiags(more, files(w.recipe))
					return errPrinted
				}
				ds = w.addThirdParty(ctx)
			}
			if err := w.listPlugins(ctx, &list, ds); err != nil {
				return err
			}
			if slices.ContainsFunc(list.Plugins, func(r pluginRow) bool { return r.Problem != "" }) {
				a.exit = ExitFailed
			}
			if a.json {
				return writeJSON(a.stdout, list)
			}
			writePluginList(a, list)
			return nil
		},
	}
}

// listPlugins fills in the rows. started are the complaints about plugins that did not start.
func (w *work) listPlugins(ctx context.Context, list *pluginList, started diag.Diags) error {
	for _, name := range w.registry.Names() {
		ref, _ := w.registry.Ref(name)
		d, err := w.registry.Describe(ctx, name)
		if err != nil {
			return err
		}
		row := pluginRow{Name: name, Version: ref.Version, Source: "found", Path: ref.Command[0], StepTypes: []string{}, Formats: docOf(d).Formats, NeededBy: []string{}}
		if ref.Bundled {
			row.Source, row.Path = "bundled", ""
		}
		for _, s := range d.GetSteps() {
			row.StepTypes = append(row.StepTypes, s.GetName())
		}
		list.Plugins = append(list.Plugins, row)
	}
	for _, f := range install.ListPlugins(list.Searched) {
		if _, ok := w.registry.Ref(f.Name); !ok {
			list.Plugins = append(list.Plugins, pluginRow{Name: f.Name, Source: "found", Path: f.Path, StepTypes: []string{}, Formats: []formatDoc{}, NeededBy: []string{}})
		}
	}
	if w.recipe == nil {
		return nil
	}
	at := func(name string) *pluginRow {
		i := slices.IndexFunc(list.Plugins, func(r pluginRow) bool { return r.Name == name })
		if i < 0 {
			i = len(list.Plugins)
			list.Plugins = append(list.Plugins, pluginRow{Name: name, Source: "missing", StepTypes: []string{}, Formats: []formatDoc{}, NeededBy: []string{}})
		}
		return &list.Plugins[i]
	}
	for _, p := range w.recipe.RequiredPlugins {
		row := at(p.Name)
		if row.Required = p.Version; row.Required == "" {
			row.Required = "any version"
		}
	}
	for _, u := range w.recipe.StepTypes() {
		row := at(pluginOfStep(u.Type))
		row.NeededBy = append(row.NeededBy, "step."+u.Name)
	}
	// What stands in the way is said by those who say it when the recipe is planned.
	for _, d := range append(started, w.registry.CheckRequired(w.recipe, w.app.Version)...) {
		for _, p := range w.recipe.RequiredPlugins {
			if d.Subject != nil && *d.Subject == p.Range && at(p.Name).Problem == "" {
				at(p.Name).Problem = d.Summary + ". " + strings.TrimSuffix(d.Detail, ".") + "."
			}
		}
	}
	for i, r := range list.Plugins {
		if r.Problem == "" && len(r.NeededBy) > 0 && r.Version == "" {
			list.Plugins[i].Problem = fmt.Sprintf("The recipe uses it, but does not name it. Add it to required_plugins: %s = { version = \">= 0.1\" }.", r.Name)
		}
	}
	slices.SortFunc(list.Plugins, func(a, b pluginRow) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func pluginOfStep(stepType string) string {
	name, _, _ := strings.Cut(stepType, "_")
	return name
}

func writePluginList(a *app, list pluginList) {
	s := report.Style{Color: a.color(a.stdout)}
	head := []string{"NAME", "VERSION", "FROM", "STEP TYPES", "FORMATS"}
	if list.Recipe != "" {
		head = append(head, "NEEDED BY")
	}
	rows := [][]string{head}
	for _, p := range list.Plugins {
		var formats []string
		for _, f := range p.Formats {
			formats = append(formats, f.Name)
		}
		version, from := p.Version, p.Source
		if version == "" {
			version = "-"
		}
		if p.Path != "" {
			from = p.Path
		}
		row := []string{p.Name, version, from, dash(p.StepTypes), dash(formats)}
		if list.Recipe != "" {
			needed := slices.Clone(p.NeededBy)
			if p.Required != "" {
				needed = append([]string{"required_plugins (" + p.Required + ")"}, needed...)
			}
			row = append(row, dash(needed))
		}
		rows = append(rows, row)
	}
	writeTable(a.stdout, rows, widthOf(a.stdout), func(row int, t string) string {
		if row == 0 {
			return s.Faint(t)
		}
		return t
	})
	unasked := false
	for _, p := range list.Plugins {
		unasked = unasked || p.Version == "" && p.Source == "found"
		if p.Problem != "" {
			fmt.Fprintf(a.stdout, "\n%s %s\n", s.Red("Missing:"), p.Problem)
		}
	}
	if unasked {
		fmt.Fprintln(a.stdout, "\nA plugin that is not bundled is asked for its version and step types when a recipe\nrequires it, or by optimize plugin docs NAME.")
	}
}

func dash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

func (a *app) pluginDocsCommand() *cobra.Command {
	format := "text"
	c := &cobra.Command{
		Use:   "docs NAME [STEP]",
		Short: "Show what a plugin can do: step types, arguments, outputs",
		Long: `Show what a plugin declares: its formats, and of each step type the arguments with
type, default and choices, nested blocks, outputs, facts of the result, and
examples. A plugin that is not bundled is started to ask it.`,
		Example:           "  optimize plugin docs quantize\n  optimize plugin docs quantize quantize_static\n  optimize plugin docs quantize --format md > quantize.md",
		Args:              between(1, 2),
		ValidArgsFunction: a.completePluginDocs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "md" {
				return usagef("--format is text or md, not %q", format)
			}
			ctx := cmd.Context()
			a.looks = true
			w := &work{app: a}
			defer w.close(ctx)
			if err := w.prepare(false); err != nil {
				return err
			}
			d, err := w.describe(ctx, args[0])
			if err != nil {
				return err
			}
			doc := docOf(d)
			text := doc.markdown()
			if len(args) == 2 {
				var names []string
				for _, s := range doc.Steps {
					names = append(names, s.Name)
				}
				i := slices.Index(names, args[1])
				if i < 0 {
					return usagef("plugin %s has no step type %q%s", args[0], args[1], nearestOf(args[1], names))
				}
				doc.Steps = doc.Steps[i : i+1]
				text = doc.Steps[0].markdown()
			}
			if a.json {
				return writeJSON(a.stdout, doc)
			}
			a.writeMarkdown(text, format == "md")
			return nil
		},
	}
	c.Flags().StringVar(&format, "format", format, "text, or md for Markdown")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "md"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// writeMarkdown writes Markdown as it is, or for a terminal.
func (a *app) writeMarkdown(text string, raw bool) {
	if raw {
		fmt.Fprint(a.stdout, text)
		return
	}
	m := &markdown{w: a.stdout, style: report.Style{Color: a.color(a.stdout)}, width: widthOf(a.stdout)}
	m.write(text)
}

// describe asks a bundled plugin, or one that is found, what it declares.
func (w *work) describe(ctx context.Context, name string) (*pluginv1.DescribeResponse, error) {
	if _, ok := w.registry.Ref(name); ok {
		return w.registry.Describe(ctx, name)
	}
	dirs := install.PluginDirs(os.Getenv)
	path, ok := install.FindPlugin(dirs, name)
	if !ok {
		names := w.registry.Names()
		for _, f := range install.ListPlugins(dirs) {
			names = append(names, f.Name)
		}
		return nil, usagef("there is no plugin %q%s", name, nearestOf(name, names))
	}
	digest, _, err := w.store.HashFile(path)
	if err != nil {
		return nil, err
	}
	d, err := w.manager.Describe(ctx, host.Ref{Name: name, Command: []string{path}, Digest: digest})
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, diag.Errorf("plugin/start", fmt.Sprintf("Plugin %s cannot be asked", name), "%s", err)
	}
	return d, err
}
