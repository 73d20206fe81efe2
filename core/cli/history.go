package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/lockfile"
	"github.com/optimize-hcl/optimize/core/report"
)

// runningFile lies in the folder of a run and is locked as long as it goes on.
const runningFile = "running"

// pastRun is one run in the list of runs.
type pastRun struct {
	ID string `json:"id"`
	// Status is ok, ensure_failed, failed or stopped as in the record; running; killed, when the process ended without a
	// record; unrun, when it ended before anything ran; or damaged.
	Status   string        `json:"status"`
	Recipe   string        `json:"recipe,omitempty"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	ExitCode *int          `json:"exit_code,omitempty"`
	Done     int           `json:"done"`
	Cached   int           `json:"cached"`
	Failed   int           `json:"failed"`
	Skipped  int           `json:"skipped"`
	Ensures  int           `json:"ensures"`
	Held     int           `json:"ensures_held"`
	Path     string        `json:"path"`
	// Problem says what is wrong with a record that cannot be read.
	Problem string `json:"problem,omitempty"`

	record *report.Run
}

// history lists the runs in a folder of runs, the newest first.
func history(base string) ([]pastRun, error) {
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diag.Errorf("runs/folder", "The runs cannot be listed", "%s: %s. Make the folder readable for this user.", base, reasonOf(err))
	}
	var out []pastRun
	for _, e := range entries {
		if e.IsDir() && isRunID(e.Name()) {
			out = append(out, readRun(filepath.Join(base, e.Name())))
		}
	}
	slices.SortFunc(out, func(a, b pastRun) int {
		if c := b.Started.Compare(a.Started); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return out, nil
}

// runTime is when a run with that name of its folder began.
func runTime(id string) (time.Time, error) {
	const layout = "20060102T150405.000"
	return time.Parse(layout, id[:min(len(layout), len(id))])
}

func isRunID(name string) bool {
	_, err := runTime(name)
	return err == nil
}

// readRun reads what is known of one run.
func readRun(dir string) pastRun {
	p := pastRun{ID: filepath.Base(dir), Path: dir}
	p.Started, _ = runTime(p.ID) // of a folder with another name, its record tells
	rec, err := report.ReadFile(filepath.Join(dir, "run.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Status = "unrun"
		switch there, locked := lockfile.Locked(filepath.Join(dir, runningFile)); {
		case locked:
			p.Status = "running"
		case there:
			p.Status = "killed"
		}
		return p
	case err != nil:
		p.Status, p.Problem = "damaged", reasonOf(err)
		return p
	}
	p.record = rec
	p.Status, p.Recipe, p.Started, p.Duration, p.ExitCode = rec.Status, rec.Recipe, rec.Started, rec.Duration, &rec.ExitCode
	for _, x := range rec.Actions {
		if x.Kind == "model" || x.Kind == "output" {
			continue
		}
		switch x.Status {
		case "done":
			p.Done++
		case "cached":
			p.Cached++
		case "failed":
			p.Failed++
		default:
			p.Skipped++
		}
	}
	for _, e := range rec.Evaluations {
		for _, c := range e.Ensures {
			p.Ensures++
			if c.OK {
				p.Held++
			}
		}
	}
	return p
}

// historyOf gives the runs of a recipe, which is a file, a folder, or the working folder when nothing is named.
func historyOf(path string) (base string, runs []pastRun, err error) {
	dir := path
	st, err := os.Stat(path)
	if err != nil {
		return "", nil, diag.Errorf("runs/recipe", "There is no recipe "+path, "Name a recipe's file or its folder: `optimize runs recipe.hcl`.")
	}
	if !st.IsDir() {
		dir = filepath.Dir(path)
	}
	if base, err = runsDir(dir); err != nil {
		return "", nil, err
	}
	if runs, err = history(base); err != nil || st.IsDir() {
		return base, runs, err
	}
	// Another recipe in the same folder has its runs in the same place.
	return base, slices.DeleteFunc(runs, func(p pastRun) bool {
		name := filepath.Base(p.Recipe)
		return (strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".json")) && name != filepath.Base(path)
	}), nil
}
