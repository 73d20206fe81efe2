package repair

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// random is a layer whose inputs are correlated and not centred, with bits of precision.
func random(seed uint64, groups, n, k, rows int, bits int) *Layer {
	rng := rand.New(rand.NewPCG(seed, 7))
	most := float32(int(1)<<(bits-1) - 1)
	l := &Layer{Groups: groups, N: n, K: k, QMin: -most, QMax: most, Rows: float64(rows),
		W: make([]float32, groups*n*k), Scales: make([]float32, groups*n), Gram: make([]float32, groups*k*k), Sum: make([]float64, groups*k)}
	for o := range l.Scales {
		var top float32
		for i := o * k; i < (o+1)*k; i++ {
			l.W[i] = float32(rng.NormFloat64())
			top = max(top, float32(math.Abs(float64(l.W[i]))))
		}
		l.Scales[o] = top / most
	}
	rank := max(2, k/3)
	for g := range groups {
		mix := make([]float64, k*rank)
		for i := range mix {
			mix[i] = rng.NormFloat64()
		}
		x := make([]float64, k)
		for range rows {
			z := make([]float64, rank)
			for i := range z {
				z[i] = rng.NormFloat64()
			}
			for i := range x {
				x[i] = 0.1*rng.NormFloat64() + 0.5
				for j, v := range z {
					x[i] += mix[i*rank+j] * v / math.Sqrt(float64(rank))
				}
				l.Sum[g*k+i] += x[i]
			}
			for i, a := range x {
				for j, b := range x {
					l.Gram[(g*k+i)*k+j] += float32(a * b)
				}
			}
		}
	}
	return l
}

func outputError(t *testing.T, l *Layer, q []int8) float64 {
	t.Helper()
	e, err := l.OutputError(q, nil, solve.Plain{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRounding: both ways make the error of the product much smaller than rounding to nearest, in one group or many, with
// one scale or many, and codes stay in range.
func TestRounding(t *testing.T) {
	for _, c := range []struct {
		name                  string
		groups, n, k, bits    int
		one                   bool
		gptqAtMost, adaAtMost float64
	}{
		{"wide", 1, 24, 48, 8, false, 0.5, 0.3},
		{"narrow codes", 1, 24, 48, 7, false, 0.5, 0.3},
		{"one scale", 1, 24, 48, 8, true, 0.5, 0.3},
		{"depthwise", 16, 1, 9, 8, false, 0.8, 0.55},
		{"groups", 4, 6, 18, 8, false, 0.6, 0.3},
		{"four bits", 1, 16, 32, 4, false, 0.5, 0.3},
		{"larger than a panel", 1, 3, 150, 8, false, 0.5, 0.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := random(3, c.groups, c.n, c.k, 400, c.bits)
			if c.one {
				l.Scales = []float32{slices.Max(l.Scales)}
			}
			near := outputError(t, l, l.Nearest())
			gptq, err := l.GPTQ(solve.Plain{Threads: 2}, 0, 2)
			if err != nil {
				t.Fatal(err)
			}
			ada, err := l.AdaRound(t.Context(), solve.Plain{Threads: 2}, AdaRoundOptions{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			g, a := outputError(t, l, gptq)/near, outputError(t, l, ada)/near
			t.Logf("nearest %.3g, of it GPTQ %.2f and AdaRound %.2f", near, g, a)
			if !(g < c.gptqAtMost) || !(a < c.adaAtMost) {
				t.Errorf("of the error of nearest, GPTQ leaves %v and AdaRound %v", g, a)
			}
			for _, q := range [][]int8{gptq, ada} {
				for _, v := range q {
					if float32(v) < l.QMin || float32(v) > l.QMax {
						t.Fatalf("code %d is out of range", v)
					}
				}
			}
			// The same with another number of threads.
			again, err := l.AdaRound(t.Context(), solve.Plain{Threads: 1}, AdaRoundOptions{Threads: 1})
			if err != nil || !slices.Equal(again, ada) {
				t.Errorf("other codes with one thread: %v", err)
			}
		})
	}
}

// TestAdaRoundNearBest compares with all ways to round up or down.
func TestAdaRoundNearBest(t *testing.T) {
	for seed := range uint64(8) {
		l := random(seed, 1, 1, 10, 200, 8)
		got, err := l.AdaRound(t.Context(), solve.Plain{Threads: 1}, AdaRoundOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		best := math.Inf(1)
		q := make([]int8, 10)
		for code := range 1 << 10 {
			for i := range q {
				f := math.Floor(float64(l.W[i] / l.Scales[0]))
				q[i] = int8(min(f+float64(code>>i&1), 127))
			}
			best = min(best, outputError(t, l, q))
		}
		if e := outputError(t, l, got); e > 2.5*best {
			t.Errorf("seed %d: error %.3g, the best way to round has %.3g, nearest %.3g", seed, e, best, outputError(t, l, l.Nearest()))
		}
	}
}

// TestBiasShift: with the shift, the mean of each output is that of the float layer.
func TestBiasShift(t *testing.T) {
	l := random(1, 2, 3, 5, 100, 3)
	q := l.Nearest()
	shift, err := l.BiasShift(q)
	if err != nil {
		t.Fatal(err)
	}
	back := l.Dequantize(q)
	var before float64
	for o, b := range shift {
		var float, quantized float64
		for i := range l.K {
			m := l.Sum[o/l.N*l.K+i] / l.Rows
			float += float64(l.W[o*l.K+i]) * m
			quantized += float64(back[o*l.K+i]) * m
		}
		before = max(before, math.Abs(float-quantized))
		if d := math.Abs(float - quantized - float64(b)); d > 1e-6 {
			t.Errorf("output %d: the mean is off by %v", o, d)
		}
	}
	with, err := l.OutputError(q, shift, solve.Plain{Threads: 1})
	if err != nil || !(with < 0.9*outputError(t, l, q)) {
		t.Errorf("error %v with the shift, %v without: %v", with, outputError(t, l, q), err)
	}
	if before < 0.01 {
		t.Errorf("the means differ by %v only before: the test shows nothing", before)
	}
}

func TestDeadInputs(t *testing.T) {
	l := random(1, 1, 3, 6, 50, 8)
	clear(l.Gram)
	clear(l.Sum)
	l.Rows = 0
	for _, f := range []func() ([]int8, error){
		func() ([]int8, error) { return l.GPTQ(solve.Plain{Threads: 1}, 0, 1) },
		func() ([]int8, error) { return l.AdaRound(t.Context(), solve.Plain{Threads: 1}, AdaRoundOptions{}) },
	} {
		if q, err := f(); err != nil || !slices.Equal(q, l.Nearest()) {
			t.Errorf("inputs that were never seen: %v %v", q, err)
		}
	}
	if s, err := l.BiasShift(l.Nearest()); err != nil || slices.Max(s) != 0 {
		t.Errorf("shift %v %v", s, err)
	}
}

func TestBadSizes(t *testing.T) {
	l := random(1, 1, 3, 6, 50, 8)
	l.Gram = l.Gram[1:]
	if _, err := l.GPTQ(solve.Plain{}, 0, 1); err == nil {
		t.Error("GPTQ takes it")
	}
	if _, err := l.AdaRound(t.Context(), solve.Plain{}, AdaRoundOptions{}); err == nil {
		t.Error("AdaRound takes it")
	}
	if _, err := l.BiasShift(nil); err == nil {
		t.Error("BiasShift takes it")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := random(1, 2, 3, 6, 50, 8).AdaRound(ctx, solve.Plain{}, AdaRoundOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
