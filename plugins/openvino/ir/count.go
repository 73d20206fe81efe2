package ir

import (
	"slices"
	"strconv"
	"strings"
)

// Counts are what a model holds and does.
type Counts struct {
	// Parameters are the numbers of constants that are multiplied, added or looked up. Ranges and scales of
	// quantization, and what holds shapes, axes or indexes, do not count.
	Parameters int64
	// MACs are multiply-accumulates of convolutions and matrix products. A free axis counts as 1.
	MACs int64
	// Ops are layers by type, those in loops and choices included; constants, inputs and outputs are not among them.
	Ops map[string]int
	// Weights are bytes of constants by OpenVINO's element type: "f32".
	Weights map[string]int64
	// Quantized tells whether anything is quantized, be it weights alone.
	Quantized bool
}

// Count counts. It is linear in the size of the text.
func (n *Net) Count() Counts {
	c := Counts{Ops: map[string]int{}, Weights: map[string]int64{}}
	n.count(&c)
	return c
}

func (n *Net) count(c *Counts) {
	g := graphOf(n)
	for i := range n.Layers {
		l := &n.Layers[i]
		for _, b := range l.bodies() {
			b.count(c)
		}
		switch l.Type {
		case "Parameter", "Result":
			continue
		case "Const":
			size, _ := strconv.ParseInt(l.Data["size"], 10, 64)
			c.Weights[l.Data["element_type"]] += max(size, 0)
			if g.weights(l) {
				c.Parameters = add(c.Parameters, elements(l))
			}
			continue
		}
		c.Ops[l.Type]++
		c.Quantized = c.Quantized || l.Type == "FakeQuantize" || l.Type == "FakeConvert" || l.Type == "Convert" && g.packed(l)
		c.MACs = add(c.MACs, macs(l))
	}
}

// graph finds a layer's neighbours.
type graph struct {
	layers  map[int]*Layer
	readers map[int][]Edge // by the layer that is read
	sources map[int][]Edge // by the layer that reads
	known   map[int]bool   // whether a layer is made of constants alone
}

func graphOf(n *Net) *graph {
	g := &graph{layers: n.byID(), readers: map[int][]Edge{}, sources: map[int][]Edge{}, known: map[int]bool{}}
	for _, e := range n.Edges {
		g.readers[e.FromLayer] = append(g.readers[e.FromLayer], e)
		g.sources[e.ToLayer] = append(g.sources[e.ToLayer], e)
	}
	// Layers stand behind those that they read; one that does not counts as not constant.
	for i := range n.Layers {
		l := &n.Layers[i]
		constant := l.Type == "Const" || len(g.sources[l.ID]) > 0
		for _, e := range g.sources[l.ID] {
			constant = constant && g.known[e.FromLayer]
		}
		g.known[l.ID] = constant
	}
	return g
}

// position is the place of an input among those of its layer.
func position(l *Layer, port int) int {
	return slices.IndexFunc(l.Inputs, func(p Port) bool { return p.ID == port })
}

// weightInputs says which inputs of a layer may be weights, where not all may.
var weightInputs = map[string][]int{
	"FakeQuantize": {0}, "FakeConvert": {0}, "Pad": {0}, "Interpolate": {0}, "TopK": {0}, "OneHot": {}, "Range": {}, "Gather": {0},
	"GatherElements": {0}, "GatherND": {0}, "Reshape": {0}, "Broadcast": {0}, "Tile": {0}, "StridedSlice": {0}, "Slice": {0},
	"Squeeze": {0}, "Unsqueeze": {0}, "Split": {0}, "VariadicSplit": {0}, "Transpose": {0}, "NonMaxSuppression": {}, "CumSum": {0},
	"Power": {0}, "NormalizeL2": {0}, "Swish": {0}, "RMS": {1},
}

// weights tells whether a constant is read as weights by any of its readers. A number alone is none: factors such as
// the alpha of a Gemm arrive so.
func (g *graph) weights(l *Layer) bool {
	if elements(l) <= 1 {
		return false
	}
	switch t := l.Data["element_type"]; t {
	case "i64", "u64", "i32", "u32", "i16", "u16", "boolean", "string":
		return false // shapes, axes, indexes, masks
	}
	for _, e := range g.readers[l.ID] {
		r := g.layers[e.ToLayer]
		at := position(r, e.ToPort)
		if allowed, ok := weightInputs[r.Type]; ok && !slices.Contains(allowed, at) || strings.HasPrefix(r.Type, "Reduce") && at > 0 {
			continue
		}
		if !g.part(r, at, l) {
			return true
		}
	}
	return false
}

// part tells whether a constant is the scale or zero point of compressed weights: the smaller operand of a product or
// difference of constants, or what leads to it by a conversion.
func (g *graph) part(r *Layer, at int, l *Layer) bool {
	if !g.known[r.ID] {
		return false
	}
	switch r.Type {
	case "Multiply", "Subtract":
		for _, e := range g.sources[r.ID] {
			if other := position(r, e.ToPort); other != at {
				n := g.size(e.FromLayer)
				return n > elements(l) || n == elements(l) && at == 1
			}
		}
	case "Convert", "Reshape":
		for _, e := range g.readers[r.ID] {
			if next := g.layers[e.ToLayer]; next.Type == "Multiply" || next.Type == "Subtract" {
				return g.part(next, position(next, e.ToPort), l)
			}
		}
	}
	return false
}

// size is the number of elements of what a layer gives first.
func (g *graph) size(id int) int64 {
	l := g.layers[id]
	if l.Type == "Const" || len(l.Outputs) == 0 {
		return elements(l)
	}
	return product(l.Outputs[0].shape())
}

// packed tells whether a conversion unpacks a constant of at most 8 bits.
func (g *graph) packed(l *Layer) bool {
	for _, e := range g.sources[l.ID] {
		if s := g.layers[e.FromLayer]; s.Type == "Const" {
			switch s.Data["element_type"] {
			case "i8", "u8", "i4", "u4", "u2", "u3", "u6", "u1", "nf4", "f4e2m1", "f8e4m3", "f8e5m2":
				return true
			}
		}
	}
	return false
}

// elements is the number of elements of a constant.
func elements(l *Layer) int64 {
	n := int64(1)
	for d := range strings.SplitSeq(l.Data["shape"], ",") {
		if d = strings.TrimSpace(d); d != "" {
			v, err := strconv.ParseInt(d, 10, 64)
			if err != nil || v < 0 {
				return 0
			}
			n = times(n, v)
		}
	}
	return n
}

// macs is the work of one layer.
func macs(l *Layer) int64 {
	if len(l.Inputs) < 2 || len(l.Outputs) == 0 {
		return 0
	}
	in, w, out := l.Inputs[0].shape(), l.Inputs[1].shape(), l.Outputs[0].shape()
	from := func(dims []int64, first int) []int64 { return dims[min(first, len(dims)):] }
	switch l.Type {
	case "Convolution":
		return product(out, from(w, 1))
	case "GroupConvolution":
		return product(out, from(w, 2))
	case "ConvolutionBackpropData":
		return product(in, from(w, 1))
	case "GroupConvolutionBackpropData":
		return product(in, from(w, 2))
	case "MatMul":
		k := len(in) - 1
		if l.Data["transpose_a"] == "true" && k > 0 {
			k--
		}
		return product(out, from(in, max(k, 0))[:min(1, len(in))])
	}
	return 0
}

func product(lists ...[]int64) int64 {
	n := int64(1)
	for _, l := range lists {
		for _, d := range l {
			if d >= 0 {
				n = times(n, d)
			}
		}
	}
	return n
}

// times and add stop at the largest number: a model with more cannot run either.
func times(a, b int64) int64 {
	if b != 0 && a > (1<<62)/b {
		return 1 << 62
	}
	return a * b
}

func add(a, b int64) int64 { return min(a+b, 1<<62) }
