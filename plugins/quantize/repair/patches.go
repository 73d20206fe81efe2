package repair

import (
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// Window is what a convolution reads: kernel, strides, dilations, and the pads in front and behind, of each spatial axis.
type Window struct {
	Kernel, Strides, Dilations, Before, After []int
}

// span is where one place of a kernel lies on an axis as the kernel moves: count elements from start, stride apart.
type span struct{ start, count int }

// spans are those of each place of the kernel along axis i of n elements, those in the padding left out, and how often the
// kernel is put down.
func (w Window) spans(i, n int) (at []span, steps int) {
	reach := (w.Kernel[i]-1)*w.Dilations[i] + 1
	steps = (n+w.Before[i]+w.After[i]-reach)/w.Strides[i] + 1
	if n+w.Before[i]+w.After[i] < reach {
		steps = 0
	}
	at = make([]span, w.Kernel[i])
	for k := range at {
		first := k*w.Dilations[i] - w.Before[i]
		o := 0
		if first < 0 {
			o = (-first + w.Strides[i] - 1) / w.Strides[i]
		}
		start := first + o*w.Strides[i]
		count := 0
		if start < n {
			count = min(steps-o, (n-1-start)/w.Strides[i]+1)
		}
		at[k] = span{start, max(count, 0)}
	}
	return at, steps
}

// AddPatches adds to sum, [channels, places of the kernel] in the order of a weight's axes, what each place of a
// convolution's kernel reads of x, [samples, channels, spatial axes], over all patches, and returns how many patches
// there are. Padding counts as zeros. What it adds does not depend on the number of threads.
func (w Window) AddPatches(sum []float64, x []float32, shape []int64, threads int) (rows float64, err error) {
	axes := len(w.Kernel)
	if len(shape) != axes+2 {
		return 0, fmt.Errorf("it has %d axes, not %d", len(shape), axes+2)
	}
	places, rows := 1, float64(shape[0])
	at, size := make([][]span, axes), 1
	for i, k := range w.Kernel {
		places *= k
		var steps int
		at[i], steps = w.spans(i, int(shape[i+2]))
		rows *= float64(steps)
		size *= int(shape[i+2])
	}
	samples, channels := int(shape[0]), int(shape[1])
	if len(sum) != channels*places || len(x) != samples*channels*size {
		return 0, errSizes
	}
	solve.Parallel(threads, channels, 1, func(from, to int) {
		var a, b []float64
		for c := from; c < to; c++ {
			for s := range samples {
				block := x[(s*channels+c)*size:][:size]
				// Axis by axis, the last first: elements along it become one sum for each place of the kernel.
				n := int(shape[len(shape)-1])
				a = sumRows(a[:0], block, n, at[axes-1], w.Strides[axes-1])
				inner := w.Kernel[axes-1]
				for i := axes - 2; i >= 0; i-- {
					b = sumAxis(b[:0], a, int(shape[i+2]), inner, at[i], w.Strides[i])
					a, b = b, a
					inner *= w.Kernel[i]
				}
				for k, v := range a {
					sum[c*places+k] += v
				}
			}
		}
	})
	for _, v := range sum {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, errNotFinite
		}
	}
	return rows, nil
}

// sumRows appends for each row of n elements the sums of the spans. Spans that differ by their ends alone share the sum of
// what lies between.
func sumRows(dst []float64, x []float32, n int, at []span, stride int) []float64 {
	for len(x) >= n && n > 0 {
		row := x[:n]
		x = x[n:]
		base := len(dst)
		for k, s := range at {
			if k > 0 {
				if v, ok := shifted(row, dst[base+k-1], at[k-1], s, stride); ok {
					dst = append(dst, v)
					continue
				}
			}
			dst = append(dst, strided(row, s, stride))
		}
	}
	return dst
}

func strided(row []float32, s span, stride int) float64 {
	if s.count == 0 {
		return 0 // it may start behind the end
	}
	if stride == 1 {
		var a, b, c, d float32 // a row is short: the sum of a quarter of it needs no more digits
		v := row[s.start:][:s.count]
		for len(v) >= 4 {
			a, b, c, d = a+v[0], b+v[1], c+v[2], d+v[3]
			v = v[4:]
		}
		for _, x := range v {
			a += x
		}
		return float64(a) + float64(b) + float64(c) + float64(d)
	}
	var sum float64
	for i, o := s.start, 0; o < s.count; i, o = i+stride, o+1 {
		sum += float64(row[i])
	}
	return sum
}

// shifted is the sum of span b, made from that of a, which lies a few elements beside it; false where it does not.
func shifted(row []float32, sum float64, a, b span, stride int) (float64, bool) {
	if stride != 1 || a.count < 8 || b.start < a.start || b.start-a.start > 4 || b.start+b.count < a.start+a.count || b.start+b.count-a.start-a.count > 4 {
		return 0, false
	}
	for _, x := range row[a.start:b.start] {
		sum -= float64(x)
	}
	for _, x := range row[a.start+a.count : b.start+b.count] {
		sum += float64(x)
	}
	return sum, true
}

// sumAxis appends the sums of the spans along an axis of n, whose elements are rows of inner numbers.
func sumAxis(dst, x []float64, n, inner int, at []span, stride int) []float64 {
	for len(x) >= n*inner && n*inner > 0 {
		block := x[:n*inner]
		x = x[n*inner:]
		for _, s := range at {
			base := len(dst)
			dst = append(dst, make([]float64, inner)...)
			out := dst[base:]
			for i, o := s.start, 0; o < s.count; i, o = i+stride, o+1 {
				for k, v := range block[i*inner:][:inner] {
					out[k] += v
				}
			}
		}
	}
	return dst
}

// AddRows adds to sum what the last axis of x, whole rows of len(sum) elements, holds, and returns how many rows there are.
func AddRows(sum []float64, x []float32) (rows float64, err error) {
	k := len(sum)
	if k == 0 || len(x)%k != 0 {
		return 0, errSizes
	}
	for at := 0; at < len(x); at += k {
		for i, v := range x[at:][:k] {
			sum[i] += float64(v)
		}
	}
	for _, v := range sum {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, errNotFinite
		}
	}
	return float64(len(x) / k), nil
}
