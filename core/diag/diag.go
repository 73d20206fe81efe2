// Package diag is the one kind of diagnostic in Optimize: an error or a warning that says what is wrong, where in the
// recipe, and what to do about it. It has a text form for people and a JSON form for editors and scripts.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Severity tells whether a diagnostic stops the run.
type Severity uint8

// The zero Severity is Error, so that a diagnostic built in haste is never taken for harmless.
const (
	Error Severity = iota
	Warning
)

// String gives "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Diagnostic is one error or warning.
type Diagnostic struct {
	Severity Severity
	// Summary is one line without a full stop: what is wrong.
	Summary string
	// Detail says what to do about it. Blank lines separate paragraphs; a line that starts with a space is not wrapped.
	Detail string
	// Code is stable and documented, such as "recipe/unknown-reference"; it may be empty.
	Code string
	// Subject is the place that is wrong; nil when the diagnostic has no place in a recipe.
	Subject *hcl.Range
	// Context is a larger range around Subject that the snippet shows in full; it may be nil.
	Context *hcl.Range
	// Plugin is the name of the plugin that reported it; empty when the core did.
	Plugin string
	// Step is the address of the step concerned, such as "step.int8"; it may be empty.
	Step string
}

// Error makes a Diagnostic an error in one line: "recipe.hcl:12,3: Summary: Detail".
func (d Diagnostic) Error() string {
	var b strings.Builder
	if d.Subject != nil {
		fmt.Fprintf(&b, "%s:%d,%d: ", d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column)
	}
	b.WriteString(d.Summary)
	if d.Detail != "" {
		b.WriteString(": ")
		b.WriteString(strings.Join(strings.Fields(d.Detail), " "))
	}
	return b.String()
}

// Diags is a list of diagnostics. The nil list is empty and ready for use.
type Diags []Diagnostic

// HasErrors tells whether at least one diagnostic is an error.
func (d Diags) HasErrors() bool {
	return slices.ContainsFunc(d, func(x Diagnostic) bool { return x.Severity == Error })
}

// Errors counts the errors.
func (d Diags) Errors() int {
	n := 0
	for _, x := range d {
		if x.Severity == Error {
			n++
		}
	}
	return n
}

// Append gives the list with more at its end.
func (d Diags) Append(more ...Diagnostic) Diags { return append(d, more...) }

// Extend gives the list with HCL's diagnostics at its end.
func (d Diags) Extend(more hcl.Diagnostics) Diags { return append(d, FromHCL(more)...) }

// Err gives nil when the list holds no error, else the list itself as an error.
func (d Diags) Err() error {
	if !d.HasErrors() {
		return nil
	}
	return d
}

// Error gives one line for each error.
func (d Diags) Error() string {
	var lines []string
	for _, x := range d {
		if x.Severity == Error {
			lines = append(lines, x.Error())
		}
	}
	return strings.Join(lines, "\n")
}

// Sorted gives the list in reading order (errors without a place first, then by file and position, warnings after the
// errors of the same place) and without repetitions. The receiver is left as it is.
func (d Diags) Sorted() Diags {
	seen := make(map[identity]bool, len(d))
	out := make(Diags, 0, len(d))
	for _, x := range d {
		if id := identify(x); !seen[id] {
			seen[id] = true
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, compare)
	return out
}

// Without gives the list without those that are in told already, in their order.
func (d Diags) Without(told Diags) Diags {
	if len(d) == 0 || len(told) == 0 {
		return d
	}
	seen := make(map[identity]bool, len(told))
	for _, x := range told {
		seen[identify(x)] = true
	}
	return slices.DeleteFunc(slices.Clone(d), func(x Diagnostic) bool { return seen[identify(x)] })
}

// identity is what makes two diagnostics the same one: with a place, plugin and step do not tell them apart.
type identity struct {
	severity                            Severity
	summary, detail, code, plugin, step string
	place                               hcl.Range
}

func identify(d Diagnostic) identity {
	id := identity{severity: d.Severity, summary: d.Summary, detail: d.Detail, code: d.Code}
	if d.Subject != nil {
		id.place = *d.Subject
	} else {
		id.plugin, id.step = d.Plugin, d.Step
	}
	return id
}

func compare(a, b Diagnostic) int {
	switch {
	case a.Subject == nil && b.Subject == nil:
		return cmp.Compare(a.Severity, b.Severity)
	case a.Subject == nil:
		return -1
	case b.Subject == nil:
		return 1
	}
	return cmp.Or(
		cmp.Compare(a.Subject.Filename, b.Subject.Filename),
		cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte),
		cmp.Compare(a.Severity, b.Severity),
		cmp.Compare(a.Summary, b.Summary),
		cmp.Compare(a.Detail, b.Detail),
	)
}

// Errorf gives an error without a place.
func Errorf(code, summary, detail string, args ...any) Diagnostic {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return Diagnostic{Severity: Error, Code: code, Summary: summary, Detail: detail}
}

// At gives an error at a place.
func At(r hcl.Range, code, summary, detail string, args ...any) Diagnostic {
	d := Errorf(code, summary, detail, args...)
	d.Subject = &r
	return d
}

// FromHCL converts HCL's diagnostics.
func FromHCL(in hcl.Diagnostics) Diags {
	out := make(Diags, 0, len(in))
	for _, x := range in {
		if x == nil {
			continue
		}
		d := Diagnostic{Summary: x.Summary, Detail: x.Detail, Subject: x.Subject, Context: x.Context}
		if x.Severity == hcl.DiagWarning {
			d.Severity = Warning
		}
		out = append(out, d)
	}
	return out
}

// FromPlugin converts the diagnostics that a plugin sent about one step. body is the step's block; step its address.
func FromPlugin(in []*pluginv1.Diagnostic, body hcl.Body, plugin, step string) Diags {
	out := make(Diags, 0, len(in))
	for _, x := range in {
		if x == nil {
			continue
		}
		d := Diagnostic{Summary: x.GetSummary(), Detail: x.GetDetail(), Code: x.GetCode(), Plugin: plugin, Step: step}
		if x.GetSeverity() == pluginv1.Diagnostic_SEVERITY_WARNING {
			d.Severity = Warning
		}
		if d.Summary == "" {
			d.Summary = "The plugin gave no reason"
		}
		if body != nil {
			r := FromPath(body, x.GetPath())
			d.Subject = &r
		}
		out = append(out, d)
	}
	return out
}
