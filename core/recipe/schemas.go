package recipe

import (
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// schemaTypes remembers the types that plugins' schemas spell as JSON: many steps share a schema.
type schemaTypes struct {
	attrs   map[*pluginv1.Attribute]attrType
	blocks  map[*pluginv1.Block]typeOrError
	results map[*pluginv1.StepType]typeOrError
}

// attrType is the type of an argument, and its default or null.
type attrType struct {
	ty  cty.Type
	def cty.Value
	err error
}

type typeOrError struct {
	ty  cty.Type
	err error
}

func newSchemaTypes() schemaTypes {
	return schemaTypes{map[*pluginv1.Attribute]attrType{}, map[*pluginv1.Block]typeOrError{}, map[*pluginv1.StepType]typeOrError{}}
}

func (s schemaTypes) attribute(a *pluginv1.Attribute) attrType {
	if t, ok := s.attrs[a]; ok {
		return t
	}
	var t attrType
	t.ty, t.err = ctyjson.UnmarshalType(a.GetType())
	if t.err == nil {
		t.def = cty.NullVal(t.ty)
		if len(a.GetDefault()) > 0 {
			if v, err := ctyjson.Unmarshal(a.GetDefault(), t.ty); err == nil {
				t.def = v
			}
		}
	}
	s.attrs[a] = t
	return t
}

// block is the type of the object that a block's arguments make.
func (s schemaTypes) block(b *pluginv1.Block) (cty.Type, error) {
	t, ok := s.blocks[b]
	if !ok {
		t.ty, t.err = pluginv1.ImpliedType(b)
		s.blocks[b] = t
	}
	return t.ty, t.err
}

// result is the type of a step's result.
func (s schemaTypes) result(st *pluginv1.StepType) (cty.Type, error) {
	t, ok := s.results[st]
	if !ok {
		t.ty = cty.EmptyObject
		if len(st.GetResultType()) > 0 {
			t.ty, t.err = ctyjson.UnmarshalType(st.GetResultType())
		}
		s.results[st] = t
	}
	return t.ty, t.err
}
