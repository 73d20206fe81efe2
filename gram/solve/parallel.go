// Package solve holds the arithmetic of quantizing and pruning weights on plain slices: products and factorizations of
// matrices, and GPTQ. It knows nothing of models. All matrices are row-major float32.
package solve

import "sync"

// Parallel calls f on contiguous parts of 0..n that together cover it, on as many as threads goroutines; a part has at
// least grain elements. What f writes must depend on the index only, so that the result does not depend on threads.
func Parallel(threads, n, grain int, f func(from, to int)) {
	workers := min(max(threads, 1), n/max(grain, 1))
	if workers <= 1 {
		if n > 0 {
			f(0, n)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}
