// Package smooth makes activations of transformers easier to quantize: what is large in a few channels of the input of
// products moves into their weights, by factors that the normalization in front takes in (SmoothQuant: Xiao et al.,
// 2022). How much moves is searched for each input.
package smooth

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
)

// Group is the output of a normalization and all the products with a constant weight that multiply it.
type Group struct {
	Value string
	K     int // channels of Value, its last axis
	units []*unit
	// shared: something else reads Value too, so that the products get a copy of it, scaled by a Mul.
	shared bool
	graph  *onnx.Graph
}

// unit is one product.
type unit struct {
	node   *onnx.Node
	weight *onnx.Tensor
	byRow  bool // stored as [N, K]
	n      int
}

// Nodes are the products, by name.
func (g *Group) Nodes() []string {
	var out []string
	for _, u := range g.units {
		out = append(out, name(u.node))
	}
	return out
}

func name(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// Find returns the groups of a model in graph order: products that want keeps, with float weights of their own, behind a
// LayerNormalization, whole or written out, or an RMS normalization.
func Find(m *onnx.Model, want func(*onnx.Node) bool) []*Group {
	g := m.Graph
	var out []*Group
	for p := range g.Nodes() {
		v := p.Output(0)
		if v == "" || !normalizes(g, p) {
			continue
		}
		group := &Group{Value: v, graph: g, shared: g.IsOutput(v)}
		for _, n := range g.Consumers(v) {
			u := product(g, n, v)
			if u == nil || !want(n) {
				group.shared = true
				continue
			}
			k := int(u.weight.Elements()) / u.n
			if group.K == 0 {
				group.K = k
			}
			if k != group.K {
				group.shared = true
				continue
			}
			group.units = append(group.units, u)
		}
		if len(group.units) > 0 && foldable(g, p, group.K) {
			out = append(out, group)
		}
	}
	return out
}

// product describes a node that multiplies value with a weight of its own, matched by what the operand is: a constant
// matrix.
func product(g *onnx.Graph, n *onnx.Node, value string) *unit {
	w := g.Initializer(n.Input(1))
	if n.Graph() != g || !n.Is("MatMul") && !n.Is("Gemm") || n.Input(0) != value || n.Input(1) == value || w == nil ||
		w.DataType != onnx.Float || len(w.Dims) != 2 || g.NumConsumers(w.Name()) != 1 || w.Elements() == 0 {
		return nil
	}
	u := &unit{node: n, weight: w, n: int(w.Dims[1])}
	if n.Is("Gemm") {
		if n.IntAttr("transA", 0) != 0 || n.Input(2) == value {
			return nil
		}
		if n.IntAttr("transB", 0) != 0 {
			u.byRow, u.n = true, int(w.Dims[0])
		}
	}
	return u
}

// rows is the weight as [N, K].
func (u *unit) rows() ([]float32, error) {
	v, err := u.weight.Float32s()
	if err != nil {
		return nil, fmt.Errorf("weight %q of node %q: %w", u.weight.Name(), name(u.node), err)
	}
	if u.byRow {
		return v, nil
	}
	return turn(v, len(v)/u.n, u.n), nil
}

func turn(w []float32, rows, cols int) []float32 {
	out := make([]float32, len(w))
	for r := range rows {
		for c, v := range w[r*cols : (r+1)*cols] {
			out[c*rows+r] = v
		}
	}
	return out
}

// Stats are what was measured of a group's Value.
type Stats struct {
	Min, Max []float64 // of each channel
	Square   []float64 // the sum of x*x of each channel
	Rows     float64   // how many x
}

// Grid is how activations and weights are quantized.
type Grid struct {
	// Step is that of an activation whose values lie between lo and hi.
	Step func(lo, hi float64) float64
	// QMax is the largest code of a weight; one scale for each output, or one for all.
	QMax       float32
	PerChannel bool
}

// Choice is what Search found.
type Choice struct {
	// Alpha is how much moves into the weights: 0 nothing of the activation's range, 1 all of it; NaN when none helps.
	Alpha float64
	Scale []float32 // that Value is divided by, channel by channel; nil when none helps
	// Before and After are the errors of the products, relative to their energy.
	Before, After float64
	// Outlier is how far the largest channel is above the median one, and Channel which it is.
	Outlier float64
	Channel int
}

const coarse = 0.1

// Search tries how much moves, first in tenths, then in twentieths around the best, on so many threads. The error of a
// choice is that of the rounded weights and of the rounded activations, each taken to be independent from element to element: then
// only the energy of each channel matters. That of the activations is taken to be even within a step.
func (g *Group) Search(s *Stats, grid Grid, threads int) (*Choice, error) {
	if len(s.Min) != g.K || len(s.Max) != g.K || len(s.Square) != g.K {
		return nil, fmt.Errorf("what was measured of %q does not have its %d channels", g.Value, g.K)
	}
	most := make([]float64, g.K) // of the activations
	for i := range most {
		most[i] = math.Max(s.Max[i], -s.Min[i])
	}
	out := &Choice{Alpha: math.NaN()}
	out.Outlier, out.Channel = outlier(most)
	weights := make([][]float32, len(g.units))
	heavy := make([]float64, g.K) // of the weights
	var energy float64
	for i, u := range g.units {
		w, err := u.rows()
		if err != nil {
			return nil, err
		}
		weights[i] = w
		for j, v := range w {
			heavy[j%g.K] = math.Max(heavy[j%g.K], math.Abs(float64(v)))
		}
		energy += sumRows(u.n, threads, func(o int) float64 {
			var e float64
			for j, v := range w[o*g.K:][:g.K] {
				e += float64(v) * float64(v) * s.Square[j]
			}
			return e
		})
	}
	for i := range g.K {
		if math.IsNaN(most[i]) || math.IsInf(most[i], 0) || math.IsNaN(heavy[i]) || math.IsInf(heavy[i], 0) {
			return nil, fmt.Errorf("channel %d of %q, or a weight that multiplies it, holds no finite number", i, g.Value)
		}
	}
	if energy == 0 {
		return out, nil
	}
	none := make([]float32, g.K)
	for i := range none {
		none[i] = 1
	}
	out.Before = g.noise(s, none, weights, grid, threads) / energy
	out.After = out.Before
	consider := func(alpha float64) {
		scale := factors(most, heavy, alpha)
		if e := g.noise(s, scale, weights, grid, threads) / energy; e < out.After {
			out.Alpha, out.Scale, out.After = alpha, scale, e
		}
	}
	for i := 0; i <= 10; i++ {
		consider(coarse * float64(i))
	}
	if around := out.Alpha; !math.IsNaN(around) {
		for _, d := range []float64{-coarse / 2, coarse / 2} {
			if a := around + d; a > 0 && a < 1 {
				consider(a)
			}
		}
	}
	return out, nil
}

// outlier compares the largest channel with the median one.
func outlier(most []float64) (ratio float64, channel int) {
	sorted := slices.Clone(most)
	slices.Sort(sorted)
	for i, v := range most {
		if cmp.Compare(v, most[channel]) > 0 {
			channel = i
		}
	}
	if m := sorted[len(sorted)/2]; m > 0 {
		return most[channel] / m, channel
	}
	return 0, channel
}

// factors are act^alpha / weight^(1-alpha), with a geometric middle of 1; a channel that is dead on a side keeps 1.
func factors(act, weight []float64, alpha float64) []float32 {
	f := make([]float64, len(act))
	var logs float64
	var n int
	for i := range act {
		if act[i] > 0 && weight[i] > 0 {
			f[i] = math.Pow(act[i], alpha) / math.Pow(weight[i], 1-alpha)
			logs += math.Log(f[i])
			n++
		}
	}
	out := make([]float32, len(act))
	for i, v := range f {
		out[i] = 1
		if v > 0 {
			out[i] = float32(min(max(v/math.Exp(logs/float64(n)), 1e-5), 1e5))
		}
	}
	return out
}

// noise is the energy of the error of all products of the group.
func (g *Group) noise(s *Stats, scale []float32, weights [][]float32, grid Grid, threads int) float64 {
	lo, hi := 0.0, 0.0
	energy := make([]float32, g.K) // of the scaled activation, which the error of a weight meets
	for i, f := range scale {
		lo, hi = math.Min(lo, s.Min[i]/float64(f)), math.Max(hi, s.Max[i]/float64(f))
		energy[i] = float32(s.Square[i] / (float64(f) * float64(f)))
	}
	step := grid.Step(lo, hi)
	rounding := float32(s.Rows * step * step / 12)
	var sum float64
	for i, u := range g.units {
		w := weights[i]
		tops := make([]float32, u.n)
		solve.Parallel(threads, u.n, 1+rowGrain/g.K, func(from, to int) {
			for o := from; o < to; o++ {
				row := w[o*g.K:][:g.K]
				for j, f := range scale {
					tops[o] = max(tops[o], abs(row[j]*f))
				}
			}
		})
		whole := slices.Max(tops)
		sum += sumRows(u.n, threads, func(o int) float64 {
			top := whole
			if grid.PerChannel {
				top = tops[o]
			}
			unit := top / grid.QMax
			if !(unit > 0) {
				return 0
			}
			row, e := w[o*g.K:][:g.K], energy[:g.K]
			inverse := 1 / unit
			var total float32
			for j, f := range scale[:g.K] {
				v := row[j] * f
				const magic = 0x1.8p23 // adding and taking it away rounds: what is rounded is no more than QMax
				t := float32(v*inverse + magic)
				q := float32(t-magic) * unit
				total += (v-q)*(v-q)*e[j] + rounding*q*q
			}
			return float64(total)
		})
	}
	return sum
}

// rowGrain is the number of weights that are worth a goroutine.
const rowGrain = 1 << 15

// sumRows adds what f gives for each of n rows, in their order whatever the number of threads.
func sumRows(n, threads int, f func(row int) float64) (sum float64) {
	each := make([]float64, n)
	solve.Parallel(threads, n, 64, func(from, to int) {
		for o := from; o < to; o++ {
			each[o] = f(o)
		}
	})
	for _, v := range each {
		sum += v
	}
	return sum
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }
