package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/term"
)

var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// at makes an event of a moment in seconds.
func at(seconds float64, kind, addr string, change func(*run.Event)) run.Event {
	e := run.Event{Type: kind, Addr: addr, Time: start.Add(time.Duration(seconds * float64(time.Second)))}
	if change != nil {
		change(&e)
	}
	return e
}

func began(seconds float64, addr, stepType string) run.Event {
	return at(seconds, "start", addr, func(e *run.Event) { e.StepType = stepType })
}

func went(seconds float64, addr, phase string, current, total int64, unit string) run.Event {
	return at(seconds, "progress", addr, func(e *run.Event) { e.Phase, e.Current, e.Total, e.Unit = phase, current, total, unit })
}

func ended(seconds float64, addr, status string, took time.Duration, result string) run.Event {
	return at(seconds, "end", addr, func(e *run.Event) {
		e.Status, e.Duration, e.StepType, e.Result = status, took, "quantize_static", json.RawMessage(result)
	})
}

// story is a run with something of everything.
var story = []run.Event{
	ended(0, "model.digits", "done", 9*time.Microsecond, ""),
	began(0, "dataset.train", ""), began(0, `step.int8["a long key of 漢字 that nobody can read at a glance"]`, "quantize_static"), began(0.5, "step.d", "distill_train"),
	went(0.5, "dataset.train", "reading", 0, 0, ""),
	went(1, `step.int8["a long key of 漢字 that nobody can read at a glance"]`, "calibrate", 4, 64, "samples"),
	went(1, "step.d", "loading", 0, 90_800_000, "B"), went(2, "step.d", "loading", 45_400_000, 90_800_000, "B"),
	went(3, `step.int8["a long key of 漢字 that nobody can read at a glance"]`, "calibrate", 16, 64, "samples"),
	ended(4, "dataset.train", "done", 4*time.Second, `{"samples":64}`),
	at(4, "log", "step.d", func(e *run.Event) { e.Level, e.Message = "warn", "a \x1b[31mred\x1b[0m warning\nof two lines" }),
	at(4, "log", "step.d", func(e *run.Event) { e.Level, e.Message = "info", "nobody wants to know" }),
	went(5, "step.d", "training", 7, 0, "epochs"),
	ended(6, "step.other", "failed", 1500*time.Millisecond, ""),
	ended(6, "step.after", "skipped", 0, ""),
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs, got:\n%s", name, got)
	}
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	for _, c := range []struct {
		title         string
		seconds       float64
		width, height int
		ascii, stops  bool
	}{
		{"three at once", 3, 100, 10, false, false},
		{"wide", 3, 140, 10, false, false},
		{"the end", 7, 100, 10, false, false},
		{"narrower", 3, 60, 10, false, false},
		{"narrow", 3, 30, 10, false, false},
		{"absurd", 3, 5, 10, false, false},
		{"in ASCII", 3, 80, 10, true, false},
		{"more actions than rows", 3, 80, 3, false, false},
		{"one row", 3, 80, 1, false, false},
		{"stopping", 3, 80, 10, false, true},
	} {
		now := start.Add(time.Duration(c.seconds * float64(time.Second)))
		board := newBoard(start)
		board.expect, board.stops = 9, c.stops
		for i := range story {
			if !story[i].Time.After(now) {
				board.take(&story[i])
			}
		}
		fmt.Fprintf(&b, "-- %s: %dx%d --\n", c.title, c.width, c.height)
		for _, r := range (look{ascii: c.ascii}).rows(board, now, c.width, c.height) {
			b.WriteString(r + "\n")
		}
	}
	golden(t, "frames.txt", b.Bytes())
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	p := newPlain(report.Style{}, start)
	i := 0
	for s := range 40 {
		now := start.Add(time.Duration(s) * time.Second)
		for ; i < len(story) && !story[i].Time.After(now); i++ {
			p.event(&b, &story[i])
		}
		p.signs(&b, now)
	}
	golden(t, "log.txt", b.Bytes())
}

// TestRowsFit draws boards of every kind at every size: no row is too wide, there are never too many, and nothing steers
// the terminal.
func TestRowsFit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	for range 3000 {
		b := newBoard(start)
		b.expect, b.stops = r.IntN(20), r.IntN(2) == 0
		now := start
		for i := range r.IntN(12) {
			addr := fmt.Sprintf("step.%s%d", pick("a", "漢字漢字漢字漢字", "\x1b[2J", "👩‍👩‍👧", strings.Repeat("long", 20)), i)
			b.take(&run.Event{Type: "start", Addr: addr, Time: now, StepType: pick("", "quantize_static")})
			for range r.IntN(4) {
				now = now.Add(time.Duration(r.Int64N(int64(10 * time.Second))))
				b.take(&run.Event{
					Type: "progress", Addr: addr, Time: now, Phase: pick("", "calibrate", "\n\t\x00", "漢"), Unit: pick("", "samples", "B", "\x1bX"),
					Current: r.Int64() - r.Int64N(1<<62)*int64(r.IntN(2)*2), Total: []int64{0, 1, 64, 1 << 62, -5}[r.IntN(5)],
				})
			}
			b.take(&run.Event{Type: pick("end", "log"), Addr: addr, Status: "done"})
		}
		width, height, ascii := r.IntN(130), r.IntN(12), r.IntN(2) == 0
		rows := look{ascii: ascii}.rows(b, now.Add(time.Duration(r.Int64N(int64(200*time.Hour)))), width, height)
		if len(rows) > height {
			t.Fatalf("%d rows where %d fit", len(rows), height)
		}
		for _, row := range rows {
			if w := term.Width(row); w > width {
				t.Fatalf("%d columns where %d fit: %q", w, width, row)
			}
			if strings.ContainsFunc(row, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }) {
				t.Fatalf("a control character: %q", row)
			}
		}
	}
}

func TestRate(t *testing.T) {
	b := newBoard(start)
	e := began(0, "step.a", "")
	b.take(&e)
	for i := range 100 {
		e := went(float64(i), "step.a", "work", int64(2*i), 400, "parts")
		b.take(&e)
	}
	a := b.find("step.a")
	if got := a.rate(); got < 1.99 || got > 2.01 {
		t.Errorf("rate %v, want 2", got)
	}
	if left, ok := a.left(start.Add(99 * time.Second)); !ok || left.Round(time.Second) != 101*time.Second {
		t.Errorf("left %v, %v; want 101s", left, ok)
	}
	if len(a.marks) > maxMarks {
		t.Errorf("%d marks", len(a.marks))
	}
	// A slower pace shows soon.
	for i := range 30 {
		e := went(float64(100+2*i), "step.a", "work", int64(200+i), 400, "parts")
		b.take(&e)
	}
	if got := a.rate(); got < 0.49 || got > 0.51 {
		t.Errorf("rate %v, want 0.5", got)
	}
	e = went(200, "step.a", "next", 1, 2, "")
	if b.take(&e); a.rate() != 0 {
		t.Errorf("a new phase begins with the rate %v", a.rate())
	}
}

func TestTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 3250 * time.Millisecond: "3.2s", 9990 * time.Millisecond: "9.9s", 42 * time.Second: "42s", 125 * time.Second: "2m05s",
		62 * time.Minute: "1h02m", 99*time.Hour + 59*time.Minute: "99h59m", 100 * time.Hour: "4d",
	} {
		if got := clock(d); got != want {
			t.Errorf("clock(%v) = %q, want %q", d, got, want)
		}
	}
	for _, c := range []struct{ got, want string }{
		{amount(3, 64, "samples"), "3/64 samples"}, {amount(7, 0, "epochs"), "7 epochs"}, {amount(45_400_000, 90_800_000, "B"), "45.4 MB/90.8 MB"}, {amount(1, 2, ""), "1/2"},
		{speed(0, "x"), ""}, {speed(12.4, "x"), "12/s"}, {speed(2.06, "x"), "2.1/s"}, {speed(0.05, "x"), "3.0/min"}, {speed(12345, "x"), "12.3k/s"}, {speed(12_300_000, "B"), "12.3 MB/s"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
