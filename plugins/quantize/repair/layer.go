// Package repair makes up for what rounding weights to 8 bits costs: rounding that looks at the activations (GPTQ,
// AdaRound), the mean error of each output taken back in the bias, and the ranges of channels equalized between layers
// that follow each other. The arithmetic is on plain slices; only Equalize knows models.
package repair

import (
	"errors"
	"math"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// Layer is the weight of a product, and what was measured of the inputs that it multiplies. A convolution is one whose
// inputs are the patches under its kernel.
type Layer struct {
	Groups, N, K int       // N outputs of K inputs in each group
	W            []float32 // [Groups, N, K]
	// Scales of the integers: one for each output, or one for all.
	Scales     []float32
	QMin, QMax float32
	// Gram is the sum of x*x^T over the inputs, [Groups, K, K]; Sum that of x, [Groups, K]; Rows how many there were.
	Gram []float32
	Sum  []float64
	Rows float64
}

var (
	errSizes     = errors.New("repair: the sizes of weight, scales and sums do not fit")
	errNotFinite = errors.New("it holds a NaN or an infinity: look at those samples, or keep the node that reads it in float")
)

func (l *Layer) check() error {
	if len(l.Gram) != l.Groups*l.K*l.K {
		return errSizes
	}
	return l.checkSum()
}

// checkSum is check for what does not look at Gram.
func (l *Layer) checkSum() error {
	n := l.Groups * l.N
	if l.Groups < 1 || l.N < 1 || l.K < 1 || len(l.W) != n*l.K || len(l.Scales) != n && len(l.Scales) != 1 || len(l.Sum) != l.Groups*l.K {
		return errSizes
	}
	return nil
}

// scale is that of an output, counted over all groups.
func (l *Layer) scale(output int) float32 {
	if len(l.Scales) == 1 {
		return l.Scales[0]
	}
	return l.Scales[output]
}

// Nearest rounds half to even.
func (l *Layer) Nearest() []int8 {
	q := make([]int8, len(l.W))
	for o := range l.Groups * l.N {
		s := l.scale(o)
		for i := o * l.K; i < (o+1)*l.K; i++ {
			q[i] = int8(min(max(roundEven(l.W[i]/s), l.QMin), l.QMax))
		}
	}
	return q
}

// roundEven rounds values of magnitude below 2^22.
func roundEven(v float32) float32 {
	const magic = 0x1.8p23
	v = min(max(v, -1<<21), 1<<21)
	t := float32(v + magic)
	return float32(t - magic)
}

// Dequantize returns what codes stand for.
func (l *Layer) Dequantize(codes []int8) []float32 {
	out := make([]float32, len(codes))
	for o := range l.Groups * l.N {
		s := l.scale(o)
		for i := o * l.K; i < (o+1)*l.K; i++ {
			out[i] = float32(codes[i]) * s
		}
	}
	return out
}

// OutputError is the energy of the error of the product over the inputs, relative to the product's. shift, if any, is
// added to the outputs, one value each.
func (l *Layer) OutputError(codes []int8, shift []float32, g solve.Gemm) (float64, error) {
	if err := l.check(); err != nil {
		return 0, err
	}
	d := l.Dequantize(codes)
	for i, w := range l.W {
		d[i] = w - d[i]
	}
	var noise, signal float64
	size := l.N * l.K
	for at := range l.Groups {
		h := l.Gram[at*l.K*l.K : (at+1)*l.K*l.K]
		e, err := solve.OutputError(d[at*size:(at+1)*size], l.N, l.K, h, l.gemm(g))
		if err != nil {
			return 0, err
		}
		s, err := solve.OutputError(l.W[at*size:(at+1)*size], l.N, l.K, h, l.gemm(g))
		if err != nil {
			return 0, err
		}
		noise, signal = noise+e, signal+s
	}
	if signal == 0 {
		return 0, nil
	}
	for o, b := range shift {
		var mean float64
		for i, x := range d[o*l.K : (o+1)*l.K] {
			mean += float64(x) * l.Sum[o/l.N*l.K+i]
		}
		noise += float64(b) * (l.Rows*float64(b) - 2*mean)
	}
	return max(noise, 0) / signal, nil
}

// small is the number of multiplications below which a call of an engine costs more than the product.
const small = 1 << 14

// gemm is g, or a loop where the products are small: a depthwise convolution has one for each channel.
func (l *Layer) gemm(g solve.Gemm) solve.Gemm {
	if l.N*l.K*l.K < small {
		return solve.Plain{Threads: 1}
	}
	return g
}

// BiasShift is what to add to the bias so that the mean of each output over the inputs is that of the float layer
// (Nagel et al., 2019, section 4.2): the error of the weights times the mean input. It needs no Gram.
func (l *Layer) BiasShift(codes []int8) ([]float32, error) {
	if err := l.checkSum(); err != nil {
		return nil, err
	}
	if len(codes) != len(l.W) {
		return nil, errSizes
	}
	out := make([]float32, l.Groups*l.N)
	if l.Rows == 0 {
		return out, nil
	}
	for o := range out {
		sum, s := l.Sum[o/l.N*l.K:], float64(l.scale(o))
		var e float64
		for i, w := range l.W[o*l.K : (o+1)*l.K] {
			e += (float64(w) - s*float64(codes[o*l.K+i])) * sum[i]
		}
		if v := float32(e / l.Rows); !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) {
			out[o] = v
		}
	}
	return out, nil
}

// GPTQ rounds input by input, and lets the inputs that follow make up for the error of each (Frantar et al., 2022). What
// is zero stays zero: it may have been pruned.
// damping is added to the diagonal of the Gram matrix, as a share of its mean; 0 stands for 0.01. It returns the rounding
// to nearest for outputs that come out no better.
func (l *Layer) GPTQ(g solve.Gemm, damping float64, threads int) ([]int8, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	near := l.Nearest()
	out := make([]int8, len(l.W))
	one := func(at, threads int) error {
		size := l.N * l.K
		w, h := l.W[at*size:(at+1)*size], l.Gram[at*l.K*l.K:(at+1)*l.K*l.K]
		r := &grid{l: l, first: at * l.N, codes: out[at*size : (at+1)*size]}
		wt := transpose(w, l.N, l.K)
		if err := solve.GPTQ(wt, l.K, l.N, append([]float32(nil), h...), r, l.gemm(g), solve.GPTQOptions{Damping: damping, Threads: threads}); err != nil {
			return err
		}
		l.keepBetter(at, out, near)
		return nil
	}
	return out, l.eachGroup(threads, one)
}

// eachGroup shares the groups, or the work of each, among threads.
func (l *Layer) eachGroup(threads int, f func(at, threads int) error) error {
	if l.Groups == 1 {
		return f(0, threads)
	}
	errs := make([]error, l.Groups)
	solve.Parallel(threads, l.Groups, 1, func(from, to int) {
		for at := from; at < to; at++ {
			errs[at] = f(at, 1)
		}
	})
	return errors.Join(errs...)
}

// grid is the solve.Rounder of integers with given scales.
type grid struct {
	l     *Layer
	first int    // output of the layer that is output 0 of the group
	codes []int8 // [N, K]
}

func (r *grid) Ahead() int { return 0 }

func (r *grid) Fit(int, int, int, int, func(int) []float32) {}

func (r *grid) Round(k, from int, w, out []float32) {
	for i, v := range w {
		s := r.l.scale(r.first + from + i)
		if r.l.W[(r.first+from+i)*r.l.K+k] == 0 {
			v = 0
		}
		q := min(max(roundEven(v/s), r.l.QMin), r.l.QMax)
		r.codes[(from+i)*r.l.K+k] = int8(q)
		out[i] = q * s
	}
}

// keepBetter takes the outputs of group at from near where those of codes have no smaller error.
func (l *Layer) keepBetter(at int, codes, near []int8) {
	h := l.Gram[at*l.K*l.K : (at+1)*l.K*l.K]
	u := make([]float32, l.K)
	of := func(q []int8, o int) float64 {
		s := l.scale(o)
		for i := range u {
			u[i] = float32(q[o*l.K+i])*s - l.W[o*l.K+i]
		}
		return quadratic(u, h)
	}
	for o := at * l.N; o < (at+1)*l.N; o++ {
		if !(of(codes, o) < of(near, o)) {
			copy(codes[o*l.K:(o+1)*l.K], near[o*l.K:(o+1)*l.K])
		}
	}
}

// quadratic is u*h*u^T.
func quadratic(u, h []float32) float64 {
	var sum float64
	k := len(u)
	for i, x := range u {
		if x == 0 {
			continue
		}
		var s float32
		for j, v := range h[i*k : (i+1)*k] {
			s += v * u[j]
		}
		sum += float64(x) * float64(s)
	}
	return sum
}

func transpose(w []float32, rows, cols int) []float32 {
	out := make([]float32, len(w))
	for r := range rows {
		for c, v := range w[r*cols : (r+1)*cols] {
			out[c*rows+r] = v
		}
	}
	return out
}
