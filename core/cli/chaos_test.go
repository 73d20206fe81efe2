//go:build linux

package cli_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// chaosRecipe is a chain and a branch of steps that take a moment; what they give is the original's bytes.
const chaosRecipe = `
recipe {
  required_plugins {
    demo = { version = "~> 1.2" }
  }
}
variable "round" { type = string }
model "digits" { source = "digits.onnx" }
step "demo_copy" "first" {
  model   = model.digits
  text    = var.round
  seconds = 0.1
  env     = ["DEMO_CHAOS"]
}
step "demo_copy" "second" {
  model   = step.first.model
  text    = "${var.round} second"
  seconds = 0.1
  env     = ["DEMO_CHAOS"]
}
step "demo_copy" "beside" {
  model   = model.digits
  text    = "${var.round} beside"
  seconds = 0.15
  child   = true
  env     = ["DEMO_CHAOS"]
}
output "model" {
  value = step.second.model
  path  = "dist/second.onnx"
}
output "beside" {
  value = step.beside.model
  path  = "dist/beside.onnx"
}
`

// TestChaos runs applies into random faults: signals to host and plugin, a disk that is full, a socket that is closed,
// garbage on stdout, an output that is cut short. Whatever happens, the run ends and says so, no process is left, what
// it reported as done is in the cache, nothing wrong is, and the next run succeeds.
//
// OPTIMIZE_CHAOS is how many runs; OPTIMIZE_CHAOS_SEED repeats an earlier choice.
func TestChaos(t *testing.T) {
	rounds := 8
	if n, err := strconv.Atoi(os.Getenv("OPTIMIZE_CHAOS")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("OPTIMIZE_CHAOS_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("OPTIMIZE_CHAOS_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	p := newPlace(t)
	p.env = append(p.env, "OPTIMIZE_PLUGINS="+plugins, "OPTIMIZE_HANG_TIMEOUT=2s")
	want, err := os.ReadFile(filepath.Join(p.dir, "digits.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "recipe.hcl"), []byte(chaosRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	kinds := []string{"kill host", "kill plugin", "stop plugin", "interrupt", "full disk", "socket", "garbage", "truncate", "exit"}
	for i := range rounds {
		kind := kinds[i%len(kinds)]
		if i >= len(kinds) {
			kind = kinds[r.IntN(len(kinds))]
		}
		delay := time.Duration(20+r.IntN(500)) * time.Millisecond
		name := fmt.Sprintf("round %d: %s after %s", i, kind, delay)
		_ = os.RemoveAll(filepath.Join(p.dir, "dist"))
		done := p.disturb(t, name, fmt.Sprint(seed, "-", i), kind, delay)
		p.noProcesses(t)
		_, first := os.Stat(filepath.Join(p.dir, "dist/second.onnx"))
		_, second := os.Stat(filepath.Join(p.dir, "dist/beside.onnx"))
		if (first == nil) != (second == nil) {
			t.Errorf("%s: the outputs did not appear as one set", name)
		}
		out := p.run(t, 0, "apply", "recipe.hcl", "--var", "round="+fmt.Sprint(seed, "-", i), "--json")
		ended := endings(out)
		for _, addr := range done {
			if ended[addr] != "cached" {
				t.Errorf("%s: %s was done and is %q in the next run: its record is lost", name, addr, ended[addr])
			}
		}
		for _, f := range []string{"second", "beside"} {
			if got, err := os.ReadFile(filepath.Join(p.dir, "dist", f+".onnx")); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %s.onnx is wrong: %d bytes, %v", name, f, len(got), err)
			}
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
	p.run(t, 0, "cache", "verify")
}

// disturb runs apply into a fault and gives the addresses of what it reported as done.
func (p *place) disturb(t *testing.T, name, round, kind string, delay time.Duration) (done []string) {
	t.Helper()
	c, out := p.command("apply", "recipe.hcl", "--var", "round="+round, "--json")
	switch kind {
	case "socket", "garbage", "truncate", "exit":
		c.Env = append(c.Env, "DEMO_CHAOS="+kind+" "+strconv.Itoa(int(delay.Milliseconds())/2))
	case "full disk":
		// Files may have no more bytes than the model: what is written beside is cut off as a full disk would do it.
		c.Env = append(c.Env, "DEMO_CHAOS=fill 0")
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(exited)
	}()
	time.Sleep(delay)
	switch kind {
	case "kill host":
		_ = c.Process.Kill()
	case "interrupt":
		_ = c.Process.Signal(os.Interrupt)
	case "kill plugin":
		p.signalPlugins(syscall.SIGKILL)
	case "stop plugin":
		p.signalPlugins(syscall.SIGSTOP)
	}
	select {
	case <-exited:
	case <-time.After(60 * time.Second):
		_ = c.Process.Kill()
		t.Fatalf("%s: it never ends\n%s", name, out)
	}
	text := out.String()
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic:") {
		t.Errorf("%s: a stack trace:\n%s", name, text)
	}
	if code := c.ProcessState.ExitCode(); kind != "kill host" && code != 0 && code != 1 && code != 130 {
		t.Errorf("%s: exit code %d\n%s", name, code, text)
	}
	for addr, status := range endings(text) {
		if status == "done" && strings.HasPrefix(addr, "step.") {
			done = append(done, addr)
		}
	}
	return done
}

// signalPlugins sends a signal to the third-party plugins of this place.
func (p *place) signalPlugins(s syscall.Signal) {
	mine := []byte("OPTIMIZE_CACHE=" + filepath.Join(p.dir, "cache") + "\x00")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err != nil || !bytes.Contains(env, mine) {
			continue
		}
		cmd, err := os.ReadFile(filepath.Join(d, "cmdline"))
		pid, perr := strconv.Atoi(filepath.Base(d))
		if err == nil && perr == nil && bytes.Contains(cmd, []byte("optimize-plugin-demo")) {
			_ = syscall.Kill(pid, s)
		}
	}
}

// endings are the statuses of actions in the events of apply --json.
func endings(text string) map[string]string {
	out := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var e struct{ Type, Addr, Status string }
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Type == "end" {
			out[e.Addr] = e.Status
		}
	}
	return out
}
