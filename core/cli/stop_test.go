//go:build unix

package cli_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterrupt stops applies at different moments: each ends with 130, publishes nothing, leaves no process, and the
// next apply goes on.
func TestInterrupt(t *testing.T) {
	p := newPlace(t)
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT} {
		c, out := p.command("apply", "recipe.hcl")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep([]time.Duration{80, 250, 900}[i] * time.Millisecond)
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		if got := c.ProcessState.ExitCode(); got != 130 {
			t.Fatalf("%v after %d: exit code %d\n%s", signal, i, got, out)
		}
		if strings.Contains(out.String(), "goroutine ") || strings.Contains(out.String(), "panic") {
			t.Errorf("a stack trace:\n%s", out)
		}
		if _, err := os.Stat(filepath.Join(p.dir, "dist")); err == nil {
			t.Fatal("an output was published")
		}
	}
	p.noProcesses(t)
	if out := p.run(t, 0, "apply", "recipe.hcl"); !strings.Contains(out, "Done in") {
		t.Error(out)
	}
}

// TestKill ends applies by SIGKILL at random moments: the store serves the next run, and no plugin stays.
func TestKill(t *testing.T) {
	p := newPlace(t)
	for range 6 {
		c, _ := p.command("apply", "recipe.hcl")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(500)) * time.Millisecond)
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	out := p.run(t, 0, "apply", "recipe.hcl")
	if !strings.Contains(out, "Done in") {
		t.Error(out)
	}
	p.noProcesses(t)
	if out := p.run(t, 0, "plan", "--reuse-benchmarks", "recipe.hcl"); !strings.Contains(out, "Plan: 0 to run") {
		t.Error(out)
	}
}

// noProcesses waits until no process has this place's cache in its environment.
func (p *place) noProcesses(t *testing.T) {
	t.Helper()
	mine := []byte("OPTIMIZE_CACHE=" + filepath.Join(p.dir, "cache") + "\x00")
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		left = nil
		envs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range envs {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, mine) {
				left = append(left, f)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("processes are left: %v", left)
}
