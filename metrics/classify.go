package metrics

import (
	"fmt"

	"github.com/optimize-hcl/optimize/tensor"
)

// Top1 tells for each sample whether the class with the highest score is its label.
// logits is [N, C] of any numeric type, labels has N entries from 0 to C-1. Of
// equal scores the lowest class wins. A NaN, another shape or a label outside the
// classes is an error that names the sample.
func Top1(logits tensor.Tensor, labels []int64) ([]bool, error) {
	best, err := argmax(logits)
	if err != nil {
		return nil, err
	}
	if len(labels) != len(best) {
		return nil, fmt.Errorf("there are %d labels for %d samples", len(labels), len(best))
	}
	classes := logits.Shape[1]
	hits := make([]bool, len(best))
	for i, label := range labels {
		if label < 0 || label >= classes {
			return nil, fmt.Errorf("the label of sample %d is %d, but the model has the classes 0 to %d", i, label, classes-1)
		}
		hits[i] = best[i] == label
	}
	return hits, nil
}

// Agreement is the share of samples for which a and b, both [N, C], rate the same
// class highest.
func Agreement(a, b tensor.Tensor) (Estimate, error) {
	x, err := argmax(a)
	if err != nil {
		return Estimate{}, fmt.Errorf("first output: %w", err)
	}
	y, err := argmax(b)
	if err != nil {
		return Estimate{}, fmt.Errorf("second output: %w", err)
	}
	if a.Shape[0] != b.Shape[0] || a.Shape[1] != b.Shape[1] {
		return Estimate{}, fmt.Errorf("the outputs differ in shape: %v and %v", a.Shape, b.Shape)
	}
	same := make([]bool, len(x))
	for i := range x {
		same[i] = x[i] == y[i]
	}
	return Proportion(same)
}

// Proportion is the share of hits. No samples is an error.
func Proportion(hits []bool) (Estimate, error) {
	if len(hits) == 0 {
		return Estimate{}, errNoSamples
	}
	v := make([]int8, len(hits))
	for i, hit := range hits {
		if hit {
			v[i] = 1
		}
	}
	return bootstrap[int8, int64](v), nil
}

// PairedDrop is the share of hits of base minus that of cand, on the same samples in
// the same order: above 0 the candidate is worse. The pairs are resampled together,
// so what both get wrong does not widen the interval.
func PairedDrop(base, cand []bool) (Estimate, error) {
	if len(base) != len(cand) {
		return Estimate{}, fmt.Errorf("the baseline has %d samples and the candidate %d", len(base), len(cand))
	}
	if len(base) == 0 {
		return Estimate{}, errNoSamples
	}
	v := make([]int8, len(base))
	for i := range base {
		switch {
		case base[i] && !cand[i]:
			v[i] = 1
		case !base[i] && cand[i]:
			v[i] = -1
		}
	}
	return bootstrap[int8, int64](v), nil
}

// argmax returns the class with the highest score of each sample of [N, C].
func argmax(t tensor.Tensor) ([]int64, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if len(t.Shape) != 2 || t.Shape[1] == 0 {
		return nil, fmt.Errorf("scores of shape [N, C] are needed, one row of classes for each sample, but the shape is %v", t.Shape)
	}
	if t.Shape[0] == 0 {
		return nil, errNoSamples
	}
	if t.DType == tensor.F64 { // rounding to float32 could make two scores equal
		v, err := tensor.View[float64](t)
		if err != nil {
			return nil, err
		}
		return argmaxRows(v, int(t.Shape[1]))
	}
	v, err := tensor.ToFloat32(t)
	if err != nil {
		return nil, err
	}
	return argmaxRows(v, int(t.Shape[1]))
}

func argmaxRows[T float32 | float64](v []T, classes int) ([]int64, error) {
	best := make([]int64, len(v)/classes)
	for i := range best {
		row := v[i*classes : (i+1)*classes]
		k := 0
		for c, s := range row {
			if s != s {
				return nil, fmt.Errorf("the score of sample %d for class %d is NaN", i, c)
			}
			if s > row[k] {
				k = c
			}
		}
		best[i] = int64(k)
	}
	return best, nil
}
