package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Value is a variable's value as text, and where it comes from: "--var max_drop", "OPTIMIZE_VAR_max_drop". LoadVars makes
// one of a file, whose name is then From.
type Value struct {
	Text, From string

	file *fileValue
}

// Values are the variables' values that come from outside the recipe, by name.
type Values map[string]Value

// sensitive marks a value that must not be shown.
const sensitive = mark("sensitive")

type mark string

// variable is a variable block as far as it could be decoded.
type variable struct {
	block       *block
	value       cty.Value
	place       hcl.Range // of the value, in the recipe
	broken      bool
	validations hcl.Blocks
}

// variables evaluates the variable blocks into an object, then their validations, which may refer to all of them.
func (p *Program) variables(given Values) diag.Diags {
	var ds diag.Diags
	var vars []*variable
	vals := map[string]cty.Value{}
	for _, b := range p.recipe.blocks {
		if _, again := vals[b.name]; b.kind == "variable" && !again {
			v, more := p.variable(b, given)
			ds = ds.Append(more...)
			vals[b.name] = v.value
			vars = append(vars, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := vals[name]; ok {
			continue
		}
		if f := given[name].file; f != nil {
			ds = ds.Append(diag.At(f.name, "recipe/unknown-variable", fmt.Sprintf("This recipe has no variable %q", name), "%s",
				didYouMean(name, slices.Sorted(maps.Keys(vals)), "Its variables are")))
		} else {
			d := diag.Errorf("recipe/unknown-variable", fmt.Sprintf("%s names no variable of this recipe", given[name].From), "%s",
				didYouMean(name, slices.Sorted(maps.Keys(vals)), "It has"))
			if !strings.HasPrefix(given[name].From, "--") {
				d.Severity = diag.Warning // the environment may hold variables for other recipes
			}
			ds = ds.Append(d)
		}
	}
	p.values["var"] = cty.ObjectVal(vals)
	for _, v := range vars {
		for _, b := range v.validations {
			ds = ds.Append(p.validation(b, v)...)
		}
	}
	return ds
}

var variableSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "description"}, {Name: "type"}, {Name: "default"}, {Name: "sensitive"}, {Name: "nullable"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
}

// variable evaluates one variable but for its validations. A value that is wrong is unknown, so that what uses it has
// no mistake of its own.
func (p *Program) variable(b *block, given Values) (*variable, diag.Diags) {
	body, ds := content(b.body, variableSchema)
	misread := ds.HasErrors()
	out := &variable{block: b, place: b.rng, validations: body.Blocks}
	ty := cty.DynamicPseudoType
	var defaults *typeexpr.Defaults
	if a, ok := body.Attributes["type"]; ok {
		t, d, hd := typeexpr.TypeConstraintWithDefaults(a.Expr)
		ds = ds.Append(coded(hd)...)
		if !hd.HasErrors() {
			ty, defaults = t, d
		}
	}
	secret, more := staticBool(body.Attributes["sensitive"], false)
	ds = ds.Append(more...)
	nullable, more := staticBool(body.Attributes["nullable"], true)
	ds = ds.Append(more...)
	fail := func(d diag.Diagnostic) (*variable, diag.Diags) {
		out.value, out.broken = cty.DynamicVal, true
		return out, ds.Append(d)
	}

	def := cty.NilVal
	if a, ok := body.Attributes["default"]; ok {
		v, hd := a.Expr.Value(&hcl.EvalContext{Functions: p.functions})
		if hd.HasErrors() {
			ds = ds.Append(coded(hd)...)
			out.value, out.broken = cty.DynamicVal, true
			return out, ds
		}
		def, out.place = v, a.Expr.Range()
		if secret {
			out.place = b.rng // a snippet of the default would show it
			p.recipe.keepSecret(v)
		}
		if ty == cty.DynamicPseudoType && v.Type().IsPrimitiveType() && v.IsKnown() && !v.IsNull() {
			ty = v.Type() // so that --var n=3 is a number when the default is one
		}
	}
	g, isGiven := given[b.name]
	value, from := def, "The default"
	switch {
	case isGiven && g.file != nil:
		from = "The value in " + g.From
		value, out.place = g.file.value, g.file.rng
		if secret {
			out.place = b.rng
			p.recipe.keepSecret(value)
		}
	case isGiven:
		from = g.From
		if secret {
			p.recipe.keepSecret(cty.StringVal(g.Text))
		}
		v, err := parseValue(g.Text, ty)
		if err != nil {
			shown := fmt.Sprintf("%q", g.Text)
			if secret {
				shown = "The value given"
			}
			return fail(diag.At(b.rng, "recipe/variable-type", fmt.Sprintf("%s does not fit variable %q", from, b.name),
				"%s is not %s: %s.", shown, article(typeexpr.TypeString(ty)), err))
		}
		value, out.place = v, b.rng
	case def == cty.NilVal && misread: // the default may stand under a wrong name
		out.value, out.broken = cty.DynamicVal, true
		return out, ds
	case def == cty.NilVal:
		return fail(diag.At(b.rng, "recipe/variable-missing", fmt.Sprintf("Variable %q has no value", b.name),
			"It has no default. Give it with --var %s=..., in a file with --var-file, or with OPTIMIZE_VAR_%s.", b.name, b.name))
	}
	if defaults != nil && !value.IsNull() {
		value = defaults.Apply(value)
	}
	c, err := convert.Convert(value, ty)
	if err != nil {
		return fail(diag.At(out.place, "recipe/variable-type", fmt.Sprintf("%s does not fit variable %q", from, b.name), "%s Change the value, or the type of the variable.", mismatch(value, ty, err)))
	}
	if c.IsNull() && !nullable {
		return fail(diag.At(out.place, "recipe/variable-null", fmt.Sprintf("Variable %q may not be null", b.name), "It says nullable = false. Give it a value."))
	}
	if secret {
		c = c.Mark(sensitive)
	}
	out.value = c
	return out, ds
}

// validation checks one validation block; the complaint is placed at the value when the recipe wrote it.
func (p *Program) validation(b *hcl.Block, v *variable) diag.Diags {
	body, ds := content(b.Body, attributes("condition!", "error_message!"))
	if ds.HasErrors() {
		return ds
	}
	cond, msg := body.Attributes["condition"].Expr, body.Attributes["error_message"].Expr
	at := place{roots: []string{"var", "path"}, why: "A variable is known before everything else"}
	if ds = ds.Append(p.checkRefs(cond, at)...).Append(p.checkRefs(msg, at)...); ds.HasErrors() || v.broken {
		return ds
	}
	held, hd := cond.Value(p.static())
	if hd.HasErrors() {
		return ds.Append(coded(hd)...)
	}
	if !held.IsKnown() {
		return ds // it refers to another variable that is broken
	}
	ok, good := truth(held)
	if !good {
		return ds.Append(noCondition(cond, held))
	}
	if ok {
		return ds
	}
	text, hd := msg.Value(p.static())
	ds = ds.Append(coded(hd)...)
	return ds.Append(diag.At(v.place, "recipe/validation", fmt.Sprintf("The value of variable %q is refused", v.block.name), "%s", message(text)))
}

// message is the text of an error_message, as far as it may be shown.
func message(v cty.Value) string {
	if v.ContainsMarked() {
		return "(The message holds a sensitive value, so it is not shown.)"
	}
	if s, err := convert.Convert(v, cty.String); err == nil {
		if s, ok := asString(s); ok && s != "" {
			return s
		}
	}
	return "The condition does not hold."
}

// truth is a value as true or false; good is false when it is neither, or not known.
func truth(v cty.Value) (holds, good bool) {
	v, _ = v.Unmark()
	v, err := convert.Convert(v, cty.Bool)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return false, false
	}
	return v.True(), true
}

func staticBool(a *hcl.Attribute, def bool) (bool, diag.Diags) {
	if a == nil {
		return def, nil
	}
	v, hd := a.Expr.Value(nil)
	if hd.HasErrors() {
		return def, coded(hd)
	}
	b, good := truth(v)
	if !good {
		return def, diag.Diags{diag.At(a.Expr.Range(), "recipe/type", "true or false is needed here", "Write it without quotes; no variable is known here yet.")}
	}
	return b, nil
}

// parseValue reads a value of the command line: text as it is for a string, an HCL expression for collections, and
// for numbers and booleans their spelling.
func parseValue(text string, ty cty.Type) (cty.Value, error) {
	if ty == cty.DynamicPseudoType || ty.IsPrimitiveType() {
		v, err := convert.Convert(cty.StringVal(text), ty)
		if err == nil && !sane(v) {
			return v, fmt.Errorf("it is too large or too small")
		}
		if err != nil && ty == cty.Number {
			return v, fmt.Errorf("write it in digits, such as 0.5")
		}
		return v, err
	}
	if _, deep := deepest([]byte(text)); deep || len(text) > maxFile {
		return cty.NilVal, fmt.Errorf("it is too long or too deep")
	}
	e, hd := hclsyntax.ParseExpression([]byte(text), "value", hcl.InitialPos)
	if hd.HasErrors() {
		return cty.NilVal, fmt.Errorf("write it as in a recipe, in quotes for the shell (%s)", hd[0].Summary)
	}
	if prepare(e).HasErrors() {
		return cty.NilVal, fmt.Errorf("a number in it is too large or too small")
	}
	v, hd := e.Value(nil)
	if hd.HasErrors() {
		return cty.NilVal, fmt.Errorf("write it as in a recipe, in quotes for the shell (%s)", hd[0].Summary)
	}
	return v, nil
}

// locals evaluates the locals blocks in the order of their references.
func (p *Program) locals() diag.Diags {
	var ds diag.Diags
	p.localAttrs = map[string]*hcl.Attribute{}
	var names []string
	for _, b := range p.recipe.blocks {
		if b.kind != "locals" {
			continue
		}
		as, hd := b.body.JustAttributes()
		ds = ds.Append(coded(hd)...)
		for _, a := range sortedAttrs(as) {
			if first, ok := p.localAttrs[a.Name]; ok {
				ds = ds.Append(diag.At(a.NameRange, "recipe/duplicate", fmt.Sprintf("A second local %q", a.Name), "The first is at %s. Give this one another name.", spot(first.Range)))
				continue
			}
			p.localAttrs[a.Name] = a
			names = append(names, a.Name)
		}
	}
	at := staticPlace("A local is known")
	vals := map[string]cty.Value{}
	state := map[string]int{} // 1 being evaluated, 2 done
	var path []string
	var visit func(name string)
	visit = func(name string) {
		a, ok := p.localAttrs[name]
		if !ok || state[name] == 2 {
			return
		}
		path = append(path, "local."+name)
		defer func() { path = path[:len(path)-1] }()
		if state[name] == 1 {
			ds = ds.Append(diag.At(a.NameRange, "recipe/cycle", "Locals depend on each other in a circle", "%s. One of these references has to go.", joinPath(path)))
			vals[name] = cty.DynamicVal
			return
		}
		state[name] = 1
		others := map[string]cty.Value{} // the locals that it refers to
		for _, t := range a.Expr.Variables() {
			if t.RootName() == "local" && named(t) {
				other, _ := member(t[1])
				visit(other)
				if v, ok := vals[other]; ok {
					others[other] = v
				}
			}
		}
		state[name] = 2
		if _, broken := vals[name]; broken {
			return // part of a circle
		}
		vals[name] = cty.DynamicVal
		if more := p.checkRefs(a.Expr, at); more.HasErrors() {
			ds = ds.Append(more...)
			return
		}
		p.values["local"] = cty.ObjectVal(others)
		v, hd := a.Expr.Value(p.static())
		ds = ds.Append(coded(hd)...)
		if !hd.HasErrors() && weight(v) > maxLocal {
			ds = ds.Append(diag.At(a.Expr.Range(), "recipe/size", fmt.Sprintf("local.%s is too large", name),
				"Its texts and elements are worth more than %d MiB. Large data belongs into a file that a model or dataset block names.", maxLocal>>20))
			return
		}
		if !hd.HasErrors() {
			vals[name] = v
		}
	}
	for _, name := range names {
		visit(name)
	}
	p.values["local"] = cty.ObjectVal(vals)
	return ds
}
