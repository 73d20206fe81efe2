package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// decoded is a configuration as Go knows it.
type decoded struct {
	ptr any // *C
	// unknown are the paths whose value is not known yet, as pathKey writes them.
	unknown []string
}

// decode reads the configuration of one step. Diagnostics are about values; an error is a bug of the host.
func (t *StepType) decode(v *pluginv1.Value, inputs map[string]*pluginv1.Artifact, complete bool) (decoded, Diagnostics, error) {
	if len(v.GetMsgpack()) == 0 {
		return decoded{}, nil, fmt.Errorf("the host sent no configuration for step %q", t.spec.Name)
	}
	val, err := pluginv1.DecodeValue(v, t.schema.typ)
	if err != nil {
		return decoded{}, nil, fmt.Errorf("the host sent a configuration for step %q that does not fit its schema: %w", t.spec.Name, err)
	}
	d := decoder{complete: complete}
	ptr := reflect.New(t.schema.goType)
	d.object(t.schema, val, ptr.Elem(), nil)
	for _, f := range t.schema.fields {
		if f.attr.GetArtifact() == "" {
			continue
		}
		a, ok := inputs[f.name]
		if complete {
			d.artifact(f, a, ok)
		}
		if !ok {
			continue
		}
		dst := ptr.Elem().Field(f.index)
		if dst.Kind() == reflect.Pointer {
			dst.Set(reflect.New(dst.Type().Elem()))
			dst = dst.Elem()
		}
		if dst.Type() == artifactType {
			dst.Set(reflect.ValueOf(artifactOf(a)))
		} else { // Model or Dataset
			dst.Field(0).Set(reflect.ValueOf(artifactOf(a)))
		}
	}
	return decoded{ptr.Interface(), d.unknown}, d.diags, nil
}

type decoder struct {
	complete bool // nothing may be unknown
	unknown  []string
	diags    Diagnostics
}

func (d *decoder) fail(path []any, format string, args ...any) {
	d.diags = append(d.diags, Diagnostic{Summary: fmt.Sprintf(format, args...), Path: slices.Clone(path)})
}

// artifact checks an input. That the host checked it too does no harm: other hosts may not have.
func (d *decoder) artifact(f field, a *pluginv1.Artifact, ok bool) {
	path := []any{f.name}
	switch {
	case !ok && f.attr.Required:
		d.fail(path, "The argument %q is required", f.name)
	case ok && a.GetPath() == "":
		d.fail(path, "The %s for %q does not exist", f.attr.Artifact, f.name)
	case ok && len(f.accepts) > 0 && !slices.Contains(f.accepts, a.GetFormat()):
		d.fail(path, "%q takes the format %s, not %q", f.name, strings.Join(f.accepts, " or "), a.GetFormat())
	}
}

func (d *decoder) object(s *schema, v cty.Value, dst reflect.Value, path []any) {
	if !v.IsKnown() {
		d.isUnknown(path)
		v = cty.NullVal(v.Type())
	}
	for _, f := range s.fields {
		if f.attr.GetArtifact() != "" {
			continue
		}
		p := append(slices.Clone(path), f.name)
		fv := cty.NullVal(f.typ)
		if !v.IsNull() {
			fv = v.GetAttr(f.name)
		}
		if f.body != nil {
			d.blocks(f, fv, dst.Field(f.index), p)
			continue
		}
		if !fv.IsKnown() {
			d.isUnknown(p)
			fv = cty.NullVal(f.typ)
		} else if fv.IsNull() && f.attr.Required && !v.IsNull() {
			d.fail(p, "The argument %q is required", f.name)
		}
		if fv.IsNull() && f.def != cty.NilVal {
			fv = f.def
		}
		d.diags = append(d.diags, f.checkOneOf(fv, p)...)
		d.value(fv, dst.Field(f.index), p)
	}
}

func (d *decoder) isUnknown(path []any) {
	if d.complete {
		d.fail(path, "The value is not known although the step is about to run")
		return
	}
	d.unknown = append(d.unknown, pathKey(path))
}

func (d *decoder) blocks(f field, v cty.Value, dst reflect.Value, path []any) {
	if f.nested.Nesting == pluginv1.NestedBlock_NESTING_SINGLE {
		if v.IsNull() && dst.Kind() == reflect.Pointer {
			if f.nested.Min > 0 {
				d.fail(path, "The block %q is required", f.name)
			}
			return
		}
		if dst.Kind() == reflect.Pointer {
			dst.Set(reflect.New(dst.Type().Elem()))
			dst = dst.Elem()
		}
		if v.IsNull() && f.nested.Min > 0 {
			d.fail(path, "The block %q is required", f.name)
		}
		d.object(f.body, v, dst, path)
		return
	}
	if !v.IsKnown() {
		d.isUnknown(path)
		return
	}
	n := 0
	if !v.IsNull() {
		n = v.LengthInt()
	}
	if int64(n) < f.nested.Min || f.nested.Max > 0 && int64(n) > f.nested.Max {
		d.fail(path, "There are %d %q blocks; at least %d are needed%s", n, f.name, f.nested.Min, most(f.nested.Max))
	}
	if n == 0 {
		return
	}
	d.elements(v, dst, path, func(e cty.Value, to reflect.Value, p []any) { d.object(f.body, e, to, p) })
}

func most(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and at most %d allowed", n)
}

// elements fills a slice or a map.
func (d *decoder) elements(v cty.Value, dst reflect.Value, path []any, each func(cty.Value, reflect.Value, []any)) {
	if dst.Kind() == reflect.Map {
		dst.Set(reflect.MakeMapWithSize(dst.Type(), v.LengthInt()))
	} else {
		dst.Set(reflect.MakeSlice(dst.Type(), v.LengthInt(), v.LengthInt()))
	}
	i := 0
	for it := v.ElementIterator(); it.Next(); i++ {
		k, e := it.Element()
		if dst.Kind() == reflect.Map {
			to := reflect.New(dst.Type().Elem()).Elem()
			each(e, to, append(slices.Clone(path), Key(k.AsString())))
			dst.SetMapIndex(reflect.ValueOf(k.AsString()).Convert(dst.Type().Key()), to)
		} else {
			each(e, dst.Index(i), append(slices.Clone(path), Index(i)))
		}
	}
}

// value fills dst from a value of its type; null leaves the zero value.
func (d *decoder) value(v cty.Value, dst reflect.Value, path []any) {
	if !v.IsKnown() {
		d.isUnknown(path)
		return
	}
	if v.IsNull() {
		return
	}
	v, _ = v.Unmark()
	switch dst.Kind() {
	case reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		d.value(v, dst.Elem(), path)
	case reflect.String:
		dst.SetString(v.AsString())
	case reflect.Bool:
		dst.SetBool(v.True())
	case reflect.Float32, reflect.Float64:
		f, _ := v.AsBigFloat().Float64()
		if math.IsInf(f, 0) || dst.OverflowFloat(f) {
			d.fail(path, "%s is too large", v.AsBigFloat().Text('g', 6))
			return
		}
		dst.SetFloat(f)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, acc := v.AsBigFloat().Int64()
		if acc != big.Exact || dst.OverflowInt(i) {
			d.notWhole(v, path)
			return
		}
		dst.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		u, acc := v.AsBigFloat().Uint64()
		if acc != big.Exact || dst.OverflowUint(u) {
			d.notWhole(v, path)
			return
		}
		dst.SetUint(u)
	case reflect.Slice, reflect.Map:
		d.elements(v, dst, path, d.value)
	case reflect.Struct:
		for i := range dst.NumField() {
			if name, ok := fieldName(dst.Type().Field(i)); ok {
				d.value(v.GetAttr(name), dst.Field(i), append(slices.Clone(path), name))
			}
		}
	}
}

func (d *decoder) notWhole(v cty.Value, path []any) {
	n := v.AsBigFloat()
	switch {
	case !n.IsInt():
		d.fail(path, "%s is not a whole number", n.Text('g', 10))
	case n.Sign() < 0:
		d.fail(path, "%s is too small", n.Text('g', 10))
	default:
		d.fail(path, "%s is too large", n.Text('g', 10))
	}
}

// checkOneOf checks a string, or the strings in a list or map.
func (f *field) checkOneOf(v cty.Value, path []any) Diagnostics {
	if len(f.oneOf) == 0 || v.IsNull() || !v.IsKnown() {
		return nil
	}
	v, _ = v.Unmark()
	if v.Type() == cty.String {
		if slices.Contains(f.oneOf, v.AsString()) {
			return nil
		}
		return Diagnostics{{Summary: fmt.Sprintf("%q is not one of the values that %q takes", v.AsString(), f.name),
			Detail: "Write one of: " + strings.Join(f.oneOf, ", ") + ".", Path: slices.Clone(path)}}
	}
	var out Diagnostics
	i := 0
	for it := v.ElementIterator(); it.Next(); i++ {
		k, e := it.Element()
		var step any = Index(i)
		if v.Type().IsMapType() {
			step = Key(k.AsString())
		}
		out = append(out, f.checkOneOf(e, append(slices.Clone(path), step))...)
	}
	return out
}

func pathKey(path []any) string {
	var b strings.Builder
	for _, s := range path {
		fmt.Fprintf(&b, "/%v", s)
	}
	return b.String()
}

// known drops what is said about a value that nobody knows yet.
func (ds Diagnostics) known(unknown []string) Diagnostics {
	if len(unknown) == 0 {
		return ds
	}
	return slices.DeleteFunc(slices.Clone(ds), func(d Diagnostic) bool {
		key := pathKey(d.Path)
		return slices.ContainsFunc(unknown, func(u string) bool { return key == u || strings.HasPrefix(key, u+"/") })
	})
}

type unknownKey struct{}

// Known tells within Validate and Plan whether the value of an argument ("target", or "input.field" within a block) is
// known yet: what comes from a step that has not run is not.
func Known(ctx context.Context, arg string) bool {
	unknown, _ := ctx.Value(unknownKey{}).([]string)
	key := "/" + strings.ReplaceAll(arg, ".", "/")
	return !slices.ContainsFunc(unknown, func(u string) bool { return key == u || strings.HasPrefix(key, u+"/") })
}

// encodeFacts turns a step's facts into a value of its result type.
func (t *StepType) encodeFacts(facts any) (*pluginv1.Value, error) {
	if t.facts == cty.NilType {
		if facts != nil {
			return nil, errors.New("the step returned facts but declares none: set StepSpec.ResultExample")
		}
		return nil, nil
	}
	v := cty.NullVal(t.facts)
	if facts != nil {
		var err error
		if v, err = toCty(reflect.ValueOf(facts), t.facts); err != nil {
			return nil, fmt.Errorf("the step's facts: %w", err)
		}
	}
	b, err := ctymsgpack.Marshal(v, t.facts)
	if err != nil {
		return nil, fmt.Errorf("the step's facts: %w", err)
	}
	return &pluginv1.Value{Msgpack: b}, nil
}

func toCty(v reflect.Value, t cty.Type) (cty.Value, error) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return cty.NullVal(t), nil
		}
		v = v.Elem()
	}
	if got, err := valueType(v.Type()); err != nil || !got.Equals(t) {
		return cty.NilVal, fmt.Errorf("%v is not what StepSpec.ResultExample promised", v.Type())
	}
	switch v.Kind() {
	case reflect.Bool:
		return cty.BoolVal(v.Bool()), nil
	case reflect.String:
		return cty.StringVal(valid(v.String())), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return cty.NumberIntVal(v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return cty.NumberUIntVal(v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return cty.NilVal, fmt.Errorf("%v is no number", v.Float())
		}
		return cty.NumberFloatVal(v.Float()), nil
	case reflect.Slice:
		elems := make([]cty.Value, v.Len())
		for i := range elems {
			var err error
			if elems[i], err = toCty(v.Index(i), t.ElementType()); err != nil {
				return cty.NilVal, fmt.Errorf("[%d]: %w", i, err)
			}
		}
		if len(elems) == 0 {
			return cty.ListValEmpty(t.ElementType()), nil
		}
		return cty.ListVal(elems), nil
	case reflect.Map:
		elems := make(map[string]cty.Value, v.Len())
		for it := v.MapRange(); it.Next(); {
			e, err := toCty(it.Value(), t.ElementType())
			if err != nil {
				return cty.NilVal, fmt.Errorf("[%q]: %w", it.Key().String(), err)
			}
			elems[valid(it.Key().String())] = e
		}
		if len(elems) == 0 {
			return cty.MapValEmpty(t.ElementType()), nil
		}
		return cty.MapVal(elems), nil
	default: // a struct: valueType let nothing else through
		fields := map[string]cty.Value{}
		for i := range v.NumField() {
			name, ok := fieldName(v.Type().Field(i))
			if !ok {
				continue
			}
			e, err := toCty(v.Field(i), t.AttributeType(name))
			if err != nil {
				return cty.NilVal, fmt.Errorf("%s: %w", name, err)
			}
			fields[name] = e
		}
		return cty.ObjectVal(fields), nil
	}
}
