package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/graph"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/term"
)

// graphFormats are the forms of a graph.
var graphFormats = []string{"text", "dot", "mermaid", "json"}

// graphWidth is how wide a picture is that goes to no terminal.
const graphWidth = 120

func (a *app) graphCommand() *cobra.Command {
	var f recipeFlags
	var format string
	var planned bool
	c := &cobra.Command{
		Use:   "graph [RECIPE]",
		Short: "Show what depends on what",
		Long: `Show the graph of a recipe: an arrow leads from what is needed to what needs it. In a
terminal it is a picture, as wide as the terminal; --format gives it as DOT for Graphviz,
as Mermaid for Markdown, or as JSON. Nothing is run.

With --plan each node says what apply would do with it.`,
		Example: "  optimize graph recipe.hcl\n  optimize graph recipe.hcl --target evaluate.digits --plan\n  optimize graph recipe.hcl --format dot | dot -Tsvg > graph.svg\n  optimize graph recipe.hcl --format mermaid",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !slices.Contains(graphFormats, format):
				return usagef("--format %q: the formats are %s", format, strings.Join(graphFormats, ", "))
			case a.json && cmd.Flags().Changed("format") && format != "json":
				return usagef("--json and --format %s cannot both be", format)
			case a.json:
				format = "json"
			}
			path, err := recipePath(args)
			if err != nil {
				return err
			}
			a.looks = !planned
			return a.graph(cmd.Context(), path, &f, format, planned)
		},
	}
	f.register(c)
	c.Flags().StringArrayVar(&f.targets, "target", nil, "only this and all that it needs, such as step.int8 or evaluate.digits (may be repeated)")
	c.Flags().StringVar(&format, "format", "text", "text, dot, mermaid or json")
	c.Flags().BoolVar(&planned, "plan", false, "say of each node what apply would do with it")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(graphFormats, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) graph(ctx context.Context, path string, f *recipeFlags, format string, planned bool) error {
	w, err := a.open(ctx, path, f, false)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	status := map[string]string{}
	if planned {
		p, ds := w.build(ctx)
		if ds.HasErrors() {
			a.printDiags(ds, w.recipe.Files)
			return errPrinted
		}
		for _, x := range p.Actions {
			if x.Status != plan.Read && x.Status != plan.Publish { // that says no more than the kind
				status[x.Addr] = string(x.Status)
			}
		}
	}
	g := graph.New(path)
	for _, n := range w.session.Program.Nodes() {
		g.Add(graph.Node{ID: n.Addr, Kind: n.Kind, Type: n.Type, Status: status[n.Addr]}, n.Deps)
	}
	switch format {
	case "json":
		return writeJSON(a.stdout, g)
	case "dot":
		_, err = fmt.Fprint(a.stdout, g.DOT())
	case "mermaid":
		_, err = fmt.Fprint(a.stdout, g.Mermaid())
	case "text":
		if len(g.Nodes) == 0 {
			_, err = fmt.Fprintf(a.stdout, "%s has no models, datasets, steps, evaluations or outputs.\n", path)
			break
		}
		_, err = fmt.Fprint(a.stdout, g.Text(a.graphOptions()))
	}
	return err
}

// graphOptions say how a picture is drawn on stdout.
func (a *app) graphOptions() graph.Options {
	width, _ := term.Size(a.stdout)
	if width < 1 {
		width = graphWidth
		if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
			width = n
		}
	}
	s := report.Style{Color: a.color(a.stdout)}
	paint := map[graph.Role]func(string) string{
		graph.Line: s.Faint, graph.Frame: s.Faint, graph.Name: s.Bold, graph.Note: s.Faint, graph.Cached: s.Green, graph.Runs: s.Yellow,
	}
	return graph.Options{Width: width, ASCII: !term.UTF8(os.Getenv), Paint: func(r graph.Role, text string) string { return paint[r](text) }}
}
