package graph

import (
	"math"
	"slices"
)

// metrics are the distances of a drawing. The layers go from left to right, or down: then rows and columns change places.
type metrics struct {
	down    bool
	compact bool // without boxes
	gap     int  // between two neighbours of a layer
	stride  int  // between two lines that end at the same node
	lead    int  // from a layer to the first track
	step    int  // from a track to the next
	tail    int  // from the last track to the next layer
	plain   int  // between two layers without a track
}

// border is what a box takes at each side.
func (m *metrics) border() int {
	if m.compact {
		return 0
	}
	return 1
}

// port is where the lines from an item begin.
func (m *metrics) port(it *item) int {
	if it.node < 0 {
		return it.pos
	}
	b := m.border()
	return it.pos + b + (it.size-2*b-1)/2
}

// setPorts says where the lines to an item end: one place for each.
func (m *metrics) setPorts(it *item) {
	it.ports = it.ports[:0]
	if it.node < 0 {
		for range it.in {
			it.ports = append(it.ports, it.pos)
		}
		return
	}
	b := m.border()
	inner := it.size - 2*b
	first := it.pos + b + (inner-((len(it.in)-1)*m.stride+1))/2
	for i := range it.in {
		it.ports = append(it.ports, first+i*m.stride)
	}
}

// between is the distance of two neighbours.
func (m *metrics) between(a, b *item) int {
	switch {
	case a.node < 0 && b.node < 0:
		return m.stride - 1
	case m.compact && !m.down && len(a.in) < 2 && len(b.in) < 2:
		return 0
	case m.compact && !m.down:
		return 1
	}
	return m.gap
}

// place gives every item its position across the layers: near its neighbours, in order, without overlap, and so that no
// line ends where one of another source begins.
func (m *metrics) place(layers [][]*item) {
	for _, l := range layers {
		at := 0
		for i, it := range l {
			if i > 0 {
				at += m.between(l[i-1], it)
			}
			it.pos = at
			at += it.size
		}
	}
	for round := range 6 {
		for k := range layers {
			if round%2 == 0 {
				m.settle(layers[k], true)
			} else {
				m.settle(layers[len(layers)-1-k], false)
			}
		}
	}
	lowest := math.MaxInt
	for k, l := range layers {
		if k > 0 {
			m.settle(l, true)
			m.part(layers[k-1], l)
		}
		for _, it := range l {
			m.setPorts(it)
			lowest = min(lowest, it.pos)
		}
	}
	for _, l := range layers {
		for _, it := range l {
			it.pos -= lowest
			m.setPorts(it)
		}
	}
}

// settle moves the items of a layer to where the lines from before, or to what comes after, are straight on average, as far
// as their order and sizes allow. That is isotonic regression, by pooling neighbours that would overlap.
func (m *metrics) settle(l []*item, before bool) {
	type pool struct {
		sum, weight float64
		n           int
	}
	var pools []pool
	offsets := make([]int, len(l)) // from the first of the layer, packed
	for i, it := range l {
		if i > 0 {
			offsets[i] = offsets[i-1] + l[i-1].size + m.between(l[i-1], it)
		}
		want, weight := m.wish(it, before)
		p := pool{(want - float64(offsets[i])) * weight, weight, 1}
		for len(pools) > 0 {
			last := pools[len(pools)-1]
			if last.sum/last.weight <= p.sum/p.weight {
				break
			}
			p = pool{p.sum + last.sum, p.weight + last.weight, p.n + last.n}
			pools = pools[:len(pools)-1]
		}
		pools = append(pools, p)
	}
	i := 0
	for _, p := range pools {
		at := int(math.Round(p.sum / p.weight))
		for range p.n {
			l[i].pos = at + offsets[i]
			i++
		}
	}
}

// wish is where an item would like to be and how much that counts: long lines want to be straight most.
func (m *metrics) wish(it *item, before bool) (pos, weight float64) {
	near := it.out
	if before {
		near = it.in
	}
	if len(near) == 0 {
		return float64(it.pos), 0.01
	}
	m.setPorts(it)
	sum, weight := 0.0, 0.0
	for i, x := range near {
		w := 1.0
		if it.node < 0 || x.node < 0 {
			w = 4
		}
		var move int
		if before {
			move = m.port(x) - it.ports[i]
		} else {
			m.setPorts(x)
			move = x.ports[max(slices.Index(x.in, it), 0)] - m.port(it)
		}
		sum += w * float64(it.pos+move)
		weight += w
	}
	return sum / weight, weight
}

// part moves items on until none of their lines ends where one of another source begins: two lines would be one then.
func (m *metrics) part(before, l []*item) {
	begins := map[int]*item{}
	for _, it := range before {
		if len(it.out) > 0 {
			begins[m.port(it)] = it
		}
	}
	for i, it := range l {
		if i > 0 {
			it.pos = max(it.pos, l[i-1].pos+l[i-1].size+m.between(l[i-1], it))
		}
		for {
			m.setPorts(it)
			clash := false
			for k, p := range it.ports {
				if b := begins[p]; b != nil && b != it.in[k] {
					clash = true
				}
			}
			if !clash {
				break
			}
			it.pos++
		}
	}
}

// net is the lines from one item to the next layer: from its port along a track to where they end.
type net struct {
	from   *item
	begin  int
	ends   []int
	to     []*item
	lo, hi int
	track  int // -1 when the only line is straight
}

// route finds a track for each net between two layers, such that few cross, and gives the number of tracks.
func (m *metrics) route(l []*item) (nets []*net, tracks int) {
	var bent []*net
	for _, it := range l {
		if len(it.out) == 0 {
			continue
		}
		n := &net{from: it, begin: m.port(it), track: -1}
		n.lo, n.hi = n.begin, n.begin
		for _, to := range it.out {
			end := to.ports[slices.Index(to.in, it)]
			n.ends, n.to = append(n.ends, end), append(n.to, to)
			n.lo, n.hi = min(n.lo, end), max(n.hi, end)
		}
		nets = append(nets, n)
		if n.lo != n.hi {
			bent = append(bent, n)
		}
	}
	// Neighbours change places while that saves crossings; a cost depends on the two alone, so this ends.
	for range len(bent) + 1 {
		better := false
		for i := 0; i+1 < len(bent); i++ {
			a, b := bent[i], bent[i+1]
			if cost(b, a) < cost(a, b) {
				bent[i], bent[i+1] = b, a
				better = true
			}
		}
		if !better {
			break
		}
	}
	for i, n := range bent {
		n.track = 0
		for _, before := range bent[:i] {
			// Side by side in a row they would look like one; one below the other they do not.
			if before.lo < n.hi+m.stride && n.lo < before.hi+m.stride {
				n.track = max(n.track, before.track+1)
			}
		}
		tracks = max(tracks, n.track+1)
	}
	return nets, tracks
}

// cost counts the crossings of two nets when a's track comes before b's.
func cost(a, b *net) int {
	n := 0
	if a.lo < b.begin && b.begin < a.hi {
		n++
	}
	for _, e := range a.ends {
		if b.lo < e && e < b.hi {
			n++
		}
	}
	return n
}
