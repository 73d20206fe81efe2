package onnx

import (
	"slices"
)

// pass removes a node that gives its first input on as it is.
func (s *simplifier) pass(n *Node) bool {
	if canonicalDomain(n.Domain) != "" || len(n.inputs) == 0 {
		return false
	}
	for i, value := range n.inputs {
		if i > 1 || i == 1 && !commutes(n.OpType) {
			break
		}
		if value != "" && s.gives(n, i) && s.bypass(n, value) {
			return true
		}
	}
	return false
}

// bypass is Graph.Bypass. A value that is an output of the graph keeps its name where
// the node can take over that of its producer.
func (s *simplifier) bypass(n *Node, value string) bool {
	return n.graph.Bypass(n, value)
}

func commutes(op string) bool {
	switch op {
	case "Add", "Mul", "And", "Or":
		return true
	}
	return false
}

// gives tells whether the node's first output always equals input i.
func (s *simplifier) gives(n *Node, i int) bool {
	if s.m.passesOn(n) {
		return i == 0
	}
	in, out := s.dims(n.Input(i)), s.dims(n.Output(0))
	switch n.OpType {
	case "Cast":
		return s.elem(n.Input(0)) != Undefined && s.elem(n.Input(0)) == DataType(n.IntAttr("to", 0))
	case "CastLike":
		return s.elem(n.Input(0)) != Undefined && s.elem(n.Input(0)) == s.elem(n.Input(1))
	case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
		return sameView(in, out)
	case "Expand":
		return sameDims(in, out)
	case "Transpose":
		perm := n.IntsAttr("perm")
		for k, a := range perm {
			if a != int64(k) {
				return false
			}
		}
		return len(perm) > 0 || in != nil && len(in) < 2
	case "Slice":
		steps, ok := n.graph.constantInts(n.Input(4))
		forward := n.Input(4) == "" || ok && !slices.ContainsFunc(steps, func(v int64) bool { return v != 1 })
		return forward && sameDims(in, out)
	case "Tile":
		repeats, ok := n.graph.constantInts(n.Input(1))
		return ok && s.opset >= 6 && !slices.ContainsFunc(repeats, func(v int64) bool { return v != 1 })
	case "Pad":
		pads, ok := n.IntsAttr("pads"), true
		if n.Attr("pads") == nil {
			pads, ok = n.graph.constantInts(n.Input(1))
		}
		return ok && len(pads) > 0 && !slices.ContainsFunc(pads, func(v int64) bool { return v != 0 })
	case "Split":
		return len(n.outputs) == 1 && sameDims(in, out)
	case "Add", "Sub", "Mul", "Div", "Pow", "And", "Or":
		neutral := map[string]float64{"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1, "And": 1, "Or": 0}[n.OpType]
		return len(n.inputs) == 2 && sameDims(in, out) && s.elem(n.Input(0)) == s.elem(n.Input(1)) && n.graph.isAll(n.Input(1-i), neutral)
	case "Clip":
		return n.Input(1) == "" && n.Input(2) == "" && n.Attr("min") == nil && n.Attr("max") == nil
	case "Relu", "Abs":
		p := n.graph.Producer(n.Input(0))
		return p != nil && (p.Is("Relu") || n.OpType == "Abs" && p.Is("Abs"))
	case "Resize", "Upsample":
		at := 2
		if n.OpType == "Upsample" || s.opset < 11 {
			at = 1
		}
		return sameDims(in, out) && n.Input(at) != "" && n.Input(3) == "" && n.graph.isAll(n.Input(at), 1) &&
			n.StringAttr("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize"
	}
	return false
}

// isAll tells whether a value is constant, not empty, and every element of it is x.
func (g *Graph) isAll(value string, x float64) bool {
	t := g.Constant(value)
	if t == nil || t.Elements() < 1 || t.Elements() > 1<<20 || t.IsExternal() {
		return false
	}
	v, err := numbersOf(t)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(v.floats, func(y float64) bool { return y != x }) &&
		!slices.ContainsFunc(v.ints, func(y int64) bool { return float64(y) != x })
}

// takeBranch puts the branch of an If whose condition is constant in its place.
func (s *simplifier) takeBranch(n *Node) bool {
	if !n.Is("If") {
		return false
	}
	c, ok := n.graph.constantInts(n.Input(0))
	if !ok || len(c) != 1 {
		return false
	}
	which := "else_branch"
	if c[0] != 0 {
		which = "then_branch"
	}
	a := n.Attr(which)
	if a == nil || a.Graph() == nil || len(a.Graph().inputs) > 0 || len(a.Graph().outputs) < len(n.outputs) || len(a.Graph().sparseNames()) > 0 {
		return false
	}
	g, branch := n.graph, a.Graph()
	results := make([]string, len(branch.outputs))
	for i, v := range branch.outputs {
		results[i] = v.name
	}
	// The branch's values get names that nothing else has, then its parts move out.
	renamed := map[string]string{}
	rename := func(name string) string {
		if renamed[name] == "" {
			renamed[name] = g.UniqueName(name)
		}
		return renamed[name]
	}
	for t := range branch.Initializers() {
		g.AddInitializer(t.WithName(rename(t.name)))
	}
	var nodes []*Node
	for inner := range branch.Nodes() {
		nodes = append(nodes, inner)
	}
	for _, inner := range nodes {
		for i, out := range inner.outputs {
			if out != "" {
				inner.SetOutput(i, rename(out))
			}
		}
	}
	for from, to := range renamed {
		branch.renameReads(from, to)
	}
	for _, inner := range nodes {
		g.InsertBefore(n, inner)
	}
	outputs, next := slices.Clone(n.outputs), n.Next()
	g.RemoveNode(n)
	for i, out := range outputs {
		if out == "" {
			continue
		}
		from := results[i]
		if to := renamed[from]; to != "" {
			from = to
		}
		// An Identity keeps the name; the next round removes it where it can.
		id := NewNode("Identity", "", g.UniqueName(out+"_branch"), []string{from}, []string{out})
		if next != nil {
			g.InsertBefore(next, id)
		} else {
			g.AppendNode(id)
		}
	}
	return true
}

// renameReads makes the nodes of the graph read another name, in subgraphs too.
func (g *Graph) renameReads(from, to string) {
	for _, n := range g.Consumers(from) {
		n.change(func() { n.replaceReads(from, to) })
	}
}
