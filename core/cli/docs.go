package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/docs"
)

// forDevelopers are the pages that say nothing to who uses the command.
var forDevelopers = []string{"decisions", "dependencies", "README"}

// topic is a page of the documentation.
type topic struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	text  func() string
}

// topicList is what docs --json prints, topicPage what docs TOPIC --json prints.
type topicList struct {
	Schema string  `json:"schema"`
	Topics []topic `json:"topics"`
}

type topicPage struct {
	Schema   string `json:"schema"`
	Name     string `json:"name"`
	Title    string `json:"title"`
	Markdown string `json:"markdown"`
}

func (a *app) docsCommand() *cobra.Command {
	var out string
	format := "text"
	c := &cobra.Command{
		Use:   "docs [TOPIC]",
		Short: "Read the documentation",
		Long: `Read the documentation of this version; nothing is fetched. Without a TOPIC the topics
are listed. Step types are read with docs step TYPE.

With --out the pages that are made from the program itself are written into a folder
as Markdown: one for each step type of the bundled plugins, the commands, the
functions.`,
		Example:           "  optimize docs\n  optimize docs exit-codes\n  optimize docs step quantize_static\n  optimize docs --out docs",
		Args:              between(0, 2),
		ValidArgsFunction: a.completeTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "md" {
				return usagef("--format is text or md, not %q", format)
			}
			ctx := cmd.Context()
			if out != "" {
				if len(args) > 0 {
					return usagef("--out writes all pages: name no topic")
				}
				return a.writeDocs(ctx, cmd.Root(), out)
			}
			if len(args) > 0 && (args[0] == "step" || args[0] == "steps") {
				if len(args) == 1 && args[0] == "step" {
					return usagef("name a step type: optimize docs step TYPE; optimize docs steps lists them")
				}
				return a.docsStep(ctx, args[1:], format == "md")
			}
			if len(args) == 2 {
				return usagef("docs takes one topic, not %q too", args[1])
			}
			topics := a.topics(cmd.Root())
			if len(args) == 0 {
				return a.listTopics(topics, format == "md")
			}
			var names []string
			for _, t := range topics {
				names = append(names, t.Name)
			}
			i := slices.Index(names, args[0])
			if i < 0 {
				return usagef("there is no topic %q%s", args[0], nearestOf(args[0], names))
			}
			return a.printPage(topics[i].Name, topics[i].text(), format == "md")
		},
	}
	c.Flags().StringVar(&out, "out", "", "write the generated pages into this folder")
	c.Flags().StringVar(&format, "format", format, "text, or md for Markdown")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "md"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// topics are the pages by name. Some are generated, so that they are true for this very program.
func (a *app) topics(root *cobra.Command) []topic {
	out := []topic{{"steps", "Step types of the bundled plugins", nil}}
	generated := a.generated(root)
	entries, _ := fs.ReadDir(docs.Files, ".") // it is part of the program
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".md")
		if !ok || slices.Contains(forDevelopers, name) {
			continue
		}
		read := func() string {
			b, _ := fs.ReadFile(docs.Files, e.Name())
			return string(b)
		}
		if g, ok := generated[e.Name()]; ok {
			read = g
		}
		out = append(out, topic{name, titleOf(read()), read})
	}
	slices.SortFunc(out, func(a, b topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// generated are the pages that are made from the program, but for those of the step types.
func (a *app) generated(root *cobra.Command) map[string]func() string {
	return map[string]func() string{
		"commands.md":  func() string { return commandsPage(root) },
		"functions.md": functionsPage,
	}
}

// titleOf is the first heading of a page.
func titleOf(text string) string {
	for line := range strings.Lines(text) {
		if t, ok := strings.CutPrefix(line, "# "); ok {
			return strings.TrimSpace(t)
		}
	}
	return ""
}

func (a *app) printPage(name, text string, raw bool) error {
	if a.json {
		return writeJSON(a.stdout, topicPage{"optimize.docs.page/v1", name, titleOf(text), text})
	}
	a.writeMarkdown(text, raw)
	return nil
}

func (a *app) listTopics(topics []topic, raw bool) error {
	if a.json {
		return writeJSON(a.stdout, topicList{"optimize.docs/v1", topics})
	}
	var b strings.Builder
	b.WriteString("# Topics\n\n| topic | |\n|---|---|\n")
	for _, t := range topics {
		fmt.Fprintf(&b, "| %s | %s |\n", t.Name, cell(t.Title))
	}
	b.WriteString("\nRead one with `optimize docs TOPIC`, a step type with `optimize docs step TYPE`, a plugin that is not bundled with `optimize plugin docs NAME`.\n")
	a.writeMarkdown(b.String(), raw)
	return nil
}

// bundledSteps are the step types of the bundled plugins, sorted.
func (a *app) bundledSteps(ctx context.Context) ([]stepDoc, error) {
	a.looks = true
	w := &work{app: a}
	defer w.close(ctx)
	if err := w.prepare(false); err != nil {
		return nil, err
	}
	types, err := w.registry.StepTypes(ctx)
	if err != nil {
		return nil, err
	}
	var out []stepDoc
	for _, name := range sortedKeys(types) {
		out = append(out, stepDocOf(types[name]))
	}
	return out, nil
}

// docsStep prints the page of a step type, or without one the list of them.
func (a *app) docsStep(ctx context.Context, args []string, raw bool) error {
	steps, err := a.bundledSteps(ctx)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return a.printPage("steps", stepsPage(steps), raw)
	}
	var names []string
	for _, s := range steps {
		if s.Name == args[0] {
			return a.printPage("step "+s.Name, s.markdown(), raw)
		}
		names = append(names, s.Name)
	}
	hint := nearestOf(args[0], names)
	if p := pluginOfStep(args[0]); a.Bundled[p] == nil && !strings.HasPrefix(hint, "; did") {
		hint += fmt.Sprintf("; one of another plugin is read with optimize plugin docs %s", p)
	}
	return usagef("no bundled plugin has a step type %q%s", args[0], hint)
}

func stepsPage(steps []stepDoc) string {
	var b strings.Builder
	b.WriteString("# Step types\n\nThe part before the first underscore names the plugin.\n\n| step type | what it does |\n|---|---|\n")
	for _, s := range steps {
		fmt.Fprintf(&b, "| [`%s`](%s.md) | %s |\n", s.Name, s.Name, cell(s.Description))
	}
	b.WriteString("\nTheir arguments: `optimize docs step TYPE`.\n")
	return b.String()
}

// writeDocs writes every generated page below a folder. A page that is as it would be written is not touched.
func (a *app) writeDocs(ctx context.Context, root *cobra.Command, dir string) error {
	pages := map[string]string{}
	steps, err := a.bundledSteps(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		pages[filepath.Join("steps", s.Name+".md")] = s.markdown()
	}
	pages[filepath.Join("steps", "README.md")] = stepsPage(steps)
	for name, text := range a.generated(root) {
		pages[name] = text()
	}
	if err := os.MkdirAll(filepath.Join(dir, "steps"), 0o755); err != nil {
		return fmt.Errorf("the pages cannot be written: %w", err)
	}
	written := writtenPages{Schema: "optimize.docs.out/v1", Files: []string{}}
	for _, name := range sortedKeys(pages) {
		path := filepath.Join(dir, name)
		if old, err := os.ReadFile(path); err == nil && string(old) == pages[name] {
			continue
		}
		if err := rewrite(path, []byte(pages[name]), 0o644); err != nil {
			return fmt.Errorf("the page cannot be written: %w", err)
		}
		written.Files = append(written.Files, path)
	}
	if a.json {
		return writeJSON(a.stdout, written)
	}
	for _, path := range written.Files {
		fmt.Fprintln(a.stdout, path)
	}
	return nil
}

// writtenPages is what docs --out --json prints.
type writtenPages struct {
	Schema string   `json:"schema"`
	Files  []string `json:"files"`
}

// commandsPage documents every command from what it says of itself.
func commandsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n" + root.Long + "\n\n```sh\n" + unindent(root.Example) + "\n```\n\nEvery command takes:\n\n")
	flagTable(&b, root.PersistentFlags())
	walk(root, func(c *cobra.Command) {
		if c == root || !c.IsAvailableCommand() && c.Name() != "help" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", strings.TrimSuffix(c.UseLine(), " [flags]"), fenced(c.Long))
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(c.Example))
		}
		if flags := c.LocalNonPersistentFlags(); hasFlags(flags) {
			b.WriteString("\n")
			flagTable(&b, flags)
		}
		if s := c.Annotations[seeAlso]; s != "" {
			fmt.Fprintf(&b, "\nSee also: %s.\n", s)
		}
	})
	return b.String()
}

// functionsPage documents the functions that expressions may call, group by group.
func functionsPage() string {
	var b strings.Builder
	b.WriteString("# Functions\n\nWhat an expression may call. Try one out with `optimize console`. A last `...` repeats, what is in brackets may be left out.\n")
	group := ""
	for _, f := range recipe.Functions() {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "\n## %s\n\n| function | | example | gives |\n|---|---|---|---|\n", upperFirst(group))
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | `%s` |\n", bars(f.Signature), cell(f.Description), bars(f.Example), bars(f.Result))
	}
	return b.String()
}

func shownFlag(f *pflag.Flag) bool { return !f.Hidden && f.Name != "help" }

func hasFlags(flags *pflag.FlagSet) bool {
	has := false
	flags.VisitAll(func(f *pflag.Flag) { has = has || shownFlag(f) })
	return has
}

// flagTable has no defaults: some are those of the machine.
func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| flag | |\n|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if !shownFlag(f) {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.TrimSpace(name+" "+kind), cell(usage))
	})
}

// fenced puts the indented lines of a text into fences.
func fenced(text string) string {
	var out []string
	in := false
	for _, l := range strings.Split(text, "\n") {
		if indented := strings.HasPrefix(l, "  "); indented != in {
			in = indented
			fence := "```"
			if in {
				fence = "\n```sh"
			}
			out = append(out, fence)
		}
		if in {
			l = l[2:]
		}
		out = append(out, l)
	}
	if in {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}

func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

// completeTopic completes a topic, or after step a step type.
func (a *app) completeTopic(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	none := cobra.ShellCompDirectiveNoFileComp
	var names []string
	switch {
	case len(args) == 0:
		for _, t := range a.topics(cmd.Root()) {
			names = append(names, t.Name+"\t"+t.Title)
		}
		names = append(names, "step\tOne step type")
	case len(args) == 1 && args[0] == "step":
		steps, err := a.bundledSteps(cmd.Context())
		if err != nil {
			return nil, none
		}
		for _, s := range steps {
			names = append(names, s.Name)
		}
	}
	return names, none
}
