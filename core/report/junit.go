package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/term"
)

// JUnit's XML as CI systems read it.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string           `xml:"name,attr"`
		Tests      int              `xml:"tests,attr"`
		Failures   int              `xml:"failures,attr"`
		Skipped    int              `xml:"skipped,attr"`
		Time       string           `xml:"time,attr"`
		Timestamp  string           `xml:"timestamp,attr"`
		Properties *junitProperties `xml:"properties"`
		Cases      []junitCase      `xml:"testcase"`
	}
	junitProperties struct {
		List []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		Class     string        `xml:"classname,attr"`
		Time      string        `xml:"time,attr"`
		Failure   *junitMessage `xml:"failure"`
		Skipped   *junitMessage `xml:"skipped"`
		SystemOut string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a run as JUnit XML, so that CI shows it with its tests: a suite of what was done, and for each evaluation
// one with its ensures.
func JUnit(w io.Writer, r *Run) error {
	all := junitSuites{Name: term.Clean(r.title()), Time: seconds(r.Duration)}
	stamp := r.Started.UTC().Format("2006-01-02T15:04:05")
	done := junitSuite{Name: "steps", Timestamp: stamp, Properties: &junitProperties{properties(r)}}
	var work time.Duration
	for _, a := range r.Actions {
		if a.Kind == "output" {
			continue
		}
		work += a.Duration
		done.Cases = append(done.Cases, actionCase(r, &a))
	}
	done.Time = seconds(work)
	all.Suites = append(all.Suites, done)
	for i := range r.Evaluations {
		e := &r.Evaluations[i]
		s := junitSuite{Name: "evaluate." + term.Clean(e.Name), Timestamp: stamp, Time: seconds(0)}
		for _, c := range e.Ensures {
			t := junitCase{Name: term.Clean(c.Name), Class: s.Name, Time: seconds(0), SystemOut: term.Clean(c.Condition)}
			if !c.OK {
				t.Failure = &junitMessage{Message: term.Clean(c.Message), Text: term.Clean(c.Condition)}
			}
			s.Cases = append(s.Cases, t)
		}
		if len(s.Cases) > 0 {
			all.Suites = append(all.Suites, s)
		}
	}
	for i := range all.Suites {
		s := &all.Suites[i]
		s.Tests = len(s.Cases)
		for _, c := range s.Cases {
			if c.Failure != nil {
				s.Failures++
			}
			if c.Skipped != nil {
				s.Skipped++
			}
		}
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func properties(r *Run) []junitProperty {
	var out []junitProperty
	for _, p := range []junitProperty{{"run", r.ID}, {"recipe", r.Recipe}, {"version", r.Version}, {"status", r.Status}, {"trace_id", r.TraceID}} {
		if p.Value != "" {
			out = append(out, junitProperty{p.Name, term.Clean(p.Value)})
		}
	}
	return out
}

// actionCase is the test case of an action: a failed one carries the errors that were reported for it.
func actionCase(r *Run, a *Action) junitCase {
	c := junitCase{Name: term.Clean(a.Addr), Class: term.Clean(a.Kind), Time: seconds(a.Duration)}
	if a.Type != "" {
		c.Class = term.Clean(a.Type)
	}
	switch a.Status {
	case "failed":
		c.Failure = &junitMessage{Message: term.Clean(a.Kind) + " failed"}
		var text []string
		for _, d := range r.Diagnostics {
			if d.Severity == "error" && d.Step == a.Addr {
				if len(text) == 0 {
					c.Failure.Message = term.Clean(d.Summary)
				}
				text = append(text, term.CleanLines(strings.TrimSpace(d.Summary+"\n"+d.Detail)))
			}
		}
		c.Failure.Text = strings.Join(text, "\n\n")
	case "skipped":
		c.Skipped = &junitMessage{Message: "something that it depends on did not succeed"}
	case "stopped":
		c.Skipped = &junitMessage{Message: "the run was stopped"}
	}
	if a.Kind == "step" {
		f := FactsOf(a.Result)
		lines := append([]string{strings.Join(f.Did, " · ")}, f.Left...)
		for i := range f.Tables {
			lines = append(lines, f.Tables[i].lines(maxRows)...)
		}
		c.SystemOut = strings.Join(lines, "\n")
	}
	return c
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
