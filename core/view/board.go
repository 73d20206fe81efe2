package view

import (
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/core/run"
)

// board knows what is being worked on and how far that is. It has no clock.
type board struct {
	began   time.Time
	expect  int
	status  string         // what is done before the first action
	stops   bool           // the user has asked for the end
	ended   map[string]int // by status
	running []*action      // in the order in which they started
}

// action is one that is being worked on.
type action struct {
	addr, stepType string
	began          time.Time
	phase          string
	current, total int64
	unit           string
	marks          []mark // of this phase: where the rate comes from
}

// mark is how far a phase was at a moment.
type mark struct {
	at      time.Time
	current int64
}

const (
	// window is how far back the rate looks.
	window = 20 * time.Second
	// maxMarks bounds what is kept for it.
	maxMarks = 40
)

// waitPhase is what an action does while another run is at the same work: whoever is first writes it for both.
const waitPhase = "waits for another run with the same work"

func newBoard(now time.Time) *board { return &board{began: now, ended: map[string]int{}} }

// take notes an event and tells whether it changed the phase of an action.
func (b *board) take(e *run.Event) (a *action, newPhase bool) {
	switch e.Type {
	case "wait", "start":
		a := &action{addr: e.Addr, stepType: e.StepType, began: e.Time}
		if e.Type == "wait" {
			a.phase = waitPhase
		}
		b.status = ""
		b.remove(e.Addr)
		b.running = append(b.running, a)
		return a, false
	case "progress":
		a := b.find(e.Addr)
		if a == nil {
			return nil, false // after its end
		}
		newPhase := a.phase != e.Phase
		if newPhase || e.Current < a.current {
			a.marks = nil
		}
		a.phase, a.current, a.total, a.unit = e.Phase, max(e.Current, 0), max(e.Total, 0), e.Unit
		a.mark(e.Time)
		return a, newPhase
	case "end":
		b.status = ""
		b.remove(e.Addr)
		b.ended[e.Status]++
	}
	return nil, false
}

func (b *board) find(addr string) *action {
	for _, a := range b.running {
		if a.addr == addr {
			return a
		}
	}
	return nil
}

func (b *board) remove(addr string) {
	b.running = slices.DeleteFunc(b.running, func(a *action) bool { return a.addr == addr })
}

// finished counts the actions that came to their end.
func (b *board) finished() int { return b.ended["done"] + b.ended["cached"] }

func (a *action) mark(at time.Time) {
	for len(a.marks) > 2 && (at.Sub(a.marks[0].at) > window || len(a.marks) >= maxMarks) {
		a.marks = a.marks[1:]
	}
	// Marks of the same half second are one: the window would hold nothing else.
	if n := len(a.marks); n > 1 && at.Sub(a.marks[n-2].at) < window/maxMarks {
		a.marks[n-1] = mark{at, a.current}
		return
	}
	a.marks = append(a.marks, mark{at, a.current})
}

// rate is how many units a second the phase does lately; 0 when that is not known yet.
func (a *action) rate() float64 {
	if len(a.marks) < 2 {
		return 0
	}
	first, last := a.marks[0], a.marks[len(a.marks)-1]
	took := last.at.Sub(first.at).Seconds()
	if took < 0.5 || last.current <= first.current {
		return 0
	}
	return float64(last.current-first.current) / took
}

// left is how long the phase will take yet, when that can be told.
func (a *action) left(now time.Time) (time.Duration, bool) {
	r := a.rate()
	if r == 0 || a.total == 0 || a.current >= a.total {
		return 0, false
	}
	seconds := float64(a.total-a.current) / r
	if seconds > 1e7 {
		return 0, false // months: nothing that one could believe
	}
	since := now.Sub(a.marks[len(a.marks)-1].at)
	left := time.Duration(seconds*float64(time.Second)) - since
	return left, left > 0 // what has come to a halt has no end in sight
}
