package metrics

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// TestIntervalsHoldTheTruth draws many small datasets from one population and counts in how many the 95% interval holds the
// population's figure, which a dataset of 200,000 samples tells. Percentile intervals of skewed figures hold it a little less
// often than 95%; resampling the wrong thing (elements in place of samples, or one half of a pair) is far off.
func TestIntervalsHoldTheTruth(t *testing.T) {
	const trials, small, large = 200, 150, 200_000
	r := rand.New(rand.NewPCG(8, 15))
	// Five tokens a sample, which are right or wrong together: their errors are not independent.
	draw := func(n int) (labels, first, second []int64, scores []float64, positive []bool) {
		for range n {
			l := int64(r.IntN(10) / 4) // 0, 1 and, rarer, 2
			hard := r.Float64()
			guess := func(share float64) int64 {
				if hard*0.7+r.Float64()*0.3 < share {
					return l
				}
				return int64(r.IntN(3))
			}
			labels, first, second = append(labels, l), append(first, guess(0.7)), append(second, guess(0.6))
			positive = append(positive, l == 1)
			s := r.NormFloat64()
			if l == 1 {
				s++
			}
			scores = append(scores, s)
		}
		return
	}
	figures := func(n int) map[string]func() (Estimate, float64, error) {
		labels, first, second, scores, positive := draw(n)
		confusion := func(pred []int64) *Confusion {
			c, err := NewConfusion(pred, labels, 3)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		of := func(m Measure, err error) func() (Estimate, float64, error) {
			return func() (Estimate, float64, error) {
				if err != nil {
					return Estimate{}, 0, err
				}
				point, err := m.Point()
				if err != nil || n == large {
					return Estimate{}, point, err
				}
				e, err := m.Estimate()
				return e, point, err
			}
		}
		errs := make([]float64, 0, n*5)
		ref := make([]float64, n*5)
		for i := range n {
			size := math.Abs(scores[i])
			for range 5 {
				errs = append(errs, size)
			}
		}
		shape := []int64{int64(n), 5}
		return map[string]func() (Estimate, float64, error){
			"f1":  of(confusion(first).F1(Macro), nil),
			"auc": of(ROCAUC(scores, positive)),
			"mse": of(MSE(tensor.Of(shape, ref), tensor.Of(shape, errs))),
			"drop": func() (Estimate, float64, error) {
				a, b := confusion(first).F1(Macro), confusion(second).F1(Macro)
				x, err := a.Point()
				if err != nil {
					return Estimate{}, 0, err
				}
				y, err := b.Point()
				if err != nil || n == large {
					return Estimate{}, x - y, err
				}
				e, err := Drop(a, b)
				return e, x - y, err
			},
		}
	}
	truth := map[string]float64{}
	for name, f := range figures(large) {
		_, v, err := f()
		if err != nil {
			t.Fatal(name, err)
		}
		truth[name] = v
	}
	held := map[string]int{}
	for range trials {
		for name, f := range figures(small) {
			e, _, err := f()
			if err != nil {
				t.Fatal(name, err)
			}
			if e.Low <= truth[name] && truth[name] <= e.High {
				held[name]++
			}
		}
	}
	for name := range truth {
		share := float64(held[name]) / trials
		t.Logf("%s: %.3f of the intervals hold %.4f", name, share, truth[name])
		if share < 0.90 || share > 0.985 {
			t.Errorf("%s: %v of the intervals hold the truth", name, share)
		}
	}
}
