package onnx

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
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
	_ = unix.Madvise(wholePages(b), unix.MADV_POPULATE_READ)
}

// release lets the pages of a mapped file go. It must never see other memory, whose
// content would be lost.
func release(b []byte) {
	if len(b) >= 2*os.Getpagesize() {
		_ = unix.Madvise(wholePages(b), unix.MADV_DONTNEED)
	}
}

// wholePages is the part of b that fills pages; b is longer than two.
func wholePages(b []byte) []byte {
	page := uintptr(os.Getpagesize())
	skip := -uintptr(unsafe.Pointer(&b[0])) & (page - 1)
	whole := (uintptr(len(b)) - skip) &^ (page - 1)
	return b[skip : skip+whole]
}
