package evaluate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantile(t *testing.T) {
	v := []float64{1, 2, 3, 4}
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 1: 4, 1.0 / 3: 2} {
		if got := quantile(v, q); math.Abs(got-want) > 1e-12 {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
	if got := quantile([]float64{7}, 0.99); got != 7 {
		t.Errorf("of one value: %v", got)
	}
}

func TestSpreadHoldsThePoint(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	v := make([]float64, 500)
	for i := range v {
		v[i] = r.ExpFloat64()
	}
	slices.Sort(v)
	for _, q := range []float64{0.5, 0.9, 0.99} {
		e := spread(v, q)
		if !(e.Low <= e.Point && e.Point <= e.High) {
			t.Errorf("q %v: %+v", q, e)
		}
		if true50 := -math.Log(1 - q); q < 0.95 && (true50 < e.Low || true50 > e.High) {
			t.Errorf("q %v: the true quantile %v is outside of %+v", q, true50, e)
		}
	}
}

// TestPairedRatioIgnoresWeather has both subjects slow down together, as on a busy machine: the ratio stays.
func TestPairedRatioIgnoresWeather(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var base, x []float64
	for range 60 {
		weather := 1 + r.Float64()*2
		base = append(base, 2*weather*(1+0.01*r.NormFloat64()))
		x = append(x, weather*(1+0.01*r.NormFloat64()))
	}
	e := pairedRatio(base, x)
	if math.Abs(e.Point-2) > 0.02 || e.Low > e.Point || e.High < e.Point || e.High-e.Low > 0.05 {
		t.Errorf("%+v", e)
	}
	if again := pairedRatio(base, x); again != e {
		t.Errorf("not deterministic: %+v, %+v", e, again)
	}
}
