package view

import (
	"io"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
)

// Replay writes a run that is over as apply wrote it, from its record.
func Replay(w io.Writer, s report.Style, r *report.Run) error {
	text := ""
	add := func(e run.Event) { text += line(s, &e) }
	for i := range r.Actions {
		a := &r.Actions[i]
		if a.Kind != "output" {
			add(run.Event{Type: "end", Addr: a.Addr, StepType: a.Type, Status: a.Status, Duration: a.Duration, Result: a.Result})
		}
	}
	for i := range r.Evaluations {
		add(run.Event{Type: "evaluation", Evaluation: &r.Evaluations[i]})
	}
	for i := range r.Outputs {
		if r.Outputs[i].Published {
			add(run.Event{Type: "output", Output: &r.Outputs[i]})
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
