package report

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// Chart is a chart of lines, laid out for the report's page: all coordinates are pixels.
type Chart struct {
	Title, X, Y   string
	Width, Height int
	Left, Top     int
	Right, Bottom int
	Lines         []ChartLine
	XTicks        []Tick
	YTicks        []Tick
	// More is how many lines were left out.
	More int
}

// ChartLine is a line with its name and a hue of its own.
type ChartLine struct {
	Name   string
	Points string // "x,y x,y", as SVG writes them
	Hue    int
}

// Tick is a mark on an axis.
type Tick struct {
	At   int
	Text string
}

const (
	maxCharts = 8
	maxDrawn  = 48
	maxPoints = 400
)

// ChartsOf finds the charts among a step's facts: objects with the texts x and y, and lines, each with a name and as many
// numbers x as y. What does not fit is not drawn; it is in the record.
func ChartsOf(result json.RawMessage) []Chart {
	var fields map[string]json.RawMessage
	if len(result) == 0 || json.Unmarshal(result, &fields) != nil {
		return nil
	}
	var out []Chart
	for _, name := range orderedKeys(result) {
		if c, ok := chartOf(fields[name]); ok && len(out) < maxCharts {
			out = append(out, c)
		}
	}
	return out
}

// rawChart is how a plugin writes one (sdk.Chart).
type rawChart struct {
	Title string `json:"title"`
	X     string `json:"x"`
	Y     string `json:"y"`
	Lines []struct {
		Name string    `json:"name"`
		X    []float64 `json:"x"`
		Y    []float64 `json:"y"`
	} `json:"lines"`
}

func isChart(doc json.RawMessage) bool {
	var r rawChart
	return json.Unmarshal(doc, &r) == nil && r.X != "" && r.Y != "" && len(r.Lines) > 0
}

func chartOf(doc json.RawMessage) (Chart, bool) {
	var r rawChart
	if !isChart(doc) || json.Unmarshal(doc, &r) != nil {
		return Chart{}, false
	}
	c := Chart{Title: term.Clean(r.Title), X: term.Clean(r.X), Y: term.Clean(r.Y), Width: 720, Height: 360, Left: 64, Top: 16, Right: 700, Bottom: 312}
	xs, ys := newScale(), newScale()
	drawn := 0
	for i := range r.Lines {
		l := &r.Lines[i]
		if len(l.X) != len(l.Y) || len(l.X) < 1 || len(l.X) > maxPoints {
			l.X = nil
			continue
		}
		if drawn++; drawn > maxDrawn {
			c.More++
			l.X = nil
			continue
		}
		for k := range l.X {
			xs.see(l.X[k])
			ys.see(l.Y[k])
		}
	}
	if !xs.round() || !ys.round() {
		return Chart{}, false
	}
	for i, l := range r.Lines {
		if l.X == nil {
			continue
		}
		var b strings.Builder
		for k := range l.X {
			fmt.Fprintf(&b, "%.1f,%.1f ", xs.place(l.X[k], float64(c.Left), float64(c.Right)), ys.place(l.Y[k], float64(c.Bottom), float64(c.Top)))
		}
		// Neighbours get hues that lie far apart.
		c.Lines = append(c.Lines, ChartLine{Name: term.Clean(l.Name), Points: strings.TrimSpace(b.String()), Hue: i * 137 % 360})
	}
	c.XTicks, c.YTicks = xs.ticks(c.Left, c.Right), ys.ticks(c.Bottom, c.Top)
	return c, len(c.Lines) > 0
}

// scale maps an interval with round ends to pixels.
type scale struct{ low, high, step float64 }

func newScale() *scale { return &scale{low: math.Inf(1), high: math.Inf(-1)} }

func (s *scale) see(v float64) { s.low, s.high = math.Min(s.low, v), math.Max(s.high, v) }

// round widens the interval to about five round steps; false where nothing was seen, or what no axis can show.
func (s *scale) round() bool {
	if math.IsInf(s.low, 0) || math.IsInf(s.high, 0) || math.IsInf(s.high-s.low, 0) || math.Max(math.Abs(s.low), math.Abs(s.high)) > 1e200 {
		return false
	}
	if s.high == s.low {
		d := math.Max(math.Abs(s.low)*0.1, 1e-3)
		s.low, s.high = s.low-d, s.high+d
	}
	raw := (s.high - s.low) / 5
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	if unit == 0 || math.IsInf(1/unit, 0) {
		return false
	}
	for _, m := range []float64{1, 2, 5, 10} {
		if s.step = m * unit; s.step >= raw {
			break
		}
	}
	s.low, s.high = math.Floor(s.low/s.step)*s.step, math.Ceil(s.high/s.step)*s.step
	return s.high > s.low
}

func (s *scale) place(v, from, to float64) float64 {
	return from + (v-s.low)/(s.high-s.low)*(to-from)
}

func (s *scale) ticks(from, to int) []Tick {
	var out []Tick
	for i := range 12 {
		v := s.low + float64(i)*s.step
		if v > s.high+s.step/2 {
			break
		}
		if math.Abs(v) < s.step/1e6 {
			v = 0
		}
		out = append(out, Tick{int(math.Round(s.place(v, float64(from), float64(to)))), fmt.Sprintf("%.4g", v)})
	}
	return out
}
