package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// column is a field on its way from the source into a tensor of the shards.
type column struct {
	name  string // of the tensor
	path  []string
	from  *array
	conv  *converter
	shape []int64 // of one sample
	// Elements and bytes of one sample, before and after the conversion.
	elems, rawSample, outSample int64
	// fill writes the raw elements of one row of a table; nil for an array.
	fill filler
	// same tells that the array holds one sample, which all samples share.
	same bool
}

// Materialise reads the source as s says and writes the shards and their index into
// dir, which is created if it is missing. The bytes depend on s and the source's
// content only. progress, if not nil, hears how many of the samples are done.
//
// A mistake in the block or in the source is an *[Error] that says where; a full disk,
// an unwritable dir or the end of ctx is not. When it fails, no shard is left behind.
func Materialise(ctx context.Context, s Spec, dir string, progress func(done, total int64)) (Info, error) {
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	src, err := openSource(s.Source, s.Label)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = src.close() }() // it was only read
	if progress == nil {
		progress = func(done, total int64) {}
	}
	if src.table != nil {
		return materialiseTable(ctx, s, src, dir, progress)
	}
	cols, samples, err := plan(s, src)
	if err != nil {
		return Info{}, err
	}
	pick, err := choose(s, samples)
	if err != nil {
		return Info{}, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Info{}, err
	}
	index, out, err := createShards(dir, cols, pick.kept)
	if err != nil {
		return Info{}, err
	}
	defer out.abort()
	for i, c := range cols {
		m := &mover{ctx: ctx, col: c, out: out, kept: pick.kept, all: pick.all, dest: pick.dest}
		m.progress = func(done int64) {
			// Each column passes all samples, so it is a part of every sample's work.
			part := float64(i)/float64(len(cols)) + float64(done)/float64(pick.kept)/float64(len(cols))
			progress(int64(part*float64(pick.kept)), pick.kept)
		}
		if c.same {
			err = m.repeat()
		} else {
			err = m.run()
		}
		if err != nil {
			return Info{}, err
		}
	}
	return finish(dir, index, out, progress)
}

// finish gives the shards their names and writes the index.
func finish(dir string, index tensor.Index, out *shards, progress func(done, total int64)) (Info, error) {
	if err := out.close(); err != nil {
		return Info{}, err
	}
	if err := tensor.WriteIndex(dir, index); err != nil {
		out.remove()
		return Info{}, err
	}
	progress(index.Samples, index.Samples)
	return Info{Samples: index.Samples, Fields: index.Fields, HasLabel: index.Label, Targets: index.Targets, Classes: index.Classes}, nil
}

// plan matches the block with the source, and counts the samples of it.
func plan(s Spec, src *source) ([]*column, int64, error) {
	if err := checkSpec(s); err != nil {
		return nil, 0, err
	}
	inputs := s.Inputs
	if len(inputs) == 0 {
		for _, a := range src.arrays {
			if a.name != s.Label && !s.isTarget(a.name) {
				inputs = append(inputs, Input{Name: a.name})
			}
		}
		if len(inputs) == 0 {
			return nil, 0, sourceError("The source has no field for an input", fmt.Sprintf("%s has %s, and that is the label.", src.path, src.fields()), nil)
		}
	}
	var cols []*column
	for _, in := range inputs {
		implied := len(s.Inputs) == 0
		c, err := planInput(in, src, implied)
		if err != nil {
			if e := (*Error)(nil); implied && errors.As(err, &e) {
				e.Detail += ` Without input blocks every field is an input; name the ones that are with input "NAME" blocks.`
			}
			return nil, 0, err
		}
		if slices.ContainsFunc(cols, func(o *column) bool { return o.name == c.name }) {
			return nil, 0, twice(in.Name)
		}
		cols = append(cols, c)
	}
	if s.Label != "" {
		c, err := planLabel(s.Label, src)
		if err != nil {
			return nil, 0, err
		}
		cols = append(cols, c)
	}
	given := len(inputs) // only these may be the same for all samples
	for i, in := range s.Targets {
		c, err := planInput(in, src, false)
		if err == nil && c.same {
			err = noSamples(c)
		}
		if cols, err = s.target(cols, i, c, err); err != nil {
			return nil, 0, err
		}
	}
	samples, err := countSamples(cols, given, src)
	return cols, samples, err
}

func planInput(in Input, src *source, implied bool) (*column, error) {
	at := func(attr string) []string { return []string{"input", in.Name, attr} }
	if in.Name == "" || strings.HasPrefix(in.Name, "__") {
		return nil, badName(in.Name)
	}
	if in.Value != nil {
		c, _, err := planValue(in, 1)
		return c, err
	}
	field, path := in.Field, at("field")
	if field == "" {
		field, path = in.Name, []string{"input", in.Name}
	}
	if implied {
		path = []string{"source"}
	}
	a, err := usable(field, path, src)
	if err != nil {
		return nil, err
	}
	if err := arrayOnly(in); err != nil {
		return nil, err
	}
	single := len(a.shape) == 0
	if single {
		one := *a
		one.shape = []int64{1}
		a = &one
	}
	c, err := prepareInput(in, path, a, a.dtype)
	if c != nil {
		c.same = single
	}
	return c, err
}

// prepareInput works out the types and shapes of one input whose field is a.
func prepareInput(in Input, path []string, a *array, to tensor.DType) (*column, error) {
	at := func(attr string) []string { return []string{"input", in.Name, attr} }
	numbers := func(name string, v ...float64) error {
		for _, x := range v {
			to = tensor.F32
			if math.IsNaN(x) || math.IsInf(x, 0) || x == 0 && name != "mean" {
				return &Error{Path: at(name), Summary: name + " is not usable", Detail: fmt.Sprintf("%s is %v; the samples become (x * scale - mean) / std, so it must be a finite number and, but for mean, not 0.", name, x)}
			}
		}
		return nil
	}
	var err error
	if in.Scale != nil {
		err = numbers("scale", *in.Scale)
	}
	if err = errors.Join(err, numbers("mean", in.Mean...)); err == nil {
		err = numbers("std", in.Std...)
	}
	if err != nil {
		return nil, firstError(err)
	}
	if in.DType != "" {
		if to, err = parseDType(in.DType); err != nil {
			return nil, badDType(in, err)
		}
	}
	run, err := channels(in, a)
	if err != nil {
		return nil, err
	}
	c, err := newColumn(in.Name, path, a, to, newConverter(a.dtype, to, a.swap, in.Scale, in.Mean, in.Std, run))
	if err != nil || in.Shape == nil {
		return c, err
	}
	if n, err := tensor.Elements(in.Shape); err != nil || n != c.elems {
		return nil, &Error{Path: at("shape"), Summary: "The samples cannot have this shape", Detail: fmt.Sprintf("The field %q is %s, so a sample has %d elements, but shape %v has %d.", clip(a.name), a.header, c.elems, in.Shape, n)}
	}
	c.shape = in.Shape
	return c, nil
}

// firstError takes the first of joined errors, so that one mistake is told at a time.
func firstError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return err
}

// channels says how many elements of one channel follow each other in a sample, and
// makes sure that mean and std fit the number of channels.
func channels(in Input, a *array) (run int, err error) {
	sample := a.shape[1:]
	axis := 0
	if err := checkLayout(in); err != nil {
		return 0, err
	}
	if in.Layout == "nhwc" {
		axis = len(sample) - 1
	}
	run = 1
	for _, v := range []struct {
		name string
		n    int
	}{{"mean", len(in.Mean)}, {"std", len(in.Std)}} {
		if v.n <= 1 {
			continue
		}
		if len(sample) == 0 || sample[axis] != int64(v.n) {
			return 0, &Error{Path: []string{"input", in.Name, v.name}, Summary: v.name + " does not have a number for each channel", Detail: fmt.Sprintf("It has %d numbers, and the field %q is %s: its channels lie along axis %d (layout = %q). Write one number for all, or one for each channel.", v.n, clip(a.name), a.header, axis+1, cmp.Or(in.Layout, "nchw"))}
		}
		run = 1
		for _, d := range sample[axis+1:] {
			run *= int(d)
		}
	}
	return run, nil
}

func planLabel(label string, src *source) (*column, error) {
	path := []string{"label"}
	a, err := usable(label, path, src)
	if err != nil {
		return nil, err
	}
	if len(a.shape) == 0 {
		return nil, noSamples(&column{path: path, from: a})
	}
	if !a.dtype.IsInteger() {
		return nil, &Error{Path: path, Summary: "Labels are not integers", Detail: fmt.Sprintf("The field %q is %s; the label is the number of the sample's class, so save it as an integer type, such as int64.", clip(label), a.header)}
	}
	c, err := newColumn(tensor.LabelName, path, a, tensor.I64, newConverter(a.dtype, tensor.I64, a.swap, nil, nil, nil, 1))
	if err != nil {
		return nil, err
	}
	if c.elems != 1 {
		return nil, &Error{Path: path, Summary: "A sample has more than one label", Detail: fmt.Sprintf("The field %q is %s; one number for each sample, shape [N], is needed. Of one-hot labels take the argmax.", clip(label), a.header)}
	}
	c.shape = nil // [N, 1] is as good as [N]
	return c, nil
}

// usable finds a field and makes sure that its elements can be read.
func usable(field string, path []string, src *source) (*array, error) {
	a := src.find(field)
	switch {
	case a == nil:
		return nil, &Error{Path: path, Summary: fmt.Sprintf("There is no field %q", clip(field)), Detail: fmt.Sprintf("%s has %s.", src.path, src.fields())}
	case a.bad != nil:
		return nil, &Error{Path: path, Summary: fmt.Sprintf("The field %q cannot be read", clip(field)), Detail: fmt.Sprintf("%s: %s.", src.path, a.bad), Err: a.bad}
	case a.why != "":
		return nil, &Error{Path: path, Summary: fmt.Sprintf("The field %q is not numeric", clip(field)), Detail: fmt.Sprintf("It is %s: %s. %s has %s.", a.header, a.why, src.path, src.fields())}
	}
	return a, nil
}

func newColumn(name string, path []string, a *array, to tensor.DType, conv *converter) (*column, error) {
	c := &column{name: name, path: path, from: a, conv: conv, shape: a.shape[1:]}
	if a.shape[0] == 0 {
		return nil, &Error{Path: path, Summary: "There are no samples", Detail: fmt.Sprintf("The field %q is %s; axis 0 counts samples.", clip(a.name), a.header)}
	}
	if a.size == 0 {
		return nil, &Error{Path: path, Summary: "The samples are empty", Detail: fmt.Sprintf("The field %q is %s, so a sample has no elements.", clip(a.name), a.header)}
	}
	// The array's size was checked, and a wider type adds a factor of 8 at most: the
	// source would have to be an exabyte for this to overflow, but then it is said.
	if _, err := tensor.Size(to, a.shape); err != nil {
		return nil, &Error{Path: path, Summary: "The field is too large", Detail: err.Error() + "."}
	}
	c.elems = a.size / int64(a.dtype.Bits()/8) / a.shape[0]
	c.rawSample = c.elems * int64(a.dtype.Bits()/8)
	c.outSample = c.elems * int64(to.Bits()/8)
	return c, nil
}

func checkLayout(in Input) error {
	switch in.Layout {
	case "", "nchw", "nhwc":
		return nil
	}
	return &Error{Path: []string{"input", in.Name, "layout"}, Summary: "layout is not known", Detail: fmt.Sprintf("%q is neither \"nchw\" nor \"nhwc\".", clip(in.Layout))}
}

// badDType words what parseDType says; nil when it says nothing.
func badDType(in Input, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Path: []string{"input", in.Name, "dtype"}, Summary: "dtype is not known", Detail: err.Error() + "."}
}
