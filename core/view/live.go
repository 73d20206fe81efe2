package view

import (
	"bytes"
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
		case stopped := <-v.pause:
			v.clear()
			stopped <- struct{}{}
			<-stopped // until the process goes on
			continue
		}
		items, closed := v.queue.take()
		var above bytes.Buffer
		for i := range items {
			it := &items[i]
			switch {
			case it.expect > 0:
				board.expect = it.expect
			case it.text != "":
				v.above(&above)
				v.stderr(it.text)
			default:
				board.take(&it.event)
				above.WriteString(line(look.style, &it.event))
			}
		}
		var rows []string
		if !closed {
			columns, height := v.o.Size()
			if columns < 1 || height < 1 {
				columns, height = 80, 24
			}
			// The last column stays free: some terminals wrap when it is written to.
			if len(board.running) > 0 || above.Len() > 0 || v.shown() {
				rows = look.rows(board, v.o.now(), columns-1, height-1)
			}
		}
		v.draw(above.String(), rows)
		if closed {
			v.clear()
			return
		}
	}
}

// above writes what is to stand above the live area, which goes.
func (v *View) above(b *bytes.Buffer) {
	v.draw(b.String(), nil)
	b.Reset()
}

func (v *View) shown() bool {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	return v.drawn
}

func (v *View) stderr(text string) {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	_, _ = io.WriteString(v.o.Err, text)
}

// draw writes lines above the live area, and the live area anew.
func (v *View) draw(above string, rows []string) {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	if above == "" && len(rows) == 0 && !v.drawn {
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
	v.drawn = len(rows) > 0
}

// clear takes the live area away and shows the cursor.
func (v *View) clear() {
	v.dirty.Lock()
	defer v.dirty.Unlock()
	_, _ = io.WriteString(v.o.Out, restore)
	v.drawn = false
}
