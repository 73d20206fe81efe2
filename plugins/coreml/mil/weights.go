package mil

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"

	"github.com/optimize-hcl/optimize/tensor"
)

var le = binary.LittleEndian

const (
	weightsReference = "@model_path/weights/weight.bin"
	blobAlign        = 64
	blobSentinel     = 0xDEADBEEF
	blobVersion      = 2
)

// Weights writes weight.bin, blob storage of version 2: a header of 64 bytes, then for each blob 64 bytes about it and its
// bytes, each at a multiple of 64. Equal blobs are written once.
type Weights struct {
	file  io.WriteSeeker
	w     *bufio.Writer
	at    uint64
	count uint32
	known map[[sha256.Size]byte]uint64
	sum   hash.Hash
	// Size of the bytes of each kind of constant, for a report: by element type.
	Bytes map[DataType]int64
}

// NewWeights starts a file.
func NewWeights(f io.WriteSeeker) (*Weights, error) {
	w := &Weights{file: f, w: bufio.NewWriterSize(f, 1<<18), known: map[[sha256.Size]byte]uint64{}, Bytes: map[DataType]int64{}, sum: sha256.New()}
	_, err := w.w.Write(make([]byte, blobAlign))
	w.at = blobAlign
	return w, err
}

// BlobSize is how many bytes a constant takes in the file, its header included.
func BlobSize(t DataType, elements int64) int64 {
	n := (elements*int64(t.Bits()) + 7) / 8
	return blobAlign + (n+blobAlign-1)/blobAlign*blobAlign
}

// Add writes a constant of type t and gives the value that refers to it. Elements of fewer than 8 bits are packed, the
// lowest bit first.
func (w *Weights) Add(t Type, data []byte) (Value, error) {
	info := types[t.DataType]
	bits := uint64(t.Elements()) * uint64(info.bits)
	if want := (bits + 7) / 8; info.blob == 0 || t.Elements() < 0 || want != uint64(len(data)) {
		return Value{}, fmt.Errorf("a constant %s takes %d bytes, not %d", t, want, len(data))
	}
	h := sha256.New()
	_, _ = h.Write([]byte{byte(info.blob), byte(bits % 8)})
	_, _ = h.Write(data)
	var key [sha256.Size]byte
	h.Sum(key[:0])
	off, ok := w.known[key]
	if !ok {
		off = w.at
		var meta [blobAlign]byte
		le.PutUint32(meta[0:], blobSentinel)
		le.PutUint32(meta[4:], info.blob)
		le.PutUint64(meta[8:], uint64(len(data)))
		le.PutUint64(meta[16:], off+blobAlign)
		if info.bits < 8 {
			le.PutUint64(meta[24:], uint64(len(data))*8-bits)
		}
		pad := -len(data) & (blobAlign - 1)
		for _, b := range [][]byte{meta[:], data, make([]byte, pad)} {
			if _, err := w.w.Write(b); err != nil {
				return Value{}, err
			}
		}
		w.at += uint64(blobAlign + len(data) + pad)
		w.count++
		w.known[key] = off
		_, _ = w.sum.Write(key[:])
		w.Bytes[t.DataType] += int64(len(data))
	}
	return Value{Type: t, Blob: true, Offset: off}, nil
}

// Close completes the header. The caller closes the file.
func (w *Weights) Close() error {
	if err := w.w.Flush(); err != nil {
		return err
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var h [8]byte
	le.PutUint32(h[0:], w.count)
	le.PutUint32(h[4:], blobVersion)
	_, err := w.file.Write(h[:])
	return err
}

// Digest is one of all that was written, by the digests of the blobs.
func (w *Weights) Digest() []byte { return w.sum.Sum(nil) }

// Size of the file so far.
func (w *Weights) Size() int64 { return int64(w.at) }

// halfOf rounds to half precision. Finite numbers stay finite: a mask of -3e38 becomes -65504, where an infinity would make
// 0 times it no number. Numbers other than 0 stay so, where they are not below the least float32 that people mean: an
// epsilon of 1e-12 becomes the least half, not 0, which a division would meet.
func halfOf(f float32) uint16 {
	h := tensor.Float32ToF16(f)
	switch {
	case h&0x7fff == 0x7c00 && !math.IsInf(float64(f), 0):
		h--
	case h&0x7fff == 0 && math.Abs(float64(f)) >= 1e-30:
		h |= 1
	}
	return h
}

// Halves rounds floats to half precision as little-endian bytes. Finite numbers stay finite.
func Halves(f []float32) []byte {
	t, err := tensor.FromFloat32(tensor.F16, []int64{int64(len(f))}, f)
	if err != nil {
		panic(err) // the shape is that of f
	}
	for i := 1; i < len(t.Data); i += 2 {
		if t.Data[i]&0x7f == 0x7c && t.Data[i-1] == 0 && !math.IsInf(float64(f[i/2]), 0) {
			le.PutUint16(t.Data[i-1:], le.Uint16(t.Data[i-1:])-1)
		}
	}
	return t.Data
}

// readBlob checks a reference into the file of weights against its bytes.
func readBlob(b []byte, v Value) error {
	off := v.Offset
	if off < blobAlign || off%blobAlign != 0 || off > uint64(len(b)) || uint64(len(b))-off < blobAlign {
		return fmt.Errorf("offset %d is not that of a blob", off)
	}
	m := b[off:]
	info := types[v.DataType]
	size := (uint64(v.Elements())*uint64(info.bits) + 7) / 8
	switch {
	case le.Uint32(m) != blobSentinel:
		return fmt.Errorf("offset %d is not that of a blob", off)
	case le.Uint32(m[4:]) != info.blob:
		return fmt.Errorf("the blob at %d is of type %d, not of %s", off, le.Uint32(m[4:]), v.DataType)
	case le.Uint64(m[8:]) != size:
		return fmt.Errorf("the blob at %d has %d bytes, and %s takes %d", off, le.Uint64(m[8:]), v.Type, size)
	case le.Uint64(m[16:]) != off+blobAlign || off+blobAlign+size > uint64(len(b)):
		return fmt.Errorf("the blob at %d is not whole", off)
	}
	return nil
}

// checkWeights checks the file's header, and that as many blobs follow as it says.
func checkWeights(b []byte) error {
	if len(b) < blobAlign || le.Uint32(b[4:]) != blobVersion {
		return errors.New("weight.bin has no header of version 2")
	}
	count, off := uint32(0), uint64(blobAlign)
	for off < uint64(len(b)) {
		if uint64(len(b))-off < blobAlign || le.Uint32(b[off:]) != blobSentinel {
			return fmt.Errorf("weight.bin has no blob at %d", off)
		}
		n := le.Uint64(b[off+8:])
		if n > uint64(len(b))-off-blobAlign {
			return fmt.Errorf("weight.bin ends within the blob at %d", off)
		}
		off += blobAlign + (n+blobAlign-1)/blobAlign*blobAlign
		count++
	}
	if got := le.Uint32(b); got != count {
		return fmt.Errorf("weight.bin says that it has %d blobs, and has %d", got, count)
	}
	return nil
}

// createWeights makes the file, and all of what Settle needs.
func createWeights(path string) (*os.File, *Weights, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, nil, err
	}
	w, err := NewWeights(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, w, nil
}

// mapFile is tensor.Map.
func mapFile(path string) ([]byte, func() error, error) { return tensor.Map(path) }
