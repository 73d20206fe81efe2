package pluginv1

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// ImpliedType is the type of the configuration that a schema describes, as it travels in Value: an object of all
// attributes that are no artifacts, and of the nested blocks. A single block is an object (null when absent), the
// others are a list or a map of objects (empty when absent).
func ImpliedType(b *Block) (cty.Type, error) {
	fields := make(map[string]cty.Type, len(b.GetAttributes())+len(b.GetBlocks()))
	for _, a := range b.GetAttributes() {
		if a.GetArtifact() != "" {
			continue
		}
		t, err := ctyjson.UnmarshalType(a.GetType())
		if err != nil {
			return cty.NilType, fmt.Errorf("attribute %q has a type that cannot be read: %w", a.GetName(), err)
		}
		fields[a.GetName()] = t
	}
	for _, n := range b.GetBlocks() {
		t, err := ImpliedType(n.GetBody())
		if err != nil {
			return cty.NilType, fmt.Errorf("block %q: %w", n.GetName(), err)
		}
		switch n.GetNesting() {
		case NestedBlock_NESTING_SINGLE:
		case NestedBlock_NESTING_LIST:
			t = cty.List(t)
		case NestedBlock_NESTING_MAP:
			t = cty.Map(t)
		default:
			return cty.NilType, fmt.Errorf("block %q has no nesting that this version knows", n.GetName())
		}
		fields[n.GetName()] = t
	}
	return cty.Object(fields), nil
}
