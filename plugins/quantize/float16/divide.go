package float16

import "github.com/optimize-hcl/optimize/onnx"

const (
	castCost  = 1000 // of a Cast, against 1 of a node without weights in float
	unbounded = int32(1) << 29
)

// divide puts each node that nothing decides to the side that takes the fewest Casts in all.
func (c *converter) divide() {
	net := newNetwork(2)
	const half, float = int32(0), int32(1) // source and sink
	id := map[*onnx.Node]int32{}
	for _, n := range c.nodes {
		if c.reason[n] != "" {
			continue
		}
		id[n] = net.node()
		if info, _ := infoOf(n); info.heavy {
			net.edge(half, id[n], unbounded)
		} else {
			net.edge(half, id[n], 1)
		}
	}
	side := func(n *onnx.Node, ok bool) int32 {
		if i, free := id[n]; free && ok {
			return i
		}
		return float
	}
	for _, v := range c.values {
		if v.g.Initializer(v.name) != nil {
			continue
		}
		maker := float
		if p := v.g.Producer(v.name); p != nil {
			maker = side(p, c.makesOwn(p, v.name))
		} else if v.g == c.m.Graph && !c.o.KeepIO {
			maker = half
		}
		readers := map[int32]bool{}
		var list []int32
		for _, u := range c.uses[v] {
			r := float
			switch {
			case u.node != nil && takesAny(u.node):
				continue
			case u.node != nil:
				r = side(u.node, c.readsOwn(u.node, u.i))
			case u.g == c.m.Graph && !c.o.KeepIO:
				r = half
			}
			if !readers[r] {
				readers[r] = true
				list = append(list, r)
			}
		}
		if len(list) == 0 {
			continue
		}
		down, up := net.node(), net.node()
		net.edge(maker, down, castCost)
		net.edge(up, maker, castCost)
		for _, r := range list {
			net.edge(down, r, unbounded)
			net.edge(r, up, unbounded)
		}
	}
	cut := net.cut(half, float)
	for n, i := range id {
		if cut[i] {
			c.half[n] = true
		}
	}
}

// readsOwn tells whether a node reads input i in its own precision, as opposed to float32 always.
func (c *converter) readsOwn(n *onnx.Node, i int) bool {
	info, ok := infoOf(n)
	return ok && !has(info.floatIn, i)
}

// makesOwn tells whether a node makes a value in its own precision.
func (c *converter) makesOwn(n *onnx.Node, name string) bool {
	info, ok := infoOf(n)
	if !ok {
		return false
	}
	for i, out := range n.Outputs() {
		if out == name {
			return !has(info.floatOut, i)
		}
	}
	return false
}

// wants tells whether a use reads half precision.
func (c *converter) wants(u use) bool {
	switch {
	case u.node != nil:
		return c.half[u.node] && c.readsOwn(u.node, u.i)
	case u.g == c.m.Graph:
		return !c.o.KeepIO
	}
	owner := u.g.Owner()
	return owner.Is("If") && c.ifHalf[value{owner.Graph(), owner.Output(u.i)}]
}

// isHalf tells whether a value that is no constant is in half precision.
func (c *converter) isHalf(v value) bool {
	if p := v.g.Producer(v.name); p != nil {
		return c.half[p] && c.makesOwn(p, v.name) || c.ifHalf[v]
	}
	return v.g == c.m.Graph && !c.o.KeepIO && v.g.IsInput(v.name)
}

// joinBranches lets an If give half precision where nobody reads anything else: then the branches do. What a Loop or a
// Scan carries from one round to the next stays in float32, for its errors add up.
func (c *converter) joinBranches() {
	for _, n := range c.order {
		if !n.Is("If") {
			continue
		}
		since := int64(1)
		if c.o.To == onnx.BFloat16 {
			since = 16
		}
		for _, out := range n.Outputs() {
			v := value{n.Graph(), out}
			if out == "" || !c.isFloat(out) || c.opset < since {
				continue
			}
			all, some := true, false
			for _, u := range c.uses[v] {
				if u.node != nil && takesAny(u.node) {
					continue
				}
				some = true
				all = all && c.wants(u)
			}
			c.ifHalf[v] = some && all
		}
	}
}
