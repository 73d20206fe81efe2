package evaluate

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Lap is what a race found of one subject.
type Lap struct {
	// Metrics are latency_p50, latency_p90 and latency_p99 in milliseconds, and the speed-up over the first subject; nil
	// when the subject was lost.
	Metrics map[string]metrics.Estimate
	// Lost says why there are no figures.
	Lost *Problem
}

// raceSlice is how long a subject of a race has its turn: shorter than in a benchmark, since a search has dozens of
// subjects, and as steady, since what counts is the median over rounds.
const raceSlice = 8 * time.Millisecond

// Race times the subjects of s side by side, in alternating slices, for a search that has still to choose among them. It
// differs from [Run]: a subject that its engine refuses, or crashes on, is lost alone. When the engine's process is gone,
// the others are loaded anew into the next one. Nothing is cached, since the subjects seldom come again.
func Race(ctx context.Context, store *cache.Store, s Spec) ([]Lap, error) {
	g := &grader{store: store, spec: s, progress: func(string) {}}
	defer g.close(context.WithoutCancel(ctx))
	if err := g.probe(ctx); err != nil {
		return nil, err
	}
	r := &race{grader: g, laps: make([]Lap, len(s.Subjects)), all: make([][]float64, len(s.Subjects)), medians: make([]map[int]float64, len(s.Subjects))}
	for i := range s.Subjects {
		r.medians[i] = map[int]float64{}
	}
	for round := range max(5, int(s.Benchmark.Duration/raceSlice)) {
		for k := range s.Subjects {
			i := k
			if round%2 == 1 {
				i = len(s.Subjects) - 1 - k
			}
			if err := r.turn(ctx, i, round); err != nil {
				return nil, err
			}
		}
	}
	return r.result(), nil
}

type race struct {
	*grader
	laps    []Lap
	all     [][]float64       // every run, ms
	medians []map[int]float64 // by round, ms
}

// turn gives one subject its slice.
func (r *race) turn(ctx context.Context, i, round int) error {
	if r.laps[i].Lost != nil {
		return nil
	}
	key := sessionKey{i, r.spec.Benchmark.Threads}
	_, warm := r.sessions[key]
	s, err := r.open(ctx, i, r.spec.Benchmark.Threads)
	if err == nil && !warm {
		err = r.warm(ctx, i, s)
	}
	var ns []int64
	if err == nil {
		ns, err = r.slice(ctx, i, s, raceSlice, again(r.medians[i][round-1], raceSlice))
	}
	if err != nil {
		return r.lose(ctx, i, err)
	}
	ms := milliseconds(ns)
	r.all[i] = append(r.all[i], ms...)
	r.medians[i][round] = quantile(ms, 0.5)
	return nil
}

// warm runs a subject before its first slice: as often as before a benchmark, or, where a run takes long, for two slices'
// time, and twice at least.
func (r *race) warm(ctx context.Context, i int, s *session) error {
	ns, err := r.slice(ctx, i, s, 1, 1)
	if err != nil {
		return err
	}
	if more := min(warmupRuns-2, int64(2*raceSlice)/max(ns[0], 1)); more > 0 {
		_, err = r.slice(ctx, i, s, 1, more)
	}
	return err
}

// lose takes a subject out of the race. What is no word of the engine about the subject may have cost the engine's
// process, and with it the sessions of the others.
func (r *race) lose(ctx context.Context, i int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	name := r.spec.Subjects[i].Engine.Name()
	if errors.As(err, &r.laps[i].Lost) {
		return nil
	}
	errors.As(problemf(r.spec.Subjects[i].Name, err.Error(), "plugin %s did not survive %s", name, r.spec.Subjects[i].Name), &r.laps[i].Lost)
	for k, s := range r.sessions {
		if r.spec.Subjects[k.subject].Engine.Name() == name {
			// Of no use when the process is gone, and tidy when it is not.
			_, _ = s.client.Close(context.WithoutCancel(ctx), &pluginv1.CloseRequest{Session: s.id})
			delete(r.sessions, k)
		}
	}
	return nil
}

func (r *race) result() []Lap {
	for i := range r.laps {
		if r.laps[i].Lost != nil {
			continue
		}
		r.laps[i].Metrics = percentiles(r.all[i])
		// Rounds that both of them finished, in order: the ratio of a pair must not compare different weather.
		var base, own []float64
		for round := range max(5, int(r.spec.Benchmark.Duration/raceSlice)) {
			b, ok := r.medians[0][round]
			if x, both := r.medians[i][round]; ok && both {
				base, own = append(base, b), append(own, x)
			}
		}
		switch {
		case i == 0:
			r.laps[i].Metrics["speedup"] = exact(1)
		case r.laps[0].Lost == nil && len(base) > 0:
			r.laps[i].Metrics["speedup"] = pairedRatio(base, own)
		}
	}
	return r.laps
}

// Cover gives the engine's own optimized graph of one subject, a document of the schema optimize.coverage/v1.
func Cover(ctx context.Context, store *cache.Store, s Spec) (json.RawMessage, error) {
	g := &grader{store: store, spec: s, progress: func(string) {}}
	defer g.close(context.WithoutCancel(ctx))
	if err := g.probe(ctx); err != nil {
		return nil, err
	}
	m := Measurement{Name: s.Subjects[0].Name, Engine: s.Subjects[0].Engine.Name()}
	if err := g.coverage(ctx, 0, &m); err != nil {
		return nil, err
	}
	return m.Coverage, nil
}
