package metrics

import (
	"errors"
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/tensor"
)

// Average says how figures of single classes become one.
type Average int

const (
	// Macro is the plain mean over the classes that occur among labels or predictions.
	Macro Average = iota
	// Weighted is the mean weighted by how many samples have the class as their label.
	Weighted
	// Micro counts hits and misses of all classes together.
	Micro
)

// Confusion counts how often each class was taken for each: the predictions and
// labels of samples, from which precision, recall, F1 and IoU are measured.
type Confusion struct {
	classes int
	// cells holds label·classes + prediction of each sample; of a sample with many
	// elements (a segmentation) there are as many cells, up to its end.
	cells []int32
	count []float64 // of each cell; nil: 1
	end   []int     // nil: one cell a sample
	// square is Add's memory: the counts of one map, all 0 between samples.
	square []float64
}

// maxClasses bounds the square of counts that each core keeps.
const maxClasses = 4096

// NewConfusion takes one prediction and one label, both from 0 to classes-1, for each
// sample. There are at most 4096 classes.
func NewConfusion(predictions, labels []int64, classes int) (*Confusion, error) {
	if err := checkClasses(len(predictions), len(labels), classes); err != nil {
		return nil, err
	}
	c := &Confusion{classes: classes, cells: make([]int32, len(labels))}
	for i, l := range labels {
		cell, err := c.cell(l, predictions[i], i)
		if err != nil {
			return nil, err
		}
		c.cells[i] = cell
	}
	return c, nil
}

// NewSegmentation takes maps of classes: both tensors are [N, ...] of any integer
// type and hold a class for each element (pixel); an element whose label is ignore
// does not count (-1, or 255 as is usual). A sample is one map.
func NewSegmentation(predictions, labels tensor.Tensor, classes int, ignore int64) (*Confusion, error) {
	c, err := NewConfusionMatrix(classes)
	if err != nil {
		return nil, err
	}
	return c, c.Add(predictions, labels, ignore)
}

// NewConfusionMatrix is a confusion of from 2 to 4096 classes without samples, for [Confusion.Add].
func NewConfusionMatrix(classes int) (*Confusion, error) {
	if err := checkClasses(1, 1, classes); err != nil {
		return nil, err
	}
	return &Confusion{classes: classes, end: []int{}}, nil
}

// Add adds samples as [NewSegmentation] takes them, so that maps need not be in memory
// all at once. After an error the confusion is of no use.
func (c *Confusion) Add(predictions, labels tensor.Tensor, ignore int64) error {
	if c.end == nil {
		return errors.New("samples are added to a confusion of maps only")
	}
	if !sameShape(predictions.Shape, labels.Shape) {
		return fmt.Errorf("predictions and labels differ in shape: %v and %v", predictions.Shape, labels.Shape)
	}
	p, err := Integers(predictions)
	if err != nil {
		return fmt.Errorf("predictions: %w", err)
	}
	l, err := Integers(labels)
	if err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	samples := int(labels.Shape[0])
	each := len(l) / samples
	if c.square == nil {
		c.square = make([]float64, c.classes*c.classes)
	}
	var used []int32
	for s := range samples {
		used = used[:0]
		for i := s * each; i < (s+1)*each; i++ {
			if l[i] == ignore {
				continue
			}
			cell, err := c.cell(l[i], p[i], len(c.end))
			if err != nil {
				return err
			}
			if c.square[cell] == 0 {
				used = append(used, cell)
			}
			c.square[cell]++
		}
		for _, cell := range used {
			c.cells, c.count = append(c.cells, cell), append(c.count, c.square[cell])
			c.square[cell] = 0
		}
		c.end = append(c.end, len(c.cells))
	}
	return nil
}

func checkClasses(predictions, labels, classes int) error {
	switch {
	case classes < 2 || classes > maxClasses:
		return fmt.Errorf("%d classes cannot be told apart; from 2 to %d can", classes, maxClasses)
	case predictions != labels:
		return fmt.Errorf("there are %d labels for %d predictions", labels, predictions)
	case labels == 0:
		return errNoSamples
	}
	return nil
}

func (c *Confusion) cell(label, prediction int64, sample int) (int32, error) {
	n := int64(c.classes)
	if label < 0 || label >= n {
		return 0, fmt.Errorf("the label of sample %d is %d, but the classes are 0 to %d", sample, label, n-1)
	}
	if prediction < 0 || prediction >= n {
		return 0, fmt.Errorf("the prediction for sample %d is %d, but the classes are 0 to %d", sample, prediction, n-1)
	}
	return int32(label*n + prediction), nil
}

// measure makes a measure of the counts of each class: hits, the times it was
// predicted, and the times it is the label.
func (c *Confusion) measure(of func(hit, predicted, labelled []float64) float64) Measure {
	n := len(c.cells)
	if c.end != nil {
		n = len(c.end)
	}
	return Measure{n: n, scorer: func() func([]int32) float64 {
		square := make([]float64, c.classes*c.classes)
		sum := make([]float64, 3*c.classes)
		hit, predicted, labelled := sum[:c.classes], sum[c.classes:2*c.classes], sum[2*c.classes:]
		return func(weight []int32) float64 {
			clear(square)
			clear(sum)
			if c.end == nil {
				for i, w := range weight {
					square[c.cells[i]] += float64(w)
				}
			} else {
				at := 0
				for i, end := range c.end {
					for ; at < end; at++ {
						square[c.cells[at]] += float64(weight[i]) * c.count[at]
					}
				}
			}
			for l := range c.classes {
				for p, v := range square[l*c.classes : (l+1)*c.classes] {
					labelled[l] += v
					predicted[p] += v
				}
				hit[l] = square[l*c.classes+l]
			}
			return of(hit, predicted, labelled)
		}
	}}
}

// score is a quotient of a class's counts; the zero over zero of a class that was
// never predicted, or never is the label, counts as 0, as in scikit-learn.
type score func(hit, predicted, labelled float64) (num, den float64)

func precision(h, p, _ float64) (float64, float64) { return h, p }
func recall(h, _, l float64) (float64, float64)    { return h, l }
func f1(h, p, l float64) (float64, float64)        { return 2 * h, p + l }
func iou(h, p, l float64) (float64, float64)       { return h, p + l - h }

func divide(num, den float64) float64 {
	if den == 0 {
		return 0
	}
	return num / den
}

func (c *Confusion) averaged(s score, a Average) Measure {
	return c.measure(func(hit, predicted, labelled []float64) float64 {
		var sum, weights, num, den float64
		for k, h := range hit {
			p, l := predicted[k], labelled[k]
			if p+l == 0 {
				continue // the class does not occur
			}
			n, d := s(h, p, l)
			num, den = num+n, den+d
			w := 1.0
			if a == Weighted {
				w = l
			}
			sum, weights = sum+w*divide(n, d), weights+w
		}
		if a == Micro {
			return divide(num, den)
		}
		if weights == 0 {
			return math.NaN()
		}
		return sum / weights
	})
}

// Accuracy is the share of elements whose prediction is their label.
func (c *Confusion) Accuracy() Measure { return c.averaged(recall, Micro) }

// Precision is hits over predictions, as scikit-learn's precision_score.
func (c *Confusion) Precision(a Average) Measure { return c.averaged(precision, a) }

// Recall is hits over labels, as scikit-learn's recall_score.
func (c *Confusion) Recall(a Average) Measure { return c.averaged(recall, a) }

// F1 is the harmonic mean of both, as scikit-learn's f1_score.
func (c *Confusion) F1(a Average) Measure { return c.averaged(f1, a) }

// IoU is the intersection over the union of what is predicted and what is labelled
// as a class, as scikit-learn's jaccard_score; with [Macro] the mean IoU of a
// segmentation.
func (c *Confusion) IoU(a Average) Measure { return c.averaged(iou, a) }

// Class gives precision, recall, F1 and IoU of a single class; of class 1 of two they
// are scikit-learn's with average="binary".
func (c *Confusion) Class(k int) (precisionOf, recallOf, f1Of, iouOf Measure, err error) {
	if k < 0 || k >= c.classes {
		return Measure{}, Measure{}, Measure{}, Measure{}, fmt.Errorf("there is no class %d; the classes are 0 to %d", k, c.classes-1)
	}
	one := func(s score) Measure {
		return c.measure(func(h, p, l []float64) float64 { return divide(s(h[k], p[k], l[k])) })
	}
	return one(precision), one(recall), one(f1), one(iou), nil
}
