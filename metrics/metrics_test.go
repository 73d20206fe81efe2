package metrics

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

var nan = float32(math.NaN())

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

// check compares an estimate with its point worked out by hand, and the interval with
// what any interval must hold.
func check(t *testing.T, what string, e Estimate, err error, point float64) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if !near(e.Point, point) || e.Low > e.Point || e.High < e.Point {
		t.Errorf("%s: got %+v, want %v", what, e, point)
	}
}

func TestTop1(t *testing.T) {
	for _, c := range []struct {
		name   string
		logits tensor.Tensor
		labels []int64
		want   []bool
		err    string
	}{
		{"float32", tensor.Of([]int64{3, 3}, []float32{1, 3, 2, -5, -6, -4, 9, 0, 0}), []int64{1, 2, 1}, []bool{true, true, false}, ""},
		{"float64", tensor.Of([]int64{1, 2}, []float64{1, 1 + 1e-12}), []int64{1}, []bool{true}, ""},
		{"integers", tensor.Of([]int64{2, 2}, []uint8{3, 4, 250, 4}), []int64{1, 0}, []bool{true, true}, ""},
		{"half", tensor.Tensor{DType: tensor.F16, Shape: []int64{1, 2}, Data: []byte{0, 0x3c, 0, 0x40}}, []int64{1}, []bool{true}, ""},
		{"the lowest of equals", tensor.Of([]int64{2, 3}, []float32{2, 2, 1, 0, 5, 5}), []int64{0, 1}, []bool{true, true}, ""},
		{"infinities", tensor.Of([]int64{1, 3}, []float32{float32(math.Inf(-1)), 0, float32(math.Inf(1))}), []int64{2}, []bool{true}, ""},
		{"NaN", tensor.Of([]int64{2, 2}, []float32{1, 2, 3, nan}), []int64{0, 0}, nil, "sample 1 for class 1"},
		{"NaN first", tensor.Of([]int64{1, 2}, []float32{nan, 3}), []int64{0}, nil, "NaN"},
		{"one axis", tensor.Of([]int64{4}, []float32{1, 2, 3, 4}), []int64{0}, nil, "[N, C]"},
		{"no classes", tensor.Of([]int64{4, 0}, []float32{}), []int64{0}, nil, "[N, C]"},
		{"no samples", tensor.Of([]int64{0, 4}, []float32{}), nil, nil, "no samples"},
		{"labels", tensor.Of([]int64{2, 2}, []float32{1, 2, 3, 4}), []int64{0}, nil, "1 labels for 2 samples"},
		{"label too high", tensor.Of([]int64{1, 2}, []float32{1, 2}), []int64{2}, nil, "classes 0 to 1"},
		{"label negative", tensor.Of([]int64{1, 2}, []float32{1, 2}), []int64{-1}, nil, "classes 0 to 1"},
		{"bytes missing", tensor.Tensor{DType: tensor.F32, Shape: []int64{1, 2}, Data: make([]byte, 4)}, []int64{0}, nil, "8 bytes"},
	} {
		got, err := Top1(c.logits, c.labels)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %v, %v", c.name, got, err)
		}
	}
}

func TestProportion(t *testing.T) {
	hits := make([]bool, 2000)
	for i := range 1964 {
		hits[i] = true
	}
	e, err := Proportion(hits)
	check(t, "982 of 1000", e, err, 0.982)
	// The standard error is sqrt(p(1-p)/n) = 0.00297; the bootstrap comes near 1.96 of it.
	if h := (e.High - e.Low) / 2; h < 0.0050 || h > 0.0066 {
		t.Errorf("the interval is %+v", e)
	}
	again, _ := Proportion(hits)
	if again != e {
		t.Error("the interval is not deterministic")
	}
	for _, hits := range [][]bool{{true}, {true, true, true}} {
		if e, err := Proportion(hits); err != nil || e != (Estimate{1, 1, 1}) {
			t.Errorf("all hits: %+v, %v", e, err)
		}
	}
	if _, err := Proportion(nil); err == nil {
		t.Error("no samples: no error")
	}
}

func TestPairedDrop(t *testing.T) {
	b := func(s string) []bool {
		v := make([]bool, len(s))
		for i := range s {
			v[i] = s[i] == '1'
		}
		return v
	}
	for _, c := range []struct {
		base, cand string
		want       float64
	}{
		{"1111", "1111", 0},
		{"1111", "1110", 0.25},
		{"1010", "0101", 0},
		{"0000", "0001", -0.25},
		{"1111111100", "1111100011", 0.1},
	} {
		e, err := PairedDrop(b(c.base), b(c.cand))
		check(t, c.base+" "+c.cand, e, err, c.want)
	}
	if e, _ := PairedDrop(b("1010"), b("1010")); e != (Estimate{}) {
		t.Errorf("the same outputs: %+v", e)
	}
	// What both get wrong does not widen the interval: 40 of 2000 change, half of them
	// for the better. The standard error of the drop is sqrt(40)/2000 = 0.00316.
	base, cand := make([]bool, 2000), make([]bool, 2000)
	for i := range base {
		base[i] = i%2 == 0
		cand[i] = base[i] != (i < 40)
	}
	e, err := PairedDrop(base, cand)
	check(t, "paired", e, err, 0)
	if h := (e.High - e.Low) / 2; h < 0.0052 || h > 0.0072 {
		t.Errorf("the interval is %+v", e)
	}
	if _, err := PairedDrop(b("1"), b("11")); err == nil || !strings.Contains(err.Error(), "1 samples and the candidate 2") {
		t.Errorf("lengths: %v", err)
	}
	if _, err := PairedDrop(nil, nil); err == nil {
		t.Error("no samples: no error")
	}
}

// The share of true means that lie in the interval must be near 95%.
func TestCoverage(t *testing.T) {
	const p, n, trials = 0.9, 400, 400
	state, held := uint64(99), 0
	for range trials {
		hits := make([]bool, n)
		for i := range hits {
			state = state*6364136223846793005 + 1442695040888963407
			hits[i] = float64(state>>11)/(1<<53) < p
		}
		if e, _ := Proportion(hits); e.Low <= p && p <= e.High {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.91 || share > 0.98 {
		t.Errorf("%v of the intervals hold the truth", share)
	}
}

func TestAgreement(t *testing.T) {
	a := tensor.Of([]int64{4, 2}, []float32{0, 1, 1, 0, 0, 1, 1, 0})
	b := tensor.Of([]int64{4, 2}, []int8{0, 9, 9, 0, 9, 0, 9, 0})
	e, err := Agreement(a, b)
	check(t, "3 of 4", e, err, 0.75)
	for says, pair := range map[string][2]tensor.Tensor{
		"differ in shape": {a, tensor.Of([]int64{2, 4}, make([]float32, 8))},
		"first output":    {tensor.Of([]int64{1, 1}, []float32{nan}), a},
		"second output":   {a, tensor.Of([]int64{8}, make([]float32, 8))},
	} {
		if _, err := Agreement(pair[0], pair[1]); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

func TestDistances(t *testing.T) {
	f := func(shape []int64, v ...float32) tensor.Tensor { return tensor.Of(shape, v) }
	two := []int64{2, 2}
	for _, c := range []struct {
		name         string
		ref, x       tensor.Tensor
		sqnr, cosine float64
	}{
		{"same", f(two, 1, 2, 3, 4), f(two, 1, 2, 3, 4), MaxSQNR, 1},
		// Σref² = 100, Σ(ref-x)² = 1: 20 dB; cos = (6·6+8·7) / (10·√85).
		{"by hand", f([]int64{1, 2}, 6, 8), f([]int64{1, 2}, 6, 7), 20, 92 / (10 * math.Sqrt(85))},
		// 10 against 9 has 20 dB and cosine 1, 10 against 0 has 0 dB and cosine 0.
		{"mean of samples", f([]int64{2, 1}, 10, 10), f([]int64{2, 1}, 9, 0), 10, 0.5},
		{"opposite", f([]int64{1, 2}, 1, 0), f([]int64{1, 2}, -1, 0), -10 * math.Log10(4), -1},
		{"right angle", f([]int64{1, 2}, 1, 0), f([]int64{1, 2}, 1, 1), 0, math.Sqrt2 / 2},
		{"zeros", f(two, 0, 0, 0, 0), f(two, 0, 0, 0, 0), MaxSQNR, 1},
		{"noise only", f([]int64{1, 2}, 0, 0), f([]int64{1, 2}, 1, 0), -MaxSQNR, 0},
		{"large", f([]int64{1, 1}, 3e38), f([]int64{1, 1}, 3e37), 10 * math.Log10(1/0.81), 1},
	} {
		e, err := SQNR(c.ref, c.x)
		if math.Abs(e.Point-c.sqnr) < 1e-5 { // float32 inputs such as 3e37 are not exact
			e.Point = c.sqnr
		}
		if err != nil || e.Point != c.sqnr {
			t.Errorf("%s: sqnr %+v, %v, want %v", c.name, e, err, c.sqnr)
		}
		e, err = Cosine(c.ref, c.x)
		check(t, c.name+" cosine", e, err, c.cosine)
	}
	inf := float32(math.Inf(1))
	for says, pair := range map[string][2]tensor.Tensor{
		"differ in shape":        {f(two, 1, 2, 3, 4), f([]int64{4}, 1, 2, 3, 4)},
		"element 1 of sample 1":  {f(two, 1, 2, 3, 4), f(two, 1, 2, 3, nan)},
		"element 0 of sample 0":  {f(two, inf, 2, 3, 4), f(two, 1, 2, 3, 4)},
		"scalars":                {f([]int64{}, 1), f([]int64{}, 1)},
		"no samples":             {f([]int64{0, 3}), f([]int64{0, 3})},
		"samples are empty":      {f([]int64{3, 0}), f([]int64{3, 0})},
		"reference: F32 of":      {f(two, 1), f(two, 1, 2, 3, 4)},
		"candidate: F32 of":      {f(two, 1, 2, 3, 4), f(two, 1)},
		"candidate: element 0 o": {f(two, 1, 2, 3, 4), f(two, -inf, 2, 3, 4)},
	} {
		for name, metric := range map[string]func(a, b tensor.Tensor) (Estimate, error){"SQNR": SQNR, "Cosine": Cosine} {
			if _, err := metric(pair[0], pair[1]); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: got %v, want %q", name, err, says)
			}
		}
	}
}

func TestMean(t *testing.T) {
	// Of 0..99 the mean is 49.5 and its standard error 2.887.
	v := make([]float64, 100)
	for i := range v {
		v[i] = float64(i)
	}
	e, err := Mean(v)
	check(t, "0..99", e, err, 49.5)
	if e.Low < 42.5 || e.Low > 45 || e.High < 54 || e.High > 56.5 {
		t.Errorf("the interval is %+v", e)
	}
	if e, err := Mean([]float64{3}); err != nil || e != (Estimate{3, 3, 3}) {
		t.Errorf("one value: %+v, %v", e, err)
	}
	for _, bad := range [][]float64{nil, {math.NaN()}, {1, math.Inf(1)}} {
		if _, err := Mean(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestPercentile(t *testing.T) {
	v := []float64{1, 2, 3, 4, 5}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 1: 5, 0.625: 3.5, 0.025: 1.1} {
		if got := percentile(v, q); !near(got, want) {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
}

func BenchmarkPairedDrop2000(b *testing.B) {
	base, cand := make([]bool, 2000), make([]bool, 2000)
	for i := range base {
		base[i], cand[i] = i%50 != 0, i%49 != 0
	}
	for range b.N {
		if _, err := PairedDrop(base, cand); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSQNR2000(b *testing.B) {
	x := make([]float32, 20000)
	for i := range x {
		x[i] = float32(i % 97)
	}
	ref, y := tensor.Of([]int64{2000, 10}, x), tensor.Of([]int64{2000, 10}, slices.Clone(x))
	for range b.N {
		if _, err := SQNR(ref, y); err != nil {
			b.Fatal(err)
		}
	}
}
