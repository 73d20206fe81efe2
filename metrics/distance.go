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
	return perSample(ref, x, func(a, b []float32) float64 {
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
	return perSample(ref, x, func(a, b []float32) float64 {
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

// perSample compares both tensors sample by sample and estimates the mean.
func perSample(ref, x tensor.Tensor, compare func(a, b []float32) float64) (Estimate, error) {
	if !slices.Equal(ref.Shape, x.Shape) {
		return Estimate{}, fmt.Errorf("the outputs differ in shape: %v and %v", ref.Shape, x.Shape)
	}
	if len(ref.Shape) == 0 {
		return Estimate{}, fmt.Errorf("outputs of shape [N, ...] are needed, one row for each sample, but they are scalars")
	}
	if ref.Shape[0] == 0 {
		return Estimate{}, errNoSamples
	}
	a, err := tensor.ToFloat32(ref)
	if err != nil {
		return Estimate{}, fmt.Errorf("reference: %w", err)
	}
	b, err := tensor.ToFloat32(x)
	if err != nil {
		return Estimate{}, fmt.Errorf("candidate: %w", err)
	}
	row := len(a) / int(ref.Shape[0])
	if row == 0 {
		return Estimate{}, fmt.Errorf("the samples are empty: the shape is %v", ref.Shape)
	}
	values := make([]float64, ref.Shape[0])
	for i := range values {
		p, q := a[i*row:(i+1)*row], b[i*row:(i+1)*row]
		for k := range p {
			// Of numbers only NaN and the infinities give something other than 0 here.
			if p[k]-p[k] != 0 {
				return Estimate{}, fmt.Errorf("reference: element %d of sample %d is %v", k, i, p[k])
			}
			if q[k]-q[k] != 0 {
				return Estimate{}, fmt.Errorf("candidate: element %d of sample %d is %v", k, i, q[k])
			}
		}
		values[i] = compare(p, q)
	}
	return Mean(values)
}
