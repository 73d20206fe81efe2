package recipe

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// A dynamic block stands for as many blocks as its for_each has elements:
//
//	dynamic "layer" {
//	  for_each = local.bits
//	  labels   = [layer.key]
//	  content { bits = layer.value }
//	}
//
// It is unfolded before anything else looks at a body, so its for_each and labels are known before any step runs.

var (
	dynamicSchema     = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "dynamic", LabelNames: []string{"type"}}}}
	dynamicBodySchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "for_each"}, {Name: "labels"}, {Name: "iterator"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "content"}},
	}
)

// hasDynamic tells whether a body may hold dynamic blocks; in JSON only a schema would tell.
func hasDynamic(body hcl.Body) bool {
	b, ok := body.(*hclsyntax.Body)
	if !ok {
		return true
	}
	return slices.ContainsFunc(b.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "dynamic" || hasDynamic(b.Body) })
}

// unfold gives a body with its dynamic blocks unfolded in the scope of n. Those that cannot be are left out and their
// mistakes told: folded then says that blocks may be missing. The schema s says which blocks lie in others; nil has none.
func (p *Program) unfold(n *Node, body hcl.Body, s *pluginv1.Block) (out hcl.Body, folded bool, ds diag.Diags) {
	if !hasDynamic(body) {
		return body, false, nil
	}
	ctx := p.static()
	at := staticPlace("A dynamic block is unfolded")
	if n.each != cty.NilVal {
		ctx.Variables["each"] = n.each
		at.roots = append(slices.Clone(at.roots), "each")
	}
	w := &dynamicWalk{p: p, ctx: ctx, at: at, inside: append(slices.Clone(at.roots), nodeRoots...), bad: map[hcl.Range]bool{}}
	if n.Kind == KindEvaluate {
		w.inside = append(w.inside, "self")
	}
	w.body(body, s)
	if len(w.bad) > 0 {
		body = leftOut{body, w.bad}
	}
	return dynblock.Expand(body, ctx, dynblock.OptCheckForEach(checkForEach)), len(w.bad) > 0, w.ds
}

// dynamicWalk checks what dynamic blocks refer to: the library that unfolds them would say it in its own words.
type dynamicWalk struct {
	p   *Program
	ctx *hcl.EvalContext
	at  place
	ds  diag.Diags
	// inside are the roots of what stands in the blocks that are made.
	inside []string
	// bad are the dynamic blocks that cannot be unfolded: their mistakes are told here, or are follow-ups.
	bad map[hcl.Range]bool
}

func (w *dynamicWalk) body(b hcl.Body, s *pluginv1.Block) {
	content, _, _ := b.PartialContent(dynamicSchema)
	for _, d := range content.Blocks {
		inner, _, _ := d.Body.PartialContent(dynamicBodySchema)
		before, unknown := len(w.ds), false
		iterator := d.Labels[0]
		if a, ok := inner.Attributes["iterator"]; ok {
			if t, hd := hcl.AbsTraversalForExpr(a.Expr); !hd.HasErrors() && len(t) == 1 {
				iterator = t.RootName()
			}
		}
		if a, ok := inner.Attributes["for_each"]; ok {
			w.ds = w.ds.Append(w.p.checkRefs(a.Expr, w.at)...)
			if len(w.at.iterators) == 0 && len(w.ds) == before {
				v, hd := a.Expr.Value(w.ctx)
				unknown = !hd.HasErrors() && !v.IsKnown()
			}
		}
		outer := w.at
		w.at.iterators = append(slices.Clone(outer.iterators), iterator)
		if a, ok := inner.Attributes["labels"]; ok {
			w.ds = w.ds.Append(w.p.checkRefs(a.Expr, w.at)...)
		}
		for _, c := range inner.Blocks {
			w.body(c.Body, nestedSchema(s, d.Labels[0]))
		}
		w.at = outer
		if len(w.ds) > before || unknown {
			w.bad[d.DefRange] = true
		}
	}
	if len(w.at.iterators) > 0 {
		w.iterators(b)
	}
	for _, n := range s.GetBlocks() {
		h := hcl.BlockHeaderSchema{Type: n.GetName()}
		if n.GetNesting() == pluginv1.NestedBlock_NESTING_MAP {
			h.LabelNames = []string{"key"}
		}
		content, _, _ := b.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{h}})
		for _, x := range content.Blocks {
			w.body(x.Body, n.GetBody())
		}
	}
}

// iterators checks the references of a body, among them those to iterators. What only its place forbids is checked when
// the blocks are unfolded.
func (w *dynamicWalk) iterators(b hcl.Body) {
	attrs, _ := b.JustAttributes()
	at := place{roots: w.inside, iterators: w.at.iterators}
	for _, a := range sortedAttrs(attrs) {
		w.ds = w.ds.Append(w.p.checkRefs(a.Expr, at)...)
	}
}

func nestedSchema(s *pluginv1.Block, name string) *pluginv1.Block {
	for _, n := range s.GetBlocks() {
		if n.GetName() == name {
			return n.GetBody()
		}
	}
	return nil
}

const summaryDynamic = "for_each of a dynamic block takes a map, a set or a list"

// checkForEach refuses a for_each of a dynamic block that cannot be unfolded.
func checkForEach(v cty.Value, e hcl.Expression, _ *hcl.EvalContext) hcl.Diagnostics {
	what := ""
	ty := v.Type()
	switch {
	case v.ContainsMarked():
		what = "This value is sensitive, and what is made of it would show. Use one that is not sensitive."
	case v.IsNull():
		what = "This is null. For no block write an empty list: []."
	case !v.IsKnown():
		what = "This is not known before the steps run. Make it of variables and locals."
	case !v.CanIterateElements():
		what = "This is " + article(ty.FriendlyName()) + ". Write [\"a\", \"b\"] or { a = 4, b = 8 }."
	case v.LengthInt() > maxElements:
		what = "This has more elements than a recipe may make. Give it fewer."
	default:
		return nil
	}
	r := e.Range()
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summaryDynamic, Detail: what, Subject: &r}}
}

// leftOut is a body without some of its dynamic blocks.
type leftOut struct {
	hcl.Body
	bad map[hcl.Range]bool
}

func (b leftOut) Content(s *hcl.BodySchema) (*hcl.BodyContent, hcl.Diagnostics) {
	c, hd := b.Body.Content(s)
	return b.without(c), hd
}

func (b leftOut) PartialContent(s *hcl.BodySchema) (*hcl.BodyContent, hcl.Body, hcl.Diagnostics) {
	c, rest, hd := b.Body.PartialContent(s)
	return b.without(c), leftOut{rest, b.bad}, hd
}

func (b leftOut) without(c *hcl.BodyContent) *hcl.BodyContent {
	if c == nil {
		return nil
	}
	out := *c
	out.Blocks = nil
	for _, block := range c.Blocks {
		if block.Type != "dynamic" || !b.bad[block.DefRange] {
			x := *block
			x.Body = leftOut{block.Body, b.bad}
			out.Blocks = append(out.Blocks, &x)
		}
	}
	return &out
}
