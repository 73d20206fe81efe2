package onnx

import (
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// merge makes a node and what comes before it one.
func (s *simplifier) merge(n *Node) bool {
	if canonicalDomain(n.Domain) != "" {
		return false
	}
	switch n.OpType {
	case "Transpose":
		return s.mergeTranspose(n)
	case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
		return s.mergeReduce(n) || s.mergeViews(n) || s.fixTarget(n)
	case "Concat":
		return s.mergeConcat(n)
	case "Slice":
		return s.mergeSlice(n)
	case "Conv":
		return s.mergePad(n)
	case "Add":
		return s.mergeGemm(n)
	}
	return false
}

// before returns the node that makes a value, if the value goes nowhere else.
func (s *simplifier) before(n *Node, value string) *Node {
	p := n.graph.Producer(value)
	if p == nil || canonicalDomain(p.Domain) != "" || s.keep[p.OpType] || n.graph.IsOutput(value) || n.graph.NumConsumers(value) != 1 {
		return nil
	}
	for _, out := range p.outputs[1:] {
		if out != "" {
			return nil
		}
	}
	return p
}

// mergeTranspose joins two permutations. The first may have other readers: it stays
// for them.
func (s *simplifier) mergeTranspose(n *Node) bool {
	p := n.graph.Producer(n.Input(0))
	if p == nil || !p.Is("Transpose") || s.keep["Transpose"] {
		return false
	}
	a, b := p.IntsAttr("perm"), n.IntsAttr("perm")
	if len(a) == 0 || len(a) != len(b) {
		return false
	}
	perm := make([]int64, len(a))
	for i, k := range b {
		j, ok := axis(k, len(a))
		if !ok {
			return false
		}
		perm[i] = a[j]
	}
	n.SetAttr(IntsAttr("perm", perm...))
	n.SetInput(0, p.Input(0))
	return true
}

func isView(n *Node) bool {
	return n != nil && (n.Is("Reshape") || n.Is("Flatten") || n.Is("Squeeze") || n.Is("Unsqueeze"))
}

// mergeViews joins operators that only give the elements another shape: to none, if the
// shape is what it was before all of them, else to one Reshape.
func (s *simplifier) mergeViews(n *Node) bool {
	g := n.graph
	p := g.Producer(n.Input(0))
	if !isView(p) || s.keep[p.OpType] {
		return false
	}
	if sameView(s.dims(p.Input(0)), s.dims(n.Output(0))) && s.bypass(n, p.Input(0)) {
		return true
	}
	if s.before(n, n.Input(0)) != p || s.opset < 5 {
		return false
	}
	from, to := s.dims(p.Input(0)), s.dims(n.Output(0))
	if to == nil || len(to) > maxData {
		return false
	}
	target, ok := targetFor(from, to)
	if !ok {
		return false
	}
	s.reshape(n, p.Input(0), target)
	return true
}

// reshape turns a node into a Reshape of value.
func (s *simplifier) reshape(n *Node, value string, target []int64) {
	for _, a := range slices.Clone(n.attrs) {
		n.RemoveAttr(a.Name)
	}
	n.OpType = "Reshape"
	n.SetInputs(value)
	n.graph.constantInput(n, 1, tensor.Of([]int64{int64(len(target))}, target))
}

// fixTarget gives a Reshape that computes its target a constant one.
func (s *simplifier) fixTarget(n *Node) bool {
	if !n.Is("Reshape") || s.opset < 5 || n.Input(1) == "" || n.graph.Constant(n.Input(1)) != nil {
		return false
	}
	to := s.dims(n.Output(0))
	if to == nil || len(to) > maxData {
		return false
	}
	target, ok := targetFor(s.dims(n.Input(0)), to)
	if !ok {
		return false
	}
	s.reshape(n, n.Input(0), target)
	return true
}

// mergeReduce lets a reduction keep the axes that an Unsqueeze puts back.
func (s *simplifier) mergeReduce(n *Node) bool {
	if !n.Is("Unsqueeze") {
		return false
	}
	p := s.before(n, n.Input(0))
	if p == nil || p.IntAttr("keepdims", 1) != 0 || s.dims(p.Input(0)) == nil {
		return false
	}
	rank := len(s.dims(p.Input(0)))
	var reduced []int64
	switch p.OpType {
	case "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare":
		var ok bool
		if reduced, ok = s.axesOf(p); !ok || len(reduced) == 0 {
			return false
		}
	case "ArgMax", "ArgMin":
		reduced = []int64{p.IntAttr("axis", 0)}
	default:
		return false
	}
	added, ok := s.axesOf(n)
	if !ok || !sameAxes(reduced, added, rank) {
		return false
	}
	// Under a new name: what is known and recorded of the old one is another shape.
	g := n.graph
	name := g.UniqueName(p.Output(0))
	g.renameValue(p, p.Output(0), name)
	p.SetAttr(IntAttr("keepdims", 1))
	if !g.Bypass(n, name) {
		n.OpType = "Identity" // it is one now
		for _, a := range slices.Clone(n.attrs) {
			n.RemoveAttr(a.Name)
		}
		n.SetInputs(name)
	}
	return true
}

func (s *simplifier) axesOf(n *Node) ([]int64, bool) {
	if a := n.Attr("axes"); a != nil {
		return a.Ints, true
	}
	return n.graph.constantInts(n.Input(1))
}

func sameAxes(a, b []int64, rank int) bool {
	resolve := func(axes []int64) []int {
		var out []int
		for _, v := range axes {
			k, ok := axis(v, rank)
			if !ok {
				return nil
			}
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	x, y := resolve(a), resolve(b)
	return x != nil && slices.Equal(x, y)
}

// mergeConcat takes the parts of a Concat that is one part of another.
func (s *simplifier) mergeConcat(n *Node) bool {
	for i, value := range n.inputs {
		p := s.before(n, value)
		if p == nil || !p.Is("Concat") || slices.Index(n.inputs, value) != i || slices.Contains(n.inputs[i+1:], value) {
			continue
		}
		a, b := p.IntAttr("axis", 0), n.IntAttr("axis", 0)
		if a != b {
			rank := len(s.dims(value))
			x, ok1 := axis(a, rank)
			y, ok2 := axis(b, rank)
			if !ok1 || !ok2 || x != y {
				continue
			}
		}
		n.SetInputs(slices.Concat(n.inputs[:i], p.inputs, n.inputs[i+1:])...)
		return true
	}
	return false
}

// slicing is a Slice whose numbers are constant.
type slicing struct{ starts, ends, axes, steps []int64 }

func (s *simplifier) slicingOf(n *Node) (c slicing, ok bool) {
	if s.opset < 10 {
		return c, false
	}
	g := n.graph
	var ok1, ok2, ok3 bool
	c.starts, ok1 = g.constantInts(n.Input(1))
	c.ends, ok2 = g.constantInts(n.Input(2))
	c.axes, ok3 = g.constantInts(n.Input(3))
	c.steps, ok = g.constantInts(n.Input(4))
	if n.Input(4) == "" {
		c.steps, ok = slices.Repeat([]int64{1}, len(c.starts)), true
	}
	rank := len(s.dims(n.Input(0)))
	if !ok || !ok1 || !ok2 || !ok3 || len(c.ends) != len(c.starts) || len(c.axes) != len(c.starts) || len(c.steps) != len(c.starts) {
		return c, false
	}
	for i, a := range c.axes {
		k, ok := axis(a, rank)
		if !ok {
			return c, false
		}
		c.axes[i] = int64(k)
	}
	return c, true
}

// mergeSlice joins two slices of different axes.
func (s *simplifier) mergeSlice(n *Node) bool {
	p := s.before(n, n.Input(0))
	if p == nil || !p.Is("Slice") {
		return false
	}
	a, ok1 := s.slicingOf(p)
	b, ok2 := s.slicingOf(n)
	if !ok1 || !ok2 || slices.ContainsFunc(b.axes, func(k int64) bool { return slices.Contains(a.axes, k) }) {
		return false
	}
	n.SetInputs(p.Input(0))
	for i, list := range [][]int64{slices.Concat(a.starts, b.starts), slices.Concat(a.ends, b.ends), slices.Concat(a.axes, b.axes), slices.Concat(a.steps, b.steps)} {
		n.graph.constantInput(n, i+1, tensor.Of([]int64{int64(len(list))}, list))
	}
	return true
}

// mergePad lets a Conv pad with zeros itself.
func (s *simplifier) mergePad(n *Node) bool {
	p := s.before(n, n.Input(0))
	rank := len(s.dims(n.Input(1)))
	if p == nil || !p.Is("Pad") || rank < 3 || n.StringAttr("auto_pad", "NOTSET") != "NOTSET" ||
		p.StringAttr("mode", "constant") != "constant" || p.FloatAttr("value", 0) != 0 || p.Input(3) != "" {
		return false
	}
	if p.Input(2) != "" && !n.graph.isAll(p.Input(2), 0) {
		return false
	}
	pads, ok := p.IntsAttr("pads"), true
	if p.Attr("pads") == nil {
		pads, ok = n.graph.constantInts(p.Input(1))
	}
	if !ok || len(pads) != 2*rank || slices.ContainsFunc(pads, func(v int64) bool { return v < 0 || v > 1<<20 }) ||
		pads[0] != 0 || pads[1] != 0 || pads[rank] != 0 || pads[rank+1] != 0 {
		return false
	}
	spatial := rank - 2
	own := n.IntsAttr("pads")
	if len(own) == 0 {
		own = make([]int64, 2*spatial)
	}
	if len(own) != 2*spatial {
		return false
	}
	sum := slices.Clone(own)
	for i := range spatial {
		sum[i] += pads[2+i]
		sum[spatial+i] += pads[rank+2+i]
	}
	n.SetAttr(IntsAttr("pads", sum...))
	n.SetInput(0, p.Input(0))
	return true
}

// mergeGemm makes a Gemm of a MatMul of two matrices and the Add after it.
func (s *simplifier) mergeGemm(n *Node) bool {
	if len(n.inputs) != 2 || s.opset < 7 {
		return false
	}
	for i, value := range n.inputs {
		p := s.before(n, value)
		bias := n.Input(1 - i)
		if p == nil || !p.Is("MatMul") || bias == value {
			continue
		}
		a, b, c, out := s.dims(p.Input(0)), s.dims(p.Input(1)), s.dims(bias), s.dims(n.Output(0))
		elem := s.elem(value)
		if len(a) != 2 || len(b) != 2 || c == nil || len(c) > 2 || len(out) != 2 || !foldable(elem) || s.elem(bias) != elem || n.graph.Constant(bias) == nil {
			continue
		}
		// The bias is spread over the product, never the other way round.
		for k := range c {
			d := out[k+2-len(c)]
			if product := (Dim{Value: 1}); !sameDim(c[k], product) && !(sameDim(c[k], d) && sameDim(d, []Dim{a[0], b[1]}[k+2-len(c)])) {
				return false
			}
		}
		n.OpType = "Gemm"
		n.SetInputs(p.Input(0), p.Input(1), bias)
		return true
	}
	return false
}
