package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/term"
)

// look is how the live area is drawn.
type look struct {
	style report.Style
	ascii bool
}

var (
	spinner      = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	spinnerASCII = []string{"|", "/", "-", "\\"}
)

func (l look) spin(now time.Time) string {
	frames := spinner
	if l.ascii {
		frames = spinnerASCII
	}
	return frames[int(now.UnixMilli()/100)%len(frames)]
}

func (l look) bar(current, total int64, width int) string {
	full, empty := "━", "─"
	if l.ascii {
		full, empty = "#", "-"
	}
	n := int(float64(min(current, total)) / float64(total) * float64(width))
	return l.style.Green(strings.Repeat(full, n)) + l.style.Faint(strings.Repeat(empty, width-n))
}

// ellipsis keeps to what the locale shows.
func (l look) truncate(s string, n int) string {
	if !l.ascii {
		return term.Truncate(s, n)
	}
	t := term.Truncate(s, n)
	if t == s {
		return s
	}
	return strings.TrimSuffix(t, "…") + "~"
}

// part is a piece of a row; the pieces of the greatest rank are left out first when the row is too narrow.
type part struct {
	text  string
	paint func(string) string
	width int // when text holds colours already
	rank  int
}

func (p part) columns() int {
	if p.width > 0 {
		return p.width
	}
	return term.Width(p.text)
}

// rows draws the live area: a row for each action, and one that sums up. There are at most height rows of at most width
// columns.
func (l look) rows(b *board, now time.Time, width, height int) []string {
	if height < 1 || width < 1 {
		return nil
	}
	if b.status != "" && len(b.running) == 0 {
		return []string{l.join([]part{{text: l.spin(now), paint: l.style.Yellow}, {text: term.Clean(b.status)}, {text: clock(now.Sub(b.began)), rank: 1}}, width)}
	}
	names, phases := 0, 0
	for _, a := range b.running {
		names = max(names, term.Width(term.Clean(a.addr)))
		phases = max(phases, term.Width(a.what()))
	}
	names, phases = min(names, max(width*2/5, 12)), min(phases, max(width/4, 8))
	var out []string
	shown := b.running
	if room := height - 1; len(shown) > room {
		shown = shown[:max(room-1, 0)]
	}
	for _, a := range shown {
		out = append(out, l.row(a, now, width, names, phases))
	}
	if more := len(b.running) - len(shown); more > 0 && len(out) < height-1 {
		dots := "…"
		if l.ascii {
			dots = "..."
		}
		out = append(out, l.style.Faint(l.truncate(fmt.Sprintf("  %s and %d more", dots, more), width)))
	}
	return append(out, l.style.Faint(l.truncate(l.sum(b, now), width)))
}

func (l look) sum(b *board, now time.Time) string {
	text := fmt.Sprintf("  %d done", b.finished())
	if b.expect > 0 {
		text = fmt.Sprintf("  %d of %d done", b.finished(), b.expect)
	}
	for _, k := range []string{"failed", "skipped"} {
		if n := b.ended[k]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, k)
		}
	}
	if n := len(b.running); n > 0 {
		text += fmt.Sprintf(", %d running", n)
	}
	text += ", " + clock(now.Sub(b.began))
	if b.stops {
		text += ", stopping: a second ^C kills"
	}
	return text
}

// what is the phase of an action; the type of its step until it tells one.
func (a *action) what() string {
	if p := term.Clean(a.phase); p != "" {
		return p
	}
	return term.Clean(a.stepType)
}

func (l look) row(a *action, now time.Time, width, names, phases int) string {
	name := l.truncate(term.Clean(a.addr), names)
	parts := []part{
		{text: l.spin(now), paint: l.style.Yellow},
		{text: term.Pad(name, names)},
	}
	if phases > 0 {
		parts = append(parts, part{text: term.Pad(l.truncate(a.what(), phases), phases), rank: 2})
	}
	if a.total > 0 {
		w := min(max(width/6, 6), 24)
		parts = append(parts, part{text: l.bar(a.current, a.total, w), width: w, rank: 4})
	}
	if a.total > 0 || a.current > 0 {
		parts = append(parts, part{text: amount(a.current, a.total, a.unit), rank: 3})
	}
	if s := speed(a.rate(), a.unit); s != "" {
		parts = append(parts, part{text: s, paint: l.style.Faint, rank: 6})
	}
	parts = append(parts, part{text: clock(now.Sub(a.began)), rank: 1})
	if d, ok := a.left(now); ok {
		parts = append(parts, part{text: "ETA " + clock(d), paint: l.style.Faint, rank: 5})
	}
	return l.join(parts, width)
}

// join puts the parts side by side, without those for which there is no room; what is still too wide is cut.
func (l look) join(parts []part, width int) string {
	total := func() int {
		n := -1
		for _, p := range parts {
			n += p.columns() + 1
		}
		return n
	}
	for total() > width {
		last := -1
		for i, p := range parts {
			if p.rank > 1 && (last < 0 || p.rank > parts[last].rank) {
				last = i
			}
		}
		if last < 0 {
			break
		}
		// A long phase is cut before it goes: it is the text that says what happens.
		if p := &parts[last]; p.rank == 2 {
			if room := p.columns() - (total() - width); room >= 4 {
				p.text = l.truncate(p.text, room)
				break
			}
		}
		parts = append(parts[:last:last], parts[last+1:]...)
	}
	var b strings.Builder
	used := 0
	for i, p := range parts {
		if i > 0 {
			if used++; used >= width {
				break
			}
			b.WriteByte(' ')
		}
		text := p.text
		if p.width == 0 {
			text = l.truncate(text, width-used)
		}
		used += part{text: text, width: p.width}.columns()
		if p.paint != nil {
			text = p.paint(text)
		}
		b.WriteString(text)
	}
	return strings.TrimRight(b.String(), " ")
}
