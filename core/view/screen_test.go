//go:build unix

package view

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/term"
)

// screen is a real pseudo terminal with an emulator at its other end.
type screen struct {
	t        *testing.T
	master   *os.File
	tty      *os.File
	emulator *vt.SafeEmulator
	mu       sync.Mutex // held while something is written to the emulator, or its size changes
}

func newScreen(t *testing.T, columns, rows int) *screen {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("there is no pseudo terminal here: %s", err)
	}
	s := &screen{t: t, master: master, tty: tty, emulator: vt.NewSafeEmulator(columns, rows)}
	s.emulator.SetScrollbackSize(1000)
	s.resize(columns, rows)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			_, _ = s.emulator.Write(buf[:n])
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() { tty.Close(); master.Close() })
	return s
}

func (s *screen) resize(columns, rows int) {
	s.t.Helper()
	s.mu.Lock()
	// A terminal that gets lower scrolls until the cursor's line is on it; the emulator cuts it off.
	if at := s.emulator.CursorPosition(); at.Y >= rows {
		n := at.Y - rows + 1
		fmt.Fprintf(s.emulator, "\x1b[999;1H%s\x1b[%d;%dH", strings.Repeat("\n", n), at.Y-n+1, at.X+1)
	}
	s.emulator.Resize(columns, rows)
	s.mu.Unlock()
	if err := pty.Setsize(s.tty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) options() Options {
	return Options{Mode: Live, Out: s.tty, Err: s.tty, Size: func() (int, int) { return term.Size(s.tty) }}
}

// lines is what one sees, without the empty lines at the end.
func (s *screen) lines() []string {
	lines := strings.Split(strings.TrimRight(s.emulator.String(), "\n \x00"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return lines
}

// above is what has scrolled away.
func (s *screen) above() string {
	var b strings.Builder
	for y := range s.emulator.ScrollbackLen() {
		for x := range s.emulator.Width() {
			if c := s.emulator.ScrollbackCellAt(x, y); c != nil && c.Content != "" {
				b.WriteString(c.Content)
			} else {
				b.WriteString(" ")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// until waits for the screen to be as ok wants it.
func (s *screen) until(what string, ok func(text string) bool) {
	s.t.Helper()
	var text string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if text = strings.Join(s.lines(), "\n"); ok(text) {
			return
		}
	}
	s.t.Fatalf("%s: the screen does not come to that:\n%s", what, text)
}

// shown waits for the cursor: the terminal reads what comes as it finds time, and rows can be gone a moment before.
func (s *screen) shown() {
	s.t.Helper()
	s.until("the cursor is still hidden", func(string) bool { return !s.emulator.CursorHidden() })
}

func has(parts ...string) func(string) bool {
	return func(text string) bool {
		for _, p := range parts {
			if !strings.Contains(text, p) {
				return false
			}
		}
		return true
	}
}

func now(kind, addr string, change func(*run.Event)) run.Event {
	e := run.Event{Type: kind, Addr: addr, Time: time.Now()}
	if change != nil {
		change(&e)
	}
	return e
}

func TestScreen(t *testing.T) {
	s := newScreen(t, 80, 12)
	fmt.Fprintln(s.tty, "$ optimize apply")
	v := New(s.options())
	v.Expect(3)
	v.Event(now("start", "step.漢字", func(e *run.Event) { e.StepType = "demo_copy" }))
	v.Event(now("progress", "step.漢字", func(e *run.Event) { e.Phase, e.Current, e.Total, e.Unit = "working", 5, 20, "parts" }))
	v.Event(now("start", "step.b", nil))
	s.until("two rows", has("step.漢字", "working", "━", "5/20 parts", "step.b", "0 of 3 done, 2 running"))
	if !s.emulator.CursorHidden() {
		t.Error("the cursor shows in the live area")
	}
	v.Event(now("end", "step.b", func(e *run.Event) { e.Status, e.Duration = "done", time.Second }))
	v.Event(now("log", "step.漢字", func(e *run.Event) { e.Level, e.Message = "warn", "mind \x1b[2J the gap" }))
	fmt.Fprintf(v.Above(s.tty), "Warning: from stderr\nsecond line\n")
	s.until("lines above", has("done   step.b 1s", "warn   step.漢字: mind \uFFFD[2J the gap", "Warning: from stderr", "second line", "1 of 3 done, 1 running"))
	lines := s.lines()
	if lines[0] != "$ optimize apply" || !strings.Contains(lines[1], "done   step.b") || !strings.Contains(lines[3], "Warning") || !strings.Contains(lines[5], "step.漢字") {
		t.Errorf("the order is wrong:\n%s", strings.Join(lines, "\n"))
	}
	v.Close()
	s.until("the end", func(text string) bool { return !strings.Contains(text, "running") })
	s.shown()
	if at := s.emulator.CursorPosition(); at.X != 0 || at.Y != 5 {
		t.Errorf("the cursor stands at %v", at)
	}
	fmt.Fprintln(v.Above(s.tty), "after the end")
	s.until("a write after the end", has("second line\nafter the end"))
}

// TestScreenManyAndResize has 40 actions on a small terminal that changes its size all the time: nothing of the live area
// stays behind, and no finished line is lost.
func TestScreenManyAndResize(t *testing.T) {
	s := newScreen(t, 100, 24)
	v := New(s.options())
	v.Expect(40)
	for i := range 40 {
		v.Event(now("start", fmt.Sprintf("step.s%02d", i), nil))
	}
	s.until("too many", has("step.s00", "step.s19", "… and 19 more", "0 of 40 done, 40 running"))
	sizes := [][2]int{{60, 24}, {60, 10}, {120, 30}, {30, 8}, {100, 24}, {20, 5}, {100, 24}}
	for i := range 40 {
		addr := fmt.Sprintf("step.s%02d", i)
		v.Event(now("progress", addr, func(e *run.Event) { e.Phase, e.Current, e.Total = "working", 1, 2 }))
		if i%5 == 4 {
			size := sizes[i/5%len(sizes)]
			s.resize(size[0], size[1])
			s.until("a frame of the new size", func(text string) bool {
				return strings.Count(text, " running") <= 1 && strings.Contains(text, fmt.Sprintf("  %d of 40", i))
			})
		}
		v.Event(now("end", addr, func(e *run.Event) { e.Status = "done" }))
		s.until(addr, has(fmt.Sprintf("  %d of 40", i+1)))
	}
	v.Close()
	s.until("the end", func(text string) bool { return !strings.Contains(text, "of 40") })
	all := s.above() + strings.Join(s.lines(), "\n")
	for i := range 40 {
		if n := strings.Count(all, fmt.Sprintf("done   step.s%02d", i)); n != 1 {
			t.Errorf("the end of step.s%02d shows %d times", i, n)
		}
	}
	s.shown()
}

// TestScreenPlanning shows what is done before the first action only when it takes a while.
func TestScreenPlanning(t *testing.T) {
	s := newScreen(t, 80, 10)
	v := New(s.options())
	v.Status("planning")
	time.Sleep(patience / 2)
	if text := strings.Join(s.lines(), ""); text != "" {
		t.Errorf("too soon: %q", text)
	}
	s.until("planning", has("planning"))
	v.Event(now("start", "step.a", nil))
	s.until("work", func(text string) bool {
		return strings.Contains(text, "step.a") && !strings.Contains(text, "planning")
	})
	v.Abandon()
	s.until("abandoned", func(text string) bool { return text == "" })
	s.shown()
}

// TestScreenPanic has a process panic in the middle: the cursor shows again, and the message is whole.
func TestScreenPanic(t *testing.T) {
	if os.Getenv("OPTIMIZE_TEST_PANIC") != "" {
		v := New(Options{Mode: Live, Out: os.Stdout, Err: os.Stderr, Size: func() (int, int) { return term.Size(os.Stdout) }})
		defer v.Close()
		v.Event(now("start", "step.a", nil))
		time.Sleep(3 * frames)
		panic("out of luck")
	}
	s := newScreen(t, 80, 24)
	c := exec.Command(os.Args[0], "-test.run=^TestScreenPanic$")
	c.Env = append(os.Environ(), "OPTIMIZE_TEST_PANIC=1")
	c.Stdin, c.Stdout, c.Stderr = s.tty, s.tty, s.tty
	if err := c.Run(); err == nil {
		t.Fatal("it did not panic")
	}
	s.until("the panic", func(text string) bool {
		return strings.Contains(text+s.above(), "out of luck") && !strings.Contains(text, "1 running")
	})
	s.shown()
}
