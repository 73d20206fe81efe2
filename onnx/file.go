package onnx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"github.com/optimize-hcl/optimize/tensor"
)

// ModelFile returns the file of a model: path itself, or where that is a folder, as of
// a model with its weights in a file of their own, the one in it that ends in .onnx.
func ModelFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return path, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	found := ""
	for _, e := range entries {
		if e.IsDir() || !strings.EqualFold(filepath.Ext(e.Name()), ".onnx") {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("the folder %s holds more than one model, %s and %s: leave one in it", path, found, e.Name())
		}
		found = e.Name()
	}
	if found == "" {
		return "", fmt.Errorf("the folder %s holds no file that ends in .onnx", path)
	}
	return filepath.Join(path, found), nil
}

// ReadFile reads a model into memory (see ModelFile), and with it the data that its
// tensors keep in other files beside it. A file outside the model's folder is refused, also by
// way of a link. The model holds all data itself afterwards.
func ReadFile(path string) (*Model, error) {
	path, err := ModelFile(path)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	b, err := readRegular(path)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	m, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read model %s: %w", path, err)
	}
	if err := m.LoadExternal(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("read model %s: %w", path, err)
	}
	return m, nil
}

// MapFile is ReadFile for a file that nobody changes, such as one of the store: it is
// mapped, so that weights are read from the disk when they are used and take no memory
// of their own; so are the files beside it that hold its data. close ends the mappings;
// the model and all that was taken from it must not be used afterwards.
func MapFile(path string) (m *Model, close func() error, err error) {
	if path, err = ModelFile(path); err != nil {
		return nil, nil, fmt.Errorf("read model: %w", err)
	}
	var unmaps []func() error
	close = func() error {
		var err error
		for _, u := range unmaps {
			err = errors.Join(err, u())
		}
		return err
	}
	b, unmap, err := tensor.Map(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read model: %w", err)
	}
	unmaps = append(unmaps, unmap)
	mapped := []mappedFile{{path, b}}
	if m, err = Parse(b); err == nil {
		err = m.loadExternal(filepath.Dir(path), func(f *os.File) ([]byte, error) {
			b, unmap, err := tensor.MapOpen(f)
			if err == nil {
				unmaps, mapped = append(unmaps, unmap), append(mapped, mappedFile{f.Name(), b})
			}
			return b, err
		})
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read model %s: %w", path, err), close())
	}
	m.mapped = mapped
	return m, close, nil
}

// mappedFile is a file that MapFile mapped.
type mappedFile struct {
	path  string
	bytes []byte
}

// Release tells the system that a part of a mapped model (MapFile), such as the raw data
// of a tensor, is not needed soon: its pages go, and come back from the file when they
// are read again. It is a hint for steps that read each weight once and want to stay
// small; with any other memory it does nothing.
func (m *Model) Release(raw []byte) {
	for _, file := range m.mapped {
		if partOf(raw, file.bytes) {
			tensor.Release(raw)
		}
	}
}

// partOf tells whether b is a part of whole's memory.
func partOf(b, whole []byte) bool {
	_, ok := offsetIn(b, whole)
	return ok
}

// offsetIn tells where in whole's memory b is.
func offsetIn(b, whole []byte) (at int64, ok bool) {
	if len(b) == 0 || len(whole) == 0 {
		return 0, false
	}
	p, from := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	if p < from || p+uintptr(len(b)) > from+uintptr(len(whole)) {
		return 0, false
	}
	return int64(p - from), true
}

// readRegular reads a whole file, and refuses what is none: a device has no end, and to
// open a pipe would wait for who writes to it.
func readRegular(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if info.Size() > math.MaxInt-1 {
		return nil, fmt.Errorf("%s is too large for this machine", path)
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// LoadExternal loads the data that tensors keep in files under dir: what they name of
// each file, and no more of it. Tensors that name the same bytes share them. Nothing
// changes on an error.
func (m *Model) LoadExternal(dir string) error { return m.loadExternal(dir, nil) }

func (m *Model) loadExternal(dir string, mapped mapper) error {
	var external []*Tensor
	for t := range m.AllTensors() {
		if t.IsExternal() {
			external = append(external, t)
		}
	}
	if len(external) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the folder of its external data: %w", err)
	}
	defer root.Close()
	data, err := readExternal(root, external, mapped)
	if err != nil {
		return err
	}
	for i, t := range external {
		t.setRaw(data[i])
	}
	return nil
}

// AllTensors walks the initializers and the tensors in attributes, subgraphs
// included.
func (m *Model) AllTensors() func(yield func(*Tensor) bool) {
	return func(yield func(*Tensor) bool) {
		if m.Graph != nil {
			m.Graph.walkTensors(yield)
		}
	}
}

func (g *Graph) walkTensors(yield func(*Tensor) bool) bool {
	for t := range g.Initializers() {
		if !yield(t) {
			return false
		}
	}
	for n := range g.Nodes() {
		for _, a := range n.attrs {
			if a.T != nil && !yield(a.T) {
				return false
			}
			for _, t := range a.Tensors() {
				if !yield(t) {
					return false
				}
			}
			for _, s := range a.Graphs() {
				if !s.walkTensors(yield) {
					return false
				}
			}
		}
	}
	return true
}

// WriteFile writes the model under a temporary name beside path and renames it, so
// that path never holds a part of it, whatever happens to the process. Weights are
// written from where they are, without a copy in memory. A model over 2 GiB is a
// *TooLargeError; WriteFileExternal writes it.
//
// It does not wait for the disk, as Python's onnx.save does not: what a step hands
// over is synced by the store that takes it, once. WriteFileSync is for a file that
// has to be there after a power failure too.
func (m *Model) WriteFile(path string) error { return m.writeFile(path, false) }

// WriteFileSync is WriteFile for a file that nobody else makes durable: it returns
// when the bytes and the name are on the disk, which takes as long as the disk needs.
func (m *Model) WriteFileSync(path string) error { return m.writeFile(path, true) }

func (m *Model) writeFile(path string, durable bool) error {
	chunks, _, err := m.encode()
	if err != nil {
		return fmt.Errorf("write model %s: %w", path, err)
	}
	if err := writeChunks(path, chunks, durable); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

// externalAlign is where tensors begin in a data file: at a page, so that a
// runtime can map them.
const externalAlign = 4096

// WriteFileExternal writes the model with the raw data of every initializer of at
// least minBytes in a second file beside it, path with ".data" appended. It is for
// models over 2 GiB; the model in memory keeps its data. Each of the two files is
// written as WriteFile writes one, the data first.
func (m *Model) WriteFileExternal(path string, minBytes int) error {
	dataPath := path + ".data"
	m.completeInputs()
	var data [][]byte
	var offset int64
	outside := *m
	// The graph is copied as far as its initializers: nodes are only read.
	g := *m.Graph
	outside.raw, outside.Graph = nil, &g
	g.inits = append([]*Tensor(nil), m.Graph.inits...)
	for i, t := range g.inits {
		if t == nil || !t.hasData() || len(t.Raw) < max(1, minBytes) {
			continue
		}
		if pad := -offset & (externalAlign - 1); pad > 0 {
			data = append(data, make([]byte, pad))
			offset += pad
		}
		e := *t
		e.SetExternal(filepath.Base(dataPath), offset, int64(len(t.Raw)))
		data, offset = append(data, t.Raw), offset+int64(len(t.Raw))
		g.inits[i] = &e
	}
	chunks, _, err := outside.encode()
	if err != nil {
		return fmt.Errorf("write model %s: %w", path, err)
	}
	// The data first: a model is never there without them.
	if err := writeChunks(dataPath, data, false); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	if err := writeChunks(path, chunks, false); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

// writeChunks makes a file of the pieces; durable: it is on the disk afterwards.
func writeChunks(path string, chunks [][]byte, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	for _, c := range chunks {
		populate(c)
		if _, err = f.Write(c); err != nil {
			return err
		}
	}
	// CreateTemp makes files for the owner alone; a model is an ordinary file.
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil || !durable {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename last. Where folders cannot be synced (Windows, some
// network file systems), the file system does that itself or there is no way.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
