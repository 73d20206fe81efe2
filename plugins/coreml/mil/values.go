package mil

import "math"

// Immediates of the types that arguments have.

// Ints is an int32 vector.
func Ints(v ...int64) Value {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = le.AppendUint32(b, uint32(int32(x)))
	}
	return Value{Type: Type{DataType: Int32, Shape: []int64{int64(len(v))}}, Data: b}
}

// Int is an int32 scalar.
func Int(v int64) Value {
	x := Ints(v)
	x.Shape = nil
	return x
}

// Uints is a uint32 vector.
func Uints(v ...int64) Value {
	x := Ints(v...)
	x.DataType = Uint32
	return x
}

// Text is a scalar of text.
func Text(s string) Value { return Value{Type: Type{DataType: String}, Texts: []string{s}} }

// Truth is a bool scalar.
func Truth(b bool) Value {
	x := Truths(b)
	x.Shape = nil
	return x
}

// Truths is a bool vector.
func Truths(v ...bool) Value {
	b := make([]byte, len(v))
	for i, x := range v {
		if x {
			b[i] = 1
		}
	}
	return Value{Type: Type{DataType: Bool, Shape: []int64{int64(len(v))}}, Data: b}
}

// Scalar is a float scalar of type t. What half precision cannot hold becomes its nearest finite number that is not 0.
func Scalar(t DataType, v float64) Value {
	if t == Float16 {
		return Value{Type: Type{DataType: t}, Data: le.AppendUint16(nil, halfOf(float32(v)))}
	}
	return Value{Type: Type{DataType: t}, Data: le.AppendUint32(nil, math.Float32bits(float32(v)))}
}
