package onnx

import (
	"golang.org/x/sys/unix"

	"github.com/optimize-hcl/optimize/tensor"
)

// populateSize is from where on a call to the kernel is cheaper than the page faults
// it saves: it maps all of a weight's pages at once and not sixteen at a time.
const populateSize = 256 << 10

// populate makes the pages of a mapped file present before they are written
// elsewhere. It is a hint: old kernels do not know it, and nothing depends on it.
func populate(b []byte) {
	if len(b) < populateSize {
		return
	}
	_ = unix.Madvise(tensor.WholePages(b), unix.MADV_POPULATE_READ)
}
