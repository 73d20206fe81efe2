package solve

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func noise(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// hessian is the sum of x*x^T over rows inputs of k elements that follow one another, as neighbouring channels do.
func hessian(seed uint64, k, rows int) (h, x []float32) {
	x = noise(seed, rows*k)
	for r := range rows {
		row := x[r*k : (r+1)*k]
		for i := 1; i < k; i++ {
			row[i] = 0.9*row[i-1] + 0.3*row[i]
		}
	}
	h = make([]float32, k*k)
	for r := range rows {
		row := x[r*k : (r+1)*k]
		for i, v := range row {
			axpy(h[i*k:(i+1)*k], v, row)
		}
	}
	return h, x
}

func TestParallelCoversEachIndexOnce(t *testing.T) {
	for _, threads := range []int{-1, 0, 1, 2, 3, 7, 100} {
		for _, n := range []int{0, 1, 2, 63, 64, 65, 1000} {
			for _, grain := range []int{0, 1, 64} {
				seen := make([]int, n)
				Parallel(threads, n, grain, func(from, to int) {
					if to-from < min(grain, n) {
						t.Errorf("threads %d, n %d: a part of %d, grain %d", threads, n, to-from, grain)
					}
					for i := from; i < to; i++ {
						seen[i]++
					}
				})
				if slices.ContainsFunc(seen, func(c int) bool { return c != 1 }) {
					t.Fatalf("threads %d, n %d, grain %d: %v", threads, n, grain, seen)
				}
			}
		}
	}
}

func TestPlainMul(t *testing.T) {
	for _, d := range [][3]int{{1, 1, 1}, {3, 5, 7}, {17, 9, 33}, {2, 0, 3}} {
		m, k, n := d[0], d[1], d[2]
		a, b := noise(1, m*k), noise(2, k*n)
		got, err := Plain{Threads: 3}.Mul(a, b, m, k, n)
		if err != nil || len(got) != m*n {
			t.Fatal(len(got), err)
		}
		for i := range got {
			var s float64
			for x := range k {
				s += float64(a[i/n*k+x]) * float64(b[x*n+i%n])
			}
			if math.Abs(s-float64(got[i])) > 1e-5 {
				t.Errorf("%v: element %d is %v, want %v", d, i, got[i], s)
			}
		}
	}
	x, y := noise(3, 37), noise(4, 37)
	var s float64
	for i := range x {
		s += float64(x[i]) * float64(y[i])
	}
	if d := dot(x, y); math.Abs(float64(d)-s) > 1e-5 {
		t.Errorf("dot is %v, want %v", d, s)
	}
}

// TestInverseFactorGolden holds [[4, 2], [2, 3]], whose inverse is [[3, -2], [-2, 4]] / 8.
func TestInverseFactorGolden(t *testing.T) {
	u, err := InverseFactor([]float32{4, 2, 2, 3}, 2, Plain{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{math.Sqrt(0.375), -0.25 / math.Sqrt(0.375), 0, math.Sqrt(1. / 3)} {
		if math.Abs(float64(u[i])-want) > 1e-6 {
			t.Errorf("element %d is %v, want %v", i, u[i], want)
		}
	}
}

// TestInverseFactor checks U^T*U*h = 1 on sizes below, at and over the width of a panel and of a strip.
func TestInverseFactor(t *testing.T) {
	for _, n := range []int{1, 5, panel - 1, panel, panel + 1, 2*panel + 3, 4*panel + 9} {
		h, _ := hessian(uint64(n), n, 2*n)
		var mean float64
		for i := range n {
			mean += float64(h[i*n+i]) / float64(n)
		}
		for i := range n {
			h[i*n+i] += float32(mean / 20)
		}
		u, err := InverseFactor(slices.Clone(h), n, Plain{Threads: 2}, 2)
		if err != nil {
			t.Fatalf("n %d: %v", n, err)
		}
		again, _ := InverseFactor(slices.Clone(h), n, Plain{Threads: 1}, 1)
		if !slices.Equal(u, again) {
			t.Errorf("n %d: the factor depends on the number of threads", n)
		}
		ut := make([]float32, n*n)
		for i := range n {
			for j := range n {
				if ut[j*n+i] = u[i*n+j]; j < i && u[i*n+j] != 0 {
					t.Fatalf("n %d: element %d, %d below the diagonal is %v", n, i, j, u[i*n+j])
				}
			}
		}
		uh, _ := Plain{Threads: 2}.Mul(u, h, n, n, n)
		one, _ := Plain{Threads: 2}.Mul(ut, uh, n, n, n)
		for i, v := range one {
			want := 0.0
			if i%(n+1) == 0 {
				want = 1
			}
			if math.Abs(float64(v)-want) > 2e-3 {
				t.Fatalf("n %d: element %d of U^T*U*h is %v", n, i, v)
			}
		}
	}
}

func TestInverseFactorRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, h := range [][]float32{{1, 2, 2, 1}, {0, 0, 0, 0}, {-1, 0, 0, 1}, {nan, 0, 0, 1}, {1, 0, 0, inf}} {
		if _, err := InverseFactor(slices.Clone(h), 2, Plain{}, 1); !errors.Is(err, ErrNotPositive) {
			t.Errorf("%v: %v", h, err)
		}
	}
}

// whole rounds to whole numbers times step, and keeps what it was asked.
type whole struct {
	step  float32
	ahead int
	fits  *[][3]int // k, from, columns
}

func (w whole) Ahead() int { return w.ahead }
func (w whole) Fit(k, from, _, columns int, f func(int) []float32) {
	for i := range columns {
		_ = f(i)[0]
	}
	*w.fits = append(*w.fits, [3]int{k, from, columns})
}
func (w whole) Round(_, _ int, v, out []float32) {
	for i, x := range v {
		out[i] = float32(math.Round(float64(x/w.step))) * w.step
	}
}

// naive is GPTQ as optimal brain quantization derives it: after each input the inverse of the Hessian loses a row and
// a column by elimination. In float64, and with no panels.
func naive(w []float32, k, n int, h []float32, damping float64, order []int, step float32) []float32 {
	inv := make([][]float64, k)
	var mean float64
	for i := range k {
		mean += float64(h[i*k+i]) / float64(k)
	}
	for i := range k {
		inv[i] = make([]float64, 2*k)
		inv[i][k+i] = 1
		for j := range k {
			inv[i][j] = float64(h[order[i]*k+order[j]])
		}
		if inv[i][i] == 0 {
			inv[i][i] = mean
		}
		inv[i][i] += damping * mean
	}
	for i := range k { // Gauss and Jordan
		f := 1 / inv[i][i]
		for j := range inv[i] {
			inv[i][j] *= f
		}
		for r := range k {
			if f := inv[r][i]; r != i && f != 0 {
				for j := range inv[r] {
					inv[r][j] -= f * inv[i][j]
				}
			}
		}
	}
	for i := range inv {
		inv[i] = inv[i][k:]
	}
	out := make([]float32, k*n)
	for c := range n {
		col := make([]float64, k)
		for i := range k {
			col[i] = float64(w[order[i]*n+c])
		}
		a := make([][]float64, k)
		for i := range a {
			a[i] = slices.Clone(inv[i])
		}
		for i := range k {
			q := math.Round(col[i]/float64(step)) * float64(step)
			out[order[i]*n+c] = float32(q)
			e := (col[i] - q) / a[i][i]
			for j := i + 1; j < k; j++ {
				col[j] -= e * a[i][j]
			}
			for r := i + 1; r < k; r++ {
				f := a[r][i] / a[i][i]
				for j := i + 1; j < k; j++ {
					a[r][j] -= f * a[i][j]
				}
			}
		}
	}
	return out
}

func inOrder(k int) []int {
	o := make([]int, k)
	for i := range o {
		o[i] = i
	}
	return o
}

// TestGPTQ compares with the derivation. Rounding is a cliff: where float32 and float64 fall on two sides of it all that
// follows differs, so a few columns may.
func TestGPTQ(t *testing.T) {
	for _, c := range []struct {
		k, n  int
		order bool
		dead  int
	}{{1, 3, false, -1}, {20, 5, false, -1}, {20, 5, true, -1}, {2*panel + 20, 4, false, -1}, {40, 6, false, 7}, {40, 6, true, 7}} {
		h, _ := hessian(5, c.k, 3*c.k)
		if c.dead >= 0 {
			for i := range c.k {
				h[c.dead*c.k+i], h[i*c.k+c.dead] = 0, 0
			}
		}
		w := noise(6, c.k*c.n)
		order := inOrder(c.k)
		if c.order {
			slices.SortStableFunc(order, func(a, b int) int {
				switch x, y := h[a*c.k+a], h[b*c.k+b]; {
				case x > y:
					return -1
				case x < y:
					return 1
				}
				return 0
			})
		}
		want := naive(w, c.k, c.n, h, 0.01, order, 0.25)
		got := slices.Clone(w)
		if err := GPTQ(got, c.k, c.n, slices.Clone(h), whole{step: 0.25}, Plain{}, GPTQOptions{ActOrder: c.order, Threads: 2}); err != nil {
			t.Fatal(err)
		}
		differ := 0
		for i := range c.n {
			for j := range c.k {
				if got[j*c.n+i] != want[j*c.n+i] {
					differ++
					break
				}
			}
		}
		if differ > c.n/4 {
			t.Errorf("%+v: %d of %d outputs differ from the derivation", c, differ, c.n)
		}
		if c.dead >= 0 {
			for i := range c.n {
				if x, y := got[c.dead*c.n+i], w[c.dead*c.n+i]; math.Abs(float64(x-y)) > 0.125 {
					t.Errorf("%+v: an input that was never seen is %v, rounded from %v", c, x, y)
				}
			}
		}
	}
}

// TestGPTQError: the error of the product is well below that of rounding to nearest.
func TestGPTQError(t *testing.T) {
	const k, n = 3*panel + 5, 24
	h, x := hessian(9, k, 600)
	w := noise(10, k*n)
	nearest, better := make([]float32, k*n), slices.Clone(w)
	whole{step: 0.25}.Round(0, 0, w, nearest)
	if err := GPTQ(better, k, n, slices.Clone(h), whole{step: 0.25}, Plain{Threads: 2}, GPTQOptions{Threads: 2}); err != nil {
		t.Fatal(err)
	}
	e := map[string]float64{}
	for name, q := range map[string][]float32{"nearest": nearest, "gptq": better} {
		d, rows := make([]float32, k*n), make([]float32, k*n) // [n, k] and [k, n]
		for i := range k {
			for j := range n {
				rows[i*n+j] = w[i*n+j] - q[i*n+j]
				d[j*k+i] = rows[i*n+j]
			}
		}
		var err error
		if e[name], err = OutputError(d, n, k, h, Plain{}); err != nil {
			t.Fatal(err)
		}
		// The same by its definition: the energy of what the inputs times the change give.
		y, _ := Plain{Threads: 2}.Mul(x, rows, len(x)/k, k, n)
		var sum float64
		for _, v := range y {
			sum += float64(v) * float64(v)
		}
		if math.Abs(sum/e[name]-1) > 1e-3 {
			t.Errorf("%s: OutputError says %v, the products %v", name, e[name], sum)
		}
	}
	if e["gptq"] > 0.35*e["nearest"] {
		t.Errorf("GPTQ's error is %v, that of rounding to nearest %v", e["gptq"], e["nearest"])
	}
}

// TestGPTQThreads: the same bits on any number of threads.
func TestGPTQThreads(t *testing.T) {
	const k, n = panel + 72, 70
	h, _ := hessian(11, k, 300)
	w := noise(12, k*n)
	var first []float32
	for _, threads := range []int{1, 2, 5} {
		got := slices.Clone(w)
		if err := GPTQ(got, k, n, slices.Clone(h), whole{step: 0.25}, Plain{Threads: threads}, GPTQOptions{Threads: threads}); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !slices.Equal(got, first) {
			t.Errorf("%d threads: another result", threads)
		}
	}
}

// TestGPTQFit: Fit is called once for each block, with the columns that are left, also where blocks and panels do not
// divide one another.
func TestGPTQFit(t *testing.T) {
	const k, n, block = panel + 72, 3, 48
	h, _ := hessian(11, k, 300)
	var fits [][3]int
	if err := GPTQ(noise(12, k*n), k, n, h, whole{step: 0.25, ahead: block, fits: &fits}, Plain{}, GPTQOptions{}); err != nil {
		t.Fatal(err)
	}
	want := [][3]int{{0, 0, block}, {block, 0, block}, {2 * block, 0, block}, {3 * block, 0, block}, {4 * block, 0, k - 4*block}}
	if !slices.Equal(fits, want) {
		t.Errorf("Fit was called with %v, want %v", fits, want)
	}
}

func TestGPTQAwkward(t *testing.T) {
	const k, n = 12, 4
	w := noise(13, k*n)
	want := make([]float32, k*n)
	whole{step: 0.25}.Round(0, 0, w, want)
	got := slices.Clone(w)
	if err := GPTQ(got, k, n, make([]float32, k*k), whole{step: 0.25}, Plain{}, GPTQOptions{}); err != nil || !slices.Equal(got, want) {
		t.Errorf("without a single input seen: %v, rounded to nearest: %v", err, slices.Equal(got, want))
	}
	// One input seen once: the Hessian has rank 1, and damping makes it positive.
	h := make([]float32, k*k)
	for i := range h {
		h[i] = 1e6
	}
	got = slices.Clone(w)
	if err := GPTQ(got, k, n, h, whole{step: 0.25}, Plain{}, GPTQOptions{Damping: 1e-9}); err != nil {
		t.Errorf("a Hessian of rank 1: %v", err)
	}
	for i, v := range got {
		if math.IsNaN(float64(v)) || math.Abs(float64(v)) > 100 {
			t.Fatalf("element %d became %v", i, v)
		}
	}
	if err := GPTQ(w, k, n+1, make([]float32, k*k), whole{step: 1}, Plain{}, GPTQOptions{}); err == nil {
		t.Error("sizes that do not fit are taken")
	}
	bad := make([]float32, k*k)
	for i := range k {
		bad[i*k+i] = float32(math.NaN())
	}
	if err := GPTQ(slices.Clone(w), k, n, bad, whole{step: 1}, Plain{}, GPTQOptions{}); !errors.Is(err, ErrNotPositive) {
		t.Errorf("a Hessian of NaN: %v", err)
	}
}

// failing is a Gemm whose engine is gone.
type failing struct{}

var errGone = errors.New("the engine is gone")

func (failing) Mul([]float32, []float32, int, int, int) ([]float32, error) { return nil, errGone }

func TestGemmErrors(t *testing.T) {
	const k = 2*panel + 1
	h, _ := hessian(1, k, 10)
	if err := GPTQ(noise(1, k), k, 1, h, whole{step: 1}, failing{}, GPTQOptions{}); !errors.Is(err, errGone) {
		t.Error(err)
	}
	if _, err := OutputError(noise(1, 4), 2, 2, noise(1, 4), failing{}); !errors.Is(err, errGone) {
		t.Error(err)
	}
}

// TestLeastSquares: with products of a known weight it finds that weight; no small change of the answer is better; inputs
// that were never seen keep their weights.
func TestLeastSquares(t *testing.T) {
	const n, k, rows = 3, 7, 40
	x, want := noise(5, rows*k), noise(6, n*k)
	for r := range rows {
		x[r*k+4] = 0
	}
	h, cross := make([]float32, k*k), make([]float32, n*k)
	for r := range rows {
		for i := range k {
			for j := range k {
				h[i*k+j] += x[r*k+i] * x[r*k+j]
			}
			for o := range n {
				var y float32
				for j := range k {
					y += want[o*k+j] * x[r*k+j]
				}
				cross[o*k+i] += y * x[r*k+i]
			}
		}
	}
	w := noise(7, n*k)
	got, err := LeastSquares(w, cross, h, n, k, 1e-6, Plain{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		target := want[i]
		if i%k == 4 {
			target = w[i]
		}
		if math.Abs(float64(v-target)) > 1e-3 {
			t.Errorf("element %d is %v, want %v", i, v, target)
		}
	}
	// Strong damping stays at w.
	if got, err = LeastSquares(w, cross, h, n, k, 1e6, Plain{}, 1); err != nil || math.Abs(float64(got[0]-w[0])) > 1e-3 {
		t.Errorf("with much damping %v, want %v (%v)", got[0], w[0], err)
	}
	if _, err := LeastSquares(w, cross, h, n, k, 0, Plain{}, 1); err == nil {
		t.Error("no damping is accepted")
	}
	if _, err := LeastSquares(w[1:], cross, h, n, k, 1, Plain{}, 1); err == nil {
		t.Error("a weight that is too short is accepted")
	}
}
