package onnx

import (
	"fmt"

	"github.com/optimize-hcl/optimize/tensor"
)

// DataType is TensorProto.DataType.
type DataType int32

// The element types of ONNX.
const (
	Undefined      DataType = 0
	Float          DataType = 1
	Uint8          DataType = 2
	Int8           DataType = 3
	Uint16         DataType = 4
	Int16          DataType = 5
	Int32          DataType = 6
	Int64          DataType = 7
	String         DataType = 8
	Bool           DataType = 9
	Float16        DataType = 10
	Double         DataType = 11
	Uint32         DataType = 12
	Uint64         DataType = 13
	Complex64      DataType = 14
	Complex128     DataType = 15
	BFloat16       DataType = 16
	Float8E4M3FN   DataType = 17
	Float8E4M3FNUZ DataType = 18
	Float8E5M2     DataType = 19
	Float8E5M2FNUZ DataType = 20
	Uint4          DataType = 21
	Int4           DataType = 22
	Float4E2M1     DataType = 23
	Float8E8M0     DataType = 24
	Uint2          DataType = 25
	Int2           DataType = 26
	Float6E2M3     DataType = 27
	Float6E3M2     DataType = 28
)

type dataTypeInfo struct {
	name  string
	bits  int
	dtype tensor.DType
}

var dataTypes = [...]dataTypeInfo{
	Undefined:      {"UNDEFINED", 0, tensor.Invalid},
	Float:          {"FLOAT", 32, tensor.F32},
	Uint8:          {"UINT8", 8, tensor.U8},
	Int8:           {"INT8", 8, tensor.I8},
	Uint16:         {"UINT16", 16, tensor.U16},
	Int16:          {"INT16", 16, tensor.I16},
	Int32:          {"INT32", 32, tensor.I32},
	Int64:          {"INT64", 64, tensor.I64},
	String:         {"STRING", 0, tensor.Invalid},
	Bool:           {"BOOL", 8, tensor.Bool},
	Float16:        {"FLOAT16", 16, tensor.F16},
	Double:         {"DOUBLE", 64, tensor.F64},
	Uint32:         {"UINT32", 32, tensor.U32},
	Uint64:         {"UINT64", 64, tensor.U64},
	Complex64:      {"COMPLEX64", 64, tensor.Invalid},
	Complex128:     {"COMPLEX128", 128, tensor.Invalid},
	BFloat16:       {"BFLOAT16", 16, tensor.BF16},
	Float8E4M3FN:   {"FLOAT8E4M3FN", 8, tensor.F8E4M3},
	Float8E4M3FNUZ: {"FLOAT8E4M3FNUZ", 8, tensor.Invalid},
	Float8E5M2:     {"FLOAT8E5M2", 8, tensor.F8E5M2},
	Float8E5M2FNUZ: {"FLOAT8E5M2FNUZ", 8, tensor.Invalid},
	Uint4:          {"UINT4", 4, tensor.U4},
	Int4:           {"INT4", 4, tensor.I4},
	Float4E2M1:     {"FLOAT4E2M1", 4, tensor.Invalid},
	Float8E8M0:     {"FLOAT8E8M0", 8, tensor.Invalid},
	Uint2:          {"UINT2", 2, tensor.Invalid},
	Int2:           {"INT2", 2, tensor.Invalid},
	Float6E2M3:     {"FLOAT6E2M3", 6, tensor.Invalid},
	Float6E3M2:     {"FLOAT6E3M2", 6, tensor.Invalid},
}

// String returns ONNX's own spelling, like "FLOAT" or "INT8".
func (d DataType) String() string {
	if d >= 0 && int(d) < len(dataTypes) {
		return dataTypes[d].name
	}
	return fmt.Sprintf("DataType(%d)", int32(d))
}

// Bits returns the width of one element as stored in raw data, 0 for strings and
// for types this package does not know.
func (d DataType) Bits() int {
	if d >= 0 && int(d) < len(dataTypes) {
		return dataTypes[d].bits
	}
	return 0
}

// DType returns the element type in package tensor, tensor.Invalid where it has none.
func (d DataType) DType() tensor.DType {
	if d >= 0 && int(d) < len(dataTypes) {
		return dataTypes[d].dtype
	}
	return tensor.Invalid
}

// DataTypeOf returns the ONNX type of an element type of package tensor, Undefined
// for tensor.Invalid.
func DataTypeOf(d tensor.DType) DataType {
	for i, info := range dataTypes {
		if info.dtype == d && d != tensor.Invalid {
			return DataType(i)
		}
	}
	return Undefined
}
