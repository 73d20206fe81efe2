package report

import (
	"embed"
	"html/template"
	"io"
	"strings"
	"sync"

	"github.com/optimize-hcl/optimize/core/term"
)

//go:embed report.html.tmpl
var htmlFiles embed.FS

// page is the template, parsed when the first report is written: it would cost every start of the command.
var page = sync.OnceValues(func() (*template.Template, error) {
	return template.New("report.html.tmpl").Funcs(template.FuncMap{
		"clean": term.Clean, "lines": term.CleanLines, "took": took, "bytes": Bytes, "short": short,
		"heading": heading, "grid": grid, "runs": runsAs, "facts": FactsOf, "charts": ChartsOf,
		"reasons": func(a Action) string { return a.reasons() },
		"join":    func(s []string) string { return strings.Join(s, " · ") },
		"text":    func(b []byte) string { return string(b) },
	}).ParseFS(htmlFiles, "report.html.tmpl")
})

// HTML writes a run as one page that fetches nothing, for a browser in light or dark.
func HTML(w io.Writer, r *Run) error {
	t, err := page()
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Run": r, "Title": r.title(), "Verdict": r.verdict(), "Steps": r.steps(),
	})
}
