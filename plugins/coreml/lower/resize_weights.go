package lower

import "math"

// matrix holds the weights of an axis: [out, in], row-major.
func (r resizing) matrix(a resizedAxis) []float32 {
	m := make([]float32, a.out*a.in)
	for i := range a.out {
		r.row(m[i*a.in:(i+1)*a.in], a.place(i, r.coordinates), a.scale)
	}
	return m
}

// kernel is the weight of a sample at a distance: a triangle, or Keys's cubic.
func (r resizing) kernel(d float64) float64 {
	d = math.Abs(d)
	if r.mode == "linear" {
		return max(1-d, 0)
	}
	a := float64(r.cubic)
	switch {
	case d <= 1:
		return ((a+2)*d-(a+3))*d*d + 1
	case d < 2:
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return 0
}

// row adds up the weights of the samples around a place. Samples outside are those at the edge, unless they are excluded.
// Antialiasing widens the kernel of what becomes smaller.
func (r resizing) row(row []float32, place, scale float32) {
	reach, width := 1.0, 1.0
	if r.mode == "cubic" {
		reach = 2
	}
	if r.antialias && scale < 1 {
		width = 1 / float64(scale)
	}
	in, p := len(row), float64(place)
	if r.mode == "linear" && !r.antialias {
		p = min(max(p, 0), float64(in-1))
	}
	low, high := int(math.Floor(p-reach*width)), int(math.Ceil(p+reach*width))
	total := 0.0
	sum := make([]float64, in)
	for i := low; i <= high; i++ {
		w := r.kernel((float64(i) - p) / width)
		if r.exclude && (i < 0 || i >= in) {
			continue
		}
		sum[min(max(i, 0), in-1)] += w
		total += w
	}
	for i, w := range sum {
		if (r.exclude || width > 1) && total != 0 {
			w /= total
		}
		row[i] = float32(w)
	}
}
