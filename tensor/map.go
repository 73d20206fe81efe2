package tensor

import (
	"fmt"
	"math"
	"os"
)

// Map maps a file for reading and returns its bytes, which must not be written to.
// unmap ends it; nothing taken from the bytes may be used afterwards. Map only files
// that nobody shortens meanwhile, such as those of the store: reading beyond the end
// of a mapped file kills the process. What is not a regular file is an error.
func Map(path string) (data []byte, unmap func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // the mapping outlives it
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case !st.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%s is not a file", path)
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
