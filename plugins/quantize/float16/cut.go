package float16

// network is a flow network for a minimum cut, by Dinic's algorithm (1970).
type network struct {
	to, next, room []int32
	head           []int32
	level, at      []int32
}

func newNetwork(nodes int) *network {
	n := &network{head: make([]int32, nodes)}
	for i := range n.head {
		n.head[i] = -1
	}
	return n
}

// node adds one and returns its number.
func (n *network) node() int32 {
	n.head = append(n.head, -1)
	return int32(len(n.head) - 1)
}

// edge adds an edge of a capacity.
func (n *network) edge(from, to, room int32) {
	n.arc(from, to, room)
	n.arc(to, from, 0)
}

func (n *network) arc(from, to, room int32) {
	n.to, n.room, n.next = append(n.to, to), append(n.room, room), append(n.next, n.head[from])
	n.head[from] = int32(len(n.to) - 1)
}

// cut returns for each node whether it is on the source's side of a minimum cut.
func (n *network) cut(source, sink int32) []bool {
	for n.rank(source, sink) {
		n.at = append(n.at[:0], n.head...)
		for n.push(source, sink) {
		}
	}
	side := make([]bool, len(n.head))
	for i, l := range n.level {
		side[i] = l >= 0
	}
	return side
}

// rank numbers the nodes by their distance from the source along edges with room left.
func (n *network) rank(source, sink int32) bool {
	n.level = make([]int32, len(n.head))
	for i := range n.level {
		n.level[i] = -1
	}
	n.level[source] = 0
	queue := []int32{source}
	for len(queue) > 0 {
		u := queue[0]
		queue = queue[1:]
		for e := n.head[u]; e >= 0; e = n.next[e] {
			if v := n.to[e]; n.room[e] > 0 && n.level[v] < 0 {
				n.level[v] = n.level[u] + 1
				queue = append(queue, v)
			}
		}
	}
	return n.level[sink] >= 0
}

// push sends what it can along one path; a stack of its own, for paths are as long as a model is deep.
func (n *network) push(source, sink int32) bool {
	var path []int32
	for u := source; ; {
		if u == sink {
			least := int32(1 << 30)
			for _, e := range path {
				least = min(least, n.room[e])
			}
			for _, e := range path {
				n.room[e] -= least
				n.room[e^1] += least
			}
			return true
		}
		e := n.at[u]
		for ; e >= 0; e = n.next[e] {
			if n.room[e] > 0 && n.level[n.to[e]] == n.level[u]+1 {
				break
			}
		}
		n.at[u] = e
		if e >= 0 {
			path = append(path, e)
			u = n.to[e]
			continue
		}
		if u == source {
			return false
		}
		// A dead end: back, and past the edge that led here.
		e = path[len(path)-1]
		path = path[:len(path)-1]
		u = n.to[e^1]
		n.at[u] = n.next[e]
	}
}
