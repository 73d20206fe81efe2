package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// ParseError says where the bytes of a model stop making sense.
type ParseError struct {
	Offset int64  // of the field in question, from the start of the model
	Field  string // its place, like "graph.node[3].attribute[0]"
	Reason string
}

func (e *ParseError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("not an ONNX model: %s (at byte %d)", e.Reason, e.Offset)
	}
	field := e.Field
	const most = 160 // bytes; graphs nested thirty deep have a place of a thousand
	if len(field) > most {
		field = field[:most/2] + "…" + field[len(field)-most/2:]
	}
	return fmt.Sprintf("not an ONNX model: %s (at byte %d, in %s)", e.Reason, e.Offset, field)
}

// within adds the enclosing field to the error's place; index < 0: not repeated.
func within(err error, field string, index int) error {
	e, ok := err.(*ParseError)
	if !ok {
		return err
	}
	if index >= 0 {
		field = fmt.Sprintf("%s[%d]", field, index)
	}
	if e.Field != "" {
		field += "." + e.Field
	}
	e.Field = field
	return e
}

// The wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireGroup   = 3
	wireFixed32 = 5
)

const (
	// maxDepth bounds the nesting of messages, as protobuf's own parsers do.
	maxDepth = 100
	// Structs are larger than the shortest messages they are made from: a node of
	// nothing is two bytes in the file. The budget keeps a file of millions of them
	// from taking a hundred times its size. Models take three to seven times what is not
	// weights; a small one of very short names may need what it has from the start.
	budgetBase, budgetPerByte = 768 << 10, 10
)

// session is what the readers of one parse share: what it may still allocate, and
// the memory that the many small parts of a graph come from. Twenty thousand nodes
// of their own slices would keep the garbage collector busy.
type session struct {
	budget   int
	names    arena[string]
	attrs    arena[Attribute]
	attrPtrs arena[*Attribute]
	ints     arena[int64]
	number   [16]byte // being packed
}

func newSession(size int) *session {
	return &session{budget: budgetBase + budgetPerByte*min(size, math.MaxInt/budgetPerByte/2)}
}

// reset lets a session be used again for a part whose result is not kept.
func (s *session) reset() {
	s.budget = math.MaxInt // it was parsed once, within a budget
	s.names.reset()
	s.attrs.reset()
	s.attrPtrs.reset()
	s.ints.reset()
}

// arena hands out slices of larger allocations.
type arena[T any] struct {
	chunk []T
	used  int
}

const minChunk, maxChunk = 16, 512 // elements

// take returns n values, fewer when the budget does not reach: r.err says so then.
func take[T any](r *reader, a *arena[T], n int) []T {
	if n == 0 {
		return nil
	}
	if n <= len(a.chunk)-a.used {
		a.used += n
		return a.chunk[a.used-n : a.used : a.used]
	}
	if n > maxChunk/8 { // what is left of the chunk is not given up for it
		return slab[T](r, n)
	}
	next := slab[T](r, max(n, minChunk, min(2*len(a.chunk), maxChunk)))
	if next == nil {
		return nil
	}
	a.chunk, a.used = next, n
	return a.chunk[:n:n]
}

// slab makes n values within the budget, none when it does not reach.
func slab[T any](r *reader, n int) []T {
	var size T
	if n == 0 || !r.spend(n, unsafe.Sizeof(size)) {
		return nil
	}
	return make([]T, n)
}

func (a *arena[T]) reset() {
	clear(a.chunk[:a.used])
	a.used = 0
}

// reader walks the fields of one message. next decodes a whole field; key is the
// field number and wire type together, so that a known field of another wire type
// falls through to the unknown ones, as protobuf wants it.
type reader struct {
	b       []byte
	pos     int
	base    int // offset of b in the model
	depth   int
	session *session

	key   uint64
	start int    // of the field
	v     uint64 // a varint or fixed value
	data  []byte // a length-delimited value
	err   error
}

func (r *reader) fail(reason string) bool {
	r.err = &ParseError{Offset: int64(r.base + r.start), Reason: reason}
	return false
}

// spend accounts for an allocation of n values of the given size in bytes, and for
// what Go's allocator rounds it up by: an eighth at most, or to a page.
func (r *reader) spend(n int, size uintptr) bool {
	if r.err != nil {
		return false
	}
	const small, page = 32 << 10, 8 << 10
	left := r.session.budget
	if n <= left/int(size) {
		if need := n * int(size); need <= small {
			left -= need + need/8
		} else {
			left -= (need + page - 1) &^ (page - 1)
		}
		if left >= 0 {
			r.session.budget = left
			return true
		}
	}
	return r.fail("it has more empty messages than a model could use")
}

// room returns the list with room for the field just read; for the first of them it
// makes room for all.
func room[T any](r *reader, to []T) []T {
	if len(to) < cap(to) {
		return to
	}
	more := slab[T](r, len(to)+r.remaining())
	return more[:copy(more, to)]
}

// remaining counts the fields of the key just read from here to the end. It stops
// quietly where the message is broken, since the real pass reports that.
func (r *reader) remaining() int {
	n, c := 1, reader{b: r.b, pos: r.pos, session: r.session}
	for c.next() {
		if c.key == r.key {
			n++
		}
	}
	return n
}

// extra returns what is behind a pointer, made when there is nothing.
func extra[T any](r *reader, p **T) *T {
	if *p == nil {
		*p = new(T)
		r.spend(1, unsafe.Sizeof(**p))
	}
	return *p
}

// join appends b to a within the budget; the first part is not copied.
func (r *reader) join(a, b []byte) []byte {
	if a == nil {
		return b
	}
	if len(a)+len(b) > cap(a) {
		grown := slab[byte](r, 2*len(a)+len(b))
		if grown == nil {
			return a
		}
		a = grown[:copy(grown, a)]
	}
	return append(a, b...)
}

func (r *reader) varint() (uint64, bool) {
	if r.pos < len(r.b) && r.b[r.pos] < 0x80 {
		r.pos++
		return uint64(r.b[r.pos-1]), true
	}
	v, n := protowire.ConsumeVarint(r.b[r.pos:])
	if n < 0 {
		return 0, r.fail("a number is cut off or too long; is the file truncated?")
	}
	r.pos += n
	return v, true
}

// next reads a field; false at the end of the message or on an error, which is in
// r.err.
func (r *reader) next() bool {
	if r.pos >= len(r.b) || r.err != nil {
		return false
	}
	r.start = r.pos
	var ok bool
	if r.key, ok = r.varint(); !ok {
		return false
	}
	num := r.key >> 3
	if num == 0 || num > uint64(protowire.MaxValidNumber) {
		return r.fail("there is no field of that number")
	}
	switch r.key & 7 {
	case wireVarint:
		r.v, ok = r.varint()
		return ok
	case wireFixed64:
		if len(r.b)-r.pos < 8 {
			return r.fail("a number is cut off; is the file truncated?")
		}
		r.v = binary.LittleEndian.Uint64(r.b[r.pos:])
		r.pos += 8
	case wireFixed32:
		if len(r.b)-r.pos < 4 {
			return r.fail("a number is cut off; is the file truncated?")
		}
		r.v = uint64(binary.LittleEndian.Uint32(r.b[r.pos:]))
		r.pos += 4
	case wireBytes:
		n, ok := r.varint()
		if !ok {
			return false
		}
		if n > uint64(len(r.b)-r.pos) {
			return r.fail(fmt.Sprintf("a field of %d bytes goes past the end; is the file truncated?", n))
		}
		end := r.pos + int(n)
		r.data = r.b[r.pos:end:end]
		r.pos = end
	case wireGroup:
		n := protowire.ConsumeFieldValue(protowire.Number(num), protowire.StartGroupType, r.b[r.pos:])
		if n < 0 {
			return r.fail("a group is not closed")
		}
		r.pos += n
	default:
		return r.fail("there is no field of that wire type")
	}
	return true
}

// sub opens the length-delimited field just read as a message.
func (r *reader) sub() (reader, error) {
	s := reader{b: r.data, base: r.base + r.pos - len(r.data), depth: r.depth + 1, session: r.session}
	if s.depth > maxDepth {
		r.fail(fmt.Sprintf("messages are nested more than %d deep", maxDepth))
	}
	return s, r.err
}

// str returns the field just read as a string, without a copy.
func (r *reader) str() string { return stringOf(r.data) }

func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// unknown appends the field just read to the unknown ones. The first is not copied.
func (r *reader) unknown(to []byte) []byte { return r.join(to, r.b[r.start:r.pos:r.pos]) }

// counts returns how often each of the first 32 field numbers occurs as a
// length-delimited field; it stops quietly where the message is broken, since the
// real pass reports that.
func (r *reader) counts() (n [32]int) {
	c := reader{b: r.b, session: r.session}
	for c.next() {
		if num := c.key >> 3; c.key&7 == wireBytes && num < 32 {
			n[num]++
		}
	}
	return n
}
