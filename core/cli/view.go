package cli

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
)

// view shows events as they come: JSON lines, or text.
type view struct {
	app   *app
	style report.Style
	mu    sync.Mutex
	phase map[string]string
	last  map[string]time.Time
}

func (a *app) newView() *view {
	return &view{app: a, style: report.Style{Color: a.color(a.stdout)}, phase: map[string]string{}, last: map[string]time.Time{}}
}

func (v *view) event(e run.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.app.stdout
	if v.app.json {
		b, err := json.Marshal(e)
		if err == nil {
			_, _ = w.Write(append(b, '\n'))
		}
		return
	}
	switch e.Type {
	case "start":
		fmt.Fprintf(w, "  %s %s %s\n", v.style.Yellow("start "), e.Addr, v.style.Faint(e.StepType))
	case "progress":
		// A phase is shown when it begins, and every two seconds while it goes on.
		if v.phase[e.Addr] == e.Phase && time.Since(v.last[e.Addr]) < 2*time.Second {
			return
		}
		if v.phase[e.Addr] == e.Phase && e.Total == 0 {
			return
		}
		first := v.phase[e.Addr] != e.Phase
		v.phase[e.Addr], v.last[e.Addr] = e.Phase, time.Now()
		switch {
		case first:
			fmt.Fprintf(w, "         %s %s\n", e.Addr, v.style.Faint(e.Phase))
		default:
			fmt.Fprintf(w, "         %s %s %d/%d %s\n", e.Addr, v.style.Faint(e.Phase), e.Current, e.Total, e.Unit)
		}
	case "log":
		if e.Level == "warn" || e.Level == "error" {
			fmt.Fprintf(w, "         %s %s\n", e.Addr, e.Message)
		}
	case "end":
		word := map[string]string{"done": v.style.Green("done  "), "cached": v.style.Green("cached"), "failed": v.style.Red("FAILED"), "skipped": v.style.Faint("skip  "), "stopped": v.style.Yellow("stop  ")}[e.Status]
		took := ""
		if e.Status == "done" || e.Status == "cached" || e.Status == "failed" {
			took = " " + v.style.Faint(round(e.Duration).String())
		}
		fmt.Fprintf(w, "  %s %s%s\n", word, e.Addr, took)
	case "evaluation":
		fmt.Fprintln(w)
		report.Table(w, v.style, e.Evaluation)
		fmt.Fprintln(w)
	case "output":
		switch {
		case e.Output.Path != "":
			fmt.Fprintf(w, "  %s %s → %s (%s)\n", v.style.Green("output"), e.Output.Name, e.Output.Path, report.Bytes(e.Output.Size))
		case e.Output.Value != nil:
			fmt.Fprintf(w, "  %s %s = %s\n", v.style.Green("output"), e.Output.Name, e.Output.Value)
		}
	}
}
