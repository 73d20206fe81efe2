package cli

import (
	"slices"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
)

// checkReports refuses a report of which the format is not known, before anything is run.
func checkReports(files []string) error {
	for _, f := range files {
		if _, ok := report.FormatOf(f); !ok {
			return usagef("--report %q: the format follows from the end of the name: .md, .html, .xml (JUnit) or .json", f)
		}
	}
	return nil
}

// writeReports writes the reports that the user named; a run that failed has them too.
func writeReports(files []string, rec *report.Run) error {
	var ds diag.Diags
	for _, f := range files {
		format, _ := report.FormatOf(f)
		if err := report.WriteFile(f, format, rec); err != nil {
			ds = ds.Append(diag.Errorf("run/report", "The report "+f+" cannot be written", "%s. The record is in the run's folder: `optimize show` writes a report of it.", err))
		}
	}
	return ds.Err()
}

// document gives diagnostics as the record keeps them.
func (a *app) document(w *work, ds diag.Diags) []diag.JSONDiag {
	if len(ds) == 0 {
		return nil
	}
	return (&diag.Renderer{Files: w.recipe.Files, Hide: a.secrets}).Document(slices.Clone(ds).Sorted()).Diagnostics
}

// actions counts what a run will tell of: outputs are published together, at the end.
func (w *work) actions() int {
	n := 0
	for _, x := range w.session.Program.Nodes() {
		if x.Kind != recipe.KindOutput {
			n++
		}
	}
	return n
}
