package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

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
	// Env names the variables of the environment that the plugin gets beside the usual ones.
	Env []string
}

// Input is an artifact that a step takes; Artifact is nil while it does not exist.
type Input struct {
	Kind     string
	Addr     string // the node that gives it
	Artifact *Artifact
}

// reserved are the arguments of every step that the core takes.
var reserved = []string{"for_each", "depends_on", "timeout", "seed", "env", "runs_on", "description"}

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

// requires tells whether the recipe names the plugin in required_plugins.
func (p *Program) requires(plugin string) bool {
	return slices.ContainsFunc(p.recipe.RequiredPlugins, func(r RequiredPlugin) bool { return r.Name == plugin })
}

// stepType finds the schema of a step.
func (p *Program) stepType(n *Node) diag.Diags {
	t, ok := p.types[n.Type]
	if !ok {
		if plugin := pluginOf(n.Type); !slices.Contains(p.plugins, plugin) {
			if p.requires(plugin) {
				return diag.Diags{diag.At(n.Range, followUp, "A follow-up", "")} // that the plugin is missing is told at required_plugins
			}
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
	return nil
}

// match matches the body of a step with its schema.
func (p *Program) match(n *Node) diag.Diags {
	content, rest, hd := n.block.body.PartialContent(attributes(reserved...))
	body, folded, ds := p.unfold(n, rest, n.Schema.GetSchema())
	spec, more := matchBody(body, n.Schema.GetSchema(), n.Range, folded)
	n.spec = &stepBody{core: content.Attributes, body: spec}
	if hasDynamic(rest) {
		n.Body = body // what a plugin says about a block finds its place in it
	}
	return coded(hd).Append(ds...).Append(more...)
}

// matchBody finds the arguments and blocks of a schema in a body; unknown ones are errors that suggest the right name.
// Of a folded body blocks may be missing.
func matchBody(b hcl.Body, s *pluginv1.Block, rng hcl.Range, folded bool) (*schemaBody, diag.Diags) {
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
	body, ds := content(b, want)
	m := &schemaBody{schema: s, attrs: body.Attributes, blocks: map[string][]*hcl.Block{}, nested: map[*hcl.Block]*schemaBody{}, rng: rng}
	for _, n := range s.GetBlocks() {
		found := body.Blocks.OfType(n.GetName())
		limit := n.GetMax()
		if n.GetNesting() == pluginv1.NestedBlock_NESTING_SINGLE {
			limit = 1
		}
		if limit > 0 && int64(len(found)) > limit {
			ds = ds.Append(diag.At(found[limit].DefRange, "recipe/too-many-blocks", fmt.Sprintf("Too many %s blocks", n.GetName()), "At most %d may stand here: remove %d.", limit, int64(len(found))-limit))
		}
		if int64(len(found)) < n.GetMin() && !folded {
			ds = ds.Append(diag.At(rng, "recipe/missing-block", fmt.Sprintf("A %s block is missing", n.GetName()), "At least %d must stand here: write %s { ... }.", n.GetMin(), n.GetName()))
		}
		keys := map[string]hcl.Range{}
		for _, f := range found {
			if len(f.Labels) == 1 {
				if first, again := keys[f.Labels[0]]; again && first == f.DefRange {
					ds = ds.Append(diag.At(f.DefRange, "recipe/duplicate", fmt.Sprintf("A second %s %q", n.GetName(), f.Labels[0]), "The labels of this dynamic block repeat: make each of them another one."))
				} else if again {
					ds = ds.Append(diag.At(f.DefRange, "recipe/duplicate", fmt.Sprintf("A second %s %q", n.GetName(), f.Labels[0]), "The first is at %s. Give this one another name.", spot(first)))
				}
				keys[f.Labels[0]] = f.DefRange
			}
			inner, more := matchBody(f.Body, n.GetBody(), f.DefRange, folded)
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
	for _, n := range m.schema.GetBlocks() {
		for _, b := range m.blocks[n.GetName()] {
			out = append(out, m.nested[b].expressions()...)
		}
	}
	return out
}

// DecodeStep evaluates a step with what is known.
func (p *Program) DecodeStep(n *Node) (*StepConfig, diag.Diags) {
	if n.Schema == nil || n.spec == nil {
		return nil, nil // Check reported it
	}
	ty, err := p.schemas.block(n.Schema.GetSchema())
	if err != nil {
		return nil, diag.Diags{diag.At(n.Range, "plugin/schema", fmt.Sprintf("Plugin %s declares %s wrongly", pluginOf(n.Type), n.Type), "%s. This is a mistake of the plugin: use another version of it, and tell its makers.", err)}
	}
	c := &StepConfig{Type: n.Type, Revision: n.Schema.GetRevision(), ConfigType: ty, Inputs: map[string]Input{}}
	d := &stepDecoder{p: p, ctx: p.context(n, nil), inputs: c.Inputs}
	d.reserved(n, c)
	c.Config = d.body(n.spec.body)
	return c, p.hide(d.ds)
}

// stepDecoder evaluates one step and gathers what is wrong.
type stepDecoder struct {
	p      *Program
	ctx    *hcl.EvalContext
	inputs map[string]Input
	ds     diag.Diags
}

func (d *stepDecoder) bad(r hcl.Range, code, summary, detail string, args ...any) {
	d.ds = d.ds.Append(diag.At(r, code, summary, detail, args...))
}

// reserved evaluates the arguments that every step has.
func (d *stepDecoder) reserved(n *Node, c *StepConfig) {
	r := &reader{p: d.p, attrs: n.spec.core, ctx: d.ctx}
	if a, ok := n.spec.core["runs_on"]; ok {
		d.bad(a.NameRange, "recipe/reserved", "runs_on is reserved", "This version of Optimize runs every step on this machine. Leave it out.")
	}
	if s, rng, ok := r.written("timeout"); ok {
		if n.Timeout, ok = parseDuration(s); !ok {
			d.bad(rng, "recipe/timeout", fmt.Sprintf("%q is not a duration", s), "Write it with its unit: \"90s\", \"15m\", \"2h\".")
		}
	}
	if a, ok := n.spec.core["seed"]; ok {
		v, hd := d.p.eval(a.Expr, d.ctx)
		r.ds = r.ds.Append(coded(hd)...)
		if seed, good := wholeNumber(v); good && !hd.HasErrors() {
			n.Seed, c.Seed = seed, seed
		} else if !hd.HasErrors() && v.IsKnown() {
			d.bad(a.Expr.Range(), "recipe/seed", "The seed is not a whole number", "It is at least 0 and less than 2^64. Write seed = 1, or leave it out for 0.")
		}
	}
	if v, rng, ok := r.value("env", cty.Set(cty.String)); ok {
		for _, e := range v.AsValueSlice() {
			name, _ := asString(e)
			if !validName(name) {
				d.bad(rng, "recipe/env", fmt.Sprintf("%q does not name a variable of the environment", name), "env lists names; their values come from the environment of optimize: env = [\"HF_TOKEN\"].")
				continue
			}
			c.Env = append(c.Env, name)
		}
		slices.Sort(c.Env)
	}
	if a, ok := n.spec.core["depends_on"]; ok {
		list, hd := hcl.ExprList(a.Expr)
		if hd.HasErrors() {
			d.bad(a.Expr.Range(), "recipe/depends-on", "depends_on is a list", "Write it in brackets: depends_on = [step.NAME].")
		}
		for _, e := range list {
			if d.p.broken[a.Expr.Range()] && len(e.Variables()) > 0 {
				continue
			}
			if t, hd := hcl.AbsTraversalForExpr(e); hd.HasErrors() || len(t) < 2 || !slices.Contains(nodeRoots, t.RootName()) {
				d.bad(e.Range(), "recipe/depends-on", "depends_on lists blocks", "Write references: depends_on = [step.NAME].")
			}
		}
	}
	d.ds = d.ds.Append(r.ds...)
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

// body evaluates a matched body to an object of its implied type.
func (d *stepDecoder) body(m *schemaBody) cty.Value {
	fields := map[string]cty.Value{}
	for _, s := range m.schema.GetAttributes() {
		if s.GetArtifact() != "" {
			d.artifact(s, m)
			continue
		}
		fields[s.GetName()] = d.attribute(s, m)
	}
	for _, s := range m.schema.GetBlocks() {
		ty, err := d.p.schemas.block(s.GetBody())
		if err != nil {
			continue // DecodeStep reported it
		}
		var list []cty.Value
		byKey := map[string]cty.Value{}
		for _, b := range m.blocks[s.GetName()] {
			v := d.body(m.nested[b])
			list = append(list, v)
			if len(b.Labels) == 1 {
				byKey[b.Labels[0]] = v
			}
		}
		if s.GetNesting() != pluginv1.NestedBlock_NESTING_SINGLE && !cty.CanListVal(list) {
			d.bad(m.rng, "recipe/type", fmt.Sprintf("The %s blocks have arguments of different types", s.GetName()), "An argument that takes any type has the same type in all blocks: write its values alike.")
			fields[s.GetName()] = cty.DynamicVal
			continue
		}
		fields[s.GetName()] = nest(s.GetNesting(), ty, list, byKey)
	}
	return cty.ObjectVal(fields)
}

func nest(nesting pluginv1.NestedBlock_Nesting, ty cty.Type, list []cty.Value, byKey map[string]cty.Value) cty.Value {
	switch {
	case nesting == pluginv1.NestedBlock_NESTING_SINGLE && len(list) == 0:
		return cty.NullVal(ty)
	case nesting == pluginv1.NestedBlock_NESTING_SINGLE:
		return list[0]
	case nesting == pluginv1.NestedBlock_NESTING_MAP && len(byKey) == 0:
		return cty.MapValEmpty(ty)
	case nesting == pluginv1.NestedBlock_NESTING_MAP:
		return cty.MapVal(byKey)
	case len(list) == 0:
		return cty.ListValEmpty(ty)
	}
	return cty.ListVal(list)
}

// attribute evaluates one argument, converts it and checks its choices.
func (d *stepDecoder) attribute(s *pluginv1.Attribute, m *schemaBody) cty.Value {
	t := d.p.schemas.attribute(s)
	if t.err != nil {
		return cty.DynamicVal // DecodeStep reported it
	}
	ty, def := t.ty, t.def
	a, ok := m.attrs[s.GetName()]
	if !ok {
		return def // a missing required one was reported by matchBody
	}
	if use := s.GetDeprecated(); use != "" {
		w := diag.At(a.NameRange, "recipe/deprecated", fmt.Sprintf("%s is deprecated", s.GetName()), "%s", use)
		w.Severity = diag.Warning
		d.ds = d.ds.Append(w)
	}
	v, hd := d.p.eval(a.Expr, d.ctx)
	if hd.HasErrors() {
		d.ds = d.ds.Append(coded(hd)...)
		return cty.UnknownVal(ty)
	}
	if s.GetSensitive() {
		d.p.recipe.keepSecret(v)
	}
	c, err := convert.Convert(v, ty)
	if err != nil {
		d.bad(a.Expr.Range(), "recipe/type", fmt.Sprintf("%s has the wrong type", s.GetName()), "%s", mismatch(v, ty, err))
		return cty.UnknownVal(ty)
	}
	if c.IsNull() {
		if s.GetRequired() {
			d.bad(a.Expr.Range(), "recipe/required", fmt.Sprintf("%s is null", s.GetName()), "It is required: write a value.")
		}
		return def // null means: as if it were not written
	}
	d.oneOf(s, a, c)
	if s.GetSensitive() {
		c = c.Mark(sensitive)
	}
	return c
}

// oneOf checks a text, or each text of a collection, against the choices that the schema gives.
func (d *stepDecoder) oneOf(s *pluginv1.Attribute, a *hcl.Attribute, v cty.Value) {
	if len(s.GetOneOf()) == 0 {
		return
	}
	v, _ = v.UnmarkDeep()
	elements := []cty.Value{v}
	if v.IsKnown() && v.CanIterateElements() {
		elements = nil
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			elements = append(elements, e)
		}
	}
	for _, e := range elements {
		c, err := convert.Convert(e, cty.String)
		if err != nil {
			continue
		}
		if text, ok := asString(c); ok && !slices.Contains(s.GetOneOf(), text) {
			d.bad(a.Expr.Range(), "recipe/one-of", fmt.Sprintf("%s may not be %q", s.GetName(), text), "%s", didYouMean(text, s.GetOneOf(), "It is one of"))
		}
	}
}

// artifact evaluates an argument that takes a model, a dataset or another artifact.
func (d *stepDecoder) artifact(s *pluginv1.Attribute, m *schemaBody) {
	a, ok := m.attrs[s.GetName()]
	if !ok {
		return
	}
	v, hd := d.p.eval(a.Expr, d.ctx)
	if hd.HasErrors() {
		d.ds = d.ds.Append(coded(hd)...)
		return
	}
	if v.IsNull() && !s.GetRequired() {
		return
	}
	g, wrong := d.p.artifactOf(v)
	if wrong == "" && g.kind != "" && g.kind != s.GetArtifact() {
		wrong = fmt.Sprintf("%s is %s.", g.addr, article(g.kind))
	}
	if wrong != "" {
		d.bad(a.Expr.Range(), "recipe/artifact", fmt.Sprintf("%s takes %s", s.GetName(), article(s.GetArtifact())), "%s Refer to one: %s.", wrong, exampleOf(s.GetArtifact()))
		return
	}
	if g.format != "" && len(s.GetFormats()) > 0 && !slices.Contains(s.GetFormats(), g.format) {
		d.bad(a.Expr.Range(), "recipe/format", fmt.Sprintf("%s does not take %s", s.GetName(), g.format), "%s is of this format. It takes %s.", g.addr, strings.Join(s.GetFormats(), ", "))
		return
	}
	in := Input{Kind: s.GetArtifact(), Addr: g.node, Artifact: g.artifact}
	if in.Addr == "" {
		// A choice that is not made yet: what it waits for is among what the expression refers to.
		if nodes := d.p.nodesOf(a.Expr, d.ctx); len(nodes) > 0 {
			in.Addr = nodes[0]
		}
	}
	d.inputs[s.GetName()] = in
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
