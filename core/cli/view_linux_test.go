package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"
)

// startApply begins an apply of steps of the demo plugin on a terminal.
func startApply(t *testing.T, steps string, args ...string) *terminal {
	t.Helper()
	dir := t.TempDir()
	recipe := "recipe {\n  required_plugins {\n    demo = { version = \">= 1\" }\n  }\n}\nmodel \"m\" {\n  source = \"m.onnx\"\n}\n" + steps
	for name, text := range map[string]string{"recipe.hcl": recipe, "m.onnx": "not really a model"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(binary, append([]string{"apply"}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), "OPTIMIZE_CACHE="+filepath.Join(dir, "c"), "OPTIMIZE_PLUGINS="+plugins, "TERM=xterm", "LANG=C.UTF-8", "LC_ALL=", "NO_COLOR=", "CI=", "GOMAXPROCS=3")
	return onTerminal(t, c)
}

// shows plays what came to a terminal and gives what one sees there.
func (x *terminal) shows() (text string, cursor bool) {
	e := vt.NewEmulator(100, 40)
	_, _ = e.WriteString(x.text())
	return e.String(), !e.CursorHidden()
}

const threeSlow = "step \"demo_copy\" \"q\" {\n  for_each = [\"a\", \"b\", \"c\"]\n  model    = model.m\n  seconds  = 30\n  text     = each.key\n}\n"

// TestLiveStop: ^C in the middle of three steps, after a resize, leaves the terminal as it was.
func TestLiveStop(t *testing.T) {
	x := startApply(t, threeSlow, "--parallelism", "3")
	x.want(t, "3 running")
	x.want(t, "1/20 parts")
	if text, cursor := x.shows(); cursor || strings.Count(text, "working") != 3 {
		t.Errorf("cursor %v, three rows expected:\n%s", cursor, text)
	}
	if err := unix.IoctlSetWinsize(int(x.keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 3, Col: 50}); err != nil {
		t.Fatal(err)
	}
	x.want(t, "… and 3 more")
	x.press(t, "\x03", "Stopped")
	if code := x.code(t); code != 130 {
		t.Errorf("exit code %d", code)
	}
	text, cursor := x.shows()
	if !cursor || strings.Contains(text, "running") || !strings.Contains(text, "Stopped after") || strings.Contains(text, "goroutine") {
		t.Errorf("cursor %v:\n%s", cursor, text)
	}
}

// TestLiveKill: a step that ignores the first ^C is killed by the second, and the cursor shows again.
func TestLiveKill(t *testing.T) {
	x := startApply(t, "step \"demo_stubborn\" \"s\" {\n  model = model.m\n}\n")
	x.want(t, "refusing")
	x.press(t, "\x03", "stopping: a second ^C kills")
	x.press(t, "\x03", "\x1b[?25h")
	if code := x.code(t); code != 130 {
		t.Errorf("exit code %d", code)
	}
	if text, cursor := x.shows(); !cursor || strings.Contains(text, "running") {
		t.Errorf("cursor %v:\n%s", cursor, text)
	}
}

// TestLiveSuspend: ^Z shows the cursor and takes the live area away until the process goes on.
func TestLiveSuspend(t *testing.T) {
	x := startApply(t, threeSlow)
	x.want(t, "running")
	if err := x.cmd.Process.Signal(syscall.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.cmd.Process.Pid))
		_, rest, _ := strings.Cut(string(b), ") ")
		return rest[:min(1, len(rest))]
	}
	for end := time.Now().Add(10 * time.Second); state() != "T"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not suspended")
		}
	}
	if text, cursor := x.shows(); !cursor || strings.Contains(text, "running") {
		t.Errorf("suspended, cursor %v:\n%s", cursor, text)
	}
	x.mu.Lock()
	x.out.Reset()
	x.mu.Unlock()
	if err := x.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	x.want(t, "running")
	x.press(t, "\x03", "Stopped")
	if code := x.code(t); code != 130 {
		t.Errorf("exit code %d", code)
	}
}
