package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/evaluate"
)

// Roots of references, by where they may stand.
var (
	localRoots = []string{"var", "local", "path"}
	nodeRoots  = []string{KindModel, KindDataset, KindStep, KindEvaluate}
	allRoots   = append(slices.Clone(localRoots), nodeRoots...)
)

// meant are words that people write for a root.
var meant = map[string]string{
	"variable": "var", "variables": "var", "vars": "var", "locals": "local", "models": KindModel, "data": KindDataset,
	"datasets": KindDataset, "steps": KindStep, "evaluation": KindEvaluate, "evaluations": KindEvaluate,
}

// place is where an expression stands: what it may refer to, and why not to anything else.
type place struct {
	roots []string
	why   string
	// self is what the evaluation gives, inside of one.
	self *shape
	// iterators are the names that dynamic blocks give their elements.
	iterators []string
}

// placed is an expression and where it stands.
type placed struct {
	hcl.Expression
	place
}

// staticPlace is where only what is known before any step runs may stand; what is a clause such as "A local is known".
func staticPlace(what string) place {
	return place{roots: localRoots, why: what + " before any step runs"}
}

func ensurePlace(s *shape) place {
	return place{roots: append(slices.Clone(allRoots), "self"), self: s}
}

// didYouMean suggests the nearest of the names, or lists them.
func didYouMean(name string, names []string, intro string) string {
	best, dist := "", 4
	for _, n := range names {
		d := levenshtein.Distance(name, n, nil)
		near := 2*d <= len(name)
		if len(n) > 2 && strings.HasPrefix(name, n) || len(name) > 2 && strings.HasPrefix(n, name) {
			near, d = true, min(d, 3) // ceiling and ceil
		}
		if near && (d < dist || d == dist && len(n) > len(best)) && d < 4 {
			best, dist = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf("Did you mean %q?", best)
	}
	if len(names) == 0 {
		return intro + " none."
	}
	return intro + " " + strings.Join(names, ", ") + "."
}

// Suggest asks whether the nearest of the names was meant, with a space behind it; "" when none is near.
func Suggest(name string, names []string) string {
	if s := didYouMean(name, names, ""); strings.HasPrefix(s, "Did you mean") {
		return s + " "
	}
	return ""
}

// article puts "a" or "an" before a noun.
func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// joinPath shows a cycle: a → b → a, beginning where the circle closes.
func joinPath(path []string) string {
	last := path[len(path)-1]
	if i := slices.Index(path, last); i >= 0 {
		path = path[i:]
	}
	return strings.Join(path, " → ")
}

// member is the name that a step of a traversal selects: .name or ["name"].
func member(t hcl.Traverser) (string, bool) {
	switch t := t.(type) {
	case hcl.TraverseAttr:
		return t.Name, true
	case hcl.TraverseIndex:
		return asString(t.Key)
	}
	return "", false
}

// checkRefs checks that every reference of an expression leads somewhere. Follow-ups of a reference that leads nowhere
// would be the evaluator's words; these are better. Inside of try and can a reference may lead nowhere.
func (p *Program) checkRefs(e hcl.Expression, at place) (ds diag.Diags) {
	tolerant := tolerantRanges(e)
	for _, t := range e.Variables() {
		// A step or the like is named in full even there: what must run before is read from it.
		unnamed := (t.RootName() == "local" || slices.Contains(nodeRoots, t.RootName())) && !named(t)
		if unnamed || !within(t.SourceRange(), tolerant) {
			ds = ds.Append(p.checkRef(t, at)...)
		}
	}
	return ds
}

// named tells whether a reference has a name behind its root.
func named(t hcl.Traversal) bool {
	if len(t) < 2 {
		return false
	}
	_, ok := member(t[1])
	return ok
}

// followUp is the code of what is a follow-up of a mistake that is told already; nobody sees it.
const followUp = "recipe/follow-up"

// spot is a place in the words of a message.
func spot(r hcl.Range) string { return fmt.Sprintf("%s line %d", r.Filename, r.Start.Line) }

// within tells whether a range lies in one of others.
func within(r hcl.Range, others []hcl.Range) bool {
	return slices.ContainsFunc(others, func(o hcl.Range) bool { return o.Start.Byte <= r.Start.Byte && r.End.Byte <= o.End.Byte })
}

// tolerantRanges are the calls of try and can in an expression, and the types in calls of convert.
func tolerantRanges(e hcl.Expression) (out []hcl.Range) {
	for _, n := range syntaxOf(e) {
		_ = hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
			if c, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				switch {
				case c.Name == "try" || c.Name == "can":
					out = append(out, c.Range())
				case c.Name == "convert" && len(c.Args) == 2:
					out = append(out, c.Args[1].Range())
				}
			}
			return nil
		})
	}
	return out
}

// syntaxOf gives the syntax of an expression: in JSON that of each text in it.
func syntaxOf(e hcl.Expression) []hclsyntax.Node {
	e = hcl.UnwrapExpression(e)
	if n, ok := e.(hclsyntax.Node); ok {
		return []hclsyntax.Node{n}
	}
	var out []hclsyntax.Node
	if list, hd := hcl.ExprList(e); !hd.HasErrors() {
		for _, x := range list {
			out = append(out, syntaxOf(x)...)
		}
		return out
	}
	if pairs, hd := hcl.ExprMap(e); !hd.HasErrors() {
		for _, kv := range pairs {
			out = append(append(out, syntaxOf(kv.Key)...), syntaxOf(kv.Value)...)
		}
		return out
	}
	// Without a scope a JSON text is itself; HCL places what it parses in it behind the opening quote.
	v, _ := e.Value(nil)
	if s, ok := asString(v); ok {
		at := e.Range().Start
		at.Column, at.Byte = at.Column+1, at.Byte+1
		if x, hd := hclsyntax.ParseTemplate([]byte(s), e.Range().Filename, at); !hd.HasErrors() {
			out = append(out, x)
		}
	}
	return out
}

func (p *Program) checkRef(t hcl.Traversal, at place) diag.Diags {
	root, rng := t.RootName(), t.SourceRange()
	bad := func(summary, detail string) diag.Diags {
		return diag.Diags{diag.At(rng, "recipe/unknown-reference", summary, "%s", detail)}
	}
	iterator := slices.Contains(at.iterators, root)
	if !iterator && !slices.Contains(at.roots, root) {
		summary := fmt.Sprintf("There is no %q to refer to here", root)
		if slices.Contains(allRoots, root) {
			summary = fmt.Sprintf("%q may not be referred to here", root)
		}
		return bad(summary, at.instead(root, len(t) == 1))
	}
	if len(t) < 2 {
		if root == "path" || root == "self" || root == "each" || iterator {
			return nil
		}
		return bad(fmt.Sprintf("%q alone is no value", root), fmt.Sprintf("Name one: %s.NAME.", root))
	}
	name, ok := member(t[1])
	if !ok {
		return bad(fmt.Sprintf("%q is followed by a name", root), fmt.Sprintf("Write %s.NAME.", root))
	}
	if !p.has(root, name, at) {
		if p.recipe.partial && (root == "var" || slices.Contains(nodeRoots, root)) {
			return diag.Diags{diag.At(rng, followUp, "A follow-up", "")}
		}
		return bad(fmt.Sprintf("There is no %s.%s", root, name), didYouMean(name, p.names(root, at), "There is"))
	}
	switch {
	case iterator:
		return nil
	case root == KindStep:
		return p.checkStepRef(name, t, bad)
	case root == KindEvaluate:
		return p.shapes[name].check(t[2:], bad)
	case root == "self":
		return at.self.check(t[1:], bad)
	}
	return nil
}

// instead says what may stand where root does not.
func (at place) instead(root string, alone bool) string {
	switch {
	case meant[root] != "" && slices.Contains(at.roots, meant[root]):
		return fmt.Sprintf("Did you mean %q?", meant[root])
	case root == "each":
		return "each is for the arguments of a step with for_each."
	case root == "self":
		return "self is for the ensure blocks of an evaluation."
	case at.why != "" && slices.Contains(allRoots, root):
		return fmt.Sprintf("%s, so only %s may stand here.", at.why, strings.Join(at.roots, ", "))
	}
	s := didYouMean(root, at.roots, "A reference here starts with")
	if alone && !strings.HasPrefix(s, "Did") {
		s += fmt.Sprintf(" For a text write it in quotes: %q.", root)
	}
	return s
}

// has tells whether a name may follow a root.
func (p *Program) has(root, name string, at place) bool {
	switch {
	case slices.Contains(at.iterators, root):
	case root == "var":
		return p.declared["variable"][name]
	case slices.Contains(nodeRoots, root):
		return p.declared[root][name]
	case root == "local":
		return p.localAttrs[name] != nil
	case root == "self" && at.self == nil:
		return true // what an evaluation gives is not known yet; the reference is checked again
	}
	return slices.Contains(p.names(root, at), name)
}

// names are what may follow a root.
func (p *Program) names(root string, at place) []string {
	if slices.Contains(at.iterators, root) {
		return []string{"key", "value"}
	}
	var names []string
	switch root {
	case "var", KindModel, KindDataset, KindStep, KindEvaluate:
		kind := root
		if kind == "var" {
			kind = "variable"
		}
		for _, b := range p.recipe.blocks {
			if b.kind == kind {
				names = append(names, b.name)
			}
		}
	case "local":
		for name := range p.localAttrs {
			names = append(names, name)
		}
		slices.Sort(names)
	case "path":
		names = []string{"recipe"}
	case "each":
		names = []string{"key", "value"}
	case "self":
		if at.self != nil {
			names = at.self.subjects
		}
	}
	return names
}

// checkStepRef checks step.NAME.OUTPUT and step.NAME.result.FACT, with a key after NAME when the step has for_each.
func (p *Program) checkStepRef(name string, t hcl.Traversal, bad func(string, string) diag.Diags) diag.Diags {
	g := p.steps[name]
	rest := t[2:]
	if g == nil || g.broken || len(rest) == 0 {
		return nil // its own mistake is reported, or the whole step is meant
	}
	n := g.nodes[""]
	if g.each {
		key, ok := member(rest[0])
		if !ok {
			return nil // the evaluator knows
		}
		if n = g.nodes[key]; n == nil {
			if _, attr := rest[0].(hcl.TraverseAttr); attr && len(g.keys) > 0 {
				return bad(fmt.Sprintf("Step %q has for_each, so name one of its instances", name), fmt.Sprintf("Write %s.%s.", instanceAddr("step."+name, g.keys[0]), key))
			}
			return bad(fmt.Sprintf("Step %q has no instance %q", name, key), didYouMean(key, g.keys, "It has"))
		}
		rest = rest[1:]
	} else if _, index := rest[0].(hcl.TraverseIndex); index {
		return bad(fmt.Sprintf("Step %q has no instances", name), fmt.Sprintf("It has no for_each: write step.%s.OUTPUT.", name))
	}
	if n.Schema == nil || len(rest) == 0 {
		return nil
	}
	out, _ := member(rest[0])
	names := []string{"result"}
	for _, o := range n.Schema.GetOutputs() {
		names = append(names, o.GetName())
	}
	if !slices.Contains(names, out) {
		return bad(fmt.Sprintf("Step %q has no output %q", name, out), didYouMean(out, names, "It has"))
	}
	if out != "result" || len(rest) < 2 {
		return nil
	}
	fact, ok := member(rest[1])
	if ty, err := p.schemas.result(n.Schema); err == nil && ok && ty.IsObjectType() && !ty.HasAttribute(fact) {
		return bad(fmt.Sprintf("The result of step %q has no %q", name, fact), didYouMean(fact, slices.Sorted(maps.Keys(ty.AttributeTypes())), "It has"))
	}
	return nil
}

// check checks CANDIDATE.METRIC, with low or high before METRIC.
func (s *shape) check(rest hcl.Traversal, bad func(string, string) diag.Diags) diag.Diags {
	if s == nil || s.open || len(rest) == 0 {
		return nil
	}
	subject, ok := member(rest[0])
	if !ok {
		return nil
	}
	if !slices.Contains(s.subjects, subject) {
		return bad(fmt.Sprintf("This evaluation measures no %q", subject), didYouMean(subject, s.subjects, "It measures"))
	}
	rest = rest[1:]
	if len(rest) > 0 {
		if b, _ := member(rest[0]); b == "low" || b == "high" {
			rest = rest[1:]
		}
	}
	if len(rest) == 0 {
		return nil
	}
	metric, ok := member(rest[0])
	have := s.of(subject)
	if !ok || slices.Contains(have, metric) {
		return nil
	}
	detail := didYouMean(metric, have, "It gives")
	switch {
	case subject == "baseline" && slices.Contains(s.metrics, metric):
		detail = metric + " compares a candidate with the baseline. Of the baseline it gives " + strings.Join(have, ", ") + "."
	case slices.Contains(latencyMetrics, metric):
		detail = "Latency is measured when the evaluation has a benchmark block: benchmark {}."
	default:
		if _, ok := evaluate.Plain(metric); ok {
			detail = fmt.Sprintf("It is measured when it is asked for: metrics = [%q].", metric)
		} else if m, ok := evaluate.Preset(metric); ok {
			detail = fmt.Sprintf("It is measured when it is asked for: metric %q { … }.", m.Kind)
		}
	}
	return bad(fmt.Sprintf("There is no metric %q", metric), detail)
}

// indexKeys finds computed keys, as in step.q[each.key], by the byte at which step.q starts.
func indexKeys(e hcl.Expression, ctx *hcl.EvalContext) map[int]string {
	if ctx == nil {
		return nil
	}
	keys := map[int]string{}
	for _, n := range syntaxOf(e) {
		_ = hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
			if x, ok := n.(*hclsyntax.IndexExpr); ok {
				if _, plain := x.Collection.(*hclsyntax.ScopeTraversalExpr); plain && staticPlace("").covers(x.Key) {
					if v, hd := x.Key.Value(ctx); !hd.HasErrors() {
						if s, ok := asString(v); ok {
							keys[x.Collection.Range().Start.Byte] = s
						}
					}
				}
			}
			return nil
		})
	}
	return keys
}

// covers tells whether an expression refers to nothing but the place's roots and each.
func (at place) covers(e hcl.Expression) bool {
	return !slices.ContainsFunc(e.Variables(), func(t hcl.Traversal) bool {
		return t.RootName() != "each" && !slices.Contains(at.roots, t.RootName())
	})
}

// order sorts the nodes so that each comes after what it depends on, otherwise as they are written.
func order(nodes []*Node, byAddr map[string]*Node) ([]*Node, diag.Diags) {
	var ds diag.Diags
	var out []*Node
	state := map[string]int{}
	var path []string
	var visit func(n *Node)
	visit = func(n *Node) {
		switch state[n.Addr] {
		case 1:
			ds = ds.Append(diag.At(n.Range, "recipe/cycle", "Blocks depend on each other in a circle", "%s. One of these references has to go.", joinPath(append(slices.Clone(path), n.Addr))))
			return
		case 2:
			return
		}
		state[n.Addr] = 1
		path = append(path, n.Addr)
		for _, d := range n.Deps {
			if dn := byAddr[d]; dn != nil {
				visit(dn)
			}
		}
		path = path[:len(path)-1]
		state[n.Addr] = 2
		out = append(out, n)
	}
	for _, n := range nodes {
		visit(n)
	}
	return out, ds
}

func asString(v cty.Value) (string, bool) {
	v, _ = v.Unmark()
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}
