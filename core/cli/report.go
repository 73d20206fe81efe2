package cli

import (
	"bytes"
	"io"
	"os"
	"slices"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
)

// checkReports refuses a report of which the format is not known, before anything is run.
func checkReports(files []string) error {
	for _, f := range files {
		format, ok := report.FormatOf(f)
		if !ok {
			return usagef("--report %q: the format follows from the end of the name: .md, .html, .xml (JUnit) or .json", f)
		}
		if format == "json" && isForeignJSON(f) {
			return diag.Errorf("run/report", "The report would go over "+f, "That file is no report. Write it elsewhere, --report report.json, or remove the file first.")
		}
	}
	return nil
}

// isForeignJSON tells whether a file that is there was not written by this program, such as a recipe in JSON.
func isForeignJSON(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false // that it cannot be written is told later
	}
	defer f.Close()
	head, _ := io.ReadAll(io.LimitReader(f, 256)) // the schema is the first member
	return !bytes.Contains(head, []byte(`"schema": "optimize.`))
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
