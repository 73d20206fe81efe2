package engine

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// maxRuns bounds the runs of one slice, so that the answer stays a small message.
const maxRuns = 100_000

// bench is a batch in place for timing. It stays between slices, so that a slice
// measures the model and not the set-up.
type bench struct {
	inputs map[string]tensor.Tensor
	bound  Bound
}

func (b *bench) close() error {
	if b == nil {
		return nil
	}
	return b.bound.Close()
}

// Benchmark runs the dataset's first samples over and over as one batch, whose
// inputs and outputs lie in fixed places: nothing is copied in the timed region. It
// stops after r.Duration, but runs once at least.
func (s *Session) Benchmark(ctx context.Context, r sdk.BenchmarkRequest) ([]int64, error) {
	how, err := s.match(r.Dataset)
	if err != nil {
		return nil, err
	}
	n := max(r.Batch, 1)
	if how.fixed > 0 && n != how.fixed {
		return nil, s.fault("batch", fmt.Sprintf("the model cannot be timed with batches of %d", n),
			fmt.Sprintf("It takes just %d samples in a run. Set batch = %d in the benchmark block, or export the model with a free first axis.", how.fixed, how.fixed))
	}
	if err := s.place(r.Dataset, n, how); err != nil {
		return nil, err
	}
	// One thread of the system for the whole slice: moving between them costs caches.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range r.WarmupRuns {
		if err := s.timed(ctx); err != nil {
			return nil, err
		}
	}
	var ns []int64
	runs := s.bench.bound.Runs()
	for begin := time.Now(); len(ns) == 0 || time.Since(begin) < r.Duration && len(ns) < maxRuns; {
		start := time.Now()
		if err := s.timed(ctx); err != nil {
			return nil, err
		}
		each := time.Since(start).Nanoseconds() / int64(runs)
		for range runs {
			ns = append(ns, each)
		}
	}
	return ns, nil
}

// timed makes the runs of one Do; looking at ctx costs nanoseconds.
func (s *Session) timed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.bench.bound.Do()
}

// place copies the first n samples to where the engine reads them: the dataset is
// closed after each slice. A dataset with fewer is repeated. An input without axes
// takes the value of the first: how long a run takes does not depend on the others.
func (s *Session) place(data *tensor.Shards, n int64, how fit) error {
	in, err := s.batch(data, 0, min(n, data.Samples()))
	if err != nil {
		return err
	}
	in = pad(in, n)
	if err := how.feed(in, s.model.Inputs()); err != nil {
		return err
	}
	if s.bench != nil && maps.EqualFunc(s.bench.inputs, in, func(a, b tensor.Tensor) bool { return slices.Equal(a.Shape, b.Shape) }) {
		for name, t := range in {
			copy(s.bench.inputs[name].Data, t.Data)
		}
		return nil
	}
	if err := s.bench.close(); err != nil {
		return fmt.Errorf("release the last benchmark: %w", err)
	}
	s.bench = nil
	bound, err := s.model.Bind(in)
	if err != nil {
		return err
	}
	s.bench = &bench{inputs: in, bound: bound}
	return nil
}
