package tensor

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Release lets the pages go that a part of a mapped file (Map, MapOpen) fills; whoever reads them again gets them from the
// file. It is a hint. It must never see other memory, whose content would be lost.
func Release(mapped []byte) {
	if len(mapped) >= 2*os.Getpagesize() {
		_ = unix.Madvise(WholePages(mapped), unix.MADV_DONTNEED)
	}
}

// WholePages is the part of b that fills pages of memory; b is longer than two.
func WholePages(b []byte) []byte {
	page := uintptr(os.Getpagesize())
	skip := -uintptr(unsafe.Pointer(&b[0])) & (page - 1)
	whole := (uintptr(len(b)) - skip) &^ (page - 1)
	return b[skip : skip+whole]
}
