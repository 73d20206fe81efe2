package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/term"
)

// cacheExplain is what cache explain --json prints.
type cacheExplain struct {
	Schema  string           `json:"schema"`
	Recipe  string           `json:"recipe"`
	Actions []cacheExplained `json:"actions"`
}

// cacheExplained is an action and what the cache knows of it.
type cacheExplained struct {
	Addr   string      `json:"addr"`
	Type   string      `json:"type,omitempty"`
	Status plan.Status `json:"status"`
	Why    string      `json:"why,omitempty"`
	After  []string    `json:"after,omitempty"`
	// Key is empty as long as it depends on something that has to run first. KeyParts are what it is made of.
	Key      string       `json:"key,omitempty"`
	KeyParts []cache.Part `json:"key_parts"`
	// Reasons are the fields that differ from the last run.
	Reasons []cache.Change `json:"reasons"`
	// Records are those that serve it, or of an action that runs, those of its last run.
	Records []cacheRecord `json:"records"`
}

type cacheRecord struct {
	cacheEntry
	Path    string                    `json:"path"`
	Outputs map[string]cache.Artifact `json:"outputs"`
}

func (a *app) cacheExplainCommand() *cobra.Command {
	var f recipeFlags
	c := &cobra.Command{
		Use:   "explain STEP [RECIPE]",
		Short: "Tell why a step is cached, or why it runs",
		Long: `Tell whether the result of a step, a dataset or an evaluation is in the cache, and
where; what its key is made of; and for one that runs, which fields of the key differ
from its last run. Nothing is run.`,
		Example: "  optimize cache explain int8\n  optimize cache explain step.int8 recipe.hcl --var max_drop=0.01\n  optimize cache explain dataset.train --json",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := recipePath(args[1:])
			if err != nil {
				return err
			}
			return a.cacheExplain(cmd.Context(), args[0], path, &f)
		},
	}
	f.register(c)
	return c
}

func (a *app) cacheExplain(ctx context.Context, step, path string, f *recipeFlags) error {
	w, err := a.open(ctx, path, f, false)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	nodes, ds := w.session.Program.Find("cache explain", step)
	if !ds.HasErrors() {
		for _, n := range nodes {
			if n.Kind == recipe.KindModel || n.Kind == recipe.KindOutput {
				ds = ds.Append(diag.Errorf("cache/explain", n.Addr+" is not cached", "Steps, datasets and evaluations are. A model's file is read in every run, and an output is written in every run."))
			}
		}
	}
	if ds.HasErrors() {
		a.printDiags(ds, w.recipe.Files)
		return errPrinted
	}
	p, ds := w.build(ctx)
	if ds.HasErrors() {
		a.printDiags(ds, w.recipe.Files)
		return errPrinted
	}
	doc := cacheExplain{Schema: "optimize.cache.explain/v1", Recipe: w.recipe.Path, Actions: []cacheExplained{}}
	for _, x := range p.Actions {
		for _, n := range nodes {
			if n.Addr == x.Addr {
				doc.Actions = append(doc.Actions, w.explain(n, x))
			}
		}
	}
	if a.json {
		return writeJSON(a.stdout, doc)
	}
	for i, x := range doc.Actions {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		a.writeExplained(x, path)
	}
	return nil
}

func (w *work) explain(n *recipe.Node, x *plan.Action) cacheExplained {
	out := cacheExplained{Addr: x.Addr, Type: x.Type, Status: x.Status, Why: x.Why, After: x.After, Key: x.Sum, Reasons: orEmpty(x.Reasons), KeyParts: []cache.Part{}, Records: []cacheRecord{}}
	name := w.session.RecordName(n)
	if x.Sum != "" {
		out.KeyParts = x.Key.Parts()
	}
	add := func(rec *cache.Record) {
		e := cacheRecord{cacheEntry: entryOf(cache.Entry{Record: rec, Sum: rec.Sum, Used: w.store.LastUse(rec.Sum), Whole: true}), Path: w.store.RecordPath(rec.Sum), Outputs: rec.Outputs}
		for _, o := range rec.Outputs {
			e.Size += o.Size
		}
		out.Records = append(out.Records, e)
	}
	switch {
	case x.Record != nil:
		add(x.Record)
	case n.Kind == recipe.KindEvaluate: // it has a record for each candidate
		for _, subject := range sortedKeys(x.Digests) {
			if rec, ok := w.store.Latest(name + "." + subject); ok {
				add(rec)
			}
		}
	default:
		if rec, ok := w.store.Latest(name); ok {
			add(rec)
		}
	}
	return out
}

func (a *app) writeExplained(x cacheExplained, path string) {
	s := report.Style{Color: a.color(a.stdout)}
	of := ""
	if x.Type != "" {
		of = " (" + x.Type + ")"
	}
	verdict := map[plan.Status]string{
		plan.Cached: s.Green("cached"), plan.Run: s.Yellow("runs"), plan.Pending: s.Yellow("not known yet"), plan.Measure: s.Yellow("measured again"),
	}[x.Status]
	if x.Why != "" && x.Status != plan.Cached {
		verdict += ": " + x.Why
	}
	if x.Status == plan.Pending {
		verdict += ": its key is known after " + strings.Join(x.After, ", ")
	}
	fmt.Fprintf(a.stdout, "%s%s %s\n", s.Bold(term.Clean(x.Addr)), of, verdict)
	for _, c := range x.Reasons {
		fmt.Fprintf(a.stdout, "  changed since the last run: %s\n", term.Clean(a.redact(c.String())))
	}
	for _, r := range x.Records {
		what := "record"
		if x.Status != plan.Cached {
			what = "last record"
		}
		fmt.Fprintf(a.stdout, "  %s of %s: made %s in %s by %s %s, used %s, %s\n    %s\n", what, term.Clean(r.Name), madeAgo(r.Made), round(r.Duration), r.Plugin, r.PluginVersion, ago(r.Used), report.Bytes(r.Size), r.Path)
		for _, name := range sortedKeys(r.Outputs) {
			if o := r.Outputs[name]; o.Path != "" {
				fmt.Fprintf(a.stdout, "    %s  %s  %s\n", term.Clean(strings.TrimSpace(name+" "+o.Format)), report.Bytes(o.Size), filepath.Clean(o.Path))
			}
		}
	}
	if x.Key != "" {
		fmt.Fprintf(a.stdout, "  key %s, made of\n", x.Key)
		for _, p := range x.KeyParts {
			fmt.Fprintf(a.stdout, "    %s = %s\n", term.Clean(p.Field), term.Truncate(term.Clean(a.redact(p.Value)), 100))
		}
	}
	switch x.Status {
	case plan.Cached:
		fmt.Fprintf(a.stdout, "It runs when one of these changes, or with `optimize apply %s --refresh %s`.\n", quoteArg(path), quoteArg(x.Addr))
	case plan.Run:
		fmt.Fprintf(a.stdout, "`optimize apply %s` runs it.\n", quoteArg(path))
	}
}

func madeAgo(t *time.Time) string {
	if t == nil {
		return ""
	}
	return ago(*t)
}
