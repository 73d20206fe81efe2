// Package view shows a run while it goes on: a live area on a terminal, plain lines in a log, an event a line as JSON. What
// happens is queued and shown by a goroutine of its own, so that a slow terminal or reader never holds up the work.
package view

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
)

// Mode is how a run is shown.
type Mode int

// The modes.
const (
	Plain Mode = iota // lines, without control codes
	Live              // a live area at the end of a terminal, above it what is finished
	JSON              // an event a line
)

// Options say how and where a run is shown.
type Options struct {
	Mode Mode
	Out  io.Writer
	// Err is where the text of Above goes.
	Err   io.Writer
	Style report.Style
	// ASCII shows nothing else, for a locale that has nothing else.
	ASCII bool
	// Size gives the columns and rows of the terminal; 0 where it does not tell.
	Size func() (columns, rows int)
	// Redact takes what is sensitive out of messages; nil takes nothing out.
	Redact func(string) string

	now func() time.Time // the clock, in tests
}

// View shows one run.
type View struct {
	o     Options
	queue *queue
	done  chan struct{}
	close sync.Once
	pause chan chan struct{}
	dirty sync.Mutex // held while a frame is written
	drawn string     // the live area as it is on the terminal; guarded by dirty
}

// New begins to show a run. The caller must Close what it gets.
func New(o Options) *View {
	if o.now == nil {
		o.now = time.Now
	}
	if o.Size == nil {
		o.Size = func() (int, int) { return 0, 0 }
	}
	v := &View{o: o, queue: newQueue(), done: make(chan struct{}), pause: make(chan chan struct{})}
	loop := map[Mode]func(){Plain: v.plain, Live: v.live, JSON: v.json}[o.Mode]
	go func() {
		defer close(v.done)
		loop()
	}()
	if o.Mode == Live {
		v.handleSuspend()
	}
	return v
}

// Expect says how many actions the run has.
func (v *View) Expect(actions int) { v.queue.push(item{expect: actions}) }

// Status says what is done before the first action starts.
func (v *View) Status(text string) { v.queue.push(item{status: text}) }

// Stopping says that the user has asked the run to stop.
func (v *View) Stopping() { v.queue.push(item{stopping: true}) }

// Event shows an event. It returns at once.
func (v *View) Event(e run.Event) {
	if v.o.Redact != nil {
		e.Message, e.Phase = v.o.Redact(e.Message), v.o.Redact(e.Phase)
		if len(e.Fields) > 0 {
			fields := make(map[string]string, len(e.Fields))
			for k, x := range e.Fields {
				fields[k] = v.o.Redact(x)
			}
			e.Fields = fields
		}
	}
	v.queue.push(item{event: e})
}

// Above gives a writer whose text stands above the live area; file is where it goes.
func (v *View) Above(file *os.File) io.Writer { return above{v, file} }

// above looks like its file to those that ask whether it is a terminal.
type above struct {
	view *View
	file *os.File
}

func (a above) Fd() uintptr { return a.file.Fd() }

func (a above) Write(p []byte) (int, error) {
	if !a.view.queue.push(item{text: string(p)}) {
		return a.file.Write(p) // nothing is shown any more
	}
	return len(p), nil
}

// Close shows what is left, gives the terminal back as it was and ends the goroutine. Later events are dropped.
func (v *View) Close() {
	v.close.Do(func() {
		v.queue.close()
		<-v.done
	})
}

// Abandon gives the terminal back in a hurry, when the process is about to end: it waits for nobody.
func (v *View) Abandon() {
	if v.o.Mode != Live {
		return
	}
	given := make(chan struct{})
	go func() {
		defer close(given)
		v.dirty.Lock() // and keeps it: nothing is drawn any more
		_, _ = io.WriteString(v.o.Out, restore)
	}()
	select {
	case <-given:
	case <-time.After(200 * time.Millisecond): // the terminal takes nothing
	}
}
