package rewrite

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// oneHots finds one-hot vectors times a constant matrix: rows of the matrix, looked up. What is no row number gives a row
// of zeros, as the product does.
func (r *rewriter) oneHots() int {
	return r.each(func(n *onnx.Node) bool {
		if !n.Is("MatMul") {
			return false
		}
		t := n.Graph().Constant(n.Input(1))
		if t == nil || t.DataType != onnx.Float || len(t.Dims) != 2 || t.Elements() <= 0 {
			return false
		}
		if h := sole(n, n.Input(0), "OneHot"); h != nil {
			return r.lookUpOneHot(n, h, t)
		}
		c := sole(n, n.Input(0), "Cast")
		if c == nil {
			return false
		}
		e := sole(c, c.Input(0), "Equal")
		if e == nil || len(e.Inputs()) != 2 {
			return false
		}
		for i := range 2 {
			x := e.Input(1 - i)
			if !isCount(n.Graph().Constant(e.Input(i)), t.Dims[0]) || n.Graph().Constant(x) != nil {
				continue
			}
			elem, dims, ok := r.shapes.Of(x)
			if !ok || !isIndex(elem) || len(dims) < len(n.Graph().Constant(e.Input(i)).Dims) || dims[len(dims)-1].Value != 1 {
				continue
			}
			return r.lookUp(n, r.squeeze(n, x, int64(len(dims)-1)), t, false)
		}
		return false
	})
}

// lookUpOneHot is for the operator OneHot, which counts negative numbers from the end.
func (r *rewriter) lookUpOneHot(n, h *onnx.Node, t *onnx.Tensor) bool {
	g := n.Graph()
	values := g.Constant(h.Input(2))
	elem, dims, ok := r.shapes.Of(h.Input(0))
	if values == nil || values.DataType != onnx.Float || !ok || !isIndex(elem) || len(dims) == 0 || g.Constant(h.Input(0)) != nil {
		return false
	}
	if axis := h.IntAttr("axis", -1); axis != -1 && axis != int64(len(dims)) {
		return false
	}
	// The product does not compute unless the depth is the number of rows.
	if v, err := values.Float32s(); err != nil || len(v) != 2 || v[0] != 0 || v[1] != 1 {
		return false
	}
	return r.lookUp(n, h.Input(0), t, true)
}

func isIndex(e onnx.DataType) bool { return e == onnx.Int32 || e == onnx.Int64 }

// isCount tells whether a tensor holds 0, 1, 2 and so on along its last axis, the others being 1.
func isCount(t *onnx.Tensor, n int64) bool {
	if t == nil || !isIndex(t.DataType) || len(t.Dims) == 0 || t.Elements() != n || t.Dims[len(t.Dims)-1] != n {
		return false
	}
	v, err := t.Ints()
	if err != nil {
		return false
	}
	for i, x := range v {
		if x != int64(i) {
			return false
		}
	}
	return true
}

// squeeze drops an axis of size 1.
func (r *rewriter) squeeze(at *onnx.Node, x string, axis int64) string {
	if r.model.Opset(onnx.DefaultDomain) < 13 {
		return insert(at, "Squeeze", "", at.Output(0)+"_index", []string{x}, onnx.IntsAttr("axes", axis))
	}
	axes := at.Graph().UniqueName(at.Output(0) + "_axes")
	at.Graph().AddInitializer(onnx.NewInt64s(axes, []int64{axis}, 1))
	return insert(at, "Squeeze", "", at.Output(0)+"_index", []string{x, axes})
}

// lookUp turns a product into rows of its matrix t. Numbers that are out of range are moved to rows of zeros behind the
// others: K from above, and K+1 from below, which -1 stands for. With wrap, -1 to -K count from the end.
func (r *rewriter) lookUp(n *onnx.Node, index string, t *onnx.Tensor, wrap bool) bool {
	w, err := t.Float32s()
	if err != nil {
		r.err = err
		return false
	}
	if r.model.Opset(onnx.DefaultDomain) < 12 { // Clip of integers
		if err := r.model.UpgradeOpset(12); err != nil {
			return false // a model that cannot be raised stays as it is
		}
	}
	rows, width, low := t.Dims[0], t.Dims[1], int64(-1)
	table := append(slices.Clone(w), make([]float32, 2*width)...)
	total := rows + 2
	if wrap {
		table, total, low = append(table, w...), 2*rows+2, -rows-1
	}
	g := n.Graph()
	elem := onnx.Int64
	if e, _, ok := r.shapes.Of(index); ok {
		elem = e
	} else if p := g.Producer(index); p != nil {
		if e, _, ok := r.shapes.Of(p.Input(0)); ok {
			elem = e
		}
	}
	bound := func(v int64) string {
		name := g.UniqueName(n.Output(0) + "_bound")
		if elem == onnx.Int32 {
			g.AddInitializer(onnx.NewTensor(name, int32Scalar(int32(v))))
		} else {
			g.AddInitializer(onnx.NewInt64s(name, []int64{v}))
		}
		return name
	}
	clipped := insert(n, "Clip", "", n.Output(0)+"_row", []string{index, bound(low), bound(rows)})
	become(n, "Gather", "", []string{put(g, n.Input(1)+"_rows", table, total, width), clipped}, onnx.IntAttr("axis", 0))
	return true
}

// pointwise are operators on each element that constant folding can work out.
var pointwise = []string{"Add", "Sub", "Mul", "Div", "Pow", "Tanh", "Erf", "Relu", "Sigmoid", "Sqrt", "Exp", "Neg", "Abs", "Reciprocal"}

// tables moves a Gather of rows of a constant behind the elementwise work that is done on them, if that comes to one
// value: the work is then done on the table, once and for all.
func (r *rewriter) tables() int {
	return r.each(func(n *onnx.Node) bool {
		g := n.Graph()
		t := g.Constant(n.Input(0))
		if !n.Is("Gather") || t == nil || g.Initializer(n.Input(0)) == nil || t.DataType != onnx.Float || len(t.Dims) != 2 || n.IntAttr("axis", 0) != 0 ||
			g.NumConsumers(n.Input(0)) != 1 || g.IsOutput(n.Output(0)) {
			return false
		}
		_, dims, ok := r.shapes.Of(n.Output(0))
		if !ok {
			return false
		}
		region := map[string]bool{n.Output(0): true}
		var nodes []*onnx.Node
		for x := n.Next(); x != nil; x = x.Next() {
			if slices.Contains(pointwise, x.OpType) && x.Is(x.OpType) && r.within(x, region, t.Dims[1], len(dims)) {
				region[x.Output(0)] = true
				nodes = append(nodes, x)
			}
		}
		last := frontier(g, n, nodes, region)
		if last == nil {
			return false
		}
		r.moveBehind(n, nodes, last)
		return true
	})
}

// within tells whether a node computes with values of the region and with constants that are the same for every row.
func (r *rewriter) within(x *onnx.Node, region map[string]bool, width int64, rank int) bool {
	inside := false
	for _, in := range x.Inputs() {
		if region[in] {
			inside = true
			continue
		}
		t := x.Graph().Constant(in)
		if t == nil || t.DataType != onnx.Float || len(t.Dims) > rank {
			return false
		}
		for i, d := range t.Dims {
			if d != 1 && (i < len(t.Dims)-1 || d != width) {
				return false
			}
		}
	}
	return inside && len(x.Outputs()) == 1
}

// frontier returns the node that makes the one value of a region that is read outside of it; nil when there are several
// or when it is the gathered rows themselves.
func frontier(g *onnx.Graph, gather *onnx.Node, nodes []*onnx.Node, region map[string]bool) *onnx.Node {
	outside := func(v string) bool {
		if g.IsOutput(v) {
			return true
		}
		for _, c := range g.Consumers(v) {
			if c.Graph() != g || !slices.Contains(nodes, c) {
				return true
			}
		}
		return false
	}
	if outside(gather.Output(0)) {
		return nil
	}
	var last *onnx.Node
	for _, x := range nodes {
		if outside(x.Output(0)) {
			if last != nil {
				return nil
			}
			last = x
		}
	}
	return last
}

// moveBehind does the work of the nodes on the table and gathers from the result.
func (r *rewriter) moveBehind(gather *onnx.Node, nodes []*onnx.Node, last *onnx.Node) {
	g := gather.Graph()
	table, index, rows := gather.Input(0), gather.Input(1), gather.Output(0)
	for _, x := range nodes {
		for i, in := range x.Inputs() {
			if in == rows {
				x.SetInput(i, table)
				continue
			}
			// A constant with more axes than the table would give the result more, too.
			if t := g.Constant(in); t != nil && len(t.Dims) > 1 {
				v, err := t.Float32s()
				if err != nil {
					r.err = err
					return
				}
				x.SetInput(i, put(g, in+"_row", v, int64(len(v))))
			}
		}
	}
	out := last.Output(0)
	work := g.UniqueName(out + "_table")
	for _, c := range g.Consumers(out) {
		if slices.Contains(nodes, c) {
			for i, in := range c.Inputs() {
				if in == out {
					c.SetInput(i, work)
				}
			}
		}
	}
	g.RemoveNode(gather)
	last.SetOutput(0, work)
	g.InsertAfter(last, onnx.NewNode("Gather", "", gather.Name, []string{work, index}, []string{out}, onnx.IntAttr("axis", 0)))
}
