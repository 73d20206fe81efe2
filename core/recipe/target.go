package recipe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Find gives the nodes that a name on the command line means: an address such as step.int8 or evaluate.x, a whole
// for_each step by its name, one instance as step.q["a"] (a shell may have eaten the quotes), or a step's bare name.
// flag is named in what is wrong.
func (p *Program) Find(flag, name string) ([]*Node, diag.Diags) {
	text := strings.TrimSpace(name)
	if i := strings.IndexByte(text, '['); i > 0 && strings.HasSuffix(text, "]") {
		key := strings.TrimSuffix(text[i+1:], "]")
		if n := len(key); n > 1 && (key[0] == '"' || key[0] == '\'') && key[n-1] == key[0] {
			key = key[1 : n-1]
		}
		text = instanceAddr(text[:i], key)
	}
	for _, addr := range []string{text, KindStep + "." + text} {
		var out []*Node
		for _, n := range p.nodes {
			if n.Addr == addr || n.Key != "" && KindStep+"."+n.Name == addr {
				out = append(out, n)
			}
		}
		if len(out) > 0 {
			return out, nil
		}
		if g := p.steps[strings.TrimPrefix(addr, KindStep+".")]; g != nil && g.each && len(g.keys) == 0 {
			return nil, nil // its for_each is empty
		}
	}
	// A bare name is measured against bare ones first; a whole for_each step may be meant by either.
	var names, bare []string
	for _, n := range p.nodes {
		names, bare = append(names, n.Addr), append(bare, strings.TrimPrefix(n.Addr, KindStep+"."))
		if whole := KindStep + "." + n.Name; n.Key != "" && !slices.Contains(names, whole) {
			names, bare = append(names, whole), append(bare, n.Name)
		}
	}
	detail := didYouMean(text, bare, "")
	if strings.Contains(text, ".") || !strings.HasPrefix(detail, "Did you mean") {
		detail = didYouMean(text, names, "There is")
	}
	return nil, diag.Diags{diag.Errorf("recipe/no-such-address", fmt.Sprintf("There is no %q for %s", name, flag), "%s", detail)}
}

// Limit keeps the nodes that the targets mean and all that they need, and gives the outputs and evaluations that are
// left out.
func (p *Program) Limit(targets []string) (left []string, ds diag.Diags) {
	keep := map[string]bool{}
	var visit func(n *Node)
	visit = func(n *Node) {
		if n == nil || keep[n.Addr] {
			return
		}
		keep[n.Addr] = true
		for _, d := range n.Deps {
			visit(p.byAddr[d])
		}
	}
	for _, t := range targets {
		nodes, more := p.Find("--target", t)
		ds = ds.Append(more...)
		for _, n := range nodes {
			visit(n)
		}
	}
	if ds.HasErrors() || len(targets) == 0 {
		return nil, ds
	}
	for _, n := range p.nodes {
		if !keep[n.Addr] && (n.Kind == KindOutput || n.Kind == KindEvaluate) {
			left = append(left, n.Addr)
		}
	}
	p.nodes = slices.DeleteFunc(slices.Clone(p.nodes), func(n *Node) bool { return !keep[n.Addr] })
	return left, nil
}
