package dataset

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

const (
	// shardSize is where a shard ends, if samples are smaller than it.
	shardSize = 64 << 20
	// maxShards bounds the files that are open at once: a dataset over 16 GiB gets
	// larger shards instead of more of them.
	maxShards = 256
	// maxShuffle bounds the memory that an order takes, 16 bytes a sample: the number
	// of samples is only what a file claims until it has been read.
	maxShuffle = 1 << 26
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
	src, err := openSource(s.Source)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = src.close() }() // it was only read
	cols, err := plan(s, src)
	if err != nil {
		return Info{}, err
	}
	all := cols[0].from.shape[0]
	kept := all
	if s.Limit > 0 {
		kept = min(kept, s.Limit)
	}
	var dest []int64
	if s.Shuffle {
		if all > maxShuffle {
			return Info{}, &Error{Path: []string{"shuffle"}, Summary: "There are too many samples to shuffle", Detail: fmt.Sprintf("%s has %d; up to %d can be shuffled. Shuffle them when you write the file.", s.Source, all, maxShuffle)}
		}
		dest = destinations(all, kept, s.Seed)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Info{}, err
	}
	index, out, err := createShards(dir, cols, kept)
	if err != nil {
		return Info{}, err
	}
	defer out.abort()
	if progress == nil {
		progress = func(done, total int64) {}
	}
	for i, c := range cols {
		m := &mover{ctx: ctx, col: c, out: out, kept: kept, all: all, dest: dest}
		m.progress = func(done int64) {
			// Each column passes all samples, so it is a part of every sample's work.
			part := float64(i)/float64(len(cols)) + float64(done)/float64(kept)/float64(len(cols))
			progress(int64(part*float64(kept)), kept)
		}
		if err := m.run(); err != nil {
			return Info{}, err
		}
	}
	if err := out.close(); err != nil {
		return Info{}, err
	}
	if err := tensor.WriteIndex(dir, index); err != nil {
		out.remove()
		return Info{}, err
	}
	progress(kept, kept)
	return Info{Samples: kept, Fields: index.Fields, HasLabel: index.Label}, nil
}

// plan matches the block with the source.
func plan(s Spec, src *source) ([]*column, error) {
	if s.Limit < 0 {
		return nil, &Error{Path: []string{"limit"}, Summary: "limit is negative", Detail: fmt.Sprintf("%d samples cannot be taken; 0 or no limit takes all.", s.Limit)}
	}
	inputs := s.Inputs
	if len(inputs) == 0 {
		for _, a := range src.arrays {
			if a.name != s.Label {
				inputs = append(inputs, Input{Name: a.name})
			}
		}
		if len(inputs) == 0 {
			return nil, sourceError("The source has no field for an input", fmt.Sprintf("%s has %s, and that is the label.", src.path, src.fields()), nil)
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
			return nil, err
		}
		if slices.ContainsFunc(cols, func(o *column) bool { return o.name == c.name }) {
			return nil, &Error{Path: []string{"input", in.Name}, Summary: "An input is given twice", Detail: fmt.Sprintf("There are two blocks input %q; each input of the model takes one field.", clip(in.Name))}
		}
		cols = append(cols, c)
	}
	if s.Label != "" {
		c, err := planLabel(s.Label, src)
		if err != nil {
			return nil, err
		}
		cols = append(cols, c)
	}
	return cols, sameSamples(cols, src)
}

func planInput(in Input, src *source, implied bool) (*column, error) {
	at := func(attr string) []string { return []string{"input", in.Name, attr} }
	if in.Name == "" || strings.HasPrefix(in.Name, "__") {
		return nil, &Error{Path: []string{"input", in.Name}, Summary: "An input cannot have this name", Detail: fmt.Sprintf("%q is empty or begins with two underscores, which are kept for labels and notes.", clip(in.Name))}
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
	to := a.dtype
	for _, v := range []struct {
		name  string
		value *float64
	}{{"scale", in.Scale}, {"mean", in.Mean}, {"std", in.Std}} {
		if v.value == nil {
			continue
		}
		to = tensor.F32
		if math.IsNaN(*v.value) || math.IsInf(*v.value, 0) || *v.value == 0 && v.name != "mean" {
			return nil, &Error{Path: at(v.name), Summary: v.name + " is not usable", Detail: fmt.Sprintf("%s is %v; the samples become (x * scale - mean) / std, so it must be a finite number and, but for mean, not 0.", v.name, *v.value)}
		}
	}
	if in.DType != "" {
		if to, err = parseDType(in.DType); err != nil {
			return nil, &Error{Path: at("dtype"), Summary: "dtype is not known", Detail: err.Error() + "."}
		}
	}
	return newColumn(in.Name, path, a, to, newConverter(a.dtype, to, a.swap, in.Scale, in.Mean, in.Std))
}

func planLabel(label string, src *source) (*column, error) {
	path := []string{"label"}
	a, err := usable(label, path, src)
	if err != nil {
		return nil, err
	}
	if !a.dtype.IsInteger() {
		return nil, &Error{Path: path, Summary: "Labels are not integers", Detail: fmt.Sprintf("The field %q is %s; the label is the number of the sample's class, so save it as an integer type, such as int64.", clip(label), a.header)}
	}
	c, err := newColumn(tensor.LabelName, path, a, tensor.I64, newConverter(a.dtype, tensor.I64, a.swap, nil, nil, nil))
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
	case len(a.shape) == 0:
		return nil, &Error{Path: path, Summary: fmt.Sprintf("The field %q has no axis of samples", clip(field)), Detail: fmt.Sprintf("It is a single %s; axis 0 counts samples.", numpyNames[a.dtype])}
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

// sameSamples makes sure that axis 0 is as long in every column.
func sameSamples(cols []*column, src *source) error {
	for _, c := range cols[1:] {
		if c.from.shape[0] == cols[0].from.shape[0] {
			continue
		}
		var counts []string
		for _, o := range cols {
			counts = append(counts, fmt.Sprintf("%s has %d", clip(o.from.name), o.from.shape[0]))
		}
		const most = 20
		if len(counts) > most {
			counts = append(counts[:most], "…")
		}
		return &Error{Path: c.path, Summary: "The fields differ in their number of samples", Detail: fmt.Sprintf("Axis 0 counts samples, and in %s %s.", src.path, strings.Join(counts, ", "))}
	}
	return nil
}

// destinations draws an order from seed and says where each sample of the source goes,
// -1 if nowhere. The generator is written out (SplitMix64 and Fisher-Yates), so that
// the order is part of the format and not of a library's version.
func destinations(all, kept int64, seed uint64) []int64 {
	order := make([]int64, all)
	for i := range order {
		order[i] = int64(i)
	}
	state := seed
	for i := int64(0); i < kept; i++ {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		k := i + int64(z%uint64(all-i))
		order[i], order[k] = order[k], order[i]
	}
	dest := make([]int64, all)
	for i := range dest {
		dest[i] = -1
	}
	for at, from := range order[:kept] {
		dest[from] = int64(at)
	}
	return dest
}

// shards writes the columns' bytes to the files that they belong to.
type shards struct {
	dir   string
	index tensor.Index
	open  []*tensor.Writer
	each  int64 // samples of every shard but the last
}

func createShards(dir string, cols []*column, samples int64) (tensor.Index, *shards, error) {
	index := tensor.Index{Samples: samples}
	var perSample int64
	for _, c := range cols {
		perSample += c.outSample
		if c.name == tensor.LabelName {
			index.Label = true
		} else {
			index.Fields = append(index.Fields, Field{Name: c.name, DType: c.conv.to, Shape: c.shape})
		}
	}
	// Wide types first: then every tensor begins where its type is aligned.
	layout := slices.Clone(cols)
	slices.SortStableFunc(layout, func(a, b *column) int { return b.conv.to.Bits() - a.conv.to.Bits() })
	out := &shards{dir: dir, each: max(1, shardSize/perSample)}
	out.each = max(out.each, (samples+maxShards-1)/maxShards)
	for at := int64(0); at < samples; at += out.each {
		n := min(out.each, samples-at)
		file := fmt.Sprintf("shard-%05d.safetensors", len(out.open))
		infos := make([]tensor.Info, len(layout))
		for i, c := range layout {
			infos[i] = tensor.Info{Name: c.name, DType: c.conv.to, Shape: append([]int64{n}, c.shape...)}
		}
		w, err := tensor.Create(filepath.Join(dir, file), infos, nil)
		if err != nil {
			out.abort()
			return tensor.Index{}, nil, err
		}
		out.open = append(out.open, w)
		index.Shards = append(index.Shards, tensor.Shard{File: file, Samples: n})
	}
	out.index = index
	return index, out, nil
}

// writeAt puts bytes of a column off bytes from the column's beginning.
func (s *shards) writeAt(c *column, p []byte, off int64) error {
	shard := s.each * c.outSample
	for len(p) > 0 {
		k, at := off/shard, off%shard
		n := min(int64(len(p)), shard-at)
		if err := s.open[k].WriteAt(c.name, p[:n], at); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (s *shards) close() error {
	for _, w := range s.open {
		if err := w.Close(); err != nil {
			s.abort()
			s.remove()
			return err
		}
	}
	return nil
}

// abort throws away what is not closed yet.
func (s *shards) abort() {
	for _, w := range s.open {
		w.Abort()
	}
}

// remove deletes the shards that got their names before something failed.
func (s *shards) remove() {
	for _, sh := range s.index.Shards {
		_ = os.Remove(filepath.Join(s.dir, sh.File)) // the cause is on its way up
	}
}
