package recipe

import (
	"errors"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
)

// fileValue is a value that a file of variables gives.
type fileValue struct {
	value cty.Value
	name  hcl.Range // of the variable's name in the file
	rng   hcl.Range // of the value
}

// LoadVars reads a file of variables, NAME = VALUE: HCL, or JSON when its name ends in .json. The files are for the
// snippets of what is wrong with it, now or when a recipe is checked with its values.
func LoadVars(path string) (Values, map[string]*hcl.File, diag.Diags) {
	files := map[string]*hcl.File{}
	src, err := readBounded(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, files, diag.Diags{diag.Errorf("recipe/not-found", "There is no file of variables "+path, "Name a file with lines such as max_drop = 0.01: --var-file prod.vars.hcl.")}
	case err != nil:
		return nil, files, diag.Diags{diag.Errorf("recipe/unreadable", "The file of variables "+path+" cannot be read", "The reason: %s. Check its name and its permissions.", cause(err))}
	case !utf8.Valid(src):
		return nil, files, diag.Diags{diag.Errorf("recipe/encoding", path+" is not UTF-8 text", "Save it as UTF-8.")}
	}
	files[path] = &hcl.File{Bytes: src}
	f, ds := parseFile(hclparse.NewParser(), src, path)
	if f == nil || ds.HasErrors() {
		return nil, files, ds
	}
	if b, ok := f.Body.(*hclsyntax.Body); ok && len(b.Blocks) > 0 {
		return nil, files, ds.Append(diag.At(b.Blocks[0].DefRange(), "recipe/var-file", "A file of variables holds no blocks", "It holds values, one a line: NAME = VALUE. A recipe's own blocks stand in the recipe."))
	}
	attrs, hd := f.Body.JustAttributes()
	ds = ds.Append(coded(hd)...)
	values := Values{}
	for _, a := range sortedAttrs(attrs) {
		if len(a.Expr.Variables()) > 0 {
			ds = ds.Append(diag.At(a.Expr.Range(), "recipe/var-file", "A file of variables holds plain values", "Nothing can be referred to here. Write a text in quotes: %s = \"...\".", a.Name))
			continue
		}
		v, hd := a.Expr.Value(nil)
		if hd.HasErrors() {
			ds = ds.Append(coded(hd)...)
			continue
		}
		values[a.Name] = Value{From: path, file: &fileValue{value: v, name: a.NameRange, rng: a.Expr.Range()}}
	}
	return values, files, ds
}

// parseFile parses a source within bounds: HCL, or JSON when its name ends in .json. The file is nil when what it holds
// cannot be told from what it was meant to hold.
func parseFile(p *hclparse.Parser, src []byte, name string) (*hcl.File, diag.Diags) {
	isJSON := strings.HasSuffix(name, ".json")
	scan := scanner(hclsyntax.LexConfig)
	if isJSON {
		scan = nil
	}
	if ds := checkNesting(src, name, scan); ds.HasErrors() {
		return nil, ds
	}
	var f *hcl.File
	var hd hcl.Diagnostics
	if isJSON {
		if ds := checkNumbersJSON(src, name); ds.HasErrors() {
			return nil, ds
		}
		f, hd = p.ParseJSON(src, name)
	} else {
		f, hd = p.ParseHCL(src, name)
	}
	ds := firstOf(coded(hd))
	if f == nil || f.Body == nil || hd.HasErrors() {
		return nil, ds
	}
	if b, ok := f.Body.(*hclsyntax.Body); ok {
		if more := prepare(b); more.HasErrors() {
			return nil, more
		}
	}
	return f, ds
}

// AddFiles notes sources that messages show beside the recipe's own files.
func (r *Recipe) AddFiles(files map[string]*hcl.File) {
	for name, f := range files {
		r.addFile(name, f.Bytes)
	}
}
