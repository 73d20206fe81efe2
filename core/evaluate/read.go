package evaluate

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// subjectReader takes one metric of one subject's output.
type subjectReader struct {
	m         Metric
	g         *grader
	data      *tensor.Shards
	out, base tensor.Tensor // [N, ...]; base is the baseline's
	samples   int64
}

// classBatch is about how many elements of class maps are read at a time: they are widened to 64 bits.
const classBatch = 4 << 20

func (r *subjectReader) figure() (figure, error) {
	switch kinds[r.m.Kind].reads {
	case readsScores:
		return r.scores()
	case readsClasses:
		return r.classes()
	case readsPositive:
		return r.area()
	case readsTexts:
		return r.texts()
	case readsTokens:
		labels, err := r.target()
		if err != nil {
			return figure{}, err
		}
		ignore := int64(-100)
		if r.m.Ignore != nil {
			ignore = *r.m.Ignore
		}
		return asMeasure(metrics.Perplexity(r.out, labels, ignore))
	}
	return r.values()
}

func asMeasure(m metrics.Measure, err error) (figure, error) { return figure{measure: m}, err }

func (r *subjectReader) scores() (figure, error) {
	if r.m.Kind == "agreement" {
		e, err := metrics.Agreement(r.base, r.out)
		return figure{done: &e}, err
	}
	labels, err := r.labels()
	if err != nil {
		return figure{}, err
	}
	if r.m.K == 1 {
		hits, err := metrics.Top1(r.out, labels)
		return figure{hits: hits}, err
	}
	hits, err := metrics.TopK(r.out, labels, int(r.m.K))
	return figure{hits: hits}, err
}

func (r *subjectReader) values() (figure, error) {
	ref := r.base
	if t := r.m.Against(); t != "baseline" {
		var err error
		if ref, err = r.target(); err != nil {
			return figure{}, err
		}
		if ref, err = likeness(ref, r.out.Shape, "target "+quoted(t)); err != nil {
			return figure{}, err
		}
	}
	switch r.m.Kind {
	case "sqnr":
		e, err := metrics.SQNR(ref, r.out)
		return figure{done: &e}, err
	case "cosine":
		e, err := metrics.Cosine(ref, r.out)
		return figure{done: &e}, err
	case "mse":
		return asMeasure(metrics.MSE(ref, r.out))
	case "mae":
		return asMeasure(metrics.MAE(ref, r.out))
	}
	return asMeasure(metrics.PSNR(ref, r.out, r.m.Span))
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// target gives what the outputs are held against, whole: labels or a target of the dataset.
func (r *subjectReader) target() (tensor.Tensor, error) {
	if t := r.m.Against(); t != "label" {
		return r.data.Target(t)
	}
	t, ok := r.data.Labels()
	if !ok {
		return t, problemf("", NoLabels(r.m), "the dataset has no labels, which %s needs", r.m.Name)
	}
	return t, nil
}

// labels gives one class for each sample.
func (r *subjectReader) labels() ([]int64, error) {
	t, err := r.target()
	if err != nil {
		return nil, err
	}
	if t.Elements() != r.samples {
		return nil, fmt.Errorf("target %q has shape %s, but one class for each sample is needed", r.m.Target, axes(t.Shape))
	}
	return metrics.Integers(t)
}

// likeness gives t the shape of like when they differ in axes of length 1 only.
func likeness(t tensor.Tensor, like []int64, what string) (tensor.Tensor, error) {
	if slices.Equal(t.Shape, like) {
		return t, nil
	}
	if len(like) == 0 || len(t.Shape) == 0 || t.Shape[0] != like[0] || !slices.Equal(squeezed(t.Shape[1:]), squeezed(like[1:])) {
		return t, fmt.Errorf("%s has shape %s, but the model gives %s", what, axes(t.Shape), axes(like))
	}
	t.Shape = like
	return t, nil
}

// squeezed leaves out the axes of length 1.
func squeezed(shape []int64) []int64 {
	return slices.DeleteFunc(slices.Clone(shape), func(d int64) bool { return d == 1 })
}

// classes counts which class each element was taken for.
func (r *subjectReader) classes() (figure, error) {
	c, err := r.confusion()
	if err != nil {
		return figure{}, err
	}
	if r.m.Kind == "accuracy" {
		return figure{measure: c.Accuracy()}, nil
	}
	if r.m.Class != nil {
		p, rc, f, u, err := c.Class(int(*r.m.Class))
		return figure{measure: map[string]metrics.Measure{"precision": p, "recall": rc, "f1": f, "iou": u}[r.m.Kind]}, err
	}
	a := map[string]metrics.Average{"": metrics.Macro, "macro": metrics.Macro, "micro": metrics.Micro, "weighted": metrics.Weighted}[r.m.Average]
	switch r.m.Kind {
	case "precision":
		return figure{measure: c.Precision(a)}, nil
	case "recall":
		return figure{measure: c.Recall(a)}, nil
	case "f1":
		return figure{measure: c.F1(a)}, nil
	}
	return figure{measure: c.IoU(a)}, nil
}

func (r *subjectReader) confusion() (*metrics.Confusion, error) {
	like, err := r.referenceShape()
	if err != nil {
		return nil, err
	}
	view, err := r.m.classView(r.out, like)
	if err != nil {
		return nil, err
	}
	classes := view.classes
	if classes == 0 {
		// The model gives classes, so how many there are only the data tells.
		if classes, err = r.largest(view); err != nil {
			return nil, err
		}
	}
	ignore := int64(math.MinInt64)
	if r.m.Ignore != nil {
		ignore = *r.m.Ignore
	}
	c, err := metrics.NewConfusionMatrix(classes)
	if err != nil {
		return nil, err
	}
	return c, r.eachBatch(view, func(p, l tensor.Tensor) error { return c.Add(p, l, ignore) })
}

// referenceShape is the shape of what the classes are held against, [N, ...]; nil for those of the baseline.
func (r *subjectReader) referenceShape() ([]int64, error) {
	switch t := r.m.Against(); t {
	case "baseline":
		return nil, nil
	case "label":
		return []int64{r.samples}, nil
	default:
		for _, f := range r.data.Targets() {
			if f.Name == t {
				return append([]int64{r.samples}, f.Shape...), nil
			}
		}
		return nil, r.m.checkData(r.data)
	}
}

// eachBatch gives the classes of the model and those that they are held against, some samples at a time.
func (r *subjectReader) eachBatch(view classView, do func(p, l tensor.Tensor) error) error {
	per := max(1, r.out.Elements()/max(1, r.samples))
	step := max(1, classBatch/per)
	for start := int64(0); start < r.samples; start += step {
		n := min(step, r.samples-start)
		rows, err := r.out.Rows(start, n)
		if err != nil {
			return err
		}
		p, err := view.read(rows, start)
		if err != nil {
			return err
		}
		l, err := r.reference(view, start, n)
		if err != nil {
			return err
		}
		if l, err = likeness(l, p.Shape, "what "+r.m.Name+" is held against"); err != nil {
			return err
		}
		if err := do(p, l); err != nil {
			return err
		}
	}
	return nil
}

func (r *subjectReader) reference(view classView, start, n int64) (tensor.Tensor, error) {
	switch t := r.m.Against(); t {
	case "baseline":
		rows, err := r.base.Rows(start, n)
		if err != nil {
			return rows, err
		}
		return view.read(rows, start)
	case "label":
		all, err := r.target()
		if err != nil {
			return all, err
		}
		return all.Rows(start, n)
	default:
		return r.data.TargetRows(t, start, n)
	}
}

// largest is one more than the largest class on either side.
func (r *subjectReader) largest(view classView) (int, error) {
	most := int64(1)
	err := r.eachBatch(view, func(p, l tensor.Tensor) error {
		for _, t := range []tensor.Tensor{p, l} {
			v, err := metrics.Integers(t)
			if err != nil {
				return err
			}
			for _, c := range v {
				if r.m.Ignore == nil || c != *r.m.Ignore {
					most = max(most, c)
				}
			}
		}
		return nil
	})
	if most >= math.MaxInt32 {
		return 0, fmt.Errorf("a class is %d; classes are numbered from 0", most)
	}
	return int(most) + 1, err
}

// area is the ROC-AUC of one class, or the mean of all.
func (r *subjectReader) area() (figure, error) {
	labels, err := r.labels()
	if err != nil {
		return figure{}, err
	}
	p, err := metrics.Probabilities(r.out)
	if err != nil {
		return figure{}, err
	}
	classes := p.Elements() / r.samples
	class := int64(1)
	switch {
	case r.m.Class != nil:
		class = *r.m.Class
	case classes > 2:
		a := metrics.Macro
		if r.m.Average == "weighted" {
			a = metrics.Weighted
		}
		return asMeasure(metrics.ROCAUCOneVsRest(p, labels, a))
	}
	v, err := tensor.View[float64](p)
	if err != nil {
		return figure{}, err
	}
	if classes > 1 && class >= classes {
		return figure{}, fmt.Errorf("there is no class %d; the output has %d classes, from 0", class, classes)
	}
	score, positive := make([]float64, len(labels)), make([]bool, len(labels))
	for i, l := range labels {
		if classes == 1 {
			score[i] = v[i]
		} else {
			score[i] = v[int64(i)*classes+class]
		}
		positive[i] = l == class
	}
	return asMeasure(metrics.ROCAUC(score, positive))
}
