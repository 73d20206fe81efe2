package recipe

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Artifact is a model, a dataset or a step's output that exists.
type Artifact struct {
	Kind, Format, Path, Digest string
	Size                       int64 // bytes
}

// ArtifactType is the type of an artifact in expressions. Kind and address are known from the start, format often;
// path, digest and size are unknown until the artifact exists. The address is the reference that gives it, such as
// "step.int8.model".
var ArtifactType = cty.Object(map[string]cty.Type{
	"address": cty.String, "kind": cty.String, "format": cty.String, "path": cty.String, "digest": cty.String, "size": cty.Number,
})

func (a Artifact) value(addr string) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"address": cty.StringVal(addr), "kind": cty.StringVal(a.Kind), "format": cty.StringVal(a.Format), "path": cty.StringVal(a.Path),
		"digest": cty.StringVal(a.Digest), "size": cty.NumberIntVal(a.Size),
	})
}

// artifact notes an artifact that n gives and returns its value: v, or with no v one that does not exist yet. An empty
// format is not known yet either.
func (p *Program) artifact(n *Node, addr string, v cty.Value, kind, format string) cty.Value {
	if v == cty.NilVal {
		f := cty.UnknownVal(cty.String).RefineNotNull()
		if format != "" {
			f = cty.StringVal(format)
		}
		v = cty.ObjectVal(map[string]cty.Value{
			"address": cty.StringVal(addr), "kind": cty.StringVal(kind), "format": f,
			"path": cty.UnknownVal(cty.String).RefineNotNull(), "digest": cty.UnknownVal(cty.String).RefineNotNull(), "size": cty.UnknownVal(cty.Number).RefineNotNull(),
		})
	}
	p.artifacts[addr] = madeBy{v, n.Addr}
	return v
}

// given is an artifact that an expression gave: what is known of it. Node is the node that gives it, "" when that is
// not known either; Artifact is nil while it does not exist.
type given struct {
	node, addr, kind, format string
	artifact                 *Artifact
}

// artifactOf reads an artifact from the value of an expression. When it is none, wrong says what it is instead.
func (p *Program) artifactOf(v cty.Value) (g given, wrong string) {
	v, _ = v.UnmarkDeep()
	if v.Type() == cty.DynamicPseudoType && !v.IsKnown() {
		return g, "" // a follow-up of a mistake, or what a plugin does not declare
	}
	if v.IsNull() {
		return g, "This is null."
	}
	if !v.Type().Equals(ArtifactType) {
		return g, p.instead(v)
	}
	if !v.IsKnown() {
		return g, "" // a choice between artifacts that is not made yet
	}
	addr, ok := asString(v.GetAttr("address"))
	m, made := p.artifacts[addr]
	if !ok || !made || !m.value.RawEquals(v) {
		return g, "This object only looks like one."
	}
	g.node, g.addr = m.node, addr
	g.kind, _ = asString(v.GetAttr("kind"))
	g.format, _ = asString(v.GetAttr("format"))
	if v.IsWhollyKnown() {
		size, _ := v.GetAttr("size").AsBigFloat().Int64()
		g.artifact = &Artifact{Kind: g.kind, Format: g.format, Size: size}
		g.artifact.Path, _ = asString(v.GetAttr("path"))
		g.artifact.Digest, _ = asString(v.GetAttr("digest"))
	}
	return g, ""
}

// instead says what a value is that should have been an artifact; an object that holds artifacts is most likely a step
// whose output was not named.
func (p *Program) instead(v cty.Value) string {
	if v.Type().IsObjectType() && v.IsKnown() {
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if e.Type().Equals(ArtifactType) && e.IsKnown() {
				name, _ := asString(k)
				if addr, ok := asString(e.GetAttr("address")); ok {
					return "This is an object that holds " + name + ": write " + addr + "."
				}
			}
		}
	}
	if v.Type() == cty.String {
		return "This is a string: a file of yours is declared in a block of its own."
	}
	return "This is " + article(v.Type().FriendlyName()) + "."
}

// writtenFormat is a model's format argument, "" without one.
func (p *Program) writtenFormat(n *Node) string {
	content, _, _ := n.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "format"}}})
	if a, ok := content.Attributes["format"]; ok {
		if v, hd := a.Expr.Value(p.static()); !hd.HasErrors() {
			s, _ := asString(v)
			return s
		}
	}
	return ""
}
