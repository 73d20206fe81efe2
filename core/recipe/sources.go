package recipe

import (
	"fmt"
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
}

var (
	modelSchema   = attributes("source!", "sha256", "format", "description")
	datasetSchema = func() *hcl.BodySchema {
		s := attributes("source!", "sha256", "label", "limit", "shuffle", "seed", "description")
		s.Blocks = []hcl.BlockHeaderSchema{{Type: "input", LabelNames: []string{"name"}}}
		return s
	}()
	inputSchema  = attributes("field", "scale", "mean", "std", "dtype")
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
	ds    diag.Diags
}

// value evaluates an argument and converts it; ok is false when it is absent, null, unknown or wrong.
func (r *reader) value(name string, ty cty.Type) (cty.Value, hcl.Range, bool) {
	a, ok := r.attrs[name]
	if !ok {
		return cty.NullVal(ty), hcl.Range{}, false
	}
	v, hd := a.Expr.Value(r.p.context(nil))
	if hd.HasErrors() {
		r.ds = r.ds.Extend(hd)
		return cty.NullVal(ty), a.Expr.Range(), false
	}
	c, err := convert.Convert(v, ty)
	if err != nil {
		r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/type", fmt.Sprintf("%s has the wrong type", name), "A %s is needed: %s.", ty.FriendlyName(), err))
		return cty.NullVal(ty), a.Expr.Range(), false
	}
	c, _ = c.UnmarkDeep()
	return c, a.Expr.Range(), !c.IsNull() && c.IsWhollyKnown()
}

func (r *reader) text(name string) (string, hcl.Range) {
	v, rng, ok := r.value(name, cty.String)
	if !ok {
		return "", rng
	}
	return v.AsString(), rng
}

func (r *reader) number(name string) *float64 {
	v, _, ok := r.value(name, cty.Number)
	if !ok {
		return nil
	}
	f, _ := v.AsBigFloat().Float64()
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

func (p *Program) body(b hcl.Body, s *hcl.BodySchema) (*reader, *hcl.BodyContent) {
	content, hd := b.Content(s)
	return &reader{p: p, attrs: content.Attributes, ds: diag.FromHCL(hd)}, content
}

// source resolves a path of the recipe.
func (r *reader) source() (string, hcl.Range) {
	s, rng := r.text("source")
	if strings.Contains(s, "://") {
		r.ds = r.ds.Append(diag.At(rng, "recipe/source", "The source is not a file", "It is a path, relative to the recipe's folder or absolute."))
		return "", rng
	}
	if s == "" {
		if _, written := r.attrs["source"]; written && !r.ds.HasErrors() {
			r.ds = r.ds.Append(diag.At(rng, "recipe/source", "The source is empty or not known", "It is a path, known before any step runs."))
		}
		return "", rng
	}
	return resolve(r.p.recipe.Dir, s), rng
}

// DecodeModel evaluates a model block.
func (p *Program) DecodeModel(n *Node) (*ModelConfig, diag.Diags) {
	r, _ := p.body(n.Body, modelSchema)
	c := &ModelConfig{}
	c.Source, c.SourceRange = r.source()
	c.SHA256 = r.digest()
	c.Format, _ = r.text("format")
	return c, r.ds
}

func (r *reader) digest() string {
	s, rng := r.text("sha256")
	s = strings.ToLower(s)
	if s != "" && (len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "") {
		r.ds = r.ds.Append(diag.At(rng, "recipe/sha256", "This is not a SHA-256", "It has 64 hexadecimal digits."))
	}
	return s
}

// DecodeDataset evaluates a dataset block.
func (p *Program) DecodeDataset(n *Node) (*DatasetConfig, diag.Diags) {
	r, content := p.body(n.Body, datasetSchema)
	c := &DatasetConfig{}
	c.Source, c.SourceRange = r.source()
	c.SHA256 = r.digest()
	c.Label, _ = r.text("label")
	c.Limit = r.count("limit", 0, 1)
	c.Shuffle = r.flag("shuffle")
	c.Seed = uint64(r.count("seed", 0, 0))
	ds := r.ds
	for _, b := range content.Blocks {
		in, _ := p.body(b.Body, inputSchema)
		x := dataset.Input{Name: b.Labels[0], Scale: in.number("scale"), Mean: in.number("mean"), Std: in.number("std")}
		x.Field, _ = in.text("field")
		x.DType, _ = in.text("dtype")
		ds = ds.Append(in.ds...)
		if slices.ContainsFunc(c.Inputs, func(o dataset.Input) bool { return o.Name == x.Name }) {
			ds = ds.Append(diag.At(b.DefRange, "recipe/duplicate", fmt.Sprintf("A second input %q", x.Name), "Each input of the model is named once."))
		}
		c.Inputs = append(c.Inputs, x)
	}
	return c, ds
}

// DecodeOutput evaluates an output block.
func (p *Program) DecodeOutput(n *Node) (*OutputConfig, diag.Diags) {
	r, _ := p.body(n.Body, outputSchema)
	c := &OutputConfig{}
	path, rng := r.text("path")
	if path != "" {
		c.Path = resolve(p.recipe.Dir, path)
	}
	if r.ds.HasErrors() {
		return c, r.ds
	}
	a := r.attrs["value"]
	v, hd := a.Expr.Value(p.context(nil))
	r.ds = r.ds.Extend(hd)
	if hd.HasErrors() {
		return c, r.ds
	}
	if v.ContainsMarked() {
		r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/sensitive", "An output may not be sensitive", "It would be written where others read it."))
		return c, r.ds
	}
	switch {
	case v.Type().Equals(ArtifactType):
		c.Artifact = artifactOf(v)
	case path != "" && v.Type() != cty.DynamicPseudoType:
		r.ds = r.ds.Append(diag.At(rng, "recipe/output-path", "Only an artifact has a path", "This value is a %s: leave path out.", v.Type().FriendlyName()))
	case v.IsWhollyKnown():
		b, err := ctyjson.Marshal(v, v.Type())
		if err != nil {
			r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/type", "This value cannot be an output", "%s", err))
		}
		c.JSON = b
	}
	return c, r.ds
}

// expressions gives the expressions of a node whose references make the graph; an evaluation's ensures are not among
// them. What is wrong with the body's shape is told once, by decoding.
func (p *Program) expressions(n *Node) ([]hcl.Expression, diag.Diags) {
	var out []hcl.Expression
	add := func(b hcl.Body, s *hcl.BodySchema) *hcl.BodyContent {
		content, _ := b.Content(s)
		for _, a := range sortedAttrs(content.Attributes) {
			out = append(out, a.Expr)
		}
		return content
	}
	switch n.Kind {
	case KindModel:
		add(n.Body, modelSchema)
	case KindDataset:
		for _, b := range add(n.Body, datasetSchema).Blocks {
			add(b.Body, inputSchema)
		}
	case KindOutput:
		add(n.Body, outputSchema)
	case KindEvaluate:
		for _, b := range add(n.Body, evaluateSchema).Blocks {
			if b.Type == "benchmark" {
				add(b.Body, benchmarkSchema)
			}
		}
	case KindStep:
		if n.spec != nil {
			for _, a := range sortedAttrs(n.spec.core) {
				out = append(out, a.Expr)
			}
			out = append(out, n.spec.body.expressions()...)
		}
	}
	return out, nil
}
