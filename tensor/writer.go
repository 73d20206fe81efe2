package tensor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
)

// Writer fills a safetensors file tensor by tensor, in any order and in pieces, so
// that no tensor need ever be whole in memory. The file appears under its name only
// when Close succeeds. WriteAt may be called by several goroutines at once; the rest
// may not.
type Writer struct {
	path, tmp string
	f         *os.File
	spans     map[string]*span
	order     []string
}

// span is a tensor's place in the file: where it begins, its size, and how many
// bytes of it were written.
type span struct {
	begin, size int64
	done        atomic.Int64
}

// Create starts a file with these tensors, in this order. The bytes of the header
// depend on the arguments only. Types and shapes are checked; a name given twice or
// "__metadata__" is an error.
func Create(path string, infos []Info, metadata map[string]string) (*Writer, error) {
	head, size, spans, order, err := header(infos, metadata)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f, err := createTemp(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, tmp: f.Name(), f: f, spans: spans, order: order}
	if _, err := f.Write(head); err != nil {
		w.Abort()
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// header lays out the file: length, JSON padded with spaces to 8 bytes, tensors.
func header(infos []Info, metadata map[string]string) (head []byte, size int64, spans map[string]*span, order []string, err error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if len(metadata) > 0 {
		m, err := json.Marshal(metadata) // sorts the keys
		if err != nil {
			return nil, 0, nil, nil, err
		}
		b.WriteString(`"__metadata__":`)
		b.Write(m)
	}
	spans = make(map[string]*span, len(infos))
	var at int64
	for _, in := range infos {
		if in.Name == "__metadata__" || spans[in.Name] != nil {
			return nil, 0, nil, nil, fmt.Errorf("the name %q is reserved or given twice", clip(in.Name))
		}
		n, err := Size(in.DType, in.Shape)
		if err == nil && at+n < at {
			err = errors.New("the file would have more bytes than 64 bits can count")
		}
		if err != nil {
			return nil, 0, nil, nil, fmt.Errorf("tensor %q: %w", clip(in.Name), err)
		}
		shape := in.Shape
		if shape == nil {
			shape = []int64{} // null is not a shape
		}
		key, err := json.Marshal(in.Name)
		if err != nil {
			return nil, 0, nil, nil, err
		}
		val, err := json.Marshal(struct {
			DType   DType    `json:"dtype"`
			Shape   []int64  `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{in.DType, shape, [2]int64{at, at + n}})
		if err != nil {
			return nil, 0, nil, nil, err
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(val)
		spans[in.Name] = &span{begin: at, size: n}
		order = append(order, in.Name)
		at += n
	}
	b.WriteByte('}')
	b.WriteString(strings.Repeat(" ", (8-b.Len()%8)%8))
	head = b.Bytes()
	if len(head)-8 > maxHeader {
		return nil, 0, nil, nil, fmt.Errorf("the header would take %d bytes; the format allows %d", len(head)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	for _, s := range spans {
		s.begin += int64(len(head))
	}
	return head, at + int64(len(head)), spans, order, nil
}

// createTemp makes a new file beside path. Unlike os.CreateTemp it leaves the mode
// to the user's umask, since the file is renamed to what others may read.
func createTemp(path string) (*os.File, error) {
	for range 100 {
		f, err := os.OpenFile(fmt.Sprintf("%s.%08x.tmp", path, rand.Uint32()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("%s: no temporary name beside it is free", path)
}

// Write appends chunk to the tensor of that name. Writing past its end is an error.
func (w *Writer) Write(name string, chunk []byte) error {
	var at int64
	if s := w.spans[name]; s != nil {
		at = s.done.Load()
	}
	return w.WriteAt(name, chunk, at)
}

// WriteAt puts chunk off bytes after the beginning of the tensor of that name. Each
// byte must be written once: Close counts them. Writing outside the tensor is an error.
func (w *Writer) WriteAt(name string, chunk []byte, off int64) error {
	s := w.spans[name]
	if s == nil {
		return fmt.Errorf("%s: there is no tensor %q; the file has %s", w.path, clip(name), list(w.order))
	}
	if w.f == nil {
		return fmt.Errorf("%s: already closed", w.path)
	}
	if off < 0 || off > s.size || int64(len(chunk)) > s.size-off {
		return fmt.Errorf("%s: tensor %q takes %d bytes; %d bytes at %d lie outside", w.path, clip(name), s.size, len(chunk), off)
	}
	n, err := w.f.WriteAt(chunk, s.begin+off)
	s.done.Add(int64(n))
	return err
}

// Close checks that every tensor is complete and gives the file its name, replacing
// one that was there. It does not sync: who stores the file for good does. When it
// fails, nothing is left behind. After Close or Abort the Writer is spent.
func (w *Writer) Close() error {
	if w.f == nil {
		return fmt.Errorf("%s: already closed", w.path)
	}
	for _, name := range w.order {
		if s := w.spans[name]; s.done.Load() != s.size {
			w.Abort()
			return fmt.Errorf("%s: tensor %q takes %d bytes, but %d were written", w.path, clip(name), s.size, s.done.Load())
		}
	}
	err := w.f.Close()
	w.f = nil
	if err == nil {
		err = os.Rename(w.tmp, w.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.tmp))
	}
	return nil
}

// Abort throws the file away; after Close it does nothing, so it can be deferred.
func (w *Writer) Abort() {
	if w.f == nil {
		return
	}
	// Nothing can be done about a failure here, and the cause is on its way up.
	_ = w.f.Close()
	_ = os.Remove(w.tmp)
	w.f = nil
}

// WriteFile writes tensors in the order given. The bytes depend on the arguments
// only. The file is written beside path and renamed, so it is never seen in part.
func WriteFile(path string, tensors []Named, metadata map[string]string) error {
	infos := make([]Info, len(tensors))
	for i, t := range tensors {
		if err := t.Tensor.Validate(); err != nil {
			return fmt.Errorf("%s: tensor %q: %w", path, clip(t.Name), err)
		}
		infos[i] = Info{t.Name, t.Tensor.DType, t.Tensor.Shape}
	}
	w, err := Create(path, infos, metadata)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, t := range tensors {
		if err := w.Write(t.Name, t.Tensor.Data); err != nil {
			return err
		}
	}
	return w.Close()
}
