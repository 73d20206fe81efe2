package tensor

import (
	"runtime"
	"sync"
)

// share is how many elements a core must have to do for another one to pay.
const share = 1 << 18

// split does work on parts of 0 to n-1 that follow each other, large ones on all cores at once.
func split(n int, work func(from, to int)) {
	parts := max(1, min(runtime.GOMAXPROCS(0), n/share))
	if parts == 1 {
		work(0, n)
		return
	}
	var wg sync.WaitGroup
	for p := range parts - 1 {
		wg.Go(func() { work(p*n/parts, (p+1)*n/parts) })
	}
	work((parts-1)*n/parts, n)
	wg.Wait()
}
