package evaluate

import (
	"context"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
)

// State is what the store holds of an evaluation.
type State struct {
	// Quality and Latency tell whether all figures are there; without a benchmark latency is.
	Quality, Latency bool
	// Changes say why quality is not there, by subject; FirstRun that nothing was measured before.
	Changes  []cache.Change
	FirstRun bool
	// Took is how long what is not there took earlier; Unknown that some of it has no earlier run.
	Took    time.Duration
	Unknown bool
}

// Known asks the engines and the store what is known of an evaluation, without running anything.
func Known(ctx context.Context, store *cache.Store, s Spec) (State, error) {
	g := &grader{store: store, spec: s}
	if err := g.probe(ctx); err != nil {
		return State{}, err
	}
	st := State{Quality: true, Latency: s.Benchmark == nil, FirstRun: true}
	for i, sub := range s.Subjects {
		key := g.qualityKey(i)
		rec, known := store.Latest(g.recordName(i))
		st.FirstRun = st.FirstRun && !known
		if _, ok := g.lookup(key.Sum()); ok {
			continue
		}
		st.Quality = false
		if known {
			st.Took += rec.Duration
			for _, c := range store.Explain(g.recordName(i), key) {
				c.Field = sub.Name + "." + c.Field
				st.Changes = append(st.Changes, c)
			}
		}
		st.Unknown = st.Unknown || !known
	}
	if s.Benchmark != nil && s.ReuseBenchmarks {
		_, st.Latency = g.recordedTimings()
	}
	if !st.Latency {
		st.Took += s.Benchmark.Duration * time.Duration(len(s.Subjects))
	}
	return st, nil
}

// Earlier is how long an evaluation took when it ran last, as far as that is known: subjects may be new.
func Earlier(store *cache.Store, s Spec, subjects []string) (took time.Duration, known bool) {
	known = true
	for _, name := range subjects {
		rec, ok := store.Latest(s.RecordName + "." + name)
		if ok {
			took += rec.Duration
		}
		known = known && ok
	}
	if s.Benchmark != nil {
		took += s.Benchmark.Duration * time.Duration(len(subjects))
	}
	return took, known
}

// lookup takes a record from the store unless everything is to be fresh.
func (g *grader) lookup(sum string) (*cache.Record, bool) {
	if g.spec.Fresh {
		return nil, false
	}
	return g.store.Lookup(sum)
}
