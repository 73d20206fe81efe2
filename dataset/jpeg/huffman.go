package jpeg

import "encoding/binary"

// lutBits is how many bits of a code are looked up at once; longer codes are rare.
const lutBits = 10

// huffman is a table of codes (T.81, annexes C and F).
type huffman struct {
	ready bool
	// lut holds, for the next lutBits bits, a symbol (upper 8 bits) and the length of its code; 0: a longer code.
	lut [1 << lutBits]uint16
	// fast holds a whole coefficient where code and value fit into lutBits bits: the value (upper 16 bits), how many
	// zeros go before it (8), and the bits of both; 0 elsewhere.
	fast [1 << lutBits]int32
	// limit is, for each length, where the codes of more bits begin, moved up to 16 bits; offset leads from a code to
	// its symbol.
	limit  [17]int32
	offset [17]int32
	vals   [256]byte
}

// huffmanTables reads tables of codes.
func (d *Decoder) huffmanTables(seg []byte) bool {
	for len(seg) > 0 {
		if len(seg) < 17 {
			return false
		}
		class, id := seg[0]>>4, seg[0]&15
		n := 0
		for _, c := range seg[1:17] {
			n += int(c)
		}
		if class > 1 || id > 3 || n == 0 || n > 256 || len(seg) < 17+n {
			return false
		}
		h := &d.dc[id]
		if class == 1 {
			h = &d.ac[id]
		}
		if !h.build(seg[1:17], seg[17:17+n], class == 1) {
			return false
		}
		seg = seg[17+n:]
	}
	return true
}

// build makes a table of the numbers of codes of each length and their symbols in order.
func (h *huffman) build(counts, vals []byte, ac bool) bool {
	h.ready = false
	clear(h.lut[:])
	clear(h.fast[:])
	copy(h.vals[:], vals)
	code, k := int32(0), int32(0)
	for l := 1; l <= 16; l++ {
		h.offset[l] = k - code
		for range counts[l-1] {
			if code >= 1<<l {
				return false // more codes than there are
			}
			if l <= lutBits {
				from := code << (lutBits - l)
				for i := from; i < from+1<<(lutBits-l); i++ {
					h.lut[i] = uint16(vals[k])<<8 | uint16(l)
				}
			}
			code++
			k++
		}
		h.limit[l] = code << (16 - l)
		code <<= 1
	}
	if ac {
		for i, e := range h.lut {
			l, run, size := int(e&0xff), int32(e>>12), int(e>>8&15)
			if e == 0 || size == 0 || l+size > lutBits {
				continue
			}
			v := int32(i) >> (lutBits - l - size) & (1<<size - 1)
			if v < 1<<(size-1) {
				v -= 1<<size - 1
			}
			h.fast[i] = v<<16 | run<<8 | int32(l+size)
		}
	}
	h.ready = true
	return true
}

// bits reads the coded data of a scan. The next bit is the highest of acc.
type bits struct {
	data []byte
	pos  int
	acc  uint64
	n    int // bits in acc that count
	over int // bits of them and of those before that are made up: the data has ended
}

// fill brings at least 48 bits into acc.
func (b *bits) fill() {
	if b.pos+8 <= len(b.data) {
		x := binary.BigEndian.Uint64(b.data[b.pos:])
		// Without a byte 0xff there is no marker and nothing stuffed.
		if (^x-0x0101010101010101)&x&0x8080808080808080 == 0 {
			// What lies beyond the whole bytes is there already when they are added the next time.
			b.acc |= x >> (uint(b.n) & 63)
			take := (64 - b.n) >> 3
			b.pos += take
			b.n += 8 * take
			return
		}
	}
	for b.n <= 56 {
		var c byte
		switch {
		case b.pos >= len(b.data):
			b.over += 8
		case b.data[b.pos] != 0xff:
			c = b.data[b.pos]
			b.pos++
		case b.pos+1 < len(b.data) && b.data[b.pos+1] == 0:
			c = 0xff
			b.pos += 2
		default: // a marker: the data ends before it
			b.over += 8
		}
		b.acc |= uint64(c) << (56 - uint(b.n))
		b.n += 8
	}
}

// drop leaves n bits behind.
func (b *bits) drop(n int) {
	b.acc <<= uint(n) & 63
	b.n -= n
}

// take reads n bits, from 0 to 16. There must be as many.
func (b *bits) take(n int) int32 {
	v := int32(b.acc >> 1 >> (63 - uint(n)&63))
	b.drop(n)
	return v
}

// one reads a bit.
func (b *bits) one() bool {
	if b.n < 1 {
		b.fill()
	}
	v := b.acc>>63 != 0
	b.drop(1)
	return v
}

// ended tells that more bits were read than there are.
func (b *bits) ended() bool { return b.n < b.over }

// symbol reads a code. There must be 16 bits. It is negative when there is no such code.
func (b *bits) symbol(h *huffman) int32 {
	if e := h.lut[b.acc>>(64-lutBits)]; e != 0 {
		b.drop(int(e & 0xff))
		return int32(e >> 8)
	}
	code := int32(b.acc >> 48)
	for l := lutBits + 1; l <= 16; l++ {
		if code < h.limit[l] {
			b.drop(l)
			return int32(h.vals[(h.offset[l]+code>>(16-l))&255])
		}
	}
	return -1
}

// value reads the size bits of a coefficient (T.81, F.2.2.1: RECEIVE and EXTEND). There must be as many.
func (b *bits) value(size int32) int32 {
	negative := int32(^b.acc >> 63) // a leading 0
	v := b.take(int(size))
	return v - negative*(1<<size-1)
}
