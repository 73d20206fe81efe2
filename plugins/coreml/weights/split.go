package weights

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// share is how many elements a core must have to do for another one to pay.
const share = 1 << 17

// parts does work on parts of 0 to n-1, of which each stands for so many elements; large ones on all cores. It tells whether
// all of it gave true.
func parts(n, each int, work func(from, to int) bool) bool {
	k := max(1, min(runtime.GOMAXPROCS(0), n, n*each/share))
	if k == 1 {
		return work(0, n)
	}
	var wg sync.WaitGroup
	var bad atomic.Bool
	for p := range k {
		wg.Go(func() {
			if !work(p*n/k, (p+1)*n/k) {
				bad.Store(true)
			}
		})
	}
	wg.Wait()
	return !bad.Load()
}

// eights does work on parts whose borders are multiples of 8, so that parts of packed bits share no byte.
func eights(n int, work func(from, to int)) {
	parts((n+7)/8, 8, func(from, to int) bool {
		work(from*8, min(to*8, n))
		return true
	})
}
