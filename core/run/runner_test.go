package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/telemetry"
)

// steps are "name=status" of a record's steps, in its order.
func steps(r *report.Run) string {
	var out []string
	for _, a := range r.Actions {
		if a.Kind == "step" {
			out = append(out, strings.TrimPrefix(a.Addr, "step.")+"="+a.Status)
		}
	}
	return strings.Join(out, " ")
}

func said(ds diag.Diags) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.Severity.String()+":"+d.Code+":"+d.Summary)
	}
	return strings.Join(out, "; ")
}

const chain = `
step "fake_write" "a" {
  model = model.m
}
step "fake_write" "b" {
  model = step.a.model
  text  = "b"
}
output "o" {
  value = step.b.model
  path  = "out/b.onnx"
}
`

func TestRunTwice(t *testing.T) {
	b := newBench(t)
	rec, ds := b.runner(chain, nil).Run(t.Context())
	if got := steps(rec); got != "a=done b=done" || len(ds) > 0 || rec.Status != "ok" || rec.ExitCode != 0 {
		t.Fatal(got, ds, rec.Status)
	}
	if text, err := os.ReadFile(filepath.Join(b.dir, "out/b.onnx")); err != nil || string(text) != "b" {
		t.Fatalf("%s, %v", text, err)
	}
	// Each action that worked has a start and then an end.
	begun := map[string]bool{}
	for _, e := range b.events {
		switch {
		case e.Schema != EventSchema || e.Time.IsZero():
			t.Errorf("%+v has no schema or time", e)
		case e.Type == "start":
			begun[e.Addr] = true
		case e.Type == "end" && strings.HasPrefix(e.Addr, "step.") && !begun[e.Addr]:
			t.Errorf("%s ended before it began", e.Addr)
		}
	}
	if b.events[0].Type != "run" || b.events[0].ID != "run" || len(begun) != 2 {
		t.Errorf("first %+v; begun %v", b.events[0], begun)
	}
	rec, _ = b.runner(chain, nil).Run(t.Context())
	if got := steps(rec); got != "a=cached b=cached" {
		t.Error(got)
	}
	if i := slices.IndexFunc(b.events, func(e Event) bool { return e.Type == "start" }); i >= 0 {
		t.Errorf("%+v", b.events[i])
	}
}

func TestRunFailure(t *testing.T) {
	b := newBench(t)
	src := strings.Replace(chain, `"fake_write" "a"`, `"fake_fail" "a"`, 1) + `
step "fake_write" "other" {
  model  = model.m
  text   = "other"
  millis = 100
}
`
	rec, ds := b.runner(src, nil).Run(t.Context())
	if got := steps(rec); got != "a=failed b=skipped other=done" || rec.Status != "failed" || rec.ExitCode != 1 {
		t.Error(got, rec.Status)
	}
	if got := said(ds); got != "error::it fails" || ds[0].Step != "step.a" || ds[0].Subject == nil {
		t.Errorf("%s at %v", got, ds[0].Subject)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "out")); err == nil {
		t.Error("an output was published")
	}
	results := map[string]string{}
	for _, s := range b.spans.Ended() {
		for _, a := range s.Attributes() {
			if string(a.Key) == telemetry.AttrTaskResult {
				results[s.Name()] = a.Value.AsString()
			}
			if string(a.Key) == telemetry.AttrTaskRunID && !strings.HasPrefix(a.Value.AsString(), "run/") {
				t.Errorf("%s is called %s", s.Name(), a.Value.AsString())
			}
		}
	}
	for name, want := range map[string]string{"step a": "failure", "step b": "skip", "step other": "success", "model m": "success", "output o": "skip"} {
		if results[name] != want {
			t.Errorf("span %q says %q, want %q", name, results[name], want)
		}
	}

	// Fail fast: what works is stopped, and that is no error of its own.
	src = strings.Replace(src, "millis = 100", "millis = 60000", 1)
	rec, ds = b.runner(src, func(_ *plan.Session, r *Runner) { r.FailFast = true }).Run(t.Context())
	if got := steps(rec); got != "a=failed b=skipped other=stopped" || rec.ExitCode != 1 || len(ds) != 1 {
		t.Error(got, rec.ExitCode, ds)
	}
}

func TestRunTimeout(t *testing.T) {
	for _, kind := range []string{"fake_write", "fake_stubborn"} {
		b := newBench(t)
		rec, ds := b.runner(`
step "`+kind+`" "slow" {
  model   = model.m
  millis  = 60000
  timeout = "100ms"
}
step "fake_write" "next" {
  model = model.m
}
`, func(_ *plan.Session, r *Runner) { r.Limits.Parallelism = 1 }).Run(t.Context())
		if got := steps(rec); got != "slow=failed next=done" {
			t.Errorf("%s: %s", kind, got)
		}
		if got := said(ds); got != "error:run/timeout:step.slow took longer than its timeout" {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

func TestRunStop(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r := b.runner(strings.Replace(chain, "model = model.m", "model = model.m\n  millis = 60000", 1), nil)
	sink := r.Sink
	r.Sink = func(e Event) {
		if e.Type == "progress" {
			cancel(errors.New("interrupted"))
		}
		sink(e)
	}
	rec, ds := r.Run(ctx)
	if got := steps(rec); got != "a=stopped b=stopped" || rec.Status != "stopped" || rec.ExitCode != 130 || len(ds) > 0 {
		t.Error(got, rec.Status, ds)
	}
}

func TestRunRefresh(t *testing.T) {
	b := newBench(t)
	src := strings.Replace(chain, "model = model.m", "model = model.m\n  text  = \"random\"", 1)
	digest := func(rec *report.Run) string {
		i := slices.IndexFunc(rec.Actions, func(a report.Action) bool { return a.Addr == "step.a" })
		return rec.Actions[i].Outputs["model"].Digest
	}
	first, _ := b.runner(src, nil).Run(t.Context())
	refreshed, _ := b.runner(src, func(s *plan.Session, _ *Runner) { s.Refresh = map[string]bool{"step.a": true} }).Run(t.Context())
	if got := steps(refreshed); got != "a=done b=done" || digest(first) == digest(refreshed) {
		t.Error(got, digest(first), digest(refreshed))
	}
	again, _ := b.runner(src, nil).Run(t.Context())
	if got := steps(again); got != "a=cached b=cached" || digest(again) != digest(refreshed) {
		t.Error(got, "the new record did not replace the old")
	}
	for _, a := range again.Actions {
		if rec, ok := b.store.Lookup(a.Key); a.Addr == "step.a" && (!ok || !rec.Nondeterministic) {
			t.Error("the record does not say that another run gives other bytes")
		}
	}
	fresh, _ := b.runner(src, func(s *plan.Session, _ *Runner) { s.NoCache = true }).Run(t.Context())
	if got := steps(fresh); got != "a=done b=done" {
		t.Error(got)
	}
}

// TestRunWarnings: what the plan told is not told again.
func TestRunWarnings(t *testing.T) {
	b := newBench(t)
	src := strings.Replace(chain, "model = model.m", "model = model.m\n  warning = \"mind the gap\"\n  memory = 2000", 1)
	r := b.runner(src, func(s *plan.Session, _ *Runner) { s.Memory = 1000 })
	_, told := r.Session.Build(t.Context())
	if got := said(told.Sorted()); got != "warning:plan/memory:step.a needs more memory than there is; warning::mind the gap" {
		t.Error(got)
	}
	r.Told = told
	if _, ds := r.Run(t.Context()); len(ds) > 0 {
		t.Error("told again:", ds)
	}
	if _, ds := b.runner(src, nil).Run(t.Context()); said(ds) != "warning::mind the gap" {
		t.Error("not told at all:", ds)
	}
}

// TestRunMemory: two steps that do not fit together do not overlap.
func TestRunMemory(t *testing.T) {
	b := newBench(t)
	src := ""
	for _, name := range []string{"x", "y"} {
		src += "step \"fake_write\" \"" + name + "\" {\n  model = model.m\n  text = \"" + name + "\"\n  millis = 150\n  memory = 600\n}\n"
	}
	overlap := func(memory int64) bool {
		working, most := 0, 0
		r := b.runner(src, func(s *plan.Session, r *Runner) { s.NoCache, r.Limits.Memory = true, memory })
		rec, ds := r.Run(t.Context())
		if rec.Status != "ok" {
			t.Fatal(ds)
		}
		for _, e := range b.events {
			if strings.HasPrefix(e.Addr, "step.") && e.Type == "start" {
				working++
			} else if strings.HasPrefix(e.Addr, "step.") && e.Type == "end" {
				working--
			}
			most = max(most, working)
		}
		return most > 1
	}
	if overlap(1000) {
		t.Error("1,200 bytes at once where there are 1,000")
	}
	if !overlap(2000) {
		t.Error("one after the other where there is room for both")
	}
}

// TestRunTogether has two runs of the same recipe at once: the work is done once.
func TestRunTogether(t *testing.T) {
	b := newBench(t)
	tally := filepath.Join(b.dir, "tally")
	src := strings.Replace(chain, "model = model.m", "model = model.m\n  millis = 300\n  tally = \""+tally+"\"", 1)
	one, two := b.runner(src, nil), b.runner(src, nil)
	var wg sync.WaitGroup
	var recs [2]*report.Run
	for i, r := range []*Runner{one, two} {
		wg.Go(func() { recs[i], _ = r.Run(t.Context()) })
	}
	wg.Wait()
	for _, rec := range recs {
		if rec.Status != "ok" {
			t.Error(rec.Status)
		}
	}
	if text, _ := os.ReadFile(tally); strings.Count(string(text), "worked") != 1 {
		t.Errorf("the step worked %d times", strings.Count(string(text), "worked"))
	}
}

func TestRunLogs(t *testing.T) {
	b := newBench(t)
	src := strings.Replace(chain, "model = model.m", "model = model.m\n  text = \"hunter22\"", 1)
	r := b.runner(src, func(_ *plan.Session, r *Runner) {
		r.Redact = func(s string) string { return strings.ReplaceAll(s, "hunter22", "(sensitive)") }
	})
	r.Run(t.Context())
	text, err := os.ReadFile(filepath.Join(b.dir, "logs", LogName("step.a")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fake_write by plugin fake 1.0.0", "writing", `info  begun text="(sensitive)"`, "ended after"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, c := range []struct{ addr, want string }{
		{`step.q["a-b"]`, `^step\.q__a-b__\.log$`},
		{`step.q["a/b ü"]`, `^step\.q__a_b____-[0-9a-f]{8}\.log$`},
		{`step.q["` + strings.Repeat("k", 300) + `"]`, `^step\.q__k{112}-[0-9a-f]{8}\.log$`},
	} {
		if got := LogName(c.addr); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s logs to %s", c.addr, got)
		}
	}
	if a, b := LogName(`step.q["a b"]`), LogName(`step.q["a/b"]`); a == b {
		t.Errorf("two steps log to %s", a)
	}
	if strings.Contains(string(text), "hunter22") {
		t.Error("a secret is in the log")
	}
}

// TestRunSink: the sink is called by one goroutine at a time, and never after the run.
func TestRunSink(t *testing.T) {
	b := newBench(t)
	var src strings.Builder
	for _, name := range []string{"p", "q", "r", "s"} {
		src.WriteString("step \"fake_write\" \"" + name + "\" {\n  model = model.m\n  text = \"" + name + "\"\n}\n")
	}
	r := b.runner(src.String(), nil)
	var inside, over bool
	var mu sync.Mutex
	r.Sink = func(Event) {
		mu.Lock()
		if inside || over {
			t.Error("two events at once, or one after the end")
		}
		inside = true
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		inside = false
		mu.Unlock()
	}
	r.Run(t.Context())
	mu.Lock()
	over = true
	mu.Unlock()
	time.Sleep(100 * time.Millisecond)
}
