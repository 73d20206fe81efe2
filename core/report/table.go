package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/evaluate"
	"github.com/optimize-hcl/optimize/core/term"
	"github.com/optimize-hcl/optimize/metrics"
)

// Style says how text is written to a terminal.
type Style struct {
	Color bool
	// Width is how many columns a table may have; 0 means any number.
	Width int
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Bold, Red, Green, Yellow and Faint style text when colours are on.
func (s Style) Bold(t string) string   { return s.paint(bold, t) }
func (s Style) Red(t string) string    { return s.paint(red, t) }
func (s Style) Green(t string) string  { return s.paint(green, t) }
func (s Style) Yellow(t string) string { return s.paint(yellow, t) }
func (s Style) Faint(t string) string  { return s.paint(faint, t) }

// column is one column of the table: a metric, its heading, and how its estimate is written.
type column struct {
	metric, head string
	write        func(e metrics.Estimate) string
}

var columns = []column{
	{"size", "size", func(e metrics.Estimate) string { return Bytes(int64(e.Point)) }},
	{"parameters", "parameters", func(e metrics.Estimate) string { return Count(e.Point) }},
	{"macs", "MACs", func(e metrics.Estimate) string { return Count(e.Point) }},
	{"top1", "top-1", share},
	{"top1_drop", "drop", func(e metrics.Estimate) string { return interval(e, "%.4f") }},
	{"agreement", "agreement", share},
	{"sqnr", "SQNR", func(e metrics.Estimate) string { return fmt.Sprintf("%.1f dB", e.Point) }},
	{"cosine", "cosine", func(e metrics.Estimate) string { return fmt.Sprintf("%.4f", e.Point) }},
	{"latency_p50", "p50", millis},
	{"latency_p90", "p90", millis},
	{"latency_p99", "p99", millis},
	{"speedup", "speed-up", func(e metrics.Estimate) string { return interval(e, "%.2f") + "x" }},
}

// columnsFor puts the metrics that were asked for, and have no column of their own, behind those of quality.
func columnsFor(e *Evaluation) []column {
	var more []column
	for _, q := range e.Quality {
		if !slices.ContainsFunc(columns, func(c column) bool { return c.metric == q.Name }) {
			more = append(more, column{q.Name, headOf(q), writerOf(q)})
		}
	}
	at := slices.IndexFunc(columns, func(c column) bool { return c.metric == "latency_p50" })
	return slices.Insert(slices.Clone(columns), at, more...)
}

// headOf marks a figure of which less is better; that of a change is, as its name says.
func headOf(q evaluate.Described) string {
	name := term.Clean(q.Name)
	if q.Better == "lower" && !q.Change {
		name += " (less is better)"
	}
	return name
}

// writerOf writes a figure with its unit; a change comes with its interval, against which budgets are held.
func writerOf(q evaluate.Described) func(metrics.Estimate) string {
	format, unit := "%.4f", ""
	switch {
	case q.Unit == "dB":
		format, unit = "%.1f", " dB"
	case q.Unit == "points":
		format = "%.2f"
	case q.Unit == "" && q.Kind != "cosine":
		format = "%.4g"
	}
	return func(e metrics.Estimate) string {
		if q.Change {
			return interval(e, format) + unit
		}
		return fmt.Sprintf(format, e.Point) + unit
	}
}

func share(e metrics.Estimate) string  { return fmt.Sprintf("%.4f", e.Point) }
func millis(e metrics.Estimate) string { return fmt.Sprintf("%.3g ms", e.Point) }

func interval(e metrics.Estimate, format string) string {
	if e.Low == e.High {
		return fmt.Sprintf(format, e.Point)
	}
	return fmt.Sprintf(format+" ["+format+", "+format+"]", e.Point, e.Low, e.High)
}

// Bytes writes a size as people read it: decimal units, three digits.
func Bytes(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, i := float64(n), 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return digits(v) + " " + units[i]
}

// Count writes a count with three digits and a decimal suffix: 77.8k, 9.31M.
func Count(v float64) string {
	units := []string{"", "k", "M", "G", "T"}
	i := 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0f", v)
	}
	return digits(v) + units[i]
}

func digits(v float64) string {
	return fmt.Sprintf("%.*f", max(0, 2-int(math.Log10(max(v, 1)))), v)
}

// heading says what was measured, on what and how.
func heading(e *Evaluation) string {
	head := fmt.Sprintf("%s on %s (%s samples)", term.Clean(e.Name), term.Clean(e.Dataset), thousands(e.Samples))
	if m := e.Measurements; len(m) > 0 && m[0].Facts["runtime"] != "" {
		head += ", " + engineOf(m[0])
	}
	if e.Batch > 0 {
		head += fmt.Sprintf(", latency at batch %d with %d %s", e.Batch, e.Threads, plural(e.Threads, "thread"))
		if slices.ContainsFunc(e.Measurements, func(m evaluate.Measurement) bool { return m.LatencyReused }) {
			head += " (of an earlier run)"
		}
	}
	return head
}

// engineOf says what ran a subject, as far as its runtime tells: "openvino 2026.4.1 (cpu, f32)". What is plain, a CPU and
// the model's own precision, a runtime need not tell.
func engineOf(m evaluate.Measurement) string {
	s := strings.TrimSpace(m.Facts["runtime"] + " " + m.Facts["runtime_version"])
	var how []string
	if p := m.Facts["precision"]; p != "" {
		if d := m.Facts["device"]; d != "" {
			how = append(how, d)
		}
		how = append(how, p)
	}
	if n := m.Facts["streams"]; n != "" {
		how = append(how, n+" runs at a time")
	}
	if len(how) > 0 {
		s += " (" + strings.Join(how, ", ") + ")"
	}
	return term.Clean(s)
}

// runsAs says of a subject what its engine made of it, and which engine where that is not the baseline's; empty for nothing.
func runsAs(e *Evaluation, m evaluate.Measurement) string {
	var parts []string
	if other := engineOf(m); other != engineOf(e.Measurements[0]) && other != "" {
		parts = append(parts, "on "+other)
	}
	if line := coverageLine(m.Coverage); line != "" {
		parts = append(parts, "as "+line)
	}
	return strings.Join(parts, " ")
}

// grid is the table of an evaluation: the headings, then a row for each subject.
func grid(e *Evaluation) [][]string {
	rows := [][]string{{""}}
	var shown []column
	for _, c := range columnsFor(e) {
		if slices.ContainsFunc(e.Measurements, func(m evaluate.Measurement) bool { _, ok := m.Metrics[c.metric]; return ok }) {
			shown = append(shown, c)
			rows[0] = append(rows[0], c.head)
		}
	}
	for i, m := range e.Measurements {
		row := []string{term.Clean(m.Name)}
		for _, c := range shown {
			v, ok := m.Metrics[c.metric]
			switch {
			case !ok:
				row = append(row, "")
			case i == 0 && c.metric == "speedup":
				row = append(row, "1x")
			default:
				row = append(row, c.write(v))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// Table writes what an evaluation measured: a row for each subject, what the engine runs in integers, and the budgets.
func Table(w io.Writer, s Style, e *Evaluation) {
	fmt.Fprintf(w, "%s\n", s.Bold(heading(e)))
	for _, rows := range fit(grid(e), s.Width) {
		writeRows(w, s, rows)
	}
	for _, m := range e.Measurements {
		if line := runsAs(e, m); line != "" {
			fmt.Fprintf(w, "  %s runs %s\n", term.Clean(m.Name), line)
		}
	}
	if len(e.Ensures) > 0 {
		fmt.Fprintln(w)
	}
	for _, c := range e.Ensures {
		if c.OK {
			fmt.Fprintf(w, "  %s %s: %s\n", s.Green("held"), term.Clean(c.Name), term.Clean(c.Condition))
		} else {
			fmt.Fprintf(w, "  %s %s: %s\n", s.Red("MISSED"), term.Clean(c.Name), term.Clean(c.Message))
		}
	}
}

// fit gives a table as it is when it is narrow enough, else turned on its side: a row for each metric, and as many subjects
// beside each other as there is room for.
func fit(rows [][]string, width int) [][][]string {
	if width <= 0 || tableWidth(rows) <= width {
		return [][][]string{rows}
	}
	turned := make([][]string, len(rows[0]))
	for i := range turned {
		for _, r := range rows {
			turned[i] = append(turned[i], r[i])
		}
	}
	var out [][][]string
	for first := 1; first < len(rows); {
		n := 1
		for first+n < len(rows) && tableWidth(columnsOf(turned, first, n+1)) <= width {
			n++
		}
		out = append(out, columnsOf(turned, first, n))
		first += n
	}
	return out
}

// columnsOf is a table of the first column and n others.
func columnsOf(rows [][]string, first, n int) [][]string {
	out := make([][]string, len(rows))
	for i, r := range rows {
		out[i] = append([]string{r[0]}, r[first:first+n]...)
	}
	return out
}

func tableWidth(rows [][]string) int {
	sum := 2
	for i := range rows[0] {
		widest := 0
		for _, r := range rows {
			widest = max(widest, term.Width(r[i]))
		}
		if sum += widest; i > 0 {
			sum += 3
		}
	}
	return sum
}

func writeRows(w io.Writer, s Style, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], term.Width(c))
		}
	}
	for k, r := range rows {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", widths[i]-term.Width(c))
			if i == 0 {
				b.WriteString("  " + c + pad)
			} else {
				b.WriteString("   " + pad + c)
			}
		}
		line := strings.TrimRight(b.String(), " ")
		if k == 0 {
			line = s.Faint(line)
		}
		fmt.Fprintln(w, line)
	}
}

// coverageLine sums up a document of the schema optimize.coverage/v1: "9 of 9 Conv int8 - int8: 9 QLinearConv, 3 QLinearAdd;
// fp32: 1 Softmax". The first part is there when the document counts layers and some are not in float.
func coverageLine(doc json.RawMessage) string {
	var c struct {
		Ops []struct {
			Op        string `json:"op"`
			Precision string `json:"precision"`
			Count     int    `json:"count"`
			Provider  string `json:"provider"`
		} `json:"ops"`
		Layers []struct {
			Op        string `json:"op"`
			Precision string `json:"precision"`
			Count     int    `json:"count"`
			Total     int    `json:"total"`
		} `json:"layers"`
	}
	if len(doc) == 0 || json.Unmarshal(doc, &c) != nil {
		return ""
	}
	by := map[string][]string{}
	var order []string
	for _, o := range c.Ops {
		in := o.Precision
		if o.Provider != "" { // what it compiled is of a precision that only it knows
			in = strings.TrimSuffix(o.Provider+" "+o.Precision, " unknown")
		}
		if _, ok := by[in]; !ok {
			order = append(order, in)
		}
		by[in] = append(by[in], fmt.Sprintf("%d %s", o.Count, o.Op))
	}
	slices.SortStableFunc(order, func(a, b string) int { return len(by[b]) - len(by[a]) })
	parts := make([]string, 0, len(order))
	for _, p := range order {
		parts = append(parts, term.Clean(fmt.Sprintf("%s: %s", p, strings.Join(by[p], ", "))))
	}
	line := strings.Join(parts, "; ")
	var layers []string
	for _, l := range c.Layers {
		if !strings.HasPrefix(l.Precision, "fp") {
			layers = append(layers, term.Clean(fmt.Sprintf("%d of %d %s %s", l.Count, l.Total, l.Op, l.Precision)))
		}
	}
	if len(layers) == 0 {
		return line
	}
	return strings.Join(layers, ", ") + " - " + line
}

func thousands(n int64) string {
	s, sign := fmt.Sprint(n), ""
	if strings.HasPrefix(s, "-") {
		s, sign = s[1:], "-"
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func plural(n int64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
