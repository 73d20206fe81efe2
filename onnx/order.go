package onnx

import (
	"fmt"
	"strings"
)

// TopoSort puts every node after the nodes that make what it reads. Nodes that are
// in order already stay where they are. A cycle is an error and changes nothing.
func (g *Graph) TopoSort() error {
	order, err := g.topoOrder()
	if err != nil {
		return err
	}
	g.head, g.tail = nil, nil
	for _, n := range order {
		n.prev, n.next = g.tail, nil
		if g.tail == nil {
			g.head = n
		} else {
			g.tail.next = n
		}
		g.tail = n
	}
	return nil
}

// topoOrder is a depth-first walk on a stack of its own, since the chain of nodes
// may be longer than a goroutine's stack should grow.
func (g *Graph) topoOrder() ([]*Node, error) {
	x := g.indexed()
	const open, done = 1, 2
	type frame struct {
		n     *Node
		reads []string
	}
	state := make(map[*Node]uint8, g.count)
	order := make([]*Node, 0, g.count)
	var stack []frame
	for start := range g.Nodes() {
		if state[start] != 0 {
			continue
		}
		state[start] = open
		stack = append(stack[:0], frame{start, start.reads()})
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if len(f.reads) == 0 {
				state[f.n] = done
				order = append(order, f.n)
				stack = stack[:len(stack)-1]
				continue
			}
			p := x.producers[f.reads[0]]
			f.reads = f.reads[1:]
			if p == nil || state[p] == done {
				continue
			}
			if state[p] == open {
				var cycle []string
				for i := len(stack) - 1; i >= 0; i-- {
					cycle = append(cycle, stack[i].n.Label())
					if stack[i].n == p {
						break
					}
				}
				if len(cycle) > 5 {
					cycle = append(cycle[:5], "...")
				}
				return nil, fmt.Errorf("the graph has a cycle through %s", strings.Join(cycle, ", "))
			}
			state[p] = open
			stack = append(stack, frame{p, p.reads()})
		}
	}
	return order, nil
}

// Prune removes the nodes that no output of the graph depends on, the initializers
// that nothing reads, and recorded types of values that are gone; in subgraphs too.
// Inputs of the graph stay. It returns how many nodes and initializers went.
func (g *Graph) Prune() int {
	count := 0
	for n := range g.Nodes() {
		for _, s := range n.Subgraphs() {
			count += s.Prune()
		}
	}
	live := make(map[*Node]bool, g.count)
	var todo []*Node
	reach := func(value string) {
		if n := g.Producer(value); n != nil && !live[n] {
			live[n] = true
			todo = append(todo, n)
		}
	}
	for _, v := range g.outputs {
		reach(v.name)
	}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, s := range n.reads() {
			reach(s)
		}
	}
	for n := range g.Nodes() {
		if !live[n] {
			g.RemoveNode(n)
			count++
		}
	}
	for t := range g.Initializers() {
		if g.NumConsumers(t.name) == 0 && !g.IsOutput(t.name) {
			g.RemoveInitializer(t.name)
			count++
		}
	}
	kept := g.values[:0:0]
	for _, v := range g.values {
		if g.defines(v.name) {
			kept = append(kept, v)
		}
	}
	if len(kept) < len(g.values) {
		g.values = kept
	}
	return count
}
