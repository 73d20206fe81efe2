package solve

import (
	"errors"
	"math"
)

// ErrNotPositive says that a matrix has no Cholesky factor: it is not positive definite, or nearly not.
var ErrNotPositive = errors.New("the matrix is not positive definite")

// panel is how many columns are worked on before the rest follows by one product of matrices.
const panel = 128

// InverseFactor returns the upper triangular U with U^T*U = h^-1 for a symmetric positive definite h of [n, n], which
// GPTQ walks along. h is overwritten.
//
// It takes one factorization and no inverse of h: with the order of rows and columns reversed, h = L*L^T, and
// U is L^-1 with the order reversed again.
func InverseFactor(h []float32, n int, g Gemm, threads int) ([]float32, error) {
	reverse(h)
	if err := cholesky(h, n, g, threads); err != nil {
		return nil, err
	}
	u, err := invertLower(h, n, g, threads)
	if err != nil {
		return nil, err
	}
	reverse(u)
	return u, nil
}

// reverse turns the order of rows and columns around.
func reverse(h []float32) {
	for i, j := 0, len(h)-1; i < j; i, j = i+1, j-1 {
		h[i], h[j] = h[j], h[i]
	}
}

// cholesky overwrites the lower triangle of a with L, a = L*L^T, and the rest with zeros.
func cholesky(a []float32, n int, g Gemm, threads int) error {
	for p := 0; p < n; p += panel {
		end := min(p+panel, n)
		w := end - p
		for j := p; j < end; j++ { // the square on the diagonal
			rowJ := a[j*n+p : j*n+j]
			s := float64(a[j*n+j])
			for _, v := range rowJ {
				s -= float64(v) * float64(v)
			}
			if !(s > 0) || math.IsInf(s, 0) {
				return ErrNotPositive
			}
			d := math.Sqrt(s)
			a[j*n+j] = float32(d)
			inv := float32(1 / d)
			for i := j + 1; i < end; i++ {
				a[i*n+j] = (a[i*n+j] - dot(a[i*n+p:i*n+j], rowJ)) * inv
			}
		}
		rest := n - end
		left, right := make([]float32, rest*w), make([]float32, w*rest) // L21 and its transpose
		Parallel(threads, rest, 16, func(r0, r1 int) {
			for r := r0; r < r1; r++ {
				row := a[(end+r)*n+p : (end+r)*n+end]
				for j := range w {
					lj := a[(p+j)*n+p : (p+j)*n+p+j+1]
					row[j] = (row[j] - dot(row[:j], lj[:j])) / lj[j]
				}
				copy(left[r*w:], row)
				for j, v := range row {
					right[j*rest+r] = v
				}
			}
		})
		// Of the square that is left only the lower half is needed: strips, each from its diagonal down.
		const strip = 4 * panel
		for c := 0; c < rest; c += strip {
			cols := min(strip, rest-c)
			part := make([]float32, w*cols)
			for j := range w {
				copy(part[j*cols:(j+1)*cols], right[j*rest+c:])
			}
			prod, err := g.Mul(left[c*w:], part, rest-c, w, cols)
			if err != nil {
				return err
			}
			Parallel(threads, rest-c, 64, func(r0, r1 int) {
				for r := r0; r < r1; r++ {
					axpy(a[(end+c+r)*n+end+c:][:cols], -1, prod[r*cols:(r+1)*cols])
				}
			})
		}
	}
	for i := range n {
		clear(a[i*n+i+1 : (i+1)*n])
	}
	return nil
}

// invertLower returns the inverse of a lower triangular matrix.
func invertLower(l []float32, n int, g Gemm, threads int) ([]float32, error) {
	x := make([]float32, n*n)
	for p := 0; p < n; p += panel {
		end := min(p+panel, n)
		w := end - p
		// The square on the diagonal: forward substitution, column by column.
		for j := p; j < end; j++ {
			x[j*n+j] = 1 / l[j*n+j]
			for i := j + 1; i < end; i++ {
				var s float64
				for k := j; k < i; k++ {
					s += float64(l[i*n+k]) * float64(x[k*n+j])
				}
				x[i*n+j] = float32(-s / float64(l[i*n+i]))
			}
		}
		if p == 0 {
			continue
		}
		// Left of it: -inverse(square) * (L's row of squares * what is known of x, whose rows lie whole).
		left := make([]float32, w*p)
		for i := range w {
			copy(left[i*p:(i+1)*p], l[(p+i)*n:])
		}
		known, err := g.Mul(left, x[:p*n], w, p, n)
		if err != nil {
			return nil, err
		}
		Parallel(threads, p, 64, func(c0, c1 int) {
			for i := range w {
				dst := x[(p+i)*n+c0 : (p+i)*n+c1]
				for k := range i + 1 {
					axpy(dst, -x[(p+i)*n+p+k], known[k*n+c0:k*n+c1])
				}
			}
		})
	}
	return x, nil
}
