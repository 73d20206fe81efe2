// Package weights makes the bytes of constants: in floats, or in the least of the forms that Core ML decompresses.
package weights

import "slices"

// PermuteShape is a shape with its axes in another order.
func PermuteShape(shape, perm []int64) []int64 {
	out := make([]int64, len(perm))
	for i, p := range perm {
		out[i] = shape[p]
	}
	return out
}

// Permute changes the order of the axes of row-major elements.
func Permute[T any](in []T, shape, perm []int64) []T {
	if len(in) == 0 {
		return in
	}
	// A swap of the last two axes is what weights of products take.
	if n := len(shape); n >= 2 && isSwap(perm) {
		return swapLast(in, shape[n-2], shape[n-1])
	}
	strides := make([]int64, len(shape))
	s := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = s
		s *= shape[i]
	}
	to := PermuteShape(shape, perm)
	step := PermuteShape(strides, perm)
	out := make([]T, 0, len(in))
	at := make([]int64, len(to))
	last := len(to) - 1
	if last < 0 {
		return slices.Clone(in)
	}
	from := int64(0)
	for {
		for k := range to[last] {
			out = append(out, in[from+k*step[last]])
		}
		i := last - 1
		for ; i >= 0; i-- {
			at[i]++
			from += step[i]
			if at[i] < to[i] {
				break
			}
			from -= at[i] * step[i]
			at[i] = 0
		}
		if i < 0 {
			return out
		}
	}
}

func isSwap(perm []int64) bool {
	n := len(perm)
	for i := range n - 2 {
		if perm[i] != int64(i) {
			return false
		}
	}
	return perm[n-2] == int64(n-1) && perm[n-1] == int64(n-2)
}

// swapLast transposes matrices in tiles that stay in the cache.
func swapLast[T any](in []T, rows, cols int64) []T {
	out := make([]T, len(in))
	size := rows * cols
	const tile = 32
	for m := int64(0); size > 0 && m < int64(len(in)); m += size {
		a, b := in[m:m+size], out[m:m+size]
		for r0 := int64(0); r0 < rows; r0 += tile {
			for c0 := int64(0); c0 < cols; c0 += tile {
				for r := r0; r < min(r0+tile, rows); r++ {
					for c := c0; c < min(c0+tile, cols); c++ {
						b[c*rows+r] = a[r*cols+c]
					}
				}
			}
		}
	}
	return out
}

// Take picks places along an axis of row-major elements.
func Take[T any](in []T, shape []int64, axis int, places []int64) []T {
	inner := int64(1)
	for _, d := range shape[axis+1:] {
		inner *= d
	}
	block := inner * shape[axis]
	if block == 0 || len(in) == 0 {
		return nil
	}
	outer := int64(len(in)) / block
	out := make([]T, 0, outer*inner*int64(len(places)))
	for o := range outer {
		for _, p := range places {
			from := o*block + p*inner
			out = append(out, in[from:from+inner]...)
		}
	}
	return out
}
