package sdk

import (
	"errors"
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Severity of a diagnostic; the zero value is SeverityError.
type Severity uint8

// The severities.
const (
	SeverityError Severity = iota
	SeverityWarning
)

// Key is a path step into a map: an element or a labelled block.
type Key string

// Index is a path step into a list, or to the nth block of its name.
type Index int64

// Diagnostic says what is wrong, where in the configuration, and what to do. It is an error too: a step that returns
// one is shown at that place in the user's recipe.
type Diagnostic struct {
	Severity Severity
	// Summary is one line without a final dot.
	Summary string
	// Detail says what to do about it.
	Detail string
	// Code is stable and documented: "quantize/unsupported-op". Empty when there is none.
	Code string
	// Path leads into the configuration: string (an argument or a block), Key or Index. Empty means the whole step.
	Path []any
}

// Error is the summary and the detail.
func (d Diagnostic) Error() string {
	if d.Detail == "" {
		return d.Summary
	}
	return d.Summary + ": " + d.Detail
}

// Diagnostics are several of them; as an error (see Err) each is shown at its own place.
type Diagnostics []Diagnostic

// HasErrors tells whether one of them is an error.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity == SeverityError {
			return true
		}
	}
	return false
}

// Error is all of them on one line each.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is nil without errors, else all of them, warnings too.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return ds
}

// AttrError is an error about one argument: "calibration", or "input.field" for one within a block.
func AttrError(attr, summary, detail string) error {
	return attrDiagnostic(SeverityError, attr, summary, detail)
}

// AttrWarning is a warning about one argument, for Run.Warn, Validate and PlanResult.
func AttrWarning(attr, summary, detail string) Diagnostic {
	return attrDiagnostic(SeverityWarning, attr, summary, detail)
}

// CodeError is an error about the whole step, with a documented code such as "quantize/unsupported-op".
func CodeError(code, summary, detail string) error {
	return Diagnostic{Code: code, Summary: summary, Detail: detail}
}

func attrDiagnostic(s Severity, attr, summary, detail string) Diagnostic {
	d := Diagnostic{Severity: s, Summary: summary, Detail: detail}
	if attr != "" {
		for _, p := range strings.Split(attr, ".") {
			d.Path = append(d.Path, p)
		}
	}
	return d
}

// diagnosticsOf turns any error into diagnostics: those it carries, or a plain one with its text.
func diagnosticsOf(err error) Diagnostics {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { // errors.Join: each at its own place
		var out Diagnostics
		for _, e := range many.Unwrap() {
			out = append(out, diagnosticsOf(e)...)
		}
		if len(out) > 0 {
			return out
		}
	}
	var ds Diagnostics
	if errors.As(err, &ds) && len(ds) > 0 {
		return ds
	}
	var d Diagnostic
	if errors.As(err, &d) {
		return Diagnostics{d}
	}
	var p *Diagnostic
	if errors.As(err, &p) && p != nil {
		return Diagnostics{*p}
	}
	summary, detail, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if summary == "" {
		summary = fmt.Sprintf("an error without a text (%T)", err)
	}
	return Diagnostics{{Summary: summary, Detail: strings.TrimSpace(detail)}}
}

func (d Diagnostic) wire() *pluginv1.Diagnostic {
	w := &pluginv1.Diagnostic{Severity: pluginv1.Diagnostic_SEVERITY_ERROR, Summary: valid(d.Summary), Detail: valid(d.Detail), Code: valid(d.Code)}
	if d.Severity == SeverityWarning {
		w.Severity = pluginv1.Diagnostic_SEVERITY_WARNING
	}
	for _, s := range d.Path {
		switch s := s.(type) {
		case Key:
			w.Path = append(w.Path, &pluginv1.PathStep{Step: &pluginv1.PathStep_Key{Key: valid(string(s))}})
		case Index:
			w.Path = append(w.Path, &pluginv1.PathStep{Step: &pluginv1.PathStep_Index{Index: int64(s)}})
		case int:
			w.Path = append(w.Path, &pluginv1.PathStep{Step: &pluginv1.PathStep_Index{Index: int64(s)}})
		default:
			w.Path = append(w.Path, &pluginv1.PathStep{Step: &pluginv1.PathStep_Attribute{Attribute: valid(fmt.Sprint(s))}})
		}
	}
	return w
}

func (ds Diagnostics) wire() []*pluginv1.Diagnostic {
	var out []*pluginv1.Diagnostic
	for _, d := range ds {
		out = append(out, d.wire())
	}
	return out
}

// valid keeps text that gRPC would refuse, such as a node name with raw bytes in it, from losing the whole message, and
// very long text from making it too large.
func valid(s string) string {
	const most = 16 << 10
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
