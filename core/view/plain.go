package view

import (
	"bytes"
	"fmt"
	"time"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/term"
)

// every is how long a log may be silent about something that goes on.
const every = 10 * time.Second

// plain writes lines: the start and end of each action, its phases, and a sign of life every ten seconds.
func (v *View) plain() {
	p := newPlain(v.o.Style, v.o.now())
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-v.queue.wake:
		case <-tick.C:
		}
		items, closed := v.queue.take()
		var b bytes.Buffer
		for i := range items {
			switch {
			case items[i].stopping:
				fmt.Fprintf(&b, "  %s what works is asked to end; a second signal kills it\n", v.o.Style.Yellow("stop  "))
			case items[i].event.Type != "":
				p.event(&b, &items[i].event)
			}
		}
		if !closed {
			p.signs(&b, v.o.now())
		}
		if b.Len() > 0 {
			_, _ = v.o.Out.Write(b.Bytes()) // a reader that went away does not end the run
		}
		if closed {
			return
		}
	}
}

// plain is what the lines of a log depend on.
type plain struct {
	style  report.Style
	board  *board
	told   map[string]time.Time            // by address: when a line was last written
	phases map[string]map[string]time.Time // by address and phase: when that was last said
}

func newPlain(s report.Style, now time.Time) *plain {
	return &plain{style: s, board: newBoard(now), told: map[string]time.Time{}, phases: map[string]map[string]time.Time{}}
}

func (p *plain) event(b *bytes.Buffer, e *run.Event) {
	a, newPhase := p.board.take(e)
	switch e.Type {
	case "wait":
		fmt.Fprintf(b, "  %s %s %s\n", p.style.Faint("wait  "), term.Clean(e.Addr), p.style.Faint(waitPhase))
	case "start":
		kind := ""
		if e.StepType != "" {
			kind = " " + p.style.Faint(term.Clean(e.StepType))
		}
		fmt.Fprintf(b, "  %s %s%s\n", p.style.Yellow("start "), term.Clean(e.Addr), kind)
		p.told[e.Addr], p.phases[e.Addr] = e.Time, map[string]time.Time{}
	case "progress":
		// Phases that take turns many times a second are told once in a while.
		if a == nil || !newPhase || a.phase == "" {
			return
		}
		if at, ok := p.phases[e.Addr][e.Phase]; ok && e.Time.Sub(at) < every {
			return
		}
		p.phases[e.Addr][e.Phase] = e.Time
		p.told[e.Addr] = e.Time
		fmt.Fprintf(b, "%s%s %s\n", indent, term.Clean(e.Addr), p.style.Faint(term.Clean(e.Phase)))
	case "end":
		delete(p.told, e.Addr)
		delete(p.phases, e.Addr)
		b.WriteString(line(p.style, e))
	default:
		b.WriteString(line(p.style, e))
	}
}

// signs writes a line for each action about which nothing was said for a while.
func (p *plain) signs(b *bytes.Buffer, now time.Time) {
	for _, a := range p.board.running {
		if now.Sub(p.told[a.addr]) < every {
			continue
		}
		p.told[a.addr] = now
		text := term.Clean(a.phase)
		if text == "" {
			text = "working"
		}
		if a.total > 0 || a.current > 0 {
			text += " " + amount(a.current, a.total, a.unit)
		}
		text += ", " + clock(now.Sub(a.began))
		if d, ok := a.left(now); ok {
			text += ", about " + clock(d) + " left"
		}
		fmt.Fprintf(b, "%s%s %s\n", indent, term.Clean(a.addr), p.style.Faint(text))
	}
}
