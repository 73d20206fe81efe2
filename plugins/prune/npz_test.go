package prune

import (
	"archive/zip"
	"encoding/binary"
	"io"
)

// zipField returns the first n bytes of an array of bytes in an .npz file.
func zipField(path, field string, n int64) ([]byte, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	f, err := z.Open(field + ".npy")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, f, int64(binary.LittleEndian.Uint16(head[8:]))); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(f, b)
	return b, err
}
