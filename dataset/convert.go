package dataset

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unsafe"

	"github.com/optimize-hcl/optimize/tensor"
)

// converter turns elements of one type into another, with (x·scale - mean) / std on
// the way. It is used by one goroutine.
type converter struct {
	from, to tensor.DType
	swap     bool // the source is big-endian
	arith    bool
	scale    float64
	affine   []affine       // of each channel; at least one
	run      int            // elements of one channel that follow each other
	tables   [][256]float32 // the answers for each byte, when there are only 256
	floats   [block]float64
	ints     [block]int64
}

// block is how many elements are converted at a time: the buffers stay in the
// first-level cache.
const block = 1024

// valueError is an element that the target type cannot hold.
type valueError struct {
	index int // in the elements given
	value string
	why   string
}

func (e *valueError) Error() string { return e.value + ", which " + e.why }

// affine is what is subtracted and divided by after scaling.
type affine struct{ mean, std float64 }

// newConverter prepares elements of one channel after another: run of the first, run
// of the next, and so on. mean and std hold one number or one for each channel; run
// does not matter when both hold one.
func newConverter(from, to tensor.DType, swap bool, scale *float64, mean, std []float64, run int) *converter {
	c := &converter{from: from, to: to, swap: swap, scale: 1, run: max(run, 1)}
	if scale != nil {
		c.scale, c.arith = *scale, true
	}
	c.affine = make([]affine, max(1, len(mean), len(std)))
	for i := range c.affine {
		c.affine[i].std = 1
		if len(mean) > 0 {
			c.affine[i].mean, c.arith = mean[i%len(mean)], true
		}
		if len(std) > 0 {
			c.affine[i].std, c.arith = std[i%len(std)], true
		}
	}
	if to == tensor.F32 && from.Bits() == 8 {
		c.tables = make([][256]float32, len(c.affine))
		for k := range c.tables {
			for i := range c.tables[k] {
				x := float64(i)
				switch from {
				case tensor.I8:
					x = float64(int8(i))
				case tensor.Bool:
					x = float64(min(i, 1))
				}
				c.tables[k][i] = float32(c.prepare(x, c.affine[k]))
			}
		}
	}
	return c
}

// fork gives another goroutine a converter of its own.
func (c *converter) fork() *converter {
	other := *c
	return &other
}

// prepare applies the arithmetic. The conversion in the middle keeps the compiler from
// fusing the operations, which would change bits from one architecture to another.
func (c *converter) prepare(x float64, a affine) float64 {
	return (float64(x*c.scale) - a.mean) / a.std
}

// eachRun calls do with stretches of n elements that have one channel; the first
// element is number at of its sample.
func (c *converter) eachRun(at, n int, do func(from, to, channel int)) {
	if len(c.affine) == 1 {
		do(0, n, 0)
		return
	}
	for i := 0; i < n; {
		k := at + i
		end := min(n, i+c.run-k%c.run)
		do(i, end, k/c.run%len(c.affine))
		i = end
	}
}

// isCopy tells whether the bytes stay as they are.
func (c *converter) isCopy() bool { return c.from == c.to && !c.arith }

// convert fills dst with the elements of src, which may be changed; the first is
// number first of its sample. Both hold whole elements, as many of either. The error
// is a *valueError.
func (c *converter) convert(dst, src []byte, first int) error {
	if c.swap {
		swapBytes(src, c.from.Bits()/8)
	}
	switch {
	case c.isCopy():
		copy(dst, src)
		return nil
	case c.tables != nil:
		c.lookUp(elements[float32](dst), src, first)
		return nil
	}
	in, out := c.from.Bits()/8, c.to.Bits()/8
	for at := 0; at*in < len(src); at += block {
		n := min(block, len(src)/in-at)
		var bad *valueError
		if s, d := src[at*in:(at+n)*in], dst[at*out:(at+n)*out]; isInt(c.from) && isInt(c.to) && !c.arith {
			bad = c.integers(d, s, n)
		} else {
			bad = c.reals(d, s, n, first+at)
		}
		if bad != nil {
			bad.index += at
			return bad
		}
	}
	return nil
}

// lookUp converts bytes by the tables.
func (c *converter) lookUp(out []float32, src []byte, first int) {
	if c.run == 1 && len(c.tables) == 3 && first%3 == 0 { // colours side by side
		r, g, b := &c.tables[0], &c.tables[1], &c.tables[2]
		for ; len(src) >= 3 && len(out) >= 3; src, out = src[3:], out[3:] {
			out[0], out[1], out[2] = r[src[0]], g[src[1]], b[src[2]]
		}
		first = 0
	}
	c.eachRun(first, len(src), func(from, to, channel int) {
		table, in, to32 := &c.tables[channel], src[from:to], out[from:to]
		for i, v := range in {
			to32[i] = table[v]
		}
	})
}

// isInt counts Bool among the integers: it is 0 or 1.
func isInt(d tensor.DType) bool { return d.IsInteger() || d == tensor.Bool }

// integers goes by way of int64, so that large values stay exact.
func (c *converter) integers(dst, src []byte, n int) *valueError {
	v := c.ints[:n]
	switch c.from {
	case tensor.U8:
		widen(v, elements[uint8](src))
	case tensor.Bool:
		widen(v, elements[uint8](src))
		for i, x := range v {
			v[i] = min(x, 1)
		}
	case tensor.I8:
		widen(v, elements[int8](src))
	case tensor.U16:
		widen(v, elements[uint16](src))
	case tensor.I16:
		widen(v, elements[int16](src))
	case tensor.U32:
		widen(v, elements[uint32](src))
	case tensor.I32:
		widen(v, elements[int32](src))
	case tensor.I64:
		widen(v, elements[int64](src))
	case tensor.U64:
		for i, x := range elements[uint64](src) {
			if x > math.MaxInt64 {
				return &valueError{i, fmt.Sprint(x), "does not fit into " + numpyNames[c.to]}
			}
			v[i] = int64(x)
		}
	}
	lo, hi := limits(c.to)
	for i, x := range v {
		if x < lo || x > hi {
			return &valueError{i, fmt.Sprint(x), "does not fit into " + numpyNames[c.to]}
		}
	}
	store(dst, c.to, v)
	return nil
}

// limits returns the least and the greatest value of an integer type, as far as int64 goes.
func limits(d tensor.DType) (lo, hi int64) {
	n := d.Bits()
	switch d {
	case tensor.Bool:
		return 0, 1
	case tensor.U8, tensor.U16, tensor.U32:
		return 0, 1<<n - 1
	case tensor.U64:
		return 0, math.MaxInt64
	}
	return -1 << (n - 1), 1<<(n-1) - 1
}

// reals goes by way of float64; the first element is number first of its sample.
func (c *converter) reals(dst, src []byte, n, first int) *valueError {
	v := c.floats[:n]
	switch c.from {
	case tensor.Bool:
		widen(v, elements[uint8](src))
		for i, x := range v {
			v[i] = min(x, 1)
		}
	case tensor.U8:
		widen(v, elements[uint8](src))
	case tensor.I8:
		widen(v, elements[int8](src))
	case tensor.U16:
		widen(v, elements[uint16](src))
	case tensor.I16:
		widen(v, elements[int16](src))
	case tensor.U32:
		widen(v, elements[uint32](src))
	case tensor.I32:
		widen(v, elements[int32](src))
	case tensor.U64:
		widen(v, elements[uint64](src))
	case tensor.I64:
		widen(v, elements[int64](src))
	case tensor.F16:
		for i, x := range elements[uint16](src) {
			v[i] = float64(tensor.F16ToFloat32(x))
		}
	case tensor.F32:
		widen(v, elements[float32](src))
	case tensor.F64:
		copy(v, elements[float64](src))
	}
	if c.arith {
		c.eachRun(first, n, func(from, to, channel int) {
			a := c.affine[channel]
			for i := from; i < to; i++ {
				v[i] = c.prepare(v[i], a)
			}
		})
	}
	switch c.to {
	case tensor.F64:
		copy(elements[float64](dst), v)
		return nil
	case tensor.F32, tensor.F16, tensor.BF16:
		return narrow(dst, c.to, v)
	}
	return c.whole(dst, v)
}

// narrow rounds to a smaller float. A finite number that would become infinite is an
// error; infinities and NaN pass as they are.
func narrow(dst []byte, to tensor.DType, v []float64) *valueError {
	for i, x := range v {
		f := float32(x)
		wide := float64(f)
		switch to {
		case tensor.F32:
			elements[float32](dst)[i] = f
		case tensor.F16:
			h := tensor.Float32ToF16(f)
			wide = float64(tensor.F16ToFloat32(h))
			elements[uint16](dst)[i] = h
		case tensor.BF16:
			h := tensor.Float32ToBF16(f)
			wide = float64(tensor.BF16ToFloat32(h))
			elements[uint16](dst)[i] = h
		}
		if math.IsInf(wide, 0) && !math.IsInf(x, 0) {
			return &valueError{i, fmt.Sprint(x), "does not fit into " + numpyNames[to]}
		}
	}
	return nil
}

// whole stores reals in an integer type: after arithmetic they are rounded to the
// nearest, ties to even; without it a fraction is a mistake.
func (c *converter) whole(dst []byte, v []float64) *valueError {
	lo, hi := limits(c.to)
	ints := c.ints[:len(v)]
	for i, x := range v {
		r := math.RoundToEven(x)
		if r != x && !c.arith {
			return &valueError{i, fmt.Sprint(x), "is not a whole number, as " + numpyNames[c.to] + " needs"}
		}
		// float64(hi)+1 is exact also for 64 bits, where hi itself is not.
		if !(r >= float64(lo) && r < float64(hi)+1) {
			return &valueError{i, fmt.Sprint(x), "does not fit into " + numpyNames[c.to]}
		}
		ints[i] = int64(r)
	}
	store(dst, c.to, ints)
	return nil
}

func widen[D int64 | float64, S tensor.Number](dst []D, src []S) {
	for i, x := range src {
		dst[i] = D(x)
	}
}

// store narrows values that were checked to fit.
func store(dst []byte, to tensor.DType, v []int64) {
	switch to {
	case tensor.U8, tensor.Bool:
		put[uint8](dst, v)
	case tensor.I8:
		put[int8](dst, v)
	case tensor.U16:
		put[uint16](dst, v)
	case tensor.I16:
		put[int16](dst, v)
	case tensor.U32:
		put[uint32](dst, v)
	case tensor.I32:
		put[int32](dst, v)
	case tensor.U64:
		put[uint64](dst, v)
	case tensor.I64:
		put[int64](dst, v)
	}
}

func put[D tensor.Number](dst []byte, v []int64) {
	out := elements[D](dst)
	for i, x := range v {
		out[i] = D(x)
	}
}

// elements views a buffer of this package, which is aligned to 8 bytes from its start
// and cut at whole elements, as numbers.
func elements[T tensor.Number](b []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(zero)))
}

// aligned makes a buffer that elements can view.
func aligned(size int) []byte {
	words := make([]uint64, (size+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), size)
}

// swapBytes turns big-endian elements of width bytes round.
func swapBytes(b []byte, width int) {
	switch width {
	case 2:
		v := elements[uint16](b)
		for i, x := range v {
			v[i] = bits.ReverseBytes16(x)
		}
	case 4:
		v := elements[uint32](b)
		for i, x := range v {
			v[i] = bits.ReverseBytes32(x)
		}
	case 8:
		v := elements[uint64](b)
		for i, x := range v {
			v[i] = bits.ReverseBytes64(x)
		}
	}
}

// parseDType reads the spelling of NumPy or of safetensors, in any case.
func parseDType(s string) (tensor.DType, error) {
	names := make([]string, 0, len(numpyNames))
	for d, name := range numpyNames {
		if strings.EqualFold(s, name) || strings.EqualFold(s, d.String()) {
			return d, nil
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return tensor.Invalid, fmt.Errorf("%q is none of %s", clip(s), strings.Join(names, ", "))
}
