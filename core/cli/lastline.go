package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
)

// lastLine says how the run ended and what to do. path is what apply was given.
func (a *app) lastLine(w *work, rec *report.Run, path string) {
	s := report.Style{Color: a.color(a.stdout)}
	took := round(rec.Duration)
	dir := shortPath(w.runDir)
	again := fmt.Sprintf("`optimize apply %s`", quoteArg(path))
	switch rec.Status {
	case "ok":
		fmt.Fprintf(a.stdout, "%s in %s.%s Record and trace: %s\n", s.Green("Done"), took, leftOut(rec.Left), dir)
	case "ensure_failed":
		var missed []string
		for _, e := range rec.Evaluations {
			for _, c := range e.Ensures {
				if !c.OK {
					missed = append(missed, fmt.Sprintf("%s of evaluate.%s", c.Name, e.Name))
				}
			}
		}
		written := "so the outputs were not written (--publish-failed writes them)"
		if published(rec) {
			written = "but the outputs were written, as --publish-failed asks"
		}
		fmt.Fprintf(a.stdout, "%s after %s: %s did not hold, %s.%s Record and trace: %s\n",
			s.Red("Missed"), took, strings.Join(missed, ", "), written, leftOut(rec.Left), dir)
	case "stopped":
		fmt.Fprintf(a.stdout, "%s after %s. What was finished is in the cache: %s goes on from there.\n", s.Yellow("Stopped"), took, again)
	default:
		a.failedLine(w, rec, dir, again)
	}
}

func published(rec *report.Run) bool {
	for _, o := range rec.Outputs {
		if o.Published {
			return true
		}
	}
	return false
}

// failedLine names what failed, where its log is, and how to go on.
func (a *app) failedLine(w *work, rec *report.Run, dir, again string) {
	s := report.Style{Color: a.color(a.stdout)}
	var failed, logs []string
	left := 0
	for _, x := range rec.Actions {
		switch x.Status {
		case "skipped", "stopped":
			left++
		case "failed":
			failed = append(failed, x.Addr)
			if file := filepath.Join(w.runDir, "logs", run.LogName(x.Addr)); x.Kind == "step" && exists(file) {
				logs = append(logs, shortPath(file))
			}
		}
	}
	what := "the outputs were not written"
	if len(failed) > 0 {
		what = strings.Join(failed, ", ") + " did not succeed"
		if left > 0 {
			what += fmt.Sprintf("; what was skipped or stopped for that: %d", left)
		}
		if len(rec.Outputs) > 0 {
			what += "; no output was written"
		}
	}
	where := "Record, trace and logs: " + dir
	if len(logs) > 0 {
		where = "Log: " + strings.Join(logs, ", ") + "; record and trace beside it"
	}
	fmt.Fprintf(a.stdout, "%s after %s: %s. %s. Then %s goes on from there.\n", s.Red("Failed"), round(rec.Duration), what, where, again)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shortPath is a path as seen from the working folder, when that is below it.
func shortPath(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if r, err := filepath.Rel(wd, path); err == nil {
			return r
		}
	}
	return path
}

// quoteArg writes an argument as a shell takes it.
func quoteArg(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
