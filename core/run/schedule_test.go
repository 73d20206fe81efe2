package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// work is Work made of functions.
type work struct {
	prepare func(name string) (Need, error)
	do      func(ctx context.Context, name string) error
}

func (w work) Prepare(_ context.Context, name string) (Need, error) {
	if w.prepare == nil {
		return Need{}, nil
	}
	return w.prepare(name)
}

func (w work) Do(ctx context.Context, name string) error { return w.do(ctx, name) }

func doing(f func(ctx context.Context, name string) error) work { return work{do: f} }

func TestScheduleOrderAndFailure(t *testing.T) {
	nodes := []Node{
		{Name: "a"}, {Name: "b", Deps: []string{"a"}}, {Name: "c", Deps: []string{"a"}},
		{Name: "d", Deps: []string{"b", "c"}}, {Name: "e", Deps: []string{"d"}}, {Name: "f"},
	}
	for _, fail := range []string{"", "b", "a", "d", "f"} {
		for _, early := range []bool{false, true} { // fails while it is prepared, or while it works
			t.Run(fmt.Sprintf("fail=%s,early=%v", fail, early), func(t *testing.T) {
				var mu sync.Mutex
				done := map[string]bool{}
				w := work{prepare: func(name string) (Need, error) {
					if name == fail && early {
						return Need{}, errors.New("no")
					}
					return Need{}, nil
				}, do: func(_ context.Context, name string) error {
					mu.Lock()
					defer mu.Unlock()
					for _, n := range nodes {
						if n.Name == name {
							for _, d := range n.Deps {
								if !done[d] {
									t.Errorf("%s started before %s had succeeded", name, d)
								}
							}
						}
					}
					if name == fail {
						return errors.New("no")
					}
					done[name] = true
					return nil
				}}
				got := Schedule(t.Context(), nodes, Limits{Parallelism: 2}, false, w)
				downstream := map[string][]string{"": nil, "a": {"b", "c", "d", "e"}, "b": {"d", "e"}, "d": {"e"}, "f": nil}[fail]
				for _, n := range nodes {
					want := Succeeded
					switch {
					case n.Name == fail:
						want = Failed
					case slices.Contains(downstream, n.Name):
						want = Skipped
					}
					if got[n.Name] != want {
						t.Errorf("%s: %v, want %v", n.Name, got[n.Name], want)
					}
				}
			})
		}
	}
}

// TestScheduleTimes runs real goroutines on the clock of a test: what works beside what.
func TestScheduleTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex
		at := map[string]time.Duration{}
		needs := map[string]Need{"a": {Memory: 6}, "b": {Memory: 6}, "c": {Alone: true}, "d": {Free: true}}
		w := work{
			prepare: func(name string) (Need, error) { return needs[name], nil },
			do: func(_ context.Context, name string) error {
				mu.Lock()
				at[name] = time.Since(begun)
				mu.Unlock()
				time.Sleep(time.Second)
				return nil
			},
		}
		Schedule(t.Context(), []Node{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e", Deps: []string{"a"}}}, Limits{Parallelism: 4, Memory: 10}, false, w)
		want := map[string]time.Duration{"a": 0, "b": time.Second, "c": 2 * time.Second, "d": 0, "e": time.Second}
		for name, d := range want {
			if at[name] != d {
				t.Errorf("%s started at %s, want %s", name, at[name], d)
			}
		}
	})
}

func TestScheduleParallelism(t *testing.T) {
	var nodes []Node
	for i := range 20 {
		nodes = append(nodes, Node{Name: fmt.Sprint(i)})
	}
	var mu sync.Mutex
	running, most := 0, 0
	Schedule(t.Context(), nodes, Limits{Parallelism: 3}, false, doing(func(context.Context, string) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}))
	if most != 3 {
		t.Errorf("at most %d ran at once, want 3", most)
	}
}

func TestScheduleStop(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	nodes := []Node{{Name: "a"}, {Name: "b", Deps: []string{"a"}}, {Name: "c", Deps: []string{"b"}}, {Name: "d", Deps: []string{"a"}}}
	got := Schedule(ctx, nodes, Limits{Parallelism: 1}, false, doing(func(ctx context.Context, name string) error {
		if name == "b" {
			cancel(errors.New("interrupted"))
			return ctx.Err()
		}
		return nil
	}))
	want := map[string]Outcome{"a": Succeeded, "b": Stopped, "c": Stopped, "d": Stopped}
	for n, o := range want {
		if got[n] != o {
			t.Errorf("%s: %v, want %v", n, got[n], o)
		}
	}
}

// TestScheduleFailFast has one node fail while another works and a third waits.
func TestScheduleFailFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := []Node{{Name: "fails"}, {Name: "works"}, {Name: "waits", Deps: []string{"works"}}, {Name: "queued"}}
		got := Schedule(t.Context(), nodes, Limits{Parallelism: 2}, true, doing(func(ctx context.Context, name string) error {
			if name == "fails" {
				time.Sleep(time.Second)
				return errors.New("no")
			}
			<-ctx.Done()
			return ctx.Err()
		}))
		want := map[string]Outcome{"fails": Failed, "works": Stopped, "waits": Skipped, "queued": Skipped}
		for n, o := range want {
			if got[n] != o {
				t.Errorf("%s: %v, want %v", n, got[n], o)
			}
		}
	})
}
