package diag

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// FromPath gives the place in body that an attribute path names. A path that leads past what the recipe wrote (an
// argument left to its default, a key computed by an expression) gives the innermost place that is written; the empty
// path gives the line that opens the block. It works on native and on JSON syntax.
//
// Nested blocks follow the schema's nesting: "benchmark" alone, "layer" then an index for a list of blocks, "input" then
// a key for a map of them.
func FromPath(body hcl.Body, path []*pluginv1.PathStep) hcl.Range {
	best := blockRange(body)
	for len(path) > 0 {
		name := path[0].GetAttribute()
		path = path[1:]
		if name == "" {
			return best
		}
		if attr := attribute(body, name); attr != nil {
			return inExpression(attr, path)
		}
		blocks := nestedBlocks(body, name)
		if len(blocks) == 0 {
			return best
		}
		block := blocks[0]
		if len(path) > 0 && path[0].GetAttribute() == "" {
			found := chooseBlock(blocks, path[0])
			if found == nil {
				return best
			}
			block, path = found, path[1:]
		}
		best = block.DefRange
		body = block.Body
	}
	return best
}

// blockRange is where the block of a body starts. An hclsyntax body covers the braces and what is between them; its first
// line is the best place, and MissingItemRange is HCL's own choice for JSON.
func blockRange(body hcl.Body) hcl.Range {
	if b, ok := body.(*hclsyntax.Body); ok {
		r := b.SrcRange
		r.End = hcl.Pos{Line: r.Start.Line, Column: r.Start.Column + 1, Byte: r.Start.Byte + 1}
		return r
	}
	return body.MissingItemRange()
}

func attribute(body hcl.Body, name string) *hcl.Attribute {
	content, _, _ := body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: name}}})
	if content == nil {
		return nil
	}
	return content.Attributes[name]
}

// nestedBlocks finds the blocks of one type, with or without a label.
func nestedBlocks(body hcl.Body, name string) hcl.Blocks {
	if b, ok := body.(*hclsyntax.Body); ok {
		var out hcl.Blocks
		for _, block := range b.Blocks {
			if block.Type == name {
				out = append(out, block.AsHCLBlock())
			}
		}
		return out
	}
	// In JSON only the schema tells labels from arguments; a labelled reading that fails is read again without.
	for _, labels := range [][]string{{"name"}, nil} {
		content, _, diags := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: name, LabelNames: labels}}})
		if content != nil && !diags.HasErrors() && len(content.Blocks) > 0 {
			return content.Blocks
		}
	}
	return nil
}

func chooseBlock(blocks hcl.Blocks, step *pluginv1.PathStep) *hcl.Block {
	switch s := step.GetStep().(type) {
	case *pluginv1.PathStep_Index:
		if s.Index >= 0 && s.Index < int64(len(blocks)) {
			return blocks[s.Index]
		}
	case *pluginv1.PathStep_Key:
		for _, b := range blocks {
			if len(b.Labels) > 0 && b.Labels[len(b.Labels)-1] == s.Key {
				return b
			}
		}
	}
	return nil
}

// inExpression follows the rest of a path into object and tuple constructors.
func inExpression(attr *hcl.Attribute, path []*pluginv1.PathStep) hcl.Range {
	expr := attr.Expr
	for _, step := range path {
		next := child(expr, step)
		if next == nil {
			break
		}
		expr = next
	}
	return expr.Range()
}

func child(expr hcl.Expression, step *pluginv1.PathStep) hcl.Expression {
	switch s := step.GetStep().(type) {
	case *pluginv1.PathStep_Index:
		list, diags := hcl.ExprList(expr)
		if !diags.HasErrors() && s.Index >= 0 && s.Index < int64(len(list)) {
			return list[s.Index]
		}
	case *pluginv1.PathStep_Key:
		return member(expr, s.Key)
	case *pluginv1.PathStep_Attribute:
		return member(expr, s.Attribute)
	}
	return nil
}

func member(expr hcl.Expression, name string) hcl.Expression {
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil
	}
	for _, kv := range pairs {
		key, diags := kv.Key.Value(nil)
		if diags.HasErrors() || !key.IsKnown() || key.IsNull() || key.IsMarked() || key.Type().FriendlyName() != "string" {
			continue
		}
		if key.AsString() == name {
			return kv.Value
		}
	}
	return nil
}
