// Package recipe is the language: it parses a recipe, checks it against the plugins' schemas and evaluates it. One
// evaluator serves validate, plan and apply; what is not known yet is an unknown value.
package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Recipe is a parsed recipe, before its expressions are evaluated.
type Recipe struct {
	// Path is as the user named it; Dir is the folder that its paths are relative to, absolute.
	Path, Dir       string
	Files           map[string]*hcl.File
	Description     string
	RequiredVersion Constraint
	RequiredPlugins []RequiredPlugin

	// shown is Dir as the user named it, for messages.
	shown  string
	blocks []*block
	// unread says that not every file could be parsed, partial that blocks are missing which the recipe means.
	unread, partial bool
	// seen are the places of the blocks by kind and name.
	seen map[string]hcl.Range
	// secrets are the texts of sensitive values.
	secrets []string
	// headerAt is where the first recipe block is.
	headerAt *hcl.Range
}

// Constraint is a version constraint and its place; Text is empty when there is none.
type Constraint struct {
	Text  string
	Range hcl.Range
}

// RequiredPlugin is one entry of required_plugins.
type RequiredPlugin struct {
	Name, Version, Source string
	Range                 hcl.Range
}

// block is one top-level block that makes a value: variable, locals, model, dataset, step, evaluate, output.
type block struct {
	kind     string
	typeName string // a step's type
	name     string
	body     hcl.Body
	rng      hcl.Range
}

// Kinds of nodes.
const (
	KindModel    = "model"
	KindDataset  = "dataset"
	KindStep     = "step"
	KindEvaluate = "evaluate"
	KindOutput   = "output"
)

// Node is one node of the graph.
type Node struct {
	// Addr is "step.int8", or with for_each "step.int8[\"a\"]"; Name is "int8", Key "a"; Type is a step's type.
	Addr, Kind, Type, Name, Key string
	// Deps are the addresses that it refers to, sorted.
	Deps  []string
	Body  hcl.Body
	Range hcl.Range
	// Schema is a step's.
	Schema *pluginv1.StepType
	// Timeout bounds a step's work; 0 is no bound.
	Timeout time.Duration
	Seed    uint64

	block *block
	spec  *stepBody
	// refs are what its expressions refer to.
	refs []ref
	// each is the value of "each" in an instance of a step with for_each, else cty.NilVal.
	each cty.Value
}

var rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "recipe"},
	{Type: "variable", LabelNames: []string{"name"}},
	{Type: "locals"},
	{Type: KindModel, LabelNames: []string{"name"}},
	{Type: KindDataset, LabelNames: []string{"name"}},
	{Type: KindStep, LabelNames: []string{"type", "name"}},
	{Type: KindEvaluate, LabelNames: []string{"name"}},
	{Type: KindOutput, LabelNames: []string{"name"}},
}}

// Load parses a file, or all *.hcl and *.hcl.json files of a folder but *.lock.hcl, *.vars.hcl and *.test.hcl. The
// recipe is nil when nothing could be read.
func Load(path string) (*Recipe, diag.Diags) {
	names, dir, ds := sources(path)
	if ds.HasErrors() {
		return nil, ds
	}
	r := &Recipe{Path: path, Dir: dir, shown: path, Files: map[string]*hcl.File{}, seen: map[string]hcl.Range{}}
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		r.shown = filepath.Dir(path)
	}
	p := hclparse.NewParser()
	for _, n := range names {
		src, err := readBounded(n, maxFile)
		if err != nil {
			ds = ds.Append(readError(n, err))
			r.unread = true
			continue
		}
		f, more := parseFile(p, src, n)
		ds = ds.Append(more...)
		if f == nil {
			r.unread = true
			r.addFile(n, src) // a source that was not parsed at all
			continue
		}
		body, more := content(f.Body, rootSchema)
		r.partial = r.partial || more.HasErrors()
		ds = ds.Append(more...).Append(r.add(body.Blocks)...)
	}
	for name, f := range p.Files() {
		r.Files[name] = f
	}
	return r, ds
}

// Complete tells whether all files could be parsed. When not, what a check says of the recipe would mostly be follow-ups.
func (r *Recipe) Complete() bool { return !r.unread }

func sources(path string) (names []string, dir string, ds diag.Diags) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, "", diag.Diags{readError(path, err)}
	}
	dir = filepath.Dir(path)
	if !st.IsDir() {
		names = []string{path}
	} else {
		dir = path
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, "", diag.Diags{readError(path, err)}
		}
		for _, e := range entries {
			n := e.Name()
			base, isHCL := strings.CutSuffix(strings.TrimSuffix(n, ".json"), ".hcl")
			if !isHCL || e.IsDir() || slices.ContainsFunc([]string{".lock", ".vars", ".test"}, func(s string) bool { return strings.HasSuffix(base, s) }) {
				continue
			}
			names = append(names, filepath.Join(path, n))
		}
		if len(names) == 0 {
			return nil, "", diag.Diags{diag.Errorf("recipe/empty", "There is no recipe in "+path, "A recipe is a file that ends in .hcl, or a folder with such files.")}
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, "", diag.Diags{readError(path, err)}
	}
	return names, dir, nil
}

func readError(path string, err error) diag.Diagnostic {
	if errors.Is(err, fs.ErrNotExist) {
		return diag.Errorf("recipe/not-found", "There is no recipe "+path, "Name a file that ends in .hcl, or a folder with such files.")
	}
	return diag.Errorf("recipe/unreadable", "The recipe "+path+" cannot be read", "The reason: %s. A recipe is a text of at most %d KiB that you may read; a larger one is split into the files of a folder.", cause(err), maxFile>>10)
}

// add sorts the blocks of one file into the recipe.
func (r *Recipe) add(blocks hcl.Blocks) (ds diag.Diags) {
	for _, b := range blocks {
		if b.Type == "recipe" {
			ds = ds.Append(r.header(b)...)
			continue
		}
		n := &block{kind: b.Type, body: b.Body, rng: b.DefRange}
		switch len(b.Labels) {
		case 2:
			n.typeName, n.name = b.Labels[0], b.Labels[1]
		case 1:
			n.name = b.Labels[0]
		}
		for i, l := range b.Labels {
			if !validName(l) {
				ds = ds.Append(diag.At(b.LabelRanges[i], "recipe/name", fmt.Sprintf("%q is not a name", l),
					"A name starts with a letter (a to z, A to Z) or an underscore, then such letters, digits, underscores and dashes, so that it can stand in a reference."))
			}
		}
		if n.kind != "locals" {
			addr := n.kind + "." + n.name
			if first, again := r.seen[addr]; again {
				ds = ds.Append(diag.At(n.rng, "recipe/duplicate", fmt.Sprintf("A second %s %q", n.kind, n.name), "The first is at %s. Names are unique in a recipe: give this one another.", spot(first)))
			} else {
				r.seen[addr] = n.rng
			}
		}
		r.blocks = append(r.blocks, n)
	}
	return ds
}

func validName(s string) bool {
	for i, c := range s {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// header decodes the recipe block; it is static, since it is needed before anything else.
func (r *Recipe) header(b *hcl.Block) diag.Diags {
	if r.headerAt != nil {
		return diag.Diags{diag.At(b.DefRange, "recipe/duplicate", "A second recipe block", "The first is at %s. A recipe has one, in one of its files: put both together.", spot(*r.headerAt))}
	}
	r.headerAt = &b.DefRange
	body, ds := content(b.Body, &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "description"}, {Name: "required_version"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "required_plugins"}},
	})
	str := func(name string) (string, hcl.Range) {
		a, ok := body.Attributes[name]
		if !ok {
			return "", hcl.Range{}
		}
		s, more := staticString(a.Expr)
		ds = ds.Append(more...)
		return s, a.Expr.Range()
	}
	r.Description, _ = str("description")
	r.RequiredVersion.Text, r.RequiredVersion.Range = str("required_version")
	for _, p := range body.Blocks {
		attrs, hd := p.Body.JustAttributes()
		ds = ds.Append(coded(hd)...)
		for _, a := range sortedAttrs(attrs) {
			req := RequiredPlugin{Name: a.Name, Range: a.Range}
			for _, o := range r.RequiredPlugins {
				if o.Name == a.Name {
					ds = ds.Append(diag.At(a.NameRange, "recipe/duplicate", fmt.Sprintf("Plugin %q is required twice", a.Name), "The first is at %s. Remove one.", spot(o.Range)))
				}
			}
			pairs, hd := hcl.ExprMap(a.Expr)
			if hd.HasErrors() {
				ds = ds.Append(diag.At(a.Expr.Range(), "recipe/required-plugins", "A required plugin is an object",
					"Write it as %s = { version = \">= 0.1\" }.", a.Name))
				continue
			}
			for _, kv := range pairs {
				k, more := staticString(kv.Key)
				v, more2 := staticString(kv.Value)
				ds = ds.Append(more...).Append(more2...)
				switch k {
				case "version":
					req.Version = v
				case "source":
					req.Source = v
				default:
					ds = ds.Append(diag.At(kv.Key.Range(), "recipe/required-plugins", fmt.Sprintf("A required plugin has no %q", k), "%s", didYouMean(k, []string{"version", "source"}, "It has")))
				}
			}
			r.RequiredPlugins = append(r.RequiredPlugins, req)
		}
	}
	return ds
}

// staticString evaluates an expression that may not refer to anything.
func staticString(e hcl.Expression) (string, diag.Diags) {
	if k := hcl.ExprAsKeyword(e); k != "" {
		return k, nil // a bare key of an object
	}
	v, hd := e.Value(nil)
	if hd.HasErrors() {
		return "", coded(hd)
	}
	s, ok := asString(v)
	if !ok {
		return "", diag.Diags{diag.At(e.Range(), "recipe/type", "A string is needed here", "Write it in quotes.")}
	}
	return s, nil
}

func sortedAttrs(attrs hcl.Attributes) []*hcl.Attribute {
	out := make([]*hcl.Attribute, 0, len(attrs))
	for _, a := range attrs {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *hcl.Attribute) int {
		if a.Range.Filename != b.Range.Filename {
			return strings.Compare(a.Range.Filename, b.Range.Filename)
		}
		return a.Range.Start.Byte - b.Range.Start.Byte
	})
	return out
}
