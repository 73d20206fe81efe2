package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/optimize-hcl/optimize/tensor"
)

// table is a source that is read sample by sample: the rows of a text file, or the
// files of a folder.
type table struct {
	fields []*tableField
	count  int64
	dir    string // paths in cells are relative to it
	// rows gives every sample in order; yield's error ends it and is returned.
	rows func(ctx context.Context, yield func(r row) error) error
	// cut makes cells of a row that was only read; nil when rows gives cells.
	cut     func(raw []byte, cells []string) error
	classes []string // of the field "label" of a folder
}

// row is one sample of a table.
type row struct {
	index int64
	file  string
	line  int // in the file, from 1; 0: the sample is the file
	cells []string
	raw   []byte
}

// where names the sample's place, for messages.
func (r row) where() string {
	if r.line == 0 {
		return r.file
	}
	return fmt.Sprintf("%s, line %d", r.file, r.line)
}

// kind is what all cells of a field have in common.
type kind uint8

const (
	kindInt kind = iota
	kindFloat
	kindList  // numbers in brackets, the same shape in each sample
	kindText  // anything else
	kindImage // the path of an image
	kindSound // the path of a sound
	kindFile  // the path of a text
)

var kindNames = [...]string{"integers", "numbers", "lists of numbers", "text", "paths of images", "paths of sounds", "paths of texts"}

// tableField is what the first reading of a table learns about a field.
type tableField struct {
	name   string
	kind   kind
	reals  bool    // of a list
	shape  []int64 // of a list
	note   string  // why the field is no better than text
	first  string  // the first cell, shortened
	names  map[string]int64
	excess bool // there are too many different texts to be classes
	// longest is the length in bytes of the longest cell.
	longest int64
}

func (f *tableField) String() string {
	s := kindNames[f.kind]
	if f.kind == kindList {
		s += fmt.Sprintf(" %v", f.shape)
	}
	return clip(f.name) + " (" + s + ")"
}

func (t *table) find(name string) (int, *tableField) {
	for i, f := range t.fields {
		if f.name == name {
			return i, f
		}
	}
	return -1, nil
}

// describe lists the fields, for messages.
func (t *table) describe() string {
	const most = 20
	var b strings.Builder
	for i, f := range t.fields {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(t.fields)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.String())
	}
	return b.String()
}

// errStop ends the reading of rows early, without being a mistake.
var errStop = errors.New("enough rows")

// first returns the cells of the first sample.
func (t *table) first(ctx context.Context) (row, error) {
	var out row
	err := t.rows(ctx, func(r row) error {
		out = r
		out.cells = make([]string, len(t.fields))
		if t.cut == nil {
			copy(out.cells, r.cells)
			return errStop
		}
		if err := t.cut(r.raw, out.cells); err != nil {
			return rowError(r, err)
		}
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return out, err
}

// rowError is a mistake in one sample of a table.
func rowError(r row, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return sourceError(fmt.Sprintf("Sample %d cannot be read", r.index), fmt.Sprintf("%s: %s.", r.where(), err), err)
}

// worker is the memory of one goroutine.
type worker struct {
	cells  []string
	file   []byte
	raw    [][]byte // of one sample of each column
	out    [][]byte // of a batch of each column
	conv   []*converter
	image  imageMemory
	tokens tokenMemory
}

// filler writes the raw elements of a column for a row.
type filler func(w *worker, r row, raw []byte) error

// batchBytes is about how much a worker gathers before it writes.
const batchBytes = 1 << 20

func materialiseTable(ctx context.Context, s Spec, src *source, dir string, progress func(done, total int64)) (Info, error) {
	cols, classes, err := planTable(ctx, s, src)
	if err != nil {
		return Info{}, err
	}
	t := src.table
	pick, err := choose(s, t.count)
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
	index.Classes = classes
	var perSample int64
	for _, c := range cols {
		perSample += c.outSample
	}
	p := &pipeline{table: t, cols: cols, pick: pick, out: out, batch: int(max(1, min(64, batchBytes/perSample))), progress: progress}
	if err := p.run(ctx); err != nil {
		return Info{}, err
	}
	return finish(dir, index, out, progress)
}

// pipeline reads rows in one goroutine and decodes them in as many as there are cores.
type pipeline struct {
	table    *table
	cols     []*column
	pick     *choice
	out      *shards
	batch    int
	progress func(done, total int64)

	done   atomic.Int64
	mu     sync.Mutex // guards what follows, and calls of progress
	bad    error
	badRow int64
}

// item is a row and where it goes.
type item struct {
	row
	to int64
}

func (p *pipeline) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work := make(chan []item, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			w := p.newWorker()
			for items := range work {
				if i, err := p.samples(ctx, w, items); err != nil {
					// Batches are handed out in order, so all before this one are with
					// some worker: the first mistake is told, whichever is found first.
					p.mu.Lock()
					if p.bad == nil || i < p.badRow {
						p.bad, p.badRow = err, i
					}
					p.mu.Unlock()
					stop()
				}
			}
		})
	}
	var items []item
	left := p.pick.kept
	send := func() error {
		select {
		case work <- items:
			items = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := p.table.rows(ctx, func(r row) error {
		to := p.pick.to(r.index)
		if to < 0 {
			return ctx.Err()
		}
		items = append(items, item{r, to})
		if left--; left > 0 && len(items) < p.batch {
			return nil
		}
		if err := send(); err != nil || left > 0 {
			return err
		}
		return errStop
	})
	close(work)
	wg.Wait()
	if p.bad != nil {
		return p.bad
	}
	if err == nil && left > 0 {
		return sourceError("The source changed while it was read", fmt.Sprintf("%d samples were counted in it, and now there are fewer.", p.table.count), nil)
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (p *pipeline) newWorker() *worker {
	w := &worker{cells: make([]string, len(p.table.fields))}
	for _, c := range p.cols {
		w.raw = append(w.raw, aligned(int(c.rawSample)))
		w.out = append(w.out, aligned(int(c.outSample)*p.batch))
		w.conv = append(w.conv, c.conv.fork())
	}
	return w
}

// samples decodes a batch and writes it. With an error comes the sample it is about.
func (p *pipeline) samples(ctx context.Context, w *worker, items []item) (int64, error) {
	consecutive := true
	for k, it := range items {
		consecutive = consecutive && it.to == items[0].to+int64(k)
		r := it.row
		if p.table.cut != nil {
			r.cells = w.cells
			if err := p.table.cut(r.raw, r.cells); err != nil {
				return r.index, rowError(r, err)
			}
		}
		for i, c := range p.cols {
			raw, dst := w.raw[i], w.out[i][int64(k)*c.outSample:int64(k+1)*c.outSample]
			err := c.fill(w, r, raw)
			if err == nil {
				err = w.conv[i].convert(dst, raw, 0)
			}
			var bad *valueError
			if errors.As(err, &bad) {
				m := mover{col: c}
				return r.index, m.valueError(bad, r.index)
			}
			if err != nil {
				return r.index, p.cellError(c, r, err)
			}
		}
	}
	for i, c := range p.cols {
		if consecutive {
			if err := p.out.writeAt(c, w.out[i][:int64(len(items))*c.outSample], items[0].to*c.outSample); err != nil {
				return items[0].index, err
			}
			continue
		}
		for k, it := range items {
			if err := p.out.writeAt(c, w.out[i][int64(k)*c.outSample:int64(k+1)*c.outSample], it.to*c.outSample); err != nil {
				return it.index, err
			}
		}
	}
	done := p.done.Add(int64(len(items)))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress(done, p.pick.kept)
	return 0, nil
}

func (p *pipeline) cellError(c *column, r row, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	detail := err.Error()
	if !strings.HasPrefix(detail, r.where()) { // in a folder the row is the file
		detail = r.where() + ": " + detail
	}
	return &Error{Path: c.path, Summary: fmt.Sprintf("Sample %d has no usable %q", r.index, clip(c.from.name)), Detail: detail + ".", Err: err}
}

// maxFile bounds one image, sound or text.
const maxFile = 1 << 30

// read takes a file of the table into the worker's memory.
func (w *worker) read(dir, name string) ([]byte, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, filepath.FromSlash(name))
	}
	st, err := os.Stat(path) // first: to open a pipe would wait for who writes to it
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case st.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes; up to %d are read", path, st.Size(), maxFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := int(st.Size())
	if cap(w.file) < n {
		w.file = make([]byte, n)
	}
	w.file = w.file[:n]
	if m, err := f.ReadAt(w.file, 0); m < n {
		return nil, truncated(err, "it became shorter while it was read")
	}
	return w.file, nil
}

// pseudo makes an array of a table's field, so that the rest of the planning is one.
func pseudo(name string, d tensor.DType, samples int64, sample []int64) (*array, error) {
	h := header{dtype: d, shape: append([]int64{samples}, sample...)}
	size, err := tensor.Size(d, h.shape)
	h.size = size
	return &array{name: name, header: h}, err
}
