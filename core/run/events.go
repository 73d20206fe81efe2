// Package run carries a plan out: it orders the nodes, runs what the cache does not hold, tells what happens as
// events, and gathers the run's record.
package run

import (
	"encoding/json"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/report"
)

// EventSchema names the version of the events' JSON.
const EventSchema = "optimize.event/v1"

// Event is something that happens in a run: one line in a log, one line of `apply --json`. docs/events.md lists them.
type Event struct {
	Schema string `json:"schema"`
	// Type is "run", "wait", "start", "progress", "log", "diagnostic", "end", "evaluation", "output" or "result".
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Addr string    `json:"addr,omitempty"`
	// ID, Recipe and Version are those of the run, in "run".
	ID      string `json:"id,omitempty"`
	Recipe  string `json:"recipe,omitempty"`
	Version string `json:"version,omitempty"`
	// StepType is the step's type in "start" and "end".
	StepType string `json:"step_type,omitempty"`
	// Status is the action's in "end": done, cached, failed, skipped, stopped.
	Status   string        `json:"status,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Why and Reasons say in "start" why the store did not serve.
	Why     string         `json:"why,omitempty"`
	Reasons []cache.Change `json:"reasons,omitempty"`

	// Result holds in "end" what a step says about its work.
	Result json.RawMessage `json:"result,omitempty"`

	// Phase, Current, Total and Unit are how far the work is, in "progress"; Total is 0 when nobody knows.
	Phase   string `json:"phase,omitempty"`
	Current int64  `json:"current,omitempty"`
	Total   int64  `json:"total,omitempty"`
	Unit    string `json:"unit,omitempty"`

	Level   string            `json:"level,omitempty"`
	Message string            `json:"message,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`

	Diagnostics []diag.JSONDiag    `json:"diagnostics,omitempty"`
	Evaluation  *report.Evaluation `json:"evaluation,omitempty"`
	Output      *report.Output     `json:"output,omitempty"`
	Run         *report.Run        `json:"run,omitempty"`
}

// Sink takes events. It is called by one goroutine at a time.
type Sink func(Event)

// NewEvent makes an event of now.
func NewEvent(kind string) Event {
	return Event{Schema: EventSchema, Type: kind, Time: time.Now().UTC()}
}
