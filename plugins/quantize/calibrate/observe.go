package calibrate

import (
	"math"
	"math/big"
	"sync"
	"sync/atomic"
)

// observer folds the values of one tensor.
type observer struct {
	mu       sync.Mutex // runs of the model may come at the same time
	seen     Range
	elements uint64
	runs     int64
	lo, hi   exactSum // of the bounds of each run
	hist     *Histogram
	axis     int // of the channels; -1: none are counted
	channels []channel
	// uneven: the number of channels changed from run to run, so that they are none.
	uneven   bool
	scratch  []float32
	finished *Tensor
}

// channel is what is kept of one channel.
type channel struct {
	seen   Range
	lo, hi exactSum
	hist   *Histogram
}

var empty = Range{float32(math.Inf(1)), float32(math.Inf(-1))}

func newObserver(histogram bool, axis int) *observer {
	o := &observer{seen: empty, axis: axis}
	if histogram {
		o.hist = newHistogram(tensorHalf)
	}
	return o
}

// chunk is a piece of a tensor that stays in the first-level cache between the look for bounds and the count.
const chunk = 4096

// observe folds the values of one run, and returns the first that is no finite number: then what was folded before is of
// no use any more.
func (o *observer) observe(v []float32, shape []int64, o2 Options) (bad *float32) {
	run, ok := scan(v, o.hist)
	if !ok {
		x := notFinite(v)
		return &x
	}
	if len(v) == 0 {
		return nil
	}
	o.elements += uint64(len(v))
	o.seen = o.seen.Union(run)
	o.runs++
	o.lo.add(run.Min)
	o.hi.add(run.Max)
	if o.axis >= 0 {
		o.perChannel(v, shape, o2)
	}
	return nil
}

// scan returns the bounds of v and counts its values in h, which may be nil; false when one is not finite: then h is of
// no use any more.
func scan(v []float32, h *Histogram) (Range, bool) {
	all := empty
	for len(v) > 0 {
		part := v[:min(chunk, len(v))]
		v = v[len(part):]
		r, ok := bounds(part)
		if !ok {
			return all, false
		}
		all = all.Union(r)
		if h != nil {
			h.add(part, r)
		}
	}
	return all, true
}

// bounds returns the smallest and largest of v, which is not empty; false when one is not finite.
func bounds(v []float32) (Range, bool) {
	lo, hi, odd, done := boundsVectors(v)
	if done == 0 {
		return boundsGo(v)
	}
	if odd != odd {
		return Range{}, false
	}
	// A negative zero is a zero: which of the two comes first must not matter.
	all := Range{lo + 0, hi + 0}
	if done < len(v) {
		r, ok := boundsGo(v[done:])
		return all.Union(r), ok
	}
	return all, true
}

// boundsGo is bounds; two halves are looked at side by side, so that one comparison need not wait for the other.
func boundsGo(v []float32) (Range, bool) {
	lo, hi := v[0], v[0]
	lo2, hi2 := lo, hi
	nan := false
	half := len(v) / 2
	a, b := v[:half], v[half:]
	b = b[:len(a)]
	for i, x := range a {
		y := b[i]
		// What is not at least the smallest is smaller, or no number.
		if !(x >= lo) {
			nan = nan || x != x
			lo = x
		}
		if !(y >= lo2) {
			nan = nan || y != y
			lo2 = y
		}
		if x > hi {
			hi = x
		}
		if y > hi2 {
			hi2 = y
		}
	}
	x := v[len(v)-1]
	nan = nan || x != x || v[0] != v[0]
	lo, hi = min(lo, lo2, x), max(hi, hi2, x)
	if nan || math.IsInf(float64(lo), 0) || math.IsInf(float64(hi), 0) {
		return Range{}, false
	}
	// A negative zero is a zero: which of the two comes first must not matter.
	return Range{lo + 0, hi + 0}, true
}

func notFinite(v []float32) float32 {
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return x
		}
	}
	return float32(math.NaN())
}

// perChannel folds the channels of one run.
func (o *observer) perChannel(v []float32, shape []int64, opt Options) {
	if o.uneven || o.axis >= len(shape) || shape[o.axis] <= 0 {
		o.uneven = true
		return
	}
	c := int(shape[o.axis])
	if o.channels == nil {
		o.channels = make([]channel, c)
		for i := range o.channels {
			o.channels[i].seen = empty
			if opt.Method.Histograms() {
				o.channels[i].hist = newHistogram(channelHalf)
			}
		}
	}
	if len(o.channels) != c {
		o.uneven, o.channels = true, nil
		return
	}
	inner := 1
	for _, d := range shape[o.axis+1:] {
		inner *= int(d)
	}
	outer := len(v) / (c * inner)
	for i := range o.channels {
		ch := &o.channels[i]
		run := empty
		fold := func(part []float32) {
			r, _ := scan(part, ch.hist)
			run = run.Union(r)
		}
		if inner >= 64 {
			for k := range outer {
				fold(v[(k*c+i)*inner:][:inner])
			}
		} else {
			// Short pieces are put together first.
			part := o.scratch[:0]
			for k := range outer {
				part = append(part, v[(k*c+i)*inner:][:inner]...)
				if len(part) >= chunk {
					fold(part)
					part = part[:0]
				}
			}
			if len(part) > 0 {
				fold(part)
			}
			o.scratch = part[:0]
		}
		ch.seen = ch.seen.Union(run)
		if opt.Method == MovingAverage {
			ch.lo.add(run.Min)
			ch.hi.add(run.Max)
		}
	}
}

// result is what the observer learnt.
func (o *observer) result(opt Options) *Tensor {
	t := &Tensor{Seen: o.seen, Elements: o.elements, Axis: -1}
	if o.hist != nil {
		t.Histogram = o.hist.trimmed()
	}
	if o.elements == 0 {
		t.Seen = Range{}
	}
	t.Average = Range{o.lo.mean(o.runs), o.hi.mean(o.runs)}
	t.Chosen = opt.choose(t.Seen, t.Average, t.Histogram)
	if o.channels != nil {
		t.Axis = o.axis
		for i := range o.channels {
			c := &o.channels[i]
			t.Channels = append(t.Channels, opt.choose(c.seen, Range{c.lo.mean(o.runs), c.hi.mean(o.runs)}, c.hist))
		}
	}
	return t
}

// exactSum adds up float32 numbers without rounding, so that their order does not matter: a sum for each exponent,
// of significands, which takes 2^39 numbers.
type exactSum struct{ sums map[uint8]int64 }

func (s *exactSum) add(x float32) {
	if s.sums == nil {
		s.sums = map[uint8]int64{}
	}
	b := math.Float32bits(x)
	e, m := uint8(b>>23), int64(b&(1<<23-1))
	if e == 0 {
		e = 1 // subnormal: no hidden bit, and the exponent of 1
	} else {
		m |= 1 << 23
	}
	if b>>31 != 0 {
		m = -m
	}
	s.sums[e] += m
}

// mean of n numbers, rounded once; 0 when there are none.
func (s *exactSum) mean(n int64) float32 {
	if n == 0 || s.sums == nil {
		return 0
	}
	sum := new(big.Int)
	for e, m := range s.sums {
		sum.Add(sum, new(big.Int).Lsh(big.NewInt(m), uint(e)))
	}
	// The significand of exponent e counts in units of 2^(e-150).
	q := new(big.Rat).SetFrac(sum, new(big.Int).Lsh(big.NewInt(n), 150))
	f, _ := q.Float32()
	return f
}

// parallel calls f(0) to f(n-1) on at most threads goroutines.
func parallel(n, threads int, f func(i int)) {
	threads = min(max(threads, 1), n)
	if threads <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}
