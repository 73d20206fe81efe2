// Package dataset turns a user's data into the one form that every plugin reads: a
// folder of safetensors shards with an index (see [tensor.OpenShards]).
//
// A source is one of
//
//   - arrays: a NumPy .npz or .npy, an IDX file (as MNIST has them), each also under
//     gzip, or a folder of them;
//   - a table: CSV, TSV or JSON lines, each also under gzip, with numbers, text, or
//     paths of images and sounds;
//   - a folder of images, sounds or texts, where each folder in it is a class.
//
// Axis 0 of an array counts samples. An array without axes, or with only one sample
// where the others have more, is the same for all samples when it is an input.
//
// Everything is streamed: memory does not grow with the source, and nothing in a
// file is trusted for more than the file's own size allows. Samples of tables and
// folders are decoded on all cores; the result does not depend on how many there are.
package dataset

import (
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// Spec says what to read and how to prepare it, as the recipe's dataset block does.
type Spec struct {
	Source string  // absolute path
	Inputs []Input // empty: every field except Label goes to the input of its own name
	Label  string  // the field with the class of each sample; "" for none
	// Targets are what a model's outputs are held against: fields that no model takes, prepared as inputs are. A field of
	// texts without a Tokenizer, or of anything with the DType "text", is kept as texts.
	Targets []Input
	Limit   int64 // at most so many samples; 0 for all
	Shuffle bool  // take the samples in an order drawn from Seed, before Limit
	Seed    uint64
	// Split takes only a part, "train" or "test", before Limit: a share of TestFraction
	// of the samples, drawn from Seed, is the test part, and the rest is the other.
	// "" takes all.
	Split        string
	TestFraction float64 // between 0 and 1; needed with Split
}

// Input prepares one field for one model input: (x·Scale - Mean) / Std. Any of the
// three makes the result float32; DType overrides that, or the field's own type.
type Input struct {
	Name string // the model's input
	// Field is the source's field; "" for the one of the same name. Of a table,
	// "NAME*" is a vector of all columns whose names begin so.
	Field string
	// Value is the same for all samples and takes the place of a field: one number, which fills Shape, or as many as
	// Shape has elements. Whole numbers are int64 and others float32. Not for targets.
	Value []float64
	Scale *float64
	Mean  []float64 // one for all, or one for each channel
	Std   []float64 // likewise
	DType string    // "float32" or "F32", "int64" or "I64", …; "" as said above
	Shape []int64   // of one sample; nil as it is. It must have as many elements

	// Layout says where the channels of an image are, "nchw" (the default) or "nhwc";
	// of a field that is an array already, which axis Mean and Std go along.
	Layout string

	// Images. Colour is converted first, then comes Resize and then Crop.
	Color    string  // "rgb" (the default), "bgr" or "gray"
	Resize   []int64 // {height, width}, or {n}: the shorter side, keeping proportions
	Crop     []int64 // {height, width} or {side}, out of the middle
	Resample string  // "bilinear" (the default), "bicubic", "lanczos" or "nearest"
	Orient   bool    // turn a JPEG as its EXIF orientation says

	// Text.
	Tokenizer string // path of a tokenizer.json
	Tokens    string // "ids", "mask" or "type_ids"; "": by Name, else ids

	// Length is the tokens of a text or the samples of a sound: what is longer is cut
	// at the end, and what is shorter is filled up, with padding or silence.
	Length int64
	Rate   int64 // samples a second; a sound with another rate is resampled. 0: all have the same
}

// Field describes a prepared field; Shape is that of one sample.
type Field = tensor.Field

// Info says what was materialised.
type Info struct {
	Samples  int64
	Fields   []Field // in the order of the inputs
	HasLabel bool
	Targets  []Field  // in the order of the Spec
	Classes  []string // names of the classes, by label, where the source has names
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
