package groups

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// cutter takes a selection out of a graph.
type cutter struct {
	graph *onnx.Graph
	s     *solver
	gone  []bool // by the first atom of a class
}

func (c *cutter) stays(atom int32) bool { return !c.gone[c.s.parent[atom]] }

// count is how many indexes of an axis stay.
func (c *cutter) count(l label) int {
	n := 0
	for _, a := range l {
		if c.stays(a) {
			n++
		}
	}
	return n
}

// cuts tells whether an axis loses anything.
func (c *cutter) cuts(l label) bool {
	return slices.ContainsFunc(l, func(a int32) bool { return !c.stays(a) })
}

// kept lists the indexes of an axis that stay; nil where all do.
func (c *cutter) kept(l label) []int {
	if !l.free() || !c.cuts(l) {
		return nil
	}
	var out []int
	for i, a := range l {
		if c.stays(a) {
			out = append(out, i)
		}
	}
	return out
}

// places gives for each index of an axis its new one, -1 for those that leave.
func (c *cutter) places(l label) []int {
	out := make([]int, len(l))
	n := 0
	for i, a := range l {
		out[i] = -1
		if c.stays(a) {
			out[i] = n
			n++
		}
	}
	return out
}

// ints adds a constant of integers, of the type of the one that it stands for, and returns its name.
func (c *cutter) ints(like string, values []int64, shape ...int64) string {
	name := c.graph.UniqueName(like + "_pruned")
	t := onnx.NewInt64s(name, values, shape...)
	if old := c.graph.Constant(like); old != nil && old.DataType == onnx.Int32 {
		b := make([]byte, 0, 4*len(values))
		for _, x := range values {
			b = binary.LittleEndian.AppendUint32(b, uint32(x)) //nolint:gosec // a size or an index of the model
		}
		t = onnx.NewTensor(name, tensor.Tensor{DType: tensor.I32, Shape: shape, Data: b})
	}
	c.graph.AddInitializer(t)
	return name
}

// setInts gives an input of a node other integers. The constant that it read may have other readers.
func (c *cutter) setInts(n *onnx.Node, input int, values []int64) {
	like := n.Input(input)
	if like == "" {
		like = n.Output(0) + "_sizes"
	}
	n.SetInput(input, c.ints(like, values, int64(len(values))))
}

// setIndex is setInts for an index that may be a single number without axes.
func (c *cutter) setIndex(n *onnx.Node, input int, values []int64, scalar bool) {
	if !scalar {
		c.setInts(n, input, values)
		return
	}
	n.SetInput(input, c.ints(n.Input(input), values))
}

func (a *Analysis) cutter(sel *Selection) *cutter {
	c := &cutter{graph: a.Model.Graph, s: a.s, gone: make([]bool, len(a.s.parent))}
	for root, u := range a.costs.unitOf {
		if u != nil && sel.gone[u.id] {
			c.gone[root] = true
		}
	}
	return c
}

// Cut takes a selection out of the model. Each weight is read once and written smaller; what does not change keeps its
// bytes. threads is how many are worked on at a time.
func (a *Analysis) Cut(sel *Selection, threads int) error {
	for _, g := range a.Groups {
		if !slices.ContainsFunc(g.Units, func(u *Unit) bool { return !sel.gone[u.id] }) {
			return fmt.Errorf("group %q would lose all its %d units", g.Name, len(g.Units))
		}
	}
	if sel.Empty() {
		return nil
	}
	c := a.cutter(sel)
	for _, e := range a.s.edits {
		if len(e.labels) > 0 && !slices.ContainsFunc(e.labels, c.cuts) {
			continue
		}
		if err := e.apply(c); err != nil {
			return fmt.Errorf("%s: %w", e.node.Label(), err)
		}
	}
	if err := a.cutConstants(c, threads); err != nil {
		return err
	}
	a.forgetTypes(c)
	c.graph.Prune()
	return nil
}

// forgetTypes drops what the model says of values that have other shapes now.
func (a *Analysis) forgetTypes(c *cutter) {
	for _, v := range slices.Clone(c.graph.ValueInfos()) {
		if slices.ContainsFunc(a.s.axesOf(v.Name()), c.cuts) {
			c.graph.RemoveValueInfo(v.Name())
		}
	}
}

// Kept lists for each axis of an initializer the indexes that stay, nil where all do; nil for a constant that keeps all.
// Of a vector that several nodes read there is no one answer: ask for those that a Use names.
func (a *Analysis) Kept(sel *Selection, u Use) [][]int {
	c := a.cutter(sel)
	for _, k := range a.s.order {
		if k.tensor != u.Constant || k.node != nil && (k.node != u.Node || k.input != u.Input) || k.node == nil && k.axes[u.Axis] == nil {
			continue
		}
		out := make([][]int, len(k.axes))
		for i, l := range k.axes {
			out[i] = c.kept(l)
		}
		return out
	}
	return nil
}

// piece is a constant that is written smaller.
type piece struct {
	con  *constant
	kept [][]int
	made *onnx.Tensor
	err  error
}

func (a *Analysis) cutConstants(c *cutter, threads int) error {
	var pieces []*piece
	for _, k := range a.s.order {
		if k.tensor == nil || !slices.ContainsFunc(k.axes, func(l label) bool { return l.free() && c.cuts(l) }) {
			continue
		}
		p := &piece{con: k}
		for _, l := range k.axes {
			p.kept = append(p.kept, c.kept(l))
		}
		pieces = append(pieces, p)
	}
	each(threads, len(pieces), func(i int) {
		p := pieces[i]
		p.made, p.err = cutTensor(p.con.tensor, p.kept)
		a.Model.Release(p.con.tensor.Raw)
	})
	shared := map[string]string{}
	for _, p := range pieces {
		if p.err != nil {
			return fmt.Errorf("weight %q: %w", p.con.name, p.err)
		}
		if p.con.node == nil {
			c.graph.AddInitializer(p.made)
			continue
		}
		var key strings.Builder
		fmt.Fprintf(&key, "%q %v", p.con.name, p.kept)
		name, ok := shared[key.String()]
		if !ok {
			name = c.graph.UniqueName(p.con.name + "_pruned")
			shared[key.String()] = name
			c.graph.AddInitializer(p.made.WithName(name))
		}
		p.con.node.SetInput(p.con.input, name)
	}
	return nil
}

// cutTensor copies what stays of a tensor.
func cutTensor(t *onnx.Tensor, kept [][]int) (*onnx.Tensor, error) {
	x, err := t.Tensor()
	if err != nil {
		return nil, err
	}
	bits := x.DType.Bits()
	if bits < 8 {
		return nil, fmt.Errorf("elements of type %s cannot be cut", x.DType)
	}
	shape := slices.Clone(x.Shape)
	last := -1
	total := bits / 8
	for i, k := range kept {
		if k != nil {
			shape[i] = int64(len(k))
			last = i
		}
		total *= int(shape[i])
	}
	out := make([]byte, 0, total)
	inner := make([]int, len(shape)+1) // bytes of one index of each axis of the original
	inner[len(shape)] = bits / 8
	for i := len(shape) - 1; i >= 0; i-- {
		inner[i] = inner[i+1] * int(x.Shape[i])
	}
	var copyFrom func(axis, offset int)
	copyFrom = func(axis, offset int) {
		if axis > last {
			out = append(out, x.Data[offset:offset+inner[axis]]...)
			return
		}
		step := inner[axis+1]
		k := kept[axis]
		if k == nil {
			for i := range int(x.Shape[axis]) {
				copyFrom(axis+1, offset+i*step)
			}
			return
		}
		for i := 0; i < len(k); i++ {
			if axis < last {
				copyFrom(axis+1, offset+k[i]*step)
				continue
			}
			j := i // a stretch that stays is copied at once
			for j+1 < len(k) && k[j+1] == k[j]+1 {
				j++
			}
			out = append(out, x.Data[offset+k[i]*step:offset+(k[j]+1)*step]...)
			i = j
		}
	}
	copyFrom(0, 0)
	return onnx.NewTensor(t.Name(), tensor.Tensor{DType: x.DType, Shape: shape, Data: out}), nil
}

// KeptOf tells of the model's values, before the cut, which indexes of each axis stay: nil for an axis that keeps all, and
// for a value that does.
func (a *Analysis) KeptOf(sel *Selection) func(value string) [][]int {
	c := a.cutter(sel)
	return func(value string) [][]int {
		axes := a.s.axesOf(value)
		if !slices.ContainsFunc(axes, func(l label) bool { return l.free() && c.cuts(l) }) {
			return nil
		}
		out := make([][]int, len(axes))
		for i, l := range axes {
			out[i] = c.kept(l)
		}
		return out
	}
}
