package recipe

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// ref is what a reference leads to: a model, dataset, step or evaluation. A step with for_each has one for each instance
// that is meant, or one without a node when it has none.
type ref struct {
	kind, name string
	node       *Node
}

// refsOf gives what an expression refers to. A key that can be worked out in ctx picks one instance of a step with
// for_each; else it is all of them.
func (p *Program) refsOf(e hcl.Expression, ctx *hcl.EvalContext) []ref {
	var out []ref
	var keys map[int]string
	for _, t := range e.Variables() {
		root := t.RootName()
		if len(t) < 2 || !slices.Contains(nodeRoots, root) {
			continue
		}
		name, ok := member(t[1])
		if !ok {
			continue
		}
		g := p.steps[name]
		if root != KindStep || g == nil || !g.each {
			if n := p.byAddr[root+"."+name]; n != nil {
				out = append(out, ref{root, name, n})
			}
			continue
		}
		key, ok := "", false
		if len(t) > 2 {
			key, ok = member(t[2])
		} else {
			if keys == nil {
				keys = indexKeys(e, ctx)
			}
			key, ok = keys[t.SourceRange().Start.Byte]
		}
		if n := g.nodes[key]; ok && n != nil {
			out = append(out, ref{root, name, n})
			continue
		}
		if len(g.keys) == 0 {
			out = append(out, ref{root, name, nil})
		}
		for _, key := range g.keys {
			out = append(out, ref{root, name, g.nodes[key]})
		}
	}
	return out
}

// nodesOf gives the addresses of the nodes that an expression refers to.
func (p *Program) nodesOf(e hcl.Expression, ctx *hcl.EvalContext) []string {
	var out []string
	for _, r := range p.refsOf(e, ctx) {
		if r.node != nil {
			out = append(out, r.node.Addr)
		}
	}
	return out
}

// context is the scope of the expressions of n: with for_each its each, and self when it is not nil. It holds what n
// refers to and nothing else: a scope of everything for each of many steps would take the square of their number.
func (p *Program) context(n *Node, self *cty.Value) *hcl.EvalContext {
	ctx := p.static()
	if n.each != cty.NilVal {
		ctx.Variables["each"] = n.each
	}
	if self != nil {
		ctx.Variables["self"] = *self
	}
	p.include(ctx, n.refs)
	return ctx
}

// contextOf is the scope of one expression that is no instance's.
func (p *Program) contextOf(e hcl.Expression) *hcl.EvalContext {
	ctx := p.static()
	p.include(ctx, p.refsOf(e, ctx))
	return ctx
}

// include puts what references lead to into a scope.
func (p *Program) include(ctx *hcl.EvalContext, refs []ref) {
	members := map[string]map[string]cty.Value{}
	for _, kind := range nodeRoots {
		members[kind] = map[string]cty.Value{}
	}
	instances := map[string]map[string]cty.Value{}
	for _, r := range refs {
		if g := p.steps[r.name]; r.kind == KindStep && g != nil && g.each && r.node != nil {
			if instances[r.name] == nil {
				instances[r.name] = map[string]cty.Value{}
			}
			instances[r.name][r.node.Key] = g.values[r.node.Key]
		} else if v, ok := p.kinds[r.kind][r.name]; ok {
			members[r.kind][r.name] = v
		}
	}
	for name, some := range instances {
		g := p.steps[name]
		if len(some) < len(g.keys) {
			members[KindStep][name] = cty.ObjectVal(some)
			continue
		}
		if g.all == cty.NilVal {
			g.all = cty.ObjectVal(g.values)
		}
		members[KindStep][name] = g.all
	}
	for kind, m := range members {
		ctx.Variables[kind] = cty.ObjectVal(m)
	}
}

// eval evaluates an expression of a node. One whose references lead nowhere is something unknown: its mistake is
// reported.
func (p *Program) eval(e hcl.Expression, ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if p.broken[e.Range()] {
		return cty.DynamicVal, nil
	}
	return e.Value(ctx)
}

// static is the scope of what is known before any step runs.
func (p *Program) static() *hcl.EvalContext {
	return &hcl.EvalContext{Variables: maps.Clone(p.values), Functions: p.functions}
}

// set puts a member of model, dataset, step or evaluate into the scope.
func (p *Program) set(kind, name string, v cty.Value) { p.kinds[kind][name] = v }

// declare notes the names of the blocks.
func (p *Program) declare() {
	p.declared = map[string]map[string]bool{}
	for _, b := range p.recipe.blocks {
		if p.declared[b.kind] == nil {
			p.declared[b.kind] = map[string]bool{}
		}
		p.declared[b.kind][b.name] = true
	}
}
