package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestScheduleOrderAndFailure(t *testing.T) {
	nodes := []Node{
		{Name: "a"}, {Name: "b", Deps: []string{"a"}}, {Name: "c", Deps: []string{"a"}},
		{Name: "d", Deps: []string{"b", "c"}}, {Name: "e", Deps: []string{"d"}}, {Name: "f"},
	}
	for _, fail := range []string{"", "b", "a", "d", "f"} {
		t.Run("fail="+fail, func(t *testing.T) {
			var mu sync.Mutex
			done := map[string]bool{}
			got := Schedule(t.Context(), nodes, 2, func(_ context.Context, name string) error {
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
			})
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

func TestScheduleParallelism(t *testing.T) {
	var nodes []Node
	for i := range 20 {
		nodes = append(nodes, Node{Name: fmt.Sprint(i)})
	}
	var mu sync.Mutex
	running, most := 0, 0
	Schedule(t.Context(), nodes, 3, func(context.Context, string) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	})
	if most != 3 {
		t.Errorf("at most %d ran at once, want 3", most)
	}
}

func TestScheduleStop(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	nodes := []Node{{Name: "a"}, {Name: "b", Deps: []string{"a"}}, {Name: "c", Deps: []string{"b"}}}
	got := Schedule(ctx, nodes, 2, func(ctx context.Context, name string) error {
		if name == "b" {
			cancel(errors.New("interrupted"))
			return ctx.Err()
		}
		return nil
	})
	want := map[string]Outcome{"a": Succeeded, "b": Stopped, "c": Stopped}
	for n, o := range want {
		if got[n] != o {
			t.Errorf("%s: %v, want %v", n, got[n], o)
		}
	}
}
