package metrics

import (
	"errors"
	"fmt"
	"math"
)

// Measure is a figure of a whole set of samples, such as F1 or BLEU, in a form that
// can be taken again of any resample of them. Its zero value has no samples.
type Measure struct {
	n int
	// scorer makes a function that takes the figure when sample i counts weight[i]
	// times; NaN when it is not defined for them. Each function is used by one
	// goroutine, so it may keep scratch memory.
	scorer func() func(weight []int32) float64
}

// Samples is how many samples the measure was taken of.
func (m Measure) Samples() int { return m.n }

// Point is the figure itself, without an interval. A figure that is not defined for
// the samples, such as the ROC-AUC of one class, is an error.
func (m Measure) Point() (float64, error) {
	if m.n == 0 {
		return 0, errNoSamples
	}
	v := m.scorer()(ones(m.n))
	if math.IsNaN(v) {
		return 0, errors.New("the figure is not defined for these samples")
	}
	return v, nil
}

// Estimate gives the figure with its 95% interval by the percentile bootstrap over
// samples (Efron 1979): 1000 resamples of the same size with replacement. Resamples
// for which the figure is not defined are left out; when they are more than half,
// that is an error.
func (m Measure) Estimate() (Estimate, error) {
	point, err := m.Point()
	if err != nil {
		return Estimate{}, err
	}
	return resampled(m.n, point, m.scorer)
}

// Drop estimates what base has more than cand, as [PairedDrop] does for hits: both
// are measures of the same kind of the same samples in the same order, and the pairs
// are resampled together.
func Drop(base, cand Measure) (Estimate, error) {
	if base.n != cand.n {
		return Estimate{}, fmt.Errorf("the baseline has %d samples and the candidate %d", base.n, cand.n)
	}
	b, err := base.Point()
	if err != nil {
		return Estimate{}, fmt.Errorf("baseline: %w", err)
	}
	c, err := cand.Point()
	if err != nil {
		return Estimate{}, fmt.Errorf("candidate: %w", err)
	}
	return resampled(base.n, b-c, func() func([]int32) float64 {
		x, y := base.scorer(), cand.scorer()
		return func(w []int32) float64 { return x(w) - y(w) }
	})
}

func resampled(n int, point float64, scorer func() func([]int32) float64) (Estimate, error) {
	values := make([]float64, resamples)
	forResamples(n, func(from, to int) {
		weight, score := make([]int32, n), scorer()
		for r := from; r < to; r++ {
			clear(weight)
			d := resampleAt(r, n)
			for i := 0; i < n; i += 2 {
				a, b := d.pair()
				weight[a]++
				if i+1 < n {
					weight[b]++
				}
			}
			values[r] = score(weight)
		}
	})
	defined := values[:0]
	for _, v := range values {
		if !math.IsNaN(v) {
			defined = append(defined, v)
		}
	}
	if len(defined) < resamples/2 {
		return Estimate{}, fmt.Errorf("the figure is defined for only %d of %d resamples; take more samples", len(defined), resamples)
	}
	return interval(point, defined), nil
}

func ones(n int) []int32 {
	w := make([]int32, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

// sums makes a measure of figures that add up over the samples: rows holds width
// numbers for each sample, and of turns their weighted sums into the figure.
func sums(rows []float64, width int, of func(total []float64) float64) Measure {
	return Measure{n: len(rows) / width, scorer: func() func([]int32) float64 {
		total := make([]float64, width)
		return func(weight []int32) float64 {
			clear(total)
			for i, w := range weight {
				if w == 0 {
					continue
				}
				row := rows[i*width : (i+1)*width]
				for k, v := range row {
					total[k] += float64(w) * v
				}
			}
			return of(total)
		}
	}}
}

// MeanOf is the mean of a value of each sample as a measure, so that it can be
// compared with another one by [Drop]. The values are finite numbers.
func MeanOf(values []float64) (Measure, error) {
	if err := finite(values); err != nil {
		return Measure{}, err
	}
	n := float64(len(values))
	return sums(values, 1, func(t []float64) float64 { return t[0] / n }), nil
}

// ratio is the quotient of two sums over the samples.
func ratio(rows []float64) Measure {
	return sums(rows, 2, func(t []float64) float64 {
		if t[1] == 0 {
			return math.NaN()
		}
		return t[0] / t[1]
	})
}
