package layout

import (
	"fmt"
	"slices"
)

// Gate is what a quantized candidate must keep on calibration data.
type Gate struct {
	// SQNR in dB.
	SQNR float64
	// Agreement is asked of classifiers: the share of samples whose class stays; 0 asks for none.
	Agreement float64
}

// Passes tells whether a candidate is good enough. An unknown SQNR is not; an unknown agreement is that of a model that
// is no classifier.
func (g Gate) Passes(r Result) bool { return r.SQNR >= g.SQNR && !(r.Agreement < g.Agreement) }

// Less returns a gate that is laxer by some dB and some share of agreement.
func (g Gate) Less(decibels, agreement float64) Gate {
	return Gate{g.SQNR - decibels, max(g.Agreement-agreement, 0)}
}

// String is part of a sentence: "20 dB of signal to noise and 0.985 of the classes".
func (g Gate) String() string {
	s := fmt.Sprintf("%.0f dB of signal to noise", g.SQNR)
	if g.Agreement > 0 {
		s += fmt.Sprintf(" and %.4g of the classes", g.Agreement)
	}
	return s
}

// The levels that a gate may have by itself, the strictest first. Below the last one a model is another one.
var (
	agreementLevels = []float64{0.985, 0.97, 0.95, 0.93, 0.90}
	sqnrLevels      = []float64{20, 18, 16, 14, 12, 10}
)

// worthwhile is how much faster than the model in float a candidate must be so that its level is one at which integers
// pay.
const worthwhile = 0.05

// DefaultGate is the strictest gate behind which integers still pay: the first level of agreement, and with it the first
// of SQNR, that a candidate reaches which is clearly faster than the model in float. Where none is, what any candidate
// reaches counts: its file is smaller.
func DefaultGate(rs []Result) Gate {
	float := 1.0
	for _, r := range rs {
		if r.Layout.Float && r.timed() {
			float = max(float, r.Speedup)
		}
	}
	lowest := Gate{sqnrLevels[len(sqnrLevels)-1], agreementLevels[len(agreementLevels)-1]}
	for _, least := range []float64{(1 + worthwhile) * float, 0} {
		reached := func(g Gate) bool {
			return slices.ContainsFunc(rs, func(r Result) bool { return r.timed() && !r.Layout.Float && r.Speedup > least && g.Passes(r) })
		}
		if !reached(lowest) {
			continue
		}
		g := lowest
		i := slices.IndexFunc(agreementLevels, func(a float64) bool { return reached(Gate{lowest.SQNR, a}) })
		g.Agreement = agreementLevels[i]
		i = slices.IndexFunc(sqnrLevels, func(d float64) bool { return reached(Gate{d, g.Agreement}) })
		g.SQNR = sqnrLevels[i]
		return g
	}
	return lowest
}
