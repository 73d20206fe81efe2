package layout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// Net is what the rules know of a model.
type Net struct {
	// Convs are the convolutions in graph order.
	Convs []Conv
	// Products is the share of the multiply-accumulates that are in MatMul and Gemm with constant weights.
	Products float64
	// ProductNodes is how many there are.
	ProductNodes int
	// Groups are these products, those of one size together, the costliest group first.
	Groups []Group
	// Recurrences is how many LSTM with constant weights there are.
	Recurrences int
	// Stems is how many convolutions of stride 2 read a few channels.
	Stems int
	// Tables is how many bytes the constant tables have that rows are looked up in.
	Tables int64
	// HardSigmoids and Additions are how often a gate, and the addition of one number, stand in the model.
	HardSigmoids, Additions int
	// Ops counts the nodes of each operator.
	Ops map[string]int
}

// Group are products whose weights have one shape.
type Group struct {
	Names []string
	MACs  int64 // of all of them
}

// Conv is a convolution.
type Conv struct {
	Name string
	// MACs of one sample, and elements that it reads and writes.
	MACs, In, Out int64
	// Channels that it reads, and in how many groups.
	Channels, Groups int64
}

// Inspect reads a model; shapes should have a size for every axis, if need be a usual one.
func Inspect(m *onnx.Model, shapes *onnx.Shapes) Net {
	n := Net{Ops: map[string]int{}}
	total, macs := onnx.CountMACs(m, shapes)
	size := func(v string) int64 {
		_, dims, _ := shapes.Of(v)
		e := int64(1)
		for _, d := range dims {
			e *= max(d.Value, 1)
		}
		return e
	}
	var products int64
	g := m.Graph
	groups := map[string]*Group{}
	var order []*Group
	for x := range g.Nodes() {
		if x.Domain != "" && x.Domain != "ai.onnx" {
			continue
		}
		n.Ops[x.OpType]++
		constant := g.Constant(x.Input(1))
		switch x.OpType {
		case "Conv":
			if constant == nil || len(constant.Dims) < 3 {
				continue
			}
			group := max(x.IntAttr("group", 1), 1)
			if strides := x.IntsAttr("strides"); constant.Dims[1]*group <= FewChannels && len(strides) == 2 && strides[0] == 2 && strides[1] == 2 {
				n.Stems++
			}
			n.Convs = append(n.Convs, Conv{nameOf(x), macs[x], size(x.Input(0)), size(x.Output(0)), constant.Dims[1] * group, group})
		case "MatMul", "Gemm":
			if constant != nil {
				products += macs[x]
				n.ProductNodes++
				key := fmt.Sprint(constant.Dims)
				if groups[key] == nil {
					groups[key] = &Group{}
					order = append(order, groups[key])
				}
				groups[key].Names = append(groups[key].Names, nameOf(x))
				groups[key].MACs += macs[x]
			}
		case "LSTM":
			if constant != nil && g.Constant(x.Input(2)) != nil {
				n.Recurrences++
			}
		case "Gather":
			if t := g.Constant(x.Input(0)); t != nil && t.DataType == onnx.Float && len(t.Dims) == 2 {
				n.Tables += t.Bytes()
			}
		case "HardSigmoid", "HardSwish":
			n.HardSigmoids++
		case "Add":
			if t := g.Constant(x.Input(0)); t != nil {
				constant = t
			}
			if constant != nil && constant.Elements() == 1 {
				n.Additions++
			}
		}
	}
	if total > 0 {
		n.Products = float64(products) / float64(total)
	}
	slices.SortStableFunc(order, func(a, b *Group) int { return cmp.Compare(b.MACs, a.MACs) })
	for _, o := range order {
		n.Groups = append(n.Groups, *o)
	}
	return n
}

// nameOf is a node's name as layouts give it.
func nameOf(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// Forms are the layouts of the first round: in which form activations, joins and products are written. All are for a
// rewritten model.
func Forms(n Net, target string) []Layout {
	plain := Layout{Target: target, Rewrite: true}
	var out []Layout
	add := func(l Layout) {
		if !slices.ContainsFunc(out, l.Equal) {
			out = append(out, l)
		}
	}
	if len(n.Convs)+n.ProductNodes == 0 {
		return nil
	}
	bases := []Layout{plain}
	if n.HardSigmoids > 0 {
		l := plain
		l.GateTable = true
		bases = append(bases, l)
	}
	if n.Additions > 0 {
		l := bases[len(bases)-1]
		l.Absorb = true
		bases = append(bases, l)
	}
	for _, l := range bases {
		add(l)
	}
	best := bases[len(bases)-1]
	moving := slices.DeleteFunc([]string{"MaxPool", "Resize"}, func(op string) bool { return n.Ops[op] == 0 })
	if len(moving) > 0 {
		l := best
		l.FloatOps = moving
		add(l)
	}
	if n.Products > 0.02 && n.ProductNodes > 0 {
		l := best
		l.Dynamic = true
		add(l)
		if len(n.Convs) == 0 || n.Products > 0.5 {
			l := Layout{Target: target, Rewrite: true, Dynamic: true, OnlyDynamic: true}
			add(l)
			if n.Tables >= SmallTable {
				l.Tables = true
				add(l)
			}
		}
	}
	if n.ProductNodes > 0 && len(n.Convs) > 0 {
		// However small: the product that a classifier ends with decides between classes that lie close together.
		l := best
		l.FloatOps = append(slices.Clone(l.FloatOps), "Gemm", "MatMul")
		add(l)
	}
	if n.Stems > 0 {
		l := best
		l.Stem = true
		add(l)
	}
	if n.Recurrences > 0 {
		l := best
		l.Recurrent = true
		add(l)
		add(Layout{Target: target, Rewrite: true, Dynamic: true, OnlyDynamic: true, Recurrent: true})
	}
	// Products alone: what lies between them in float.
	joins := slices.DeleteFunc([]string{"Add", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"}, func(op string) bool { return n.Ops[op] == 0 })
	if len(joins) > 0 {
		l := plain
		l.FloatOps = joins
		add(l)
	}
	return out
}

// SmallTable is the size in bytes below which a table is not worth the nodes that looking integers up takes.
const SmallTable = 64 << 10

// Cuts are the layouts of the second round: the best form with the first K convolutions in float, for the K that the
// table of costs likes best, these first, at most a given number of them.
func Cuts(n Net, form Layout, most int) []Layout {
	if form.Float || form.OnlyDynamic || len(n.Convs) < 2 {
		return nil
	}
	type cut struct {
		k    int
		cost float64
	}
	var cuts []cut
	tried := map[int]bool{}
	// Close together at the start, where maps are large and channels few.
	for _, k := range []int{1, 2, 3, 4, 6, 8, 11, 15, 20, len(n.Convs) / 3, len(n.Convs) / 2} {
		if k > 0 && k < len(n.Convs) && !tried[k] {
			tried[k] = true
			cuts = append(cuts, cut{k, n.Cost(k)})
		}
	}
	slices.SortStableFunc(cuts, func(a, b cut) int {
		switch {
		case a.cost < b.cost:
			return -1
		case a.cost > b.cost:
			return 1
		}
		return a.k - b.k
	})
	// The first convolution alone is always worth a try, and first: it decides on small nets.
	first := slices.IndexFunc(cuts, func(c cut) bool { return c.k == 1 })
	one := cuts[first]
	kept := append([]cut{one}, slices.Delete(cuts, first, first+1)...)
	kept = kept[:min(most, len(kept))]
	out := make([]Layout, len(kept))
	for i, c := range kept {
		out[i] = form
		out[i].FloatConvs = c.k
		out[i].Stem = false // what it changes is the first convolution
	}
	return out
}

// The table of costs: nanoseconds on one core of a server CPU with VNNI, measured on mobile nets. Only ratios matter.
const (
	floatMAC     = 0.016 // a dense convolution's multiply-accumulate
	integerMAC   = 0.0045
	depthwiseMAC = 0.06 // memory, not arithmetic: about the same in integers from 32 channels
	narrowFactor = 2.0  // what integers cost a convolution of 3 channels or a depthwise one of few
	element      = 0.02 // an element converted between float and integer, or moved
)

// Cost estimates the time of the convolutions with the first k in float.
func (n Net) Cost(k int) float64 {
	var ns float64
	for i, c := range n.Convs {
		f, q := c.cost()
		if i < k {
			ns += f
		} else {
			// Integers are written and read in the order of channels last, float in blocks.
			ns += q + element*float64(c.Out)
		}
		if i == k {
			ns += element * float64(c.In)
		}
	}
	return ns
}

// cost estimates the time of a convolution in float and in integers, without conversions.
func (c Conv) cost() (float, integer float64) {
	depthwise := c.Groups > 1 && c.Groups == c.Channels
	float, integer = floatMAC*float64(c.MACs), integerMAC*float64(c.MACs)
	if depthwise {
		float = depthwiseMAC * float64(c.MACs)
		integer = float
	}
	if c.Channels <= 4 || depthwise && c.Channels < 32 {
		integer = float * narrowFactor
	}
	return float, integer
}

// FewChannels is how many channels a convolution reads at most for Layout.Stem: more fill the engine's vectors as they are.
const FewChannels = 4
