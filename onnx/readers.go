package onnx

import "slices"

// readers are the nodes that read one value, in the order in which they came to. A
// value that very many nodes read (a scalar that an exporter shares) must not make
// each edit of one of them take the time of all.
type readers struct {
	nodes  []*Node       // nil: gone
	at     map[*Node]int // where each is; made when there are many
	count  int
	shared bool // a caller has the slice: what is in it must not change
}

const manyReaders = 16

func (r *readers) find(n *Node) int {
	if len(r.nodes) < manyReaders {
		return slices.Index(r.nodes, n)
	}
	if r.at == nil {
		r.at = make(map[*Node]int, len(r.nodes))
		for i, m := range r.nodes {
			if m != nil {
				r.at[m] = i
			}
		}
	}
	if i, ok := r.at[n]; ok {
		return i
	}
	return -1
}

func (r *readers) add(n *Node) {
	if r.count > 0 && r.find(n) >= 0 {
		return
	}
	if r.at != nil {
		r.at[n] = len(r.nodes)
	}
	r.nodes = append(r.nodes, n)
	r.count++
}

func (r *readers) remove(n *Node) {
	i := r.find(n)
	if i < 0 {
		return
	}
	if r.shared {
		r.nodes, r.shared = slices.Clone(r.nodes), false
	}
	r.nodes[i] = nil
	r.count--
	delete(r.at, n)
	if r.count == 0 {
		r.nodes, r.at = nil, nil
	}
}

// list returns the nodes; later edits leave what it returned alone.
func (r *readers) list() []*Node {
	if r == nil || r.count == 0 {
		return nil
	}
	if r.count < len(r.nodes) {
		kept := make([]*Node, 0, r.count)
		for _, n := range r.nodes {
			if n != nil {
				kept = append(kept, n)
			}
		}
		r.nodes, r.at = kept, nil
	}
	if !r.shared { // BuildIndex sets it, so that later calls write nothing
		r.shared = true
	}
	return slices.Clip(r.nodes)
}
