package recipe

import (
	"errors"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/optimize-hcl/optimize/core/diag"
)

// remainder is the operator %, which in HCL answers 5 for 5 % 0.
var remainder = &hclsyntax.Operation{
	Impl: guarded(stdlib.ModuloFunc, func(args []cty.Value) error {
		if by, _ := args[1].Unmark(); by.IsKnown() && !by.IsNull() && by.Equals(cty.Zero).True() {
			return errors.New("division by zero")
		}
		return nil
	}),
	Type: cty.Number,
}

// prepare puts our operators into a parsed expression or body, and refuses numbers that would take forever.
func prepare(n hclsyntax.Node) diag.Diags {
	_ = hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
		if b, ok := n.(*hclsyntax.BinaryOpExpr); ok && b.Op == hclsyntax.OpModulo {
			b.Op = remainder
		}
		return nil
	})
	return numbersOf(n)
}
