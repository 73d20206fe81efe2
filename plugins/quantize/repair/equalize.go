package repair

import (
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/onnx"
)

// Pair are two layers between which channels were scaled.
type Pair struct {
	First, Second string // names of nodes
	// Before and After are how far the largest range of a channel is from the smallest: of the first layer's outputs and
	// the second's inputs together, as a factor.
	Before, After float64
}

func (p Pair) String() string {
	return fmt.Sprintf("%s, %s: ranges of channels differ by %.3g, before by %.3g", p.First, p.Second, p.After, p.Before)
}

const (
	sweeps = 20
	// settled is how far a scale may still be from 1 when the sweeps end.
	settled = 1e-3
)

// Equalizer holds the pairs of layers of a model whose channels can be scaled.
type Equalizer struct {
	graph  *onnx.Graph
	layers map[*onnx.Node]*scaled
	order  []*scaled
	pairs  [][2]*scaled
}

// FindPairs finds layers that follow each other so that channels can be scaled between them: f(s*x) = s*f(x) for what lies
// between, so the model computes the same. Layers are convolutions, depthwise ones included, and Gemm, with constant
// weights that nothing else reads; between them may be Relu, LeakyRelu, PRelu, pooling, and padding with zeros.
func FindPairs(m *onnx.Model) *Equalizer {
	e := &Equalizer{graph: m.Graph, layers: map[*onnx.Node]*scaled{}}
	for n := range m.Graph.Nodes() {
		a := e.layer(n)
		if a == nil {
			continue
		}
		next := e.follow(n)
		if next == nil {
			continue
		}
		if b := e.layer(next); b != nil && len(b.in) == len(a.out) {
			e.pairs = append(e.pairs, [2]*scaled{a, b})
		}
	}
	return e
}

// Values are what the second layer of each pair reads: the largest magnitude of each of their channels is what Equalize
// wants to know.
func (e *Equalizer) Values() []string {
	var out []string
	for _, p := range e.pairs {
		out = append(out, p[1].node.Input(0))
	}
	return out
}

// Equalize scales the channels so that the ranges of the first layer's outputs are those of the second's inputs (Nagel et
// al., 2019, section 4.1). A chain of layers is swept until it settles. activations are the largest magnitudes of each
// channel of Values: no channel is scaled beyond the largest one of its tensor, so that the range of the tensor does not
// grow (a channel with small weights and a large bias would else). A value without them knows no such bound.
func (e *Equalizer) Equalize(activations map[string][]float64) ([]Pair, error) {
	out := make([]Pair, len(e.pairs))
	for i, p := range e.pairs {
		out[i] = Pair{First: name(p[0].node), Second: name(p[1].node), Before: spread(p)}
	}
	for range sweeps {
		var far float64
		for _, p := range e.pairs {
			act := activations[p[1].node.Input(0)]
			if len(act) != len(p[0].out) {
				act = nil
			}
			far = max(far, equalize(p, act))
		}
		if far < settled {
			break
		}
	}
	for i, p := range e.pairs {
		out[i].After = spread(p)
	}
	return out, e.write()
}

// scaled is a layer whose weight is multiplied by in of each input channel and divided by out of each output channel.
type scaled struct {
	node         *onnx.Node
	weight, bias *onnx.Tensor
	w            []float32
	outputs      int // axis of the weight's outputs
	groups       int
	perGroup     int       // inputs of a group
	inner        int       // elements of the kernel
	most         []float64 // [outputs, perGroup]: the largest magnitude over the kernel
	in, out      []float64
}

func name(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// own returns a float constant that only one node reads, once.
func (e *Equalizer) own(value string) *onnx.Tensor {
	t := e.graph.Initializer(value)
	if t == nil || t.DataType != onnx.Float || e.graph.NumConsumers(value) != 1 || e.graph.IsOutput(value) || e.graph.IsInput(value) {
		return nil
	}
	return t
}

// layer describes a node, nil when it is none that can be scaled.
func (e *Equalizer) layer(n *onnx.Node) *scaled {
	if l, ok := e.layers[n]; ok {
		return l
	}
	e.layers[n] = nil
	l := &scaled{node: n, groups: 1, inner: 1}
	if l.weight = e.own(n.Input(1)); l.weight == nil {
		return nil
	}
	dims := l.weight.Dims
	var outs int
	switch {
	case n.Is("Conv") && len(dims) >= 3:
		l.groups, outs, l.perGroup = int(n.IntAttr("group", 1)), int(dims[0]), int(dims[1])
		for _, d := range dims[2:] {
			l.inner *= int(d)
		}
	case n.Is("Gemm") && len(dims) == 2 && n.IntAttr("transA", 0) == 0:
		l.outputs = 1
		if n.IntAttr("transB", 0) != 0 {
			l.outputs = 0
		}
		outs, l.perGroup = int(dims[l.outputs]), int(dims[1-l.outputs])
	default:
		return nil
	}
	if outs == 0 || l.perGroup == 0 || l.groups < 1 || outs%l.groups != 0 {
		return nil
	}
	if b := n.Input(2); b != "" {
		if l.bias = e.own(b); l.bias == nil || l.bias.Elements() != int64(outs) {
			return nil
		}
	}
	var err error
	if l.w, err = l.weight.Float32s(); err != nil || len(l.w) != outs*l.perGroup*l.inner {
		return nil
	}
	l.in, l.out, l.most = ones(l.groups*l.perGroup), ones(outs), make([]float64, outs*l.perGroup)
	for o := range outs {
		for j := range l.perGroup {
			at := l.at(o, j)
			var most float64
			for _, v := range l.w[at : at+l.inner] {
				most = max(most, math.Abs(float64(v)))
			}
			if math.IsNaN(most) || math.IsInf(most, 0) {
				return nil
			}
			l.most[o*l.perGroup+j] = most
		}
	}
	e.layers[n] = l
	e.order = append(e.order, l)
	return l
}

// at is where the kernel of output o and input j of its group begins.
func (l *scaled) at(o, j int) int {
	if l.outputs == 1 {
		return j*len(l.out) + o
	}
	return (o*l.perGroup + j) * l.inner
}

// channel is the input channel of input j of output o's group.
func (l *scaled) channel(o, j int) int { return o/(len(l.out)/l.groups)*l.perGroup + j }

func ones(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// follow returns the layer that alone reads what n makes, through what keeps channels apart and commutes with scaling.
func (e *Equalizer) follow(n *onnx.Node) *onnx.Node {
	v := n.Output(0)
	single := false // one element a channel is left: flattening keeps channels
	for {
		readers := e.graph.Consumers(v)
		if len(readers) != 1 || e.graph.IsOutput(v) {
			return nil
		}
		r := readers[0]
		if r.Input(0) != v || r.Graph() != e.graph {
			return nil
		}
		switch {
		case r.Is("Conv"):
			return r
		case r.Is("Gemm"):
			if !single && !n.Is("Gemm") {
				return nil // after a flattening, an input is no channel
			}
			return r
		case r.Is("Relu"), r.Is("LeakyRelu"), r.Is("AveragePool"), r.Is("Dropout") && len(r.Inputs()) == 1:
		case r.Is("MaxPool") && r.Output(1) == "":
		case r.Is("GlobalAveragePool"), r.Is("GlobalMaxPool"):
			single = true
		case r.Is("PRelu") && e.graph.Initializer(r.Input(1)) != nil:
		case r.Is("Pad") && r.StringAttr("mode", "constant") == "constant" && e.zero(r.Input(2)):
		case r.Is("Flatten") && single && r.IntAttr("axis", 1) == 1:
		default:
			return nil
		}
		v = r.Output(0)
	}
}

// zero tells whether a padding's value is missing, which is 0, or 0.
func (e *Equalizer) zero(value string) bool {
	if value == "" {
		return true
	}
	t := e.graph.Initializer(value)
	if t == nil {
		return false
	}
	v, err := t.Float32s()
	return err == nil && len(v) == 1 && v[0] == 0
}

// ranges are the largest magnitudes of each output of the first layer and each input of the second.
func ranges(p [2]*scaled) (first, second []float64) {
	a, b := p[0], p[1]
	first, second = make([]float64, len(a.out)), make([]float64, len(b.in))
	for o := range a.out {
		for j := range a.perGroup {
			first[o] = max(first[o], a.most[o*a.perGroup+j]*a.in[a.channel(o, j)]/a.out[o])
		}
	}
	for o := range b.out {
		for j := range b.perGroup {
			c := b.channel(o, j)
			second[c] = max(second[c], b.most[o*b.perGroup+j]*b.in[c]/b.out[o])
		}
	}
	return first, second
}

// equalize scales one pair and returns how far the largest scale is from 1.
func equalize(p [2]*scaled, act []float64) (far float64) {
	first, second := ranges(p)
	var most float64
	for _, a := range act {
		most = max(most, a)
	}
	for c := range first {
		if first[c] == 0 || second[c] == 0 {
			continue // a dead channel
		}
		s := math.Sqrt(first[c] / second[c])
		if most > 0 {
			s = max(s, act[c]/(p[0].out[c]*most))
		}
		// Far from the middle of float32, so that nothing overflows or vanishes.
		if t := p[0].out[c] * s; t < 1e-8 || t > 1e8 {
			continue
		}
		p[0].out[c] *= s
		p[1].in[c] *= s
		far = max(far, math.Abs(s-1))
	}
	return far
}

// spread is the largest ratio between a channel's two ranges, in either direction, times the spread of the channels.
func spread(p [2]*scaled) float64 {
	first, second := ranges(p)
	lo, hi := math.Inf(1), 0.0
	for _, v := range [][]float64{first, second} {
		for _, x := range v {
			if x > 0 {
				lo, hi = min(lo, x), max(hi, x)
			}
		}
	}
	if hi == 0 {
		return 1
	}
	return hi / lo
}

// write puts the scaled constants into the model.
func (e *Equalizer) write() error {
	for _, l := range e.order {
		if allOnes(l.in) && allOnes(l.out) {
			continue
		}
		w := make([]float32, len(l.w))
		for o := range l.out {
			for j := range l.perGroup {
				at, f := l.at(o, j), l.in[l.channel(o, j)]/l.out[o]
				for i := at; i < at+l.inner; i++ {
					w[i] = float32(float64(l.w[i]) * f)
				}
			}
		}
		e.replace(l.weight, w)
		if l.bias == nil {
			continue
		}
		b, err := l.bias.Float32s()
		if err != nil {
			return fmt.Errorf("bias %q of node %q: %w", l.bias.Name(), name(l.node), err)
		}
		out := make([]float32, len(b))
		for i, v := range b {
			out[i] = float32(float64(v) / l.out[i])
		}
		e.replace(l.bias, out)
	}
	return nil
}

func allOnes(v []float64) bool {
	for _, x := range v {
		if x != 1 {
			return false
		}
	}
	return true
}

func (e *Equalizer) replace(t *onnx.Tensor, v []float32) {
	dims, name := t.Dims, t.Name()
	e.graph.RemoveInitializer(name)
	e.graph.AddInitializer(onnx.NewFloats(name, v, dims...))
}
