package recipe

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
)

// stepGroup is a step block: a step of its own, or with each the instances of its for_each.
type stepGroup struct {
	each bool
	// broken says that for_each could not be evaluated, so that nothing is known of the instances.
	broken bool
	keys   []string
	nodes  map[string]*Node // by key; "" without for_each
	values map[string]cty.Value
	// all is the object of all values, made when something refers to it.
	all cty.Value
}

// instanceAddr is the address of one instance, as a reference writes it.
func instanceAddr(addr, key string) string { return fmt.Sprintf("%s[%q]", addr, key) }

// expand gives the nodes of a step: itself, or one for each key of its for_each, in the order of the keys.
func (p *Program) expand(n *Node) ([]*Node, diag.Diags) {
	g := &stepGroup{nodes: map[string]*Node{}, values: map[string]cty.Value{}}
	p.steps[n.Name] = g
	a := n.forEach()
	if a == nil {
		g.nodes[""] = n
		return []*Node{n}, nil
	}
	g.each = true
	keys, values, ok, ds := p.forEach(a)
	if !ok {
		g.broken = true
		p.set(KindStep, n.Name, cty.DynamicVal)
		return nil, ds
	}
	var out []*Node
	for i, key := range keys {
		m := *n
		m.Addr, m.Key = instanceAddr(n.Addr, key), key
		m.each = cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(key), "value": values[i]})
		g.keys = append(g.keys, key)
		g.nodes[key] = &m
		out = append(out, &m)
	}
	if len(out) == 0 {
		p.set(KindStep, n.Name, cty.EmptyObjectVal)
	}
	return out, ds
}

// forEach is the for_each argument; nil without one.
func (n *Node) forEach() *hcl.Attribute {
	content, _, _ := n.block.body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "for_each"}}})
	return content.Attributes["for_each"]
}

// forEach evaluates for_each to keys, sorted but for a list, and their values. Not ok without a diagnostic means that it
// depends on something whose mistake is reported already.
func (p *Program) forEach(a *hcl.Attribute) (keys []string, values []cty.Value, ok bool, ds diag.Diags) {
	if ds = p.checkRefs(a.Expr, place{roots: localRoots, why: "for_each is known before any step runs"}); ds.HasErrors() {
		return nil, nil, false, ds
	}
	v, hd := a.Expr.Value(p.static())
	if hd.HasErrors() {
		return nil, nil, false, coded(hd)
	}
	bad := func(what string) ([]string, []cty.Value, bool, diag.Diags) {
		return nil, nil, false, diag.Diags{diag.At(a.Expr.Range(), "recipe/for-each", "for_each takes a map, a set or a list of unique strings", "%s", what)}
	}
	if v.ContainsMarked() {
		return bad("This value is sensitive, and its keys would show in addresses. Use one that is not sensitive.")
	}
	if v.IsNull() {
		return bad("This is null. For no instance write an empty map: {}.")
	}
	if !v.IsKnown() {
		return nil, nil, false, nil
	}
	ty := v.Type()
	mapping := ty.IsObjectType() || ty.IsMapType()
	if !mapping && !ty.IsListType() && !ty.IsTupleType() && !ty.IsSetType() {
		return bad("This is " + article(ty.FriendlyName()) + ". Write [\"small\", \"large\"] or { small = 4, large = 8 }.")
	}
	seen := map[string]bool{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if !mapping {
			k = e
		}
		key, ok := asString(k)
		if !ok {
			return bad("An element is " + article(e.Type().FriendlyName()) + ". To give each instance another value, write a map: { small = 4, large = 8 }.")
		}
		if seen[key] {
			return bad(fmt.Sprintf("%q is in the list twice: remove one, or write toset(...) around it.", key))
		}
		seen[key] = true
		keys, values = append(keys, key), append(values, e)
	}
	return keys, values, true, nil
}

// setStep puts the value of a step, or of one of its instances, into the scope.
func (p *Program) setStep(n *Node, v cty.Value) {
	g := p.steps[n.Name]
	if !g.each {
		p.set(KindStep, n.Name, v)
		return
	}
	g.values[n.Key], g.all = v, cty.NilVal
}
