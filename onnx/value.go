package onnx

// ValueInfo is the name and type of a graph's input, output or inner value.
type ValueInfo struct {
	Type *Type // nil: not known

	name string
	rare *valueRare
	raw  string // the message it was read from; "": made in memory
}

// NewValueInfo returns a tensor value; a nil shape (as opposed to an empty one)
// says that the shape is not known.
func NewValueInfo(name string, elem DataType, shape []Dim) *ValueInfo {
	return &ValueInfo{name: name, Type: NewTensorType(elem, shape)}
}

// Name returns the value's name. It cannot be changed: indexes hold it.
func (v *ValueInfo) Name() string { return v.name }

// TypeKind tells which field of a TypeProto is set.
type TypeKind uint8

// The kinds of types.
const (
	KindNone     TypeKind = 0
	KindTensor   TypeKind = 1
	KindSequence TypeKind = 4
	KindMap      TypeKind = 5
	KindOpaque   TypeKind = 7
	KindSparse   TypeKind = 8
	KindOptional TypeKind = 9
)

// Type is a TypeProto. Elem, HasShape and Shape describe tensors only; the other
// kinds are kept as bytes.
type Type struct {
	Kind     TypeKind
	HasShape bool
	Elem     DataType
	Shape    []Dim

	rare *typeRare
}

// NewTensorType returns a tensor type; a nil shape says that it is not known.
func NewTensorType(elem DataType, shape []Dim) *Type {
	return &Type{Kind: KindTensor, Elem: elem, HasShape: shape != nil, Shape: shape}
}

// Dim is one axis: a size, or -1 with a name (Param) or without one.
type Dim struct {
	Value int64 // -1: not known
	Param string

	rare *dimRare
}

// Fixed tells whether the size is known.
func (d Dim) Fixed() bool { return d.Value >= 0 }

// FixedDims makes axes of known sizes.
func FixedDims(sizes ...int64) []Dim {
	out := make([]Dim, len(sizes))
	for i, s := range sizes {
		out[i] = Dim{Value: s}
	}
	return out
}

// ParamDim is an axis whose size has a name, like "N".
func ParamDim(name string) Dim { return Dim{Value: -1, Param: name} }
