package recipe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Ensure is one budget of an evaluation: its name, its condition as the recipe writes it, and how it came out.
type Ensure struct {
	Name, Condition string
	OK              bool
	Message         string
}

type ensureExpr struct {
	name               string
	condition, message hcl.Expression
	rng                hcl.Range
}

func (p *Program) ensureExprs(n *Node) (out []ensureExpr, exprs []hcl.Expression, ds diag.Diags) {
	body, _ := n.Body.Content(evaluateSchema)
	for _, b := range body.Blocks.OfType("ensure") {
		if i := slices.IndexFunc(out, func(o ensureExpr) bool { return o.name == b.Labels[0] }); i >= 0 {
			ds = ds.Append(diag.At(b.DefRange, "recipe/duplicate", fmt.Sprintf("A second ensure %q", b.Labels[0]), "The first is at %s. Give this one another name.", spot(out[i].rng)))
		}
		c, more := content(b.Body, ensureSchema)
		ds = ds.Append(more...)
		e := ensureExpr{name: b.Labels[0], rng: b.DefRange}
		if a, ok := c.Attributes["condition"]; ok {
			e.condition = a.Expr
			exprs = append(exprs, a.Expr)
		}
		if a, ok := c.Attributes["error_message"]; ok {
			e.message = a.Expr
			exprs = append(exprs, a.Expr)
		}
		if e.condition != nil {
			out = append(out, e)
		}
	}
	return out, exprs, ds
}

// checkEnsures evaluates the conditions with unknown figures: their types and references must fit.
func (p *Program) checkEnsures(n *Node) (ds diag.Diags) {
	ensures, _, _ := p.ensureExprs(n)
	self := p.shapes[n.Name].unknown()
	ctx := p.context(n, &self)
	for _, e := range ensures {
		v, hd := p.eval(e.condition, ctx)
		ds = ds.Append(coded(hd)...)
		if !hd.HasErrors() && v.Type() != cty.DynamicPseudoType {
			if _, err := convert.Convert(v, cty.Bool); err != nil {
				ds = ds.Append(noCondition(e.condition, v))
			}
		}
		if e.message != nil {
			_, hd := p.eval(e.message, ctx)
			ds = ds.Append(coded(hd)...)
		}
	}
	return ds
}

// noCondition says that the value of a condition is neither true nor false.
func noCondition(e hcl.Expression, v cty.Value) diag.Diagnostic {
	what := article(v.Type().FriendlyName())
	switch {
	case v.IsNull():
		what = "null"
	case !v.IsKnown() && (v.Type() == cty.Bool || v.Type() == cty.DynamicPseudoType):
		what = "not known yet"
	}
	return diag.At(e.Range(), "recipe/condition", "The condition is not true or false", "It is %s. Compare it with something: <, <=, ==, !=, >= or >.", what)
}

// Figures are what was measured of one subject: point estimates and interval bounds by metric.
type Figures struct{ Point, Low, High map[string]float64 }

// SetMeasured puts an evaluation's figures into the scope.
func (p *Program) SetMeasured(n *Node, subjects map[string]Figures) {
	object := func(m map[string]float64) map[string]cty.Value {
		out := map[string]cty.Value{}
		for k, v := range m {
			out[k] = cty.NumberFloatVal(v)
		}
		return out
	}
	all := map[string]cty.Value{}
	for name, f := range subjects {
		one := object(f.Point)
		one["low"], one["high"] = cty.ObjectVal(object(f.Low)), cty.ObjectVal(object(f.High))
		all[name] = cty.ObjectVal(one)
	}
	p.set(KindEvaluate, n.Name, cty.ObjectVal(all))
}

// Ensures evaluates the budgets of an evaluation that was measured.
func (p *Program) Ensures(n *Node) (out []Ensure, ds diag.Diags) {
	exprs, _, _ := p.ensureExprs(n)
	self := p.kinds[KindEvaluate][n.Name]
	ctx := p.context(n, &self)
	for _, e := range exprs {
		c := Ensure{Name: e.name, Condition: p.text(e.condition.Range())}
		v, hd := e.condition.Value(ctx)
		if hd.HasErrors() {
			ds = ds.Append(coded(hd)...)
			continue
		}
		ok, good := truth(v)
		if !good {
			ds = ds.Append(noCondition(e.condition, v))
			continue
		}
		c.OK = ok
		if !ok {
			c.Message = p.ensureMessage(e, ctx)
		}
		out = append(out, c)
	}
	return out, p.hide(ds)
}

// ensureMessage is the recipe's own message, else the condition with the values in it.
func (p *Program) ensureMessage(e ensureExpr, ctx *hcl.EvalContext) string {
	if e.message != nil {
		if v, hd := e.message.Value(ctx); !hd.HasErrors() {
			return message(v)
		}
	}
	var values []string
	for _, t := range e.condition.Variables() {
		v, hd := t.TraverseAbs(ctx)
		if hd.HasErrors() || v.IsNull() {
			continue
		}
		s := p.text(t.SourceRange())
		switch {
		case v.ContainsMarked():
			s += " is sensitive"
		case v.IsKnown() && v.Type() == cty.Number:
			s += " is " + v.AsBigFloat().Text('g', 6)
		case v.IsKnown() && v.Type() == cty.String:
			s += fmt.Sprintf(" is %q", v.AsString())
		default:
			continue
		}
		if !slices.Contains(values, s) {
			values = append(values, s)
		}
	}
	s := p.text(e.condition.Range()) + " does not hold"
	if len(values) > 0 {
		s += ": " + strings.Join(values, ", ")
	}
	return s + "."
}

// text is the recipe's own text at a range.
func (p *Program) text(r hcl.Range) string {
	f := p.recipe.Files[r.Filename]
	if f == nil || r.End.Byte > len(f.Bytes) {
		return ""
	}
	return strings.Join(strings.Fields(string(r.SliceBytes(f.Bytes))), " ")
}
