package dataset

import (
	"image"
	"image/color"
)

// colors takes the pixels out of what the decoders return: gray images with one
// channel, all others as RGB. Transparency is dropped, not blended, and of 16 bits the
// upper 8 are kept.
func (m *imageMemory) colors(out *pixels, img image.Image, limited bool, need image.Rectangle) {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	three := func(src []byte, stride, size, step int) {
		out.fit(w, h, 3)
		for y := range h {
			dst, line := out.row(y), src[y*stride:]
			for x, at := 0, 0; x < len(dst); x, at = x+3, at+size {
				p := line[at : at+2*step+1]
				dst[x], dst[x+1], dst[x+2] = p[0], p[step], p[2*step]
			}
		}
	}
	one := func(src []byte, stride, size int) {
		out.fit(w, h, 1)
		for y := range h {
			line := src[y*stride:]
			for x := range out.row(y) {
				out.data[y*w+x] = line[x*size]
			}
		}
	}
	switch v := img.(type) {
	case *image.YCbCr:
		m.ycbcr(out, v, limited, need)
	case *image.NYCbCrA:
		m.ycbcr(out, &v.YCbCr, limited, need)
	case *image.Gray:
		one(v.Pix, v.Stride, 1)
	case *image.Gray16:
		one(v.Pix, v.Stride, 2)
	case *image.RGBA: // of opaque images only
		three(v.Pix, v.Stride, 4, 1)
	case *image.NRGBA:
		three(v.Pix, v.Stride, 4, 1)
	case *image.RGBA64:
		three(v.Pix, v.Stride, 8, 2)
	case *image.NRGBA64:
		three(v.Pix, v.Stride, 8, 2)
	case *image.Paletted:
		var palette [256][3]byte
		for i, c := range v.Palette {
			n := color.NRGBAModel.Convert(c).(color.NRGBA)
			palette[i&255] = [3]byte{n.R, n.G, n.B}
		}
		out.fit(w, h, 3)
		for y := range h {
			dst := out.row(y)
			for x, i := range v.Pix[y*v.Stride : y*v.Stride+w] {
				copy(dst[3*x:], palette[i][:])
			}
		}
	case *image.CMYK:
		out.fit(w, h, 3)
		for y := range h {
			dst, src := out.row(y), v.Pix[y*v.Stride:]
			for x := range w {
				p := src[4*x : 4*x+4]
				light := 255 - int32(p[3])
				for c := range 3 { // rounded as Pillow does it: by 255, not by 256
					ink := int32(p[c])*light + 128
					dst[3*x+c] = byte(light - (ink>>8+ink)>>8)
				}
			}
		}
	default: // what the decoders may return one day
		out.fit(w, h, 3)
		for y := range h {
			dst := out.row(y)
			for x := range w {
				n := color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				dst[3*x], dst[3*x+1], dst[3*x+2] = n.R, n.G, n.B
			}
		}
	}
}

// ycbcr converts luma and chroma. JPEG's has the full range (JFIF 1.02), WebP's the
// limited one of ITU-R 601. Chroma of half the width or height is interpolated as the
// usual decoders do it (triangle filter), since models were trained on their pixels.
// Only pixels of need are converted: a crop often reads half of an image.
func (m *imageMemory) ycbcr(out *pixels, v *image.YCbCr, limited bool, need image.Rectangle) {
	w, h := v.Rect.Dx(), v.Rect.Dy()
	out.fit(w, h, 3)
	halfX := v.SubsampleRatio == image.YCbCrSubsampleRatio422 || v.SubsampleRatio == image.YCbCrSubsampleRatio420
	halfY := v.SubsampleRatio == image.YCbCrSubsampleRatio440 || v.SubsampleRatio == image.YCbCrSubsampleRatio420
	bare := !limited && halfX && w <= 4 // libjpeg does not interpolate chroma of one or two samples
	other := bare || !halfX && !halfY && v.SubsampleRatio != image.YCbCrSubsampleRatio444
	for i := range m.chroma {
		if cap(m.chroma[i]) < w+2 {
			m.chroma[i] = make([]byte, w+2)
		}
	}
	cb, cr := m.chroma[0][:w+2], m.chroma[1][:w+2]
	need = need.Intersect(image.Rect(0, 0, w, h))
	from, to := need.Min.X, need.Max.X
	for y := need.Min.Y; y < need.Max.Y; y++ {
		luma := v.Y[y*v.YStride:][from:to]
		switch {
		case other: // 4:1:1 and 4:1:0, too, are taken as they are
			for x := range w {
				at := v.COffset(v.Rect.Min.X+x, v.Rect.Min.Y+y)
				cb[x], cr[x] = v.Cb[at], v.Cr[at]
			}
		case limited && halfX && halfY:
			webpRow(cb, v.Cb, v.CStride, y, w, h)
			webpRow(cr, v.Cr, v.CStride, y, w, h)
		default:
			chromaRow(cb, v.Cb, v.CStride, y, w, h, halfX, halfY)
			chromaRow(cr, v.Cr, v.CStride, y, w, h, halfX, halfY)
		}
		dst := out.row(y)[3*from : 3*to]
		if limited {
			limitedRow(dst, luma, cb[from:], cr[from:])
		} else {
			fullRow(dst, luma, cb[from:], cr[from:])
		}
	}
}

// chromaRow interpolates one row of a plane. The rounding alternates, so that no
// direction is favoured; it is that of the IJG's decoder.
func chromaRow(dst, plane []byte, stride, y, w, h int, halfX, halfY bool) {
	if !halfY {
		src := plane[y*stride:]
		if !halfX {
			copy(dst[:w], src)
			return
		}
		n := (w + 1) / 2
		for i, c := range src[:n] {
			before, after := src[max(i-1, 0)], src[min(i+1, n-1)]
			dst[2*i] = byte((3*uint32(c) + uint32(before) + 1) >> 2)
			dst[2*i+1] = byte((3*uint32(c) + uint32(after) + 2) >> 2)
		}
		dst[0] = src[0]
		if w == 2*n {
			dst[w-1] = src[n-1]
		}
		return
	}
	rows := (h + 1) / 2
	near := y / 2
	far := near - 1
	if y&1 == 1 {
		far = near + 1
	}
	far = max(0, min(far, rows-1))
	a, b := plane[near*stride:], plane[far*stride:]
	if !halfX {
		round := uint32(1 + y&1)
		for i := range w {
			dst[i] = byte((3*uint32(a[i]) + uint32(b[i]) + round) >> 2)
		}
		return
	}
	n := (w + 1) / 2
	a, b, dst = a[:n], b[:n], dst[:2*n]
	this := 3*uint32(a[0]) + uint32(b[0])
	last := this
	for i := range n {
		next := this
		if i+1 < n {
			next = 3*uint32(a[i+1]) + uint32(b[i+1])
		}
		dst[2*i] = byte((3*this + last + 8) >> 4)
		dst[2*i+1] = byte((3*this + next + 7) >> 4)
		last, this = this, next
	}
	// At both ends there is nothing to interpolate with, and both round up.
	dst[0] = byte((4*(3*uint32(a[0])+uint32(b[0])) + 8) >> 4)
	dst[2*n-1] = byte((4*(3*uint32(a[n-1])+uint32(b[n-1])) + 7) >> 4)
}

// fullTables hold the products of JFIF's conversion in 16-bit fixed point.
var fullTables = func() (t struct{ r, gr, gb, b [256]int32 }) {
	for i := range 256 {
		x := int32(i) - 128
		t.r[i] = (91881*x + 1<<15) >> 16  // 1.402
		t.b[i] = (116130*x + 1<<15) >> 16 // 1.772
		t.gr[i] = -46802 * x              // 0.71414
		t.gb[i] = -22554*x + 1<<15        // 0.34414
	}
	return t
}()

func fullRow(dst, luma, cb, cr []byte) {
	cb, cr = cb[:len(luma)], cr[:len(luma)]
	t := &fullTables
	for i, y8 := range luma {
		if len(dst) < 3 {
			return
		}
		y, b, r := int32(y8), cb[i], cr[i]
		dst[0] = clamp(y + t.r[r])
		dst[1] = clamp(y + (t.gb[b]+t.gr[r])>>16)
		dst[2] = clamp(y + t.b[b])
		dst = dst[3:]
	}
}

// clamp brings a sum into a byte.
func clamp(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31)) // 0 below, 255 above
	}
	return byte(v)
}

// webpRow interpolates chroma of half width and height with weights 9, 3, 3, 1 in the
// two steps of libwebp, which round each on their own.
func webpRow(dst, plane []byte, stride, y, w, h int) {
	n, rows := (w+1)/2, (h+1)/2
	near := y / 2
	far := near - 1
	if y&1 == 1 {
		far = near + 1
	}
	far = max(0, min(far, rows-1))
	a, b := plane[near*stride:][:n], plane[far*stride:][:n]
	at := func(s []byte, i int) uint32 { return uint32(s[i]) }
	dst[0] = byte((3*at(a, 0) + at(b, 0) + 2) >> 2)
	for i := 1; i < n; i++ {
		a0, a1, b0, b1 := at(a, i-1), at(a, i), at(b, i-1), at(b, i)
		sum := a0 + a1 + b0 + b1 + 8
		// dst[2i-1] is nearest to a0, dst[2i] to a1.
		dst[2*i-1] = byte(((sum+2*(a1+b0))>>3 + a0) >> 1)
		dst[2*i] = byte(((sum+2*(a0+b1))>>3 + a1) >> 1)
	}
	if w == 2*n {
		dst[w-1] = byte((3*at(a, n-1) + at(b, n-1) + 2) >> 2)
	}
}

// limitedRow converts ITU-R 601 in 14-bit fixed point; the constants are those of the
// WebP specification's reference decoder.
func limitedRow(dst, luma, cb, cr []byte) {
	for i, y8 := range luma {
		y, u, v := int32(y8)*19077>>8, int32(cb[i]), int32(cr[i])
		dst[3*i] = clamp((y + v*26149>>8 - 14234) >> 6)
		dst[3*i+1] = clamp((y - u*6419>>8 - v*13320>>8 + 8708) >> 6)
		dst[3*i+2] = clamp((y + u*33050>>8 - 17685) >> 6)
	}
}
