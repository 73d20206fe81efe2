package dataset

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
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

// source is what was opened: arrays, or a table.
type source struct {
	path   string
	arrays []*array // in the order of the file
	table  *table
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

// openSource looks at what lies at path; the file's first bytes decide, and its name
// only between kinds of text. Of the field label a table keeps the different texts.
func openSource(path, label string) (*source, error) {
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
		return nil, sourceError("The source is empty", path+" has no bytes. Write it again.", nil)
	}
	head, err := peek(path)
	if err != nil {
		return nil, sourceError("The source cannot be read", err.Error(), err)
	}
	if open := tableOf(path, head); open != nil {
		t, err := open(path, label)
		if err != nil {
			return nil, err
		}
		return &source{path: path, table: t, close: func() error { return nil }}, nil
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
	case bytes.HasPrefix(head, npyMagic), isIDX(head), bytes.HasPrefix(head, gzipMagic):
		a := &array{name: stem(path)}
		a.load(size, func() (io.ReadCloser, error) {
			return unpacked(io.NopCloser(io.NewSectionReader(r, 0, size)))
		})
		if a.bad != nil {
			return nil, sourceError("The source is not a whole array", fmt.Sprintf("%s: %s.", path, a.bad), a.bad)
		}
		return &source{path: path, arrays: []*array{a}}, nil
	case bytes.HasPrefix(head, []byte("PK")):
		return readArchive(r, size, path)
	default:
		return nil, sourceError("The source is of no known format", path+guess(head)+". Known are .npz and .npy of NumPy, IDX, .csv, .tsv, .jsonl, and folders of images, sounds, texts or arrays.", nil)
	}
}

// guess names formats that are often tried.
func guess(head []byte) string {
	for magic, what := range map[string]string{
		"\x89HDF": "HDF5", "PAR1": "Parquet", "\x80\x02": "a Python pickle", "\x80\x03": "a Python pickle",
		"\x80\x04": "a Python pickle", "\xff\xfe": "text in UTF-16; save it as UTF-8", "\xfe\xff": "text in UTF-16; save it as UTF-8",
		"[": "a JSON array; write it as JSON lines, one object on each line", "\x89PNG": "a PNG image", "\xff\xd8\xff": "a JPEG image", "ARROW1": "Arrow",
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

// maxArrays bounds the entries of an archive: one of 50 bytes may be a lie that takes
// ten times as much to tell.
const maxArrays = 1 << 14

func readArchive(r io.ReaderAt, size int64, path string) (*source, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, sourceError("The source is not a whole .npz file",
			fmt.Sprintf("%s begins as a zip archive does, but its directory at the end cannot be read (%s). The file is probably truncated: copy or write it again.", path, err), err)
	}
	s := &source{path: path}
	seen := make(map[string]bool)
	if len(z.File) > maxArrays {
		return nil, sourceError("The source holds too many arrays", fmt.Sprintf("%s is a zip archive with %d entries; up to %d are read.", path, len(z.File), maxArrays), nil)
	}
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

// openFolder takes every array of a folder as a field; without any it is a folder of
// images, sounds or texts.
func openFolder(path string) (*source, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, sourceError("The source cannot be read", err.Error(), err)
	}
	s := &source{path: path, close: func() error { return nil }}
	for _, e := range entries {
		file := filepath.Join(path, e.Name())
		if e.IsDir() || !isArrayName(e.Name()) {
			continue
		}
		a := &array{name: stem(e.Name())}
		if s.find(a.name) != nil {
			return nil, sourceError("Two files are one field", fmt.Sprintf("The folder %s has the field %q twice.", path, clip(a.name)), nil)
		}
		s.arrays = append(s.arrays, a)
		st, err := os.Stat(file)
		if err != nil {
			a.bad = err
			continue
		}
		if !st.Mode().IsRegular() {
			a.bad = errors.New("it is not a regular file")
			continue
		}
		a.load(st.Size(), func() (io.ReadCloser, error) {
			f, err := os.Open(file)
			if err != nil {
				return nil, err
			}
			return unpacked(f)
		})
	}
	if len(s.arrays) > 0 {
		return s, nil
	}
	s.table, err = openFiles(path, entries)
	return s, err
}

// isArrayName tells whether a file of a folder is an array: .npy or IDX, under gzip or not.
func isArrayName(name string) bool {
	bare := strings.TrimSuffix(name, ".gz")
	return bare != ".npy" && strings.HasSuffix(bare, ".npy") || strings.HasSuffix(bare, "-ubyte") || strings.HasSuffix(bare, ".ubyte") || strings.HasSuffix(bare, ".idx")
}

var gzipMagic = []byte("\x1f\x8b")

// peek returns the first bytes of a file, under gzip those that were packed.
func peek(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := unpacked(f)
	if err != nil {
		return nil, nil // whoever opens it for good says why
	}
	defer r.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(r, head)
	return head[:n], nil
}

// tableOf chooses how a file of text is read; nil when it is none.
func tableOf(path string, head []byte) func(path, label string) (*table, error) {
	text := bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	if len(text) == 0 || bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	if isCSV(path) {
		return openCSV
	}
	if ext := textExt(path); ext == ".jsonl" || ext == ".ndjson" {
		return openJSONL
	}
	if text = bytes.TrimSpace(text); len(text) > 1 && text[0] == '{' && bytes.IndexByte(text, '"') > 0 {
		return openJSONL
	}
	return nil
}

// textExt is the end of a file's name, without the one of gzip.
func textExt(path string) string {
	return strings.ToLower(filepath.Ext(strings.TrimSuffix(path, ".gz")))
}

func isCSV(path string) bool { ext := textExt(path); return ext == ".csv" || ext == ".tsv" }

// unpacked reads through gzip where there is one. It owns r.
func unpacked(r io.ReadCloser) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	if head, _ := b.Peek(2); !bytes.Equal(head, gzipMagic) {
		return readCloser{b, r}, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		_ = r.Close() // it was only read
		return nil, fmt.Errorf("its gzip cannot be read: %w", err)
	}
	return gzipped{bufio.NewReaderSize(z, 1<<16), r}, nil
}

// gzipped marks a reader whose length is not that of its file.
type gzipped struct {
	io.Reader
	io.Closer
}

// load reads the header, checks it against the bytes there are, and keeps how to get
// at the elements.
func (a *array) load(size int64, open func() (io.ReadCloser, error)) {
	r, err := open()
	if err != nil {
		a.bad = err
		return
	}
	_, packed := r.(gzipped)
	b := bufio.NewReaderSize(r, 512) // an archive has many, and headers are short
	if head, _ := b.Peek(4); isIDX(head) {
		a.header, err = readIDXHeader(b)
	} else {
		a.header, err = readHeader(b)
	}
	_ = r.Close() // it was only read, and only in part
	if err != nil {
		a.bad = err
		return
	}
	switch {
	case packed && a.size/maxDeflate > size:
		a.bad = fmt.Errorf("its header promises %s, %d bytes, which its %d compressed bytes cannot hold", a.header, a.size, size)
	case !packed && a.size > size-a.offset:
		a.bad = fmt.Errorf("its header promises %s, %d bytes, but only %d follow; the file is truncated", a.header, a.size, max(size-a.offset, 0))
	}
	if a.bad != nil {
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
