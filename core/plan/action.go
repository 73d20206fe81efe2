package plan

import (
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
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
	// Size and LastDuration come from the record of the same step: bytes of its outputs, time it took.
	Size         int64         `json:"size,omitempty"`
	LastDuration time.Duration `json:"last_duration_ns,omitempty"`
	// Path is where an output goes, or a model's source.
	Path string `json:"path,omitempty"`

	// What apply needs beside.
	Key     cache.Key                 `json:"-"`
	Record  *cache.Record             `json:"-"` // of a cached action
	Request *pluginv1.ApplyRequest    `json:"-"` // of a step that runs, without its folders
	Inputs  map[string]cache.Artifact `json:"-"`
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
}

// Count gives how many actions of the kinds have the status.
func (p *Plan) Count(s Status, kinds ...string) int {
	n := 0
	for _, a := range p.Actions {
		for _, k := range kinds {
			if a.Status == s && a.Kind == k {
				n++
			}
		}
	}
	return n
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
