// Package mil holds a Core ML model whose program is written in MIL, Apple's model intermediate language, and writes it:
// the messages of the specification (Model.proto, MIL.proto), the file of weights, and the folder around them.
//
// Everything is deterministic: the same model gives the same bytes.
package mil

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DataType is an element type, with the number that MIL.proto gives it.
type DataType int

// The element types that programs of this project use.
const (
	Bool    DataType = 1
	String  DataType = 2
	Float16 DataType = 10
	Float32 DataType = 11
	Int8    DataType = 21
	Int16   DataType = 22
	Int32   DataType = 23
	Int64   DataType = 24 // no program may hold one: the lint refuses it
	Int4    DataType = 25
	Uint8   DataType = 31
	Uint16  DataType = 32
	Uint32  DataType = 33
	Uint4   DataType = 35
	Uint2   DataType = 36
	Uint1   DataType = 37
	Uint6   DataType = 38
	Uint3   DataType = 39

	float64Type DataType = 12 // only a dictionary of chances has it
)

type typeInfo struct {
	name string
	bits int
	blob uint32 // the number that the file of weights gives it; 0: it is never there
}

var types = map[DataType]typeInfo{
	Bool: {"bool", 8, 0}, String: {"string", 0, 0}, Float16: {"fp16", 16, 1}, Float32: {"fp32", 32, 2},
	Int8: {"int8", 8, 4}, Int16: {"int16", 16, 6}, Int32: {"int32", 32, 14}, Int64: {"int64", 64, 0}, Int4: {"int4", 4, 8},
	Uint8: {"uint8", 8, 3}, Uint16: {"uint16", 16, 7}, Uint32: {"uint32", 32, 15}, Uint4: {"uint4", 4, 11}, Uint2: {"uint2", 2, 10},
	Uint1: {"uint1", 1, 9}, Uint6: {"uint6", 6, 13}, Uint3: {"uint3", 3, 12},
}

// String is the name that MIL itself uses: "fp16".
func (d DataType) String() string {
	if t, ok := types[d]; ok {
		return t.name
	}
	return "type " + strconv.Itoa(int(d))
}

// Bits is the size of an element; 0 for strings.
func (d DataType) Bits() int { return types[d].bits }

// Float tells whether the type is fp16 or fp32.
func (d DataType) Float() bool { return d == Float16 || d == Float32 }

// Type is a tensor's type. An axis of -1 has a length that only a run tells; no axes are a scalar.
type Type struct {
	DataType DataType
	Shape    []int64
	// Strings makes it a list of that many strings, in place of a tensor: the classes of a classifier.
	Strings int
	// Dictionary makes it a dictionary from text to double: a classifier's probabilities by class.
	Dictionary bool
	// State makes it a state that holds such a tensor.
	State bool
}

// Equal compares two types.
func (t Type) Equal(u Type) bool {
	return t.DataType == u.DataType && slices.Equal(t.Shape, u.Shape) && t.Strings == u.Strings && t.Dictionary == u.Dictionary && t.State == u.State
}

// String is "fp16 [1 3 224 224]".
func (t Type) String() string {
	switch {
	case t.Dictionary:
		return "a dictionary"
	case t.Strings > 0:
		return fmt.Sprintf("a list of %d texts", t.Strings)
	case t.State:
		return fmt.Sprintf("a state of %s %v", t.DataType, t.Shape)
	}
	return fmt.Sprintf("%s %v", t.DataType, t.Shape)
}

// Elements is the product of the axes, -1 where one is not known or there are more than any file has.
func (t Type) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		if d < 0 || d > 0 && n > (1<<50)/d {
			return -1
		}
		n *= d
	}
	return n
}

// Value is a constant: immediate bytes (row-major, little-endian; bool takes a byte), texts, or a place in the file of
// weights.
type Value struct {
	Type
	Data  []byte
	Texts []string
	// Blob makes it a reference into the file of weights; Offset is that of the blob's header.
	Blob   bool
	Offset uint64
}

// Arg is an argument of an operation: names of values, or one constant.
type Arg struct {
	Key   string
	Names []string
	Value *Value
}

// Named is a name and its type: an input of a function, an output of an operation.
type Named struct {
	Name string
	Type Type
}

// Attr is an attribute of an operation.
type Attr struct {
	Key   string
	Value Value
}

// Operation is one operation. Its attribute "name" is that of the first output, or Name where it has none.
type Operation struct {
	Type    string
	Name    string
	Inputs  []Arg
	Outputs []Named
	Attrs   []Attr
	// Weight is a constant whose bytes are made when the file of weights is written; it becomes the attribute "val",
	// or the operation becomes one that decompresses.
	Weight Weight
	// Of names the node of the source model, for messages.
	Of string
}

// Weight is a constant that becomes bytes when it is written.
type Weight interface {
	// Settle puts its bytes into the file and completes the operation. What it returns are operations that the operation
	// takes values of: they are put before it.
	Settle(op *Operation, w *Weights) ([]*Operation, error)
}

// Function is the program's one function, "main".
type Function struct {
	Inputs  []Named
	Opset   int // 5 for CoreML5 (iOS 15) to 8 for CoreML8 (iOS 18)
	Ops     []*Operation
	Outputs []string
}

// ColorSpace of a picture, with the number that FeatureTypes.proto gives it.
type ColorSpace int

// The colour spaces of inputs.
const (
	Gray ColorSpace = 10
	RGB  ColorSpace = 20
	BGR  ColorSpace = 30
)

// Feature is an input, output or state as an application sees it.
type Feature struct {
	Name string
	Doc  string
	Type Type
	// Upper bounds of open axes; nil where all are fixed. Type.Shape then holds the defaults.
	Lower, Upper []int64
	// Enumerated are the shapes that are allowed, in place of bounds.
	Enumerated [][]int64
	// Image is the colour space of a picture, 0 for an array.
	Image ColorSpace
	// Kind tells of the outputs of a classifier: a text, or a dictionary of text to double.
	Text, Dictionary bool
}

// Metadata is what people read about a model.
type Metadata struct {
	Description, Version, Author, Licence string
	User                                  map[string]string
}

// Model is a whole model.
type Model struct {
	Main     Function
	Inputs   []Feature
	Outputs  []Feature
	States   []Feature
	Detector *Detector // what follows the program, nil for nothing
	Label    string    // the output that holds the predicted class, "" for models that are no classifiers
	Chances  string    // the output that holds the classes' probabilities
	Metadata Metadata
}

// SpecVersion is the version of the specification that came with an operator set.
func (m *Model) SpecVersion() int { return m.Main.Opset + 1 }

// OpsetName is "CoreML7".
func OpsetName(opset int) string { return "CoreML" + strconv.Itoa(opset) }

// Identifier makes a legal name of s: letters, digits and underscores, no digit first.
func Identifier(s string) string {
	var b strings.Builder
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		digit := r >= '0' && r <= '9'
		if i == 0 && !letter {
			b.WriteByte('_')
			if !digit {
				continue
			}
		}
		if letter || digit {
			b.WriteRune(r)
		} else if i > 0 {
			b.WriteByte('_')
		}
	}
	if b.Len() == 0 {
		return "_"
	}
	return b.String()
}
