package cluster

// word is how indexes of some bits are packed: values of them in bytes, without a bit to spare.
type word struct{ bytes, values int }

// wordOf returns the smallest word for indexes of 1 to 8 bits.
func wordOf(bits int) word {
	switch bits {
	case 3, 5, 7:
		return word{bits, 8}
	case 6:
		return word{3, 4}
	}
	return word{1, 8 / bits}
}

// packed is the size in bytes of n indexes, filled up to whole words.
func (w word) packed(n int) int { return (n + w.values - 1) / w.values * w.bytes }

// pack writes indexes as one stream of bits, the lowest first, as Core ML's constexpr_lut_to_dense reads it. out has
// the size of packed and is zero.
func pack(out []byte, index []uint8, bits int) {
	if w := wordOf(bits); w.values == 1 {
		copy(out, index)
		return
	}
	at := 0
	for _, x := range index {
		v := uint16(x) << (at & 7)
		out[at>>3] |= byte(v)
		if v > 255 {
			out[at>>3+1] |= byte(v >> 8)
		}
		at += bits
	}
}
