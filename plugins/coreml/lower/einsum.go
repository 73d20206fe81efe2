package lower

import (
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
)

// einsums are products by an equation.
var einsums = []Rule{
	{Op: "Einsum", Covers: "All equations in which no operand has a letter twice, on tensors of known shapes.", Lower: lowerEinsum},
}

// term is an operand with a letter for each axis.
type term struct {
	v       Value
	letters string
}

// lowerEinsum multiplies the operands two by two as batches of matrices.
func lowerEinsum(c *Context, n *onnx.Node) error {
	terms, out, ok := c.equation(n)
	if !ok {
		return c.err
	}
	acc := terms[0]
	for i := 1; i < len(terms); i++ {
		keep := out
		for _, t := range terms[i+1:] {
			keep += t.letters
		}
		acc = c.contract(c.summed(acc, keep+terms[i].letters), c.summed(terms[i], keep+acc.letters), keep)
	}
	acc = c.summed(acc, out)
	if c.err != nil {
		return c.err
	}
	perm := make([]int64, len(out))
	for i, l := range out {
		perm[i] = int64(strings.IndexRune(acc.letters, l))
	}
	y := c.Transpose(acc.v, perm...)
	if y.v == c.In(n, 0).v {
		y = c.Emit("identity", "x", y)
	}
	c.Set(n, 0, y)
	return c.err
}

// equation reads the operands and the letters of the result. Capital letters are others than small ones; those of an
// ellipsis are written as digits of their own.
func (c *Context) equation(n *onnx.Node) (terms []term, out string, ok bool) {
	eq := strings.ReplaceAll(n.StringAttr("equation", ""), " ", "")
	left, out, explicit := strings.Cut(eq, "->")
	parts := strings.Split(left, ",")
	if len(parts) != len(n.Inputs()) {
		_ = c.Failf("its equation %q has %d operands, and %d are given", eq, len(parts), len(n.Inputs()))
		return nil, "", false
	}
	widest := 0
	expand := func(s string, count int) string {
		if count < 0 || count > len(digits) {
			_ = c.Failf("its equation %q does not fit its operands", eq)
			return ""
		}
		return strings.Replace(s, "...", digits[len(digits)-count:], 1)
	}
	for i, p := range parts {
		v := c.In(n, i)
		if c.err != nil {
			return nil, "", false
		}
		count := 0
		if strings.Contains(p, "...") {
			count = v.Rank() - (len(p) - 3)
			widest = max(widest, count)
		}
		t := term{v, expand(p, count)}
		if c.err == nil && len(t.letters) != v.Rank() {
			_ = c.Failf("its equation %q does not fit its operands", eq)
		}
		for j, l := range t.letters {
			if strings.LastIndex(t.letters, string(l)) != j {
				_ = c.Failf("its equation %q takes a diagonal", eq)
			}
		}
		if !v.Fixed() {
			_ = c.Failf("the length of an axis is open")
		}
		terms = append(terms, t)
	}
	if explicit {
		out = expand(out, widest)
	} else {
		out = digits[len(digits)-widest:] + once(left)
	}
	return terms, out, c.err == nil
}

const digits = "0123456789"

// once are the letters that an equation without a result has once, in order.
func once(left string) string {
	var s []rune
	for _, l := range left {
		if l != ',' && l != '.' && strings.Count(left, string(l)) == 1 {
			s = append(s, l)
		}
	}
	slices.Sort(s)
	return string(s)
}

// summed adds up what no other term and not the result needs.
func (c *Context) summed(t term, keep string) term {
	var axes []int64
	letters := ""
	for i, l := range t.letters {
		if strings.ContainsRune(keep, l) {
			letters += string(l)
		} else {
			axes = append(axes, int64(i))
		}
	}
	if axes == nil {
		return t
	}
	return term{c.Reduce("reduce_sum", t.v, axes, false), letters}
}

// contract multiplies two terms: letters of both that are kept are batches, those that are not are summed over.
func (c *Context) contract(a, b term, keep string) term {
	if c.err != nil {
		return a
	}
	sizes := map[rune]int64{}
	var batch, sum, left, right string
	for i, l := range a.letters {
		sizes[l] = a.v.Dim(i)
		switch {
		case !strings.ContainsRune(b.letters, l):
			left += string(l)
		case strings.ContainsRune(keep, l):
			batch += string(l)
		default:
			sum += string(l)
		}
	}
	for i, l := range b.letters {
		if d, ok := sizes[l]; ok && d != b.v.Dim(i) && d != 1 && b.v.Dim(i) != 1 {
			_ = c.Failf("the letter %c is %d and %d long", l, d, b.v.Dim(i))
			return a
		}
		sizes[l] = max(sizes[l], b.v.Dim(i))
		if !strings.ContainsRune(a.letters, l) {
			right += string(l)
		}
	}
	matrix := func(t term, groups ...string) Value {
		order := strings.Join(groups, "")
		perm, shape := make([]int64, len(order)), make([]int64, len(order))
		for i, l := range order {
			perm[i], shape[i] = int64(strings.IndexRune(t.letters, l)), sizes[l]
		}
		v := c.Broadcast(c.Transpose(t.v, perm...), shape)
		var merged []int64
		for _, g := range groups {
			merged = append(merged, sizeOf(g, sizes))
		}
		return c.Reshape(v, merged...)
	}
	y := c.Emit("matmul", "x", matrix(a, batch, left, sum), "y", matrix(b, batch, sum, right), "transpose_x", false, "transpose_y", false)
	letters := batch + left + right
	shape := make([]int64, 0, len(letters))
	for _, l := range letters {
		shape = append(shape, sizes[l])
	}
	return term{c.Reshape(y, shape...), letters}
}

// sizeOf is the product of letters' lengths.
func sizeOf(letters string, sizes map[rune]int64) int64 {
	n := int64(1)
	for _, l := range letters {
		n *= sizes[l]
	}
	return n
}
