package quantize

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// channelsOf is a row-major tensor seen as [outer, channels, inner]. Per tensor there is one channel.
type channelsOf struct{ outer, channels, inner int }

// channelLayout views shape along axis; axis < 0 is per tensor.
func channelLayout(shape []int64, axis int) channelsOf {
	l := channelsOf{1, 1, 1}
	for i, d := range shape {
		switch {
		case axis < 0 || i > axis:
			l.inner *= int(d)
		case i < axis:
			l.outer *= int(d)
		default:
			l.channels = int(d)
		}
	}
	return l
}

// nonFiniteError says where a NaN or an infinity is in a constant.
type nonFiniteError struct {
	index int
	value float32
}

func (e *nonFiniteError) Error() string {
	return fmt.Sprintf("element %d is %v", e.index, e.value)
}

// channelMax returns the largest magnitude of each channel. The answer does not depend on the number of workers.
func channelMax(w []float32, l channelsOf) ([]float32, error) {
	out := make([]float32, l.channels)
	var bad atomic.Int64
	bad.Store(math.MaxInt64)
	note := func(i int) { // keep the first in order, whoever finds one first
		for {
			old := bad.Load()
			if int64(i) >= old || bad.CompareAndSwap(old, int64(i)) {
				return
			}
		}
	}
	if l.inner == 1 && l.outer > 1 {
		// Channels lie next to each other (MatMul): walk rows, each worker a block of channels, so that memory is
		// read in order within the block.
		parallel(l.channels, l.outer, func(c0, c1 int) {
			for o := range l.outer {
				row := w[o*l.channels+c0 : o*l.channels+c1]
				for i, v := range row {
					a := abs(v)
					if !(a <= math.MaxFloat32) {
						note(o*l.channels + c0 + i)
					}
					if a > out[c0+i] {
						out[c0+i] = a
					}
				}
			}
		})
	} else {
		parallel(l.channels, l.outer*l.inner, func(c0, c1 int) {
			for c := c0; c < c1; c++ {
				var m float32
				for o := range l.outer {
					base := (o*l.channels + c) * l.inner
					for i, v := range w[base : base+l.inner] {
						a := abs(v)
						if !(a <= math.MaxFloat32) {
							note(base + i)
						}
						if a > m {
							m = a
						}
					}
				}
				out[c] = m
			}
		})
	}
	if i := bad.Load(); i != math.MaxInt64 {
		return nil, &nonFiniteError{int(i), w[i]}
	}
	return out, nil
}

// weightScales turns magnitudes into scales. A dead channel has scale 1.
func (s Scheme) weightScales(absmax []float32) []float32 {
	out := make([]float32, len(absmax))
	for i, m := range absmax {
		sc := 2 * float64(m) / float64(s.QMax-s.QMin)
		if sc < smallestNormal {
			out[i] = 1
			continue
		}
		out[i] = float32(sc)
	}
	return out
}

// quantizeWeights rounds w to integers, half to even. scales has one entry per channel.
func (s Scheme) quantizeWeights(w []float32, l channelsOf, scales []float32) []int8 {
	q := make([]int8, len(w))
	lo, hi := float32(s.QMin), float32(s.QMax)
	if l.inner == 1 && l.outer > 1 {
		parallel(l.channels, l.outer, func(c0, c1 int) {
			sc := scales[c0:c1]
			for o := range l.outer {
				base := o*l.channels + c0
				src, dst := w[base:base+len(sc)], q[base:base+len(sc)]
				for i, v := range src {
					dst[i] = round8(v/sc[i], lo, hi)
				}
			}
		})
		return q
	}
	parallel(l.channels, l.outer*l.inner, func(c0, c1 int) {
		for c := c0; c < c1; c++ {
			sc := scales[c]
			for o := range l.outer {
				base := (o*l.channels + c) * l.inner
				src, dst := w[base:base+l.inner], q[base:base+l.inner]
				for i, v := range src {
					dst[i] = round8(v/sc, lo, hi)
				}
			}
		}
	})
	return q
}

// round8 rounds half to even and saturates. Adding and taking away 1.5*2^23 makes the float unit do the rounding:
// saturated first, the value is far inside the range where this is exact.
func round8(v, lo, hi float32) int8 {
	v = min(max(v, lo), hi)
	const magic = 0x1.8p23
	t := float32(v + magic)
	return int8(float32(t - magic))
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// maxBias bounds the magnitude of an int32 bias. The accumulator adds up to 255*127 per weight on top, so the bias
// leaves it half of the range.
const maxBias = 1 << 30

// fitBias widens the scales of channels whose bias would overflow int32 at scale sx*sw, and gives channels
// without weights a scale that keeps their bias exact to 2^-20. bias may be nil. It tells whether it changed any.
func fitBias(scales []float32, absmax []float32, bias []float32, sx float32) (changed bool) {
	for c, b := range bias {
		k := c
		if len(scales) == 1 {
			k = 0
		}
		mag := math.Abs(float64(b))
		if scales[k]*sx < smallestNormal {
			// The bias's own scale would be flushed to zero. Weights this small do not matter beside it.
			scales[k], changed = 2*smallestNormal/min(sx, 1), true
		}
		if absmax[k] == 0 && len(scales) > 1 {
			if sc := float32(mag / (float64(sx) * (1 << 20))); mag > 0 && sc*sx >= smallestNormal && sc != scales[k] {
				scales[k], changed = sc, true
			}
			continue
		}
		if mag > float64(sx)*float64(scales[k])*maxBias {
			scales[k], changed = float32(mag/(float64(sx)*maxBias)), true
		}
	}
	return changed
}

// quantizeBias rounds bias at the scale sx*sw of each channel, which integer kernels require.
func quantizeBias(bias, sw []float32, sx float32) (q []int32, scales []float32) {
	q = make([]int32, len(bias))
	scales = make([]float32, len(sw))
	for i, s := range sw {
		scales[i] = s * sx
	}
	for c, b := range bias {
		sc := scales[0]
		if len(scales) > 1 {
			sc = scales[c]
		}
		v := math.RoundToEven(float64(b) / float64(sc))
		q[c] = int32(min(max(v, math.MinInt32), math.MaxInt32))
	}
	return q, scales
}

// parallel splits n channels, each of about work elements, over the CPUs and waits. Small jobs stay on the caller.
func parallel(n, work int, f func(from, to int)) {
	const grain = 1 << 16 // elements that are worth a goroutine
	workers := min(runtime.GOMAXPROCS(0), n, max(1, n*work/grain))
	if workers <= 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { f(n*i/workers, n*(i+1)/workers) })
	}
	wg.Wait()
}
