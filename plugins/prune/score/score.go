// Package score tells which channels of a model matter least. A score is a number for each unit of a group; within a group
// the units with the smallest leave first, and between groups the scores can be compared.
package score

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
)

// The methods.
const (
	// L1 and L2 are the sums of magnitudes and of squares of all weights that go with a unit: those that make it and
	// those that read it. (The group norms of "DepGraph", Fang et al. 2023.)
	L1 = "l1"
	L2 = "l2"
	// BatchNormScale is the magnitude of the factors of its normalizations ("Network Slimming", Liu et al. 2017).
	BatchNormScale = "bn_scale"
	// FPGM is the distance of its filters to all others: what lies in the middle can be told by the rest ("Filter Pruning
	// via Geometric Median", He et al. 2019).
	FPGM = "fpgm"
	// LAMP is the square norm over the sum of those that are not smaller ("Layer-Adaptive Sparsity for the
	// Magnitude-based Pruning", Lee et al. 2021).
	LAMP = "lamp"
	// Activation is the energy that it brings to what reads it: the sum over the data of x*x times the squares of the
	// weights that x is multiplied by.
	Activation = "activation"
	// Random is a number from the seed: what the others are to be compared with.
	Random = "random"
)

// Options say how scores are found.
type Options struct {
	Method  string
	Seed    uint64
	Threads int
	// Energy is, for Activation, the sum of x*x of each index of a value's axis; see Measure.
	Energy map[Axis][]float64
	// Gemm multiplies matrices, for FPGM.
	Gemm solve.Gemm
}

// Axis is an axis of a value.
type Axis struct {
	Value string
	Axis  int
}

// Result are the scores of each group's units, and the groups that have none.
type Result struct {
	Of map[*groups.Group][]float64
	// Skipped says why a group has no scores.
	Skipped map[*groups.Group]string
}

// Of scores all groups of a model. Scores are at least 0; but for LAMP, whose scores compare as they are, those of a group
// have the mean 1.
func Of(a *groups.Analysis, o Options) (*Result, error) {
	s := &scorer{a: a, o: o, cached: map[weight][]float64{}}
	r := &Result{Of: map[*groups.Group][]float64{}, Skipped: map[*groups.Group]string{}}
	if err := s.read(); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(o.Seed, 0x73636f7265)) //nolint:gosec // not for secrets
	for _, g := range a.Groups {
		out := make([]float64, len(g.Units))
		var err error
		found := false
		switch o.Method {
		case L1, L2, LAMP:
			found = s.norms(g, out)
		case BatchNormScale:
			if found = s.scales(g, out); !found {
				r.Skipped[g] = "it has no normalization whose factors could tell"
				continue
			}
		case FPGM:
			found, err = s.distances(g, out)
		case Activation:
			found = s.energies(g, out)
		case Random:
			found = true
			for i := range out {
				out[i] = random.Float64()
			}
		default:
			return nil, fmt.Errorf("there is no method %q", o.Method)
		}
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", g.Name, err)
		}
		if !found {
			r.Skipped[g] = "no weight that goes with its channels can be read"
			continue
		}
		for i, x := range out {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, fmt.Errorf("group %q: unit %d has weights that are no numbers", g.Name, i)
			}
		}
		if o.Method == LAMP {
			lamp(out)
		} else {
			toMean(out)
		}
		r.Of[g] = out
	}
	return r, nil
}

func toMean(x []float64) {
	var sum float64
	for _, v := range x {
		sum += v
	}
	if sum > 0 {
		for i := range x {
			x[i] *= float64(len(x)) / sum
		}
	}
}

// lamp turns square norms into shares of what is not smaller.
func lamp(x []float64) {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case x[a] > x[b]:
			return -1
		case x[a] < x[b]:
			return 1
		}
		return b - a
	})
	var sum float64
	for _, i := range order {
		if sum += x[i]; sum > 0 {
			x[i] /= sum
		}
	}
}

// weight is an axis of a constant. scaled is set for what a node sums over, where a BatchNormalization scales what comes
// of it: the first axis of the constant then counts by these factors.
type weight struct {
	t      *onnx.Tensor
	axis   int
	scaled *onnx.Node
}

// weightOf is the weight of a use.
func weightOf(u groups.Use) weight {
	w := weight{t: u.Constant, axis: u.Axis}
	if u.Role == groups.In && u.Axis == 1 && len(u.Constant.Dims) > 2 && u.Node.OpType == "Conv" {
		w.scaled = u.Node
	}
	return w
}

type scorer struct {
	a      *groups.Analysis
	o      Options
	cached map[weight][]float64 // the sum of |w| or of w*w of each index
}

// power is what magnitudes are raised to.
func (s *scorer) power() float64 {
	if s.o.Method == L1 {
		return 1
	}
	return 2
}

// read sums up all weights that are needed, each once.
func (s *scorer) read() error {
	if s.o.Method == Random || s.o.Method == FPGM || s.o.Method == BatchNormScale {
		return nil
	}
	var all []weight
	for _, g := range s.a.Groups {
		for _, u := range g.Uses {
			if u.Constant == nil || u.Role != groups.Out && u.Role != groups.In || len(u.Constant.Dims) < 2 {
				continue
			}
			w := weightOf(u)
			if _, ok := s.cached[w]; !ok {
				s.cached[w] = nil
				all = append(all, w)
			}
		}
	}
	sums := make([][]float64, len(all))
	errs := make([]error, len(all))
	solve.Parallel(s.o.Threads, len(all), 1, func(from, to int) {
		for i := from; i < to; i++ {
			var factor []float64
			if n := all[i].scaled; n != nil {
				factor = normalized(n, int(all[i].t.Dims[0]))
			}
			sums[i], errs[i] = indexSums(all[i], s.power(), factor)
			s.a.Model.Release(all[i].t.Raw)
		}
	})
	for i, w := range all {
		if errs[i] != nil {
			return fmt.Errorf("weight %q: %w", w.t.Name(), errs[i])
		}
		s.cached[w] = sums[i]
	}
	return nil
}

// indexSums sums |w|^power over all other axes. Factors, where there are some, multiply the indexes of axis 0, and the
// axis is 1.
func indexSums(w weight, power float64, factor []float64) ([]float64, error) {
	x, err := w.t.Float32s()
	if err != nil {
		return nil, err
	}
	n := int(w.t.Dims[w.axis])
	inner := 1
	for _, d := range w.t.Dims[w.axis+1:] {
		inner *= int(d)
	}
	out := make([]float64, n)
	if inner == 1 && factor == nil {
		for o := 0; o < len(x); o += n {
			row := x[o : o+n]
			if power == 1 {
				for i, v := range row {
					out[i] += math.Abs(float64(v))
				}
				continue
			}
			for i, v := range row {
				out[i] += float64(v) * float64(v)
			}
		}
		return out, nil
	}
	for o, i := 0, 0; o < len(x); o, i = o+inner, (i+1)%n {
		var sum float64
		if power == 1 {
			for _, v := range x[o : o+inner] {
				sum += math.Abs(float64(v))
			}
		} else {
			for _, v := range x[o : o+inner] {
				sum += float64(v) * float64(v)
			}
		}
		if factor != nil {
			sum *= math.Pow(factor[o/(n*inner)], power)
		}
		out[i] += sum
	}
	return out, nil
}

// norms adds up the weights of each unit.
func (s *scorer) norms(g *groups.Group, out []float64) bool {
	found := false
	for _, u := range g.Uses {
		if u.Constant == nil || u.Role != groups.Out && u.Role != groups.In {
			continue
		}
		sums := s.cached[weightOf(u)]
		if sums == nil {
			continue
		}
		found = true
		var factor []float64
		if u.Role == groups.Out {
			factor = normalized(u.Node, int(u.Constant.Dims[u.Axis]))
		}
		for i, at := range u.At {
			for _, k := range at {
				x := sums[k]
				if factor != nil {
					x *= math.Pow(factor[k], s.power())
				}
				out[i] += x
			}
		}
	}
	return found
}

// normalized are the factors by which a BatchNormalization right behind a layer multiplies the n channels that it makes:
// the size of the layer's own weights says nothing without them. Nil where there is none.
func normalized(layer *onnx.Node, n int) []float64 {
	g := layer.Graph()
	next := g.Consumers(layer.Output(0))
	if len(next) != 1 || !next[0].Is("BatchNormalization") || g.IsOutput(layer.Output(0)) {
		return nil
	}
	scale, variance := g.Constant(next[0].Input(1)), g.Constant(next[0].Input(4))
	if scale == nil || variance == nil {
		return nil
	}
	a, err := scale.Float32s()
	if err != nil {
		return nil
	}
	b, err := variance.Float32s()
	if err != nil || len(a) != n || len(b) != n {
		return nil
	}
	out := make([]float64, n)
	for i := range a {
		out[i] = math.Abs(float64(a[i])) / math.Sqrt(max(float64(b[i]), 0)+float64(next[0].FloatAttr("epsilon", 1e-5)))
	}
	return out
}

// scales adds up the factors of normalizations.
func (s *scorer) scales(g *groups.Group, out []float64) bool {
	found := false
	for _, u := range g.Uses {
		if u.Role != groups.Scale || u.Constant == nil {
			continue
		}
		x, err := u.Constant.Float32s()
		if err != nil {
			continue
		}
		found = true
		for i, at := range u.At {
			for _, k := range at {
				out[i] += math.Abs(float64(x[k]))
			}
		}
	}
	return found
}

// energies adds up what each unit brings to the nodes that sum over it.
func (s *scorer) energies(g *groups.Group, out []float64) bool {
	found := false
	for _, k := range g.Sums {
		energy := s.o.Energy[Axis{k.Node.Input(k.Input), k.Axis}]
		if energy == nil {
			continue
		}
		found = true
		var sums []float64
		var where [][]int
		for _, u := range g.Uses {
			if u.Node == k.Node && u.Role == groups.In && u.Constant != nil {
				sums, where = s.cached[weightOf(u)], u.At
			}
		}
		for i, at := range k.At {
			for j, x := range at {
				e := energy[x]
				if sums != nil && i < len(where) && len(where[i]) > 0 {
					e *= sums[where[i][j%len(where[i])]]
				}
				out[i] += e
			}
		}
	}
	return found
}
