package weights

import (
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

// centred tells of integers how far they are from their zeros: the bounds over all, and which blocks have nothing else.
type centred struct {
	low, high int
	dead      []bool
	seen      [511]bool // which distances there are, from -255 on
}

func (s *Steps) centre() *centred {
	c := &centred{dead: make([]bool, len(s.Scale)), low: math.MaxInt, high: math.MinInt}
	for i := range c.dead {
		c.dead[i] = true
	}
	s.blocks(func(from, n int64, block int) {
		zero := 0
		if s.Zero != nil {
			zero = int(s.Zero[block])
		}
		// Which bytes there are, then what they stand for: a run is longer than that in most weights.
		var there [256]bool
		for _, q := range s.Q[from : from+n] {
			there[q] = true
		}
		for q, ok := range there {
			if !ok {
				continue
			}
			d := q - zero
			if s.Signed {
				d = int(int8(q)) - zero
			}
			c.low, c.high = min(c.low, d), max(c.high, d)
			c.dead[block] = c.dead[block] && d == 0
			if d >= -255 && d <= 255 {
				c.seen[d+255] = true
			}
		}
	})
	return c
}

// distances are the integers less their zeros, as bytes; what does not fit wraps around.
func (s *Steps) distances() []byte {
	if s.Zero == nil {
		return s.Q
	}
	out := make([]byte, len(s.Q))
	s.blocks(func(from, n int64, block int) {
		zero := byte(s.Zero[block])
		o := out[from : from+n]
		for i, q := range s.Q[from : from+n] {
			o[i] = q - zero
		}
	})
	return out
}

// plain drops scales and zeros of their own where all are equal.
func (s *Steps) plain() *Steps {
	if len(s.Scale) < 2 || slices.ContainsFunc(s.Scale, func(v float32) bool { return v != s.Scale[0] }) ||
		s.Zero != nil && slices.ContainsFunc(s.Zero, func(v int16) bool { return v != s.Zero[0] }) {
		return s
	}
	out := *s
	out.ScaleShape = slices.Repeat([]int64{1}, len(s.Shape))
	out.Scale = s.Scale[:1]
	if s.Zero != nil {
		out.Zero = s.Zero[:1]
	}
	return &out
}

// scales are the scales in the type of the program; false where half precision cannot hold one: an element would be beyond
// the largest number, or the scale is below the least number of full precision and what it loses shows. That is not so where
// its block is next to nothing beside the weight's largest element: less is off then than a 32nd of what half precision
// rounds that element by. Channels that training left without use are such. A scale of zeros only does not matter.
func (s *Steps) scales(t mil.DataType, c *centred) ([]float32, bool) {
	out := slices.Clone(s.Scale)
	if t == mil.Float32 {
		return out, !slices.ContainsFunc(out, func(v float32) bool { return !finite(v * 255) })
	}
	most := float64(max(c.high, -c.low))
	largest := float64(0)
	for i, v := range out {
		if !c.dead[i] {
			largest = max(largest, math.Abs(float64(v)))
		}
	}
	for i, v := range out {
		if !finite(v * 255) {
			return nil, false
		}
		if c.dead[i] {
			out[i] = 1
			continue
		}
		size := math.Abs(float64(v))
		off := math.Abs(float64(tensor.F16ToFloat32(tensor.Float32ToF16(v)) - v))
		if off > size*0x1p-11 && off > largest*0x1p-17 || most*size > 65504 {
			return nil, false
		}
	}
	return out, true
}

func finite(v float32) bool { return !math.IsInf(float64(v), 0) && !math.IsNaN(float64(v)) }

// fits tells whether blocks are of one length along each axis, and scales as many as they say.
func (s *Steps) fits(shape []int64) bool {
	if s.Bits > 8 || !slices.Equal(s.Shape, shape) || len(s.ScaleShape) != len(shape) {
		return false
	}
	n := int64(1)
	for i, d := range s.ScaleShape {
		if d < 1 || shape[i]%d != 0 {
			return false
		}
		n *= d
	}
	return n == int64(len(s.Scale)) && (s.Zero == nil || n == int64(len(s.Zero)))
}

// stored is one way to store the integers: their type, and whether their zeros are stored, too.
type stored struct {
	typ   mil.DataType
	zeros bool
}

// ways are the ways to store integers, the smallest first. Integers less their zeros need no zeros beside them, where they
// fit.
func (s *Steps) ways(c *centred, opset int) (out []stored) {
	if opset >= 8 {
		if c.low >= -8 && c.high <= 7 {
			out = append(out, stored{mil.Int4, false})
		}
		if c.low >= 0 && c.high <= 15 {
			out = append(out, stored{mil.Uint4, false})
		}
		if s.Bits == 4 && s.Zero != nil {
			t := mil.Uint4
			if s.Signed {
				t = mil.Int4
			}
			out = append(out, stored{t, true})
		}
	}
	switch {
	case c.low >= -128 && c.high <= 127:
		out = append(out, stored{mil.Int8, false})
	case c.low >= 0 && c.high <= 255:
		out = append(out, stored{mil.Uint8, false})
	case s.Signed:
		out = append(out, stored{mil.Int8, true})
	default:
		out = append(out, stored{mil.Uint8, true})
	}
	return out
}

// stepForms are the forms of integers with scales; or of those that are not zero.
func (x *source) stepForms(s *Steps, sparse bool) (out []form) {
	if !s.fits(x.typ.Shape) {
		return nil
	}
	s = s.plain()
	c := s.centre()
	scale, ok := s.scales(x.typ.DataType, c)
	if !ok || x.opset < 8 && (sparse || s.own() == blocked) {
		return nil
	}
	var mask []byte
	kept := 0
	if sparse {
		// What is zero in the integers is what is zero in the weight, unless a scale is 0 or so small that it makes it so.
		q := s.distances()
		mask = maskOfBytes(q)
		kept = countBits(mask)
		if kept == 0 || kept == len(q) {
			return nil
		}
	}
	for _, w := range s.ways(c, x.opset) {
		e := &steps{x, s, c, scale, w, mask, kept}
		switch {
		case sparse:
			out = append(out, e.sparse())
		case x.opset < 8:
			out = append(out, e.affine())
		default:
			out = append(out, e.blockwise())
		}
	}
	if !sparse && x.opset >= 8 && len(scale) > 1 {
		out = append(out, lookedUpSteps(x, s, c, scale)...)
	}
	return out
}

const (
	blocked = -2
	tensorW = -1
)

// own is the axis whose places have scales of their own: tensorW for none, blocked for blocks or more than one axis.
func (s *Steps) own() int {
	axis := tensorW
	for i, d := range s.ScaleShape {
		if d == 1 {
			continue
		}
		if axis != tensorW || d != s.Shape[i] {
			return blocked
		}
		axis = i
	}
	return axis
}
