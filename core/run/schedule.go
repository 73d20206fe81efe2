package run

import (
	"context"
	"errors"
	"sync"
)

// Node is one piece of work in a graph and the names of the nodes that must succeed before it.
type Node struct {
	Name string
	Deps []string
}

// Outcome tells how a node of a graph ended.
type Outcome int

// The outcomes of a node.
const (
	Succeeded Outcome = iota + 1
	Failed            // its own work failed
	Skipped           // something that it depends on did not succeed
	Stopped           // the run was stopped before or while it worked
)

func (o Outcome) String() string {
	switch o {
	case Succeeded:
		return "succeeded"
	case Failed:
		return "failed"
	case Skipped:
		return "skipped"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// Schedule runs do for every node, at most parallelism at once, each after all that it depends on have succeeded.
// Nodes that are ready at the same time start in the order given. A node whose dependency did not succeed is skipped
// and do is not called for it; the others finish. Once ctx is cancelled nothing more is started. The graph must have
// no cycle and every dependency must be a node of it: the caller has checked both.
func Schedule(ctx context.Context, nodes []Node, parallelism int, do func(ctx context.Context, name string) error) map[string]Outcome {
	if parallelism < 1 {
		parallelism = 1
	}
	var (
		outcomes   = make(map[string]Outcome, len(nodes))
		waiting    = make(map[string]int, len(nodes)) // dependencies that have not ended
		blocked    = make(map[string]bool)            // a dependency did not succeed
		dependants = make(map[string][]string)
		ready      []string
		running    int
		mu         sync.Mutex
		ended      = sync.NewCond(&mu)
	)
	for _, n := range nodes {
		waiting[n.Name] = len(n.Deps)
		for _, d := range n.Deps {
			dependants[d] = append(dependants[d], n.Name)
		}
	}
	for _, n := range nodes {
		if waiting[n.Name] == 0 {
			ready = append(ready, n.Name)
		}
	}

	// settle records an outcome and readies or skips what waited for it. Called with mu held.
	var settle func(name string, o Outcome)
	settle = func(name string, o Outcome) {
		outcomes[name] = o
		for _, d := range dependants[name] {
			waiting[d]--
			if o != Succeeded {
				blocked[d] = true
			}
			if waiting[d] > 0 {
				continue
			}
			switch {
			case !blocked[d]:
				ready = append(ready, d)
			case ctx.Err() != nil:
				settle(d, Stopped)
			default:
				settle(d, Skipped)
			}
		}
	}

	mu.Lock()
	defer mu.Unlock()
	for len(ready) > 0 || running > 0 {
		if len(ready) == 0 || running >= parallelism {
			ended.Wait()
			continue
		}
		name := ready[0]
		ready = ready[1:]
		if ctx.Err() != nil {
			settle(name, Stopped)
			continue
		}
		running++
		go func() {
			err := do(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			running--
			switch {
			case err == nil:
				settle(name, Succeeded)
			case errors.Is(err, context.Canceled) && ctx.Err() != nil:
				settle(name, Stopped)
			default:
				settle(name, Failed)
			}
			ended.Signal()
		}()
	}
	return outcomes
}
