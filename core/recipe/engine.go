package recipe

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/optimize-hcl/optimize/core/diag"
)

// everySubject is the label of the engine block for all subjects without one of their own.
const everySubject = "*"

// EngineConfig is how the runtime of a subject is set up: the options that the plugin is given, in its own words.
type EngineConfig struct {
	Options map[string]string
	// Open tells that a value is not known yet, so that its option is not among them.
	Open bool
	// Body is the block, in which the plugin's diagnostics find their places.
	Body hcl.Body
}

// EngineOf gives the engine block for a subject: its own, else the one for all; nil without either.
func (c *EvaluateConfig) EngineOf(subject string) *EngineConfig {
	if e, ok := c.engines[subject]; ok {
		return e
	}
	return c.engines[everySubject]
}

// readEngines reads the engine blocks. What their arguments mean is the plugin's to say.
func (p *Program) readEngines(c *EvaluateConfig, outer *reader, body *hcl.BodyContent) {
	c.engines = map[string]*EngineConfig{}
	places := map[string]hcl.Range{}
	for _, b := range body.Blocks.OfType("engine") {
		subject := b.Labels[0]
		bad := func(code, summary, detail string, args ...any) {
			outer.ds = outer.ds.Append(diag.At(b.LabelRanges[0], code, summary, detail, args...))
		}
		if first, again := places[subject]; again {
			bad("recipe/duplicate", fmt.Sprintf("A second engine block for %q", subject), "The first is at %s. Put both into one.", spot(first))
			continue
		}
		places[subject] = b.DefRange
		if _, ok := c.ranges[subject]; !ok && subject != everySubject || subject == "" {
			subjects := []string{everySubject}
			for _, s := range c.Subjects() {
				subjects = append(subjects, s.Name)
			}
			bad("recipe/engine", fmt.Sprintf("There is no candidate %q", subject), "%s", didYouMean(subject, subjects, "An engine block is for one of"))
			continue
		}
		attrs, hd := b.Body.JustAttributes()
		if hd.HasErrors() {
			outer.ds = outer.ds.Append(coded(hd)...)
			continue
		}
		r := &reader{p: p, attrs: attrs, ctx: outer.ctx}
		e := &EngineConfig{Options: map[string]string{}, Body: b.Body}
		for _, a := range sortedAttrs(attrs) {
			v, rng, ok := r.value(a.Name, cty.DynamicPseudoType)
			if !ok {
				e.Open = e.Open || !v.IsWhollyKnown()
				continue // left out, told, or not known yet
			}
			if wrong := flattenOption(e.Options, a.Name, v); wrong != "" {
				r.ds = r.ds.Append(diag.At(rng, "recipe/engine", fmt.Sprintf("%s cannot be given to a runtime", a.Name), "%s Write a text, a number, true or false, a list of them, or an object of such settings.", wrong))
			}
		}
		outer.ds = outer.ds.Append(r.ds...)
		c.engines[subject] = e
	}
}

// flattenOption writes a value as the texts that a runtime takes: a list with commas, an entry of an object under
// "NAME.KEY". It says what is wrong with a value that cannot be written so.
func flattenOption(to map[string]string, name string, v cty.Value) (wrong string) {
	ty := v.Type()
	switch {
	case v.IsNull(): // as if it were not written
		return ""
	case ty.IsPrimitiveType():
		s, err := convert.Convert(v, cty.String)
		if err != nil {
			return fmt.Sprintf("It is %s.", article(ty.FriendlyName()))
		}
		to[name] = s.AsString()
		return ""
	case ty.IsObjectType() || ty.IsMapType():
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if k.AsString() == "" {
				return "A setting has an empty name."
			}
			if wrong := flattenOption(to, name+"."+k.AsString(), e); wrong != "" {
				return wrong
			}
		}
		return ""
	case ty.IsListType() || ty.IsSetType() || ty.IsTupleType():
		var items []string
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			s, err := convert.Convert(e, cty.String)
			switch {
			case err != nil || s.IsNull():
				return "It has an element that is no text, number or truth value."
			case strings.Contains(s.AsString(), ","):
				return fmt.Sprintf("The element %q has a comma, which parts the elements.", s.AsString())
			}
			items = append(items, s.AsString())
		}
		to[name] = strings.Join(items, ",")
		return ""
	}
	return fmt.Sprintf("It is %s.", article(ty.FriendlyName()))
}
