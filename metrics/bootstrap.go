package metrics

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"
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
	// gamma is how far SplitMix64's state goes in a step.
	gamma = 0x9e3779b97f4a7c15
	// parallelFrom is the number of draws below which one core is faster.
	parallelFrom = 1 << 18
)

// errNoSamples is what every estimate says of an empty dataset.
var errNoSamples = errors.New("there are no samples to measure")

// Mean estimates the mean of values by the percentile bootstrap: 1000 resamples of
// the same size with replacement, and between which the middle 95% of their means
// lie. When all values are equal the interval has no width; that is the method's
// known weakness with few samples, not certainty.
func Mean(values []float64) (Estimate, error) {
	if err := finite(values); err != nil {
		return Estimate{}, err
	}
	return bootstrap[float64, float64](values), nil
}

// finite tells what keeps values from having a mean.
func finite(values []float64) error {
	if len(values) == 0 {
		return errNoSamples
	}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return errors.New("a value is not a finite number")
		}
	}
	return nil
}

// draws is the generator of one resample: SplitMix64, whose states are evenly spaced,
// so that every resample can be drawn on its own and the result does not depend on
// how many cores draw.
type draws struct{ state, bound uint64 }

// resampleAt returns the generator of resample r of n samples.
func resampleAt(r, n int) draws {
	steps := uint64(n+1) / 2
	return draws{bootstrapSeed + uint64(r)*steps*gamma, uint64(n)}
}

// pair draws two samples. Both halves of a step are scaled to an index; the bias of
// scaling 32 bits is below n / 2^32, far under the sampling error.
func (d *draws) pair() (int, int) {
	d.state += gamma
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return int(z >> 32 * d.bound >> 32), int(z & 0xffffffff * d.bound >> 32)
}

// bootstrap resamples values and adds them up in S, which must not overflow for any
// resample: whole-number outcomes are summed exactly.
func bootstrap[T int8 | float64, S int64 | float64](values []T) Estimate {
	n := len(values)
	var total S
	for _, v := range values {
		total += S(v)
	}
	means := make([]float64, resamples)
	forResamples(n, func(from, to int) {
		for r := from; r < to; r++ {
			d := resampleAt(r, n)
			var sum S
			for i := 0; i < n; i += 2 {
				a, b := d.pair()
				sum += S(values[a])
				if i+1 < n {
					sum += S(values[b])
				}
			}
			means[r] = float64(sum) / float64(n)
		}
	})
	return interval(float64(total)/float64(n), means)
}

// forResamples splits the resamples of n samples over the cores.
func forResamples(n int, work func(from, to int)) {
	cores := runtime.GOMAXPROCS(0)
	if n < parallelFrom/resamples || cores == 1 {
		work(0, resamples)
		return
	}
	var wg sync.WaitGroup
	for c := range cores {
		wg.Go(func() { work(c*resamples/cores, (c+1)*resamples/cores) })
	}
	wg.Wait()
}

// interval puts the middle 95% of the resamples' values round the point; it sorts them.
func interval(point float64, values []float64) Estimate {
	slices.Sort(values)
	return Estimate{Point: point, Low: percentile(values, 0.025), High: percentile(values, 0.975)}
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
