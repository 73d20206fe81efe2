package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Empty is a recipe without blocks in a folder: what a console without a recipe works on.
func Empty(dir string) *Recipe { return &Recipe{Path: dir, Dir: dir, Files: map[string]*hcl.File{}} }

// Expression is an expression that is not part of the recipe.
type Expression struct {
	expr hclsyntax.Expression
	// Nodes are the addresses of the blocks that it refers to.
	Nodes []string
}

// ParseExpression reads an expression and checks its references, which may lead to everything that the recipe declares;
// a root alone, such as var, stands for all of it. start is where it begins in the file name.
func (p *Program) ParseExpression(src []byte, name string, start hcl.Pos) (*Expression, diag.Diags) {
	if len(src) > maxFile {
		return nil, diag.Diags{diag.Errorf("recipe/syntax", "The expression is too long", "It has at most %d KiB.", maxFile>>10)}
	}
	if ds := checkNesting(src, name, hclsyntax.LexExpression); ds.HasErrors() {
		ds[0].Subject = nil // its place is in the expression, not in the file
		return nil, ds
	}
	e, hd := hclsyntax.ParseExpression(src, name, start)
	if hd.HasErrors() {
		return nil, p.hide(firstOf(coded(hd)))
	}
	if ds := prepare(e); ds.HasErrors() {
		return nil, ds
	}
	at := place{roots: allRoots, why: "It is known only inside of the block that has it"}
	tolerant := tolerantRanges(e)
	var ds diag.Diags
	for _, t := range e.Variables() {
		if r := t.SourceRange(); len(t) == 1 && slices.Contains(allRoots, t.RootName()) || within(r, tolerant) {
			continue
		}
		ds = ds.Append(p.checkRef(t, at)...)
	}
	if ds.HasErrors() {
		return nil, p.hide(ds)
	}
	out := &Expression{expr: e, Nodes: p.nodesOf(e, p.everything())}
	for _, t := range e.Variables() {
		if len(t) == 1 {
			for _, n := range p.byAddr {
				if n.Kind == t.RootName() {
					out.Nodes = append(out.Nodes, n.Addr)
				}
			}
		}
	}
	slices.Sort(out.Nodes)
	out.Nodes = slices.Compact(out.Nodes)
	return out, nil
}

// everything is a scope of all that the recipe declares.
func (p *Program) everything() *hcl.EvalContext {
	ctx := p.static()
	var refs []ref
	for _, n := range p.byAddr {
		if slices.Contains(nodeRoots, n.Kind) {
			refs = append(refs, ref{n.Kind, n.Name, n})
		}
	}
	for name, g := range p.steps {
		if g.each && len(g.keys) == 0 {
			refs = append(refs, ref{KindStep, name, nil})
		}
	}
	p.include(ctx, refs)
	return ctx
}

// Evaluate gives the value of an expression with what is known: parts may be unknown, and carry the marks of what is
// sensitive.
func (p *Program) Evaluate(e *Expression) (cty.Value, diag.Diags) {
	v, hd := e.expr.Value(p.everything())
	if hd.HasErrors() {
		return cty.DynamicVal, p.hide(coded(hd))
	}
	finite := true
	plain, _ := v.UnmarkDeep()
	_ = cty.Walk(plain, func(_ cty.Path, v cty.Value) (bool, error) {
		finite = finite && (v.IsNull() || !v.IsKnown() || v.Type() != cty.Number || !v.AsBigFloat().IsInf())
		return true, nil
	})
	if !finite {
		return cty.DynamicVal, diag.Diags{diag.At(e.expr.Range(), "recipe/number", "The result is not finite", "It is divided by zero, or larger than any number.")}
	}
	return v, nil
}

// Complete tells whether a source has all the brackets, quotes and heredocs closed that it opens; else more lines may
// follow.
func Complete(src []byte) bool {
	tokens, _ := hclsyntax.LexExpression(src, "", hcl.InitialPos)
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCHeredoc:
			depth--
		}
	}
	return depth <= 0
}

// Names are what an expression may begin with or go on with after prefix, for completion: functions with their bracket,
// roots, and the members of a root, such as var.max_drop.
func (p *Program) Names(prefix string) []string {
	var out []string
	add := func(s string) {
		if strings.HasPrefix(s, prefix) {
			out = append(out, s)
		}
	}
	for name := range p.functions {
		add(name + "(")
	}
	for root, v := range p.everything().Variables {
		if v.Type().IsObjectType() {
			for name := range v.Type().AttributeTypes() {
				add(root + "." + name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Show writes a value as a recipe would, over several lines where it is long. What is sensitive stands as (sensitive);
// what is unknown says what it waits for: the artifact's own block, else those of after.
func (p *Program) Show(v cty.Value, after []string) string {
	var b strings.Builder
	p.show(&b, v, knownAfter(after), "")
	return b.String()
}

// knownAfter says in words what must have happened before something is known.
func knownAfter(addrs []string) string {
	var read, run []string
	for _, a := range addrs {
		if strings.HasPrefix(a, KindModel+".") || strings.HasPrefix(a, KindDataset+".") {
			read = append(read, a)
		} else {
			run = append(run, a)
		}
	}
	switch {
	case len(run) > 1:
		return "(known after " + strings.Join(run[:len(run)-1], ", ") + " and " + run[len(run)-1] + " have run)"
	case len(run) == 1:
		return "(known after " + run[0] + " has run)"
	case len(read) > 0:
		return "(known after " + strings.Join(read, " and ") + " can be read)"
	}
	return "(known after apply)"
}

// lineWidth is how long a collection may be to stand on one line.
const lineWidth = 80

func (p *Program) show(b *strings.Builder, v cty.Value, unknown, indent string) {
	ty := v.Type()
	switch {
	case v.HasMark(sensitive):
		b.WriteString("(sensitive)")
	case v.IsMarked():
		v, _ = v.Unmark()
		p.show(b, v, unknown, indent)
	case !v.IsKnown():
		b.WriteString(unknown)
	case v.IsNull():
		b.WriteString("null")
	case ty.IsSetType():
		b.WriteString("toset(")
		p.showList(b, v, unknown, indent)
		b.WriteString(")")
	case ty.IsTupleType() || ty.IsListType():
		p.showList(b, v, unknown, indent)
	case ty.IsObjectType() || ty.IsMapType():
		p.showObject(b, v, unknown, indent)
	case ty.IsPrimitiveType():
		b.Write(hclwrite.TokensForValue(v).Bytes())
	default:
		b.WriteString("(" + ty.FriendlyName() + ")")
	}
}

func (p *Program) showList(b *strings.Builder, v cty.Value, unknown, indent string) {
	var parts []string
	total := len(indent)
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		var one strings.Builder
		p.show(&one, e, unknown, indent+"  ")
		parts = append(parts, one.String())
		total += one.Len() + 2
	}
	if total <= lineWidth && !slices.ContainsFunc(parts, func(s string) bool { return strings.Contains(s, "\n") }) {
		b.WriteString("[" + strings.Join(parts, ", ") + "]")
		return
	}
	b.WriteString("[\n")
	for _, s := range parts {
		b.WriteString(indent + "  " + s + ",\n")
	}
	b.WriteString(indent + "]")
}

func (p *Program) showObject(b *strings.Builder, v cty.Value, unknown, indent string) {
	if v.Type().Equals(ArtifactType) {
		if addr, ok := asString(v.GetAttr("address")); ok && p.artifacts[addr].node != "" {
			unknown = knownAfter([]string{p.artifacts[addr].node})
		}
	}
	members := map[string]string{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		k, _ = k.Unmark()
		name := k.AsString()
		if !hclsyntax.ValidIdentifier(name) {
			name = string(hclwrite.TokensForValue(k).Bytes())
		}
		var one strings.Builder
		p.show(&one, e, unknown, indent+"  ")
		members[name] = one.String()
	}
	if len(members) == 0 {
		b.WriteString("{}")
		return
	}
	names := slices.Sorted(maps.Keys(members))
	b.WriteString("{\n")
	for i, name := range names {
		// Equals signs of members on one line stand below each other, as fmt has them.
		width := 0
		for _, step := range []int{-1, 1} {
			for j := i; j >= 0 && j < len(names) && !strings.Contains(members[names[j]], "\n"); j += step {
				width = max(width, utf8.RuneCountInString(names[j]))
			}
		}
		fmt.Fprintf(b, "%s  %s%s = %s\n", indent, name, strings.Repeat(" ", max(width-utf8.RuneCountInString(name), 0)), members[name])
	}
	b.WriteString(indent + "}")
}

// Plain is a value for JSON: unknown and sensitive parts are null; known and secret tell whether there were any.
func Plain(v cty.Value) (out cty.Value, known, secret bool) {
	known = v.IsWhollyKnown()
	out, err := cty.Transform(v, func(_ cty.Path, v cty.Value) (cty.Value, error) {
		hidden := v.HasMark(sensitive)
		secret = secret || hidden
		v, _ = v.Unmark()
		if hidden || !v.IsKnown() {
			return cty.NullVal(v.Type()), nil
		}
		return v, nil
	})
	if err != nil {
		return cty.NullVal(cty.DynamicPseudoType), known, true
	}
	return out, known, secret
}

// Known tells whether a block's value is known: it is a file, or its result is in the scope.
func (p *Program) Known(addr string) bool {
	n := p.byAddr[addr]
	if n == nil {
		return true
	}
	v, ok := p.kinds[n.Kind][n.Name]
	if g := p.steps[n.Name]; n.Kind == KindStep && g != nil && g.each {
		v, ok = g.values[n.Key]
	}
	return ok && v.IsWhollyKnown()
}
