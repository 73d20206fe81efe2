package metrics

import (
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/tensor"
)

// sampleError is a mistake in one sample.
func sampleError(i int, format string, args ...any) error {
	return fmt.Errorf("sample %d "+format, append([]any{i}, args...)...)
}

// Perplexity is exp of the mean negative log-likelihood of the labels, in nats, over
// all tokens: logits is [N, T, C] (or [N, C]: one token a sample), not normalised, and
// labels [N, T] (or [N]) of an integer type. A label of ignore (-100, as is usual)
// does not count; if no other is left, the figure is not defined. The intervals
// resample whole samples, not tokens, since tokens of a text depend on each other.
func Perplexity(logits, labels tensor.Tensor, ignore int64) (Measure, error) {
	axes := len(logits.Shape) - 1
	if axes != 1 && axes != 2 {
		return Measure{}, fmt.Errorf("logits of shape [N, T, C] or [N, C] are needed, but the shape is %v", logits.Shape)
	}
	if !sameShape(logits.Shape[:axes], labels.Shape) {
		return Measure{}, fmt.Errorf("labels of shape %v are needed for logits of %v, but theirs is %v", logits.Shape[:axes], logits.Shape, labels.Shape)
	}
	if labels.Elements() == 0 || logits.Elements() == 0 {
		return Measure{}, errNoSamples
	}
	l, err := Integers(labels)
	if err != nil {
		return Measure{}, fmt.Errorf("labels: %w", err)
	}
	v, err := wide(logits)
	if err != nil {
		return Measure{}, fmt.Errorf("logits: %w", err)
	}
	n := int(logits.Shape[0])
	classes, each := int(logits.Shape[axes]), len(l)/n
	rows, bad := make([]float64, 2*n), make([]error, n)
	eachSample(n, func(i int) {
		for t := i * each; t < (i+1)*each; t++ {
			if l[t] == ignore {
				continue
			}
			if l[t] < 0 || l[t] >= int64(classes) {
				bad[i] = sampleError(i, "has the label %d, but the classes are 0 to %d", l[t], classes-1)
				return
			}
			row := v[t*classes : (t+1)*classes]
			// Shifted by the highest score, no exponential overflows.
			top := math.Inf(-1)
			for _, x := range row {
				top = max(top, x)
			}
			var sum float64
			for _, x := range row {
				sum += math.Exp(x - top)
			}
			nll := top + math.Log(sum) - row[l[t]]
			if math.IsNaN(nll) || math.IsInf(nll, 0) {
				bad[i] = sampleError(i, "gives its label no likelihood: a score is NaN or infinite")
				return
			}
			rows[2*i] += nll
			rows[2*i+1]++
		}
	})
	for _, err := range bad {
		if err != nil {
			return Measure{}, err
		}
	}
	return sums(rows, 2, func(t []float64) float64 {
		if t[1] == 0 {
			return math.NaN()
		}
		return math.Exp(t[0] / t[1])
	}), nil
}

// MSE is the mean squared error of x against ref over all elements. Both have the
// same shape [N, ...] and finite numbers.
func MSE(ref, x tensor.Tensor) (Measure, error) {
	return measured(ref, x, squared)
}

// MAE is the mean absolute error of x against ref over all elements. Both have the
// same shape [N, ...] and finite numbers.
func MAE(ref, x tensor.Tensor) (Measure, error) {
	return measured(ref, x, func(a, b []float32) float64 {
		var sum float64
		for i, r := range a {
			sum += math.Abs(float64(r) - float64(b[i]))
		}
		return sum / float64(len(a))
	})
}

// PSNR is the peak signal-to-noise ratio of x against ref in dB: for each sample
// 10·log10(span² / MSE), then the mean over samples. span is the difference between
// the largest and the smallest value that the data can take, such as 1 or 255. Equal
// samples count as [MaxSQNR], which also bounds the rest. Higher is nearer. Both have
// the same shape [N, ...] and finite numbers.
func PSNR(ref, x tensor.Tensor, span float64) (Measure, error) {
	if !(span > 0) || math.IsInf(span, 0) {
		return Measure{}, fmt.Errorf("the span of the values is %v; it is a finite number above 0, such as 1 or 255", span)
	}
	return measured(ref, x, func(a, b []float32) float64 {
		e := squared(a, b)
		if e == 0 {
			return MaxSQNR
		}
		return max(-MaxSQNR, min(MaxSQNR, 10*math.Log10(span*span/e)))
	})
}

func squared(a, b []float32) float64 {
	var sum float64
	for i, r := range a {
		d := float64(r) - float64(b[i])
		sum += d * d
	}
	return sum / float64(len(a))
}

func measured(ref, x tensor.Tensor, compare func(a, b []float32) float64) (Measure, error) {
	values, err := perSample(ref, x, compare)
	if err != nil {
		return Measure{}, err
	}
	return MeanOf(values)
}
