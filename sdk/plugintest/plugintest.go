// Package plugintest is the conformance suite of the plugin protocol: it starts a plugin's executable as Optimize would,
// in any language, and checks what the contract asks of it (docs/protocol.md). `optimize plugin check BINARY` runs the
// same suite.
//
//	func TestPlugin(t *testing.T) {
//		plugintest.Test(t, plugintest.Options{Command: []string{buildPlugin(t)}})
//	}
package plugintest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Options say what is checked.
type Options struct {
	// Command is the plugin's executable and its arguments.
	Command []string
	// Only are check ids, or their groups ("apply"); empty means all.
	Only []string
	// Artifacts are files or folders by artifact format, for steps that take what the suite has no example of; it has an
	// ONNX classifier and a dataset with labels that fits it.
	Artifacts map[string]string
	// Env are further variables for the plugin, NAME=value.
	Env []string
	// Patience bounds each call; 0 means a minute.
	Patience time.Duration
	// Progress, when not nil, is told each result as it comes.
	Progress func(Result)
}

// Status is how a check ended.
type Status string

// The statuses of a check.
const (
	Pass Status = "pass"
	Fail Status = "fail"
	Skip Status = "skip" // it does not concern this plugin, or needs an artifact that is not there
)

// Result is the outcome of one check.
type Result struct {
	// ID is the check's name: "apply/deterministic".
	ID string `json:"id"`
	// Rule is what the contract asks.
	Rule   string `json:"rule"`
	Status Status `json:"status"`
	// Detail says what was found instead, or why the check was skipped.
	Detail   string        `json:"detail,omitempty"`
	Duration time.Duration `json:"duration_ns"`
}

// Schema names the version of the report's JSON.
const Schema = "optimize.plugin.check/v1"

// Report is the outcome of the suite.
type Report struct {
	Schema  string   `json:"schema"`
	Name    string   `json:"name,omitempty"`
	Version string   `json:"version,omitempty"`
	Results []Result `json:"results"`
}

// Count gives how many checks ended so.
func (r *Report) Count(s Status) int {
	n := 0
	for _, x := range r.Results {
		if x.Status == s {
			n++
		}
	}
	return n
}

// check is one rule of the contract. It returns nil, a *skipped, or what was found.
type check struct {
	id, rule string
	run      func(ctx context.Context, k *kit) error
}

type skipped struct{ reason string }

func (s *skipped) Error() string { return s.reason }

func skip(format string, args ...any) error { return &skipped{fmt.Sprintf(format, args...)} }

// Rule is a check as the docs list it.
type Rule struct {
	ID   string `json:"id"`
	Text string `json:"rule"`
}

// Rules lists all checks.
func Rules() []Rule {
	var out []Rule
	for _, c := range checks() {
		out = append(out, Rule{c.id, c.rule})
	}
	return out
}

func checks() []check {
	var all []check
	for _, group := range [][]check{startChecks, describeChecks, validateChecks, planChecks, applyChecks, inspectChecks, runtimeChecks, lifeChecks} {
		all = append(all, group...)
	}
	return all
}

// Check runs the suite. The error is one of the suite itself; what is wrong with the plugin is in the report.
func Check(ctx context.Context, o Options) (*Report, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("no plugin is named")
	}
	if st, err := os.Stat(o.Command[0]); err != nil {
		return nil, fmt.Errorf("the plugin cannot be found: %w", err)
	} else if st.IsDir() || st.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s is no executable", o.Command[0])
	}
	k, err := newKit(o)
	if err != nil {
		return nil, err
	}
	defer k.close()
	r := &Report{Schema: Schema}
	for _, c := range checks() {
		if !wanted(o.Only, c.id) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
		began := time.Now()
		err := k.guard(ctx, c)
		x := Result{ID: c.id, Rule: c.rule, Status: Pass, Duration: time.Since(began)}
		var s *skipped
		switch {
		case errors.As(err, &s):
			x.Status, x.Detail = Skip, s.reason
		case err != nil:
			x.Status, x.Detail = Fail, err.Error()
		}
		r.Results = append(r.Results, x)
		if o.Progress != nil {
			o.Progress(x)
		}
	}
	if k.described != nil {
		r.Name, r.Version = k.described.GetName(), k.described.GetVersion()
	}
	return r, nil
}

func wanted(only []string, id string) bool {
	group, _, _ := strings.Cut(id, "/")
	for _, o := range only {
		if o == id || o == group {
			return true
		}
	}
	return len(only) == 0
}

// guard runs one check within the suite's patience. What the last one left in a process is of no concern to the next.
func (k *kit) guard(ctx context.Context, c check) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*k.o.Patience)
	defer cancel()
	defer k.discardBroken()
	return c.run(ctx, k)
}

// Test runs the suite as subtests of t.
func Test(t *testing.T, o Options) {
	t.Helper()
	r, err := Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Results {
		t.Run(x.ID, func(t *testing.T) {
			switch x.Status {
			case Skip:
				t.Skip(x.Detail)
			case Fail:
				t.Errorf("%s\nfound: %s", x.Rule, x.Detail)
			}
		})
	}
}
