package recipe

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/optimize-hcl/optimize/core/diag"
)

// codes are the codes of what HCL itself reports, by its summary; anything else of it is about syntax or a value.
var codes = map[string]string{
	"Unsupported argument":                  "recipe/unknown-argument",
	"Unsupported block type":                "recipe/unknown-block",
	"Missing required argument":             "recipe/missing-argument",
	"Extraneous JSON object property":       "recipe/unknown-argument",
	"Unsupported attribute":                 "recipe/unknown-reference",
	"Unknown variable":                      "recipe/unknown-reference",
	"Call to unknown function":              "recipe/unknown-function",
	"Attribute redefined":                   "recipe/duplicate",
	"Error in function call":                "recipe/function",
	"Invalid function argument":             "recipe/function",
	"Not enough function arguments":         "recipe/function",
	"Too many function arguments":           "recipe/function",
	"Invalid operand":                       "recipe/type",
	"Incorrect condition type":              "recipe/type",
	"Inconsistent conditional result types": "recipe/type",
	"Invalid template interpolation value":  "recipe/type",
	"Invalid index":                         "recipe/value",
	"Variables not allowed":                 "recipe/unknown-reference",
	"Invalid type specification":            "recipe/type",
}

// coded converts HCL's diagnostics and gives each a code.
func coded(hd hcl.Diagnostics) diag.Diags {
	ds := diag.FromHCL(hd)
	for i := range ds {
		if ds[i].Code = codes[ds[i].Summary]; ds[i].Code == "" {
			ds[i].Code = "recipe/syntax"
		}
	}
	return ds
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
			if s := s.AsString(); len(s) >= shortestSecret && !slices.Contains(r.secrets, s) {
				r.secrets = append(r.secrets, s)
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
