package recipe

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/dataset"
)

// ModelConfig is a model block. Source is absolute; Format is empty unless the recipe says it.
type ModelConfig struct {
	Source, SHA256, Format string
	SourceRange            hcl.Range
}

// DatasetConfig is a dataset block.
type DatasetConfig struct {
	dataset.Spec
	SHA256      string
	SourceRange hcl.Range
}

// OutputConfig is an output block: an artifact, or a value as JSON. Path is absolute, or empty.
type OutputConfig struct {
	Artifact *Artifact
	JSON     []byte
	Path     string
	// PathRange is the place of path.
	PathRange hcl.Range
	// From is the address of the artifact, also while it does not exist.
	From string
}

var (
	modelSchema   = attributes("source!", "sha256", "format", "description")
	datasetSchema = func() *hcl.BodySchema {
		s := attributes("source!", "sha256", "label", "limit", "shuffle", "seed", "split", "test_fraction", "description")
		s.Blocks = []hcl.BlockHeaderSchema{{Type: "input", LabelNames: []string{"name"}}, {Type: "target", LabelNames: []string{"name"}}}
		return s
	}()
	inputSchema  = attributes(inputArguments...)
	outputSchema = attributes("value!", "path", "description")
)

// attributes makes a schema of arguments; a name that ends in "!" is required.
func attributes(names ...string) *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, n := range names {
		name, required := strings.CutSuffix(n, "!")
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name, Required: required})
	}
	return s
}

// reader evaluates the arguments of one body and gathers what is wrong.
type reader struct {
	p     *Program
	attrs hcl.Attributes
	ctx   *hcl.EvalContext
	ds    diag.Diags
}

// value evaluates an argument and converts it; ok is false when it is absent, null, unknown or wrong.
func (r *reader) value(name string, ty cty.Type) (cty.Value, hcl.Range, bool) {
	a, ok := r.attrs[name]
	if !ok {
		return cty.NullVal(ty), hcl.Range{}, false
	}
	v, hd := r.p.eval(a.Expr, r.ctx)
	if hd.HasErrors() {
		r.ds = r.ds.Append(coded(hd)...)
		return cty.NullVal(ty), a.Expr.Range(), false
	}
	c, err := convert.Convert(v, ty)
	if err != nil {
		r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/type", fmt.Sprintf("%s has the wrong type", name), "%s", mismatch(v, ty, err)))
		return cty.NullVal(ty), a.Expr.Range(), false
	}
	if c.ContainsMarked() {
		// Paths, names and sizes stand in messages, plans and records.
		r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/sensitive", fmt.Sprintf("%s may not be sensitive", name), "It is shown in messages, plans and records. Use a value that is not sensitive."))
		return cty.NullVal(ty), a.Expr.Range(), false
	}
	return c, a.Expr.Range(), !c.IsNull() && c.IsWhollyKnown()
}

func (r *reader) text(name string) (string, hcl.Range) {
	s, rng, _ := r.written(name)
	return s, rng
}

// written is a text and whether the recipe gives it.
func (r *reader) written(name string) (string, hcl.Range, bool) {
	v, rng, ok := r.value(name, cty.String)
	if !ok {
		return "", rng, false
	}
	return v.AsString(), rng, true
}

func (r *reader) number(name string) *float64 {
	v, rng, ok := r.value(name, cty.Number)
	if !ok {
		return nil
	}
	f, _ := v.AsBigFloat().Float64()
	if math.IsInf(f, 0) {
		r.ds = r.ds.Append(diag.At(rng, "recipe/number", name+" is not finite", "It is divided by zero, or larger than any number. Write another one."))
		return nil
	}
	return &f
}

// count reads a whole number of at least least; def when absent.
func (r *reader) count(name string, def, least int64) int64 {
	v, rng, ok := r.value(name, cty.Number)
	if !ok {
		return def
	}
	n, good := wholeNumber(v)
	if !good || n > 1<<62 || int64(n) < least {
		r.ds = r.ds.Append(diag.At(rng, "recipe/number", fmt.Sprintf("%s is not a whole number of at least %d", name, least), "Change it, or leave it out."))
		return def
	}
	return int64(n)
}

func (r *reader) flag(name string) bool {
	v, _, ok := r.value(name, cty.Bool)
	return ok && v.True()
}

func (p *Program) body(b hcl.Body, s *hcl.BodySchema, ctx *hcl.EvalContext) (*reader, *hcl.BodyContent) {
	c, ds := content(b, s)
	return &reader{p: p, attrs: c.Attributes, ctx: ctx, ds: ds}, c
}

// source resolves a path of the recipe.
func (r *reader) source(dir string) (string, hcl.Range) {
	s, rng, ok := r.written("source")
	switch {
	case strings.Contains(s, "://"):
		r.ds = r.ds.Append(diag.At(rng, "recipe/source", "The source is not a file", "It is a path, relative to the recipe's folder or absolute. Download the file first; sha256 says which it must be."))
		return "", rng
	case s == "" && ok || r.isNull("source"):
		r.ds = r.ds.Append(diag.At(rng, "recipe/source", "The source is empty", "It is a path, relative to the recipe's folder or absolute: source = \"model.onnx\"."))
		return "", rng
	case !ok:
		return "", rng // a follow-up, or its mistake is in r.ds
	}
	return resolve(dir, s), rng
}

// isNull tells whether the recipe writes null for an argument, where leaving it out would be an error.
func (r *reader) isNull(name string) bool {
	a, ok := r.attrs[name]
	if !ok {
		return false
	}
	v, hd := r.p.eval(a.Expr, r.ctx)
	return !hd.HasErrors() && v.IsNull()
}

// DecodeModel evaluates a model block.
func (p *Program) DecodeModel(n *Node) (*ModelConfig, diag.Diags) {
	r, _ := p.body(n.Body, modelSchema, p.static())
	c := &ModelConfig{}
	c.Source, c.SourceRange = r.source(p.recipe.Dir)
	c.SHA256 = r.digest()
	c.Format, _ = r.text("format")
	return c, p.hide(r.ds)
}

func (r *reader) digest() string {
	s, rng := r.text("sha256")
	s = strings.ToLower(s)
	if s != "" && (len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "") {
		r.ds = r.ds.Append(diag.At(rng, "recipe/sha256", "This is not a SHA-256", "It has 64 hexadecimal digits; sha256sum FILE prints them."))
	}
	return s
}

// DecodeDataset evaluates a dataset block.
func (p *Program) DecodeDataset(n *Node) (*DatasetConfig, diag.Diags) {
	ctx := p.static()
	r, body := p.body(n.Body, datasetSchema, ctx)
	c := &DatasetConfig{}
	c.Source, c.SourceRange = r.source(p.recipe.Dir)
	c.SHA256 = r.digest()
	c.Label, _ = r.text("label")
	c.Limit = r.count("limit", 0, 1)
	c.Shuffle = r.flag("shuffle")
	c.Seed = uint64(r.count("seed", 0, 0))
	c.Split, _ = r.text("split")
	if f := r.number("test_fraction"); f != nil {
		c.TestFraction = *f
	}
	if !r.ds.HasErrors() {
		r.wrong(dataset.Check(dataset.Spec{Limit: c.Limit, Split: c.Split, TestFraction: c.TestFraction}))
	}
	ds := r.ds
	for _, list := range []struct {
		kind, each string
		to         *[]dataset.Input
	}{{"input", "Each input of the model is named once: remove one.", &c.Inputs}, {"target", "Give this one another name.", &c.Targets}} {
		blocks := body.Blocks.OfType(list.kind)
		for _, b := range blocks {
			in, _ := p.body(b.Body, inputSchema, ctx)
			x := p.input(in, b.Labels[0])
			switch {
			case in.ds.HasErrors():
			case list.kind == "target":
				in.wrong(dataset.Check(dataset.Spec{Targets: []dataset.Input{x}}))
			default:
				in.wrong(dataset.Check(dataset.Spec{Inputs: []dataset.Input{x}}))
			}
			ds = ds.Append(in.ds...)
			if i := slices.IndexFunc(*list.to, func(o dataset.Input) bool { return o.Name == x.Name }); i >= 0 {
				ds = ds.Append(diag.At(b.DefRange, "recipe/duplicate", fmt.Sprintf("A second %s %q", list.kind, x.Name), "The first is at %s. %s", spot(blocks[i].DefRange), list.each))
			}
			if list.kind == "target" && (x.Name == "label" || x.Name == "baseline") {
				ds = ds.Append(diag.At(b.DefRange, "recipe/reserved", fmt.Sprintf("A target may not be called %q", x.Name), "Metrics call the labels and the baseline's outputs so. Give it another name."))
			}
			*list.to = append(*list.to, x)
		}
	}
	return c, p.hide(ds)
}

// wrong tells what the dataset's own check found in this block, each at its argument.
func (r *reader) wrong(found []*dataset.Error) {
	for _, e := range found {
		if a := r.attrs[e.Path[len(e.Path)-1]]; a != nil {
			r.ds = r.ds.Append(diag.At(a.Expr.Range(), "dataset/invalid", e.Summary, "%s", e.Detail))
		} else if a = r.attrs["split"]; a != nil { // what it needs is missing
			r.ds = r.ds.Append(diag.At(a.Expr.Range(), "dataset/invalid", e.Summary, "%s", e.Detail))
		}
	}
}

// DecodeOutput evaluates an output block. The configuration is never nil.
func (p *Program) DecodeOutput(n *Node) (*OutputConfig, diag.Diags) {
	ctx := p.context(n, nil)
	r, _ := p.body(n.Body, outputSchema, ctx)
	c := &OutputConfig{}
	path, rng, hasPath := r.written("path")
	if hasPath && strings.Trim(path, "/.") == "" {
		r.ds = r.ds.Append(diag.At(rng, "recipe/output-path", "The path names no file", "Write where the output goes, relative to the recipe's folder: path = \"dist/model.onnx\"."))
	} else if hasPath {
		c.Path, c.PathRange = resolve(p.recipe.Dir, path), rng
	} else if r.isNull("path") {
		w := diag.At(r.attrs["path"].Expr.Range(), "recipe/output-path", "The path is null, so this output is written nowhere", "Leave path out if that is meant; else write where it goes: path = \"dist/model.onnx\".")
		w.Severity = diag.Warning
		r.ds = r.ds.Append(w)
	}
	a := r.attrs["value"]
	if r.ds.HasErrors() || a == nil {
		return c, p.hide(r.ds)
	}
	v, hd := p.eval(a.Expr, ctx)
	if hd.HasErrors() {
		return c, p.hide(r.ds.Append(coded(hd)...))
	}
	if v.ContainsMarked() {
		return c, p.hide(r.ds.Append(diag.At(a.Expr.Range(), "recipe/sensitive", "An output may not be sensitive", "It would be written where others read it. Refer to something that is not sensitive.")))
	}
	switch {
	case v.Type().Equals(ArtifactType):
		g, wrong := p.artifactOf(v)
		if wrong != "" {
			r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/artifact", "This is no artifact", "%s Refer to one: step.NAME.OUTPUT.", wrong))
		}
		c.Artifact, c.From = g.artifact, g.addr
	case hasPath && v.Type() != cty.DynamicPseudoType:
		r.ds = r.ds.Append(diag.At(rng, "recipe/output-path", "Only an artifact has a path", "%s Leave path out, or refer to an artifact.", p.instead(v)))
	case v.IsWhollyKnown():
		b, err := ctyjson.Marshal(v, v.Type())
		if err != nil {
			r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/type", "This value cannot be an output", "As JSON it has no form: %s. Write another one.", err))
		}
		c.JSON = b
	}
	return c, p.hide(r.ds)
}

// relative is a path as the recipe could write it.
func (p *Program) relative(path string) string {
	if r, err := filepath.Rel(p.recipe.Dir, path); err == nil {
		return filepath.ToSlash(r)
	}
	return path
}

// lockName is the file beside a recipe that holds the versions it was made with.
const lockName = "optimize.lock.hcl"

// outputPaths checks that no output goes over another one, or over what the recipe reads.
func (p *Program) outputPaths() (ds diag.Diags) {
	taken := map[string]string{}
	for _, n := range p.nodes {
		switch n.Kind {
		case KindModel:
			if c, _ := p.DecodeModel(n); c.Source != "" {
				taken[c.Source] = n.Addr + " is read from it"
			}
		case KindDataset:
			if c, _ := p.DecodeDataset(n); c.Source != "" {
				taken[c.Source] = n.Addr + " is read from it"
			}
		}
	}
	if abs, err := filepath.Abs(filepath.Join(p.recipe.Dir, lockName)); err == nil {
		taken[abs] = "optimize init keeps the versions in it"
	}
	for f := range p.recipe.Files {
		if abs, err := filepath.Abs(f); err == nil {
			taken[abs] = "the recipe is in it"
		}
	}
	for _, n := range p.nodes {
		if n.Kind != KindOutput {
			continue
		}
		c, more := p.DecodeOutput(n)
		if c.Path == "" || more.HasErrors() {
			continue
		}
		if why, ok := taken[c.Path]; ok {
			ds = ds.Append(diag.At(n.Range, "recipe/output-path", fmt.Sprintf("Output %q would go over another file", n.Name), "Its path is %s, and %s. Write it elsewhere.", p.relative(c.Path), why))
		}
		taken[c.Path] = n.Addr + " goes there"
	}
	return ds
}

// expressions gives the expressions of a node, and what each may refer to; an evaluation's ensures are not among them.
// What is wrong with the body's shape is told once, by decoding.
func (p *Program) expressions(n *Node) (out []placed) {
	add := func(b hcl.Body, s *hcl.BodySchema, at place, special map[string]place) *hcl.BodyContent {
		content, _ := b.Content(s)
		for _, a := range sortedAttrs(content.Attributes) {
			where := at
			if sp, ok := special[a.Name]; ok {
				where = sp
			}
			out = append(out, placed{a.Expr, where})
		}
		return content
	}
	any := place{roots: allRoots}
	switch n.Kind {
	case KindModel:
		add(n.Body, modelSchema, staticPlace("A model is known"), nil)
	case KindDataset:
		at := staticPlace("A dataset is known")
		for _, b := range add(n.Body, datasetSchema, at, nil).Blocks {
			add(b.Body, inputSchema, at, nil)
		}
	case KindOutput:
		add(n.Body, outputSchema, staticPlace("Where an output goes is known"), map[string]place{"value": any})
	case KindEvaluate:
		at := staticPlace("What is measured is known")
		for _, b := range add(n.Body, evaluateSchema, at, map[string]place{"dataset": any, "baseline": any, "candidates": any}).Blocks {
			switch b.Type {
			case "benchmark":
				add(b.Body, benchmarkSchema, at, nil)
			case "metric":
				add(b.Body, metricSchema, at, nil)
			case "engine":
				attrs, _ := b.Body.JustAttributes()
				for _, a := range sortedAttrs(attrs) {
					out = append(out, placed{a.Expr, at})
				}
			}
		}
	case KindStep:
		if n.spec == nil {
			return nil
		}
		at := staticPlace("How a step is run is known")
		if n.each != cty.NilVal {
			at.roots, any.roots = append(slices.Clone(at.roots), "each"), append(slices.Clone(any.roots), "each")
		}
		for _, a := range sortedAttrs(n.spec.core) {
			switch a.Name {
			case "for_each": // checked when the step was expanded
			case "depends_on":
				out = append(out, placed{a.Expr, any})
			default:
				out = append(out, placed{a.Expr, at})
			}
		}
		for _, e := range n.spec.body.expressions() {
			out = append(out, placed{e, any})
		}
	}
	return out
}
