package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// StepConfig is a step's configuration after defaults.
type StepConfig struct {
	Type     string
	Revision uint32
	// Config is of ConfigType, may hold unknown values and carries the marks of sensitive ones; artifacts are not in it.
	Config     cty.Value
	ConfigType cty.Type
	// Inputs are the artifacts by attribute.
	Inputs map[string]Input
	Seed   uint64
}

// Input is an artifact that a step takes; Artifact is nil while it does not exist.
type Input struct {
	Kind     string
	Addr     string // what gives it
	Artifact *Artifact
}

// reserved are the arguments of every step that the core takes.
var reserved = []hcl.AttributeSchema{{Name: "depends_on"}, {Name: "timeout"}, {Name: "seed"}, {Name: "description"}}

// stepBody is a step's body split between core and plugin.
type stepBody struct {
	core hcl.Attributes
	body *schemaBody
}

// schemaBody is a body that was matched with a schema.
type schemaBody struct {
	schema *pluginv1.Block
	attrs  hcl.Attributes
	blocks map[string][]*hcl.Block
	nested map[*hcl.Block]*schemaBody
	rng    hcl.Range
}

func pluginOf(stepType string) string {
	name, _, _ := strings.Cut(stepType, "_")
	return name
}

// stepType finds the schema of a step and matches its body with it.
func (p *Program) stepType(n *Node) diag.Diags {
	t, ok := p.types[n.Type]
	if !ok {
		if plugin := pluginOf(n.Type); !slices.Contains(p.plugins, plugin) {
			return diag.Diags{diag.At(n.Range, "recipe/unknown-step-type", fmt.Sprintf("There is no step type %q", n.Type), "%s",
				didYouMean(n.Type, slices.Sorted(maps.Keys(p.types)), "The part before the first underscore names the plugin, and there is no plugin "+fmt.Sprintf("%q. The step types are", plugin)))}
		}
		var own []string
		for _, k := range slices.Sorted(maps.Keys(p.types)) {
			if pluginOf(k) == pluginOf(n.Type) {
				own = append(own, k)
			}
		}
		return diag.Diags{diag.At(n.Range, "recipe/unknown-step-type", fmt.Sprintf("There is no step type %q", n.Type), "%s",
			didYouMean(n.Type, own, "Plugin "+pluginOf(n.Type)+" has"))}
	}
	n.Schema = t
	core := &hcl.BodySchema{Attributes: reserved}
	content, rest, hd := n.block.body.PartialContent(core)
	ds := diag.FromHCL(hd)
	body, more := matchBody(rest, t.GetSchema(), n.Range)
	n.spec = &stepBody{core: content.Attributes, body: body}
	return ds.Append(more...)
}

// matchBody finds the arguments and blocks of a schema in a body; unknown ones are errors that suggest the right name.
func matchBody(b hcl.Body, s *pluginv1.Block, rng hcl.Range) (*schemaBody, diag.Diags) {
	want := &hcl.BodySchema{}
	for _, a := range s.GetAttributes() {
		want.Attributes = append(want.Attributes, hcl.AttributeSchema{Name: a.GetName(), Required: a.GetRequired()})
	}
	for _, n := range s.GetBlocks() {
		h := hcl.BlockHeaderSchema{Type: n.GetName()}
		if n.GetNesting() == pluginv1.NestedBlock_NESTING_MAP {
			h.LabelNames = []string{"key"}
		}
		want.Blocks = append(want.Blocks, h)
	}
	content, hd := b.Content(want)
	ds := diag.FromHCL(hd)
	m := &schemaBody{schema: s, attrs: content.Attributes, blocks: map[string][]*hcl.Block{}, nested: map[*hcl.Block]*schemaBody{}, rng: rng}
	for _, n := range s.GetBlocks() {
		found := content.Blocks.OfType(n.GetName())
		limit := n.GetMax()
		if n.GetNesting() == pluginv1.NestedBlock_NESTING_SINGLE {
			limit = 1
		}
		if limit > 0 && int64(len(found)) > limit {
			ds = ds.Append(diag.At(found[limit].DefRange, "recipe/too-many-blocks", fmt.Sprintf("Too many %s blocks", n.GetName()), "At most %d may stand here.", limit))
		}
		if int64(len(found)) < n.GetMin() {
			ds = ds.Append(diag.At(rng, "recipe/missing-block", fmt.Sprintf("A %s block is missing", n.GetName()), "At least %d must stand here.", n.GetMin()))
		}
		for _, f := range found {
			inner, more := matchBody(f.Body, n.GetBody(), f.DefRange)
			ds = ds.Append(more...)
			m.nested[f] = inner
		}
		m.blocks[n.GetName()] = found
	}
	return m, ds
}

func (m *schemaBody) expressions() []hcl.Expression {
	var out []hcl.Expression
	for _, a := range sortedAttrs(m.attrs) {
		out = append(out, a.Expr)
	}
	for _, n := range m.nested {
		out = append(out, n.expressions()...)
	}
	return out
}

// DecodeStep evaluates a step with what is known.
func (p *Program) DecodeStep(n *Node) (*StepConfig, diag.Diags) {
	if n.Schema == nil || n.spec == nil {
		return nil, nil
	}
	ty, err := pluginv1.ImpliedType(n.Schema.GetSchema())
	if err != nil {
		return nil, diag.Diags{diag.At(n.Range, "plugin/schema", fmt.Sprintf("Plugin %s declares %s wrongly", pluginOf(n.Type), n.Type), "%s", err)}
	}
	c := &StepConfig{Type: n.Type, Revision: n.Schema.GetRevision(), ConfigType: ty, Inputs: map[string]Input{}}
	ds := p.reserved(n, c)
	v, more := p.decodeBody(n.spec.body, c.Inputs)
	ds = ds.Append(more...)
	c.Config = v
	return c, ds
}

// reserved evaluates the arguments that every step has.
func (p *Program) reserved(n *Node, c *StepConfig) (ds diag.Diags) {
	core := n.spec.core
	if a, ok := core["timeout"]; ok {
		v, hd := a.Expr.Value(p.context(nil))
		ds = ds.Extend(hd)
		if s, isText := asString(v); isText && !hd.HasErrors() {
			if n.Timeout, ok = parseDuration(s); !ok {
				ds = ds.Append(diag.At(a.Expr.Range(), "recipe/timeout", fmt.Sprintf("%q is not a duration", s), "Write it with its unit: \"90s\", \"15m\", \"2h\"."))
			}
		} else if !hd.HasErrors() {
			ds = ds.Append(diag.At(a.Expr.Range(), "recipe/timeout", "The timeout is not a duration", "Write it in quotes with its unit: \"90s\", \"15m\", \"2h\"."))
		}
	}
	if a, ok := core["seed"]; ok {
		v, hd := a.Expr.Value(p.context(nil))
		ds = ds.Extend(hd)
		if seed, good := wholeNumber(v); good && !hd.HasErrors() {
			n.Seed, c.Seed = seed, seed
		} else if !hd.HasErrors() {
			ds = ds.Append(diag.At(a.Expr.Range(), "recipe/seed", "The seed is not a whole number", "It is at least 0."))
		}
	}
	if a, ok := core["depends_on"]; ok {
		list, hd := hcl.ExprList(a.Expr)
		ds = ds.Extend(hd)
		for _, e := range list {
			if len(refsOf(e)) == 0 {
				ds = ds.Append(diag.At(e.Range(), "recipe/depends-on", "depends_on lists blocks", "Write references: depends_on = [step.NAME]."))
			}
		}
	}
	return ds
}

func wholeNumber(v cty.Value) (uint64, bool) {
	v, _ = v.Unmark()
	v, err := convert.Convert(v, cty.Number)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return 0, false
	}
	u, acc := v.AsBigFloat().Uint64()
	return u, acc == 0
}

// decodeBody evaluates a matched body to an object of its implied type.
func (p *Program) decodeBody(m *schemaBody, inputs map[string]Input) (cty.Value, diag.Diags) {
	var ds diag.Diags
	fields := map[string]cty.Value{}
	for _, s := range m.schema.GetAttributes() {
		if s.GetArtifact() != "" {
			ds = ds.Append(p.decodeArtifact(s, m, inputs)...)
			continue
		}
		v, more := p.decodeAttribute(s, m)
		ds = ds.Append(more...)
		fields[s.GetName()] = v
	}
	for _, s := range m.schema.GetBlocks() {
		ty, err := pluginv1.ImpliedType(s.GetBody())
		if err != nil {
			continue // DecodeStep reported it
		}
		var list []cty.Value
		byKey := map[string]cty.Value{}
		for _, b := range m.blocks[s.GetName()] {
			v, more := p.decodeBody(m.nested[b], inputs)
			ds = ds.Append(more...)
			list = append(list, v)
			if len(b.Labels) == 1 {
				byKey[b.Labels[0]] = v
			}
		}
		switch {
		case s.GetNesting() == pluginv1.NestedBlock_NESTING_SINGLE && len(list) == 0:
			fields[s.GetName()] = cty.NullVal(ty)
		case s.GetNesting() == pluginv1.NestedBlock_NESTING_SINGLE:
			fields[s.GetName()] = list[0]
		case s.GetNesting() == pluginv1.NestedBlock_NESTING_MAP && len(byKey) == 0:
			fields[s.GetName()] = cty.MapValEmpty(ty)
		case s.GetNesting() == pluginv1.NestedBlock_NESTING_MAP:
			fields[s.GetName()] = cty.MapVal(byKey)
		case len(list) == 0:
			fields[s.GetName()] = cty.ListValEmpty(ty)
		default:
			fields[s.GetName()] = cty.ListVal(list)
		}
	}
	return cty.ObjectVal(fields), ds
}

// decodeAttribute evaluates one argument, converts it and checks its choices.
func (p *Program) decodeAttribute(s *pluginv1.Attribute, m *schemaBody) (cty.Value, diag.Diags) {
	ty, err := ctyjson.UnmarshalType(s.GetType())
	if err != nil {
		return cty.DynamicVal, nil // DecodeStep reported it
	}
	a, ok := m.attrs[s.GetName()]
	def := cty.NullVal(ty)
	if len(s.GetDefault()) > 0 {
		if v, err := ctyjson.Unmarshal(s.GetDefault(), ty); err == nil {
			def = v
		}
	}
	if !ok {
		return def, nil // a missing required one was reported by matchBody
	}
	var ds diag.Diags
	if d := s.GetDeprecated(); d != "" {
		w := diag.At(a.NameRange, "recipe/deprecated", fmt.Sprintf("%s is deprecated", s.GetName()), "%s", d)
		w.Severity = diag.Warning
		ds = ds.Append(w)
	}
	v, hd := a.Expr.Value(p.context(nil))
	if hd.HasErrors() {
		return cty.UnknownVal(ty), ds.Extend(hd)
	}
	c, err := convert.Convert(v, ty)
	if err != nil {
		return cty.UnknownVal(ty), ds.Append(diag.At(a.Expr.Range(), "recipe/type", fmt.Sprintf("%s has the wrong type", s.GetName()), "A %s is needed: %s.", ty.FriendlyName(), err))
	}
	if c.IsNull() {
		if s.GetRequired() {
			ds = ds.Append(diag.At(a.Expr.Range(), "recipe/required", fmt.Sprintf("%s is null", s.GetName()), "It is required."))
		}
		return def, ds // null means: as if it were not written
	}
	if text, isText := asString(c); isText && len(s.GetOneOf()) > 0 && !slices.Contains(s.GetOneOf(), text) {
		ds = ds.Append(diag.At(a.Expr.Range(), "recipe/one-of", fmt.Sprintf("%s may not be %q", s.GetName(), text), "%s", didYouMean(text, s.GetOneOf(), "It is one of")))
	}
	if s.GetSensitive() {
		c = c.Mark(sensitive)
	}
	return c, ds
}

// decodeArtifact evaluates an argument that takes a model, a dataset or another artifact.
func (p *Program) decodeArtifact(s *pluginv1.Attribute, m *schemaBody, inputs map[string]Input) diag.Diags {
	a, ok := m.attrs[s.GetName()]
	if !ok {
		return nil
	}
	v, hd := a.Expr.Value(p.context(nil))
	if hd.HasErrors() {
		return diag.FromHCL(hd)
	}
	if v.IsNull() && !s.GetRequired() {
		return nil
	}
	wrong := func(what string) diag.Diags {
		return diag.Diags{diag.At(a.Expr.Range(), "recipe/artifact", fmt.Sprintf("%s takes a %s", s.GetName(), s.GetArtifact()),
			"%s Refer to one: %s.", what, exampleOf(s.GetArtifact()))}
	}
	if v.Type() != cty.DynamicPseudoType && !v.Type().Equals(ArtifactType) {
		return wrong("This is a " + v.Type().FriendlyName() + ".")
	}
	in := Input{Kind: s.GetArtifact(), Artifact: artifactOf(v)}
	if refs := refsOf(a.Expr); len(refs) > 0 {
		in.Addr = refs[0]
		if kind, format, ok := p.declared(a.Expr); ok {
			if kind != s.GetArtifact() {
				return wrong("This is a " + kind + ".")
			}
			if format != "" && len(s.GetFormats()) > 0 && !slices.Contains(s.GetFormats(), format) {
				return diag.Diags{diag.At(a.Expr.Range(), "recipe/format", fmt.Sprintf("%s does not take %s", s.GetName(), format),
					"It takes %s.", strings.Join(s.GetFormats(), ", "))}
			}
		}
	}
	if in.Artifact != nil {
		if in.Artifact.Kind != s.GetArtifact() {
			return wrong("This is a " + in.Artifact.Kind + ".")
		}
		if len(s.GetFormats()) > 0 && !slices.Contains(s.GetFormats(), in.Artifact.Format) {
			return diag.Diags{diag.At(a.Expr.Range(), "recipe/format", fmt.Sprintf("%s does not take %s", s.GetName(), in.Artifact.Format),
				"It takes %s.", strings.Join(s.GetFormats(), ", "))}
		}
	}
	inputs[s.GetName()] = in
	return nil
}

func exampleOf(kind string) string {
	switch kind {
	case "model":
		return "model.NAME or step.NAME.model"
	case "dataset":
		return "dataset.NAME"
	}
	return "step.NAME." + kind
}

// declared gives kind and format of a plain reference before it exists; the format is empty when it shows later.
func (p *Program) declared(e hcl.Expression) (kind, format string, ok bool) {
	t, hd := hcl.AbsTraversalForExpr(e)
	if hd.HasErrors() || len(t) < 2 {
		return "", "", false
	}
	switch t.RootName() {
	case KindModel:
		return "model", "", true
	case KindDataset:
		return "dataset", "safetensors", true
	case KindStep:
		name, _ := t[1].(hcl.TraverseAttr)
		n := p.byAddr["step."+name.Name]
		if n == nil || n.Schema == nil || len(t) < 3 {
			return "", "", false
		}
		out, _ := t[2].(hcl.TraverseAttr)
		for _, o := range n.Schema.GetOutputs() {
			if o.GetName() == out.Name {
				return o.GetKind(), o.GetFormat(), true
			}
		}
	}
	return "", "", false
}
