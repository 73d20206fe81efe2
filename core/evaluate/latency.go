package evaluate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// slice is how long one subject runs before the next has its turn. Short slices in turn see the same weather of a busy
// machine; the median of their paired ratios was the steadiest statistic that was found.
const slice = 15 * time.Millisecond

// warmupRuns are done once, before the first slice of a subject.
const warmupRuns = 10

// again is how many runs come before those that count when a subject has its turn again: what it left in the caches is
// there still when it was the last of one round and is the first of the next, and gone otherwise. A run that takes about
// as long as the slice pays for that only once anyhow. ms is what a run took in the slice before.
func again(ms float64, slice time.Duration) int64 {
	if ms > 0 && ms <= milli(slice)/2 {
		return 1
	}
	return 0
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantiles of a run's time are what a benchmark gives beside the speed-up.
var quantiles = map[string]float64{"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}

// timing is what the cache keeps of a subject's latency.
type timing struct {
	Metrics map[string]metrics.Estimate `json:"metrics"`
}

// latency adds the latency percentiles and the speed-up of all subjects, measured in alternating slices.
func (g *grader) latency(ctx context.Context, r *Result) error {
	b := g.spec.Benchmark
	started := time.Now()
	if g.spec.ReuseBenchmarks {
		if known, ok := g.recordedTimings(); ok {
			for i, t := range known {
				maps.Copy(r.Measurements[i].Metrics, t.Metrics)
				r.Measurements[i].LatencyReused = true
			}
			return nil
		}
	}
	sessions := make([]*session, len(g.spec.Subjects))
	for i := range sessions {
		s, err := g.open(ctx, i, b.Threads)
		if err != nil {
			return err
		}
		sessions[i] = s
		if _, err := g.slice(ctx, i, s, 1, warmupRuns); err != nil {
			return err
		}
	}
	g.progress("timing")
	rounds := max(5, int(b.Duration/slice))
	all := make([][]float64, len(sessions))     // every run, ms
	medians := make([][]float64, len(sessions)) // one a round, ms
	for round := range rounds {
		for k := range sessions {
			i := k
			if round%2 == 1 { // the order is flipped, so that no subject always follows the same one
				i = len(sessions) - 1 - k
			}
			last := 0.0
			if n := len(medians[i]); n > 0 {
				last = medians[i][n-1]
			}
			ns, err := g.slice(ctx, i, sessions[i], slice, again(last, slice))
			if err != nil {
				return err
			}
			ms := milliseconds(ns)
			all[i] = append(all[i], ms...)
			medians[i] = append(medians[i], quantile(ms, 0.5))
		}
	}
	timings := make([]timing, len(sessions))
	for i := range sessions {
		t := timing{Metrics: percentiles(all[i])}
		if i > 0 {
			t.Metrics["speedup"] = pairedRatio(medians[0], medians[i])
		} else {
			t.Metrics["speedup"] = exact(1)
		}
		maps.Copy(r.Measurements[i].Metrics, t.Metrics)
		timings[i] = t
	}
	return g.record(ctx, g.latencyKey(), g.spec.RecordName+".latency", timings, started)
}

// latencyKey is the key under which the latencies of all subjects are recorded together: they were taken side by side in
// one run, and a mixture of runs would compare different weather. The duration of the benchmark is in it: a longer one
// is a better one.
func (g *grader) latencyKey() cache.Key {
	b := g.spec.Benchmark
	k := g.key(0, "benchmark", map[string]any{"batch": b.Batch, "threads": b.Threads, "duration": b.Duration.Seconds()})
	for i, s := range g.spec.Subjects[1:] {
		k.Inputs[fmt.Sprintf("candidate.%d", i+1)] = s.Artifact.Digest
		for f, v := range g.dependsOn(i + 1) {
			k.Fingerprint[fmt.Sprintf("candidate.%d.%s", i+1, f)] = v
		}
	}
	return k
}

// recordedTimings gives the latencies of an earlier run, by subject.
func (g *grader) recordedTimings() ([]timing, bool) {
	rec, ok := g.lookup(g.latencyKey().Sum())
	if !ok {
		return nil, false
	}
	var known []timing
	if json.Unmarshal(rec.Result, &known) != nil || len(known) != len(g.spec.Subjects) {
		return nil, false
	}
	return known, true
}

// slice times runs of one subject; the answer is in nanoseconds a run and has at least one.
func (g *grader) slice(ctx context.Context, i int, s *session, d time.Duration, warmup int64) ([]int64, error) {
	r, err := s.client.Benchmark(ctx, &pluginv1.BenchmarkRequest{
		Session: s.id, Dataset: g.spec.Dataset.Dir, Batch: g.spec.Benchmark.Batch, DurationNs: int64(d), WarmupRuns: warmup,
	})
	if err != nil {
		return nil, err
	}
	name := g.spec.Subjects[i].Name
	if err := problem(name, r.GetDiagnostics()); err != nil {
		return nil, err
	}
	if len(r.GetLatencyNs()) == 0 {
		return nil, problemf(name, "This is a fault of the plugin.", "plugin %s answered a benchmark without a single run", g.spec.Subjects[i].Engine.Name())
	}
	return r.GetLatencyNs(), nil
}

// milliseconds gives runs in nanoseconds as sorted milliseconds.
func milliseconds(ns []int64) []float64 {
	ms := make([]float64, len(ns))
	for j, v := range ns {
		ms[j] = float64(v) / 1e6
	}
	slices.Sort(ms)
	return ms
}

// percentiles are the latencies of all runs of one subject, in milliseconds. It sorts them.
func percentiles(runs []float64) map[string]metrics.Estimate {
	slices.Sort(runs)
	out := map[string]metrics.Estimate{}
	for name, q := range quantiles {
		out[name] = spread(runs, q)
	}
	return out
}

// quantile is the q-quantile of sorted values, interpolated between neighbours.
func quantile(sorted []float64, q float64) float64 {
	x := q * float64(len(sorted)-1)
	i := int(x)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (x-float64(i))*(sorted[i+1]-sorted[i])
}

// spread is a quantile of sorted values with the 95% interval that order statistics give it (normal approximation of
// the binomial ranks).
func spread(sorted []float64, q float64) metrics.Estimate {
	n := float64(len(sorted))
	half := 1.96 * math.Sqrt(q*(1-q)/n)
	return metrics.Estimate{
		Point: quantile(sorted, q), Low: quantile(sorted, max(0, q-half)), High: quantile(sorted, min(1, q+half)),
	}
}

// pairedRatio is the median over rounds of base/x, with a percentile bootstrap interval of that median.
func pairedRatio(base, x []float64) metrics.Estimate {
	ratios := make([]float64, len(x))
	for i := range x {
		ratios[i] = base[i] / x[i]
	}
	slices.Sort(ratios)
	const resamples = 1000
	r := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, resamples)
	draw := make([]float64, len(ratios))
	for k := range medians {
		for j := range draw {
			draw[j] = ratios[r.IntN(len(ratios))]
		}
		slices.Sort(draw)
		medians[k] = quantile(draw, 0.5)
	}
	slices.Sort(medians)
	return metrics.Estimate{Point: quantile(ratios, 0.5), Low: quantile(medians, 0.025), High: quantile(medians, 0.975)}
}
