package quantize

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/sdk"
)

// round times new candidates beside the models in float and the best so far.
func (s *search) round(ctx context.Context, phase string, ls []layout.Layout) error {
	before := len(s.results)
	for i, l := range ls {
		if time.Now().After(s.end) {
			break
		}
		s.work.job.progress("lower layouts", int64(i), int64(len(ls)), "candidates")
		if err := s.add(ctx, l); err != nil {
			return err
		}
	}
	var who []int
	best := s.fastest(s.gate())
	fresh := 0
	for i, r := range s.results {
		switch {
		case r.Lost != "":
		case i >= before:
			fresh++
			who = append(who, i)
		case i == 0 || r.Layout.Float && r.Speedup == 0 || i == best:
			who = append(who, i)
		}
	}
	if fresh == 0 {
		return nil
	}
	return s.again(ctx, phase, who, quickRounds)
}

// again times candidates; what was known of their speed counts no more.
func (s *search) again(ctx context.Context, phase string, who []int, rounds int) error {
	laps, noise, err := s.laps(ctx, phase, who, rounds)
	if err != nil {
		return err
	}
	for k, i := range who {
		s.note(i, laps[k], noise)
	}
	return nil
}

// laps times candidates, of which the model as it came is the first, and beside them that model once more: what the race
// says of it is noise, and tells how much the other figures are worth. The zero noise is that of a twin that was lost.
func (s *search) laps(ctx context.Context, phase string, who []int, want int) (laps []sdk.Lap, noise sdk.Estimate, err error) {
	who = append(slices.Clone(who), 0)
	s.work.job.progress(phase, 0, int64(len(who)), "candidates")
	r := sdk.Race{Dataset: *s.work.config.Calibration, Runtime: s.work.target.Engine, Batch: int(s.ref.batch), Threads: 1,
		Duration: time.Duration(s.rounds(who, want)) * slice}
	for _, i := range who {
		r.Candidates = append(r.Candidates, sdk.Artifact{Kind: "model", Format: "onnx", Path: s.files[i]})
	}
	laps, err = s.work.job.race(ctx, r)
	if err != nil {
		return nil, noise, err
	}
	if laps[0].Lost != nil {
		return nil, noise, fmt.Errorf("the model as it came cannot be timed: %w", laps[0].Lost)
	}
	s.work.job.progress(phase, int64(len(who)), int64(len(who)), "candidates")
	last := len(laps) - 1
	if laps[last].Lost == nil {
		noise = laps[last].Metrics["speedup"]
	}
	return laps[:last], noise, nil
}

// rounds is how many slices there is time for. The finalists have what they need to be told apart even when there is none.
func (s *search) rounds(who []int, want int) int {
	fewest := fewestRounds
	if want == finalRounds {
		fewest = closeRounds
	}
	var each time.Duration
	for _, i := range who {
		ms := s.latency[i]
		if ms == 0 {
			ms = s.latency[0]
		}
		each += max(slice, time.Duration(ms*float64(time.Millisecond)))
	}
	return max(fewest, min(want, int(time.Until(s.end)/max(each, 1))))
}

// note keeps what a race found of a candidate. Its interval says how sure the median of the rounds is; where the model
// against itself was further off than that, the interval is as wide as that makes it.
func (s *search) note(i int, l sdk.Lap, noise sdk.Estimate) {
	r := &s.results[i]
	if l.Lost != nil {
		r.Lost = l.Lost.Error()
		return
	}
	sp := l.Metrics["speedup"]
	r.Speedup, r.Low, r.High = sp.Value, sp.Low, sp.High
	if i != 0 && noise.Low > 0 {
		off := max(noise.Value, 1/noise.Value, 1/noise.Low, noise.High)
		r.Low, r.High = min(r.Low, r.Speedup/off), max(r.High, r.Speedup*off)
	}
	s.latency[i] = l.Metrics["latency_p50"].Value
}

// fastest is the best quantized candidate so far among those that are good enough, else among all: the cut that makes
// it good enough may be yet to come.
func (s *search) fastest(gate layout.Gate) int {
	best, good := -1, false
	for i, r := range s.results {
		if r.Lost != "" || r.Layout.Float || r.Speedup == 0 {
			continue
		}
		ok := gate.Passes(r)
		if best < 0 || ok && !good || ok == good && r.Speedup > s.results[best].Speedup {
			best, good = i, ok
		}
	}
	return best
}

// final times the survivors once more, for longer, and tells how the model as it came did against itself.
func (s *search) final(ctx context.Context, who []int) (noise string, err error) {
	laps, twin, err := s.laps(ctx, "time finalists", who, finalRounds)
	if err != nil {
		return "", err
	}
	for k, i := range who {
		s.note(i, laps[k], twin)
	}
	if twin.Value > 0 {
		noise = fmt.Sprintf("%.2f (%.2f to %.2f)", twin.Value, twin.Low, twin.High)
	}
	return noise, nil
}
