package dataset

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// array is one field of a source. Its elements are read as a stream.
type array struct {
	name string
	header
	bad  error // why the array cannot be read at all; told when it is asked for
	open func() (io.ReadCloser, error)
}

// source is an opened .npz, .npy or folder.
type source struct {
	path   string
	arrays []*array // in the order of the file
	close  func() error
}

func (s *source) find(name string) *array {
	for _, a := range s.arrays {
		if a.name == name {
			return a
		}
	}
	return nil
}

// fields lists what there is, for messages.
func (s *source) fields() string {
	if len(s.arrays) == 0 {
		return "none"
	}
	const most = 20
	var b strings.Builder
	for i, a := range s.arrays {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(s.arrays)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(clip(a.name))
		if a.bad != nil {
			b.WriteString(" (unreadable)")
		} else {
			b.WriteString(" " + a.header.String())
		}
	}
	return b.String()
}

// openSource looks at what lies at path; the file's first bytes decide, not its name.
func openSource(path string) (*source, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, sourceError("There is no such file or folder", path+" does not exist. A path in a recipe is relative to the recipe's folder.", err)
	case err != nil:
		return nil, sourceError("The source cannot be read", err.Error(), err)
	case st.IsDir():
		return openFolder(path)
	case !st.Mode().IsRegular():
		return nil, sourceError("The source is neither a file nor a folder", path+" is a device, pipe or socket.", nil)
	case st.Size() == 0:
		return nil, sourceError("The source is empty", path+" has no bytes. Write it again with numpy.savez or numpy.save.", nil)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, sourceError("The source cannot be read", err.Error(), err)
	}
	s, err := readSource(f, st.Size(), path)
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	s.close = f.Close
	return s, nil
}

// readSource reads the fields of an archive or of a single array.
func readSource(r io.ReaderAt, size int64, path string) (*source, error) {
	var magic [8]byte
	n, err := r.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, sourceError("The source cannot be read", err.Error(), err)
	}
	switch head := magic[:n]; {
	case bytes.HasPrefix(head, npyMagic):
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		a := &array{name: name}
		a.load(size, func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(r, 0, size)), nil
		})
		if a.bad != nil {
			return nil, sourceError("The source is not a whole NumPy array", fmt.Sprintf("%s: %s.", path, a.bad), a.bad)
		}
		return &source{path: path, arrays: []*array{a}}, nil
	case bytes.HasPrefix(head, []byte("PK")):
		return readArchive(r, size, path)
	default:
		return nil, sourceError("The source is neither an .npz nor an .npy file", path+guess(head)+". Write it with numpy.savez (several fields) or numpy.save (one).", nil)
	}
}

// guess names formats that are often tried.
func guess(head []byte) string {
	for magic, what := range map[string]string{
		"\x89HDF": "HDF5", "PAR1": "Parquet", "\x1f\x8b": "gzip", "\x80\x02": "a Python pickle", "\x80\x03": "a Python pickle",
		"\x80\x04": "a Python pickle", "\x89PNG": "a PNG image", "\xff\xd8\xff": "a JPEG image", "ARROW1": "Arrow",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return " looks like " + what
		}
	}
	return " begins with " + fmt.Sprintf("%q", head)
}

// maxDeflate is how far deflate can compress: 258 bytes in two bits, and the rest of
// a block only worsens it. An entry that claims more than this is a lie.
const maxDeflate = 1032

func readArchive(r io.ReaderAt, size int64, path string) (*source, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, sourceError("The source is not a whole .npz file",
			fmt.Sprintf("%s begins as a zip archive does, but its directory at the end cannot be read (%s). The file is probably truncated: copy or write it again.", path, err), err)
	}
	s := &source{path: path}
	seen := make(map[string]bool)
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			continue // numpy.savez writes nothing else, but people add notes
		}
		if seen[name] {
			return nil, sourceError("The source has a field twice", fmt.Sprintf("%s holds %q more than once.", path, clip(f.Name)), nil)
		}
		seen[name] = true
		a := &array{name: name}
		s.arrays = append(s.arrays, a)
		switch limit := f.CompressedSize64; {
		case f.Flags&1 != 0:
			a.bad = errors.New("it is encrypted")
		case f.Method != zip.Store && f.Method != zip.Deflate:
			a.bad = fmt.Errorf("it is compressed by method %d of zip; numpy.savez and numpy.savez_compressed write what can be read", f.Method)
		case limit > uint64(size) || f.UncompressedSize64/maxDeflate > limit:
			a.bad = fmt.Errorf("it claims to be %d bytes long, which its %d compressed bytes in a file of %d cannot hold", f.UncompressedSize64, limit, size)
		default:
			a.load(int64(f.UncompressedSize64), f.Open)
		}
	}
	if len(s.arrays) == 0 {
		return nil, sourceError("The source holds no arrays", fmt.Sprintf("%s is a zip archive with %d entries, but none is an .npy array. Write it with numpy.savez.", path, len(z.File)), nil)
	}
	return s, nil
}

// openFolder takes every .npy file of a folder as a field.
func openFolder(path string) (*source, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, sourceError("The source cannot be read", err.Error(), err)
	}
	s := &source{path: path, close: func() error { return nil }}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".npy")
		if !ok || name == "" || e.IsDir() {
			continue
		}
		a := &array{name: name}
		s.arrays = append(s.arrays, a)
		file := filepath.Join(path, e.Name())
		st, err := os.Stat(file)
		if err != nil {
			a.bad = err
			continue
		}
		if !st.Mode().IsRegular() {
			a.bad = errors.New("it is not a regular file")
			continue
		}
		a.load(st.Size(), func() (io.ReadCloser, error) { return os.Open(file) })
	}
	if len(s.arrays) == 0 {
		return nil, sourceError("The source holds no arrays", fmt.Sprintf("The folder %s has %d entries, but none ends in .npy. Write each field with numpy.save.", path, len(entries)), nil)
	}
	return s, nil
}

// load reads the header, checks it against the bytes there are, and keeps how to get
// at the elements.
func (a *array) load(size int64, open func() (io.ReadCloser, error)) {
	r, err := open()
	if err != nil {
		a.bad = err
		return
	}
	a.header, err = readHeader(r)
	_ = r.Close() // it was only read, and only in part
	if err != nil {
		a.bad = err
		return
	}
	if a.size > size-a.offset {
		a.bad = fmt.Errorf("its header promises %s, %d bytes, but only %d follow; the file is truncated", a.header, a.size, max(size-a.offset, 0))
		return
	}
	skip := a.offset
	a.open = func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, r, skip); err != nil {
			_ = r.Close()
			return nil, err
		}
		return r, nil
	}
}
