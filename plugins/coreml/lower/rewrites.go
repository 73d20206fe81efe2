package lower

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/onnx/rewrite"
)

// Rewrites are what a model goes through before it is lowered: it is simplified, and what exporters spell out becomes what
// MIL has operations for. Weights stay as they are, since a weight of few values or of many zeros is small for that alone.
func Rewrites(s onnx.SimplifyOptions) rewrite.Options {
	return rewrite.Options{Skip: []string{"affine", "table", "conv-transpose"}, Contrib: true, Simplify: s}
}
