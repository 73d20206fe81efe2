package plugintest

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

const isWindows = runtime.GOOS == "windows"

// stepInput is what one step is asked with.
type stepInput struct {
	step   *pluginv1.StepType
	ty     cty.Type
	config cty.Value
	inputs map[string]*pluginv1.Artifact
}

func (in *stepInput) value() (*pluginv1.Value, error) {
	b, err := ctymsgpack.Marshal(in.config, in.ty)
	return &pluginv1.Value{Msgpack: b}, err
}

// input makes a configuration for a step: that of its first example as far as it stands by itself, else defaults, and
// for what is required without one a value of the type. Artifacts are the suite's, or those that were given.
func (k *kit) input(s *pluginv1.StepType) (*stepInput, error) {
	ty, err := pluginv1.ImpliedType(s.GetSchema())
	if err != nil {
		return nil, err
	}
	in := &stepInput{step: s, ty: ty, inputs: map[string]*pluginv1.Artifact{}}
	example, err := exampleBody(s)
	if err != nil {
		return nil, err
	}
	in.config = configOf(s.GetSchema(), example)
	for _, a := range s.GetSchema().GetAttributes() {
		if a.GetArtifact() == "" {
			continue
		}
		_, shown := attributesOf(example)[a.GetName()]
		if !a.GetRequired() && !shown {
			continue
		}
		art := k.artifact(a)
		if art == nil {
			return nil, skip("the suite has no %s of the formats %v for %s of step %s: give one with --artifact FORMAT=PATH", a.GetArtifact(), a.GetFormats(), a.GetName(), s.GetName())
		}
		in.inputs[a.GetName()] = art
	}
	return in, nil
}

// artifact finds an artifact that an attribute takes.
func (k *kit) artifact(a *pluginv1.Attribute) *pluginv1.Artifact {
	if a.GetArtifact() == "dataset" {
		return &pluginv1.Artifact{Kind: "dataset", Format: "safetensors", Path: k.dataset, Digest: "d0" + fmt.Sprintf("%062d", 0)}
	}
	formats := a.GetFormats()
	if len(formats) == 0 && a.GetArtifact() == "model" {
		formats = []string{"onnx"}
	}
	for _, f := range formats {
		if path, ok := k.artifacts[f]; ok {
			size, _ := sizeOf(path)
			return &pluginv1.Artifact{Kind: a.GetArtifact(), Format: f, Path: path, Digest: "a0" + fmt.Sprintf("%062d", 0), Size: size}
		}
	}
	return nil
}

// exampleBody is the body of the step block in the first example; nil without one.
func exampleBody(s *pluginv1.StepType) (*hclsyntax.Body, error) {
	for i, text := range s.GetExamples() {
		f, hd := hclsyntax.ParseConfig([]byte(text), fmt.Sprintf("example %d", i+1), hcl.InitialPos)
		if hd.HasErrors() {
			return nil, fmt.Errorf("example %d is no HCL: %s", i+1, hd.Error())
		}
		for _, b := range f.Body.(*hclsyntax.Body).Blocks {
			if b.Type == "step" && len(b.Labels) == 2 && b.Labels[0] == s.GetName() {
				return b.Body, nil
			}
		}
	}
	return nil, nil
}

func attributesOf(b *hclsyntax.Body) hclsyntax.Attributes {
	if b == nil {
		return nil
	}
	return b.Attributes
}

// configOf builds an object of a schema's implied type.
func configOf(schema *pluginv1.Block, example *hclsyntax.Body) cty.Value {
	fields := map[string]cty.Value{}
	for _, a := range schema.GetAttributes() {
		if a.GetArtifact() != "" {
			continue
		}
		ty, err := ctyjson.UnmarshalType(a.GetType())
		if err != nil {
			ty = cty.DynamicPseudoType
		}
		fields[a.GetName()] = valueOf(a, ty, attributesOf(example)[a.GetName()])
	}
	for _, n := range schema.GetBlocks() {
		ty, err := pluginv1.ImpliedType(n.GetBody())
		if err != nil {
			continue
		}
		var bodies []*hclsyntax.Block
		if example != nil {
			for _, b := range example.Blocks {
				if b.Type == n.GetName() {
					bodies = append(bodies, b)
				}
			}
		}
		fields[n.GetName()] = nest(n, ty, bodies)
	}
	return cty.ObjectVal(fields)
}

func valueOf(a *pluginv1.Attribute, ty cty.Type, example *hclsyntax.Attribute) cty.Value {
	if example != nil && len(example.Expr.Variables()) == 0 {
		if v, hd := example.Expr.Value(nil); !hd.HasErrors() {
			if c, err := convert.Convert(v, ty); err == nil {
				return c
			}
		}
	}
	if len(a.GetDefault()) > 0 {
		if v, err := ctyjson.Unmarshal(a.GetDefault(), ty); err == nil {
			return v
		}
	}
	if !a.GetRequired() {
		return cty.NullVal(ty)
	}
	switch {
	case ty == cty.String && len(a.GetOneOf()) > 0:
		return cty.StringVal(a.GetOneOf()[0])
	case ty == cty.String:
		return cty.StringVal("x")
	case ty == cty.Number:
		return cty.NumberIntVal(1)
	case ty == cty.Bool:
		return cty.False
	case ty.IsListType():
		return cty.ListValEmpty(ty.ElementType())
	case ty.IsSetType():
		return cty.SetValEmpty(ty.ElementType())
	case ty.IsMapType():
		return cty.MapValEmpty(ty.ElementType())
	}
	return cty.NullVal(ty)
}

// nest makes the value of a nested block: those of the example, or the fewest that are allowed.
func nest(n *pluginv1.NestedBlock, ty cty.Type, bodies []*hclsyntax.Block) cty.Value {
	for int64(len(bodies)) < n.GetMin() {
		bodies = append(bodies, &hclsyntax.Block{Type: n.GetName(), Labels: []string{fmt.Sprintf("k%d", len(bodies))}})
	}
	var list []cty.Value
	byKey := map[string]cty.Value{}
	for _, b := range bodies {
		v := configOf(n.GetBody(), b.Body)
		list = append(list, v)
		if len(b.Labels) > 0 {
			byKey[b.Labels[0]] = v
		}
	}
	switch n.GetNesting() {
	case pluginv1.NestedBlock_NESTING_SINGLE:
		if len(list) == 0 {
			return cty.NullVal(ty)
		}
		return list[0]
	case pluginv1.NestedBlock_NESTING_MAP:
		if len(byKey) == 0 {
			return cty.MapValEmpty(ty)
		}
		return cty.MapVal(byKey)
	}
	if len(list) == 0 {
		return cty.ListValEmpty(ty)
	}
	return cty.ListVal(list)
}

// allUnknown is a configuration of which nothing is known yet.
func allUnknown(ty cty.Type) cty.Value {
	fields := map[string]cty.Value{}
	for name, t := range ty.AttributeTypes() {
		fields[name] = cty.UnknownVal(t)
	}
	return cty.ObjectVal(fields)
}

// findPath tells whether a diagnostic's path leads to something that a schema has.
func findPath(schema *pluginv1.Block, path []*pluginv1.PathStep) bool {
	for i, p := range path {
		name := p.GetAttribute()
		if name == "" {
			continue // an element of what the step before named
		}
		for _, a := range schema.GetAttributes() {
			if a.GetName() == name {
				return true
			}
		}
		j := slices.IndexFunc(schema.GetBlocks(), func(n *pluginv1.NestedBlock) bool { return n.GetName() == name })
		if j < 0 {
			return false
		}
		if i == len(path)-1 {
			return true
		}
		schema = schema.GetBlocks()[j].GetBody()
	}
	return true
}
