package onnx

import (
	"math"
	"slices"
)

// Operators that pick elements by their place.

func inferSlice(c *inferContext) {
	x := c.in(0)
	if !x.ranked {
		c.elemOnly(0, x.elem)
		return
	}
	starts, okStarts := c.intsOr("starts", 1)
	ends, okEnds := c.intsOr("ends", 2)
	axes, okAxes := c.intsOr("axes", 3)
	steps, okSteps := c.ints(4)
	if !c.has(4) {
		okSteps = true
	}
	dims := slices.Clone(x.dims)
	if !okAxes {
		c.tensor(0, x.elem, slices.Repeat([]Dim{anyDim}, len(dims))...)
		return
	}
	count := max(len(starts), len(ends), len(axes))
	if len(axes) == 0 {
		if !okStarts && !okEnds {
			count = len(dims) // which of them is not known
		}
		axes = make([]int64, count)
		for i := range axes {
			axes[i] = int64(i)
		}
	}
	exact := okStarts && okEnds && okSteps && len(starts) == count && len(ends) == count && (len(steps) == 0 || len(steps) == count)
	data := x.data
	for i, a := range axes {
		k, ok := axis(a, len(dims))
		if !ok {
			return
		}
		if !exact {
			dims[k], data = anyDim, nil
			continue
		}
		step := int64(1)
		if len(steps) > 0 {
			step = steps[i]
		}
		if !dims[k].Fixed() {
			if starts[i] != 0 || ends[i] < math.MaxInt32 || step != 1 {
				dims[k] = anyDim
			}
			data = nil
			continue
		}
		first, length, ok := sliceOf(dims[k].Value, starts[i], ends[i], step)
		if !ok {
			return
		}
		dims[k] = Dim{Value: length}
		if int64(len(data)) < first || data == nil {
			data = nil
			continue
		}
		var part []Dim
		for j := range length {
			part = append(part, data[first+j*step])
		}
		data = append([]Dim{}, part...)
	}
	c.tensor(0, x.elem, dims...)
	c.outs[0].data = data
}

// sliceOf resolves a slice of an axis of n elements: its first element and length.
func sliceOf(n, start, end, step int64) (first, length int64, ok bool) {
	if step == 0 || step == math.MinInt64 {
		return 0, 0, false
	}
	fix := func(v, low, high int64) int64 {
		if v < 0 {
			v += n
		}
		return min(max(v, low), high)
	}
	if step > 0 {
		start, end = fix(start, 0, n), fix(end, 0, n)
		if end <= start {
			return start, 0, true
		}
		return start, (end-start-1)/step + 1, true
	}
	start, end = fix(start, -1, n-1), fix(end, -1, n-1)
	if start <= end {
		return max(start, 0), 0, true
	}
	return start, (start-end-1)/-step + 1, true
}

func inferGather(c *inferContext) {
	x, at := c.in(0), c.in(1)
	k, ok := axis(c.n.IntAttr("axis", 0), len(x.dims))
	if !x.ranked || !at.ranked || !ok {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, slices.Concat(x.dims[:k], at.dims, x.dims[k+1:])...)
	index, ok := c.ints(1)
	if !ok || x.data == nil || len(x.dims) != 1 {
		return
	}
	data := []Dim{}
	for _, i := range index {
		j, ok := axis(i, len(x.data))
		if !ok {
			return
		}
		data = append(data, x.data[j])
	}
	c.outs[0].data = data
}

func inferGatherElements(c *inferContext) { c.out(0, c.in(1).of(c.in(0).elem)) }

func inferGatherND(c *inferContext) {
	x, at := c.in(0), c.in(1)
	batch := c.n.IntAttr("batch_dims", 0)
	if !x.ranked || !at.ranked || len(at.dims) == 0 || batch < 0 {
		c.elemOnly(0, x.elem)
		return
	}
	last := at.dims[len(at.dims)-1]
	if !last.Fixed() || batch > int64(len(x.dims)) || last.Value > int64(len(x.dims))-batch {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, slices.Concat(at.dims[:len(at.dims)-1], x.dims[batch+last.Value:])...)
}

func inferOneHot(c *inferContext) {
	x := c.in(0)
	if !x.ranked {
		c.elemOnly(0, c.in(2).elem)
		return
	}
	depth := anyDim
	if d := c.in(1).data; len(d) == 1 {
		depth = size(d[0])
	}
	k, ok := axis(c.n.IntAttr("axis", -1), len(x.dims)+1)
	if !ok {
		return
	}
	c.tensor(0, c.in(2).elem, slices.Insert(slices.Clone(x.dims), k, depth)...)
}

func inferNonZero(c *inferContext) {
	rank := anyDim
	if x := c.in(0); x.ranked {
		rank = Dim{Value: int64(len(x.dims))}
	}
	c.tensor(0, Int64, rank, anyDim)
}
