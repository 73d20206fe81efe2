package ort

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	engine "github.com/yalue/onnxruntime_go"

	"github.com/optimize-hcl/optimize/tensor"
)

// engineTypes maps element types to the engine's numbers, which are ONNX's.
var engineTypes = func() map[tensor.DType]engine.TensorElementDataType {
	m := map[tensor.DType]engine.TensorElementDataType{}
	for number, d := range elementTypes {
		m[d] = engine.TensorElementDataType(number)
	}
	return m
}()

// value is a tensor that the engine sees; it keeps the Go memory in place that the engine points to.
type value struct {
	engine.Value
	pin  runtime.Pinner
	data tensor.Tensor
}

func (v *value) close() {
	if v.Value != nil {
		_ = v.Destroy() // never fails for the kinds made here
		v.Value = nil
	}
	v.pin.Unpin()
}

// newValue shows a tensor to the engine without copying it, unless its bytes are not aligned.
func newValue(t tensor.Tensor) (*value, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	v := &value{data: t}
	var err error
	switch {
	case len(t.Shape) == 0:
		// The engine's own copy of one element; only this way accepts no axes.
		v.Value, err = newScalar(t)
	case len(t.Data) == 0:
		v.Value, err = newEmpty(t)
	default:
		if size := uintptr(max(t.DType.Bits()/8, 1)); uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%size != 0 {
			v.data.Data = aligned(t.Data)
		}
		v.pin.Pin(unsafe.SliceData(v.data.Data))
		v.Value, err = engine.NewCustomDataTensor(engine.Shape(t.Shape), v.data.Data, engineTypes[t.DType])
	}
	if err != nil {
		v.Value = nil
		v.close()
		return nil, fmt.Errorf("%s of shape %v: %s", t.DType, t.Shape, clean(err.Error()))
	}
	return v, nil
}

// aligned copies bytes to where any element type may lie.
func aligned(b []byte) []byte {
	words := make([]uint64, (len(b)+7)/8)
	out := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(b))
	copy(out, b)
	return out
}

func newScalar(t tensor.Tensor) (engine.Value, error) {
	switch t.DType {
	case tensor.Bool:
		return engine.NewScalar(t.Data[0] != 0)
	case tensor.U8:
		return scalarOf[uint8](t)
	case tensor.I8:
		return scalarOf[int8](t)
	case tensor.U16:
		return scalarOf[uint16](t)
	case tensor.I16:
		return scalarOf[int16](t)
	case tensor.U32:
		return scalarOf[uint32](t)
	case tensor.I32:
		return scalarOf[int32](t)
	case tensor.U64:
		return scalarOf[uint64](t)
	case tensor.I64:
		return scalarOf[int64](t)
	case tensor.F32:
		return scalarOf[float32](t)
	case tensor.F64:
		return scalarOf[float64](t)
	}
	return nil, fmt.Errorf("a scalar of %s cannot be given to the engine", t.DType)
}

func scalarOf[T tensor.Number](t tensor.Tensor) (engine.Value, error) {
	x, err := tensor.View[T](t)
	if err != nil {
		return nil, err
	}
	return engine.NewScalar(x[0])
}

func newEmpty(t tensor.Tensor) (engine.Value, error) {
	switch s := engine.Shape(t.Shape); t.DType {
	case tensor.Bool:
		return engine.NewTensor(s, []bool{})
	case tensor.U8:
		return engine.NewTensor(s, []uint8{})
	case tensor.I8:
		return engine.NewTensor(s, []int8{})
	case tensor.U16:
		return engine.NewTensor(s, []uint16{})
	case tensor.I16:
		return engine.NewTensor(s, []int16{})
	case tensor.U32:
		return engine.NewTensor(s, []uint32{})
	case tensor.I32:
		return engine.NewTensor(s, []int32{})
	case tensor.U64:
		return engine.NewTensor(s, []uint64{})
	case tensor.I64:
		return engine.NewTensor(s, []int64{})
	case tensor.F32:
		return engine.NewTensor(s, []float32{})
	case tensor.F64:
		return engine.NewTensor(s, []float64{})
	}
	return nil, fmt.Errorf("an empty tensor of %s cannot be given to the engine", t.DType)
}

// take turns an output that the engine allocated into a tensor. The binding has
// copied it to Go memory, which outlives the value; it is not copied again.
func take(v engine.Value) (tensor.Tensor, error) {
	shape := []int64(v.GetShape())
	switch x := v.(type) {
	case *engine.Tensor[float32]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[float64]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[uint8]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[int8]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[uint16]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[int16]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[uint32]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[int32]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[uint64]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[int64]:
		return tensor.Of(shape, x.GetData()), nil
	case *engine.Tensor[bool]:
		b := x.GetData()
		return tensor.Tensor{DType: tensor.Bool, Shape: shape, Data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b))}, nil
	}
	return tensor.Tensor{}, fmt.Errorf("the engine returned a %T, which is not a numeric tensor", v)
}

// restore undoes what the epilogue did to an output.
func (f fetch) restore(t tensor.Tensor, d tensor.DType) (tensor.Tensor, error) {
	if f.outer {
		if len(t.Shape) == 0 || t.Shape[0] != 1 {
			return t, fmt.Errorf("the engine returned shape %v where an axis of 1 was added", t.Shape)
		}
		t.Shape = t.Shape[1:]
	}
	if !f.cast {
		return t, nil
	}
	x, err := tensor.View[float32](t)
	if err != nil {
		return t, err
	}
	switch d {
	case tensor.F16, tensor.BF16:
		return tensor.FromFloat32(d, t.Shape, x)
	case tensor.U4, tensor.I4:
		b := make([]byte, (len(x)+1)/2)
		for i, v := range x {
			b[i/2] |= byte(int8(v)) & 0xf << (i % 2 * 4)
		}
		return tensor.Tensor{DType: d, Shape: t.Shape, Data: b}, nil
	}
	return narrow(d, t.Shape, x)
}

// narrow goes back to an 8-bit float: each of the values is one of its 256.
func narrow(d tensor.DType, shape []int64, x []float32) (tensor.Tensor, error) {
	codes := tensor.Tensor{DType: d, Shape: []int64{256}, Data: make([]byte, 256)}
	for i := range codes.Data {
		codes.Data[i] = byte(i)
	}
	values, err := tensor.ToFloat32(codes)
	if err != nil {
		return codes, err
	}
	code := make(map[uint32]byte, 256)
	nan := byte(0)
	for i, v := range values {
		if v != v {
			nan = byte(i)
		}
		code[math.Float32bits(v)] = byte(i)
	}
	b := make([]byte, len(x))
	for i, v := range x {
		c, ok := code[math.Float32bits(v)]
		if !ok {
			c = nan
		}
		b[i] = c
	}
	return tensor.Tensor{DType: d, Shape: shape, Data: b}, nil
}
