package lower

import (
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// Value is a value of the program: what an operation makes, an input, or a constant.
type Value struct {
	v *value
	// Type is the type in which the node that asked sees it: floats in the precision that the node computes in.
	Type mil.Type
}

// value is one ONNX value, or one result inside of a rule, with its forms in the program.
type value struct {
	// names are its names by element type; empty for a constant that nothing has read yet.
	names map[mil.DataType]string
	base  mil.Type // the type it was made in
	konst *Const   // what it always is, for constants
	hint  string   // for names
	// positive tells that integers are never negative.
	positive bool
}

// Valid tells whether there is a value: an input that is left out has none, and what an error left either.
func (v Value) Valid() bool { return v.v != nil }

// Shape are the axes; -1 is a length that only a run tells.
func (v Value) Shape() []int64 { return v.Type.Shape }

// Rank is the number of axes.
func (v Value) Rank() int { return len(v.Type.Shape) }

// Dim is the length of axis i, which may count from the end.
func (v Value) Dim(i int) int64 {
	if i < 0 {
		i += len(v.Type.Shape)
	}
	return v.Type.Shape[i]
}

// Fixed tells whether all lengths are known.
func (v Value) Fixed() bool { return v.Type.Elements() >= 0 }

// Float tells whether the elements are floats.
func (v Value) Float() bool { return v.Type.DataType.Float() }

// Const is what the value always is, nil where it is computed.
func (v Value) Const() *Const {
	if v.v == nil {
		return nil
	}
	return v.v.konst
}
