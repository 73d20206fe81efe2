package solve

import (
	"errors"
	"slices"
)

// Rounder says what a weight's elements can become. Its methods are called from several goroutines, each with outputs
// of its own.
type Rounder interface {
	// Fit is called before column k of the outputs from..to is rounded, with the present columns from k on: w(i) is
	// column k+i of those outputs. At most Ahead columns are there.
	Fit(k, from, to int, columns int, w func(i int) []float32)
	// Round writes to out what the elements w of column k of the outputs from.. become.
	Round(k, from int, w, out []float32)
	// Ahead is how many columns Fit looks at, every Ahead-th column; 0 when it is never to be called.
	Ahead() int
}

// Pivoter is a Rounder that is told, before the first column, the diagonal of the factor that the columns are walked
// along: what an error of 1 in a column costs once the columns behind it have made up for it is one over the square of
// its pivot. SparseGPT chooses by it.
type Pivoter interface{ Pivots(d []float32) }

// GPTQOptions are the knobs of GPTQ.
type GPTQOptions struct {
	// Damping is added to the diagonal of the Hessian, as a share of its mean. 0 stands for 0.01.
	Damping float64
	// ActOrder takes the columns in the order of their diagonal, largest first. It needs a Rounder with Ahead 0.
	ActOrder bool
	Threads  int
}

// GPTQ rounds a weight column by column and lets the columns that follow make up for the error of each (Frantar et
// al., 2022). w is the weight as [k, n], its k inputs first; it is overwritten by what it was rounded to. h is the sum
// of x*x^T over the inputs x, [k, k]; it is overwritten. The error that shrinks is that of the product over those
// inputs. Inputs that were always 0 are rounded to nearest.
func GPTQ(w []float32, k, n int, h []float32, r Rounder, g Gemm, o GPTQOptions) error {
	if len(w) != k*n || len(h) != k*k {
		return errors.New("GPTQ: the sizes of weight and Hessian do not fit")
	}
	order := make([]int, k)
	for i := range order {
		order[i] = i
	}
	if o.ActOrder {
		slices.SortStableFunc(order, func(a, b int) int {
			switch x, y := h[a*k+a], h[b*k+b]; {
			case x > y:
				return -1
			case x < y:
				return 1
			}
			return 0
		})
		w0 := w
		w = make([]float32, len(w0))
		p := make([]float32, len(h))
		for i, from := range order {
			copy(w[i*n:(i+1)*n], w0[from*n:])
			for j, c := range order {
				p[i*k+j] = h[from*k+c]
			}
		}
		h = p
		defer func() {
			for i, to := range order {
				copy(w0[to*n:(to+1)*n], w[i*n:])
			}
		}()
	}
	u, err := damped(h, k, g, o)
	if err != nil {
		return err
	}
	if p, ok := r.(Pivoter); ok {
		d := make([]float32, k)
		for i := range d {
			d[i] = u[i*k+i]
		}
		p.Pivots(d)
	}
	return walk(w, k, n, u, order, r, g, o.Threads)
}

// damped adds to the diagonal until the factor exists.
func damped(h []float32, k int, g Gemm, o GPTQOptions) ([]float32, error) {
	var mean float64
	for i := range k {
		mean += float64(h[i*k+i])
	}
	mean /= float64(k)
	damp := o.Damping
	if damp == 0 {
		damp = 0.01
	}
	if mean == 0 {
		mean, damp = 1, 1 // no input was ever seen: every order of rounding is as good
	}
	for try := 0; ; try++ {
		a := slices.Clone(h)
		for i := range k {
			if a[i*k+i] == 0 {
				a[i*k+i] = float32(mean)
			}
			a[i*k+i] += float32(damp * mean)
		}
		u, err := InverseFactor(a, k, g, o.Threads)
		if err == nil || !errors.Is(err, ErrNotPositive) || try == 3 {
			return u, err
		}
		damp *= 10
	}
}

// walk is GPTQ's loop. Within a panel every goroutine has outputs of its own; between panels one product of matrices
// carries the errors to the columns that are left.
func walk(w []float32, k, n int, u []float32, order []int, r Rounder, g Gemm, threads int) error {
	width := panel
	if a := r.Ahead(); a > 0 && width%a != 0 {
		width = a * max(1, panel/a)
	}
	for p := 0; p < k; p += width {
		end := min(p+width, k)
		errs := make([]float32, (end-p)*n)
		Parallel(threads, n, 32, func(n0, n1 int) {
			column := func(j int) []float32 { return w[j*n+n0 : j*n+n1] }
			out := make([]float32, n1-n0)
			for j := p; j < end; j++ {
				if a := r.Ahead(); a > 0 && j%a == 0 {
					r.Fit(j, n0, n1, min(a, k-j), func(i int) []float32 { return column(j + i) })
				}
				c, e := column(j), errs[(j-p)*n+n0:(j-p)*n+n1]
				r.Round(order[j], n0, c, out)
				inv := 1 / u[j*k+j]
				for i, v := range c {
					e[i] = (v - out[i]) * inv
				}
				copy(c, out)
				for i := j + 1; i < end; i++ {
					if f := u[j*k+i]; f != 0 {
						axpy(column(i), -f, e)
					}
				}
			}
		})
		if end == k {
			break
		}
		rest, m := k-end, end-p
		factors := make([]float32, rest*m) // the panel's rows of U right of it, transposed
		for j := range m {
			for i, v := range u[(p+j)*k+end : (p+j+1)*k] {
				factors[i*m+j] = v
			}
		}
		change, err := g.Mul(factors, errs, rest, m, n)
		if err != nil {
			return err
		}
		Parallel(threads, rest, max(1, 1<<14/n), func(r0, r1 int) { axpy(w[(end+r0)*n:(end+r1)*n], -1, change[r0*n:r1*n]) })
	}
	return nil
}

// OutputError returns the sum over the inputs of |d*x|^2, where d is a change of the weight, [n, k], and h the sum of
// x*x^T: the error of the product when the weight changes by d.
func OutputError(d []float32, n, k int, h []float32, g Gemm) (float64, error) {
	p, err := g.Mul(d, h, n, k, k)
	if err != nil {
		return 0, err
	}
	var sum float64
	for i, v := range p {
		sum += float64(v) * float64(d[i])
	}
	return max(sum, 0), nil
}
