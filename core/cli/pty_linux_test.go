package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal with a command on it.
type terminal struct {
	keys *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex
	out  bytes.Buffer
	end  chan error
}

// onTerminal starts a command on a terminal of 100 columns.
func onTerminal(t *testing.T, c *exec.Cmd) *terminal {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo terminals: %v", err)
	}
	fd := int(keys.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100})
	x := &terminal{keys: keys, cmd: c, end: make(chan error, 1)}
	c.Stdin, c.Stdout, c.Stderr = screen, screen, screen
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	screen.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := keys.Read(buf)
			x.mu.Lock()
			x.out.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				break // the last process on the terminal has ended
			}
		}
		x.end <- c.Wait()
	}()
	t.Cleanup(func() { _ = c.Process.Kill(); keys.Close() })
	return x
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.String()
}

// want waits until the terminal shows a text, and gives what was shown.
func (x *terminal) want(t *testing.T, text string) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s := x.text(); strings.Contains(s, text) {
			return s
		}
	}
	t.Fatalf("the terminal does not show %q:\n%s", text, x.text())
	return ""
}

// press types keys and waits for what comes of them.
func (x *terminal) press(t *testing.T, keys, want string) {
	t.Helper()
	x.mu.Lock()
	x.out.Reset()
	x.mu.Unlock()
	if _, err := x.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
	x.want(t, want)
}

// code waits for the end.
func (x *terminal) code(t *testing.T) int {
	t.Helper()
	select {
	case <-x.end:
		return x.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		t.Fatalf("the command does not end:\n%s", x.text())
		return -1
	}
}

func startConsole(t *testing.T) *terminal {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "recipe.hcl"), []byte("variable \"max_drop\" {\n  default = 0.005\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, "console")
	c.Dir = dir
	c.Env = append(os.Environ(), "OPTIMIZE_CACHE="+filepath.Join(dir, "c"), "TERM=xterm", "NO_COLOR=1")
	x := onTerminal(t, c)
	x.want(t, "Expressions of recipe.hcl.")
	x.want(t, "> ")
	return x
}

// TestConsoleTerminal: a prompt, history, completion, lines that go on, Ctrl-C for the line and Ctrl-D for the end.
func TestConsoleTerminal(t *testing.T) {
	x := startConsole(t)
	x.press(t, "1 + 41\r", "42\r\n> ")
	x.press(t, "var.m\t * 2\r", "0.01\r\n> ")
	x.press(t, "\x1b[A\r", "0.01\r\n> ")
	x.press(t, "[1,\r", "… ")
	x.press(t, "2]\r", "[1, 2]\r\n> ")
	x.press(t, "var.nosuch\r", "There is no var.nosuch")
	x.press(t, "upp\t\"a\")\r", "\"A\"\r\n> ")
	// Ctrl-C drops the line, and the lines before it.
	x.press(t, "[1,\r", "… ")
	x.press(t, "nonsense\x03", "> ")
	x.press(t, "7 * 6\r", "42\r\n> ")
	x.press(t, "1 +\x03", "> ")
	x.press(t, "2 + 2\r", "4\r\n> ")
	if _, err := x.keys.WriteString("\x04"); err != nil {
		t.Fatal(err)
	}
	if got := x.code(t); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
}

func TestConsoleLeaves(t *testing.T) {
	x := startConsole(t)
	if _, err := x.keys.WriteString("exit\r"); err != nil {
		t.Fatal(err)
	}
	if got := x.code(t); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
}

// TestConsoleTerminated: SIGTERM ends it, and leaves the terminal as it was.
func TestConsoleTerminated(t *testing.T) {
	x := startConsole(t)
	before, err := unix.IoctlGetTermios(int(x.keys.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if before.Lflag&unix.ICANON != 0 {
		t.Fatal("the terminal is not raw while a line is edited")
	}
	if err := x.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := x.code(t); got != 130 {
		t.Errorf("exit code %d, want 130", got)
	}
	after, err := unix.IoctlGetTermios(int(x.keys.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if after.Lflag&unix.ICANON == 0 || after.Lflag&unix.ECHO == 0 {
		t.Error("the terminal was left raw")
	}
}
