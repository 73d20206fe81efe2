package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Roots of references, by where they may stand.
var (
	localRoots = []string{"var", "local", "path"}
	allRoots   = []string{"var", "local", "path", KindModel, KindDataset, KindStep, KindEvaluate}
)

// didYouMean suggests the nearest of the names, or lists them.
func didYouMean(name string, names []string, intro string) string {
	best, dist := "", 4
	for _, n := range names {
		if d := levenshtein.Distance(name, n, nil); d < dist && d < len(name) {
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

// joinPath shows a cycle: a → b → a, beginning where the circle closes.
func joinPath(path []string) string {
	last := path[len(path)-1]
	if i := slices.Index(path, last); i >= 0 {
		path = path[i:]
	}
	return strings.Join(path, " → ")
}

// checkRefs checks that every reference of an expression leads somewhere. Follow-ups of a reference that leads nowhere
// would be the evaluator's words; these are better.
func (p *Program) checkRefs(e hcl.Expression, roots []string, locals map[string]*hcl.Attribute) (ds diag.Diags) {
	for _, t := range e.Variables() {
		ds = ds.Append(p.checkRef(t, roots, locals)...)
	}
	return ds
}

func (p *Program) checkRef(t hcl.Traversal, roots []string, locals map[string]*hcl.Attribute) diag.Diags {
	root, rng := t.RootName(), t.SourceRange()
	bad := func(summary, detail string) diag.Diags {
		return diag.Diags{diag.At(rng, "recipe/unknown-reference", summary, "%s", detail)}
	}
	if !slices.Contains(roots, root) {
		return bad(fmt.Sprintf("There is no %q to refer to here", root), didYouMean(root, roots, "A reference here starts with"))
	}
	if len(t) < 2 {
		if root == "path" || root == "self" {
			return nil
		}
		return bad(fmt.Sprintf("%q alone is no value", root), fmt.Sprintf("Name one: %s.NAME.", root))
	}
	at, ok := t[1].(hcl.TraverseAttr)
	if !ok {
		return bad(fmt.Sprintf("%q is followed by a name", root), fmt.Sprintf("Write %s.NAME.", root))
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
		if locals != nil {
			names = slices.Sorted(maps.Keys(locals))
		} else {
			names = slices.Sorted(maps.Keys(p.values["local"].AsValueMap()))
		}
	case "path":
		names = []string{"recipe"}
	case "self":
		names = p.subjectNames
	}
	if !slices.Contains(names, at.Name) {
		return bad(fmt.Sprintf("There is no %s.%s", root, at.Name), didYouMean(at.Name, names, "There is"))
	}
	if root == KindStep && len(t) > 2 {
		return p.checkStepRef(at.Name, t, bad)
	}
	if root == "self" || root == KindEvaluate {
		return p.checkMetricRef(root, at.Name, t, bad)
	}
	return nil
}

// checkStepRef checks step.NAME.OUTPUT and step.NAME.result.FACT.
func (p *Program) checkStepRef(name string, t hcl.Traversal, bad func(string, string) diag.Diags) diag.Diags {
	n := p.byAddr["step."+name]
	out, ok := t[2].(hcl.TraverseAttr)
	if n == nil || n.Schema == nil || !ok {
		return nil // its own mistake is reported
	}
	names := []string{"result"}
	for _, o := range n.Schema.GetOutputs() {
		names = append(names, o.GetName())
	}
	if !slices.Contains(names, out.Name) {
		return bad(fmt.Sprintf("Step %q has no output %q", name, out.Name), didYouMean(out.Name, names, "It has"))
	}
	return nil
}

// checkMetricRef checks self.CANDIDATE.METRIC and evaluate.NAME.CANDIDATE.METRIC, with low or high before METRIC.
func (p *Program) checkMetricRef(root, name string, t hcl.Traversal, bad func(string, string) diag.Diags) diag.Diags {
	rest := t[2:]
	shape := p.shape
	if root == KindEvaluate {
		shape = p.shapes[name]
		if len(rest) == 0 {
			return nil
		}
		at, ok := rest[0].(hcl.TraverseAttr)
		if !ok || shape == nil {
			return nil
		}
		if !slices.Contains(shape.subjects, at.Name) {
			return bad(fmt.Sprintf("Evaluation %q measures no %q", name, at.Name), didYouMean(at.Name, shape.subjects, "It measures"))
		}
		rest = rest[1:]
	}
	if shape == nil {
		return nil
	}
	for i, step := range rest {
		at, ok := step.(hcl.TraverseAttr)
		if !ok {
			return nil
		}
		if i == 0 && (at.Name == "low" || at.Name == "high") {
			continue
		}
		if !slices.Contains(shape.metrics, at.Name) {
			return bad(fmt.Sprintf("There is no metric %q", at.Name), didYouMean(at.Name, shape.metrics, "This evaluation gives"))
		}
		break
	}
	return nil
}

// refsOf gives the addresses that expressions refer to.
func refsOf(exprs ...hcl.Expression) []string {
	var out []string
	for _, e := range exprs {
		for _, t := range e.Variables() {
			root := t.RootName()
			if len(t) < 2 || !slices.Contains([]string{KindModel, KindDataset, KindStep, KindEvaluate}, root) {
				continue
			}
			if at, ok := t[1].(hcl.TraverseAttr); ok {
				out = append(out, root+"."+at.Name)
			}
		}
	}
	return out
}

// order sorts the nodes so that each comes after what it depends on, otherwise as they are written.
func order(nodes []*Node, byAddr map[string]*Node) ([]*Node, diag.Diags) {
	var ds diag.Diags
	var out []*Node
	state := map[string]int{}
	var visit func(n *Node, path []string)
	visit = func(n *Node, path []string) {
		path = append(slices.Clone(path), n.Addr)
		switch state[n.Addr] {
		case 1:
			ds = ds.Append(diag.At(n.Range, "recipe/cycle", "Blocks depend on each other in a circle", "%s", joinPath(path)))
			return
		case 2:
			return
		}
		state[n.Addr] = 1
		for _, d := range n.Deps {
			if dn := byAddr[d]; dn != nil {
				visit(dn, path)
			}
		}
		state[n.Addr] = 2
		out = append(out, n)
	}
	for _, n := range nodes {
		visit(n, nil)
	}
	return out, ds
}
