package recipe

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Value is a variable's value as text, and where it comes from: "--var max_drop", "OPTIMIZE_VAR_max_drop".
type Value struct{ Text, From string }

// Values are the variables' values that come from outside the recipe, by name.
type Values map[string]Value

// sensitive marks a value that must not be shown.
const sensitive = mark("sensitive")

type mark string

func asString(v cty.Value) (string, bool) {
	v, _ = v.Unmark()
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

// variables evaluates the variable blocks into an object.
func (p *Program) variables(given Values) diag.Diags {
	var ds diag.Diags
	vals := map[string]cty.Value{}
	names := map[string]bool{}
	for _, b := range p.recipe.blocks {
		if b.kind == "variable" {
			names[b.name] = true
			v, more := p.variable(b, given)
			ds = ds.Append(more...)
			vals[b.name] = v
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !names[name] {
			d := diag.Errorf("recipe/unknown-variable", fmt.Sprintf("%s names no variable of this recipe", given[name].From), "%s",
				didYouMean(name, slices.Sorted(maps.Keys(names)), "It has"))
			if len(given[name].From) > 2 && given[name].From[:2] != "--" {
				d.Severity = diag.Warning // the environment may hold variables for other recipes
			}
			ds = ds.Append(d)
		}
	}
	p.values["var"] = cty.ObjectVal(vals)
	return ds
}

func (p *Program) variable(b *block, given Values) (cty.Value, diag.Diags) {
	content, hd := b.body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "description"}, {Name: "type"}, {Name: "default"}, {Name: "sensitive"}, {Name: "nullable"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
	})
	ds := diag.FromHCL(hd)
	ty := cty.DynamicPseudoType
	if a, ok := content.Attributes["type"]; ok {
		t, hd := typeexpr.TypeConstraint(a.Expr)
		ds = ds.Extend(hd)
		if !hd.HasErrors() {
			ty = t
		}
	}
	secret, more := staticBool(content.Attributes["sensitive"], false)
	ds = ds.Append(more...)
	nullable, more := staticBool(content.Attributes["nullable"], true)
	ds = ds.Append(more...)

	value, place := cty.NilVal, b.rng
	if g, ok := given[b.name]; ok {
		v, err := parseValue(g.Text, ty)
		if err != nil {
			shown := fmt.Sprintf("%q", g.Text)
			if secret {
				shown = "the value given"
			}
			return cty.UnknownVal(ty), ds.Append(diag.At(b.rng, "recipe/variable-type", fmt.Sprintf("%s does not fit variable %q", g.From, b.name),
				"%s is not a %s: %s.", shown, typeexpr.TypeString(ty), err))
		}
		value = v
	} else if a, ok := content.Attributes["default"]; ok {
		v, hd := a.Expr.Value(&hcl.EvalContext{Functions: p.functions})
		if hd.HasErrors() {
			return cty.UnknownVal(ty), ds.Extend(hd)
		}
		place = a.Expr.Range()
		c, err := convert.Convert(v, ty)
		if err != nil {
			return cty.UnknownVal(ty), ds.Append(diag.At(place, "recipe/variable-type", fmt.Sprintf("The default does not fit variable %q", b.name), "Its type is %s: %s.", typeexpr.TypeString(ty), err))
		}
		value = c
	} else {
		return cty.UnknownVal(ty), ds.Append(diag.At(b.rng, "recipe/variable-missing", fmt.Sprintf("Variable %q has no value", b.name),
			"It has no default. Give it with --var %s=... or OPTIMIZE_VAR_%s.", b.name, b.name))
	}
	if value.IsNull() && !nullable {
		return cty.UnknownVal(ty), ds.Append(diag.At(place, "recipe/variable-null", fmt.Sprintf("Variable %q may not be null", b.name), "It says nullable = false."))
	}
	if secret {
		value = value.Mark(sensitive)
	}
	ctx := &hcl.EvalContext{Functions: p.functions, Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{b.name: value})}}
	for _, v := range content.Blocks {
		ds = ds.Append(validation(v, b, place, ctx)...)
	}
	return value, ds
}

// validation checks one validation block; the complaint is placed at the value when the recipe wrote it.
func validation(v *hcl.Block, b *block, place hcl.Range, ctx *hcl.EvalContext) diag.Diags {
	content, hd := v.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "condition", Required: true}, {Name: "error_message", Required: true}}})
	ds := diag.FromHCL(hd)
	if hd.HasErrors() {
		return ds
	}
	cond, hd := content.Attributes["condition"].Expr.Value(ctx)
	if hd.HasErrors() {
		return ds.Extend(hd)
	}
	ok, err := truth(cond)
	if err != nil {
		return ds.Append(diag.At(content.Attributes["condition"].Expr.Range(), "recipe/condition", "The condition is not true or false", "%s.", err))
	}
	if ok {
		return ds
	}
	msg, hd := content.Attributes["error_message"].Expr.Value(ctx)
	ds = ds.Extend(hd)
	text, isText := asString(msg)
	if !isText {
		text = "The condition does not hold."
	}
	if msg.HasMark(sensitive) {
		text = "(the message holds a sensitive value)"
	}
	return ds.Append(diag.At(place, "recipe/validation", fmt.Sprintf("The value of variable %q is refused", b.name), "%s", text))
}

func truth(v cty.Value) (bool, error) {
	v, _ = v.Unmark()
	v, err := convert.Convert(v, cty.Bool)
	switch {
	case err != nil:
		return false, err
	case v.IsNull():
		return false, fmt.Errorf("it is null")
	case !v.IsKnown():
		return false, fmt.Errorf("it is not known yet")
	}
	return v.True(), nil
}

func staticBool(a *hcl.Attribute, def bool) (bool, diag.Diags) {
	if a == nil {
		return def, nil
	}
	v, hd := a.Expr.Value(nil)
	if hd.HasErrors() {
		return def, diag.FromHCL(hd)
	}
	b, err := truth(v)
	if err != nil {
		return def, diag.Diags{diag.At(a.Expr.Range(), "recipe/type", "true or false is needed here", "%s.", err)}
	}
	return b, nil
}

// parseValue reads a value of the command line: text as it is for a string, an HCL expression for collections, and
// for numbers and booleans their spelling.
func parseValue(text string, ty cty.Type) (cty.Value, error) {
	if ty == cty.String || ty == cty.DynamicPseudoType || ty.IsPrimitiveType() {
		v, err := convert.Convert(cty.StringVal(text), ty)
		if err != nil && ty == cty.Number {
			return v, fmt.Errorf("a number is needed")
		}
		return v, err
	}
	e, hd := hclsyntax.ParseExpression([]byte(text), "value", hcl.InitialPos)
	if hd.HasErrors() {
		return cty.NilVal, fmt.Errorf("%s", hd[0].Summary)
	}
	v, hd := e.Value(nil)
	if hd.HasErrors() {
		return cty.NilVal, fmt.Errorf("%s", hd[0].Summary)
	}
	return convert.Convert(v, ty)
}

// locals evaluates the locals blocks in the order of their references.
func (p *Program) locals() diag.Diags {
	var ds diag.Diags
	attrs := map[string]*hcl.Attribute{}
	for _, b := range p.recipe.blocks {
		if b.kind != "locals" {
			continue
		}
		as, hd := b.body.JustAttributes()
		ds = ds.Extend(hd)
		for _, a := range sortedAttrs(as) {
			if first, ok := attrs[a.Name]; ok {
				ds = ds.Append(diag.At(a.NameRange, "recipe/duplicate", fmt.Sprintf("A second local %q", a.Name), "The first is at %s.", first.Range))
				continue
			}
			attrs[a.Name] = a
		}
	}
	vals := map[string]cty.Value{}
	state := map[string]int{} // 1 being evaluated, 2 done
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		a, ok := attrs[name]
		if !ok || state[name] == 2 {
			return
		}
		if state[name] == 1 {
			ds = ds.Append(diag.At(a.NameRange, "recipe/cycle", "Locals depend on each other in a circle", "local.%s", joinPath(append(path, name))))
			vals[name] = cty.DynamicVal
			return
		}
		state[name] = 1
		for _, t := range a.Expr.Variables() {
			if t.RootName() == "local" && len(t) > 1 {
				if at, ok := t[1].(hcl.TraverseAttr); ok {
					visit(at.Name, append(slices.Clone(path), name))
				}
			}
		}
		if more := p.checkRefs(a.Expr, localRoots, attrs); more.HasErrors() {
			ds = ds.Append(more...)
			vals[name] = cty.DynamicVal
		} else {
			p.values["local"] = cty.ObjectVal(vals)
			v, hd := a.Expr.Value(p.context(nil))
			ds = ds.Extend(hd)
			if hd.HasErrors() {
				v = cty.DynamicVal
			}
			vals[name] = v
		}
		state[name] = 2
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		visit(name, nil)
	}
	p.values["local"] = cty.ObjectVal(vals)
	return ds
}
