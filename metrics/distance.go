package metrics

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// MaxSQNR bounds the ratio of one sample, in dB, on both sides. Identical outputs
// would give infinity, which no report can hold; float32 itself ends near 150 dB.
const MaxSQNR = 200

// SQNR is the signal to quantization noise ratio of x against ref in dB: for each
// sample 10·log10(Σref² / Σ(ref-x)²), then the mean over samples. Higher is nearer.
// Both have the same shape [N, ...] and finite numbers.
func SQNR(ref, x tensor.Tensor) (Estimate, error) {
	return estimated(ref, x, func(a, b []float32) float64 {
		var signal, noise float64
		for i, r := range a {
			d := float64(r) - float64(b[i])
			signal += float64(r) * float64(r)
			noise += d * d
		}
		switch {
		case noise == 0:
			return MaxSQNR
		case signal == 0:
			return -MaxSQNR
		}
		return max(-MaxSQNR, min(MaxSQNR, 10*math.Log10(signal/noise)))
	})
}

// Cosine is the cosine of the angle between ref and x, from -1 to 1: for each sample,
// then the mean over samples. Two samples of only zeros count as 1, one of them as 0.
// Both have the same shape [N, ...] and finite numbers.
func Cosine(ref, x tensor.Tensor) (Estimate, error) {
	return estimated(ref, x, func(a, b []float32) float64 {
		var dot, na, nb float64
		for i, r := range a {
			p, q := float64(r), float64(b[i])
			dot += p * q
			na += p * p
			nb += q * q
		}
		switch {
		case na == 0 && nb == 0:
			return 1
		case na == 0 || nb == 0:
			return 0
		}
		// The roots are taken apart, since the product of the squares may overflow.
		return max(-1, min(1, dot/math.Sqrt(na)/math.Sqrt(nb)))
	})
}

func estimated(ref, x tensor.Tensor, compare func(a, b []float32) float64) (Estimate, error) {
	values, err := perSample(ref, x, compare)
	if err != nil {
		return Estimate{}, err
	}
	return Mean(values)
}

// perSample compares both tensors sample by sample; the rows are spread over the cores.
func perSample(ref, x tensor.Tensor, compare func(a, b []float32) float64) ([]float64, error) {
	if !slices.Equal(ref.Shape, x.Shape) {
		return nil, fmt.Errorf("the outputs differ in shape: %v and %v", ref.Shape, x.Shape)
	}
	if len(ref.Shape) == 0 {
		return nil, fmt.Errorf("outputs of shape [N, ...] are needed, one row for each sample, but they are scalars")
	}
	if ref.Shape[0] == 0 {
		return nil, errNoSamples
	}
	a, err := tensor.ToFloat32(ref)
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	b, err := tensor.ToFloat32(x)
	if err != nil {
		return nil, fmt.Errorf("candidate: %w", err)
	}
	row := len(a) / int(ref.Shape[0])
	if row == 0 {
		return nil, fmt.Errorf("the samples are empty: the shape is %v", ref.Shape)
	}
	values, bad := make([]float64, ref.Shape[0]), make([]error, ref.Shape[0])
	eachSample(len(values), func(i int) {
		p, q := a[i*row:(i+1)*row], b[i*row:(i+1)*row]
		for k := range p {
			// Of numbers only NaN and the infinities give something other than 0 here.
			if p[k]-p[k] != 0 {
				bad[i] = fmt.Errorf("reference: element %d of sample %d is %v", k, i, p[k])
				return
			}
			if q[k]-q[k] != 0 {
				bad[i] = fmt.Errorf("candidate: element %d of sample %d is %v", k, i, q[k])
				return
			}
		}
		values[i] = compare(p, q)
	})
	for _, err := range bad {
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}
