package dataset

import (
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// The IDX format of the MNIST database (http://yann.lecun.com/exdb/mnist): two zero
// bytes, the type, the number of axes, their lengths as big-endian 32 bits, and the
// elements, big-endian too.

var idxTypes = map[byte]struct {
	dtype tensor.DType
	descr string
}{
	0x08: {tensor.U8, "|u1"}, 0x09: {tensor.I8, "|i1"}, 0x0b: {tensor.I16, ">i2"},
	0x0c: {tensor.I32, ">i4"}, 0x0d: {tensor.F32, ">f4"}, 0x0e: {tensor.F64, ">f8"},
}

// isIDX tells whether a file may begin so.
func isIDX(head []byte) bool {
	return len(head) >= 4 && head[0] == 0 && head[1] == 0 && idxTypes[head[2]].descr != "" && head[3] > 0
}

// readIDXHeader reads the header and leaves r at the first element.
func readIDXHeader(r io.Reader) (header, error) {
	var pre [4]byte
	if _, err := io.ReadFull(r, pre[:]); err != nil {
		return header{}, truncated(err, "its first four bytes are missing")
	}
	if !isIDX(pre[:]) {
		return header{}, fmt.Errorf("it does not begin as an IDX file does, but with %q", pre)
	}
	t := idxTypes[pre[2]]
	lengths := make([]byte, 4*int(pre[3]))
	if _, err := io.ReadFull(r, lengths); err != nil {
		return header{}, truncated(err, "its header ends too early")
	}
	h := header{dtype: t.dtype, descr: t.descr, swap: t.dtype.Bits() > 8, offset: int64(4 + len(lengths))}
	for ; len(lengths) > 0; lengths = lengths[4:] {
		h.shape = append(h.shape, int64(binary.BigEndian.Uint32(lengths)))
	}
	var err error
	h.size, err = tensor.Size(h.dtype, h.shape)
	return h, err
}

// stem is a file's name without what says its format: "train-images" of
// "train-images-idx3-ubyte.gz".
func stem(path string) string {
	name := filepath.Base(path)
	name = strings.TrimSuffix(name, ".gz")
	for _, end := range []string{".npy", ".idx", "-ubyte", ".ubyte"} {
		name = strings.TrimSuffix(name, end)
	}
	for _, mark := range []string{"-idx", ".idx"} {
		if at := strings.LastIndex(name, mark); at > 0 && len(name) == at+len(mark)+1 {
			name = name[:at]
		}
	}
	return name
}
