package run

import (
	"cmp"
	"slices"
)

// Node is one piece of work in a graph and the names of the nodes that must succeed before it.
type Node struct {
	Name string
	Deps []string
}

// Need is what a node takes of the machine while it works.
type Need struct {
	// Cores that it keeps busy; 0 counts as one.
	Cores int64
	// Memory is the most bytes that it holds at once; 0 when nobody knows.
	Memory int64
	// Alone is for what is timed: nothing else may work meanwhile.
	Alone bool
	// Free is for what takes next to nothing, such as a result that the cache holds: it waits for nothing but what is alone.
	Free bool
}

// Limits bound what works at once.
type Limits struct {
	// Parallelism is the number of nodes, without those that are free.
	Parallelism int
	// Cores and Memory are what the nodes may take together; 0 is no bound.
	Cores, Memory int64
}

// maxPassed is how many nodes may start before one that is ready and does not fit yet. It keeps the cores busy, and keeps
// what needs much from waiting for ever.
const maxPassed = 4

// waiter is a node that is ready to work.
type waiter struct {
	name   string
	order  int
	need   Need
	passed int
}

// board knows what waits, what works and how it ended. It starts nothing and has no clock: given the same ends in the
// same order it gives the same starts.
type board struct {
	limits     Limits
	order      map[string]int
	pending    map[string]int // dependencies that have not ended
	blocked    map[string]bool
	dependants map[string][]string
	outcomes   map[string]Outcome

	ready   []string // all that they depend on has succeeded; what they need is not known yet
	waiting []*waiter
	working map[string]Need
	slots   int
	cores   int64
	memory  int64
	alone   bool
}

func newBoard(nodes []Node, l Limits) *board {
	l.Parallelism = max(1, l.Parallelism)
	b := &board{
		limits: l, order: map[string]int{}, pending: map[string]int{}, blocked: map[string]bool{}, dependants: map[string][]string{},
		outcomes: make(map[string]Outcome, len(nodes)), working: map[string]Need{},
	}
	for i, n := range nodes {
		b.order[n.Name] = i
		b.pending[n.Name] = len(n.Deps)
		for _, d := range n.Deps {
			b.dependants[d] = append(b.dependants[d], n.Name)
		}
		if len(n.Deps) == 0 {
			b.ready = append(b.ready, n.Name)
		}
	}
	return b
}

// nextReady takes the first node in the order of the graph that may be prepared.
func (b *board) nextReady() (string, bool) {
	if len(b.ready) == 0 {
		return "", false
	}
	first := slices.MinFunc(b.ready, func(x, y string) int { return cmp.Compare(b.order[x], b.order[y]) })
	b.ready = slices.DeleteFunc(b.ready, func(s string) bool { return s == first })
	return first, true
}

// wait puts a prepared node among those that wait for room.
func (b *board) wait(name string, n Need) {
	n.Cores = max(1, n.Cores)
	if b.limits.Cores > 0 {
		n.Cores = min(n.Cores, b.limits.Cores) // it gets no more threads than there are cores
	}
	if b.limits.Memory > 0 && n.Memory > b.limits.Memory {
		n.Alone = true // it will never fit beside anything; alone it may get through
	}
	w := &waiter{name: name, order: b.order[name], need: n}
	at, _ := slices.BinarySearchFunc(b.waiting, w, func(x, y *waiter) int { return cmp.Compare(x.order, y.order) })
	b.waiting = slices.Insert(b.waiting, at, w)
}

// start gives the nodes that may work now, in the order of the graph, and counts them in.
func (b *board) start() (names []string) {
	var left []*waiter
	held := false // something has been passed often enough
	for _, w := range b.waiting {
		if !b.fits(w.need) || held && !w.need.Free {
			left = append(left, w)
			held = held || w.passed >= maxPassed
			continue
		}
		if !w.need.Free {
			for _, l := range left {
				l.passed++
				held = held || l.passed >= maxPassed
			}
		}
		names = append(names, w.name)
		b.count(w.need, 1)
		b.working[w.name] = w.need
	}
	b.waiting = left
	return names
}

func (b *board) fits(n Need) bool {
	switch {
	case b.alone:
		return false
	case n.Alone:
		return len(b.working) == 0
	case n.Free:
		return true
	}
	return b.slots < b.limits.Parallelism &&
		(b.limits.Cores == 0 || b.cores+n.Cores <= b.limits.Cores) &&
		(b.limits.Memory == 0 || b.memory+n.Memory <= b.limits.Memory)
}

func (b *board) count(n Need, sign int64) {
	if n.Alone {
		b.alone = sign > 0
	}
	if n.Free {
		return
	}
	b.slots += int(sign)
	b.cores += sign * n.Cores
	b.memory += sign * n.Memory
}

// settle notes how a node ended, and readies what waited for it; without success what depends on it ends as otherwise
// says.
func (b *board) settle(name string, o, otherwise Outcome) {
	if n, ok := b.working[name]; ok {
		b.count(n, -1)
		delete(b.working, name)
	}
	b.outcomes[name] = o
	for _, d := range b.dependants[name] {
		b.pending[d]--
		if o != Succeeded {
			b.blocked[d] = true
		}
		switch {
		case b.pending[d] > 0:
		case b.blocked[d]:
			b.settle(d, otherwise, otherwise)
		default:
			b.ready = append(b.ready, d)
		}
	}
}

// drop ends everything that has not begun.
func (b *board) drop(o Outcome) {
	for len(b.waiting) > 0 || len(b.ready) > 0 {
		waiting, ready := b.waiting, b.ready
		b.waiting, b.ready = nil, nil
		for _, w := range waiting {
			b.settle(w.name, o, o)
		}
		for _, name := range ready {
			b.settle(name, o, o)
		}
	}
}
