package diag

import (
	"encoding/json"
	"io"
	"strings"
)

// Document is the JSON form, schema "optimize.diagnostics/v1".
type Document struct {
	Schema      string     `json:"schema"`
	Valid       bool       `json:"valid"`
	Errors      int        `json:"errors"`
	Warnings    int        `json:"warnings"`
	Diagnostics []JSONDiag `json:"diagnostics"`
}

// JSONDiag is one diagnostic in JSON.
type JSONDiag struct {
	// Severity is "error" or "warning".
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail,omitempty"`
	Code     string `json:"code,omitempty"`
	Plugin   string `json:"plugin,omitempty"`
	Step     string `json:"step,omitempty"`
	// Range is absent when the diagnostic has no place in a recipe.
	Range *JSONRange `json:"range,omitempty"`
	// Snippet is absent when the source is not at hand.
	Snippet *JSONSnippet `json:"snippet,omitempty"`
}

// JSONRange is a place; End is exclusive.
type JSONRange struct {
	Filename string  `json:"filename"`
	Start    JSONPos `json:"start"`
	End      JSONPos `json:"end"`
}

// JSONPos is a position: Line and Column count from 1, Column in grapheme clusters, Byte from 0.
type JSONPos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// JSONSnippet is the source of a diagnostic.
type JSONSnippet struct {
	// Context names the block around the place, such as `step "quantize_static" "int8"`.
	Context string `json:"context,omitempty"`
	// Code is whole lines, without the last line end; StartLine is the number of the first.
	Code      string `json:"code"`
	StartLine int    `json:"start_line"`
	// HighlightStart and HighlightEnd are bytes of Code.
	HighlightStart int `json:"highlight_start"`
	HighlightEnd   int `json:"highlight_end"`
}

// JSON writes the diagnostics as one indented Document and a line end.
func (r *Renderer) JSON(w io.Writer, diags Diags) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r.Document(diags))
}

// Document gives the JSON form as a value, for a command that puts it into a larger one.
func (r *Renderer) Document(diags Diags) Document {
	n := diags.Errors()
	doc := Document{
		Schema: "optimize.diagnostics/v1", Valid: n == 0, Errors: n, Warnings: len(diags) - n,
		Diagnostics: make([]JSONDiag, 0, len(diags)),
	}
	for i := range diags {
		d := &diags[i]
		j := JSONDiag{Severity: d.Severity.String(), Summary: r.veil(d.Summary), Detail: r.veil(d.Detail), Code: d.Code, Plugin: d.Plugin, Step: d.Step}
		if d.Subject != nil {
			j.Range = &JSONRange{Filename: d.Subject.Filename, Start: JSONPos(d.Subject.Start), End: JSONPos(d.Subject.End)}
			j.Snippet = r.jsonSnippet(d)
		}
		doc.Diagnostics = append(doc.Diagnostics, j)
	}
	return doc
}

func (r *Renderer) jsonSnippet(d *Diagnostic) *JSONSnippet {
	lines, _ := r.lines(d)
	if lines == nil {
		return nil
	}
	s := &JSONSnippet{Context: r.enclosing(d), StartLine: lines[0].number, HighlightStart: -1}
	var code strings.Builder
	for i, l := range lines {
		if i > 0 {
			code.WriteByte('\n')
		}
		if l.from < l.to {
			if s.HighlightStart < 0 {
				s.HighlightStart = code.Len() + l.from
			}
			s.HighlightEnd = code.Len() + l.to
		}
		code.WriteString(l.text)
	}
	s.HighlightStart = max(s.HighlightStart, 0)
	s.Code = code.String()
	return s
}
