package onnx

import (
	"encoding/binary"
	"math/bits"
)

// writer builds a message from its end to its start, so that the length of what is
// inside is known when its prefix is written and every byte is written once. Large
// values are referred to, not copied.
type writer struct {
	chunks [][]byte // finished, last one first
	buf    []byte   // being filled from its end
	pos    int      // start of what is filled in buf
	size   int

	// For comparing messages with their bytes, one after the other.
	scratch session
	was     struct {
		reader    reader
		node      Node
		tensor    Tensor
		attribute Attribute
		value     ValueInfo
	}
}

const (
	// Values of this size get a chunk of their own.
	referSize  = 4096
	bufferSize = 64 << 10
)

func (w *writer) bytes(b []byte) {
	w.size += len(b)
	if len(b) >= referSize {
		w.flush()
		w.chunks = append(w.chunks, b)
		return
	}
	copy(w.room(len(b)), b)
}

func (w *writer) string(s string) {
	w.size += len(s)
	copy(w.room(len(s)), s)
}

// room makes space for n bytes in front and returns it.
func (w *writer) room(n int) []byte {
	if w.pos < n {
		w.flush()
		w.buf = make([]byte, max(bufferSize, n))
		w.pos = len(w.buf)
	}
	w.pos -= n
	return w.buf[w.pos : w.pos+n]
}

// flush ends the current chunk; what is left in front of it is used further.
func (w *writer) flush() {
	if w.pos < len(w.buf) {
		w.chunks = append(w.chunks, w.buf[w.pos:])
		w.buf = w.buf[:w.pos]
	}
}

func (w *writer) varint(v uint64) {
	n := (bits.Len64(v|1) + 6) / 7
	w.size += n
	b := w.room(n)
	for i := range n - 1 {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[n-1] = byte(v)
}

func (w *writer) tag(num int, wire uint64) { w.varint(uint64(num)<<3 | wire) }

func (w *writer) intField(num int, v int64) {
	w.varint(uint64(v))
	w.tag(num, wireVarint)
}

func (w *writer) nonzeroField(num int, v int64) {
	if v != 0 {
		w.intField(num, v)
	}
}

func (w *writer) fixed32Field(num int, v uint32) {
	w.size += 4
	binary.LittleEndian.PutUint32(w.room(4), v)
	w.tag(num, wireFixed32)
}

func (w *writer) bytesField(num int, b []byte) {
	w.bytes(b)
	w.varint(uint64(len(b)))
	w.tag(num, wireBytes)
}

// stringField writes an element of a list of strings, or a string that is there.
func (w *writer) stringField(num int, s string) {
	w.string(s)
	w.varint(uint64(len(s)))
	w.tag(num, wireBytes)
}

func (w *writer) textField(num int, s string) {
	if s != "" {
		w.stringField(num, s)
	}
}

func (w *writer) blobField(num int, b []byte) {
	if len(b) > 0 {
		w.bytesField(num, b)
	}
}

// end closes a message begun when the writer had the given size.
func (w *writer) end(num, size int) {
	w.varint(uint64(w.size - size))
	w.tag(num, wireBytes)
}

// list returns the chunks, first one first.
func (w *writer) list() [][]byte {
	w.flush()
	out := make([][]byte, len(w.chunks))
	for i, c := range w.chunks {
		out[len(out)-1-i] = c
	}
	return out
}
