//go:build !unix && !windows

package tensor

import (
	"io"
	"os"
)

// mapFile reads the file where there is nothing to map it with.
func mapFile(f *os.File, size int) ([]byte, func() error, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, nil, err
	}
	return b, func() error { return nil }, nil
}
