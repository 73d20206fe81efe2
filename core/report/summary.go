package report

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/term"
)

// verdict says how a run ended, in a few words.
func (r *Run) verdict() string {
	switch r.Status {
	case "ok":
		return "all held"
	case "ensure_failed":
		return "an ensure did not hold"
	case "stopped":
		return "stopped"
	}
	return "failed"
}

// title names the recipe: its file, or its folder when the file has the usual name.
func (r *Run) title() string {
	name := filepath.Base(filepath.ToSlash(r.Recipe))
	if name == "recipe.hcl" || name == "recipe.hcl.json" {
		if d := filepath.Base(filepath.Dir(r.Recipe)); d != "." && d != string(filepath.Separator) {
			return d
		}
	}
	return name
}

// steps are the actions that a report lists: models are only read, and outputs have a list of their own.
func (r *Run) steps() []Action {
	var out []Action
	for _, a := range r.Actions {
		if a.Kind != "output" && (a.Kind != "model" || a.Status != "done") {
			out = append(out, a)
		}
	}
	return out
}

// took writes a duration with about three digits.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Millisecond:
		return "under 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// reasons says in one line why the cache did not serve an action.
func (a *Action) reasons() string {
	var out []string
	for _, c := range a.Reasons {
		out = append(out, c.String())
	}
	return strings.Join(out, "; ")
}

// short is what a reader needs of a digest.
func short(digest string) string {
	if len(digest) > 12 {
		digest = digest[:12]
	}
	return term.Clean(digest)
}
