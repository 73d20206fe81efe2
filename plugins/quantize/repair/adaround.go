package repair

import (
	"context"
	"math"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// AdaRoundOptions are the knobs of AdaRound.
type AdaRoundOptions struct {
	// Steps of the optimiser; 0 stands for 400.
	Steps   int
	Threads int
}

const (
	stretchHigh = 1.1 // the sigmoid is stretched to stretchLow..stretchHigh and cut off at 0 and 1,
	stretchLow  = -0.1
	warmUp      = 0.2 // the share of the steps before the penalty on undecided elements begins,
	betaFirst   = 20.0
	betaLast    = 2.0  // its exponent falls from betaFirst to betaLast,
	penalty     = 0.03 // and its weight beside the error
	rate        = 0.03 // of Adam
	polish      = 8    // passes over each output at the end
)

// AdaRound decides for each element whether it is rounded up or down so that the error of the product over the inputs is
// small (Nagel et al., 2020): a rectified sigmoid of one variable an element, Adam, and a penalty that drives the
// sigmoids to 0 or 1. The error is a function of the Gram matrix alone, so no activation is needed, and each step sees
// all of the data. What is decided is then improved element by element while that helps. Nothing is random: it starts
// from the weights themselves, and the same sums give the same codes. Outputs that come out no better are rounded to
// nearest. What is zero stays zero.
func (l *Layer) AdaRound(ctx context.Context, g solve.Gemm, o AdaRoundOptions) ([]int8, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if o.Steps == 0 {
		o.Steps = 400
	}
	near := l.Nearest()
	out := make([]int8, len(l.W))
	return out, l.eachGroup(o.Threads, func(at, threads int) error {
		a := newAdaRound(l, at, threads)
		for step := range o.Steps {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := a.step(step, o.Steps, l.gemm(g)); err != nil {
				return err
			}
		}
		a.decide(out)
		l.keepBetter(at, out, near)
		l.descend(at, out, threads)
		return nil
	})
}

// adaRound is the state of one group.
type adaRound struct {
	l           *Layer
	at, threads int
	h           []float32 // Gram
	floor, frac []float32 // [N, K]: w/s = floor + frac
	v, m1, m2   []float32 // the variables, and Adam's means
	u           []float32 // what the element is rounded to, less w/s
	weight      []float32 // of each output: one over its error when rounded to nearest, times K
}

func newAdaRound(l *Layer, at, threads int) *adaRound {
	size := l.N * l.K
	a := &adaRound{l: l, at: at, threads: threads, h: l.Gram[at*l.K*l.K : (at+1)*l.K*l.K],
		floor: make([]float32, size), frac: make([]float32, size), v: make([]float32, size),
		m1: make([]float32, size), m2: make([]float32, size), u: make([]float32, size), weight: make([]float32, l.N)}
	solve.Parallel(threads, l.N, 1, func(from, to int) {
		for n := from; n < to; n++ {
			s := l.scale(at*l.N + n)
			for i := n * l.K; i < (n+1)*l.K; i++ {
				x := min(max(l.W[at*size+i]/s, l.QMin), l.QMax)
				f := min(float32(math.Floor(float64(x))), l.QMax-1)
				a.floor[i], a.frac[i] = f, x-f
				a.u[i] = roundEven(x) - x
				// The sigmoid begins at the weight itself.
				p := (float64(x-f) - stretchLow) / (stretchHigh - stretchLow)
				a.v[i] = float32(-math.Log(1/p - 1))
			}
			if e := quadratic(a.u[n*l.K:(n+1)*l.K], a.h); e > 0 {
				a.weight[n] = float32(float64(l.K) / e)
			}
		}
	})
	return a
}

// step is one of Adam's.
func (a *adaRound) step(step, steps int, g solve.Gemm) error {
	l := a.l
	solve.Parallel(a.threads, len(a.v), 1<<12, func(from, to int) {
		for i := from; i < to; i++ {
			h, _ := sigmoid(a.v[i])
			a.u[i] = h - a.frac[i]
		}
	})
	grad, err := g.Mul(a.u, a.h, l.N, l.K, l.K)
	if err != nil {
		return err
	}
	progress := float64(step) / float64(steps)
	var beta, strength float64
	if progress >= warmUp {
		// A cosine from betaFirst down to betaLast.
		t := (progress - warmUp) / (1 - warmUp)
		beta, strength = betaLast+(betaFirst-betaLast)*(1+math.Cos(math.Pi*t))/2, penalty
	}
	c1, c2 := float32(1/(1-math.Pow(0.9, float64(step+1)))), float32(1/(1-math.Pow(0.999, float64(step+1))))
	solve.Parallel(a.threads, l.N, max(1, 1<<12/l.K), func(from, to int) {
		for n := from; n < to; n++ {
			w := 2 * a.weight[n]
			for i := n * l.K; i < (n+1)*l.K; i++ {
				h, slope := sigmoid(a.v[i])
				d := w * grad[i]
				if strength > 0 {
					d += float32(strength * penaltySlope(float64(h), beta))
				}
				d *= slope
				a.m1[i] = 0.9*a.m1[i] + 0.1*d
				a.m2[i] = 0.999*a.m2[i] + 0.001*d*d
				a.v[i] -= rate * a.m1[i] * c1 / (float32(math.Sqrt(float64(a.m2[i]*c2))) + 1e-8)
			}
		}
	})
	return nil
}

// sigmoid is the rectified one and its slope.
func sigmoid(v float32) (h, slope float32) {
	p := 1 / (1 + math.Exp(-float64(v)))
	h = float32(p*(stretchHigh-stretchLow) + stretchLow)
	if h <= 0 {
		return 0, 0
	}
	if h >= 1 {
		return 1, 0
	}
	return h, float32(p * (1 - p) * (stretchHigh - stretchLow))
}

// penaltySlope is the derivative of 1 - |2h-1|^beta.
func penaltySlope(h, beta float64) float64 {
	x := 2*h - 1
	return -2 * beta * math.Copysign(math.Pow(math.Abs(x), beta-1), x)
}

func (a *adaRound) decide(out []int8) {
	base := a.at * a.l.N * a.l.K
	for i, f := range a.floor {
		if a.l.W[base+i] == 0 {
			continue // it may have been pruned
		}
		if h, _ := sigmoid(a.v[i]); h >= 0.5 {
			f++
		}
		out[base+i] = int8(min(max(f, a.l.QMin), a.l.QMax))
	}
}

// pairsUpTo is the number of inputs up to which two codes are changed at a time too: there are as many pairs as elements
// of the Gram matrix.
const pairsUpTo = 160

// descend changes one code after the other by one, and two at a time, where that makes the error of its output smaller.
func (l *Layer) descend(at int, codes []int8, threads int) {
	h := l.Gram[at*l.K*l.K : (at+1)*l.K*l.K]
	solve.Parallel(threads, l.N, 1, func(from, to int) {
		d := &descent{h: h, k: l.K, lo: l.QMin, hi: l.QMax, g: make([]float64, l.K)}
		u := make([]float32, l.K)
		for o := at*l.N + from; o < at*l.N+to; o++ {
			s, w := l.scale(o), l.W[o*l.K:(o+1)*l.K]
			d.q, d.w = codes[o*l.K:(o+1)*l.K], w
			clear(d.g)
			for i := range u {
				u[i] = float32(d.q[i]) - w[i]/s
				for j, v := range h[i*l.K : (i+1)*l.K] {
					d.g[j] += float64(v) * float64(u[i])
				}
			}
			for range polish {
				if !d.singles() && (l.K > pairsUpTo || !d.pairs()) {
					break
				}
			}
		}
	})
}

// descent is the state of one output: its codes, and g = h*u for their error u in steps.
type descent struct {
	h      []float32
	k      int
	lo, hi float32
	q      []int8
	w      []float32 // where the weight is zero, its code stays
	g      []float64
}

// better is the step of code i that lowers the error, or raises it least, and what it changes; 0 where it has no room.
func (d *descent) better(i int) (step, change float64) {
	if d.w[i] == 0 {
		return 0, 0
	}
	step = 1
	if d.g[i] > 0 {
		step = -1
	}
	if now := float32(d.q[i]) + float32(step); now < d.lo || now > d.hi {
		return 0, 0
	}
	// u*h*u changes by 2*step*g + step*step*h.
	return step, 2*step*d.g[i] + float64(d.h[i*d.k+i])
}

func (d *descent) move(i int, step float64) {
	d.q[i] += int8(step)
	for j, v := range d.h[i*d.k : (i+1)*d.k] {
		d.g[j] += step * float64(v)
	}
}

func (d *descent) singles() (changed bool) {
	for i := range d.q {
		if step, change := d.better(i); step != 0 && change < 0 {
			d.move(i, step)
			changed = true
		}
	}
	return changed
}

// pairs tries two steps that partly undo each other's error.
func (d *descent) pairs() (changed bool) {
	for i := range d.q {
		if d.w[i] == 0 {
			continue
		}
		for _, a := range []float64{1, -1} {
			if now := float32(d.q[i]) + float32(a); now < d.lo || now > d.hi {
				continue
			}
			first := 2*a*d.g[i] + float64(d.h[i*d.k+i])
			for j := i + 1; j < d.k; j++ {
				if d.w[j] == 0 {
					continue
				}
				across := 2 * a * float64(d.h[i*d.k+j])
				b := 1.0
				if 2*d.g[j]+across > 0 {
					b = -1
				}
				if now := float32(d.q[j]) + float32(b); now < d.lo || now > d.hi {
					continue
				}
				if first+2*b*d.g[j]+float64(d.h[j*d.k+j])+b*across < -1e-9*first {
					d.move(i, a)
					d.move(j, b)
					changed = true
					break
				}
			}
		}
	}
	return changed
}
