package jpeg

// The inverse transform is that of Loeffler, Ligtenberg and Moschytz (ICASSP 1989), with 11 multiplications for eight
// numbers, in the fixed point of the IJG's accurate integer method: constants of 13 bits, and 2 bits more than whole
// numbers between the passes. So the pixels are its pixels.
const (
	constBits = 13
	passBits  = 2

	c0298 = 2446  // 0.298631336
	c0390 = 3196  // 0.390180644
	c0541 = 4433  // 0.541196100
	c0765 = 6270  // 0.765366865
	c0899 = 7373  // 0.899976223
	c1175 = 9633  // 1.175875602
	c1501 = 12299 // 1.501321110
	c1847 = 15137 // 1.847759065
	c1961 = 16069 // 1.961570560
	c2053 = 16819 // 2.053119869
	c2562 = 20995 // 2.562915447
	c3072 = 25172 // 3.072711026
)

// inverse transforms a block, whose coefficients after number last are 0, into 8 rows of dst. The block is used up.
func inverse(block *[64]int32, dst []byte, stride, last int) {
	if last == 0 {
		v := uint64(sample(block[0]<<passBits, passBits+3))
		v |= v << 8
		v |= v << 16
		v |= v << 32
		for y := range 8 {
			row := dst[y*stride:][:8]
			row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7] = byte(v), byte(v), byte(v), byte(v), byte(v), byte(v), byte(v), byte(v)
		}
		return
	}
	// Down the columns first, in place.
	for x := range 8 {
		x1, x2, x3, x4, x5, x6, x7 := block[8+x], block[16+x], block[24+x], block[32+x], block[40+x], block[48+x], block[56+x]
		if x1|x2|x3|x4|x5|x6|x7 == 0 {
			v := block[x] << passBits
			block[x], block[8+x], block[16+x], block[24+x], block[32+x], block[40+x], block[48+x], block[56+x] = v, v, v, v, v, v, v, v
			continue
		}
		const round, shift = 1 << (constBits - passBits - 1), constBits - passBits
		s0, s1, s2, s3, t0, t1, t2, t3 := butterfly(block[x], x1, x2, x3, x4, x5, x6, x7)
		block[x] = (s0 + t3 + round) >> shift
		block[56+x] = (s0 - t3 + round) >> shift
		block[8+x] = (s1 + t2 + round) >> shift
		block[48+x] = (s1 - t2 + round) >> shift
		block[16+x] = (s2 + t1 + round) >> shift
		block[40+x] = (s2 - t1 + round) >> shift
		block[24+x] = (s3 + t0 + round) >> shift
		block[32+x] = (s3 - t0 + round) >> shift
	}
	for y := range 8 {
		in := block[8*y : 8*y+8 : 8*y+8]
		out := dst[y*stride:][:8:8]
		s0, s1, s2, s3, t0, t1, t2, t3 := butterfly(in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7])
		const shift = constBits + passBits + 3
		out[0] = sample(s0+t3, shift)
		out[7] = sample(s0-t3, shift)
		out[1] = sample(s1+t2, shift)
		out[6] = sample(s1-t2, shift)
		out[2] = sample(s2+t1, shift)
		out[5] = sample(s2-t1, shift)
		out[3] = sample(s3+t0, shift)
		out[4] = sample(s3-t0, shift)
	}
}

// butterfly gives the even and the odd part of eight numbers' transform, with constBits more bits.
func butterfly(x0, x1, x2, x3, x4, x5, x6, x7 int32) (s0, s1, s2, s3, t0, t1, t2, t3 int32) {
	z := (x2 + x6) * c0541
	e2 := z - x6*c1847
	e3 := z + x2*c0765
	e0 := (x0 + x4) << constBits
	e1 := (x0 - x4) << constBits
	s0, s3, s1, s2 = e0+e3, e0-e3, e1+e2, e1-e2

	z1, z2, z3, z4 := x7+x1, x5+x3, x7+x3, x5+x1
	z5 := (z3 + z4) * c1175
	z1, z2 = -z1*c0899, -z2*c2562
	z3, z4 = z5-z3*c1961, z5-z4*c0390
	t0 = x7*c0298 + z1 + z3
	t1 = x5*c2053 + z2 + z4
	t2 = x3*c3072 + z2 + z3
	t3 = x1*c1501 + z1 + z4
	return s0, s1, s2, s3, t0, t1, t2, t3
}

// sample rounds off shift bits and brings the result, around 128, into a byte.
func sample(v int32, shift uint) byte {
	v = (v+1<<(shift-1))>>shift + 128
	if uint32(v) > 255 {
		return byte(^(v >> 31))
	}
	return byte(v)
}
