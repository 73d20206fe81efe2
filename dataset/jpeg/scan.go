package jpeg

// unzig gives the place of a coefficient, row by row, by its number in the file's order. Beyond the last are places for
// what a damaged file has too many of, so that one look at the end is enough.
var unzig = [64 + 16]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
	63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
}

// part is what a scan has of the coefficients: first to last, and of them the bits above low, the highest or one more.
type part struct {
	first, last int
	high, low   uint
}

// scan reads the coded data of one scan, whose header is seg.
func (d *Decoder) scan(seg []byte) bool {
	if len(d.components) == 0 || len(seg) < 1 {
		return false
	}
	n := int(seg[0])
	if n < 1 || n > len(d.components) || len(seg) != 4+2*n {
		return false
	}
	var cs [3]*component
	for i := range n {
		id, tables := seg[1+2*i], seg[2+2*i]
		for k := range d.components {
			if c := &d.components[k]; c.id == id {
				cs[i] = c
			}
		}
		c := cs[i]
		if c == nil || tables>>4 > 3 || tables&15 > 3 || !d.progressive && c.seen {
			return false
		}
		for _, o := range cs[:i] {
			if o == c {
				return false
			}
		}
		c.td, c.ta, c.dcPred = tables>>4, tables&15, 0
	}
	end := seg[1+2*n:]
	p := part{int(end[0]), int(end[1]), uint(end[2] >> 4), uint(end[2] & 15)}
	if !d.allowed(p, cs[:n]) {
		return false
	}
	for _, c := range cs[:n] {
		c.seen = true
	}
	d.bits = bits{data: d.data, pos: d.pos}
	d.eobRun = 0
	ok := d.units(p, cs[:n])
	if !ok || d.bits.ended() {
		return false
	}
	// What was read ahead of the scan's end is left; only padding of less than a byte may be unread before a marker.
	d.pos = d.bits.pos
	return true
}

// allowed tells whether a scan's part and tables are what its frame may have.
func (d *Decoder) allowed(p part, cs []*component) bool {
	if !d.progressive {
		if p != (part{0, 63, 0, 0}) {
			return false
		}
		for _, c := range cs {
			if !d.dc[c.td].ready || !d.ac[c.ta].ready || !d.hasQ[c.tq] {
				return false
			}
		}
		return true
	}
	if p.last > 63 || p.first > p.last || p.low > 13 || p.high != 0 && p.high != p.low+1 ||
		p.first == 0 && p.last != 0 || p.first > 0 && len(cs) != 1 {
		return false
	}
	for _, c := range cs {
		if p.first == 0 && p.high == 0 && !d.dc[c.td].ready || p.first > 0 && !d.ac[c.ta].ready {
			return false
		}
		if p.first > 0 && !c.seen {
			return false
		}
	}
	return true
}

// units goes through the units of a scan: of one component its blocks, of several a few blocks of each.
func (d *Decoder) units(p part, cs []*component) bool {
	across, down := d.mcusX, d.mcusY
	if len(cs) == 1 {
		across, down = cs[0].ownX, cs[0].ownY
	}
	at := 0
	for my := range down {
		for mx := range across {
			if d.restart > 0 && at == d.restart {
				if !d.restarted() {
					return false
				}
				at = 0
			}
			at++
			if len(cs) == 1 {
				if !d.blockOf(cs[0], mx, my, p) {
					return false
				}
				continue
			}
			for _, c := range cs {
				for by := my * c.v; by < (my+1)*c.v; by++ {
					for bx := mx * c.h; bx < (mx+1)*c.h; bx++ {
						if !d.blockOf(c, bx, by, p) {
							return false
						}
					}
				}
			}
		}
		if d.bits.ended() {
			return false // or a short file would be read to its claimed end
		}
	}
	return true
}

// restarted reads a restart marker and begins anew.
func (d *Decoder) restarted() bool {
	b := &d.bits
	if b.ended() || b.n-b.over >= 8 || b.pos+1 >= len(b.data) || b.data[b.pos] != 0xff || b.data[b.pos+1]&^7 != 0xd0 {
		return false
	}
	*b = bits{data: b.data, pos: b.pos + 2}
	d.eobRun = 0
	for i := range d.components {
		d.components[i].dcPred = 0
	}
	return true
}

// blockOf reads one block of a component.
func (d *Decoder) blockOf(c *component, bx, by int, p part) bool {
	if d.progressive {
		return d.refine(c, &c.coeffs[by*c.blocksX+bx], p)
	}
	want := bx >= c.want.Min.X && bx < c.want.Max.X && by >= c.want.Min.Y && by < c.want.Max.Y
	last := d.sequential(c, want)
	if last < 0 {
		return false
	}
	if want {
		at := 8 * (by*c.stride + bx)
		inverse(&d.block, c.plane[at:], c.stride, last)
	}
	return true
}

// sequential reads all coefficients of a block (T.81, F.2.2), multiplied by their steps, and returns the number of the
// last one that is not 0, or -1 for a mistake. Of a block that nobody wants only the mean is followed, on which the next
// one's depends.
func (d *Decoder) sequential(c *component, want bool) int {
	b := &d.bits
	if b.n < 32 {
		b.fill()
	}
	size := b.symbol(&d.dc[c.td])
	if size < 0 || size > 11 {
		return -1
	}
	c.dcPred += b.value(size)
	h := &d.ac[c.ta]
	if !want {
		return d.pass(h)
	}
	q := &d.quant[c.tq]
	block := &d.block
	clear(block[:])
	block[0] = c.dcPred * q[0]
	acc, n := b.acc, b.n
	last := 0
	for k := 1; k < 64; {
		if n < 32 {
			b.acc, b.n = acc, n
			b.fill()
			acc, n = b.acc, b.n
		}
		if e := h.fast[acc>>(64-lutBits)]; e != 0 {
			k += int(e >> 8 & 15)
			if k > 63 {
				return -1
			}
			block[unzig[k]&63] = e >> 16 * q[k]
			acc <<= uint(e) & 31
			n -= int(e & 31)
			last = k
			k++
			continue
		}
		b.acc, b.n = acc, n
		s := b.symbol(h)
		if s < 0 {
			return -1
		}
		run, size := int(s>>4), s&15
		if size == 0 {
			acc, n = b.acc, b.n
			if run < 15 {
				break
			}
			k += 16
			continue
		}
		if k += run; k > 63 {
			return -1
		}
		block[unzig[k]&63] = b.value(size) * q[k]
		acc, n = b.acc, b.n
		last = k
		k++
	}
	b.acc, b.n = acc, n
	return last
}

// pass reads over the coefficients of a block but the first.
func (d *Decoder) pass(h *huffman) int {
	b := &d.bits
	for k := 1; k < 64; {
		if b.n < 32 {
			b.fill()
		}
		run, size := 0, 0
		if e := h.fast[b.acc>>(64-lutBits)]; e != 0 {
			run, size = int(e>>8&15), int(e&31)
		} else {
			s := b.symbol(h)
			if s < 0 {
				return -1
			}
			run, size = int(s>>4), int(s&15)
			if size == 0 {
				if run < 15 {
					break
				}
				k += 16
				continue
			}
		}
		b.drop(size)
		if k += run + 1; k > 64 {
			return -1
		}
	}
	return 0
}
