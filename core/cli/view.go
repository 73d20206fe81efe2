package cli

import (
	"os"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/term"
	"github.com/optimize-hcl/optimize/core/view"
)

// show begins to show a run on stdout; what it returns ends that, and may be called twice. Meanwhile diagnostics stand
// above the live area, or with --json are events.
func (a *app) show() (*view.View, func()) {
	o := view.Options{
		Out: a.stdout, Style: report.Style{Color: a.color(a.stdout)}, ASCII: !term.UTF8(os.Getenv), Redact: a.redact,
		Size: func() (int, int) { return term.Size(a.stdout) },
	}
	switch {
	case a.json:
		o.Mode = view.JSON
	case a.live():
		o.Mode = view.Live
	}
	stderr := a.stderr
	f, ok := stderr.(*os.File)
	if ok && o.Mode == view.Live && term.Is(f) {
		o.Err = f
	}
	v := view.New(o)
	if o.Err != nil {
		a.stderr = v.Above(f)
	}
	a.view.Store(v)
	return v, func() {
		v.Close()
		a.view.CompareAndSwap(v, nil)
		a.stderr = stderr
	}
}

// live tells whether stdout is a terminal on which lines may be drawn again. A job in the background shares it with the shell.
func (a *app) live() bool {
	ci := os.Getenv("CI")
	return a.color(a.stdout) && term.Is(a.stdout) && term.Foreground(a.stdout) && (ci == "" || ci == "false" || ci == "0") && term.Prepare(a.stdout)
}

// printEvent writes diagnostics as an event, since with --json an apply writes nothing else.
func (a *app) printEvent(r *diag.Renderer, ds diag.Diags) {
	e := run.NewEvent("diagnostic")
	e.Diagnostics = r.Document(ds).Diagnostics
	if v := a.view.Load(); v != nil {
		v.Event(e)
		return
	}
	v := view.New(view.Options{Mode: view.JSON, Out: a.stdout, Redact: a.redact})
	v.Event(e)
	v.Close()
}
