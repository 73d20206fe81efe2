package groups

import (
	"github.com/optimize-hcl/optimize/onnx"
)

// Selection is a set of units that leave.
type Selection struct{ gone []bool }

// Select returns a selection without units.
func (a *Analysis) Select() *Selection { return &Selection{make([]bool, len(a.units))} }

// Remove adds a unit to the selection.
func (s *Selection) Remove(u *Unit) { s.gone[u.id] = true }

// Has tells whether a unit leaves.
func (s *Selection) Has(u *Unit) bool { return s.gone[u.id] }

// Empty tells whether nothing leaves.
func (s *Selection) Empty() bool {
	for _, g := range s.gone {
		if g {
			return false
		}
	}
	return true
}

// Units are all units of all groups, in order.
func (a *Analysis) Units() []*Unit { return a.units }

// Cost is what a model takes.
type Cost struct{ MACs, Parameters int64 }

// costs knows what each axis contributes to the work and the size of the model.
type costs struct {
	unitOf []*Unit // by the first atom of the class
	axes   []costAxis
	works  []costTerm
	params []costTerm
	base   Cost              // of what does not change
	masked map[string]string // a value with a mask on it: the value itself
}

// costAxis is an axis in which units lie: how many indexes it has, and how many of them are each unit's.
type costAxis struct {
	size  int
	units []int32
	times []int32
}

// costTerm is an amount in proportion to some axes.
type costTerm struct {
	amount float64
	axes   []int
}

// count prepares Cost.
func (a *Analysis) count() error {
	shapes, err := onnx.TypicalShapes(a.Model)
	if err != nil {
		return err
	}
	total, macs := onnx.CountMACs(a.Model, shapes)
	c := &a.costs
	type id struct {
		first *int32
		size  int
	}
	known := map[id]int{}
	axisOf := func(l label) int {
		k := id{&l[0], len(l)}
		if i, ok := known[k]; ok {
			return i
		}
		ax := costAxis{size: len(l)}
		where := map[*Unit]int{}
		for _, x := range l {
			u := c.unitOf[a.s.parent[x]]
			if u == nil {
				continue
			}
			i, ok := where[u]
			if !ok {
				i = len(ax.units)
				where[u] = i
				ax.units, ax.times = append(ax.units, int32(u.id)), append(ax.times, 0) //nolint:gosec // a unit's number
			}
			ax.times[i]++
		}
		at := -1
		if len(ax.units) > 0 {
			at = len(c.axes)
			c.axes = append(c.axes, ax)
		}
		known[k] = at
		return at
	}
	term := func(amount int64, labels []label) (costTerm, bool) {
		t := costTerm{amount: float64(amount)}
		for _, l := range labels {
			if l.free() {
				if i := axisOf(l); i >= 0 {
					t.axes = append(t.axes, i)
				}
			}
		}
		return t, len(t.axes) > 0
	}
	c.base = Cost{total, onnx.CountParameters(a.Model)}
	for _, w := range a.s.works {
		if t, ok := term(macs[w.node], w.labels); ok {
			c.works = append(c.works, t)
			c.base.MACs -= macs[w.node]
		}
	}
	counted := map[*onnx.Tensor]bool{}
	for _, k := range a.s.order {
		if k.tensor == nil || counted[k.tensor] || !k.tensor.DataType.DType().IsFloat() {
			continue
		}
		n := max(k.tensor.Elements(), 0)
		if t, ok := term(n, k.axes); ok {
			counted[k.tensor] = true
			c.params = append(c.params, t)
			c.base.Parameters -= n
		}
	}
	return nil
}

// Cost is what is left of the model without a selection: multiply-accumulates as of onnx.TypicalShapes, and parameters.
func (a *Analysis) Cost(s *Selection) Cost {
	c := &a.costs
	share := make([]float64, len(c.axes))
	for i, ax := range c.axes {
		gone := 0
		for k, u := range ax.units {
			if s.gone[u] {
				gone += int(ax.times[k])
			}
		}
		share[i] = float64(ax.size-gone) / float64(ax.size)
	}
	sum := func(terms []costTerm) int64 {
		var total float64
		for _, t := range terms {
			x := t.amount
			for _, i := range t.axes {
				x *= share[i]
			}
			total += x
		}
		return int64(total + 0.5)
	}
	return Cost{c.base.MACs + sum(c.works), c.base.Parameters + sum(c.params)}
}
