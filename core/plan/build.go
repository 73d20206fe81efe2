package plan

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// askAtOnce is how many nodes are worked out side by side: mostly they wait for a plugin or for the disk.
const askAtOnce = 8

// Build resolves every node with what the store holds: what apply would do.
func (s *Session) Build(ctx context.Context) (*Plan, diag.Diags) {
	p := &Plan{Schema: Schema, Version: s.Version, Recipe: s.Recipe.Path}
	nodes := s.Program.Nodes()
	actions, said := make([]*Action, len(nodes)), make([]diag.Diags, len(nodes))
	broken := map[string]bool{}
	for _, wave := range waves(nodes) {
		var g errgroup.Group
		g.SetLimit(askAtOnce)
		for _, i := range wave {
			n := nodes[i]
			if slices.ContainsFunc(n.Deps, func(d string) bool { return broken[d] }) {
				continue // a follow-up of a mistake that is reported already
			}
			g.Go(func() error {
				actions[i], said[i] = s.Resolve(ctx, n)
				return nil
			})
		}
		_ = g.Wait() // each says its own errors
		for _, i := range wave {
			if actions[i] == nil || said[i].HasErrors() {
				broken[nodes[i].Addr], actions[i] = true, nil
			}
		}
	}
	var all diag.Diags
	for i, a := range actions {
		all = all.Append(said[i]...)
		if a != nil {
			a.Warnings = said[i]
			p.Actions = append(p.Actions, a)
		}
	}
	p.Summarize()
	return p, all
}

// waves groups the indices of nodes, which stand after what they depend on: no node of a wave needs another one of it.
func waves(nodes []*recipe.Node) [][]int {
	var out [][]int
	level := map[string]int{}
	for i, n := range nodes {
		l := 0
		for _, d := range n.Deps {
			l = max(l, level[d]+1)
		}
		level[n.Addr] = l
		if l == len(out) {
			out = append(out, nil)
		}
		out[l] = append(out[l], i)
	}
	return out
}
