package dataset

import (
	"image"
	"math"
)

// filter is a kernel of resampling and how far it reaches.
type filter struct {
	support float64 // 0: nearest
	at      func(x float64) float64
}

var filters = map[string]*filter{
	"nearest": {},
	"bilinear": {1, func(x float64) float64 {
		return max(0, 1-math.Abs(x))
	}},
	// Keys' cubic with a = -0.5 (Keys 1981).
	"bicubic": {2, func(x float64) float64 {
		const a = -0.5
		switch x = math.Abs(x); {
		case x < 1:
			return float64(float64((a+2)*x)-(a+3))*x*x + 1
		case x < 2:
			return (float64((float64(x-5)*x+8)*x) - 4) * a
		}
		return 0
	}},
	"lanczos": {3, func(x float64) float64 {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}},
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// Pillow, whose pixels these are, works with weights in fixed point of 22 bits: 8 bits
// of the pixel and 2 for what overshoots are left of 32.
const weightBits = 22

// weights say, for each pixel of the result along one axis, from which pixel on the
// source is read and with which weights.
type weights struct {
	from  []int32
	count []int32
	size  int     // of each pixel's room in k
	k     []int32 // empty for nearest
}

type weightsKey struct {
	in, out, at, n int
	filter         *filter
}

// newWeights works out n pixels from at of an axis of in pixels that is resized to out.
// When it shrinks, the kernel is stretched over all pixels that go into one: antialiasing.
func newWeights(in, out, at, n int, f *filter) *weights {
	scale := float64(in) / float64(out)
	w := &weights{from: make([]int32, n), count: make([]int32, n)}
	if f.support == 0 {
		for i := range n {
			w.from[i] = int32(min(int(float64(scale*(float64(at+i)+0.5))), in-1))
			w.count[i] = 1
		}
		return w
	}
	stretch := max(scale, 1)
	support := f.support * stretch
	w.size = int(math.Ceil(support))*2 + 1
	w.k = make([]int32, n*w.size)
	real := make([]float64, w.size)
	for i := range n {
		center := (float64(at+i) + 0.5) * scale
		from := max(0, int(center-support+0.5))
		to := min(in, int(center+support+0.5))
		var sum float64
		for x := from; x < to; x++ {
			v := f.at((float64(x) - center + 0.5) * (1 / stretch))
			real[x-from] = v
			sum += v
		}
		w.from[i], w.count[i] = int32(from), int32(to-from)
		for x := range to - from {
			v := real[x]
			if sum != 0 {
				v /= sum
			}
			w.k[i*w.size+x] = int32(math.Round(v * (1 << weightBits)))
		}
	}
	return w
}

// resize scales img to rw by rh and cuts w by h out of it at x, y: only these pixels
// are worked out. The result is equal to Pillow's resize and crop.
func (m *imageMemory) resize(img *pixels, f *filter, rw, rh, x, y, w, h int) *pixels {
	if rw == img.w && rh == img.h {
		return m.cut(img, x, y, w, h)
	}
	m.prepare(f, img.w, img.h, rw, rh, x, y, w, h)
	if f.support == 0 {
		m.sized.fit(w, h, img.ch)
		for i := range h {
			nearestRow(m.sized.row(i), img.row(int(m.down.from[i])), m.across.from, img.ch)
		}
		return &m.sized
	}
	// First across, of the rows that the second pass reads; each pass that changes
	// nothing is left out, as its rounding would be.
	top, bottom := int(m.down.from[0]), int(m.down.from[h-1]+m.down.count[h-1])
	if rh == img.h {
		top, bottom = y, y+h
	}
	var src *pixels
	if rw != img.w {
		m.wide.fit(w, bottom-top, img.ch)
		for i := range bottom - top {
			across(m.wide.row(i), img.row(top+i), m.across, img.ch)
		}
		src = &m.wide
	} else {
		src = m.cutInto(&m.wide, img, x, top, w, bottom-top)
	}
	if rh == img.h {
		return src
	}
	m.sized.fit(w, h, img.ch)
	if cap(m.sums) < w*img.ch {
		m.sums = make([]int32, w*img.ch)
	}
	for i := range h {
		down(m.sized.row(i), src, int(m.down.from[i])-top, m.down.k[i*m.down.size:][:m.down.count[i]], m.sums[:w*img.ch])
	}
	return &m.sized
}

// prepare has the weights of both passes over an image of iw by ih ready.
func (m *imageMemory) prepare(f *filter, iw, ih, rw, rh, x, y, w, h int) {
	if k := (weightsKey{iw, rw, x, w, f}); m.across == nil || m.acrossOf != k {
		m.across, m.acrossOf = newWeights(iw, rw, x, w, f), k
	}
	if k := (weightsKey{ih, rh, y, h, f}); m.down == nil || m.downOf != k {
		m.down, m.downOf = newWeights(ih, rh, y, h, f), k
	}
}

// reach is the part of an image of iw by ih that resize will read.
func (m *imageMemory) reach(f *filter, iw, ih, rw, rh, x, y, w, h int) image.Rectangle {
	r := image.Rect(x, y, x+w, y+h)
	if rw == iw && rh == ih {
		return r
	}
	m.prepare(f, iw, ih, rw, rh, x, y, w, h)
	ends := func(k *weights, n int) (int, int) { return int(k.from[0]), int(k.from[n-1] + k.count[n-1]) }
	if rw != iw || f.support == 0 {
		r.Min.X, r.Max.X = ends(m.across, w)
	}
	if rh != ih || f.support == 0 {
		r.Min.Y, r.Max.Y = ends(m.down, h)
	}
	return r
}

func (m *imageMemory) cut(img *pixels, x, y, w, h int) *pixels {
	if w == img.w && h == img.h {
		return img
	}
	return m.cutInto(&m.sized, img, x, y, w, h)
}

func (m *imageMemory) cutInto(dst, img *pixels, x, y, w, h int) *pixels {
	dst.fit(w, h, img.ch)
	for i := range h {
		copy(dst.row(i), img.row(y + i)[x*img.ch:])
	}
	return dst
}

func nearestRow(dst, src []byte, from []int32, ch int) {
	for i, f := range from {
		copy(dst[i*ch:(i+1)*ch], src[int(f)*ch:])
	}
}

// across resamples one row.
func across(dst, src []byte, w *weights, ch int) {
	const half = 1 << (weightBits - 1)
	for i, from := range w.from {
		k := w.k[i*w.size:][:w.count[i]]
		if ch == 1 {
			sum := int32(half)
			for x, p := range src[from:][:len(k)] {
				sum += int32(p) * k[x]
			}
			dst[i] = clamp(sum >> weightBits)
			continue
		}
		r, g, b := int32(half), int32(half), int32(half)
		p := src[3*from:][:3*len(k)]
		for _, v := range k {
			if len(p) < 3 {
				break
			}
			r += int32(p[0]) * v
			g += int32(p[1]) * v
			b += int32(p[2]) * v
			p = p[3:]
		}
		d := dst[3*i : 3*i+3]
		d[0], d[1], d[2] = clamp(r>>weightBits), clamp(g>>weightBits), clamp(b>>weightBits)
	}
}

// down resamples one row of the result out of rows of src. It goes along rows, two at
// a time, so that memory is read in order.
func down(dst []byte, src *pixels, from int, k []int32, sums []int32) {
	const half = 1 << (weightBits - 1)
	for i := range sums {
		sums[i] = half
	}
	for ; len(k) >= 2; k, from = k[2:], from+2 {
		a, b := src.row(from)[:len(sums)], src.row(from + 1)[:len(sums)]
		k0, k1 := k[0], k[1]
		for i := range sums {
			sums[i] += int32(a[i])*k0 + int32(b[i])*k1
		}
	}
	if len(k) == 1 {
		a, k0 := src.row(from)[:len(sums)], k[0]
		for i := range sums {
			sums[i] += int32(a[i]) * k0
		}
	}
	dst = dst[:len(sums)]
	for i, v := range sums {
		dst[i] = clamp(v >> weightBits)
	}
}
