package evaluate

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// classView says how classes are read from an output.
type classView struct {
	// classes is how many there are; 0 when the output holds the classes themselves.
	classes int
	// last tells that the scores of an element lie along the last axis, not along axis 1.
	last      bool
	threshold *float64
}

// classView works out how the classes lie in an output: integers are classes, a threshold makes two of a score, and of
// several scores the highest wins. Those of an element lie along axis 1, or along the last axis where only that fits the
// shape like of what they are held against.
func (m Metric) classView(out tensor.Tensor, like []int64) (classView, error) {
	if out.DType.IsInteger() || out.DType == tensor.Bool {
		if m.Threshold != nil {
			return classView{}, fmt.Errorf("threshold parts scores, but the output holds integers (%s): leave it out", out.DType)
		}
		return classView{}, nil
	}
	if m.Threshold != nil {
		return classView{classes: 2, threshold: m.Threshold}, nil
	}
	s := out.Shape
	fits := func(rest []int64) bool { return like == nil || slices.Equal(squeezed(rest), squeezed(like[1:])) }
	n := len(s)
	switch {
	case n >= 2 && s[1] > 1 && fits(s[2:]):
		return classView{classes: int(s[1])}, nil
	case n >= 3 && s[n-1] > 1 && fits(s[1:n-1]):
		return classView{classes: int(s[n-1]), last: true}, nil
	case n < 2 || slices.Equal(squeezed(s[1:]), squeezed(like[min(1, len(like)):])):
		return classView{}, fmt.Errorf("the output has one score for each element, shape %s: say from which on it is class 1, such as threshold = 0.5", axes(s))
	case like != nil:
		return classView{}, fmt.Errorf("the output has shape %s, which does not give a class for each element of %s", axes(s), axes(like))
	}
	return classView{}, fmt.Errorf("the output has shape %s; scores of shape [N, C, ...] are needed", axes(s))
}

// read gives the classes of some samples as I64 [N, ...]; start is the number of the first.
func (v classView) read(t tensor.Tensor, start int64) (tensor.Tensor, error) {
	switch {
	case v.threshold != nil:
		return v.part(t, start)
	case v.classes == 0:
		c, err := metrics.Integers(t)
		return tensor.Of(t.Shape, c), err
	case v.last:
		n := len(t.Shape)
		shape := t.Shape[:n-1]
		t.Shape = []int64{t.Elements() / t.Shape[n-1], t.Shape[n-1]}
		c, err := metrics.Classes(t)
		if err != nil {
			return c, err
		}
		c.Shape = shape
		return c, nil
	}
	return metrics.Classes(t)
}

func (v classView) part(t tensor.Tensor, start int64) (tensor.Tensor, error) {
	f, err := tensor.ToFloat32(t)
	if err != nil {
		return t, err
	}
	out := make([]int64, len(f))
	for i, x := range f {
		if math.IsNaN(float64(x)) {
			return t, fmt.Errorf("a score of sample %d is NaN", start+int64(i)/(int64(len(f))/t.Shape[0]))
		}
		if float64(x) >= *v.threshold {
			out[i] = 1
		}
	}
	return tensor.Of(t.Shape, out), nil
}
