package run

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulated is one run of a graph on a clock that only moves to the next end.
type simulated struct {
	starts []string
	at     map[string]time.Duration
	end    time.Duration
}

// simulate drives a board as Schedule does, with durations instead of work, and checks every rule at every start.
func simulate(t *testing.T, nodes []Node, l Limits, needs map[string]Need, takes map[string]time.Duration, fails map[string]bool) simulated {
	t.Helper()
	b := newBoard(nodes, l)
	type end struct {
		at   time.Duration
		name string
	}
	var now time.Duration
	var ends []end
	ended := map[string]bool{}
	deps := map[string][]string{}
	for _, n := range nodes {
		deps[n.Name] = n.Deps
	}
	sim := simulated{at: map[string]time.Duration{}}
	waitingFor := map[string]int{} // starts since a node waits
	for {
		for {
			name, ok := b.nextReady()
			if !ok {
				break
			}
			b.wait(name, needs[name])
			waitingFor[name] = 0
		}
		for _, name := range b.start() {
			if _, again := sim.at[name]; again {
				t.Fatalf("%s started twice", name)
			}
			for _, d := range deps[name] {
				if !ended[d] || fails[d] {
					t.Fatalf("%s started before %s had succeeded", name, d)
				}
			}
			sim.starts, sim.at[name] = append(sim.starts, name), now
			ends = append(ends, end{now + takes[name], name})
			delete(waitingFor, name)
			if !needs[name].Free {
				for w := range waitingFor {
					if b.order[w] < b.order[name] {
						waitingFor[w]++
					}
					if waitingFor[w] > maxPassed {
						t.Fatalf("%s was passed %d times", w, waitingFor[w])
					}
				}
			}
		}
		checkLimits(t, b, l, needs)
		if len(b.working) == 0 {
			sim.end = now
			break
		}
		next := slices.IndexFunc(ends, func(e end) bool {
			return e == slices.MinFunc(ends, func(a, b end) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name)) })
		})
		e := ends[next]
		ends = slices.Delete(ends, next, next+1)
		now, ended[e.name] = e.at, true
		o := Succeeded
		if fails[e.name] {
			o = Failed
		}
		b.settle(e.name, o, Skipped)
	}
	for _, n := range nodes {
		if b.outcomes[n.Name] == 0 {
			t.Fatalf("%s has no outcome", n.Name)
		}
	}
	return sim
}

func checkLimits(t *testing.T, b *board, l Limits, needs map[string]Need) {
	t.Helper()
	var slots int
	var cores, memory int64
	for name := range b.working {
		n := needs[name]
		big := l.Memory > 0 && n.Memory > l.Memory
		if (n.Alone || big) && len(b.working) > 1 {
			t.Fatalf("%s is to work alone, but %d work", name, len(b.working))
		}
		if n.Free || n.Alone || big {
			continue
		}
		slots++
		cores += min(max(1, n.Cores), l.Cores)
		memory += n.Memory
	}
	if slots > l.Parallelism || l.Cores > 0 && cores > l.Cores || l.Memory > 0 && memory > l.Memory {
		t.Fatalf("%d nodes with %d cores and %d bytes work; the limits are %+v", slots, cores, memory, l)
	}
}

// TestBoardProperties runs random graphs: every rule holds, everything ends, and the same input gives the same run.
func TestBoardProperties(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := Limits{Parallelism: 1 + r.IntN(6), Cores: int64(1 + r.IntN(8)), Memory: int64(r.IntN(3)) * 50}
		var nodes []Node
		needs, takes, fails := map[string]Need{}, map[string]time.Duration{}, map[string]bool{}
		for i := range 1 + r.IntN(60) {
			n := Node{Name: fmt.Sprintf("n%02d", i)}
			for j := range i {
				if r.IntN(i+3) < 2 {
					n.Deps = append(n.Deps, nodes[j].Name)
				}
			}
			nodes = append(nodes, n)
			needs[n.Name] = Need{Cores: int64(r.IntN(10)), Memory: int64(r.IntN(130)), Alone: r.IntN(12) == 0, Free: r.IntN(4) == 0}
			if needs[n.Name].Free {
				needs[n.Name] = Need{Free: true}
			}
			takes[n.Name] = time.Duration(1+r.IntN(50)) * time.Millisecond
			fails[n.Name] = r.IntN(15) == 0
		}
		first := simulate(t, nodes, l, needs, takes, fails)
		if again := simulate(t, nodes, l, needs, takes, fails); !slices.Equal(first.starts, again.starts) {
			t.Fatalf("seed %d: %v, then %v", seed, first.starts, again.starts)
		}
	}
}

// TestBoardTimes is about whole schedules: what runs beside what, and how long all of it takes.
func TestBoardTimes(t *testing.T) {
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, c := range []struct {
		name  string
		l     Limits
		nodes string // one letter a node
		needs map[string]Need
		want  map[string]int // second of the start
		end   int
	}{
		{"cores", Limits{Parallelism: 8, Cores: 4}, "abcd", map[string]Need{"a": {Cores: 2}, "b": {Cores: 2}, "c": {Cores: 2}, "d": {}},
			map[string]int{"a": 0, "b": 0, "c": 10, "d": 10}, 20},
		{"memory", Limits{Parallelism: 8, Cores: 8, Memory: 10}, "abc", map[string]Need{"a": {Memory: 6}, "b": {Memory: 6}, "c": {Memory: 4}},
			map[string]int{"a": 0, "b": 10, "c": 0}, 20},
		{"more than all memory runs alone", Limits{Parallelism: 8, Cores: 8, Memory: 10}, "abc", map[string]Need{"a": {}, "b": {Memory: 11}, "c": {}},
			map[string]int{"a": 0, "b": 10, "c": 0}, 20},
		{"more than all cores is all cores", Limits{Parallelism: 8, Cores: 2}, "ab", map[string]Need{"a": {Cores: 64}, "b": {}},
			map[string]int{"a": 0, "b": 10}, 20},
		{"a benchmark is alone", Limits{Parallelism: 8, Cores: 8}, "abc", map[string]Need{"a": {}, "b": {Alone: true}, "c": {Free: true}},
			map[string]int{"a": 0, "b": 10, "c": 0}, 20},
		{"parallelism", Limits{Parallelism: 1, Cores: 8}, "abc", nil, map[string]int{"a": 0, "b": 10, "c": 20}, 30},
		{"nobody is passed for ever", Limits{Parallelism: 2, Cores: 2}, "abcdefgh", map[string]Need{"b": {Cores: 2}},
			map[string]int{"a": 0, "b": 30, "c": 0, "d": 10, "e": 10, "f": 20, "g": 40, "h": 40}, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			var nodes []Node
			takes := map[string]time.Duration{}
			for _, r := range c.nodes {
				nodes = append(nodes, Node{Name: string(r)})
				takes[string(r)] = sec(10)
			}
			got := simulate(t, nodes, c.l, c.needs, takes, nil)
			for name, at := range c.want {
				if got.at[name] != sec(at) {
					t.Errorf("%s started at %s, want %s", name, got.at[name], sec(at))
				}
			}
			if got.end != sec(c.end) {
				t.Errorf("all ended at %s, want %s", got.end, sec(c.end))
			}
		})
	}
}
