//go:build unix

package cli_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const demoRecipe = `recipe {
  required_plugins {
    demo = { version = ">= 1" }
  }
}
model "m" { source = "m.onnx" }
`

// demoPlace is a folder with a recipe of the demo plugin's steps.
func demoPlace(t *testing.T, steps string) *place {
	t.Helper()
	p := newPlace(t)
	for name, text := range map[string]string{"recipe.hcl": demoRecipe + steps, "m.onnx": "a model"} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.env = append(p.env, "OPTIMIZE_PLUGINS="+plugins)
	return p
}

// watched collects output and tells when a text has come.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if w.seen != nil && strings.Contains(w.buf.String(), w.text) {
		close(w.seen)
		w.seen = nil
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

var _ io.Writer = (*watched)(nil)

// until starts a command and gives it back once it has printed the text.
func (p *place) until(t *testing.T, text string, args ...string) (wait func() int, signal func(syscall.Signal), out *watched) {
	t.Helper()
	c, _ := p.command(args...)
	seen := make(chan struct{})
	out = &watched{text: text, seen: seen}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	select {
	case <-seen:
	case <-time.After(30 * time.Second):
		t.Fatalf("%q did not come:\n%s", text, out)
	}
	wait = func() int { _ = c.Wait(); return c.ProcessState.ExitCode() }
	return wait, func(s syscall.Signal) { _ = c.Process.Signal(s) }, out
}

// TestStopCleanly stops a step that works: it gets its grace, the last line says how to go on, nothing stays.
func TestStopCleanly(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := demoPlace(t, `
step "demo_copy" "slow" {
  model   = model.m
  seconds = 60
}
step "demo_copy" "after" { model = step.slow.model }
`)
		wait, signal, out := p.until(t, "working", "apply", "recipe.hcl")
		begun := time.Now()
		signal(s)
		if got := wait(); got != 130 {
			t.Errorf("%v: exit code %d\n%s", s, got, out)
		}
		if d := time.Since(begun); d > 9*time.Second {
			t.Errorf("%v: the stop took %s", s, d)
		}
		for _, want := range []string{"stopped in the middle", "Stopped after", "`optimize apply recipe.hcl` goes on from there"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v: no %q in\n%s", s, want, out)
			}
		}
		if strings.Contains(out.String(), "Error") || strings.Contains(out.String(), "goroutine ") {
			t.Errorf("%v: a stop is no error:\n%s", s, out)
		}
		p.noProcesses(t)
	}
}

// TestSecondSignalKills stops a step that does not obey: the first signal waits for it, the second ends everything at
// once.
func TestSecondSignalKills(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := demoPlace(t, `step "demo_stubborn" "s" { model = model.m }`)
		wait, signal, out := p.until(t, "refusing", "apply", "recipe.hcl")
		signal(s)
		time.Sleep(300 * time.Millisecond)
		begun := time.Now()
		signal(s)
		if got := wait(); got != 130 {
			t.Errorf("%v: exit code %d\n%s", s, got, out)
		}
		if d := time.Since(begun); d > 3*time.Second {
			t.Errorf("%v: the second signal took %s", s, d)
		}
		p.noProcesses(t)
		// What it left does not stand in the way of the next run.
		if err := os.WriteFile(filepath.Join(p.dir, "recipe.hcl"), []byte(demoRecipe+`step "demo_copy" "s" { model = model.m }`), 0o644); err != nil {
			t.Fatal(err)
		}
		p.run(t, 0, "apply", "recipe.hcl")
	}
}
