package cluster

import (
	"encoding/json"
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// emitter writes the nodes that look weights up.
type emitter struct {
	m        *onnx.Model
	shared   map[sharedKey]string
	palettes []onnx.Palette
}

// sharedKey is a small constant that the weights of one graph share.
type sharedKey struct {
	g    *onnx.Graph
	what string
}

// emit replaces a weight by
//
//	packed  UINT8 [groups, words, bytes]   indexes, a stream of bits of each group, the lowest first
//	table   [groups * 2^bits]              the values, those of each group in order
//
//	word  = ReduceSum(Cast(packed) * [1, 256, 65536, ...])         only where a word has several bytes
//	index = (word / [1, 2^bits, 4^bits, ...]) % 2^bits             [groups, words, values]
//	        of 7 bits, whose word of 56 ONNX Runtime 1.32 does not divide rightly: of the two bytes that it lies in
//	index = Reshape and Slice to [groups, elements] + [0, 2^bits, 2*2^bits, ...]
//	weight = Transpose(Reshape(Gather(table, index)))              Transpose where output channels are not first
//
// All of it is constant, so an engine that folds constants computes it when it loads the model.
func (e *emitter) emit(j *job) {
	g, name := j.graph, j.t.Name()
	w := wordOf(j.bits)
	n := len(j.order) / j.groups
	words := w.packed(n) / w.bytes
	data := make([]byte, j.groups*words*w.bytes)
	for i, index := range j.index {
		pack(data[i*words*w.bytes:(i+1)*words*w.bytes], index, j.bits)
	}
	packed, table := g.UniqueName(name+"_indexes"), g.UniqueName(name+"_table")
	g.RemoveInitializer(name)
	g.AddInitializer(onnx.NewTensor(packed, tensor.Of([]int64{int64(j.groups), int64(words), int64(w.bytes)}, data)))
	t := onnx.NewFloats(table, j.table, int64(len(j.table)))
	if d := j.t.DataType.DType(); d != tensor.F32 {
		h, _ := tensor.FromFloat32(d, []int64{int64(len(j.table))}, j.table) // of a float type, so it cannot fail
		t = onnx.NewTensor(table, h)
	}
	g.AddInitializer(t)

	var chain []*onnx.Node
	put := func(op string, in []string, out string, attrs ...*onnx.Attribute) string {
		if out == "" {
			out = g.UniqueName(name + "_" + op)
		}
		chain = append(chain, onnx.NewNode(op, "", g.UniqueName(name+"/"+op), in, []string{out}, attrs...))
		return out
	}
	whole := onnx.Int32
	if w.bytes > 3 {
		whole = onnx.Int64 // a word of more than 31 bits
	}
	if j.bits == 7 {
		whole = onnx.Int32 // only two bytes at a time
	}
	x := put("Cast", []string{packed}, "", onnx.IntAttr("to", int64(whole)))
	switch {
	case j.bits == 7:
		low, high := e.ints(g, "low", 0, 0, 1, 2, 3, 4, 5, 6), e.ints(g, "high", 1, 1, 2, 3, 4, 5, 6, 6)
		high = put("Mul", []string{put("Gather", []string{x, high}, "", onnx.IntAttr("axis", 2)), e.number(g, whole, 256)}, "")
		x = put("Add", []string{put("Gather", []string{x, low}, "", onnx.IntAttr("axis", 2)), high}, "")
		x = put("Div", []string{x, e.whole(g, whole, "places7", []int64{1, 128, 64, 32, 16, 8, 4, 2}, 8)}, "")
		x = put("Mod", []string{x, e.number(g, whole, 128)}, "")
	case w.bytes > 1:
		x = put("Mul", []string{x, e.numbers(g, whole, w.bytes, 8, "place")}, "")
		x = put("ReduceSum", []string{x, e.ints(g, "last_axis", -1)}, "", onnx.IntAttr("keepdims", 1))
	}
	if w.values > 1 && j.bits != 7 {
		x = put("Div", []string{x, e.numbers(g, whole, w.values, j.bits, "shift")}, "")
		x = put("Mod", []string{x, e.number(g, whole, 1<<j.bits)}, "")
	}
	x = put("Reshape", []string{x, e.ints(g, "groups", int64(j.groups), -1)}, "")
	if words*w.values != n {
		x = put("Slice", []string{x, e.ints(g, "from", 0), e.ints(g, "to", int64(n)), e.ints(g, "along", 1)}, "")
	}
	if j.groups > 1 {
		x = put("Add", []string{x, e.offsets(g, whole, j.groups, j.bits)}, "")
	}
	dims := j.t.Dims
	move := j.groups > 1 && j.axis != 0
	x = put("Gather", []string{table, x}, "", onnx.IntAttr("axis", 0))
	if move {
		first := append([]int64{dims[j.axis]}, dims[:j.axis]...)
		first = append(first, dims[j.axis+1:]...)
		x = put("Reshape", []string{x, e.ints(g, "shape", first...)}, "")
		perm := make([]int64, len(dims))
		for i := range perm {
			switch {
			case i < j.axis:
				perm[i] = int64(i + 1)
			case i == j.axis:
				perm[i] = 0
			default:
				perm[i] = int64(i)
			}
		}
		put("Transpose", []string{x}, name, onnx.IntsAttr("perm", perm...))
	} else {
		put("Reshape", []string{x, e.ints(g, "shape", dims...)}, name)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		g.PrependNode(chain[i])
	}
	e.palettes = append(e.palettes, onnx.Palette{Weight: name, Indexes: packed, Table: table, Bits: j.bits, Stored: w.bytes * 8 / w.values, Groups: j.groups, Axis: j.axis, Shape: dims})
}

// describe tells about the palettes in the model's metadata, for those who write other formats.
func (e *emitter) describe() error {
	if len(e.palettes) == 0 {
		return nil
	}
	old, err := onnx.Palettes(e.m)
	if err != nil {
		return err
	}
	b, err := json.Marshal(append(old, e.palettes...))
	if err != nil {
		return err
	}
	e.m.SetMetadata(onnx.PaletteKey, string(b))
	return nil
}

// constant adds an initializer once to each graph.
func (e *emitter) constant(g *onnx.Graph, what string, make func(name string) *onnx.Tensor) string {
	k := sharedKey{g, what}
	if e.shared[k] == "" {
		e.shared[k] = g.UniqueName("palette_" + what)
		g.AddInitializer(make(e.shared[k]))
	}
	return e.shared[k]
}

func (e *emitter) ints(g *onnx.Graph, what string, v ...int64) string {
	return e.constant(g, fmt.Sprint(what, v), func(name string) *onnx.Tensor { return onnx.NewInt64s(name, v, int64(len(v))) })
}

// numbers are 1, 2^step, 4^step and so on.
func (e *emitter) numbers(g *onnx.Graph, d onnx.DataType, n, step int, what string) string {
	v := make([]int64, n)
	for i := range v {
		v[i] = 1 << (i * step)
	}
	return e.whole(g, d, fmt.Sprintf("%s%d_%d", what, step, d), v, int64(n))
}

func (e *emitter) number(g *onnx.Graph, d onnx.DataType, v int64) string {
	return e.whole(g, d, fmt.Sprintf("size%d_%d", v, d), []int64{v})
}

// offsets are where the table of each group begins.
func (e *emitter) offsets(g *onnx.Graph, d onnx.DataType, groups, bits int) string {
	v := make([]int64, groups)
	for i := range v {
		v[i] = int64(i) << bits
	}
	return e.whole(g, d, fmt.Sprintf("offsets%d_%d_%d", groups, bits, d), v, int64(groups), 1)
}

func (e *emitter) whole(g *onnx.Graph, d onnx.DataType, what string, v []int64, dims ...int64) string {
	return e.constant(g, what, func(name string) *onnx.Tensor {
		if d == onnx.Int64 {
			return onnx.NewInt64s(name, v, dims...)
		}
		w := make([]int32, len(v))
		for i, x := range v {
			w[i] = int32(x)
		}
		if dims == nil {
			dims = []int64{}
		}
		return onnx.NewTensor(name, tensor.Of(dims, w))
	})
}
