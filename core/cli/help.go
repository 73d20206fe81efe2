package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groups are the headings of the commands in the help, and which commands stand under each.
var groups = []struct {
	id, title string
	commands  []string
}{
	{"recipe", "Work on a recipe:", []string{"init", "validate", "fmt", "plan", "apply", "console", "graph"}},
	{"result", "Look at results:", []string{"inspect", "runs", "show", "cache"}},
	{"tool", "Know the tool:", []string{"docs", "plugin", "version", "completion", "help"}},
}

// related are the commands that the help of a command points to.
var related = map[string][]string{
	"apply":         {"plan", "runs", "show", "cache explain"},
	"cache":         {"plan"},
	"cache dir":     {"cache ls"},
	"cache explain": {"plan"},
	"cache gc":      {"cache ls"},
	"cache ls":      {"cache gc"},
	"cache verify":  {"cache gc"},
	"completion":    {"help"},
	"console":       {"docs functions", "validate"},
	"docs":          {"plugin docs", "help"},
	"fmt":           {"validate"},
	"graph":         {"plan"},
	"help":          {"docs"},
	"init":          {"plan", "plugin list"},
	"inspect":       {"plugin list"},
	"plan":          {"apply", "graph", "show"},
	"plugin":        {"docs steps", "init"},
	"plugin check":  {"plugin docs", "plugin list"},
	"plugin docs":   {"docs steps", "plugin list"},
	"plugin list":   {"init", "plugin docs"},
	"plugin new":    {"plugin check", "plugin docs"},
	"plugin serve":  {"plugin list"},
	"runs":          {"show"},
	"runs prune":    {"runs", "cache gc"},
	"show":          {"runs", "apply"},
	"validate":      {"plan", "fmt"},
	"version":       {"plugin list"},
}

// seeAlso is the annotation that the help shows last.
const seeAlso = "see-also"

// noJSON is the annotation of a command whose result is never JSON: a script, a page of help.
const noJSON = "no-json"

// finish gives every command what no command has to say itself: wrong use is a usageError with a suggestion, a command
// that only holds others refuses what is none of them, and help has groups and related commands.
func (a *app) finish(root *cobra.Command) {
	root.SetHelpCommand(a.helpCommand(root))
	root.InitDefaultHelpCmd()
	root.SetUsageTemplate(root.UsageTemplate() + `{{with index .Annotations "` + seeAlso + `"}}
See also:
  {{.}}
{{end}}`)
	root.SetFlagErrorFunc(flagError)
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range root.Commands() {
			if slices.Contains(g.commands, c.Name()) {
				c.GroupID = g.id
			}
		}
	}
	walk(root, func(c *cobra.Command) {
		a.complete(c)
		if !c.Runnable() {
			if c.Annotations == nil {
				c.Annotations = map[string]string{}
			}
			c.Annotations[noJSON] = "" // it prints help
			c.Args = unknownCommand
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		} else if check := c.Args; check != nil {
			c.Args = func(c *cobra.Command, args []string) error {
				if _, none := c.Annotations[noJSON]; none && a.json {
					return usagef("%s has no JSON form", c.CommandPath())
				}
				err := check(c, args)
				if u := (usageError{}); err == nil || errors.As(err, &u) {
					return err
				}
				return usagef("%s; write it as %s", err, strings.TrimSuffix(c.UseLine(), " [flags]"))
			}
		}
		var names []string
		for _, r := range related[strings.TrimPrefix(c.CommandPath(), "optimize ")] {
			if _, rest, err := root.Find(strings.Fields(r)); err == nil && (len(rest) == 0 || strings.HasPrefix(r, "docs ")) {
				names = append(names, "optimize "+r)
			}
		}
		if len(names) > 0 {
			if c.Annotations == nil {
				c.Annotations = map[string]string{}
			}
			c.Annotations[seeAlso] = strings.Join(names, ", ")
		}
	})
}

// walk visits a command and all below it.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		walk(sub, visit)
	}
}

// unknownCommand refuses the arguments of a command that only holds others.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() || s.Name() == "help" {
			names = append(names, s.Name())
		}
	}
	return usagef("unknown command %q for %q%s", args[0], c.CommandPath(), nearest(args[0], names, ""))
}

// flagError makes a usageError of what the parser of flags says, with a suggestion for a flag that does not exist.
func flagError(c *cobra.Command, err error) error {
	var wrong *pflag.InvalidValueError
	if errors.As(err, &wrong) {
		needed := "a value"
		switch wrong.GetFlag().Value.Type() {
		case "bool":
			needed = "true or false"
		case "int":
			needed = "a whole number"
		}
		return usagef("--%s %q: %s is needed", wrong.GetFlag().Name, wrong.GetValue(), needed)
	}
	var none *pflag.NotExistError
	if !errors.As(err, &none) || len(none.GetSpecifiedName()) < 2 {
		return usageError{err}
	}
	var names []string
	see := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	c.Flags().VisitAll(see)
	c.InheritedFlags().VisitAll(see)
	return usagef("unknown flag: --%s%s", none.GetSpecifiedName(), nearest(none.GetSpecifiedName(), names, "--"))
}

// nearest is a question after the name that was meant, or nothing when none is near.
func nearest(name string, names []string, prefix string) string {
	best, dist := "", 3
	for _, n := range names {
		d := levenshtein.Distance(name, n, nil)
		if len(name) >= 3 && strings.HasPrefix(n, name) {
			d = 1
		}
		if d < dist && d < len(name) {
			best, dist = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", prefix+best)
}

// nearestOf is a question after the name that was meant, else the names that there are.
func nearestOf(name string, names []string) string {
	if s := nearest(name, names, ""); s != "" {
		return s
	}
	if len(names) == 0 {
		return "; there are none"
	}
	return "; there are " + strings.Join(names, ", ")
}

func (a *app) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Explain a command",
		Long: `Explain a command: what it does, its flags, and examples. The same as
optimize COMMAND --help. Longer texts are in optimize docs.`,
		Example:     "  optimize help\n  optimize help apply\n  optimize help cache gc",
		Args:        cobra.ArbitraryArgs,
		Annotations: map[string]string{noJSON: ""},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			c, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []string
			for _, s := range c.Commands() {
				if s.IsAvailableCommand() {
					out = append(out, s.Name()+"\t"+s.Short)
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil {
				return usageError{err}
			}
			if len(rest) > 0 {
				return unknownCommand(c, rest)
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
