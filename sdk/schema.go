package sdk

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var (
	artifactType = reflect.TypeFor[Artifact]()
	modelType    = reflect.TypeFor[Model]()
	datasetType  = reflect.TypeFor[Dataset]()
)

// schema is a configuration struct, read once.
type schema struct {
	goType reflect.Type
	fields []field
	block  *pluginv1.Block
	typ    cty.Type
}

// field is one argument or nested block of a schema.
type field struct {
	index   int
	name    string
	typ     cty.Type  // cty.NilType for artifacts
	def     cty.Value // cty.NilVal without a default
	attr    *pluginv1.Attribute
	nested  *pluginv1.NestedBlock
	body    *schema // of a nested block
	oneOf   []string
	accepts []string
}

func newStepType(s StepSpec, zero any) StepType {
	t := StepType{spec: s}
	fail := func(format string, args ...any) StepType {
		t.err = fmt.Errorf("step %q: "+format, append([]any{s.Name}, args...)...)
		return t
	}
	if !argName.MatchString(s.Name) {
		return fail("the name must be lower-case letters, digits and underscores")
	}
	goType := reflect.TypeOf(zero)
	if goType == nil || goType.Kind() != reflect.Struct {
		return fail("the configuration must be a struct, not %v", goType)
	}
	var err error
	if t.schema, err = schemaOf(goType, true); err != nil {
		return fail("%w", err)
	}
	t.wire = &pluginv1.StepType{Name: s.Name, Revision: s.Revision, Schema: t.schema.block, Markdown: s.Doc, Examples: s.Examples}
	seen := map[string]bool{}
	for _, o := range s.Outputs {
		if !argName.MatchString(o.Name) || o.Name == "result" || seen[o.Name] {
			return fail("output name %q is no name, reserved, or listed twice", o.Name)
		}
		if o.Kind == "" {
			return fail("output %q has no kind", o.Name)
		}
		seen[o.Name] = true
		t.wire.Outputs = append(t.wire.Outputs, &pluginv1.Output{Name: o.Name, Kind: o.Kind, Format: o.Format, Markdown: o.Doc})
	}
	if s.ResultExample != nil {
		rt := reflect.TypeOf(s.ResultExample)
		if rt.Kind() == reflect.Pointer {
			rt = rt.Elem()
		}
		if rt.Kind() != reflect.Struct {
			return fail("ResultExample must be a struct, not %v", rt)
		}
		if t.facts, err = valueType(rt); err != nil {
			return fail("result: %w", err)
		}
		if t.wire.ResultType, err = ctyjson.MarshalType(t.facts); err != nil {
			return fail("result: %w", err)
		}
		for i := range rt.NumField() {
			if name, ok := fieldName(rt.Field(i)); ok {
				t.wire.Facts = append(t.wire.Facts, &pluginv1.Fact{Name: name, Markdown: rt.Field(i).Tag.Get("doc")})
			}
		}
	}
	return t
}

// schemaOf reads the tags of a struct. Artifacts are accepted at the top alone: they travel by the argument's name.
func schemaOf(t reflect.Type, top bool) (*schema, error) {
	s := &schema{goType: t, block: &pluginv1.Block{}}
	seen := map[string]bool{}
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, ok := sf.Tag.Lookup("opt")
		if !ok || tag == "-" {
			continue
		}
		if !sf.IsExported() {
			return nil, fmt.Errorf("field %s has an opt tag but is not exported", sf.Name)
		}
		f, err := fieldOf(i, sf, tag, top)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", sf.Name, err)
		}
		if seen[f.name] {
			return nil, fmt.Errorf("field %s: the name %q is taken", sf.Name, f.name)
		}
		seen[f.name] = true
		s.fields = append(s.fields, f)
		if f.nested != nil {
			s.block.Blocks = append(s.block.Blocks, f.nested)
		} else {
			s.block.Attributes = append(s.block.Attributes, f.attr)
		}
	}
	var err error
	s.typ, err = pluginv1.ImpliedType(s.block)
	return s, err
}

func fieldOf(i int, sf reflect.StructField, tag string, top bool) (field, error) {
	parts := strings.Split(tag, ",")
	f := field{index: i, name: parts[0]}
	if !argName.MatchString(f.name) {
		return f, fmt.Errorf("%q is no argument name: write lower-case letters, digits and underscores", f.name)
	}
	var required, block, sensitive bool
	for _, o := range parts[1:] {
		switch o {
		case "required":
			required = true
		case "block":
			block = true
		case "sensitive":
			sensitive = true
		default:
			return f, fmt.Errorf("unknown option %q: required, block and sensitive are known", o)
		}
	}
	if block {
		return f, f.block(sf, required)
	}
	f.attr = &pluginv1.Attribute{Name: f.name, Required: required, Sensitive: sensitive,
		Markdown: sf.Tag.Get("doc"), Deprecated: sf.Tag.Get("deprecated"), OneOf: list(sf.Tag.Get("oneof")), Formats: list(sf.Tag.Get("accepts"))}
	f.oneOf, f.accepts = f.attr.OneOf, f.attr.Formats
	base := sf.Type
	if base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	def, hasDefault := sf.Tag.Lookup("default")
	switch base {
	case modelType, datasetType, artifactType:
		if !top {
			return f, errors.New("an artifact must be an argument of the step itself, not of a block")
		}
		f.attr.Artifact = map[reflect.Type]string{modelType: "model", datasetType: "dataset", artifactType: sf.Tag.Get("kind")}[base]
		if f.attr.Artifact == "" {
			return f, errors.New(`an Artifact needs its kind: kind:"calibration"`)
		}
		if hasDefault || len(f.oneOf) > 0 {
			return f, errors.New("an artifact takes neither default nor oneof")
		}
		return f, nil
	}
	if len(f.accepts) > 0 {
		return f, errors.New("accepts is for artifacts")
	}
	var err error
	if f.typ, err = valueType(sf.Type); err != nil {
		return f, err
	}
	if f.attr.Type, err = ctyjson.MarshalType(f.typ); err != nil {
		return f, err
	}
	if len(f.oneOf) > 0 && f.typ != cty.String && (!f.typ.IsCollectionType() || f.typ.ElementType() != cty.String) {
		return f, errors.New("oneof is for strings, and for lists and maps of strings")
	}
	if !hasDefault {
		return f, nil
	}
	if required {
		return f, errors.New("a required argument has no default")
	}
	if f.def, err = literal(def, f.typ); err != nil {
		return f, fmt.Errorf("default %q: %w", def, err)
	}
	if ds := f.checkOneOf(f.def, nil); len(ds) > 0 {
		return f, fmt.Errorf("default: %w", ds)
	}
	f.attr.Default, err = ctyjson.Marshal(f.def, f.typ)
	return f, err
}

func (f *field) block(sf reflect.StructField, required bool) error {
	for _, t := range []string{"default", "oneof", "accepts", "kind"} {
		if _, ok := sf.Tag.Lookup(t); ok {
			return fmt.Errorf("a block takes no %s", t)
		}
	}
	f.nested = &pluginv1.NestedBlock{Name: f.name}
	body := sf.Type
	switch {
	case body.Kind() == reflect.Struct:
		f.nested.Nesting, f.nested.Max = pluginv1.NestedBlock_NESTING_SINGLE, 1
	case body.Kind() == reflect.Pointer:
		f.nested.Nesting, f.nested.Max, body = pluginv1.NestedBlock_NESTING_SINGLE, 1, body.Elem()
	case body.Kind() == reflect.Slice:
		f.nested.Nesting, body = pluginv1.NestedBlock_NESTING_LIST, body.Elem()
	case body.Kind() == reflect.Map && body.Key().Kind() == reflect.String:
		f.nested.Nesting, body = pluginv1.NestedBlock_NESTING_MAP, body.Elem()
	}
	if body.Kind() != reflect.Struct {
		return fmt.Errorf("a block is a struct, a pointer to one, a slice or a string-keyed map of them, not %v", sf.Type)
	}
	if required {
		f.nested.Min = 1
	}
	for tag, to := range map[string]*int64{"min": &f.nested.Min, "max": &f.nested.Max} {
		if v, ok := sf.Tag.Lookup(tag); ok {
			n, err := strconv.ParseInt(v, 10, 32)
			if err != nil || n < 0 {
				return fmt.Errorf("%s %q is no count", tag, v)
			}
			*to = n
		}
	}
	var err error
	if f.body, err = schemaOf(body, false); err != nil {
		return err
	}
	f.nested.Body = f.body.block
	f.nested.Body.Markdown = sf.Tag.Get("doc")
	f.typ, err = pluginv1.ImpliedType(&pluginv1.Block{Blocks: []*pluginv1.NestedBlock{f.nested}})
	if err == nil {
		f.typ = f.typ.AttributeType(f.name)
	}
	return err
}

// valueType is the cty type of a Go type.
func valueType(t reflect.Type) (cty.Type, error) { return valueTypeIn(t, nil) }

func valueTypeIn(t reflect.Type, within []reflect.Type) (cty.Type, error) {
	if slices.Contains(within, t) {
		return cty.NilType, fmt.Errorf("the type %v contains itself", t)
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Bool:
		return cty.Bool, nil
	case reflect.String:
		return cty.String, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return cty.Number, nil
	case reflect.Pointer:
		return valueTypeIn(t.Elem(), within)
	case reflect.Slice:
		e, err := valueTypeIn(t.Elem(), within)
		if err != nil {
			return e, err
		}
		return cty.List(e), nil
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return cty.NilType, fmt.Errorf("the keys of %v must be strings", t)
		}
		e, err := valueTypeIn(t.Elem(), within)
		if err != nil {
			return e, err
		}
		return cty.Map(e), nil
	case reflect.Struct:
		if t == modelType || t == datasetType || t == artifactType {
			return cty.NilType, fmt.Errorf("%v must be a field of its own", t)
		}
		fields := map[string]cty.Type{}
		for i := range t.NumField() {
			name, ok := fieldName(t.Field(i))
			if !ok {
				continue
			}
			if !argName.MatchString(name) || fields[name] != cty.NilType {
				return cty.NilType, fmt.Errorf("%v.%s: the name %q is no name or taken", t, t.Field(i).Name, name)
			}
			e, err := valueTypeIn(t.Field(i).Type, within)
			if err != nil {
				return e, fmt.Errorf("%s: %w", t.Field(i).Name, err)
			}
			fields[name] = e
		}
		return cty.Object(fields), nil
	}
	return cty.NilType, fmt.Errorf("the type %v cannot be written in a recipe", t)
}

// fieldName is the name of a struct field that is part of a value.
func fieldName(sf reflect.StructField) (string, bool) {
	tag, ok := sf.Tag.Lookup("opt")
	if !ok || tag == "-" || !sf.IsExported() {
		return "", false
	}
	name, _, _ := strings.Cut(tag, ",")
	return name, true
}

// literal reads the text of a default tag.
func literal(text string, t cty.Type) (cty.Value, error) {
	if t.IsPrimitiveType() {
		return convert.Convert(cty.StringVal(text), t)
	}
	return ctyjson.Unmarshal([]byte(text), t)
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
