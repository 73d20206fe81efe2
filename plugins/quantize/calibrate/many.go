package calibrate

import (
	"context"
	"errors"
	"sync"

	"github.com/optimize-hcl/optimize/onnx"
)

// manyBytes is what the tensors of all runs at the same time may take: a small model keeps a core busy, not several.
const manyBytes = 128 << 20

// workers is how many runs of the model go on at the same time, each on one thread. For a model whose tensors are small
// that is faster than one run on all threads. States make a sequence of the samples.
func (r *runner) workers(limit int64, anyOrder bool) int {
	if !anyOrder || len(r.job.States) > 0 || r.bytes == 0 || !needsEngine(r.job, r.taps) {
		return 1
	}
	for _, t := range r.taps {
		if t.shape == nil {
			return 1 // it may be large
		}
	}
	runs := (r.total + r.batch - 1) / r.batch
	return int(max(1, min(int64(r.job.Threads), runs, min(limit, manyBytes)/r.bytes)))
}

// runMany shows runs to visit as they are done, several at a time. When some fail, the error is that of the first in the
// order of the samples: those before it were begun before it, and are ended.
func (r *runner) runMany(ctx context.Context, shapes *onnx.Shapes, visit func(start, n int64, values []view, threads int) error, workers int) (err error) {
	if r.session, err = r.job.open(r.taps, shapes, 1); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.session.Close()) }()
	var mu sync.Mutex
	var next, done int64
	failed := r.total
	var failure error
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			s := &set{}
			defer func() {
				if e := s.unbind(); e != nil {
					mu.Lock()
					failure = errors.Join(failure, e)
					mu.Unlock()
				}
			}()
			for {
				mu.Lock()
				at := next
				if at >= r.total || failure != nil || ctx.Err() != nil {
					mu.Unlock()
					return
				}
				n := min(r.batch, r.total-at)
				next += n
				mu.Unlock()
				start := at
				if r.fixed {
					// A model that takes just k samples gets the last k again: seeing a sample twice moves no bound.
					start, n = min(at, r.total-r.batch), r.batch
				}
				err := r.one(s, start, n)
				if err == nil {
					err = visit(start, n, s.views, 1)
				}
				mu.Lock()
				if err != nil && at < failed {
					failed, failure = at, err
				}
				done += min(r.batch, r.total-at)
				if err == nil && r.job.Progress != nil {
					r.job.Progress(r.before+done, r.total*r.passes)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return failure
}
