// Package run carries a plan out: it orders the nodes, runs what the cache does not hold, tells what happens as
// events, and gathers the run's record.
package run

import (
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/report"
)

// Event is something that happens in a run: one line in a log, one line of `apply --json`.
type Event struct {
	// Type is "start", "progress", "log", "diagnostic", "end", "evaluation", "ensure", "output" or "result".
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Addr string    `json:"addr,omitempty"`
	// StepType is the step's type in "start" and "end".
	StepType string `json:"step_type,omitempty"`
	// Status is the action's in "end": done, cached, failed, skipped, stopped.
	Status   string         `json:"status,omitempty"`
	Duration time.Duration  `json:"duration_ns,omitempty"`
	Reasons  []cache.Change `json:"reasons,omitempty"`

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
