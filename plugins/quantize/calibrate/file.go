package calibrate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/optimize-hcl/optimize/tensor"
)

// Format is the artifact format of ranges: one safetensors file. Its metadata are
//
//	format      "optimize-ranges/v1"
//	method      the name of the method
//	bins        a whole number
//	percentile  a number, as Go writes it shortest
//	samples     a whole number
//	random      "true" or "false"
//	names       a JSON array of the names of the T tensors, in the order of their bytes
//
// and its tensors are columns with a row for each name:
//
//	seen        F32 [T, 2]  smallest and largest value
//	average     F32 [T, 2]  mean of the smallest and the largest value of each run
//	chosen      F32 [T, 2]  the range by the method
//	elements    U64 [T]     values looked at
//	axis        I64 [T]     axis of the channels, -1 without
//	channels    I64 [T]     number of channels, 0 without
//	channel     F32 [C, 2]  their ranges by the method, tensor after tensor
//	exponent    I64 [T]     the bins of the histogram are 2^exponent wide
//	first       I64 [T]     number of the first bin that is stored: bin i >= 0 begins at i*2^exponent, bin -1-i is its mirror image
//	bins        I64 [T]     number of bins stored, 0 without values, -1 without a histogram
//	counts      U8  [B]     their counts as unsigned varints (protobuf's), tensor after tensor
const Format = "optimize-ranges"

const formatVersion = Format + "/v1"

// Write writes ranges to a file, which appears whole or not at all. Equal ranges give equal bytes.
func (r *Ranges) Write(path string) error {
	names := r.Names()
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	n := int64(len(names))
	var seen, average, chosen, channel []float32
	var elements []uint64
	var axis, channels, exponent, first, bins []int64
	var counts []byte
	for _, name := range names {
		t := r.Tensors[name]
		seen = append(seen, t.Seen.Min, t.Seen.Max)
		average = append(average, t.Average.Min, t.Average.Max)
		chosen = append(chosen, t.Chosen.Min, t.Chosen.Max)
		elements = append(elements, t.Elements)
		channels = append(channels, int64(len(t.Channels)))
		axis = append(axis, int64(t.Axis))
		for _, c := range t.Channels {
			channel = append(channel, c.Min, c.Max)
		}
		e, f, b := int64(0), int64(0), int64(-1)
		if h := t.Histogram; h != nil {
			from, end, _ := h.bounds()
			e, f, b = int64(h.Exponent), int64(from), int64(end-from)
			if b == 0 {
				f = 0
			}
			for i := from; i < end; i++ {
				counts = binary.AppendUvarint(counts, h.count(i))
			}
		}
		exponent, first, bins = append(exponent, e), append(first, f), append(bins, b)
	}
	return tensor.WriteFile(path, []tensor.Named{
		{Name: "seen", Tensor: tensor.Of([]int64{n, 2}, seen)},
		{Name: "average", Tensor: tensor.Of([]int64{n, 2}, average)},
		{Name: "chosen", Tensor: tensor.Of([]int64{n, 2}, chosen)},
		{Name: "elements", Tensor: tensor.Of([]int64{n}, elements)},
		{Name: "axis", Tensor: tensor.Of([]int64{n}, axis)},
		{Name: "channels", Tensor: tensor.Of([]int64{n}, channels)},
		{Name: "channel", Tensor: tensor.Of([]int64{int64(len(channel) / 2), 2}, channel)},
		{Name: "exponent", Tensor: tensor.Of([]int64{n}, exponent)},
		{Name: "first", Tensor: tensor.Of([]int64{n}, first)},
		{Name: "bins", Tensor: tensor.Of([]int64{n}, bins)},
		{Name: "counts", Tensor: tensor.Of([]int64{int64(len(counts))}, counts)},
	}, map[string]string{
		"format": formatVersion, "method": string(r.Options.Method), "bins": strconv.Itoa(r.Options.Bins),
		"percentile": strconv.FormatFloat(r.Options.Percentile, 'g', -1, 64), "samples": strconv.FormatInt(r.Samples, 10),
		"random": strconv.FormatBool(r.Random), "names": string(list),
	})
}

// Read reads what Write wrote. Whatever is wrong with a file is an error that says what.
func Read(path string) (*Ranges, error) {
	f, err := tensor.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := decode(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return r, f.Close()
}

// Parse is Read for bytes.
func Parse(b []byte) (*Ranges, error) {
	f, err := tensor.Parse(b)
	if err != nil {
		return nil, err
	}
	return decode(f)
}

// columns are those of a file.
type columns struct {
	seen, average, chosen, channel          []float32
	elements                                []uint64
	axis, channels, exponent, first, stored []int64
	counts                                  []byte
}

func decode(f *tensor.File) (*Ranges, error) {
	meta := f.Metadata()
	if got := meta["format"]; got != formatVersion {
		return nil, fmt.Errorf("these are no ranges of a version that can be read: the format is %q, not %q", got, formatVersion)
	}
	var names []string
	if err := json.Unmarshal([]byte(meta["names"]), &names); err != nil {
		return nil, fmt.Errorf("the names cannot be read: %w", err)
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		return nil, errors.New("the names are not in order, or one is there twice")
	}
	r := &Ranges{Tensors: make(map[string]*Tensor, len(names))}
	var err [4]error
	r.Options.Method = Method(meta["method"])
	r.Options.Bins, err[0] = strconv.Atoi(meta["bins"])
	r.Options.Percentile, err[1] = strconv.ParseFloat(meta["percentile"], 64)
	r.Samples, err[2] = strconv.ParseInt(meta["samples"], 10, 64)
	r.Random, err[3] = strconv.ParseBool(meta["random"])
	if err := errors.Join(err[:]...); err != nil {
		return nil, fmt.Errorf("the metadata cannot be read: %w", err)
	}
	if _, problem := r.Options.Check(); problem != "" {
		return nil, errors.New(problem)
	}
	c, e := readColumns(f, int64(len(names)))
	if e != nil {
		return nil, e
	}
	for i, name := range names {
		t, err := c.row(i)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		r.Tensors[name] = t
	}
	if len(c.counts) > 0 || len(c.channel) > 0 {
		return nil, errors.New("there are more counts or channels than the tensors have")
	}
	return r, nil
}

func readColumns(f *tensor.File, n int64) (*columns, error) {
	c := &columns{}
	var errs []error
	errs = append(errs,
		column(f, "seen", &c.seen, n, 2), column(f, "average", &c.average, n, 2), column(f, "chosen", &c.chosen, n, 2),
		column(f, "elements", &c.elements, n), column(f, "axis", &c.axis, n), column(f, "channels", &c.channels, n),
		column(f, "channel", &c.channel, -1, 2), column(f, "exponent", &c.exponent, n), column(f, "first", &c.first, n),
		column(f, "bins", &c.stored, n), column(f, "counts", &c.counts, -1))
	return c, errors.Join(errs...)
}

// column reads one tensor, of these sizes, of which -1 is any.
func column[T tensor.Number](f *tensor.File, name string, to *[]T, shape ...int64) error {
	t, err := f.Tensor(name)
	if err != nil {
		return err
	}
	if len(t.Shape) != len(shape) || len(shape) > 1 && t.Shape[1] != shape[1] || shape[0] >= 0 && t.Shape[0] != shape[0] {
		return fmt.Errorf("column %q is of shape %v, not %v (-1: any)", name, t.Shape, shape)
	}
	v, err := tensor.View[T](t)
	if err != nil {
		return fmt.Errorf("column %q: %w", name, err)
	}
	*to = slices.Clone(v) // the file may be closed
	return nil
}

// row reads tensor i, and takes its channels and counts from the front of theirs.
func (c *columns) row(i int) (*Tensor, error) {
	t := &Tensor{
		Seen: Range{c.seen[2*i], c.seen[2*i+1]}, Average: Range{c.average[2*i], c.average[2*i+1]},
		Chosen: Range{c.chosen[2*i], c.chosen[2*i+1]}, Elements: c.elements[i], Axis: int(c.axis[i]),
	}
	for _, r := range []Range{t.Seen, t.Average, t.Chosen} {
		if !r.Finite() || r.Min > r.Max {
			return nil, fmt.Errorf("from %v to %v is no range", r.Min, r.Max)
		}
	}
	n := c.channels[i]
	if n < 0 || n > int64(len(c.channel)/2) || c.axis[i] < -1 || c.axis[i] > math.MaxInt16 || (n > 0) != (c.axis[i] >= 0) {
		return nil, fmt.Errorf("it cannot have %d channels along axis %d", n, c.axis[i])
	}
	for k := range n {
		r := Range{c.channel[2*k], c.channel[2*k+1]}
		if !r.Finite() || r.Min > r.Max {
			return nil, fmt.Errorf("from %v to %v is no range of channel %d", r.Min, r.Max, k)
		}
		t.Channels = append(t.Channels, r)
	}
	c.channel = c.channel[2*n:]
	if c.stored[i] < 0 {
		return t, nil
	}
	e, first, stored := c.exponent[i], c.first[i], c.stored[i]
	if e < minExponent || e > 128 || first < -tensorHalf || first > tensorHalf || stored > tensorHalf-first || stored > int64(len(c.counts)) {
		return nil, fmt.Errorf("%d bins of width 2^%d from bin %d on are no histogram", stored, e, first)
	}
	t.Histogram = &Histogram{Exponent: int(e), from: int(first)}
	if stored > 0 {
		t.Histogram.counts = make([]uint64, stored)
	}
	var total uint64
	for k := range stored {
		v, width := binary.Uvarint(c.counts)
		if width <= 0 {
			return nil, errors.New("a count of its histogram is cut short or too large")
		}
		c.counts = c.counts[width:]
		t.Histogram.counts[k] = v
		if total+v < total {
			return nil, errors.New("its counts do not fit into 64 bits")
		}
		total += v
	}
	if total != t.Elements {
		return nil, fmt.Errorf("its histogram counts %d values, and it has %d", total, t.Elements)
	}
	return t, nil
}
