// Package heaptest tells tests how much memory something takes.
package heaptest

import (
	"runtime"
	"runtime/debug"
	"time"
)

// Peak returns by how many bytes the heap grew at most while f ran, as far as looking at it all the time tells. What else
// runs meanwhile counts too.
func Peak(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return max(0, int64(most)-int64(before))
}
