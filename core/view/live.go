package view

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Control sequences. A terminal that does not know one leaves it out.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	beginFrame = "\x1b[?2026h" // what follows is shown at once
	endFrame   = "\x1b[?2026l"
	wrapOff    = "\x1b[?7l"
	wrapOn     = "\x1b[?7h"
	eraseLine  = "\x1b[K" // from the cursor on
	eraseBelow = "\x1b[J"

	restore = "\r" + eraseBelow + wrapOn + showCursor + endFrame
)

// frames bounds how often the live area is drawn.
const frames = 70 * time.Millisecond

// patience is how long nothing is shown of what comes before the first action.
const patience = 300 * time.Millisecond

// live draws the live area. Between two frames the cursor stands at its first column: wherever a resize moves the lines,
// the cursor goes with them, and the next frame begins where the last one did.
func (v *View) live() {
	board := newBoard(v.o.now())
	look := look{style: v.o.Style, ascii: v.o.ASCII}
	tick := time.NewTicker(frames)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-v.queue.closing:
		case stopped := <-v.pause:
			v.clear()
			stopped <- struct{}{}
			<-stopped // until the process goes on
			continue
		}
		items, closed := v.queue.take()
		columns, height := v.o.Size()
		if columns < 1 || height < 1 {
			columns, height = 80, 24
		}
		look.style.Width = columns
		var lines strings.Builder
		for i := range items {
			it := &items[i]
			switch {
			case it.expect > 0:
				board.expect = it.expect
			case it.stopping:
				board.stops = true
			case it.status != "":
				board.status = it.status
			case it.text != "":
				v.draw(lines.String(), nil, "")
				lines.Reset()
				v.stderr(it.text)
			default:
				board.take(&it.event)
				lines.WriteString(line(look.style, &it.event))
			}
		}
		if closed {
			v.draw(lines.String(), nil, "")
			v.clear()
			return
		}
		var rows []string
		// What is quick shows no live area.
		if now := v.o.now(); len(board.running) > 0 || now.Sub(board.began) > patience && (board.status != "" || board.expect > 0) {
			// The last column stays free: some terminals wrap when it is written to.
			rows = look.rows(board, now, columns-1, height-1)
		}
		v.draw(lines.String(), rows, fmt.Sprint(columns, "x", height))
	}
}

func (v *View) stderr(text string) {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	if v.o.Err != nil {
		_, _ = io.WriteString(v.o.Err, text)
	}
}

// draw writes lines above the live area, and the live area anew when it has changed or the terminal's size has.
func (v *View) draw(above string, rows []string, size string) {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	frame := ""
	if len(rows) > 0 {
		frame = size + "\n" + strings.Join(rows, "\r\n")
	}
	if above == "" && frame == v.drawn {
		return
	}
	var b strings.Builder
	b.WriteString(beginFrame + hideCursor + "\r")
	if above != "" || len(rows) == 0 {
		b.WriteString(eraseBelow)
		b.WriteString(strings.ReplaceAll(above, "\n", "\r\n"))
	}
	if len(rows) > 0 {
		b.WriteString(wrapOff)
		for i, r := range rows {
			if i > 0 {
				b.WriteString("\r\n")
			}
			b.WriteString(r + eraseLine)
		}
		b.WriteString(eraseBelow + "\r")
		if n := len(rows) - 1; n > 0 {
			fmt.Fprintf(&b, "\x1b[%dA", n)
		}
		b.WriteString(wrapOn)
	}
	b.WriteString(endFrame)
	_, _ = io.WriteString(v.o.Out, b.String())
	v.drawn = frame
}

// clear takes the live area away and shows the cursor.
func (v *View) clear() {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	_, _ = io.WriteString(v.o.Out, restore)
	v.drawn = ""
}
