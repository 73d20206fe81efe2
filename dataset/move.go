package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/optimize-hcl/optimize/tensor"
)

const (
	// chunk is how many elements are read, converted and written at a time.
	chunk = 32 << 10
	// gather is up to how many bytes a shuffled column is put in order in memory;
	// beyond, every sample is written to its place on its own.
	gather = 64 << 20
	// maxFortran bounds an array in Fortran order, whose samples lie scattered and
	// must be collected in memory.
	maxFortran = 1 << 30
)

// mover streams one column from the source into the shards.
type mover struct {
	ctx       context.Context
	col       *column
	out       *shards
	kept, all int64
	dest      []int64 // where each sample goes, -1 for nowhere; nil: to its own place
	progress  func(done int64)

	in        io.Reader
	raw, conv []byte
	memory    []byte // the whole column, when it is gathered
}

func (m *mover) run() error {
	r, err := m.col.from.open()
	if err != nil {
		return m.readError(err)
	}
	defer r.Close()
	m.in = r
	size := int(min(chunk, m.col.elems*m.kept))
	m.raw = aligned(size * m.col.from.dtype.Bits() / 8)
	m.conv = aligned(size * m.col.conv.to.Bits() / 8)
	switch {
	case m.col.from.fortran && len(m.col.from.shape) > 1:
		err = m.fortran()
	case m.dest == nil:
		err = m.move(0, m.kept, 0)
	default:
		err = m.scatter()
	}
	if err != nil {
		return err
	}
	if m.kept == m.all || m.dest != nil {
		// An archive checks an entry's checksum when its end is read.
		var one [1]byte
		if _, err := io.ReadFull(r, one[:]); err != nil && !errors.Is(err, io.EOF) {
			return m.readError(err)
		}
	}
	return nil
}

// move takes n samples from the stream, the first of which is number from, to the
// place of sample to.
func (m *mover) move(from, n, to int64) error {
	c := m.col
	in, out := int64(c.from.dtype.Bits()/8), int64(c.conv.to.Bits()/8)
	for at, end := int64(0), n*c.elems; at < end; {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		k := min(int64(len(m.raw))/in, end-at)
		raw, conv := m.raw[:k*in], m.conv[:k*out]
		if _, err := io.ReadFull(m.in, raw); err != nil {
			return m.readError(err)
		}
		if err := c.conv.convert(conv, raw, int(at%c.elems)); err != nil {
			var bad *valueError
			if errors.As(err, &bad) {
				return m.valueError(bad, from+(at+int64(bad.index))/c.elems)
			}
			return err
		}
		off := to*c.outSample + at*out
		if m.memory != nil {
			copy(m.memory[off:], conv)
		} else if err := m.out.writeAt(c, conv, off); err != nil {
			return err
		}
		at += k
		if m.dest == nil {
			m.progress(from + at/c.elems)
		}
	}
	return nil
}

// scatter passes all samples of the source and takes each to its place.
func (m *mover) scatter() error {
	c := m.col
	if size := m.kept * c.outSample; size <= gather {
		m.memory = aligned(int(size))
	}
	for i := int64(0); i < m.all; {
		// Samples that go nowhere are skipped together.
		n := int64(0)
		for i+n < m.all && m.dest[i+n] < 0 {
			n++
		}
		if n > 0 {
			if err := m.skip(n * c.rawSample); err != nil {
				return err
			}
			i += n
			continue
		}
		if err := m.move(i, 1, m.dest[i]); err != nil {
			return err
		}
		i++
		if i%1024 == 0 {
			m.progress(int64(float64(i) / float64(m.all) * float64(m.kept)))
		}
	}
	if m.memory != nil {
		return m.out.writeAt(c, m.memory, 0)
	}
	return nil
}

// skip reads past n bytes, looking up now and then.
func (m *mover) skip(n int64) error {
	for n > 0 {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		k, err := io.CopyN(io.Discard, m.in, min(n, 4<<20))
		if err != nil {
			return m.readError(err)
		}
		n -= k
	}
	return nil
}

// fortran collects the samples of an array whose axis 0 varies fastest: the stream
// holds, for each element of a sample, that element of all samples.
func (m *mover) fortran() error {
	c := m.col
	width := int64(c.from.dtype.Bits() / 8)
	if m.kept > maxFortran/c.rawSample {
		return &Error{Path: c.path, Summary: fmt.Sprintf("The field %q is too large for its order", clip(c.from.name)),
			Detail: fmt.Sprintf("It is stored in Fortran order, so its samples lie scattered, and %d of them take more than %d MiB to collect. Save it with numpy.ascontiguousarray, or set a limit.", m.kept, maxFortran>>20)}
	}
	samples := aligned(int(m.kept * c.rawSample))
	line := make([]byte, min(m.all, chunk)*width)
	where := make([]int64, len(c.shape)) // the element's place in a sample
	for range c.elems {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		elem := int64(0)
		for a, d := range c.shape {
			elem = elem*d + where[a]
		}
		for i := int64(0); i < m.all; {
			n := min(int64(len(line))/width, m.all-i)
			if _, err := io.ReadFull(m.in, line[:n*width]); err != nil {
				return m.readError(err)
			}
			for k := range n {
				to := i + k
				if m.dest != nil {
					to = m.dest[to]
				}
				if to >= 0 && to < m.kept {
					at := to*c.rawSample + elem*width
					copy(samples[at:at+width], line[k*width:(k+1)*width])
				}
			}
			i += n
		}
		for a := range where { // the first axis of a sample varies fastest
			if where[a]++; where[a] < c.shape[a] {
				break
			}
			where[a] = 0
		}
	}
	stream := m.in
	defer func() { m.in = stream }()
	m.in = &sliceReader{samples}
	return m.move(0, m.kept, 0)
}

type sliceReader struct{ b []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// readError words a failure of the source in the middle of an array.
func (m *mover) readError(err error) error {
	detail := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		detail = "it ends too early; the file is truncated"
	}
	return &Error{Path: m.col.path, Summary: fmt.Sprintf("The field %q cannot be read", clip(m.col.from.name)),
		Detail: fmt.Sprintf("Reading %s: %s. Copy or write the source again.", m.col.from.header, detail), Err: err}
}

// valueError names the sample whose value does not fit.
func (m *mover) valueError(bad *valueError, sample int64) error {
	what := "field"
	if m.col.name == tensor.LabelName {
		what = "label"
	}
	where := ""
	// Of a shuffled array in Fortran order only the new place of the sample is known.
	if !(m.col.from.fortran && m.dest != nil) {
		where = fmt.Sprintf(" in sample %d", sample)
	}
	return &Error{Path: m.col.path, Summary: fmt.Sprintf("A value does not fit%s", where),
		Detail: fmt.Sprintf("The %s %q holds %s.", what, clip(m.col.from.name), bad), Err: bad}
}
