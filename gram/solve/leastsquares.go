package solve

import (
	"errors"
	"fmt"
	"slices"
)

// LeastSquares returns the weight nearest to w, [n, k], whose products with inputs x are nearest to given outputs y: the
// minimum over v of sum |y - v*x|^2 + damping*mean(diagonal of h)*|v - w|^2. h is the sum of x*x^T, [k, k], and cross that
// of y*x^T, [n, k]; neither is changed. Inputs that were always 0 keep their weights. The damping grows while h has no
// factor.
func LeastSquares(w, cross, h []float32, n, k int, damping float64, g Gemm, threads int) ([]float32, error) {
	if len(w) != n*k || len(cross) != n*k || len(h) != k*k {
		return nil, errors.New("least squares: the sizes of weight and sums do not fit")
	}
	if !(damping > 0) {
		return nil, fmt.Errorf("least squares: damping is %v, not more than 0", damping)
	}
	var mean float64
	for i := range k {
		mean += float64(h[i*k+i])
	}
	if mean /= float64(k); mean == 0 {
		return slices.Clone(w), nil
	}
	// v = w + (cross - w*h) * (h + damping)^-1: what is solved for is small where w is near already.
	d, err := g.Mul(w, h, n, k, k)
	if err != nil {
		return nil, err
	}
	for i, c := range cross {
		d[i] = c - d[i]
	}
	var u []float32
	for try := 0; ; try++ {
		a := slices.Clone(h)
		for i := range k {
			a[i*k+i] += float32(damping * mean)
		}
		if u, err = InverseFactor(a, k, g, threads); err == nil {
			break
		}
		if !errors.Is(err, ErrNotPositive) || try == 6 {
			return nil, err
		}
		damping *= 10
	}
	t := make([]float32, k*k) // of u
	for i := range k {
		for j := i; j < k; j++ {
			t[j*k+i] = u[i*k+j]
		}
	}
	if d, err = g.Mul(d, t, n, k, k); err != nil {
		return nil, err
	}
	if d, err = g.Mul(d, u, n, k, k); err != nil {
		return nil, err
	}
	for i, v := range w {
		d[i] += v
	}
	return d, nil
}
