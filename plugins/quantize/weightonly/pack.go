package weightonly

// Packing: low nibble first, as ONNX stores INT4 and MatMulNBits its blobs.

// blobs returns the codes as MatMulNBits wants them: [N, PerRow, Size*Bits/8] bytes. Elements beyond K stand for 0.
func (b *Blocks) blobs() []byte {
	per, blob := b.PerRow(), b.Size*b.Bits/8
	out := make([]byte, b.N*per*blob)
	grid{threads: 1}.each(b, func(at, from, to int) {
		dst := out[at*blob : (at+1)*blob]
		pad := uint8(b.Zeros[at] + 0.5)
		if b.Bits == 8 {
			copy(dst, b.Codes[from:to])
			for i := to - from; i < b.Size; i++ {
				dst[i] = pad
			}
			return
		}
		for i := 0; i < b.Size; i += 2 {
			lo, hi := pad, pad
			if from+i < to {
				lo = b.Codes[from+i]
			}
			if from+i+1 < to {
				hi = b.Codes[from+i+1]
			}
			dst[i/2] = lo | hi<<4
		}
	})
	return out
}

// zeroRows returns the zeros as bytes of several codes, each row starting at a byte of its own: [N, ceil(PerRow*Bits/8)].
func (b *Blocks) zeroRows() []byte {
	per := b.PerRow()
	if b.Bits == 8 {
		return whole(b.Zeros)
	}
	width := (per + 1) / 2
	out := make([]byte, b.N*width)
	for n := range b.N {
		for i := range per {
			out[n*width+i/2] |= uint8(b.Zeros[n*per+i]) << (i % 2 * 4)
		}
	}
	return out
}

func whole(v []float32) []byte {
	out := make([]byte, len(v))
	for i, x := range v {
		out[i] = uint8(x)
	}
	return out
}

// codeRows returns the codes as [N, ceil(K*Bits/8)] bytes, each row starting at a byte of its own.
func (b *Blocks) codeRows() []byte {
	if b.Bits == 8 {
		return b.Codes
	}
	width := (b.K + 1) / 2
	out := make([]byte, b.N*width)
	for n := range b.N {
		row := b.Codes[n*b.K : (n+1)*b.K]
		dst := out[n*width : (n+1)*width]
		for i, c := range row {
			dst[i/2] |= c << (i % 2 * 4)
		}
	}
	return out
}

// nibbles packs codes two to a byte over the whole tensor, as raw data of ONNX's four-bit types are.
func nibbles(codes []uint8) []byte {
	out := make([]byte, (len(codes)+1)/2)
	for i, c := range codes {
		out[i/2] |= c & 15 << (i % 2 * 4)
	}
	return out
}

// signed turns codes around the middle into two's complement of the same width: 2^(bits-1) becomes 0.
func signed(codes []uint8, bits int) []uint8 {
	mid, mask := uint8(1)<<(bits-1), uint8(1<<bits-1)
	out := make([]uint8, len(codes))
	for i, c := range codes {
		out[i] = (c - mid) & mask
	}
	return out
}

// transpose turns [rows, cols] into [cols, rows], in squares that fit the cache.
func transpose[T any](in []T, rows, cols int) []T {
	out := make([]T, len(in))
	const side = 32
	for r0 := 0; r0 < rows; r0 += side {
		for c0 := 0; c0 < cols; c0 += side {
			for r := r0; r < min(r0+side, rows); r++ {
				row := in[r*cols : (r+1)*cols]
				for c := c0; c < min(c0+side, cols); c++ {
					out[c*rows+r] = row[c]
				}
			}
		}
	}
	return out
}
