package tensor

import (
	"fmt"
	"math"
	"strings"
)

// DType is the type of one element.
type DType uint8

// The element types. The zero DType is invalid, so that a forgotten field shows.
const (
	Invalid DType = iota
	Bool          // one byte, 0 or 1
	U8
	I8
	U16
	I16
	U32
	I32
	U64
	I64
	F16  // IEEE 754 half
	BF16 // the upper half of a float32
	F32
	F64
	U4     // two to a byte, low nibble first
	I4     // two to a byte, low nibble first, two's complement
	F8E4M3 // OCP FP8 E4M3FN: no infinities, maximum 448
	F8E5M2 // OCP FP8 E5M2
)

var dtypes = [...]struct {
	name string
	bits int
}{
	Invalid: {"INVALID", 0},
	Bool:    {"BOOL", 8},
	U8:      {"U8", 8},
	I8:      {"I8", 8},
	U16:     {"U16", 16},
	I16:     {"I16", 16},
	U32:     {"U32", 32},
	I32:     {"I32", 32},
	U64:     {"U64", 64},
	I64:     {"I64", 64},
	F16:     {"F16", 16},
	BF16:    {"BF16", 16},
	F32:     {"F32", 32},
	F64:     {"F64", 64},
	U4:      {"U4", 4},
	I4:      {"I4", 4},
	F8E4M3:  {"F8_E4M3", 8},
	F8E5M2:  {"F8_E5M2", 8},
}

// String returns the safetensors spelling: "F32", "U8", "BOOL", "F8_E4M3".
func (d DType) String() string {
	if int(d) < len(dtypes) {
		return dtypes[d].name
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// ParseDType reads the safetensors spelling. It is case-sensitive, as the format is.
func ParseDType(s string) (DType, error) {
	for d := Bool; int(d) < len(dtypes); d++ {
		if dtypes[d].name == s {
			return d, nil
		}
	}
	names := make([]string, 0, len(dtypes)-1)
	for _, d := range dtypes[1:] {
		names = append(names, d.name)
	}
	return Invalid, fmt.Errorf("unknown element type %q: one of %s is expected", clip(s), strings.Join(names, ", "))
}

// Bits returns the width of one element: 4, 8, 16, 32 or 64, and 0 for an invalid type.
func (d DType) Bits() int {
	if int(d) < len(dtypes) {
		return dtypes[d].bits
	}
	return 0
}

// IsFloat tells whether d is a floating-point type.
func (d DType) IsFloat() bool {
	switch d {
	case F16, BF16, F32, F64, F8E4M3, F8E5M2:
		return true
	}
	return false
}

// IsInteger tells whether d is an integer type; Bool is not one.
func (d DType) IsInteger() bool {
	switch d {
	case U8, I8, U16, I16, U32, I32, U64, I64, U4, I4:
		return true
	}
	return false
}

// MarshalText writes the safetensors spelling.
func (d DType) MarshalText() ([]byte, error) {
	if d.Bits() == 0 {
		return nil, fmt.Errorf("%s has no spelling", d)
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads the safetensors spelling.
func (d *DType) UnmarshalText(b []byte) error {
	v, err := ParseDType(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Elements returns the number of elements of a shape; a scalar (no axes) has one.
// A negative axis or a product over int64 is an error.
func Elements(shape []int64) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative axis", shape)
		}
	}
	for _, d := range shape {
		if d == 0 {
			return 0, nil
		}
	}
	for _, d := range shape {
		if n > math.MaxInt64/d {
			return 0, fmt.Errorf("shape %v has more elements than 64 bits can count", shape)
		}
		n *= d
	}
	return n, nil
}

// Size returns how many bytes a tensor of this type and shape takes. Four-bit
// elements are packed over the whole tensor and the last byte is padded.
func Size(d DType, shape []int64) (int64, error) {
	n, err := Elements(shape)
	if err != nil {
		return 0, err
	}
	bits := int64(d.Bits())
	if bits == 0 {
		return 0, fmt.Errorf("%s is no element type", d)
	}
	if n > (math.MaxInt64-7)/bits {
		return 0, fmt.Errorf("shape %v of %s has more bytes than 64 bits can count", shape, d)
	}
	return (n*bits + 7) / 8, nil
}

// clip keeps a name from an untrusted file short enough to be shown.
func clip(s string) string {
	if len(s) > 64 {
		return s[:61] + "..."
	}
	return s
}
