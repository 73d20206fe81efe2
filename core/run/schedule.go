package run

import (
	"context"
	"errors"
)

// Outcome tells how a node of a graph ended.
type Outcome int

// The outcomes of a node.
const (
	Succeeded Outcome = iota + 1
	Failed            // its own work failed
	Skipped           // something that it depends on did not succeed, or the first failure ended the run
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

// errFailFast is why the others are stopped after the first failure.
var errFailFast = errors.New("another action failed")

// Work is what Schedule has done.
type Work interface {
	// Prepare is called once all that the node depends on has succeeded, for one node at a time. It is quick, and tells
	// what the node needs.
	Prepare(ctx context.Context, name string) (Need, error)
	// Do does the work. It is called for several nodes at once.
	Do(ctx context.Context, name string) error
}

// Schedule does the work of every node, as many at once as the limits allow, each after all that it depends on have
// succeeded. Nodes start in the order given as far as they fit. A node whose dependency did not succeed is skipped; the
// others finish, unless failFast: then the first failure stops them. Once ctx is cancelled nothing more is started. The
// graph must have no cycle and every dependency must be a node of it: the caller has checked both.
func Schedule(ctx context.Context, nodes []Node, l Limits, failFast bool, w Work) map[string]Outcome {
	type end struct {
		name string
		err  error
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := newBoard(nodes, l)
	ends := make(chan end, len(nodes))
	// unbegun is how a node ends that never began.
	unbegun := func() Outcome {
		if ctx.Err() != nil {
			return Stopped
		}
		return Skipped
	}
	settle := func(e end) {
		o := Failed
		switch {
		case e.err == nil:
			o = Succeeded
		case errors.Is(e.err, context.Canceled) && inner.Err() != nil:
			o = Stopped
		case failFast:
			cancel(errFailFast)
		}
		b.settle(e.name, o, unbegun())
	}
	for {
		for inner.Err() == nil {
			name, ok := b.nextReady()
			if !ok {
				break
			}
			need, err := w.Prepare(inner, name)
			if err != nil {
				settle(end{name, err})
				continue
			}
			b.wait(name, need)
		}
		if inner.Err() != nil {
			b.drop(unbegun())
		}
		for _, name := range b.start() {
			go func() { ends <- end{name, w.Do(inner, name)} }()
		}
		if len(b.working) == 0 {
			return b.outcomes
		}
		settle(<-ends)
	}
}
