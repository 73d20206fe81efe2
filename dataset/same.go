package dataset

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// maxSame bounds one sample that all samples share, which is kept in memory.
const maxSame = 1 << 30

// countSamples tells how many samples the columns have, along axis 0 of each. One of the first given columns, which are
// the inputs, may have a single sample where the others have more: then all share it.
func countSamples(cols []*column, given int, src *source) (int64, error) {
	single := func(i int) bool { return cols[i].same || i < given && cols[i].from.shape[0] == 1 }
	samples := int64(0)
	for i, c := range cols {
		if !single(i) {
			samples = c.from.shape[0]
			break
		}
	}
	if samples == 0 { // there is one sample, or none at all
		if !slices.ContainsFunc(cols, func(c *column) bool { return !c.same }) {
			return 0, noSamples(cols[0])
		}
		samples = 1
	}
	for i, c := range cols {
		if !single(i) && c.from.shape[0] != samples {
			return 0, differ(c, cols, src)
		}
		c.same = c.same || c.from.shape[0] != samples
		if !c.same {
			continue
		}
		if c.outSample > maxSame {
			return 0, &Error{Path: c.path, Summary: "What all samples share is too large", Detail: fmt.Sprintf("A sample of %q takes %d bytes; up to %d are given to each.", clip(c.from.name), c.outSample, maxSame)}
		}
		if _, err := tensor.Size(c.conv.to, append([]int64{samples}, c.shape...)); err != nil {
			return 0, &Error{Path: c.path, Summary: "The field is too large", Detail: err.Error() + "."}
		}
	}
	return samples, nil
}

// differ tells that axis 0 of c is not as long as that of the others.
func differ(c *column, cols []*column, src *source) error {
	var counts []string
	for _, o := range cols {
		if !o.same {
			counts = append(counts, fmt.Sprintf("%s has %d", clip(o.from.name), o.from.shape[0]))
		}
	}
	const most = 20
	if len(counts) > most {
		counts = append(counts[:most], "…")
	}
	return &Error{Path: c.path, Summary: "The fields differ in their number of samples", Detail: fmt.Sprintf("Axis 0 counts samples, and in %s %s.", src.path, strings.Join(counts, ", "))}
}

// noSamples tells that a column is a single value where samples are needed.
func noSamples(c *column) error {
	return &Error{Path: c.path, Summary: fmt.Sprintf("The field %q has no axis of samples", clip(c.from.name)),
		Detail: fmt.Sprintf("It is a single %s; axis 0 counts samples. An input may be the same for all samples of the others, but one field must have samples.", numpyNames[c.from.dtype])}
}

// planValue makes a column of so many samples that all hold the value of an input block, and the raw bytes of one.
func planValue(in Input, samples int64) (*column, []byte, error) {
	at := func(name, summary, detail string, args ...any) error {
		return &Error{Path: []string{"input", in.Name, name}, Summary: summary, Detail: fmt.Sprintf(detail, args...)}
	}
	if in.Field != "" {
		return nil, nil, at("value", "An input has both a field and a value", "value = … is the same for all samples and takes the place of the field %q. Leave one of them out.", clip(in.Field))
	}
	for _, a := range arguments(in) {
		if a.set {
			return nil, nil, at(a.name, a.name+" does nothing here", "The input has one value for all samples. Leave it out.")
		}
	}
	sample, n := in.Shape, int64(len(in.Value))
	if sample == nil && n > 1 {
		sample = []int64{n}
	}
	elems, err := tensor.Elements(sample)
	if err != nil || elems > maxSame/8 {
		return nil, nil, at("shape", "What all samples share is too large", "shape %v has more than %d elements.", in.Shape, maxSame/8)
	}
	if n != 1 && n != elems || n == 0 {
		return nil, nil, at("value", "The value does not fill the shape", "shape %v has %d elements and value has %d numbers. Write one number for all of them, or each.", in.Shape, elems, n)
	}
	raw := aligned(int(8 * elems))
	from, to := tensor.I64, tensor.I64
	for _, x := range in.Value {
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0):
			return nil, nil, at("value", "value is not finite", "It holds %v.", x)
		case x != math.Trunc(x) || math.Abs(x) > 1<<53:
			from, to = tensor.F64, tensor.F32
		}
	}
	for i := range elems {
		if x := in.Value[i%n]; from == tensor.F64 {
			elements[float64](raw)[i] = x
		} else {
			elements[int64](raw)[i] = int64(x)
		}
	}
	a, err := pseudo(in.Name, from, samples, sample)
	if err != nil {
		return nil, nil, at("value", "There are too many samples", "%s.", err)
	}
	a.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	c, err := prepareInput(in, []string{"input", in.Name, "value"}, a, to)
	if err != nil {
		return nil, nil, err
	}
	c.same = true
	return c, raw, nil
}

// repeat writes the one sample of a column as often as there are samples.
func (m *mover) repeat() error {
	one := &mover{ctx: m.ctx, col: m.col, out: m.out, kept: 1, all: 1, memory: aligned(int(m.col.outSample)), progress: func(int64) {}}
	if err := one.run(); err != nil {
		return err
	}
	const stretch = 1 << 20 // bytes that are written at a time
	at := min(m.kept, max(1, stretch/m.col.outSample))
	many := bytes.Repeat(one.memory[:m.col.outSample], int(at))
	for i := int64(0); i < m.kept; i += at {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		n := min(at, m.kept-i)
		if err := m.out.writeAt(m.col, many[:n*m.col.outSample], i*m.col.outSample); err != nil {
			return err
		}
		m.progress(i + n)
	}
	return nil
}
