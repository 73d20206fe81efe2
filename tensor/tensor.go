package tensor

import (
	"fmt"
	"reflect"
	"unsafe"
)

// Tensor is a typed, shaped view on little-endian bytes in row-major order.
type Tensor struct {
	DType DType
	Shape []int64
	Data  []byte
}

// Elements returns the number of elements that Shape says; 0 when the shape is
// impossible (use [Tensor.Validate] to learn why).
func (t Tensor) Elements() int64 {
	n, err := Elements(t.Shape)
	if err != nil {
		return 0
	}
	return n
}

// Validate tells whether type, shape and bytes agree.
func (t Tensor) Validate() error {
	want, err := Size(t.DType, t.Shape)
	if err != nil {
		return err
	}
	if int64(len(t.Data)) != want {
		return fmt.Errorf("%s of shape %v takes %d bytes, but there are %d", t.DType, t.Shape, want, len(t.Data))
	}
	return nil
}

// Clone copies the bytes and the shape, so that the result outlives a mapped file.
func (t Tensor) Clone() Tensor {
	return Tensor{
		DType: t.DType,
		Shape: append([]int64(nil), t.Shape...),
		Data:  append([]byte(nil), t.Data...),
	}
}

// Rows returns n samples from start along axis 0, without copying. It is an error
// when the tensor has no axis, the range lies outside it, or elements share bytes.
func (t Tensor) Rows(start, n int64) (Tensor, error) {
	if err := t.Validate(); err != nil {
		return Tensor{}, err
	}
	if len(t.Shape) == 0 {
		return Tensor{}, fmt.Errorf("a scalar has no axis to take rows from")
	}
	if start < 0 || n < 0 || start > t.Shape[0] || n > t.Shape[0]-start {
		return Tensor{}, fmt.Errorf("rows %d to %d lie outside axis 0 of shape %v", start, start+n, t.Shape)
	}
	row, err := Size(t.DType, t.Shape[1:])
	if err != nil {
		return Tensor{}, err
	}
	if t.DType.Bits() < 8 && t.Elements()/max(t.Shape[0], 1)%2 != 0 {
		return Tensor{}, fmt.Errorf("a row of %s with an odd number of elements does not end on a byte", t.DType)
	}
	shape := append([]int64(nil), t.Shape...)
	shape[0] = n
	return Tensor{DType: t.DType, Shape: shape, Data: t.Data[start*row : (start+n)*row : (start+n)*row]}, nil
}

// Number is what a typed view can hold. Half and 8-bit floats have no Go type:
// use [ToFloat32].
type Number interface {
	~uint8 | ~int8 | ~uint16 | ~int16 | ~uint32 | ~int32 | ~uint64 | ~int64 | ~float32 | ~float64
}

// dtypeOf returns the element type that holds a T. Defined types (type Level int8)
// count as what they are made of.
func dtypeOf[T Number]() DType {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Uint8:
		return U8
	case reflect.Int8:
		return I8
	case reflect.Uint16:
		return U16
	case reflect.Int16:
		return I16
	case reflect.Uint32:
		return U32
	case reflect.Int32:
		return I32
	case reflect.Uint64:
		return U64
	case reflect.Int64:
		return I64
	case reflect.Float32:
		return F32
	default:
		return F64
	}
}

// View returns the elements as a Go slice: the tensor's own bytes when they are
// aligned for T, else a copy. Do not write to the result. Bool is viewed as uint8.
// A different type, or bytes that do not match the shape, is an error.
func View[T Number](t Tensor) ([]T, error) {
	want := dtypeOf[T]()
	if t.DType != want && (t.DType != Bool || want != U8) {
		return nil, fmt.Errorf("tensor holds %s, not %s", t.DType, want)
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	var zero T
	n := len(t.Data) / int(unsafe.Sizeof(zero))
	if n == 0 {
		return nil, nil
	}
	if Aligned[T](t.Data) {
		return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.Data))), n), nil
	}
	out := make([]T, n)
	copy(bytesOf(out), t.Data)
	return out, nil
}

// Aligned tells whether View gives bytes as elements of T where they lie, without a copy.
func Aligned[T Number](b []byte) bool {
	var zero T
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%unsafe.Alignof(zero) == 0
}

// Of wraps a Go slice as a tensor without copying. When shape is nil the tensor has
// one axis as long as data. A shape that does not fit data is found by
// [Tensor.Validate] and by every function that takes the tensor.
func Of[T Number](shape []int64, data []T) Tensor {
	if shape == nil {
		shape = []int64{int64(len(data))}
	}
	return Tensor{DType: dtypeOf[T](), Shape: shape, Data: bytesOf(data)}
}

// bytesOf returns the memory of a slice of numbers.
func bytesOf[T Number](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	var zero T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(zero)))
}
