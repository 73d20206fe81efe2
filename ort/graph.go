package ort

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// GraphNode is a node of a model's graph.
type GraphNode struct {
	Name            string
	Op              string
	Domain          string   // "" for ONNX's own operators; "com.microsoft" and others are the engine's
	Depth           int      // 0 in the graph, more within a branch or a loop's body
	Inputs, Outputs []string // "" where an optional one is left out
}

// OptimizedGraph is a model as the engine runs it, after its own rewriting: fused
// operators, layouts, constants worked out. The file is an ONNX model, but one for
// this library, these options and this machine only.
type OptimizedGraph struct {
	Path     string      // the file
	DataPath string      // what holds the large weights beside it; empty when there are none
	Nodes    []GraphNode // with those of branches and loop bodies, which follow the node they belong to
}

// OpCount counts the nodes of one operator.
type OpCount struct {
	Op, Domain string
	Count      int
}

// Optimize lets the engine load a model file with options o and writes the graph that
// it would run into the folder dir, as optimized.onnx. A model of which another
// provider than the CPU compiles parts cannot be written; [ProfileFile] tells what
// runs where.
func Optimize(path, dir string, o Options) (*OptimizedGraph, error) {
	o.OptimizedModelPath = filepath.Join(dir, "optimized.onnx")
	o.ProfilePath = ""
	s, err := NewSessionFile(path, o)
	if err == nil {
		err = s.Close()
	}
	var g *OptimizedGraph
	if err == nil {
		g, err = ReadOptimized(o.OptimizedModelPath)
	}
	if err != nil {
		// Nothing half-written stays.
		for _, p := range []string{o.OptimizedModelPath, o.OptimizedModelPath + ".data"} {
			if e := os.Remove(p); e != nil && !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		return nil, err
	}
	return g, nil
}

// ReadOptimized reads the nodes of what a session wrote to [Options.OptimizedModelPath].
// Weights are not read.
func ReadOptimized(path string) (_ *OptimizedGraph, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the engine's graph cannot be read: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the engine's graph cannot be read: %w", err)
	}
	g := &OptimizedGraph{Path: path}
	if g.Nodes, err = scanNodes(f, st.Size()); err != nil {
		return nil, fmt.Errorf("the engine's graph %s cannot be read: %w", path, err)
	}
	if st, err := os.Stat(path + ".data"); err == nil && st.Mode().IsRegular() {
		g.DataPath = path + ".data"
	}
	return g, nil
}

// Ops counts the nodes by operator, the most frequent first.
func (g *OptimizedGraph) Ops() []OpCount {
	type key struct{ op, domain string }
	count := map[key]int{}
	for _, n := range g.Nodes {
		count[key{n.Op, n.Domain}]++
	}
	out := make([]OpCount, 0, len(count))
	for k, n := range count {
		out = append(out, OpCount{k.op, k.domain, n})
	}
	slices.SortFunc(out, func(a, b OpCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Domain, b.Domain))
	})
	return out
}

// Bytes reads the file; weights in DataPath are not in it.
func (g *OptimizedGraph) Bytes() ([]byte, error) {
	b, err := os.ReadFile(g.Path)
	if err != nil {
		return nil, fmt.Errorf("the engine's graph cannot be read: %w", err)
	}
	return b, nil
}

// scanNodes reads the nodes of a model and passes over its weights.
func scanNodes(r io.ReaderAt, size int64) ([]GraphNode, error) {
	var nodes []GraphNode
	w := &walker{r: r, end: size}
	err := w.fields(func(w *walker, num int, _ uint64) error {
		if num != 7 {
			return nil
		}
		return graphNodes(w, 0, &nodes)
	})
	if err != nil {
		return nil, fmt.Errorf("this is not a whole ONNX model: %w", err)
	}
	return nodes, nil
}

// graphNodes appends the nodes of the GraphProto at which w stands.
func graphNodes(w *walker, depth int, to *[]GraphNode) error {
	return w.fields(func(w *walker, num int, _ uint64) error {
		if num != 1 {
			return nil
		}
		at := len(*to)
		*to = append(*to, GraphNode{Depth: depth})
		return w.fields(func(w *walker, num int, _ uint64) (err error) {
			var s string
			switch num {
			case 1, 2, 3, 4, 7:
				if s, err = w.string(); err != nil {
					return err
				}
			case 5: // attribute; 6 is a graph, 11 a list of them
				return w.fields(func(w *walker, num int, _ uint64) error {
					if num != 6 && num != 11 {
						return nil
					}
					return graphNodes(w, depth+1, to)
				})
			}
			n := &(*to)[at] // inner graphs may have moved the list
			switch num {
			case 1:
				n.Inputs = append(n.Inputs, s)
			case 2:
				n.Outputs = append(n.Outputs, s)
			case 3:
				n.Name = s
			case 4:
				n.Op = s
			case 7:
				if n.Domain = s; s == "ai.onnx" {
					n.Domain = ""
				}
			}
			return nil
		})
	})
}
