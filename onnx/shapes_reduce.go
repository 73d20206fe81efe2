package onnx

import (
	"slices"
	"strings"
)

func registerReduce() {
	register(inferReduce, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
		"ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")
	register(inferArg, "ArgMax", "ArgMin")
	register(inferTopK, "TopK")
	register(inferEinsum, "Einsum")
}

func inferReduce(c *inferContext) {
	x := c.in(0)
	keep := c.n.IntAttr("keepdims", 1) != 0
	axes, ok := c.intsOr("axes", 1)
	if !x.ranked {
		c.elemOnly(0, x.elem)
		return
	}
	if !ok {
		if keep {
			c.tensor(0, x.elem, slices.Repeat([]Dim{anyDim}, len(x.dims))...)
		} else {
			c.elemOnly(0, x.elem)
		}
		return
	}
	reduced := make([]bool, len(x.dims))
	for _, a := range axes {
		k, ok := axis(a, len(x.dims))
		if !ok {
			return
		}
		reduced[k] = true
	}
	if len(axes) == 0 && c.n.IntAttr("noop_with_empty_axes", 0) == 0 {
		for i := range reduced {
			reduced[i] = true
		}
	}
	var dims []Dim
	for i, d := range x.dims {
		if !reduced[i] {
			dims = append(dims, d)
		} else if keep {
			dims = append(dims, Dim{Value: 1})
		}
	}
	c.tensor(0, x.elem, dims...)
	// The number of elements, of a vector that holds a shape.
	if c.n.OpType == "ReduceProd" && x.data != nil && len(dims) <= 1 && len(reduced) == 1 && reduced[0] {
		p := product(x.data)
		if slices.ContainsFunc(x.data, func(d Dim) bool { return known(d) && d.Value < 0 }) {
			p = anyDim
		}
		c.outs[0].data = []Dim{number(p)}
	}
}

func inferArg(c *inferContext) {
	x := c.in(0)
	k, ok := axis(c.n.IntAttr("axis", 0), len(x.dims))
	if !x.ranked || !ok {
		c.elemOnly(0, Int64)
		return
	}
	dims := slices.Clone(x.dims)
	if c.n.IntAttr("keepdims", 1) != 0 {
		dims[k] = Dim{Value: 1}
	} else {
		dims = slices.Delete(dims, k, k+1)
	}
	c.tensor(0, Int64, dims...)
}

func inferTopK(c *inferContext) {
	x := c.in(0)
	k, ok := axis(c.n.IntAttr("axis", -1), len(x.dims))
	if !x.ranked || !ok {
		c.elemOnly(0, x.elem)
		c.elemOnly(1, Int64)
		return
	}
	count := anyDim
	if a := c.n.Attr("k"); a != nil {
		count = Dim{Value: max(a.I, -1)}
	} else if d := c.in(1).data; len(d) == 1 {
		count = size(d[0])
	}
	dims := slices.Clone(x.dims)
	dims[k] = count
	c.tensor(0, x.elem, dims...)
	c.tensor(1, Int64, dims...)
}

// einsumTerm is the letters of one operand. An ellipsis stands for the axes that the
// letters around it leave over.
type einsumTerm struct {
	before, after string
	dots          bool
}

func parseEinsumTerm(s string) einsumTerm {
	before, after, dots := strings.Cut(s, "...")
	return einsumTerm{before, after, dots}
}

func inferEinsum(c *inferContext) {
	elem := c.in(0).elem
	equation := strings.ReplaceAll(c.n.StringAttr("equation", ""), " ", "")
	left, right, explicit := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(c.n.inputs) {
		c.elemOnly(0, elem)
		return
	}
	sizes, uses := map[rune]Dim{}, map[rune]int{}
	var spread [][]Dim // what the ellipses stand for
	for i, term := range terms {
		x, t := c.in(i), parseEinsumTerm(term)
		letters := t.before + t.after
		if !x.ranked || len(x.dims) != len(letters) && (!t.dots || len(x.dims) < len(letters)) {
			c.elemOnly(0, elem)
			return
		}
		rest := len(x.dims) - len(letters)
		if t.dots {
			spread = append(spread, x.dims[len(t.before):len(t.before)+rest])
		}
		for k, letter := range letters {
			at := k
			if k >= len(t.before) {
				at += rest
			}
			uses[letter]++
			if d, ok := sizes[letter]; ok {
				sizes[letter] = broadcastDim(d, x.dims[at])
			} else {
				sizes[letter] = x.dims[at]
			}
		}
	}
	if !explicit {
		// Letters used once, in order, after the axes of the ellipses.
		var letters []rune
		for letter, n := range uses {
			if n == 1 {
				letters = append(letters, letter)
			}
		}
		slices.Sort(letters)
		right = string(letters)
		if len(spread) > 0 {
			right = "..." + right
		}
	}
	t := parseEinsumTerm(right)
	var dims []Dim
	add := func(letters string) bool {
		for _, letter := range letters {
			d, ok := sizes[letter]
			if !ok {
				return false
			}
			dims = append(dims, d)
		}
		return true
	}
	ok := add(t.before)
	if t.dots {
		dims = append(dims, broadcast(spread...)...)
	}
	if !ok || !add(t.after) {
		c.elemOnly(0, elem)
		return
	}
	c.tensor(0, elem, dims...)
}
