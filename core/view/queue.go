package view

import (
	"fmt"
	"sync"

	"github.com/optimize-hcl/optimize/core/run"
)

// item is something to show: an event, a text for stderr, the number of actions, or what is done before the first one.
type item struct {
	event  run.Event
	text   string
	expect int
	status string
	// stopping says that the user has asked for the end.
	stopping bool
}

const (
	// maxLogs bounds the messages of steps that wait to be shown; the log files have all of them.
	maxLogs = 1000
	// maxItems is when progress stops to be queued phase by phase.
	maxItems = 4096
)

// queue hands items over. It is bounded: of the progress of an action only the newest is kept, and of the messages of
// steps no more than a reader could want. Everything else comes a few times for each action.
type queue struct {
	mu       sync.Mutex
	items    []item
	progress map[string]int // by address: where its progress waits
	logs     int
	dropped  int
	closed   bool
	wake     chan struct{} // of one: something is there
	closing  chan struct{} // closed with the queue
}

func newQueue() *queue {
	return &queue{progress: map[string]int{}, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// push tells whether the item was taken: not after the end.
func (q *queue) push(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	e := &it.event
	switch e.Type {
	case "progress":
		if i, ok := q.progress[e.Addr]; ok && (q.items[i].event.Phase == e.Phase || len(q.items) >= maxItems) {
			q.items[i] = it
			return true
		}
		q.progress[e.Addr] = len(q.items)
	case "log":
		if q.logs >= maxLogs {
			q.dropped++
			return true
		}
		q.logs++
	default:
		delete(q.progress, e.Addr) // later progress must not be told before it
	}
	q.items = append(q.items, it)
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take gives what waits, and whether nothing will come any more.
func (q *queue) take() (items []item, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, nil
	q.logs = 0
	clear(q.progress)
	if q.dropped > 0 {
		e := run.NewEvent("log")
		e.Level, e.Message = "warn", fmt.Sprintf("%d messages are left out here: they came faster than they could be shown. The logs in the run's folder have all.", q.dropped)
		items = append(items, item{event: e})
		q.dropped = 0
	}
	return items, q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	close(q.closing)
	q.signal()
}
