package metrics

import (
	"errors"
	"math"
	"slices"
)

// Estimate is a point estimate with the bounds of its 95% interval.
type Estimate struct {
	Point float64 `json:"point"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

const (
	resamples = 1000
	// The seed is fixed: an interval is a property of the outputs, and a run that
	// repeats must not fail a gate that it passed before.
	bootstrapSeed = 0x6f7074696d697a65
)

// errNoSamples is what every estimate says of an empty dataset.
var errNoSamples = errors.New("there are no samples to measure")

// Mean estimates the mean of values by the percentile bootstrap: 1000 resamples of
// the same size with replacement, and between which the middle 95% of their means
// lie. When all values are equal the interval has no width; that is the method's
// known weakness with few samples, not certainty.
func Mean(values []float64) (Estimate, error) {
	if len(values) == 0 {
		return Estimate{}, errNoSamples
	}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Estimate{}, errors.New("a value is not a finite number")
		}
	}
	return bootstrap[float64, float64](values), nil
}

// bootstrap resamples values and adds them up in S, which must not overflow for any
// resample: whole-number outcomes are summed exactly.
func bootstrap[T int8 | float64, S int64 | float64](values []T) Estimate {
	n := len(values)
	var total S
	for _, v := range values {
		total += S(v)
	}
	e := Estimate{Point: float64(total) / float64(n)}
	means := make([]float64, resamples)
	state := uint64(bootstrapSeed)
	bound := uint64(n)
	for r := range means {
		var sum S
		for i := 0; i < n; i += 2 {
			// SplitMix64, whose upper and lower halves are each scaled to an index. The
			// bias of scaling 32 bits is below n / 2^32, far under the sampling error.
			state += 0x9e3779b97f4a7c15
			z := state
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			z ^= z >> 31
			sum += S(values[z>>32*bound>>32])
			if i+1 < n {
				sum += S(values[z&0xffffffff*bound>>32])
			}
		}
		means[r] = float64(sum) / float64(n)
	}
	slices.Sort(means)
	e.Low, e.High = percentile(means, 0.025), percentile(means, 0.975)
	return e
}

// percentile interpolates linearly between the two nearest of the sorted values.
func percentile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	f := at - float64(i)
	return sorted[i] + f*(sorted[i+1]-sorted[i])
}
