// Package report turns a run into what people and machines read: the run record, and the table on the terminal.
package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/evaluate"
)

// Schema names the version of the run record.
const Schema = "optimize.run/v1"

// Run is the record of one apply: run.json in the run's folder, and the last event of `apply --json`.
type Run struct {
	Schema   string        `json:"schema"`
	ID       string        `json:"id"`
	Recipe   string        `json:"recipe"`
	Version  string        `json:"version"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_ns"`
	TraceID  string        `json:"trace_id,omitempty"`
	// Status is "ok", "failed", "ensure_failed" or "stopped"; ExitCode is what the process exits with.
	Status      string       `json:"status"`
	ExitCode    int          `json:"exit_code"`
	Actions     []Action     `json:"actions"`
	Evaluations []Evaluation `json:"evaluations,omitempty"`
	Outputs     []Output     `json:"outputs,omitempty"`
	// Left are the outputs and evaluations that --target left out.
	Left []string `json:"left_out,omitempty"`
	// Diagnostics are the errors and warnings of the run.
	Diagnostics []diag.JSONDiag `json:"diagnostics,omitempty"`
}

// Action is one thing that the run did or found done: a model read, a dataset materialised, a step applied.
type Action struct {
	// Addr is the address in the recipe: "step.int8".
	Addr string `json:"addr"`
	// Kind is "model", "dataset", "step", "evaluate" or "output".
	Kind string `json:"kind"`
	// Type is the step type: "quantize_static".
	Type          string `json:"type,omitempty"`
	Plugin        string `json:"plugin,omitempty"`
	PluginVersion string `json:"plugin_version,omitempty"`
	// Status is "done", "cached", "failed", "skipped" or "stopped".
	Status   string        `json:"status"`
	Key      string        `json:"key,omitempty"`
	Duration time.Duration `json:"duration_ns"`
	// Reasons say why the cache did not hold the result.
	Reasons     []cache.Change            `json:"reasons,omitempty"`
	Fingerprint map[string]string         `json:"fingerprint,omitempty"`
	Outputs     map[string]cache.Artifact `json:"outputs,omitempty"`
	// Result holds the step's facts about its work.
	Result json.RawMessage `json:"result,omitempty"`
}

// Evaluation is what was measured and whether it held.
type Evaluation struct {
	evaluate.Result
	Dataset string   `json:"dataset"`
	Ensures []Ensure `json:"ensures,omitempty"`
	// Batch and Threads belong to the latencies; 0 without a benchmark.
	Batch   int64 `json:"batch,omitempty"`
	Threads int64 `json:"threads,omitempty"`
}

// Ensure is one budget.
type Ensure struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Condition is the recipe's own text; Message says why it did not hold.
	Condition string `json:"condition"`
	Message   string `json:"message,omitempty"`
}

// Output is one published file or folder.
type Output struct {
	Name      string `json:"name"`
	Path      string `json:"path,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Size      int64  `json:"size,omitempty"`
	Published bool   `json:"published"`
	// Value is what an output that is no artifact holds.
	Value json.RawMessage `json:"value,omitempty"`
}

// Write stores the record as run.json in dir, by rename, so that a reader never sees half of it.
func (r *Run) Write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".run-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, "run.json"))
	}
	return err
}
