package weights

import "slices"

// Steps are weights in integers: element i is (Q[i] - Zero) * Scale, with the zero and scale of its block.
type Steps struct {
	Shape []int64
	// Bits of an integer: 8 or 4. Signed tells int8 and int4 from uint8 and uint4.
	Bits   int
	Signed bool
	// Q are the integers, one a byte, row-major; signed ones as int8.
	Q []byte
	// Scale and Zero have the shape ScaleShape, which has as many axes as the weight: 1 along an axis where all is one block,
	// the axis's length where each place has its own, or the number of blocks. Zero is nil where all are 0.
	ScaleShape []int64
	Scale      []float32
	Zero       []int16
}

// Transpose changes the order of the axes.
func (s *Steps) Transpose(perm []int64) *Steps {
	out := *s
	out.Shape, out.ScaleShape = PermuteShape(s.Shape, perm), PermuteShape(s.ScaleShape, perm)
	out.Q = Permute(s.Q, s.Shape, perm)
	out.Scale = Permute(s.Scale, s.ScaleShape, perm)
	out.Zero = Permute(s.Zero, s.ScaleShape, perm)
	return &out
}

// Take picks places along an axis; nil where they cut blocks to pieces.
func (s *Steps) Take(axis int, places []int64) *Steps {
	if s == nil {
		return nil
	}
	out := *s
	switch s.ScaleShape[axis] {
	case 1:
	case s.Shape[axis]:
		out.Scale = Take(s.Scale, s.ScaleShape, axis, places)
		if s.Zero != nil {
			out.Zero = Take(s.Zero, s.ScaleShape, axis, places)
		}
		out.ScaleShape = slices.Clone(s.ScaleShape)
		out.ScaleShape[axis] = int64(len(places))
	default:
		return nil
	}
	out.Q = Take(s.Q, s.Shape, axis, places)
	out.Shape = slices.Clone(s.Shape)
	out.Shape[axis] = int64(len(places))
	return &out
}

// Reshape gives the weight other axes; nil where the blocks are none of the new ones. Axes of 1 may come and go, and what has
// one scale in all may have any shape.
func (s *Steps) Reshape(shape []int64) *Steps {
	if s == nil {
		return nil
	}
	out := *s
	out.Shape = slices.Clone(shape)
	out.ScaleShape = slices.Repeat([]int64{1}, len(shape))
	if len(s.Scale) == 1 {
		return &out
	}
	// The axes that have scales of their own must be axes of the new shape, with as many elements before each.
	before := func(shape []int64, i int) (n int64) {
		n = 1
		for _, d := range shape[:i] {
			n *= d
		}
		return n
	}
	for i, b := range s.ScaleShape {
		if b == 1 {
			continue
		}
		found := false
		for j, d := range shape {
			if d == s.Shape[i] && before(shape, j) == before(s.Shape, i) {
				out.ScaleShape[j], found = b, true
				break
			}
		}
		if !found {
			return nil
		}
	}
	return &out
}

// Floats are the weights as floats.
func (s *Steps) Floats() []float32 {
	out := make([]float32, len(s.Q))
	s.blocks(func(from, n int64, block int) {
		scale, zero := s.Scale[block], float32(0)
		if s.Zero != nil {
			zero = float32(s.Zero[block])
		}
		for i := from; i < from+n; i++ {
			v := float32(s.Q[i])
			if s.Signed {
				v = float32(int8(s.Q[i]))
			}
			out[i] = (v - zero) * scale
		}
	})
	return out
}

// blocks calls f for each run of elements that lie side by side and have one scale.
func (s *Steps) blocks(f func(from, n int64, block int)) {
	// The innermost axes of one block are one run.
	run, axes := int64(1), len(s.Shape)
	for axes > 0 && s.ScaleShape[axes-1] == 1 {
		run *= s.Shape[axes-1]
		axes--
	}
	if axes == 0 {
		f(0, int64(len(s.Q)), 0)
		return
	}
	run *= s.Shape[axes-1] / s.ScaleShape[axes-1]
	stride := make([]int, axes)
	n := 1
	for i := axes - 1; i >= 0; i-- {
		stride[i] = n
		n *= int(s.ScaleShape[i])
	}
	at := make([]int64, axes)
	last := axes - 1
	for from := int64(0); from < int64(len(s.Q)); from += run {
		block := int(at[last]) * stride[last]
		for i := range last {
			block += int(at[i]*s.ScaleShape[i]/s.Shape[i]) * stride[i]
		}
		f(from, run, block)
		for i := last; i >= 0; i-- {
			at[i]++
			if i == last && at[i] < s.ScaleShape[i] || i < last && at[i] < s.Shape[i] {
				break
			}
			at[i] = 0
		}
	}
}
