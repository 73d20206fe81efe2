// Package dataset turns a user's arrays into the one form that every plugin reads:
// a folder of safetensors shards with an index (see [tensor.OpenShards]).
//
// A source is a NumPy .npz archive, a single .npy file, or a folder of .npy files.
// Everything is streamed: memory does not grow with the source, and nothing in a
// file is trusted for more than the file's own size allows.
package dataset

import (
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// Spec says what to read and how to prepare it, as the recipe's dataset block does.
type Spec struct {
	Source  string  // absolute path
	Inputs  []Input // empty: every field except Label goes to the input of its own name
	Label   string  // the field with the class of each sample; "" for none
	Limit   int64   // at most so many samples; 0 for all
	Shuffle bool    // take the samples in an order drawn from Seed, before Limit
	Seed    uint64
}

// Input prepares one field for one model input: (x·Scale - Mean) / Std. Any of the
// three makes the result float32; DType overrides that, or the field's own type.
type Input struct {
	Name  string // the model's input
	Field string // the source's field; "" for the one of the same name
	Scale *float64
	Mean  *float64
	Std   *float64
	DType string // "float32" or "F32", "int64" or "I64", …; "" as said above
}

// Field describes a prepared field; Shape is that of one sample.
type Field = tensor.Field

// Info says what was materialised.
type Info struct {
	Samples  int64
	Fields   []Field // in the order of the inputs
	HasLabel bool
}

// Error is a mistake in the dataset block or in its source.
type Error struct {
	// Path leads to the argument in the dataset block: ["source"], ["label"],
	// ["input", NAME, "field"].
	Path    []string
	Summary string // what is wrong, one line
	Detail  string // what there is and what to do
	Err     error  // the cause, where there is one
}

func (e *Error) Error() string {
	s := strings.Join(e.Path, ".") + ": " + e.Summary
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// sourceError is a mistake that lies in the source itself.
func sourceError(summary, detail string, cause error) *Error {
	return &Error{Path: []string{"source"}, Summary: summary, Detail: detail, Err: cause}
}
