package plan

import (
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Schema names the version of the plan's JSON.
const Schema = "optimize.plan/v1"

// Status tells what apply would do with an action.
type Status string

// The statuses of an action.
const (
	Cached  Status = "cached"  // the result is in the store
	Run     Status = "run"     // it would run
	Pending Status = "pending" // it depends on something that runs: whether it is cached shows then
	Read    Status = "read"    // a model's file, which is only read
	Measure Status = "measure" // quality is cached, latency is measured again
	Publish Status = "publish" // an output
)

// Action is one node of a plan.
type Action struct {
	Addr string   `json:"addr"`
	Kind string   `json:"kind"` // model, dataset, step, evaluate, output
	Type string   `json:"type,omitempty"`
	Deps []string `json:"deps,omitempty"`

	Plugin        string `json:"plugin,omitempty"`
	PluginVersion string `json:"plugin_version,omitempty"`

	Status Status `json:"status"`
	// Why says why it runs, in a few words.
	Why string `json:"why,omitempty"`
	// Sum is the cache key, once everything that it depends on is known.
	Sum string `json:"key,omitempty"`
	// Reasons say which fields of the key differ from the last run of this step; FirstRun that there was none.
	Reasons  []cache.Change `json:"reasons,omitempty"`
	FirstRun bool           `json:"first_run,omitempty"`
	// After names what must run before the key is known.
	After []string `json:"after,omitempty"`
	// Missing is what the machine lacks for this action.
	Missing     []Missing         `json:"missing,omitempty"`
	Fingerprint map[string]string `json:"fingerprint,omitempty"`
	// Needs is what a step says that it takes of the machine.
	Needs *Needs `json:"needs,omitempty"`
	// Size and LastDuration come from the record, or from that of the last run of the same step: bytes of its outputs,
	// time it took.
	Size         int64         `json:"size,omitempty"`
	LastDuration time.Duration `json:"last_duration_ns,omitempty"`
	// Path is where an output goes, or the file of a model or a dataset.
	Path string `json:"path,omitempty"`
	// Digest is the SHA-256 of a model's or a dataset's file; Digests are those of the inputs that are there.
	Digest  string            `json:"digest,omitempty"`
	Digests map[string]string `json:"inputs,omitempty"`

	// What apply needs beside.
	Key              cache.Key                 `json:"-"`
	Record           *cache.Record             `json:"-"` // of a cached action
	Request          *pluginv1.ApplyRequest    `json:"-"` // of a step that runs, without its folders
	Inputs           map[string]cache.Artifact `json:"-"`
	Nondeterministic bool                      `json:"-"`
	// Forced says that the store's result is not to be taken.
	Forced bool `json:"-"`
	// Timed says that an evaluation will measure latency.
	Timed bool `json:"-"`
	// Warnings are what plugins said about it.
	Warnings diag.Diags `json:"-"`
}

// Needs is what a step takes of the machine while it works; 0 is not known.
type Needs struct {
	Memory int64 `json:"memory_bytes,omitempty"`
	Cores  int64 `json:"cores,omitempty"`
}

// Missing is something that must be brought before apply can work.
type Missing struct {
	What    string `json:"what"`
	Command string `json:"command,omitempty"`
}

// Plan is what apply would do.
type Plan struct {
	Schema  string    `json:"schema"`
	Version string    `json:"version"`
	Recipe  string    `json:"recipe"`
	Actions []*Action `json:"actions"`
	// Left are the outputs and evaluations that --target leaves out.
	Left        []string        `json:"left_out,omitempty"`
	Summary     Summary         `json:"summary"`
	Diagnostics []diag.JSONDiag `json:"diagnostics,omitempty"`
	// Saved is what apply needs to carry out exactly this plan; only in a file that --out wrote.
	Saved *Saved `json:"saved,omitempty"`
}

// Summary is a plan in figures.
type Summary struct {
	Run     int `json:"run"`
	Cached  int `json:"cached"`
	Pending int `json:"pending"`
	// Estimate is how long what runs took earlier, one after the other; Unknown counts what has no earlier run.
	Estimate time.Duration `json:"estimate_ns"`
	Unknown  int           `json:"unknown"`
	// Store is how many bytes go into the store by earlier runs, Outputs how many are published.
	Store   int64 `json:"store_bytes"`
	Outputs int64 `json:"output_bytes"`
}

// Summarize counts what the actions add up to.
func (p *Plan) Summarize() {
	var s Summary
	for _, a := range p.Actions {
		works := a.Status == Run || a.Status == Pending || a.Status == Measure
		switch {
		case a.Status == Publish:
			s.Outputs += a.Size
			continue
		case a.Status == Cached:
			s.Cached++
		case a.Status == Pending:
			s.Pending++
		case works:
			s.Run++
		}
		if !works {
			continue
		}
		s.Estimate += a.LastDuration
		s.Store += a.Size
		if a.LastDuration == 0 {
			s.Unknown++
		}
	}
	p.Summary = s
}

// Missing gives what the machine lacks, each thing once.
func (p *Plan) Missing() []Missing {
	var out []Missing
	seen := map[Missing]bool{}
	for _, a := range p.Actions {
		for _, m := range a.Missing {
			if !seen[m] {
				seen[m] = true
				out = append(out, m)
			}
		}
	}
	return out
}
