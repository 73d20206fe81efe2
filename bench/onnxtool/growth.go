package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
)

// mostGrowth is what a graph of four times the nodes may take. Linear is 4, and somewhat
// more since the larger one does not fit into the processor's caches; quadratic is 16.
const mostGrowth = 8

// passes are what edits graphs, each on a model of its own.
var passes = []struct {
	name string
	run  func(*onnx.Model) error
}{
	{"infer", func(m *onnx.Model) error { _, err := onnx.InferShapes(m); return err }},
	{"identity", func(m *onnx.Model) error { _, err := onnx.EliminateIdentity(m); return err }},
	{"rule", func(m *onnx.Model) error {
		r, err := onnx.NewRule("a = Sigmoid(x)\ny = Mul(a, c)\n=>\ny = Mul(c, x)")
		if err == nil {
			r.Apply(m)
		}
		return err
	}},
	{"remove", func(m *onnx.Model) error {
		for n := range m.Graph.Nodes() {
			if n.Is("Relu") {
				m.Graph.ReplaceAllUses(n.Output(0), n.Input(0))
			}
		}
		m.Graph.Prune()
		return m.Graph.TopoSort()
	}},
	{"upgrade", func(m *onnx.Model) error { return m.UpgradeOpset(21) }},
	{"simplify", func(m *onnx.Model) error { _, err := onnx.Simplify(m, onnx.SimplifyOptions{}); return err }},
}

// growth fails when a pass takes more than mostGrowth times as long on the second model.
func growth(part, full string) (err error) {
	debug.SetGCPercent(-1) // collections would fall where they like; they are made in between
	var bytes [2][]byte
	for i, path := range []string{part, full} {
		if bytes[i], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	for _, p := range passes {
		best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
		for range 15 { // the best of several, in turns: the machine may be busy
			for i, b := range bytes {
				m, err := onnx.Parse(b)
				if err != nil {
					return err
				}
				runtime.GC()
				start := spent()
				if err := p.run(m); err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
				best[i] = min(best[i], spent()-start)
			}
		}
		ratio := float64(best[1]) / float64(best[0])
		fmt.Printf("%-10s %10v %10v  %.2f times\n", p.name, best[0].Round(time.Microsecond), best[1].Round(time.Microsecond), ratio)
		if ratio > mostGrowth {
			err = errors.Join(err, fmt.Errorf("%s takes %.2f times as long on four times the nodes: more than linear", p.name, ratio))
		}
	}
	return err
}
