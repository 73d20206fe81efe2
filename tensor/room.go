package tensor

import (
	"strings"
	"unsafe"
)

// room makes n numbers of any value, for a caller that writes all of them: to clear many megabytes first would take as
// long as to fill them.
func room[T float32 | float64 | uint16](n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if size < 1<<20 {
		return make([]T, n)
	}
	// A builder's room is not cleared. Its one byte is written so that the text has an address.
	var b strings.Builder
	b.Grow(size)
	b.WriteByte(0)
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.StringData(b.String()))), n)
}
