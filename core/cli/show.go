package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/term"
	"github.com/optimize-hcl/optimize/core/view"
)

func (a *app) showCommand() *cobra.Command {
	var of string
	var reports []string
	c := &cobra.Command{
		Use:   "show [RUN|PLAN|FILE]",
		Short: "Show a past run, or a saved plan",
		Long: `Show a past run as apply showed it: what was done and what was cached, the tables of its
evaluations, its outputs, and the errors. RUN is the name of a run of optimize runs, or
its beginning, or "latest", which is what is shown when nothing is named. A file is a
record (run.json) or a saved plan, a folder one of a run. With --json it is printed as
it is.`,
		Example: "  optimize show\n  optimize show 20260301T1000 --recipe recipes/digits\n  optimize show plan.json\n  optimize show latest --report report.html",
		Args:    between(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			what := "latest"
			if len(args) == 1 {
				what = args[0]
			}
			if err := checkReports(reports); err != nil {
				return err
			}
			return a.showAny(what, of, reports)
		},
	}
	c.Flags().StringVar(&of, "recipe", ".", "the recipe, or its folder, whose runs are meant")
	c.Flags().StringArrayVar(&reports, "report", nil, "write a report of the run: FILE.md, FILE.html, FILE.xml (JUnit) or FILE.json (may be repeated)")
	return c
}

// showAny shows what an argument means: a file or a folder when there is one, else a run.
func (a *app) showAny(what, of string, reports []string) error {
	if st, err := os.Stat(what); err == nil && what != "latest" {
		if st.IsDir() {
			return a.showRun(readRun(what), reports)
		}
		return a.showFile(what, reports)
	}
	base, runs, err := historyOf(of)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return diag.Errorf("show/none", "There are no runs to show", "%s has none: `optimize apply` makes one. Runs of a recipe elsewhere: `optimize show --recipe RECIPE`.", shortPath(base))
	}
	if what == "latest" {
		return a.showRun(runs[0], reports)
	}
	var found []pastRun
	var ids []string
	for _, p := range runs {
		ids = append(ids, p.ID)
		if p.ID == what {
			return a.showRun(p, reports)
		}
		if strings.HasPrefix(p.ID, what) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return a.showRun(found[0], reports)
	case 0:
		return diag.Errorf("show/which", fmt.Sprintf("There is no run, record or saved plan %q", what), "`optimize runs` lists the runs%s.", nearest(what, ids, ""))
	}
	return diag.Errorf("show/which", fmt.Sprintf("%s begin with %q", count(len(found), "run"), what), "Write more of the name: the newest is %s.", found[0].ID)
}

// maxShown bounds a file that is read to be shown.
const maxShown = 256 << 20

// showFile shows a file: the record of a run, or a plan.
func (a *app) showFile(path string, reports []string) error {
	unfit := func(err error) error {
		return diag.Errorf("show/file", path+" cannot be shown", "%s. show takes a record (run.json) or a plan (`optimize plan --out`).", upperFirst(err.Error()))
	}
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		return unfit(errors.New("it is not a regular file"))
	}
	f, err := os.Open(path)
	if err != nil {
		return diag.Errorf("show/file", path+" cannot be read", "%s. Make it readable for this user.", reasonOf(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxShown))
	if err != nil {
		return diag.Errorf("show/file", path+" cannot be read", "%s.", reasonOf(err))
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return unfit(errors.New("it is no JSON"))
	}
	if strings.HasPrefix(head.Schema, "optimize.plan/") {
		return a.showPlan(path, data, reports)
	}
	rec, err := report.Parse(data)
	if err != nil {
		return unfit(err)
	}
	return a.showRecord(rec, data, filepath.Dir(path), reports)
}

// showPlan shows a plan as `optimize plan` printed it.
func (a *app) showPlan(path string, data []byte, reports []string) error {
	if len(reports) > 0 {
		return usagef("--report is about runs: %s is a plan", path)
	}
	var p plan.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return diag.Errorf("show/file", path+" cannot be shown", "It is damaged: %s. Make a new one with `optimize plan --out %s`.", err, quoteArg(path))
	}
	if p.Schema != plan.Schema {
		return diag.Errorf("show/file", path+" cannot be shown", "It is of the form %s, and this version of Optimize reads %s. Make a new one with `optimize plan --out %s`.", p.Schema, plan.Schema, quoteArg(path))
	}
	for _, x := range p.Actions {
		if x == nil {
			return diag.Errorf("show/file", path+" cannot be shown", "It is damaged. Make a new one with `optimize plan --out %s`.", quoteArg(path))
		}
	}
	if a.json {
		return a.copyJSON(data)
	}
	writePlan(a.stdout, report.Style{Color: a.color(a.stdout)}, &p)
	if s := p.Saved; s != nil {
		fmt.Fprintf(a.stdout, "A plan of %s, saved %s. Carry it out with `optimize apply %s`.\n", shortPath(s.Recipe), ago(s.Created), quoteArg(path))
	}
	return nil
}

// copyJSON prints a document as it is.
func (a *app) copyJSON(data []byte) error {
	_, err := a.stdout.Write(append([]byte(strings.TrimRight(string(data), "\n")), '\n'))
	return err
}

// showRun shows a run of which there may be no record.
func (a *app) showRun(p pastRun, reports []string) error {
	file := filepath.Join(p.Path, "run.json")
	dir := shortPath(p.Path)
	if logs, err := os.ReadDir(filepath.Join(p.Path, "logs")); err == nil && len(logs) > 0 {
		dir += " (its logs are in logs/)"
	}
	switch p.Status {
	case "running":
		return diag.Errorf("show/running", "Run "+p.ID+" goes on", "Its record is written when it ends. Until then there is its folder: %s.", dir)
	case "killed":
		return diag.Errorf("show/killed", "Run "+p.ID+" was killed", "It left no record. What it finished is in the cache, so the next apply goes on from there. Its folder: %s.", dir)
	case "unrun":
		return diag.Errorf("show/unrun", "Run "+p.ID+" has no record", "It ended before anything ran: the recipe or the plan had errors. Its folder: %s.", dir)
	case "damaged":
		return diag.Errorf("show/damaged", "The record of run "+p.ID+" cannot be read", "%s: %s. `optimize runs prune` removes old runs; what was computed is in the cache.", shortPath(file), p.Problem)
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return diag.Errorf("show/damaged", "The record of run "+p.ID+" cannot be read", "%s: %s.", shortPath(file), reasonOf(err))
	}
	return a.showRecord(p.record, data, p.Path, reports)
}

// showRecord shows the record of a run that lies in dir.
func (a *app) showRecord(rec *report.Run, data []byte, dir string, reports []string) error {
	if err := writeReports(reports, rec); err != nil {
		return err
	}
	if a.json {
		return a.copyJSON(data)
	}
	s := report.Style{Color: a.color(a.stdout)}
	fmt.Fprintf(a.stdout, "Run %s of %s, %s, with optimize %s\n\n", term.Clean(rec.ID), term.Clean(rec.Recipe), when(rec.Started), term.Clean(rec.Version))
	if err := view.Replay(a.stdout, s, rec); err != nil {
		return err
	}
	writeReasons(a.stdout, rec)
	for _, d := range rec.Diagnostics {
		writeDiagnostic(a.stdout, s, d)
	}
	verdict := map[string]string{"ok": s.Green("Done"), "ensure_failed": s.Red("Missed"), "stopped": s.Yellow("Stopped")}[rec.Status]
	if verdict == "" {
		verdict = s.Red("Failed")
	}
	trace := ""
	if exists(filepath.Join(dir, "trace.jsonl")) {
		trace = " Trace: " + shortPath(filepath.Join(dir, "trace.jsonl"))
	}
	fmt.Fprintf(a.stdout, "\n%s after %s, exit code %d.%s%s\n", verdict, round(rec.Duration), rec.ExitCode, leftOut(rec.Left), trace)
	return nil
}

// writeReasons says why what ran was not cached.
func writeReasons(w io.Writer, rec *report.Run) {
	for _, x := range rec.Actions {
		for _, c := range x.Reasons {
			fmt.Fprintf(w, "  %s ran for %s\n", term.Clean(x.Addr), term.Clean(c.String()))
		}
	}
}

// writeDiagnostic writes an error or a warning of a record, with its place but without the source, which may have
// changed since.
func writeDiagnostic(w io.Writer, s report.Style, d diag.JSONDiag) {
	word := s.Red("Error: ")
	if d.Severity == "warning" {
		word = s.Yellow("Warning: ")
	}
	at := ""
	if d.Range != nil {
		at = fmt.Sprintf(" (%s line %d)", term.Clean(d.Range.Filename), d.Range.Start.Line)
	}
	fmt.Fprintf(w, "\n%s%s%s\n", word, term.Clean(d.Summary), at)
	for line := range strings.Lines(term.CleanLines(d.Detail)) {
		fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, "\n"))
	}
}
