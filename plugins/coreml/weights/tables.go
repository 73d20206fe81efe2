package weights

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// tables are the forms of indexes into tables of values: constexpr_lut_to_dense, and with a mask, of which kept bits are
// set, constexpr_lut_to_sparse. Only what takes fewer than least bytes is looked into.
func tables[T word](x *source, v []T, mask []byte, kept int, least int64) []form {
	shape, skip := x.typ.Shape, mask != nil
	indexes := x.elements()
	fixed := int64(0)
	if skip {
		indexes, fixed = int64(kept), mil.BlobSize(mil.Uint1, x.elements())
	}
	size := func(count int64, width int) int64 {
		return fixed + mil.BlobSize(unsigned(width), indexes) + mil.BlobSize(x.typ.DataType, count<<width)
	}
	one := groupsOf(shape, 0, 1)
	var out []form
	add := func(g groups, sets []*set[T]) {
		most := 1
		for _, s := range sets {
			most = max(most, len(s.vals))
		}
		width := bitsFor(most, x.opset)
		if n := size(g.count, width); n < least {
			least = n
			t := &table[T]{x, v, g, sets, width, mask, kept}
			out = append(out, t.form())
		}
	}
	if size(1, 1) >= least {
		return nil
	}
	if sets := census(v, one, skip); sets != nil {
		add(one, sets)
	}
	if x.opset < 8 {
		return out
	}
	// From CoreML8 on parts of an axis have tables of their own. Output channels are the first axis, or the second.
	for axis := range min(len(shape), 2) {
		for _, size1 := range divisors(shape[axis]) {
			g := groupsOf(shape, axis, shape[axis]/size1)
			some := first(v, g, skip)
			if some == nil {
				break // larger groups have more values
			}
			if size(g.count, bitsFor(max(1, len(some.vals)), x.opset)) >= least {
				continue
			}
			if sets := census(v, g, skip); sets != nil {
				add(g, sets)
			}
		}
	}
	return out
}

// divisors of a length, the least first, but not the length itself.
func divisors(n int64) (out []int64) {
	for d := int64(1); d*d <= n; d++ {
		if n%d == 0 {
			out = append(out, d)
			if e := n / d; e != d {
				out = append(out, e)
			}
		}
	}
	slices.Sort(out)
	return out[:max(len(out)-1, 0)]
}

// table is a weight that is looked up.
type table[T word] struct {
	x     *source
	v     []T
	g     groups
	sets  []*set[T]
	width int
	mask  []byte // nil: of all elements
	kept  int
}

// places are the indexes of the elements, one a byte.
func (t *table[T]) places() []byte {
	out := make([]byte, len(t.v))
	runs := int(int64(len(t.v)) / t.g.run)
	fill := func(s *set[T], from, to int) {
		for i, v := range t.v[from:to] {
			if v+v == 0 {
				if t.mask != nil {
					continue
				}
				v = 0
			}
			out[from+i] = s.place(v)
		}
	}
	if runs == 1 {
		parts(len(t.v), 1, func(from, to int) bool { fill(t.sets[0], from, to); return true })
		return out
	}
	parts(runs, int(t.g.run), func(from, to int) bool {
		for r := from; r < to; r++ {
			fill(t.sets[r%int(t.g.count)], r*int(t.g.run), (r+1)*int(t.g.run))
		}
		return true
	})
	return out
}

// entries are the tables one after another, each filled up with zeros.
func (t *table[T]) entries() []byte {
	all := make([]T, len(t.sets)<<t.width)
	for i, s := range t.sets {
		copy(all[i<<t.width:], s.vals)
	}
	return wordBytes(all)
}

// lut is the type of the tables: [groups.., entries, 1].
func (t *table[T]) lut() mil.Type {
	if t.x.opset < 8 {
		return mil.Type{DataType: t.x.typ.DataType, Shape: []int64{1 << t.width}}
	}
	return mil.Type{DataType: t.x.typ.DataType, Shape: lutShape(len(t.x.typ.Shape), t.g.axis, t.g.count, t.width)}
}

func lutShape(rank, axis int, count int64, width int) []int64 {
	s := slices.Repeat([]int64{1}, rank+2)
	s[axis] = count
	s[rank] = 1 << width
	return s
}

func (t *table[T]) form() form {
	x := t.x
	what := fmt.Sprintf(", %d bits", t.width)
	if t.width == 1 {
		what = ", 1 bit"
	}
	if t.g.count > 1 {
		what += " in groups"
	}
	if t.mask != nil {
		return form{"constexpr_lut_to_sparse" + what, func(s *sink) []*mil.Operation {
			return x.densified("constexpr_lut_to_sparse", t.kept,
				arg{key: "indices_mask", value: s.blob(x.maskType(), func() []byte { return t.mask })},
				arg{key: "indices_nonzero_data", value: s.blob(mil.Type{DataType: unsigned(t.width), Shape: []int64{int64(t.kept)}},
					func() []byte { return pack(keptOf(t.places(), t.mask, t.kept), t.width) })},
				arg{key: "lut", value: s.blob(t.lut(), t.entries)})
		}}
	}
	return form{"constexpr_lut_to_dense" + what, func(s *sink) []*mil.Operation {
		indexes := mil.Type{DataType: unsigned(t.width), Shape: x.typ.Shape}
		if x.opset < 8 {
			indexes = mil.Type{DataType: mil.Uint8, Shape: []int64{(x.elements()*int64(t.width) + 7) / 8}}
		}
		args := []arg{{key: "indices", value: s.blob(indexes, func() []byte { return pack(t.places(), t.width) })},
			{key: "lut", value: s.blob(t.lut(), t.entries)}}
		if x.opset < 8 {
			args = append(args, arg{key: "shape", value: mil.Uints(x.typ.Shape...)})
		}
		return []*mil.Operation{x.op("constexpr_lut_to_dense", x.out(), args...)}
	}}
}
