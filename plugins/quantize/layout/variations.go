package layout

import "slices"

// groupsTried bounds how many groups of products have their form changed, and smallShare is the share of the
// multiply-accumulates from which on products are worth it.
const (
	groupsTried = 3
	smallShare  = 0.02
)

// Variations are the layouts of the third round: the best one so far with one thing about it changed.
func Variations(n Net, best Layout) []Layout {
	if best.Float {
		return nil
	}
	v := &varied{best: best}
	if n.Tables >= SmallTable {
		v.add(func(l *Layout) { l.Tables = !l.Tables })
	}
	if n.Recurrences > 0 {
		v.add(func(l *Layout) { l.Recurrent = !l.Recurrent })
	}
	v.products(n)
	if best.OnlyDynamic {
		return v.out
	}
	if n.Stems > 0 {
		v.add(func(l *Layout) { l.Stem = !l.Stem })
	}
	if n.HardSigmoids > 0 {
		v.add(func(l *Layout) { l.GateTable = !l.GateTable; l.Absorb = l.Absorb && l.GateTable })
	}
	if n.Additions > 0 {
		v.add(func(l *Layout) { l.Absorb = !l.Absorb })
	}
	if n.ProductNodes > 0 && len(n.Convs) > 0 {
		v.add(func(l *Layout) { l.FloatOps = toggled(l.FloatOps, "Gemm", "MatMul") })
	}
	for _, op := range []string{"MaxPool", "Resize", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid"} {
		if n.Ops[op] > 0 {
			v.add(func(l *Layout) { l.FloatOps = toggled(l.FloatOps, op) })
		}
	}
	if k := best.FloatConvs; k > 0 && len(n.Convs) > 0 {
		// Between the cuts that were tried.
		v.add(func(l *Layout) { l.FloatConvs = k + 1 })
		if k > 1 {
			v.add(func(l *Layout) { l.FloatConvs = k - 1 })
		}
	}
	if losers := n.losers(best.FloatConvs); len(losers) > 0 {
		v.add(func(l *Layout) { l.FloatNodes = toggled(l.FloatNodes, losers...) })
	}
	return v.out
}

type varied struct {
	best Layout
	out  []Layout
}

// add puts a changed layout among the others, if it is no other's twin.
func (v *varied) add(change func(*Layout)) {
	l := v.best.normal()
	change(&l)
	if l = l.normal(); !l.Equal(v.best) && !slices.ContainsFunc(v.out, l.Equal) {
		v.out = append(v.out, l)
	}
}

// products changes the form of the products of one size: static, with a scale at run time, or float.
func (v *varied) products(n Net) {
	if n.Products <= smallShare || slices.Contains(v.best.FloatOps, "MatMul") && slices.Contains(v.best.FloatOps, "Gemm") {
		return
	}
	var all []string
	for _, g := range n.Groups {
		all = append(all, g.Names...)
	}
	for _, g := range n.Groups[:min(groupsTried, len(n.Groups))] {
		v.add(func(l *Layout) {
			if !l.Dynamic {
				l.Dynamic, l.StaticNodes = true, all
			}
			l.OnlyDynamic = false
			if l.StaticNodes = toggled(l.StaticNodes, g.Names...); len(l.StaticNodes) == len(all) {
				l.Dynamic, l.StaticNodes = false, nil
			}
		})
		if len(n.Groups) > 1 || len(n.Convs) > 0 || n.Recurrences > 0 {
			v.add(func(l *Layout) { l.FloatNodes = toggled(l.FloatNodes, g.Names...) })
		}
	}
}

// losers are the convolutions behind the first k that the table of costs sees slower in integers, conversions on both
// sides included; none when all are.
func (n Net) losers(k int) []string {
	var out []string
	for _, c := range n.Convs[min(k, len(n.Convs)):] {
		if f, q := c.cost(); q+element*float64(c.In+c.Out) > f {
			out = append(out, c.Name)
		}
	}
	if len(out) == len(n.Convs)-k {
		return nil
	}
	return out
}

// toggled takes the names out of a list that has the first of them, and adds them to another.
func toggled(list []string, names ...string) []string {
	if slices.Contains(list, names[0]) {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(names, s) })
	}
	return append(slices.Clone(list), names...)
}
