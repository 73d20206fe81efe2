package groups

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/trial"
)

// spoil changes something about a graph at random: an attribute or a size; unless gently, an input or an operator.
func spoil(r *rand.Rand, m *onnx.Model, gently bool) {
	var nodes []*onnx.Node
	for n := range m.Graph.Nodes() {
		nodes = append(nodes, n)
	}
	n := nodes[r.IntN(len(nodes))]
	kinds := 6
	if gently {
		kinds = 3
	}
	switch r.IntN(kinds) {
	case 0:
		if as := n.Attributes(); len(as) > 0 {
			a := as[r.IntN(len(as))]
			switch a.Type {
			case onnx.AttrInt:
				a.I = int64(r.IntN(9) - 3)
			case onnx.AttrInts:
				if len(a.Ints) > 0 {
					a.Ints = slices.Clone(a.Ints)
					a.Ints[r.IntN(len(a.Ints))] = int64(r.IntN(9) - 3)
				}
			}
		}
	case 1, 2:
		for i, in := range n.Inputs() {
			t := m.Graph.Initializer(in)
			if t == nil || t.DataType != onnx.Int64 || i == 0 {
				continue
			}
			v, err := t.Ints()
			if err != nil || len(v) == 0 {
				continue
			}
			v = slices.Clone(v)
			v[r.IntN(len(v))] = int64(r.IntN(12) - 3)
			m.Graph.AddInitializer(onnx.NewInt64s(in, v, int64(len(v))))
		}
	case 3:
		if k := len(n.Inputs()); k > 1 {
			i, j := r.IntN(k), r.IntN(k)
			a, b := n.Input(i), n.Input(j)
			n.SetInput(i, b)
			n.SetInput(j, a)
		}
	case 4:
		other := nodes[r.IntN(len(nodes))]
		if k := len(n.Inputs()); k > 0 && len(other.Inputs()) > 0 {
			n.SetInput(r.IntN(k), other.Input(r.IntN(len(other.Inputs()))))
		}
	case 5:
		ops := []string{"Softmax", "ReduceSum", "Squeeze", "Flatten", "Transpose", "Shape", "Identity", "CumSum", "GlobalMaxPool", "Size", "Abs"}
		n.OpType = ops[r.IntN(len(ops))]
		for len(n.Inputs()) > 1 {
			n.SetInputs(n.Input(0))
		}
	}
}

// TestSpoiled prunes networks in which a number was changed at random: where the engine still runs the original, removal
// is still right. Worse is left to TestBroken, since engines have been seen to die of it.
func TestSpoiled(t *testing.T) {
	needRuntime(t)
	n := 300
	if testing.Short() {
		n = 40
	}
	ran := 0
	for i := range n {
		seed := uint64(i) //nolint:gosec // a count
		r := rand.New(rand.NewPCG(seed, 11))
		w := grow(r, nil, 5)
		for range 1 + r.IntN(2) {
			spoil(r, w.m, true)
		}
		b, err := w.m.Marshal()
		if err != nil || !loads(b) {
			continue
		}
		ran++
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Log(w.ops)
				}
			}()
			agreesIf(t, b, seed, 0.5, 1e-4, false)
		})
	}
	if ran < n/10 {
		t.Errorf("%d of %d run in the engine: the test shows little", ran, n)
	}
}

// TestBroken takes networks through all steps in which anything was changed at random. They may fail, but not panic.
func TestBroken(t *testing.T) {
	valid := 0
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 13))
		w := grow(r, nil, 5)
		for range 1 + r.IntN(3) {
			spoil(r, w.m, false)
		}
		b, err := w.m.Marshal()
		if err != nil {
			continue
		}
		m, err := onnx.Parse(slices.Clone(b))
		if err != nil || onnx.Check(m) != nil || Prepare(m) != nil {
			continue
		}
		a, err := Analyze(m, Options{})
		if err != nil {
			continue
		}
		valid++
		if a.Cut(chance(a, rand.New(rand.NewPCG(seed, 1)), 0.5), 1) == nil {
			if err := onnx.Check(m); err != nil {
				t.Errorf("%d: %v", seed, err)
			}
		}
	}
	if valid < 300 {
		t.Errorf("%d of 1000 came as far as to be pruned: the test shows little", valid)
	}
}

// loads tells whether the engine runs a model that the codec finds valid.
func loads(b []byte) bool {
	m, err := onnx.Parse(b)
	if err != nil || onnx.Check(m) != nil {
		return false
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1})
	if err != nil {
		return false
	}
	defer s.Close()
	in, err := trial.Inputs(m, 1)
	if err != nil {
		return false
	}
	_, err = s.Run(in, nil)
	return err == nil
}
