package repair

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// unit is what is repaired at once: a layer, or the statistics of a BatchNormalization.
type unit struct {
	name string
	node *onnx.Node // of the pruned model
	tap  gram.Tap
	// norm tells that it is a BatchNormalization: weight is its mean then, own its variance, k its channels.
	norm         bool
	groups, n, k int // outputs and inputs of a group
	byColumn     bool
	weight       *onnx.Tensor
	own          *onnx.Tensor // the bias
	after        *onnx.Tensor // or what takes its place in the node behind: added, or a mean
	mean         bool
}

// shifts tells whether there is a place for a bias.
func (u *unit) shifts() bool { return u.own != nil || u.after != nil }

func (u *unit) bytes() int64 { return 4 * int64(u.groups*u.k) * int64(u.k+u.n) }

// find lists what is to be repaired, in the order of the graph: what lies behind a change of weights, or reads another
// value than in the original.
func (r *repairer) find(original *onnx.Model) {
	g := r.pruned.Graph
	touched := map[string]bool{}
	for n := range g.Nodes() {
		// A node that reads something else than it did lies behind a block that left.
		before := original.Graph.Producer(n.Output(0))
		changed := before != nil && !slices.Equal(before.Inputs(), n.Inputs())
		for _, v := range readBy(n) {
			changed = changed || touched[v]
			if t, o := g.Initializer(v), original.Graph.Initializer(v); t != nil && (o == nil || !slices.Equal(t.Dims, o.Dims)) {
				changed = true
			}
		}
		if changed {
			for _, v := range n.Outputs() {
				touched[v] = true
			}
		}
		if !touched[n.Input(0)] && (before == nil || before.Input(0) == n.Input(0)) {
			continue // it reads what the original reads, and only lost outputs
		}
		if before == nil || before.OpType != n.OpType {
			continue
		}
		if n.Is("BatchNormalization") && r.opts.BatchNorm {
			if u := normOf(n); u != nil {
				r.units = append(r.units, u)
			}
			continue
		}
		if !r.opts.LeastSquares && !r.opts.Bias {
			continue
		}
		u, why := r.layerOf(n, before)
		if why != "" {
			r.report.Left = append(r.report.Left, Left{nameOf(n), why})
		}
		if u != nil {
			r.units = append(r.units, u)
		}
	}
}

func nameOf(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// normOf is a BatchNormalization at inference with statistics of its own.
func normOf(n *onnx.Node) *unit {
	g := n.Graph()
	mean, variance := alone(g, n.Input(3)), alone(g, n.Input(4))
	if mean == nil || variance == nil || mean == variance || n.IntAttr("training_mode", 0) != 0 || mean.Elements() != variance.Elements() {
		return nil
	}
	k := int(mean.Elements())
	return &unit{name: nameOf(n), node: n, norm: true, groups: 1, k: k, weight: mean, own: variance,
		tap: gram.Tap{Value: prefix + n.Input(0), K: k, Moments: true}}
}

// alone is a float constant that nothing else reads.
func alone(g *onnx.Graph, value string) *onnx.Tensor {
	t := g.Initializer(value)
	if t == nil || g.NumConsumers(value) != 1 || g.IsOutput(value) || g.IsInput(value) || t.DataType != onnx.Float && t.DataType != onnx.Float16 {
		return nil
	}
	return t
}

// layerOf is a layer with weights of its own; no layer and no reason where nobody would ask.
func (r *repairer) layerOf(n, before *onnx.Node) (*unit, string) {
	g := n.Graph()
	conv := n.Is("Conv")
	if !conv && !n.Is("Gemm") && !n.Is("MatMul") {
		return nil, ""
	}
	if g.Constant(n.Input(1)) == nil {
		return nil, "" // a product of two activations
	}
	u := &unit{name: nameOf(n), node: n, groups: 1, weight: alone(g, n.Input(1))}
	if u.weight == nil {
		return nil, "its weight is shared, or not in float32 or float16"
	}
	d := u.weight.Dims
	u.tap.Value, u.tap.Target = prefix+n.Input(0), before.Output(0)
	axis := -1
	switch {
	case conv:
		axis = 1
		u.groups = int(n.IntAttr("group", 1))
		if len(d) < 3 || u.groups < 1 || int(d[0])%u.groups != 0 {
			return nil, fmt.Sprintf("its weight has the shape %v", d)
		}
		u.n, u.k = int(d[0])/u.groups, int(u.weight.Elements()/d[0])
		u.tap.Groups, u.tap.Conv, u.tap.Weight = u.groups, n, d
	default:
		for len(d) > 2 && d[0] == 1 {
			d = d[1:]
		}
		if len(d) != 2 {
			return nil, fmt.Sprintf("its weight has the shape %v", u.weight.Dims)
		}
		u.k, u.n, u.byColumn = int(d[0]), int(d[1]), true
		if n.Is("Gemm") {
			if n.IntAttr("transA", 0) != 0 || n.FloatAttr("alpha", 1) != 1 || n.FloatAttr("beta", 1) != 1 {
				return nil, "it scales or transposes what it multiplies"
			}
			if n.IntAttr("transB", 0) != 0 {
				u.k, u.n, u.byColumn = u.n, u.k, false
			}
		}
	}
	if u.k > mostInputs {
		return nil, fmt.Sprintf("it has %d inputs, and their sums would be a matrix of as many rows and columns", u.k)
	}
	u.tap.K, u.tap.N = u.k, u.groups*u.n
	if kept := r.kept(before.Output(0), axis); kept != nil {
		if len(kept) != u.tap.N {
			return nil, "its outputs do not match those of the original"
		}
		for _, i := range kept {
			u.tap.Select = append(u.tap.Select, int64(i))
		}
	}
	r.biasOf(u)
	return u, ""
}

// kept are the indexes of the original that are left along an axis of a value; a negative one counts from the end.
func (r *repairer) kept(value string, axis int) []int {
	if r.opts.Kept == nil {
		return nil
	}
	all := r.opts.Kept(value)
	if axis < 0 {
		axis += len(all)
	}
	if axis < 0 || axis >= len(all) {
		return nil
	}
	return all[axis]
}

// biasOf finds the place for the bias of a layer: its own, that of what follows it, or a new one.
func (r *repairer) biasOf(u *unit) {
	g, n := r.pruned.Graph, u.node
	outputs := int64(u.groups * u.n)
	fits := func(t *onnx.Tensor) bool {
		return t != nil && t.Elements() == outputs && len(t.Dims) > 0 && t.Dims[len(t.Dims)-1] == outputs
	}
	if !n.Is("MatMul") {
		if v := n.Input(2); v != "" {
			if t := alone(g, v); fits(t) {
				u.own = t
			}
			return
		}
	}
	out := n.Output(0)
	if readers := g.Consumers(out); len(readers) == 1 && !g.IsOutput(out) {
		next := readers[0]
		if next.Is("BatchNormalization") && next.Input(0) == out && next.IntAttr("training_mode", 0) == 0 {
			if t := alone(g, next.Input(3)); fits(t) {
				u.after, u.mean = t, true
			}
			return
		}
		if n.Is("MatMul") && next.Is("Add") {
			for i := range 2 {
				if t := alone(g, next.Input(i)); next.Input(1-i) == out && fits(t) {
					u.after = t
				}
			}
			return
		}
	}
	if !n.Is("Conv") {
		return // a Gemm may be of an opset that wants no fewer inputs, and a MatMul has none
	}
	t, err := tensor.FromFloat32(u.weight.DataType.DType(), []int64{outputs}, make([]float32, outputs))
	if err != nil {
		return
	}
	u.own = onnx.NewTensor(g.UniqueName(n.Output(0)+"_bias"), t)
	g.AddInitializer(u.own)
	n.SetInput(2, u.own.Name())
}

// commit writes what was solved into the pruned model.
func (r *repairer) commit() error {
	for name, v := range r.changed {
		t := r.pruned.Graph.Initializer(name)
		c, err := tensor.FromFloat32(t.DataType.DType(), t.Dims, v)
		if err != nil {
			return fmt.Errorf("constant %q: %w", name, err)
		}
		t.SetTensor(c)
	}
	return nil
}

// readBy are the values of its graph that a node reads, also in its subgraphs.
func readBy(n *onnx.Node) []string {
	out := slices.Clone(n.Inputs())
	for _, g := range n.Subgraphs() {
		for m := range g.AllNodes() {
			out = append(out, m.Inputs()...)
		}
		for _, v := range g.Outputs() {
			out = append(out, v.Name())
		}
	}
	return out
}
