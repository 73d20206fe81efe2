package tensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxHeader is the limit of the reference implementation on the JSON header.
const maxHeader = 100_000_000

// FormatError says why a file is not what it should be.
type FormatError struct {
	Path   string // "" when the bytes did not come from a file
	Reason string
}

func (e *FormatError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

// Info names a tensor and says what it is, without its bytes.
type Info struct {
	Name  string
	DType DType
	Shape []int64
}

// Named is a tensor with its name in a file.
type Named struct {
	Name   string
	Tensor Tensor
}

// File is a safetensors file open for reading. Its tensors alias the mapped file:
// they are read-only and must not be used after Close. It may be used by several
// goroutines at once, except for Close.
type File struct {
	names    []string
	entries  map[string]entry
	metadata map[string]string
	unmap    func() error
}

type entry struct {
	info Info
	data []byte
}

// Open maps a safetensors file and validates its header: every tensor's type,
// shape and range is checked, so that Tensor cannot fail on a good name. The file
// must not shrink while it is open. A bad file is a *[FormatError].
func Open(path string) (*File, error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size() < 8 {
		return nil, &FormatError{path, fmt.Sprintf("is no safetensors file: it has %d bytes, fewer than its header's length takes", st.Size())}
	}
	if st.Size() > int64(maxInt) {
		return nil, &FormatError{path, "is too large for this machine's address space"}
	}
	data, unmap, err := mapFile(f, int(st.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: map into memory: %w", path, err)
	}
	file, err := Parse(data)
	if err != nil {
		err = errors.Join(err, unmap())
		var bad *FormatError
		if errors.As(err, &bad) {
			return nil, &FormatError{path, bad.Reason}
		}
		return nil, err
	}
	file.unmap = unmap
	return file, nil
}

const maxInt = int(^uint(0) >> 1)

// Parse reads a safetensors file that is already in memory; its tensors alias data.
func Parse(data []byte) (*File, error) {
	bad := func(format string, args ...any) (*File, error) {
		return nil, &FormatError{Reason: "is no safetensors file: " + fmt.Sprintf(format, args...)}
	}
	if len(data) < 8 {
		return bad("it has %d bytes, fewer than its header's length takes", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return bad("it claims a header of %d bytes; the format allows %d", n, maxHeader)
	}
	if n > uint64(len(data)-8) {
		return bad("its header takes %d bytes, but only %d follow; the file is truncated", n, len(data)-8)
	}
	infos, ranges, metadata, err := parseHeader(data[8 : 8+n])
	if err != nil {
		return bad("%s", err)
	}
	body := data[8+n:]
	order := make([]int, len(infos))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := ranges[a][0] - ranges[b][0]; c != 0 {
			return sign(c)
		}
		return sign(ranges[a][1] - ranges[b][1]) // empty tensors come first
	})
	f := &File{names: make([]string, 0, len(infos)), entries: make(map[string]entry, len(infos)), metadata: metadata}
	var at int64
	for _, i := range order {
		in, r := infos[i], ranges[i]
		if _, twice := f.entries[in.Name]; twice {
			return bad("its header names %q twice", clip(in.Name))
		}
		size, err := Size(in.DType, in.Shape)
		if err != nil {
			return bad("tensor %q: %s", clip(in.Name), err)
		}
		if r[0] != at || r[1]-r[0] != size {
			return bad("tensor %q is %s of shape %v, so it takes bytes %d to %d, but the header says %d to %d",
				clip(in.Name), in.DType, in.Shape, at, at+size, r[0], r[1])
		}
		if r[1] > int64(len(body)) {
			return bad("tensor %q ends at byte %d of %d; the file is truncated", clip(in.Name), r[1], len(body))
		}
		at = r[1]
		f.names = append(f.names, in.Name)
		f.entries[in.Name] = entry{in, body[r[0]:r[1]:r[1]]}
	}
	if at != int64(len(body)) {
		return bad("its tensors take %d bytes, but %d follow the header", at, len(body))
	}
	return f, nil
}

func sign(v int64) int {
	switch {
	case v < 0:
		return -1
	case v > 0:
		return 1
	}
	return 0
}

// Names returns the tensors' names in the order of their bytes in the file.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Info returns type and shape of a tensor, and false when there is none of that name.
func (f *File) Info(name string) (Info, bool) {
	e, ok := f.entries[name]
	return e.info, ok
}

// Tensor returns the tensor of that name; its bytes alias the file.
func (f *File) Tensor(name string) (Tensor, error) {
	e, ok := f.entries[name]
	if !ok {
		return Tensor{}, fmt.Errorf("there is no tensor %q; the file has %s", clip(name), list(f.names))
	}
	return Tensor{DType: e.info.DType, Shape: slices.Clone(e.info.Shape), Data: e.data}, nil
}

// Metadata returns the file's string map, nil when it has none. Do not write to it.
func (f *File) Metadata() map[string]string { return f.metadata }

// Close unmaps the file; its tensors must not be used any more. A second Close does nothing.
func (f *File) Close() error {
	f.names, f.entries = nil, nil
	if f.unmap == nil {
		return nil
	}
	unmap := f.unmap
	f.unmap = nil
	return unmap()
}

// list joins names for a message, at most a dozen of them.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	shown := names[:min(len(names), 12)]
	quoted := make([]string, len(shown))
	for i, n := range shown {
		quoted[i] = fmt.Sprintf("%q", clip(n))
	}
	s := strings.Join(quoted, ", ")
	if more := len(names) - len(shown); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
