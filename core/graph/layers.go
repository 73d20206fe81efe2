package graph

import (
	"cmp"
	"slices"
)

// item is a node in its layer, or a place where a long line passes through one.
type item struct {
	node    int // index in the part; -1 where a line passes
	source  int // the node that the lines from here come from
	layer   int
	in, out []*item
	order   int     // within its layer
	weight  float64 // where it would like to stand

	size  int // across the layers: rows when they go from left to right
	along int // in the direction of the layers
	pos   int // first row
	ports []int
}

// part is a connected part of a graph: nodes by their indexes, and who needs whom.
type part struct {
	nodes []*Node
	deps  [][]int
}

// parts splits a graph into its connected parts, in the order of their first nodes.
func (g *Graph) parts() []*part {
	index := map[string]int{}
	for i, n := range g.Nodes {
		index[n.ID] = i
	}
	group := make([]int, len(g.Nodes))
	for i := range group {
		group[i] = i
	}
	var find func(i int) int
	find = func(i int) int {
		if group[i] != i {
			group[i] = find(group[i])
		}
		return group[i]
	}
	deps := make([][]int, len(g.Nodes))
	for _, e := range g.Edges {
		from, ok1 := index[e.From]
		to, ok2 := index[e.To]
		if !ok1 || !ok2 || from >= to || slices.Contains(deps[to], from) {
			continue // of a node that is left out
		}
		deps[to] = append(deps[to], from)
		group[max(find(from), find(to))] = min(find(from), find(to))
	}
	var out []*part
	at := map[int]*part{}
	local := make([]int, len(g.Nodes))
	for i := range g.Nodes {
		p := at[find(i)]
		if p == nil {
			p = &part{}
			at[find(i)] = p
			out = append(out, p)
		}
		local[i] = len(p.nodes)
		p.nodes = append(p.nodes, &g.Nodes[i])
		var d []int
		for _, from := range deps[i] {
			d = append(d, local[from])
		}
		p.deps = append(p.deps, d)
	}
	return out
}

// layers puts each node into the layer after the last that it needs, sources as late as they may be, and lines that pass
// a layer into it too. Lines of one source share their way.
func (p *part) layers() [][]*item {
	n := len(p.nodes)
	layer := make([]int, n)
	for i, deps := range p.deps {
		for _, d := range deps {
			layer[i] = max(layer[i], layer[d]+1)
		}
	}
	users := make([][]int, n)
	for i, deps := range p.deps {
		for _, d := range deps {
			users[d] = append(users[d], i)
		}
	}
	for i := range n {
		if len(p.deps[i]) == 0 && len(users[i]) > 0 {
			first := layer[users[i][0]]
			for _, u := range users[i] {
				first = min(first, layer[u])
			}
			layer[i] = first - 1
		}
	}
	items := make([]*item, n)
	var out [][]*item
	add := func(it *item) *item {
		for len(out) <= it.layer {
			out = append(out, nil)
		}
		out[it.layer] = append(out[it.layer], it)
		return it
	}
	for i := range n {
		items[i] = add(&item{node: i, source: i, layer: layer[i]})
	}
	passing := map[[2]int]*item{}
	for i, deps := range p.deps {
		for _, d := range deps {
			from := items[d]
			for l := layer[d] + 1; l < layer[i]; l++ {
				way := passing[[2]int{d, l}]
				if way == nil {
					way = add(&item{node: -1, source: d, layer: l})
					passing[[2]int{d, l}] = way
					connect(from, way)
				}
				from = way
			}
			connect(from, items[i])
		}
	}
	return out
}

func connect(from, to *item) {
	from.out = append(from.out, to)
	to.in = append(to.in, from)
}

// arrange orders the items of each layer so that few lines cross: each goes to where its neighbours are on average, to and
// fro, and the best arrangement wins.
func arrange(layers [][]*item) {
	number := func() {
		for _, l := range layers {
			for i, it := range l {
				it.order = i
			}
		}
	}
	number()
	best, fewest := snapshot(layers), crossings(layers)
	for round := range 12 {
		if fewest == 0 {
			break
		}
		for k := range layers {
			l := layers[k]
			if round%2 == 1 {
				l = layers[len(layers)-1-k]
			}
			for _, it := range l {
				near := it.in
				if round%2 == 1 {
					near = it.out
				}
				it.weight = float64(it.order)
				if len(near) > 0 {
					sum := 0
					for _, x := range near {
						sum += x.order
					}
					it.weight = float64(sum) / float64(len(near))
				}
			}
			slices.SortStableFunc(l, func(a, b *item) int { return cmp.Compare(a.weight, b.weight) })
			for i, it := range l {
				it.order = i
			}
		}
		swap(layers)
		if c := crossings(layers); c < fewest {
			best, fewest = snapshot(layers), c
		}
	}
	for i := range layers {
		copy(layers[i], best[i])
	}
	number()
	for _, l := range layers {
		for _, it := range l {
			byOrder := func(a, b *item) int { return cmp.Compare(a.order, b.order) }
			slices.SortFunc(it.in, byOrder)
			slices.SortFunc(it.out, byOrder)
		}
	}
}

func snapshot(layers [][]*item) [][]*item {
	out := make([][]*item, len(layers))
	for i, l := range layers {
		out[i] = slices.Clone(l)
	}
	return out
}

// swap exchanges neighbours as long as that makes crossings fewer.
func swap(layers [][]*item) {
	for range 4 {
		better := false
		for _, l := range layers {
			for i := 0; i+1 < len(l); i++ {
				a, b := l[i], l[i+1]
				if cross(b, a) < cross(a, b) {
					l[i], l[i+1] = b, a
					b.order, a.order = i, i+1
					better = true
				}
			}
		}
		if !better {
			return
		}
	}
}

// cross counts how the lines of a and b cross when a stands before b.
func cross(a, b *item) int {
	n := 0
	for _, side := range [][2][]*item{{a.in, b.in}, {a.out, b.out}} {
		for _, x := range side[0] {
			for _, y := range side[1] {
				if x.order > y.order {
					n++
				}
			}
		}
	}
	return n
}

func crossings(layers [][]*item) int {
	n := 0
	for _, l := range layers {
		for i, a := range l {
			for _, b := range l[i+1:] {
				for _, x := range a.out {
					for _, y := range b.out {
						if x.order > y.order {
							n++
						}
					}
				}
			}
		}
	}
	return n
}
