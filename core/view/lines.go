package view

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/term"
)

// indent is as wide as the word before an address.
const indent = "         "

// line is the text of an event that stays on the terminal, in a log too; empty when it has none.
func line(s report.Style, e *run.Event) string {
	var b bytes.Buffer
	switch e.Type {
	case "log":
		if e.Level != "warn" && e.Level != "error" {
			return ""
		}
		word := s.Yellow("warn  ")
		if e.Level == "error" {
			word = s.Red("error ")
		}
		addr := term.Clean(e.Addr)
		if addr != "" {
			addr += ": "
		}
		fmt.Fprintf(&b, "  %s %s%s\n", word, addr, term.Clean(e.Message))
	case "end":
		end(&b, s, e)
	case "evaluation":
		if e.Evaluation != nil {
			b.WriteString("\n")
			report.Table(&b, s, e.Evaluation)
			b.WriteString("\n")
		}
	case "output":
		switch o := e.Output; {
		case o == nil:
		case o.Path != "":
			fmt.Fprintf(&b, "  %s %s → %s (%s)\n", s.Green("output"), term.Clean(o.Name), term.Clean(o.Path), report.Bytes(o.Size))
		case o.Value != nil:
			fmt.Fprintf(&b, "  %s %s = %s\n", s.Green("output"), term.Clean(o.Name), term.Clean(string(o.Value)))
		}
	}
	return b.String()
}

func end(b *bytes.Buffer, s report.Style, e *run.Event) {
	word := map[string]string{
		"done": s.Green("done  "), "cached": s.Green("cached"), "failed": s.Red("FAILED"), "skipped": s.Faint("skip  "), "stopped": s.Yellow("stop  "),
	}[e.Status]
	took := ""
	if e.Status == "done" || e.Status == "cached" || e.Status == "failed" {
		took = " " + s.Faint(duration(e.Duration))
	}
	fmt.Fprintf(b, "  %s %s%s\n", word, term.Clean(e.Addr), took)
	if e.StepType != "" && len(e.Result) > 0 {
		report.WriteFacts(b, s, indent, report.FactsOf(e.Result))
	}
}

// duration writes what something took, with about three digits.
func duration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return clock(d)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// clock writes a duration for somebody who waits: 3.2s, 42s, 2m05s, 1h02m.
func clock(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// amount writes how far a phase is: "32/64 samples", "12.3 MB/90.8 MB", "7 trials".
func amount(current, total int64, unit string) string {
	unit = term.Clean(unit)
	number := func(n int64) string { return fmt.Sprint(n) }
	if isBytes(unit) {
		number, unit = report.Bytes, ""
	}
	text := number(current)
	if total > 0 {
		text += "/" + number(total)
	}
	return strings.TrimSpace(text + " " + unit)
}

func isBytes(unit string) bool { return unit == "B" || unit == "bytes" || unit == "byte" }

// speed writes a rate, with as many digits as it is worth.
func speed(perSecond float64, unit string) string {
	switch {
	case perSecond <= 0:
		return ""
	case isBytes(unit):
		return report.Bytes(int64(perSecond)) + "/s"
	case perSecond >= 1000:
		return report.Count(perSecond) + "/s"
	case perSecond >= 10:
		return fmt.Sprintf("%.0f/s", perSecond)
	case perSecond >= 0.1:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return fmt.Sprintf("%.1f/min", perSecond*60)
}
