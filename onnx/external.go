package onnx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// place is where the data of a tensor are: bytes of a file beside the model.
type place struct {
	tensor         int // its index
	location       string
	offset, length int64
}

// externalPlace reads the place from the tensor's entries.
func (t *Tensor) externalPlace() (p place, err error) {
	p.length = -1
	for _, e := range t.External() {
		switch e.Key {
		case "location":
			p.location = e.Value
		case "offset":
			p.offset, err = strconv.ParseInt(e.Value, 10, 64)
		case "length":
			p.length, err = strconv.ParseInt(e.Value, 10, 64)
		}
		if err != nil || p.offset < 0 || p.length < -1 {
			return p, fmt.Errorf("external data %s = %q is not a number of bytes", e.Key, e.Value)
		}
	}
	if p.location == "" {
		return p, errors.New("its external data name no file")
	}
	if !filepath.IsLocal(p.location) {
		return p, fmt.Errorf("its external data are in %q, outside the model's folder, which is refused", p.location)
	}
	if p.length < 0 {
		if p.length = t.Bytes(); p.length < 0 {
			return p, fmt.Errorf("its external data have no length, and %s%v does not give one", t.DataType, t.Dims)
		}
	}
	return p, nil
}

// mapper maps a file that nobody changes and keeps what ends that; nil: files are read.
type mapper func(*os.File) ([]byte, error)

// readExternal returns the data of each tensor.
func readExternal(root *os.Root, tensors []*Tensor, mapped mapper) ([][]byte, error) {
	files := map[string][]place{}
	var order []string
	for i, t := range tensors {
		p, err := t.externalPlace()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.name, err)
		}
		p.tensor = i
		p.location = filepath.Clean(p.location) // one file under many names would be read as often
		if files[p.location] == nil {
			order = append(order, p.location)
		}
		files[p.location] = append(files[p.location], p)
	}
	data := make([][]byte, len(tensors))
	for _, name := range order {
		if err := readPlaces(root, name, files[name], tensors, data, mapped); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// joinGap is how far apart two tensors may be in a file and still be read as one.
const joinGap = 64 << 10

// readPlaces reads the named parts of one file, those that lie close together at once.
func readPlaces(root *os.Root, name string, places []place, tensors []*Tensor, data [][]byte, mapped mapper) error {
	first := tensors[places[0].tensor].name
	info, err := root.Stat(name) // first: to open a pipe would wait for who writes to it
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("tensor %q: its external data file %q is missing: put it beside the model, and where its name does not begin with the model's, name the folder of both as the source", first, name)
	case err != nil:
		if to, e := root.Readlink(name); e == nil {
			return fmt.Errorf("tensor %q: its external data file %q cannot be read: it is a link to %q; a link out of the model's folder is refused, so put the file itself there: %w", first, name, to, err)
		}
		return fmt.Errorf("tensor %q: its external data file %q cannot be read: a link out of the model's folder is refused, so put the file itself there: %w", first, name, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("tensor %q: its external data file %q cannot be read: it is not a file", first, name)
	}
	f, err := root.Open(name)
	if err != nil {
		return fmt.Errorf("tensor %q: its external data file %q cannot be read: %w", first, name, err)
	}
	defer f.Close()
	for _, p := range places {
		if size := info.Size(); p.offset > size || p.length > size-p.offset {
			return fmt.Errorf("tensor %q: its external data are the %d bytes of %q from byte %d on, but it has only %d", tensors[p.tensor].name, p.length, name, p.offset, size)
		}
		if t := tensors[p.tensor]; t.Bytes() >= 0 && p.length != t.Bytes() {
			return fmt.Errorf("tensor %q: its external data are %d bytes, and %s%v takes %d", t.name, p.length, t.DataType, t.Dims, t.Bytes())
		}
	}
	if mapped != nil {
		b, err := mapped(f)
		if err == nil && int64(len(b)) < info.Size() {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("tensor %q: its external data file %q cannot be mapped: %w", first, name, err)
		}
		for _, p := range places {
			data[p.tensor] = b[p.offset : p.offset+p.length : p.offset+p.length]
		}
		return nil
	}
	slices.SortStableFunc(places, func(a, b place) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	})
	for len(places) > 0 {
		start, end, n := places[0].offset, places[0].offset+places[0].length, 1
		for n < len(places) && places[n].offset <= end+joinGap {
			end = max(end, places[n].offset+places[n].length)
			n++
		}
		if end-start > math.MaxInt {
			return fmt.Errorf("tensor %q: its external data are too large for this machine", first)
		}
		b := make([]byte, end-start)
		if _, err := f.ReadAt(b, start); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("tensor %q: its external data file %q cannot be read: %w", first, name, err)
		}
		for _, p := range places[:n] {
			from := p.offset - start
			data[p.tensor] = b[from : from+p.length : from+p.length]
		}
		places = places[n:]
	}
	return nil
}
