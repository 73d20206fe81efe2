package layout

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Result is what is known of a candidate after timing.
type Result struct {
	Layout Layout
	// Speedup over the model as it came, with its 95% interval; zero when it was not timed.
	Speedup, Low, High float64
	// SQNR in dB of its outputs against the model's, the worst output; +Inf where they are equal, NaN when unknown.
	SQNR float64
	// Agreement is the share of samples, from 0 to 1, whose class is the model's; NaN where the model is no classifier.
	Agreement float64
	// Size of the file in bytes.
	Size int64
	// Lost says why there are no figures; empty when there are.
	Lost string
}

// timed tells whether the candidate has a speed.
func (r Result) timed() bool { return r.Lost == "" && r.Speedup > 0 }

// String is a line of the report: "speed-up 1.75 (1.71 to 1.78), SQNR 28.1 dB, 91 KB".
func (r Result) String() string {
	if r.Lost != "" {
		return r.Lost
	}
	s := "not timed"
	if r.timed() {
		s = fmt.Sprintf("speed-up %.2f (%.2f to %.2f)", r.Speedup, r.Low, r.High)
	}
	if !math.IsNaN(r.SQNR) && !math.IsInf(r.SQNR, 0) {
		s += fmt.Sprintf(", SQNR %.1f dB", r.SQNR)
		if r.Agreement > 0 {
			s += fmt.Sprintf(", agreement %.3f", r.Agreement)
		}
	}
	if r.Size > 0 {
		s += fmt.Sprintf(", %d KB", (r.Size+512)/1024)
	}
	return s
}

// Survivors are the candidates, by index, that go on after short races: those in float, and of the quantized ones that
// are good enough those that may be the fastest, as long as a short race has not shown beyond doubt that another is faster (its interval
// lies above). When none is good enough, the best in quality goes on, so that the report can tell of it.
func Survivors(rs []Result, gate Gate, most int) []int {
	var good []int
	best, better := 0.0, -1
	for i, r := range rs {
		switch {
		case !r.timed() || r.Layout.Float:
		case gate.Passes(r):
			good = append(good, i)
			best = max(best, r.Low)
		case better < 0 || r.SQNR > rs[better].SQNR:
			better = i
		}
	}
	// By what they may reach: a wide interval is a reason to look again.
	slices.SortStableFunc(good, func(a, b int) int { return cmp.Compare(rs[b].High, rs[a].High) })
	good = slices.DeleteFunc(good, func(i int) bool { return rs[i].High < best })
	out := good[:min(most, len(good))]
	if len(out) == 0 && better >= 0 {
		out = []int{better}
	}
	for i, r := range rs {
		if r.Layout.Float && r.timed() {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// slack is how much slower a candidate may be that is better, where the race could not tell the two apart, or whose file is
// clearly smaller.
const slack = 0.04

// much is the share of another's size that is clearly smaller.
const much = 0.95

// better compares candidates of equal speed that are good enough: a file that is clearly smaller is worth two decibels.
func (r Result) better(o Result) bool {
	const decibels = 2.0
	switch {
	case float64(r.Size) < much*float64(o.Size) && r.SQNR >= o.SQNR-decibels:
		return true
	case float64(o.Size) < much*float64(r.Size) && o.SQNR >= r.SQNR-decibels:
		return false
	}
	return r.SQNR > o.SQNR
}

// Choose picks the winner. Of the candidates that pass the gate, those that are slower than the fastest by less than 4%,
// and no surer than the race could tell, are equal in speed, and the best of them in quality wins, or a much smaller one that is about as good. Integers lose when the fastest float model is faster beyond
// doubt: why says so then, and the float model is the winner. When no quantized candidate is good enough, the float
// model wins too.
func Choose(rs []Result, gate Gate) (winner int, why string) {
	float, fastest, good := -1, -1, -1
	for i, r := range rs {
		switch {
		case !r.timed():
		case r.Layout.Float:
			// A rewritten graph must be worth it.
			if float < 0 || r.Low > rs[float].High || r.Low > 1 && r.Speedup > rs[float].Speedup {
				float = i
			}
		case !gate.Passes(r):
			if good < 0 || r.SQNR > rs[good].SQNR {
				good = i
			}
		case fastest < 0 || r.Speedup > rs[fastest].Speedup:
			fastest = i
		}
	}
	switch {
	case float < 0 && fastest < 0:
		return -1, "nothing could be timed"
	case fastest < 0 && good >= 0:
		return float, fmt.Sprintf("no quantized candidate keeps %s: the best, %s, has %s", gate, rs[good].Layout.Name(), rs[good])
	case fastest < 0:
		return float, "no quantized candidate runs here"
	}
	winner = fastest
	for i, r := range rs {
		if r.timed() && !r.Layout.Float && gate.Passes(r) && r.Speedup >= (1-slack)*rs[fastest].Speedup && r.better(rs[winner]) &&
			(r.High >= rs[fastest].Low || float64(r.Size) < much*float64(rs[fastest].Size)) {
			winner = i
		}
	}
	if float >= 0 && rs[float].Low > rs[winner].High {
		if rs[winner].High < rs[fastest].High && rs[float].Low <= rs[fastest].High {
			return fastest, ""
		}
		return float, fmt.Sprintf("integers lose on this machine: the model in float runs at %.2f (%.2f to %.2f) times its speed as it came, the best in integers, %s, at %.2f (%.2f to %.2f)",
			rs[float].Speedup, rs[float].Low, rs[float].High, rs[winner].Layout.Name(), rs[winner].Speedup, rs[winner].Low, rs[winner].High)
	}
	return winner, ""
}
