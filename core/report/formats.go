package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Formats are the names of the reports that Write knows.
var Formats = []string{"md", "html", "junit", "json"}

// Write writes a run as a report of a format: "md", "html", "junit" or "json".
func Write(w io.Writer, format string, r *Run) error {
	switch format {
	case "md":
		return Markdown(w, r)
	case "html":
		return HTML(w, r)
	case "junit":
		return JUnit(w, r)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return fmt.Errorf("there is no report %q: the formats are %s", format, strings.Join(Formats, ", "))
}

// FormatOf gives the format of a report by the end of its file's name.
func FormatOf(path string) (format string, ok bool) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".md", ".markdown":
		return "md", true
	case ".html", ".htm":
		return "html", true
	case ".xml":
		return "junit", true
	case ".json":
		return "json", true
	}
	return "", false
}

// WriteFile writes a report by rename, so that a reader never sees half of it, and makes the folder that it goes to.
func WriteFile(path, format string, r *Run) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".report-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = Write(f, format, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
