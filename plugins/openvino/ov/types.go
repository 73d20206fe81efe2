package ov

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// Type is OpenVINO's element type. Its numbers are those of the C API from 2025.4 on; 2024's differ.
type Type int32

// The types that tensors have here or that models may take.
const (
	Dynamic Type = iota
	Boolean
	BF16
	F16
	F32
	F64
	I4
	I8
	I16
	I32
	I64
	U1
	U2
	U3
	U4
	U6
	U8
	U16
	U32
	U64
	NF4
	F8E4M3
	F8E5M2
	String
	F4E2M1
	F8E8M0
)

var typeNames = [...]string{"dynamic", "boolean", "bf16", "f16", "f32", "f64", "i4", "i8", "i16", "i32", "i64", "u1", "u2", "u3",
	"u4", "u6", "u8", "u16", "u32", "u64", "nf4", "f8e4m3", "f8e5m2", "string", "f4e2m1", "f8e8m0"}

// String is the name that OpenVINO writes into IR: "f32".
func (t Type) String() string {
	if t < 0 || int(t) >= len(typeNames) {
		return fmt.Sprintf("type %d", int32(t))
	}
	return typeNames[t]
}

// ParseType is the type of a name as String gives it, Dynamic where there is none.
func ParseType(name string) Type { return Type(max(slices.Index(typeNames[:], name), 0)) }

var dtypes = map[Type]tensor.DType{
	Boolean: tensor.Bool, BF16: tensor.BF16, F16: tensor.F16, F32: tensor.F32, F64: tensor.F64,
	I8: tensor.I8, I16: tensor.I16, I32: tensor.I32, I64: tensor.I64,
	U8: tensor.U8, U16: tensor.U16, U32: tensor.U32, U64: tensor.U64,
}

// DType is the type for data of whole bytes; ok is false for what holds less than a byte, and for texts.
func (t Type) DType() (_ tensor.DType, ok bool) {
	d, ok := dtypes[t]
	return d, ok
}

// TypeOf is the type for data.
func TypeOf(d tensor.DType) (_ Type, ok bool) {
	for t, have := range dtypes {
		if have == d {
			return t, true
		}
	}
	return 0, false
}

// Dim is an axis: any length from Min to Max, which is -1 when there is no upper bound.
type Dim struct{ Min, Max int64 }

// Fixed is an axis of one length.
func Fixed(n int64) Dim { return Dim{n, n} }

// Free is an axis of any length.
var Free = Dim{0, -1}

// String is "224", "?" or "1..8".
func (d Dim) String() string {
	switch {
	case d.Min == d.Max:
		return fmt.Sprint(d.Min)
	case d.Max < 0 && d.Min <= 1:
		return "?"
	case d.Max < 0:
		return fmt.Sprintf("%d..", d.Min)
	}
	return fmt.Sprintf("%d..%d", d.Min, d.Max)
}

// Port is an input or output of a model.
type Port struct {
	// Name is empty where the tensor has none.
	Name string
	Type Type
	// Shape is nil when not even the rank is known.
	Shape []Dim
}

// Lengths are the shape's axes as they are elsewhere: -1 for one that is not fixed.
func (p Port) Lengths() []int64 {
	if p.Shape == nil {
		return nil
	}
	out := make([]int64, len(p.Shape))
	for i, d := range p.Shape {
		out[i] = -1
		if d.Min == d.Max {
			out[i] = d.Min
		}
	}
	return out
}

// String is `"input" f32 [?, 3, 224, 224]`.
func (p Port) String() string { return fmt.Sprintf("%q %s", p.Name, p.Kind()) }

// Kind is the type and the shape: "f32 [?, 3, 224, 224]", "f32 [...]" when not even the rank is known.
func (p Port) Kind() string {
	if p.Shape == nil {
		return p.Type.String() + " [...]"
	}
	s := make([]string, len(p.Shape))
	for i, d := range p.Shape {
		s[i] = d.String()
	}
	return fmt.Sprintf("%s [%s]", p.Type, strings.Join(s, ", "))
}
