package score

import (
	"math"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
)

// distances adds up, for each unit, how far its filters are from all others of the same layer.
func (s *scorer) distances(g *groups.Group, out []float64) (bool, error) {
	found := false
	for _, u := range g.Uses {
		if u.Role != groups.Out || u.Constant == nil || len(u.Constant.Dims) < 2 {
			continue
		}
		rows, n, k, err := filters(u.Constant, u.Axis)
		if err != nil {
			return false, err
		}
		if factor := normalized(u.Node, n); factor != nil {
			for i := range n {
				for j := range k {
					rows[i*k+j] *= float32(factor[i])
				}
			}
		}
		d, err := s.distanceSums(rows, n, k)
		if err != nil {
			return false, err
		}
		found = true
		for i, at := range u.At {
			for _, x := range at {
				out[i] += d[x]
			}
		}
	}
	return found, nil
}

// distanceSums is the sum of Euclidean distances from each row to all others, by |a-b|² = |a|² + |b|² - 2ab.
func (s *scorer) distanceSums(rows []float32, n, k int) ([]float64, error) {
	transposed := make([]float32, len(rows))
	for i := range n {
		for j := range k {
			transposed[j*n+i] = rows[i*k+j]
		}
	}
	norms := make([]float64, n)
	for i := range n {
		for _, v := range rows[i*k : (i+1)*k] {
			norms[i] += float64(v) * float64(v)
		}
	}
	out := make([]float64, n)
	for from := 0; from < n; from += stretch {
		to := min(from+stretch, n)
		p, err := s.o.Gemm.Mul(rows[from*k:to*k], transposed, to-from, k, n)
		if err != nil {
			return nil, err
		}
		for i := from; i < to; i++ {
			for j, x := range p[(i-from)*n : (i-from+1)*n] {
				if i != j {
					out[i] += math.Sqrt(max(norms[i]+norms[j]-2*float64(x), 0))
				}
			}
		}
	}
	return out, nil
}

// stretch is how many rows are compared with all others at a time: it bounds the memory of their products.
const stretch = 1024

// filters copies a weight with an axis first: n rows of k numbers.
func filters(t *onnx.Tensor, axis int) (rows []float32, n, k int, err error) {
	x, err := t.Float32s()
	if err != nil {
		return nil, 0, 0, err
	}
	n = int(t.Dims[axis])
	if n == 0 {
		return nil, 0, 0, nil
	}
	k = len(x) / n
	inner := 1
	for _, d := range t.Dims[axis+1:] {
		inner *= int(d)
	}
	rows = make([]float32, len(x))
	for o := range len(x) / inner {
		i, outer := o%n, o/n
		copy(rows[i*k+outer*inner:], x[o*inner:(o+1)*inner])
	}
	return rows, n, k, nil
}
