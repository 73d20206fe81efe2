package recipe

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/optimize-hcl/optimize/core/diag"
)

// coded converts HCL's diagnostics and gives each a code. The mistakes of a template stand in place of the failed call.
func coded(hd hcl.Diagnostics) (out diag.Diags) {
	for _, x := range hd {
		if inner, ok := templateMistakes(x); ok {
			out = out.Append(inner...)
			continue
		}
		for _, d := range diag.FromHCL(hcl.Diagnostics{x}) {
			if d.Code = codes[d.Summary]; d.Code == "" {
				d.Code = "recipe/syntax"
			}
			advise(x, &d)
			out = out.Append(d)
		}
	}
	return out
}

// content reads a body by a schema. What HCL does not expect and has no suggestion for is told with what may stand
// there.
func content(b hcl.Body, s *hcl.BodySchema) (*hcl.BodyContent, diag.Diags) {
	c, hd := b.Content(s)
	ds := coded(hd)
	for i, d := range ds {
		if strings.Contains(d.Detail, "Did you mean") {
			continue
		}
		name := ""
		if m := quoted.FindStringSubmatch(d.Detail); m != nil {
			name = m[1]
		}
		if name == "labels" && d.Code == "recipe/unknown-argument" {
			ds[i].Detail = "The blocks that this dynamic block makes have no labels: leave it out."
			continue
		}
		var names []string
		switch d.Code {
		case "recipe/unknown-argument":
			for _, a := range s.Attributes {
				names = append(names, a.Name)
			}
			if len(names) > 0 {
				ds[i].Detail += " " + didYouMean(name, names, "Arguments here are")
			}
		case "recipe/unknown-block":
			for _, b := range s.Blocks {
				names = append(names, b.Type)
			}
			if len(names) > 0 {
				ds[i].Detail += " " + didYouMean(name, names, "Blocks here are")
			} else {
				ds[i].Detail += " No block may stand here."
			}
		}
	}
	return c, ds
}

// mismatch says that a value is not of the type that is needed.
func mismatch(v cty.Value, ty cty.Type, err error) string {
	have, need := v.Type().FriendlyName(), ty.FriendlyName()
	if ty == cty.Bool {
		need = "true or false"
	} else {
		need = article(need)
	}
	switch {
	case ty.IsPrimitiveType():
		return "This is " + article(have) + "; " + need + " is needed."
	case have == ty.FriendlyName() || v.Type().IsObjectType() || v.Type().IsTupleType() || v.Type().IsCollectionType():
		return "It should be " + need + ": " + err.Error() + "."
	}
	return "This is " + article(have) + "; " + need + " is needed."
}

// firstOf drops what the parser repeats: one quote too few makes every later line wrong in the same way.
func firstOf(ds diag.Diags) diag.Diags {
	var out diag.Diags
	said := map[string]bool{}
	at := map[hcl.Pos]bool{}
	for _, d := range ds {
		if d.Summary == "Root value must be object" && len(ds) > 1 {
			continue // the parser says so of every JSON with a slip
		}
		if said[d.Summary] || d.Subject != nil && at[d.Subject.Start] {
			continue
		}
		said[d.Summary] = true
		if d.Subject != nil {
			at[d.Subject.Start] = true
		}
		out = append(out, d)
	}
	return out
}

// shortestSecret is the length below which a sensitive text is not searched for: replacing a single letter everywhere
// would hide nothing and spoil every message.
const shortestSecret = 3

// keepSecret notes the texts of a sensitive value.
func (r *Recipe) keepSecret(v cty.Value) {
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.IsNull() || !v.IsKnown() || !v.Type().IsPrimitiveType() || v.Type() == cty.Bool {
			return true, nil
		}
		if s, err := convert.Convert(v, cty.String); err == nil {
			// Snippets show line by line, so each line of a long text is a secret of its own.
			for _, s := range append(strings.Split(s.AsString(), "\n"), s.AsString()) {
				if len(s) >= shortestSecret && !slices.Contains(r.secrets, s) {
					r.secrets = append(r.secrets, s)
				}
			}
		}
		return true, nil
	})
}

// Secrets gives the texts of all sensitive values seen so far: what must show nowhere, not in a snippet either.
func (r *Recipe) Secrets() []string { return slices.Clone(r.secrets) }

// hide takes sensitive texts out of diagnostics: HCL and functions quote the values that they refuse.
func (p *Program) hide(ds diag.Diags) diag.Diags {
	if len(p.recipe.secrets) == 0 {
		return ds
	}
	var pairs []string
	for _, s := range p.recipe.secrets {
		pairs = append(pairs, s, "(sensitive)")
	}
	r := strings.NewReplacer(pairs...)
	for i := range ds {
		ds[i].Summary, ds[i].Detail = r.Replace(ds[i].Summary), r.Replace(ds[i].Detail)
	}
	return ds
}
