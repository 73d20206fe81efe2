package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/core/run"
)

// stuck is a terminal that takes nothing until it is let go.
type stuck struct {
	let  chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// TestSlowTerminal sends more than anybody could show to a terminal that takes nothing: the sender does not wait, what is
// kept is bounded, and in the end everything that matters is shown.
func TestSlowTerminal(t *testing.T) {
	for _, mode := range []Mode{Plain, Live, JSON} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			out := &stuck{let: make(chan struct{})}
			v := New(Options{Mode: mode, Out: out})
			began := time.Now()
			for i := range 20 {
				v.Event(run.Event{Type: "start", Addr: fmt.Sprintf("step.s%d", i), Time: began})
			}
			time.Sleep(2 * frames) // the first write is under way, and stuck
			for i := range 200_000 {
				addr := fmt.Sprintf("step.s%d", i%20)
				v.Event(run.Event{Type: "progress", Addr: addr, Phase: "work", Current: int64(i), Total: 200_000, Time: began})
				if i%10 == 0 {
					v.Event(run.Event{Type: "log", Addr: addr, Level: "warn", Message: fmt.Sprint("message ", i)})
				}
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("sending took %s", took)
			}
			v.queue.mu.Lock()
			kept := len(v.queue.items)
			v.queue.mu.Unlock()
			if kept > maxLogs+100 {
				t.Errorf("%d items are kept", kept)
			}
			for i := range 20 {
				v.Event(run.Event{Type: "end", Addr: fmt.Sprintf("step.s%d", i), Status: "done"})
			}
			close(out.let)
			v.Close()
			text := out.text.String()
			for i := range 20 {
				if addr := fmt.Sprintf("step.s%d", i); strings.Count(text, "done   "+addr+" ")+strings.Count(text, `"type":"end","time":"0001-01-01T00:00:00Z","addr":"`+addr+`"`) != 1 {
					t.Errorf("the end of %s is not shown once", addr)
				}
			}
			if !strings.Contains(text, "19000 messages are left out") && !strings.Contains(text, "messages are left out here") {
				t.Error("nothing says that messages are missing")
			}
		})
	}
}

// TestQueueOrder proves that coalescing does not tell progress before a start or after an end.
func TestQueueOrder(t *testing.T) {
	q := newQueue()
	push := func(kind, addr, phase string, current int64) {
		q.push(item{event: run.Event{Type: kind, Addr: addr, Phase: phase, Current: current}})
	}
	push("start", "a", "", 0)
	push("progress", "a", "x", 1)
	push("progress", "b", "x", 1)
	push("progress", "a", "x", 2)
	push("progress", "a", "y", 1)
	push("progress", "a", "y", 2)
	push("end", "a", "", 0)
	push("start", "a", "", 0)
	push("progress", "a", "y", 3)
	items, closed := q.take()
	var got []string
	for _, it := range items {
		got = append(got, fmt.Sprintf("%s %s %s%d", it.event.Type, it.event.Addr, it.event.Phase, it.event.Current))
	}
	want := "start a 0|progress a x2|progress b x1|progress a y2|end a 0|start a 0|progress a y3"
	if s := strings.Join(got, "|"); s != want || closed {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	push("progress", "a", "y", 4)
	if items, _ := q.take(); len(items) != 1 || items[0].event.Current != 4 {
		t.Errorf("after a take: %v", items)
	}
	q.close()
	if q.push(item{}) {
		t.Error("a closed queue takes something")
	}
}

func TestJSONLines(t *testing.T) {
	var b bytes.Buffer
	v := New(Options{Mode: JSON, Out: &b, Redact: func(s string) string { return strings.ReplaceAll(s, "S3CRET", "(sensitive)") }})
	for _, e := range story {
		v.Event(e)
	}
	v.Event(run.Event{Type: "log", Message: "S3CRET <&>", Fields: map[string]string{"k": "S3CRET"}, Phase: "S3CRET"})
	v.Close()
	v.Event(run.Event{Type: "log", Message: "too late"})
	v.Close()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if n := len(lines); n > len(story)+1 || n < len(story)-2 { // what comes quickly may be one
		t.Errorf("%d lines of %d events", n, len(story)+1)
	}
	for _, l := range lines {
		var e run.Event
		if err := json.Unmarshal([]byte(l), &e); err != nil || e.Type == "" {
			t.Errorf("no event: %s", l)
		}
	}
	if s := b.String(); strings.Contains(s, "S3CRET") || strings.Contains(s, "too late") || !strings.Contains(s, "(sensitive) <&>") {
		t.Error(s)
	}
}

func TestPlainView(t *testing.T) {
	var b bytes.Buffer
	v := New(Options{Mode: Plain, Out: &b})
	v.Status("planning")
	v.Expect(3)
	v.Event(began(0, "step.a", "demo"))
	v.Stopping()
	v.Event(ended(1, "step.a", "stopped", 0, ""))
	v.Close()
	if want := "  start  step.a demo\n  stop   what works is asked to end; a second signal kills it\n  stop   step.a\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func BenchmarkEvent(b *testing.B) {
	v := New(Options{Mode: JSON, Out: io.Discard, Redact: func(s string) string { return s }})
	defer v.Close()
	e := run.Event{Type: "progress", Addr: "step.a", Phase: "work", Total: 100}
	for b.Loop() {
		e.Current++
		v.Event(e)
	}
}
