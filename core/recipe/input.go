package recipe

import (
	"math"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/dataset"
)

// inputArguments are those of an input block of a dataset.
var inputArguments = []string{
	"field", "value", "scale", "mean", "std", "dtype", "shape", "layout",
	"color", "resize", "crop", "resample", "orient",
	"tokenizer", "tokens", "length", "rate",
}

// input evaluates an input block of a dataset; what is wrong is in r.ds.
func (p *Program) input(r *reader, name string) dataset.Input {
	x := dataset.Input{Name: name, Value: r.numbers("value"), Scale: r.number("scale"), Mean: r.numbers("mean"), Std: r.numbers("std")}
	for _, v := range []struct {
		name string
		to   *string
	}{
		{"field", &x.Field}, {"dtype", &x.DType}, {"layout", &x.Layout}, {"color", &x.Color},
		{"resample", &x.Resample}, {"tokens", &x.Tokens}, {"tokenizer", &x.Tokenizer},
	} {
		*v.to, _ = r.text(v.name)
	}
	if x.Tokenizer != "" {
		x.Tokenizer = resolve(p.recipe.Dir, x.Tokenizer)
	}
	x.Shape, x.Resize, x.Crop = r.sizes("shape"), r.sizes("resize"), r.sizes("crop")
	x.Orient = r.flag("orient")
	x.Length, x.Rate = r.count("length", 0, 1), r.count("rate", 0, 1)
	if slices.Contains(x.Std, 0) {
		r.ds = r.ds.Append(diag.At(r.attrs["std"].Expr.Range(), "recipe/number", "std is zero", "Values are divided by it. Leave it out, or write another."))
	}
	return x
}

// numbers reads one number or a list of them; nil when absent.
func (r *reader) numbers(name string) []float64 {
	v, ok := r.list(name)
	if !ok {
		return nil
	}
	out := make([]float64, 0, len(v))
	for _, e := range v {
		f, _ := e.AsBigFloat().Float64()
		if math.IsInf(f, 0) {
			r.ds = r.ds.Append(diag.At(r.attrs[name].Expr.Range(), "recipe/number", name+" is not finite", "It is divided by zero, or larger than any number. Write another one."))
			return nil
		}
		out = append(out, f)
	}
	return out
}

// sizes reads one whole number of at least 1 or a list of them; nil when absent.
func (r *reader) sizes(name string) []int64 {
	v, ok := r.list(name)
	if !ok {
		return nil
	}
	out := make([]int64, 0, len(v))
	for _, e := range v {
		n, good := wholeNumber(e)
		if !good || n < 1 || n > 1<<31 {
			r.ds = r.ds.Append(diag.At(r.attrs[name].Expr.Range(), "recipe/number", name+" does not hold whole numbers of at least 1", "Write one, such as 224, or a list, such as [224, 224]."))
			return nil
		}
		out = append(out, int64(n))
	}
	return out
}

// list reads a number, or a list of numbers that is not empty.
func (r *reader) list(name string) ([]cty.Value, bool) {
	a, ok := r.attrs[name]
	if !ok {
		return nil, false
	}
	v, hd := r.p.eval(a.Expr, r.ctx)
	if ty := v.Type(); hd.HasErrors() || !ty.IsTupleType() && !ty.IsListType() {
		one, _, ok := r.value(name, cty.Number) // which says what is wrong
		return []cty.Value{one}, ok
	}
	many, rng, ok := r.value(name, cty.List(cty.Number))
	if !ok {
		return nil, false
	}
	var out []cty.Value
	for _, e := range many.AsValueSlice() {
		if e.IsNull() {
			r.ds = r.ds.Append(diag.At(rng, "recipe/type", strings.ToLower(name)+" holds null", "Write numbers only."))
			return nil, false
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		r.ds = r.ds.Append(diag.At(rng, "recipe/type", name+" is empty", "Write a number, a list of numbers, or leave it out."))
		return nil, false
	}
	return out, true
}
