package jpeg

// refine reads what a scan of a progressive file has of one block (T.81, G.1.2).
func (d *Decoder) refine(c *component, block *[64]int16, p part) bool {
	b := &d.bits
	if b.n < 32 {
		b.fill()
	}
	switch {
	case p.first == 0 && p.high == 0:
		size := b.symbol(&d.dc[c.td])
		if size < 0 || size > 11 {
			return false
		}
		c.dcPred += b.value(size)
		block[0] = int16(c.dcPred << p.low)
		return true
	case p.first == 0:
		if b.one() {
			block[0] |= 1 << p.low
		}
		return true
	case p.high == 0:
		return d.firstBits(&d.ac[c.ta], block, p)
	}
	return d.moreBits(&d.ac[c.ta], block, p)
}

// firstBits reads the highest bits of coefficients (G.1.2.2).
func (d *Decoder) firstBits(h *huffman, block *[64]int16, p part) bool {
	if d.eobRun > 0 {
		d.eobRun--
		return true
	}
	b := &d.bits
	for k := p.first; k <= p.last; k++ {
		if b.n < 32 {
			b.fill()
		}
		s := b.symbol(h)
		if s < 0 {
			return false
		}
		run, size := int(s>>4), s&15
		if size == 0 {
			if run < 15 {
				d.eobRun = 1<<run - 1 + int(b.take(run))
				return true
			}
			k += 15
			continue
		}
		if k += run; k > p.last {
			return false
		}
		block[unzig[k]&63] = int16(b.value(size) << p.low)
	}
	return true
}

// moreBits reads one more bit of coefficients (G.1.2.3): of those that are not 0 the bit itself, of the others which
// become 1 or -1.
func (d *Decoder) moreBits(h *huffman, block *[64]int16, p part) bool {
	b := &d.bits
	bit := int16(1) << p.low
	k := p.first
	if d.eobRun == 0 {
		for k <= p.last {
			if b.n < 32 {
				b.fill()
			}
			s := b.symbol(h)
			if s < 0 {
				return false
			}
			run, size := int(s>>4), s&15
			value := int16(0)
			switch {
			case size > 1:
				return false
			case size == 1:
				if value = -bit; b.one() {
					value = bit
				}
			case run < 15:
				d.eobRun = 1<<run + int(b.take(run))
			}
			if d.eobRun > 0 {
				break
			}
			if k = d.correct(block, k, p.last, run, bit); k > p.last {
				return value == 0
			}
			if value != 0 {
				block[unzig[k]&63] = value
			}
			k++
		}
	}
	if d.eobRun > 0 {
		d.eobRun--
		d.correct(block, k, p.last, 64, bit)
	}
	return true
}

// correct reads a bit for each coefficient that is not 0, and stops at the zero after skip others.
func (d *Decoder) correct(block *[64]int16, k, last, skip int, bit int16) int {
	for ; k <= last; k++ {
		v := &block[unzig[k]&63]
		if *v == 0 {
			if skip == 0 {
				return k
			}
			skip--
			continue
		}
		if d.bits.one() && *v&bit == 0 {
			if *v > 0 {
				*v += bit
			} else {
				*v -= bit
			}
		}
	}
	return k
}

// transform makes the plane of a progressive file, when all scans are read.
func (d *Decoder) transform(c *component) {
	q := &d.quant[c.tq]
	for by := c.want.Min.Y; by < c.want.Max.Y; by++ {
		for bx := c.want.Min.X; bx < c.want.Max.X; bx++ {
			from := &c.coeffs[by*c.blocksX+bx]
			last := 0
			for k := range 64 {
				v := int32(from[unzig[k]&63])
				d.block[unzig[k]&63] = v * q[k]
				if v != 0 {
					last = k
				}
			}
			inverse(&d.block, c.plane[8*(by*c.stride+bx):], c.stride, last)
		}
	}
}
