package solve

// Gemm multiplies matrices. Implementations give the same bits for the same arguments.
type Gemm interface {
	// Mul returns a*b, [m, n], for a of [m, k] and b of [k, n]. The result may be overwritten by the caller.
	Mul(a, b []float32, m, k, n int) ([]float32, error)
}

// Plain is a Gemm in Go, for machines without an engine and for tests.
type Plain struct{ Threads int }

// Mul implements Gemm.
func (p Plain) Mul(a, b []float32, m, k, n int) ([]float32, error) {
	out := make([]float32, m*n)
	Parallel(p.Threads, m, max(1, 1<<16/max(k*n, 1)), func(r0, r1 int) {
		for r := r0; r < r1; r++ {
			dst := out[r*n : (r+1)*n]
			for i, v := range a[r*k : (r+1)*k] {
				if v != 0 {
					axpy(dst, v, b[i*n:(i+1)*n])
				}
			}
		}
	})
	return out, nil
}

// axpy adds f*x to y, which has at least as many elements.
func axpy(y []float32, f float32, x []float32) {
	y = y[:len(x)]
	for len(x) >= 8 {
		x8, y8 := x[:8:8], y[:8:8]
		y8[0] += f * x8[0]
		y8[1] += f * x8[1]
		y8[2] += f * x8[2]
		y8[3] += f * x8[3]
		y8[4] += f * x8[4]
		y8[5] += f * x8[5]
		y8[6] += f * x8[6]
		y8[7] += f * x8[7]
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		y[i] += f * v
	}
}

// dot is the inner product, summed in four parts.
func dot(x, y []float32) float32 {
	y = y[:len(x)]
	var s0, s1, s2, s3 float32
	for len(x) >= 4 {
		x4, y4 := x[:4:4], y[:4:4]
		s0 += x4[0] * y4[0]
		s1 += x4[1] * y4[1]
		s2 += x4[2] * y4[2]
		s3 += x4[3] * y4[3]
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		s0 += v * y[i]
	}
	return s0 + s1 + (s2 + s3)
}
