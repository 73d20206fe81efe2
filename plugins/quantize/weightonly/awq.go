package weightonly

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
)

// Activation-aware weight quantization (Lin et al., 2023): inputs that are large on average get weights that are
// scaled up before they are rounded, and are scaled down themselves. By how much, between not at all (alpha 0) and in
// proportion (alpha 1), is searched for the smallest error of the product.
const awqSteps = 10

// shared is an input and all the units that multiply it, and nothing else.
type shared struct {
	value string
	k     int
	units []*unit
	scale []float32 // of the weights; nil when none helps
	diag  []float32 // the Hessian's diagonal
	err   map[*unit]float64
}

func (q *quantizer) awq(ctx context.Context, units []*unit) error {
	q.total = int64(len(units))
	measured, rest, taps := q.split(units)
	for _, u := range rest {
		w, err := u.rows()
		if err != nil {
			return err
		}
		if err := q.store(u, w, q.grid(u).refined(w, u.n, u.k, nil), -1); err != nil {
			return err
		}
	}
	byValue := map[string]*shared{}
	var all []*shared
	for _, u := range measured {
		for _, v := range taps[u] {
			s := byValue[v]
			if s == nil {
				s = &shared{value: v, k: u.k, err: map[*unit]float64{}}
				byValue[v] = s
				all = append(all, s)
			}
			s.units = append(s.units, u)
		}
	}
	// All scales are found on the float model, which scaling does not change.
	for _, c := range q.chunks(measured, taps) {
		stats, err := q.opts.Data.Measure(ctx, c.taps)
		if err != nil {
			return err
		}
		for i, t := range c.taps {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := q.search(byValue[t.Value], stats[i], taps); err != nil {
				return err
			}
		}
	}
	scale := map[*unit]*shared{}
	for _, s := range all {
		for _, u := range s.units {
			scale[u] = s
		}
		if s.scale != nil {
			q.divide(s)
		}
	}
	for _, u := range measured {
		s := scale[u]
		w, err := u.rows()
		if err != nil {
			return err
		}
		imp := s.diag
		if s.scale != nil {
			w = times(w, s.scale)
			imp = slices.Clone(imp)
			for i, v := range s.scale {
				imp[i] /= v * v
			}
		}
		if err := q.store(u, w, q.grid(u).refined(w, u.n, u.k, imp), s.err[u]); err != nil {
			return err
		}
	}
	return nil
}

// times multiplies each column of w, [n, len(s)], with its scale.
func times(w, s []float32) []float32 {
	out := make([]float32, len(w))
	for i := 0; i < len(w); i += len(s) {
		for j, v := range s {
			out[i+j] = w[i+j] * v
		}
	}
	return out
}

// search chooses the scale of one input. A chunk may name an input that units of a later chunk share: it is measured
// once, with all of them.
func (q *quantizer) search(s *shared, stat *gram.Stat, taps map[*unit][]string) error {
	if s.diag != nil {
		return nil
	}
	k := s.k
	s.diag = make([]float32, k)
	mean := make([]float64, k)
	var seen bool
	for i := range k {
		s.diag[i] = stat.Gram[i*k+i]
		mean[i] = stat.Abs[i] / max(stat.Rows, 1)
		seen = seen || mean[i] > 0
	}
	scalable := seen
	for _, u := range s.units {
		// A weight that multiplies several inputs could only follow one of them.
		scalable = scalable && len(taps[u]) == 1
	}
	best := math.Inf(1)
	for step := 0; step <= awqSteps && (step == 0 || scalable); step++ {
		scale := awqScale(mean, float64(step)/awqSteps)
		imp := slices.Clone(s.diag)
		for i, v := range scale {
			imp[i] /= v * v
		}
		var sum float64
		errs := map[*unit]float64{}
		for _, u := range s.units {
			w, err := u.rows()
			if err != nil {
				return err
			}
			back := q.grid(u).refined(times(w, scale), u.n, u.k, imp).Dequantize(q.opts.Threads)
			for i := 0; i < len(back); i += k {
				for j, v := range scale {
					back[i+j] = w[i+j] - back[i+j]/v
				}
			}
			e, err := solve.OutputError(back, u.n, u.k, stat.Gram, q.opts.Gemm)
			if err != nil {
				return fmt.Errorf("weight %q of node %q: %w", u.weight.Name(), nodeName(u.nodes[0]), err)
			}
			sum += e
			errs[u] = e
		}
		if sum < best {
			best, s.err, s.scale = sum, errs, scale
			if step == 0 {
				s.scale = nil
			}
		}
	}
	for _, u := range s.units {
		w, err := u.rows()
		if err != nil {
			return err
		}
		energy, err := solve.OutputError(w, u.n, u.k, stat.Gram, q.opts.Gemm)
		if err != nil {
			return err
		}
		if energy > 0 {
			s.err[u] /= energy
		}
	}
	return nil
}

// awqScale is mean^alpha, with a geometric middle of 1.
func awqScale(mean []float64, alpha float64) []float32 {
	out := make([]float32, len(mean))
	lo, hi := math.Inf(1), 0.0
	pow := make([]float64, len(mean))
	for i, m := range mean {
		pow[i] = max(math.Pow(m, alpha), 1e-4)
		lo, hi = min(lo, pow[i]), max(hi, pow[i])
	}
	mid := math.Sqrt(lo * hi)
	for i, p := range pow {
		// Powers of two and their like would be exact; any factor is fine in float.
		out[i] = float32(p / mid)
	}
	return out
}

// divide makes the input smaller by the scale: in the constants of what makes it where those are its own, else by a Mul.
func (q *quantizer) divide(s *shared) {
	g := q.graph
	inv := make([]float32, len(s.scale))
	for i, v := range s.scale {
		inv[i] = 1 / v
	}
	readers := map[*onnx.Node]bool{}
	for _, u := range s.units {
		for _, n := range u.nodes {
			readers[n] = true
		}
	}
	alone := !g.IsOutput(s.value)
	for _, n := range g.Consumers(s.value) {
		alone = alone && readers[n]
	}
	if alone {
		if into := q.fold(g.Producer(s.value), inv); into != "" {
			q.report.Scaled = append(q.report.Scaled, fmt.Sprintf("%s: folded into %s", s.value, into))
			return
		}
	}
	elem := (&unit{weight: s.units[0].weight})
	factor := elem.floats(g.UniqueName(s.value+"_awq"), inv, int64(len(inv)))
	g.AddInitializer(factor)
	out := g.UniqueName(s.value + "_scaled")
	mul := onnx.NewNode("Mul", "", g.UniqueName(s.value+"/Mul"), []string{s.value, factor.Name()}, []string{out})
	if p := g.Producer(s.value); p != nil {
		g.InsertAfter(p, mul)
	} else {
		g.PrependNode(mul)
	}
	for n := range readers {
		n.SetInput(0, out)
	}
	q.report.Scaled = append(q.report.Scaled, s.value+": by a Mul")
}

// fold multiplies a node's output, axis by axis at the end, within its constants, and names the node; "" where that is
// not possible: a LayerNormalization's scale and bias, or a chain of Add and Mul with constant vectors that begins
// with a Mul (what a LayerNormalization is written out as). The values must not be read elsewhere.
func (q *quantizer) fold(n *onnx.Node, inv []float32) string {
	g := q.graph
	if n == nil || n.Graph() != g {
		return ""
	}
	k := len(inv)
	var change []int // inputs of n that take the factor
	switch {
	case n.Is("LayerNormalization") && n.IntAttr("axis", -1) == -1:
		change = []int{1, 2}
	case n.OpType == "SkipLayerNormalization" && n.Domain == microsoft:
		change = []int{2, 3}
	case n.OpType == "SimplifiedLayerNormalization":
		change = []int{1}
	case n.Is("Mul"):
		for i := range 2 {
			if t, _ := constantOf(g, n.Input(i), k); t != nil {
				q.multiply(n, i, inv)
				return nodeName(n)
			}
		}
		return ""
	case n.Is("Add"):
		for i := range 2 {
			t, _ := constantOf(g, n.Input(i), k)
			other := n.Input(1 - i)
			if t == nil || g.IsOutput(other) || g.NumConsumers(other) != 1 {
				continue
			}
			if into := q.fold(g.Producer(other), inv); into != "" {
				q.multiply(n, i, inv)
				return into
			}
		}
		return ""
	default:
		return ""
	}
	for _, i := range change {
		if t, _ := constantOf(g, n.Input(i), k); t == nil && n.Input(i) != "" {
			return ""
		}
	}
	if n.Input(change[0]) == "" {
		return ""
	}
	for _, i := range change {
		if n.Input(i) != "" {
			q.multiply(n, i, inv)
		}
	}
	return nodeName(n)
}

// multiply gives input i of n, a constant vector, a copy of its own with each element multiplied.
func (q *quantizer) multiply(n *onnx.Node, i int, f []float32) {
	t, v := constantOf(q.graph, n.Input(i), len(f))
	out := make([]float32, len(v))
	for j := range v {
		out[j] = v[j] * f[j]
	}
	c := (&unit{weight: t}).floats(q.graph.UniqueName(t.Name()+"_awq"), out, t.Dims...)
	q.graph.AddInitializer(c)
	n.SetInput(i, c.Name())
}
