package tensor

import (
	"errors"
	"fmt"
	"math"
	"os"
)

// Map maps a file for reading and returns its bytes, which must not be written to.
// unmap ends it; nothing taken from the bytes may be used afterwards. Map only files
// that nobody shortens meanwhile, such as those of the store: reading beyond the end
// of a mapped file kills the process. What is not a regular file is an error.
func Map(path string) (data []byte, unmap func() error, err error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return mapOpen(f, st)
}

// MapOpen is Map for a file that is open; the mapping outlives it.
func MapOpen(f *os.File) (data []byte, unmap func() error, err error) {
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", f.Name())
	}
	if err != nil {
		return nil, nil, err
	}
	return mapOpen(f, st)
}

func mapOpen(f *os.File, st os.FileInfo) (data []byte, unmap func() error, err error) {
	path := f.Name()
	switch {
	case st.Size() > math.MaxInt:
		return nil, nil, fmt.Errorf("%s is too large for this machine", path)
	case st.Size() == 0:
		return nil, func() error { return nil }, nil
	}
	data, unmap, err = mapFile(f, int(st.Size()))
	if err != nil {
		return nil, nil, fmt.Errorf("map %s: %w", path, err)
	}
	return data, unmap, nil
}

// openRegular opens a file and refuses what is none. It asks before it opens: to open a
// pipe would wait for who writes to it.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() { // another one by now
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, st, nil
}
