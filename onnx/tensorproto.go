package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/optimize-hcl/optimize/tensor"
)

// Tensor is a TensorProto: an initializer, or the value of an attribute.
type Tensor struct {
	DataType DataType
	location int32 // data_location: 1 is another file
	Dims     []int64
	// Raw is raw_data: little-endian, row-major. Nil when the numbers are in
	// typed fields, strings or an external file; Tensor reads all but the last.
	Raw []byte

	name    string
	list    []byte // a list of numbers as in typedField; a second one makes no sense, but is kept
	listNum uint8
	hasRaw  bool
	rare    *tensorRare
	raw     string // the message it was read from; "": made in memory
}

// NewTensor returns a tensor whose raw data are t's bytes, not copied. An element
// type that ONNX does not have gives a tensor of type Undefined, which Check refuses.
func NewTensor(name string, t tensor.Tensor) *Tensor {
	return &Tensor{name: name, DataType: DataTypeOf(t.DType), Dims: t.Shape, Raw: t.Data, hasRaw: true}
}

// NewFloats returns a float32 tensor of the given shape (none: a scalar).
func NewFloats(name string, data []float32, shape ...int64) *Tensor {
	return NewTensor(name, tensor.Of(append([]int64{}, shape...), data))
}

// NewInt64s returns an int64 tensor of the given shape (none: a scalar).
func NewInt64s(name string, data []int64, shape ...int64) *Tensor {
	return NewTensor(name, tensor.Of(append([]int64{}, shape...), data))
}

// newStrings returns a tensor of strings, not copied.
func newStrings(elements [][]byte, shape ...int64) *Tensor {
	return &Tensor{DataType: String, Dims: shape, rare: &tensorRare{strings: elements}}
}

// Name returns the tensor's name. It cannot be changed: indexes hold it. WithName
// makes a copy under another name.
func (t *Tensor) Name() string { return t.name }

// WithName returns a tensor with the same contents, not copied, and another name.
func (t *Tensor) WithName(name string) *Tensor {
	c := *t
	c.name = name
	if name != t.name {
		c.raw = ""
	}
	return &c
}

// Elements returns the product of the axes, -1 when an axis is negative or the
// product exceeds an int64.
func (t *Tensor) Elements() int64 {
	n, err := tensor.Elements(t.Dims)
	if err != nil {
		return -1
	}
	return n
}

// Bytes returns how many bytes the elements take as raw data, -1 for strings, bad
// shapes and unknown types.
func (t *Tensor) Bytes() int64 {
	n, bits := t.Elements(), int64(t.DataType.Bits())
	if n < 0 || bits == 0 || n > math.MaxInt64/8/16 {
		return -1
	}
	return (n*bits + 7) / 8
}

// IsExternal tells whether the elements are in another file. ReadFile loads them;
// after Parse they are not there.
func (t *Tensor) IsExternal() bool { return t.location == 1 }

// SetExternal makes the tensor's elements length bytes of a file beside the model, from
// offset on, in the place of those that it has.
func (t *Tensor) SetExternal(file string, offset, length int64) {
	t.setRaw(nil)
	t.hasRaw, t.raw, t.location = false, "", 1
	setRare(&t.rare, func(r *tensorRare) {
		r.external = []StringPair{
			{Key: "location", Value: file},
			{Key: "offset", Value: strconv.FormatInt(offset, 10)},
			{Key: "length", Value: strconv.FormatInt(length, 10)},
		}
	})
}

// SetTensor replaces type, shape and elements; v's bytes are not copied.
func (t *Tensor) SetTensor(v tensor.Tensor) {
	t.DataType, t.Dims = DataTypeOf(v.DType), v.Shape
	t.setRaw(v.Data)
}

// hasData tells whether raw_data is there; it may be empty.
func (t *Tensor) hasData() bool { return t.hasRaw || t.Raw != nil }

// setRaw makes b the elements, whatever held them before.
func (t *Tensor) setRaw(b []byte) {
	t.Raw, t.hasRaw = b, true
	t.list, t.listNum, t.location = nil, 0, 0
	if t.rare != nil {
		setRare(&t.rare, func(r *tensorRare) { r.strings, r.external, r.more = nil, nil, nil })
	}
}

// Tensor returns the elements: a view of the model's bytes for raw_data,
// float_data and double_data, a decoded copy otherwise. The number of bytes is
// checked against type and shape.
func (t *Tensor) Tensor() (tensor.Tensor, error) {
	out := tensor.Tensor{DType: t.DataType.DType(), Shape: t.Dims}
	if out.DType == tensor.Invalid {
		return tensor.Tensor{}, fmt.Errorf("tensor %q is of type %s, whose elements cannot be read as numbers", t.name, t.DataType)
	}
	if t.IsExternal() {
		return tensor.Tensor{}, fmt.Errorf("tensor %q has its data in another file: read the model with ReadFile", t.name)
	}
	want := t.Bytes()
	if want < 0 {
		return tensor.Tensor{}, fmt.Errorf("tensor %q has the impossible shape %v", t.name, t.Dims)
	}
	var err error
	out.Data, err = t.elements()
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("tensor %q: %w", t.name, err)
	}
	if int64(len(out.Data)) != want {
		return tensor.Tensor{}, fmt.Errorf("tensor %q, %s%v, needs %d bytes of data and has %d", t.name, t.DataType, t.Dims, want, len(out.Data))
	}
	return out, nil
}

// elements returns the elements as raw data, whichever field holds them.
func (t *Tensor) elements() ([]byte, error) {
	if t.hasData() {
		return t.Raw, nil
	}
	switch t.DataType {
	case Float:
		return t.typed(4), nil
	case Double:
		return t.typed(10), nil
	case Int64:
		return unpack(t.typed(7), 8)
	case Uint64:
		return unpack(t.typed(11), 8)
	case Uint32:
		return unpack(t.typed(11), 4)
	case Int32:
		return unpack(t.typed(5), 4)
	case Uint16, Int16, Float16, BFloat16:
		return unpack(t.typed(5), 2)
	}
	// int32_data holds one element per entry, except for types narrower than a
	// byte, which it holds packed as raw_data does, one byte per entry.
	return unpack(t.typed(5), 1)
}

// unpack decodes packed varints and stores the low width bytes of each.
func unpack(b []byte, width int) ([]byte, error) {
	n := 0
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	out := make([]byte, 0, n*width)
	for len(b) > 0 {
		v, k := protowire.ConsumeVarint(b)
		if k < 0 {
			return nil, fmt.Errorf("bad varint in its data")
		}
		b = b[k:]
		switch width {
		case 1:
			out = append(out, byte(v))
		case 2:
			out = binary.LittleEndian.AppendUint16(out, uint16(v))
		case 4:
			out = binary.LittleEndian.AppendUint32(out, uint32(v))
		default:
			out = binary.LittleEndian.AppendUint64(out, v)
		}
	}
	return out, nil
}

// Float32s returns the elements of any numeric type as float32; a view for FLOAT.
func (t *Tensor) Float32s() ([]float32, error) {
	if s, ok, err := t.smallFloats(); ok {
		return s, err
	}
	v, err := t.Tensor()
	if err != nil {
		return nil, err
	}
	return tensor.ToFloat32(v)
}

// Ints returns the elements of an integer tensor (shapes, axes, zero points).
func (t *Tensor) Ints() ([]int64, error) {
	switch t.DataType {
	case Uint4, Int4, Uint2, Int2:
		return t.smallInts()
	}
	v, err := t.Tensor()
	if err != nil {
		return nil, err
	}
	switch v.DType {
	case tensor.I64:
		s, err := tensor.View[int64](v)
		return slices.Clone(s), err
	case tensor.I32:
		return widen[int32](v)
	case tensor.I16:
		return widen[int16](v)
	case tensor.I8:
		return widen[int8](v)
	case tensor.U64:
		return widen[uint64](v)
	case tensor.U32:
		return widen[uint32](v)
	case tensor.U16:
		return widen[uint16](v)
	case tensor.U8, tensor.Bool:
		return widen[uint8](v)
	}
	return nil, fmt.Errorf("tensor %q is of type %s, not an integer type", t.name, t.DataType)
}

func widen[T tensor.Number](v tensor.Tensor) ([]int64, error) {
	s, err := tensor.View[T](v)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(s))
	for i, x := range s {
		out[i] = int64(x)
	}
	return out, nil
}
