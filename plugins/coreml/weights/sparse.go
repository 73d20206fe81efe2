package weights

import "github.com/optimize-hcl/optimize/plugins/coreml/mil"

// maskType is that of the bits that tell which elements are not zero: a tensor like the weight from CoreML8 on, bytes before.
func (x *source) maskType() mil.Type {
	if x.opset < 8 {
		return mil.Type{DataType: mil.Uint8, Shape: []int64{(x.elements() + 7) / 8}}
	}
	return mil.Type{DataType: mil.Uint1, Shape: x.typ.Shape}
}

// sparse is the form of a mask and the elements that are not zero.
func sparse[T word](x *source, v []T, mask []byte, kept int) form {
	return form{"constexpr_sparse_to_dense, " + x.typ.DataType.String(), func(s *sink) []*mil.Operation {
		args := []arg{
			{key: "nonzero_data", value: s.blob(mil.Type{DataType: x.typ.DataType, Shape: []int64{int64(kept)}},
				func() []byte { return wordBytes(keptOf(v, mask, kept)) })},
			{key: "mask", value: s.blob(x.maskType(), func() []byte { return mask })}}
		if x.opset < 8 {
			args = append(args, arg{key: "shape", value: mil.Uints(x.typ.Shape...)})
		}
		return []*mil.Operation{x.op("constexpr_sparse_to_dense", x.out(), args...)}
	}}
}

// densified is an operation that decompresses what is not zero, and the one that puts zeros between.
func (x *source) densified(kind string, kept int, args ...arg) []*mil.Operation {
	parts := []mil.Named{
		{Name: x.spare[0], Type: mil.Type{DataType: mil.Uint1, Shape: x.typ.Shape}},
		{Name: x.spare[1], Type: mil.Type{DataType: x.typ.DataType, Shape: []int64{int64(kept)}}}}
	return []*mil.Operation{x.op(kind, parts, args...),
		x.op("constexpr_sparse_to_dense", x.out(), arg{key: "nonzero_data", name: parts[1].Name}, arg{key: "mask", name: parts[0].Name})}
}

// wordBytes are words as bytes, little-endian.
func wordBytes[T word](v []T) []byte {
	switch v := any(v).(type) {
	case []uint16:
		return rawOf(v)
	case []uint32:
		return rawOf(v)
	}
	panic("weights: a word of another size")
}
