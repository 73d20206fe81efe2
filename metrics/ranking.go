package metrics

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// TopK tells for each sample whether its label is among the k classes with the
// highest scores: [Top1] with room for k. Of equal scores the lower class goes first
// (scikit-learn's top_k_accuracy_score lets the higher one). Shapes and errors are
// those of Top1; k lies between 1 and the number of classes.
func TopK(logits tensor.Tensor, labels []int64, k int) ([]bool, error) {
	v, n, err := scores(logits)
	if err != nil {
		return nil, err
	}
	classes := len(v) / n
	if len(labels) != n {
		return nil, fmt.Errorf("there are %d labels for %d samples", len(labels), n)
	}
	if k < 1 || k > classes {
		return nil, fmt.Errorf("k is %d, but there are %d classes", k, classes)
	}
	hits := make([]bool, n)
	for i, label := range labels {
		if label < 0 || label >= int64(classes) {
			return nil, fmt.Errorf("the label of sample %d is %d, but the model has the classes 0 to %d", i, label, classes-1)
		}
		row := v[i*classes : (i+1)*classes]
		own, before := row[label], 0
		for c, s := range row {
			if s != s {
				return nil, fmt.Errorf("the score of sample %d for class %d is NaN", i, c)
			}
			if s > own || s == own && int64(c) < label {
				before++
			}
		}
		hits[i] = before < k
	}
	return hits, nil
}

// scores widens [N, C] of any numeric type, both over 0.
func scores(t tensor.Tensor) ([]float64, int, error) {
	if err := t.Validate(); err != nil {
		return nil, 0, err
	}
	if len(t.Shape) != 2 || t.Shape[1] == 0 {
		return nil, 0, fmt.Errorf("scores of shape [N, C] are needed, one row of classes for each sample, but the shape is %v", t.Shape)
	}
	if t.Shape[0] == 0 {
		return nil, 0, errNoSamples
	}
	v, err := wide(t)
	return v, int(t.Shape[0]), err
}

// wide returns the elements as float64; of an F64 tensor they are a view.
func wide(t tensor.Tensor) ([]float64, error) {
	if t.DType == tensor.F64 {
		return tensor.View[float64](t)
	}
	f, err := tensor.ToFloat32(t)
	if err != nil {
		return nil, err
	}
	v := make([]float64, len(f))
	for i, x := range f {
		v[i] = float64(x)
	}
	return v, nil
}

// ROCAUC is the area under the ROC curve of a score for the positive class: the
// chance that a positive sample scores above a negative one, equal scores counting a
// half. It is scikit-learn's roc_auc_score. Without samples of either kind it is not
// defined, and taking it is an error.
func ROCAUC(score []float64, positive []bool) (Measure, error) {
	if len(score) != len(positive) {
		return Measure{}, fmt.Errorf("there are %d labels for %d scores", len(positive), len(score))
	}
	if len(score) == 0 {
		return Measure{}, errNoSamples
	}
	c, err := newCurve(score, positive)
	if err != nil {
		return Measure{}, err
	}
	return Measure{n: len(score), scorer: func() func([]int32) float64 {
		return func(w []int32) float64 { v, _ := c.area(w); return v }
	}}, nil
}

// ROCAUCOneVsRest is the area for each class against all others, averaged ([Macro] or
// [Weighted]) as scikit-learn's roc_auc_score does with multi_class="ovr". logits is
// [N, C]; for its numbers to be comparable between samples they should be
// probabilities. A class without a label is an error, as it is there.
func ROCAUCOneVsRest(logits tensor.Tensor, labels []int64, a Average) (Measure, error) {
	v, n, err := scores(logits)
	if err != nil {
		return Measure{}, err
	}
	if a == Micro {
		return Measure{}, fmt.Errorf("one class against all others is averaged by Macro or Weighted")
	}
	if len(labels) != n {
		return Measure{}, fmt.Errorf("there are %d labels for %d samples", len(labels), n)
	}
	classes := len(v) / n
	curves := make([]*curve, classes)
	column, positive := make([]float64, n), make([]bool, n)
	for c := range curves {
		for i, l := range labels {
			if l < 0 || l >= int64(classes) {
				return Measure{}, fmt.Errorf("the label of sample %d is %d, but the model has the classes 0 to %d", i, l, classes-1)
			}
			column[i], positive[i] = v[i*classes+c], l == int64(c)
		}
		if curves[c], err = newCurve(column, positive); err != nil {
			return Measure{}, fmt.Errorf("class %d: %w", c, err)
		}
	}
	return Measure{n: n, scorer: func() func([]int32) float64 {
		return func(w []int32) float64 {
			var sum, weights float64
			for _, c := range curves {
				area, positives := c.area(w)
				if a != Weighted {
					positives = 1
				}
				sum, weights = sum+area*positives, weights+positives
			}
			return sum / weights
		}
	}}, nil
}

// curve is the samples in order of their scores.
type curve struct {
	order    []int32
	positive []bool // in that order
	last     []bool // the next one in order scores higher
}

func newCurve(score []float64, positive []bool) (*curve, error) {
	c := &curve{order: make([]int32, len(score)), positive: make([]bool, len(score)), last: make([]bool, len(score))}
	for i, s := range score {
		if s != s {
			return nil, fmt.Errorf("the score of sample %d is NaN", i)
		}
		c.order[i] = int32(i)
	}
	slices.SortStableFunc(c.order, func(a, b int32) int {
		switch x, y := score[a], score[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	for k, i := range c.order {
		c.positive[k] = positive[i]
		c.last[k] = k+1 == len(c.order) || score[c.order[k+1]] > score[i]
	}
	return c, nil
}

// area is the weighted count of pairs in order over that of all pairs, and the weight
// of the positive samples. The counts are whole numbers, so they are exact.
func (c *curve) area(w []int32) (area, positives float64) {
	var below, pos, neg, twice, all int64
	for k, i := range c.order {
		if n := int64(w[i]); c.positive[k] {
			pos += n
		} else {
			neg += n
		}
		if c.last[k] {
			twice += pos * (2*below + neg)
			below, all = below+neg, all+pos
			pos, neg = 0, 0
		}
	}
	if all == 0 || below == 0 {
		return math.NaN(), 0
	}
	return float64(twice) / 2 / float64(all) / float64(below), float64(all)
}

// Integers widens a tensor [N, ...] of an integer type, or of truth values, with at
// least one element; of an I64 tensor the result is a view.
func Integers(t tensor.Tensor) ([]int64, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if len(t.Shape) == 0 || t.Elements() == 0 {
		return nil, fmt.Errorf("integers of shape [N, ...] are needed, but the shape is %v", t.Shape)
	}
	switch t.DType {
	case tensor.I64:
		return tensor.View[int64](t)
	case tensor.U8, tensor.Bool:
		return widened[uint8](t)
	case tensor.I8:
		return widened[int8](t)
	case tensor.U16:
		return widened[uint16](t)
	case tensor.I16:
		return widened[int16](t)
	case tensor.U32:
		return widened[uint32](t)
	case tensor.I32:
		return widened[int32](t)
	}
	return nil, fmt.Errorf("classes are integers, but these are %s", t.DType)
}

func widened[T tensor.Number](t tensor.Tensor) ([]int64, error) {
	v, err := tensor.View[T](t)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out, nil
}

func sameShape(a, b []int64) bool { return slices.Equal(a, b) }

// Classes takes the class with the highest score along axis 1 of [N, C, ...]: the
// maps of a segmentation, [N, ...] of I64. Of equal scores the lowest class wins; a
// NaN is an error.
func Classes(logits tensor.Tensor) (tensor.Tensor, error) {
	if err := logits.Validate(); err != nil {
		return tensor.Tensor{}, err
	}
	if len(logits.Shape) < 2 || logits.Elements() == 0 {
		return tensor.Tensor{}, fmt.Errorf("scores of shape [N, C, ...] are needed, but the shape is %v", logits.Shape)
	}
	v, err := wide(logits)
	if err != nil {
		return tensor.Tensor{}, err
	}
	n, classes := int(logits.Shape[0]), int(logits.Shape[1])
	rest := len(v) / n / classes
	out := make([]int64, n*rest)
	best := make([]float64, rest)
	for i := range n {
		for c := range classes {
			for p, s := range v[(i*classes+c)*rest : (i*classes+c+1)*rest] {
				if s != s {
					return tensor.Tensor{}, fmt.Errorf("the score of sample %d for class %d is NaN", i, c)
				}
				if c == 0 || s > best[p] {
					best[p], out[i*rest+p] = s, int64(c)
				}
			}
		}
	}
	return tensor.Of(append([]int64{int64(n)}, logits.Shape[2:]...), out), nil
}

// Probabilities turns rows of scores, [N, C] or [N], into F64 [N, C]. Rows that are no
// distribution already (each from 0 to 1, together 1 within 0.001) go through softmax;
// a single score a sample stays as it is, since only its order counts.
func Probabilities(t tensor.Tensor) (tensor.Tensor, error) {
	if len(t.Shape) == 1 {
		t.Shape = []int64{t.Shape[0], 1}
	}
	v, n, err := scores(t)
	if err != nil {
		return tensor.Tensor{}, err
	}
	c := len(v) / n
	shape := []int64{int64(n), int64(c)}
	done := c == 1
	for i := 0; i < n && !done; i++ {
		var sum float64
		for _, x := range v[i*c : (i+1)*c] {
			if x < 0 || x > 1 || x != x {
				sum = math.NaN()
				break
			}
			sum += x
		}
		if !(math.Abs(sum-1) <= 1e-3) {
			break
		}
		done = i+1 == n
	}
	if done {
		return tensor.Of(shape, v), nil
	}
	out := make([]float64, len(v))
	for i := range n {
		row, top := v[i*c:(i+1)*c], math.Inf(-1)
		for k, x := range row {
			if x != x {
				return tensor.Tensor{}, fmt.Errorf("the score of sample %d for class %d is NaN", i, k)
			}
			top = max(top, x)
		}
		var sum float64
		for k, x := range row {
			out[i*c+k] = math.Exp(x - top)
			sum += out[i*c+k]
		}
		for k := range row {
			out[i*c+k] /= sum
		}
	}
	return tensor.Of(shape, out), nil
}
