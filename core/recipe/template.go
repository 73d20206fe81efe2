package recipe

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/optimize-hcl/optimize/core/diag"
)

// templateError is what is wrong in a template, with places in its own file.
type templateError struct{ ds diag.Diags }

func (e *templateError) Error() string { return e.ds.Error() }

// templateMistakes are the mistakes in a template whose call an HCL diagnostic is about.
func templateMistakes(x *hcl.Diagnostic) (diag.Diags, bool) {
	call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](x)
	if !ok {
		return nil, false
	}
	var te *templateError
	if !errors.As(call.FunctionCallError(), &te) {
		return nil, false
	}
	out := slices.Clone(te.ds)
	if x.Subject != nil {
		for i := range out {
			out[i].Detail += fmt.Sprintf("\n\nThe template is filled in at %s.", spot(*x.Subject))
		}
	}
	return out, true
}

// templateFile makes the function templatefile: the text of a file with its expressions filled in. They refer to the
// variables given and call fns.
func templateFile(r *Recipe, fns map[string]function.Function) function.Function {
	fns["templatefile"] = function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "path", Type: cty.DynamicPseudoType},
		Type: func([]cty.Value) (cty.Type, error) {
			return cty.NilType, errors.New("a template fills in no other one; fill that in first and give its text as a variable")
		},
	})
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "variables", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			unknown := cty.UnknownVal(cty.String)
			vars, err := templateVariables(args[1])
			if err != nil {
				return unknown, err
			}
			path := args[0].AsString()
			src, err := readBounded(resolve(r.Dir, path), maxFile)
			if err == nil && !utf8.Valid(src) {
				err = errors.New("it is not UTF-8 text")
			}
			if err != nil {
				return unknown, unreadable(path, err)
			}
			name := path
			if !filepath.IsAbs(path) {
				name = filepath.Join(r.shown, path)
			}
			v, ds := fill(src, name, &hcl.EvalContext{Variables: vars, Functions: fns})
			if ds.HasErrors() {
				r.addFile(name, src)
				return unknown, &templateError{ds}
			}
			return v, nil
		},
	})
}

// templateVariables are the members of the second argument of templatefile.
func templateVariables(v cty.Value) (map[string]cty.Value, error) {
	if ty := v.Type(); !ty.IsObjectType() && !ty.IsMapType() {
		return nil, function.NewArgErrorf(1, "an object is needed: { name = value }")
	}
	vars := v.AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !validName(name) {
			return nil, function.NewArgErrorf(1, "%q cannot be referred to: a name starts with a letter, then letters, digits, underscores and dashes", name)
		}
	}
	if vars == nil {
		vars = map[string]cty.Value{}
	}
	return vars, nil
}

// fill evaluates a template to a text.
func fill(src []byte, name string, ctx *hcl.EvalContext) (cty.Value, diag.Diags) {
	unknown := cty.UnknownVal(cty.String)
	if ds := checkNesting(src, name, hclsyntax.LexTemplate); ds.HasErrors() {
		return unknown, ds
	}
	e, hd := hclsyntax.ParseTemplate(src, name, hcl.InitialPos)
	if hd.HasErrors() {
		return unknown, firstOf(coded(hd))
	}
	ds := prepare(e)
	names := slices.Sorted(maps.Keys(ctx.Variables))
	tolerant := tolerantRanges(e)
	for _, t := range e.Variables() {
		if rng := t.SourceRange(); !slices.Contains(names, t.RootName()) && !within(rng, tolerant) {
			ds = ds.Append(diag.At(rng, "recipe/unknown-reference", fmt.Sprintf("The template is given no %q", t.RootName()), "%s",
				didYouMean(t.RootName(), names, "The second argument of templatefile gives")))
		}
	}
	if ds.HasErrors() {
		return unknown, ds
	}
	v, hd := e.Value(ctx)
	if hd.HasErrors() {
		return unknown, coded(hd)
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() {
		return unknown, diag.Diags{diag.At(e.Range(), "recipe/type", "A template gives a text", "This one gives %s. Write it out: jsonencode(...) makes a text of any value.", article(v.Type().FriendlyName()))}
	}
	if text, ok := asString(s); ok && len(text) > maxText {
		return unknown, diag.Diags{diag.At(e.StartRange(), "recipe/function", "The text of this template is too long", "It has %d bytes; a text has at most %d. Give it shorter lists.", len(text), maxText)}
	}
	return s, nil
}

// addFile notes a source that messages show beside the recipe's own files.
func (r *Recipe) addFile(name string, src []byte) {
	if r.Files[name] == nil && r.Files != nil {
		r.Files[name] = &hcl.File{Bytes: src}
	}
}
