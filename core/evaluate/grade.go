package evaluate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// Always lists the metrics that every evaluation gives: size in bytes, parameters, and multiply-accumulate
// operations for one sample.
var Always = []string{"size", "parameters", "macs"}

// Latency lists what a benchmark adds: percentiles of one run in milliseconds, and the speed-up over the baseline as a
// factor.
var Latency = []string{"latency_p50", "latency_p90", "latency_p99", "speedup"}

// chosen are the quality metrics of this evaluation: those asked for, else the defaults of the task, which is
// classification when there are labels and one output [N, C].
func (g *grader) chosen(outputs *tensor.File, labelled bool) []Metric {
	if len(g.spec.Metrics) > 0 {
		return g.spec.Metrics
	}
	names := Defaults[3:]
	if all := outputs.Names(); labelled && len(all) == 1 {
		if info, ok := outputs.Info(all[0]); ok && len(info.Shape) == 2 {
			names = Defaults[:3]
		}
	}
	out := make([]Metric, len(names))
	for i, n := range names {
		out[i], _ = Plain(n)
	}
	return out
}

// grade adds the quality metrics of subject i. The baseline gets what means something without a comparison.
func (g *grader) grade(ctx context.Context, i int, m *Measurement) error {
	data, err := g.dataset()
	if err != nil {
		return err
	}
	if err := g.checkMetrics(ctx, data); err != nil {
		return err
	}
	base, err := g.predict(ctx, 0)
	if err != nil {
		return err
	}
	out, err := g.predict(ctx, i)
	if err != nil {
		return err
	}
	for _, q := range g.chosen(base, data.HasLabels()) {
		if i == 0 && q.Compares() {
			continue
		}
		if m.Metrics[q.Name], err = g.metric(q, i, data, base, out); err != nil {
			return err
		}
	}
	return nil
}

// checkMetrics finds what cannot be measured before any model is run.
func (g *grader) checkMetrics(ctx context.Context, data *tensor.Shards) error {
	if g.checked || len(g.spec.Metrics) == 0 {
		return nil
	}
	s, err := g.open(ctx, 0, g.spec.Threads)
	if err != nil {
		return err
	}
	for _, m := range g.spec.Metrics {
		if err := m.Check(s.outputs); err != nil {
			return problemf(g.spec.Subjects[0].Name, "The metrics and their options are those of the evaluate block.", "%s cannot be measured: %v", m.Name, err)
		}
		if err := m.checkData(data); err != nil {
			return err
		}
	}
	g.checked = true
	return nil
}

// checkData tells whether a dataset has what a metric is held against.
func (m Metric) checkData(data *tensor.Shards) error {
	switch t := m.Against(); t {
	case "baseline":
	case "label":
		if !data.HasLabels() {
			return problemf("", NoLabels(m), "the dataset has no labels, which %s needs", m.Name)
		}
	default:
		var names []string
		for _, f := range data.Targets() {
			if f.Name == t {
				return nil
			}
			names = append(names, f.Name)
		}
		return problemf("", NoTarget(t), "the dataset has no target %q, which %s needs; it has %s", t, m.Name, some(names))
	}
	return nil
}

// NoLabels and NoTarget say what to do when a dataset lacks what a metric needs.
func NoLabels(m Metric) string {
	s := "Name the field that holds the labels: label = \"label\"."
	if kinds[m.Kind].reads == readsClasses {
		s += " Or hold the outputs against a target of the dataset, or against the baseline: target = \"baseline\"."
	}
	return s
}

// NoTarget is NoLabels for a target.
func NoTarget(name string) string {
	return fmt.Sprintf("Give the dataset one: target %q { field = \"...\" }.", name)
}

// figure is a metric of one subject before it becomes an estimate: hits, or a measure.
type figure struct {
	hits    []bool
	measure metrics.Measure
	// done is the estimate of a metric that knows no measure.
	done *metrics.Estimate
}

func (f figure) estimate() (metrics.Estimate, error) {
	switch {
	case f.done != nil:
		return *f.done, nil
	case f.hits != nil:
		return metrics.Proportion(f.hits)
	}
	return f.measure.Estimate()
}

func (g *grader) metric(m Metric, i int, data *tensor.Shards, base, out *tensor.File) (metrics.Estimate, error) {
	e, err := g.estimate(m, i, data, base, out)
	if _, ok := err.(*Problem); err != nil && !ok { //nolint:errorlint // problems are never wrapped here
		err = problemf(g.spec.Subjects[i].Name, g.sides(m), "%s cannot be measured: %v", m.Name, err)
	}
	return e, err
}

// sides says what a metric held against what, where it failed on what is in them.
func (g *grader) sides(m Metric) string {
	name, err := m.outputOf(g.sessions[sessionKey{0, g.spec.Threads}].outputs)
	if err != nil || name == "" {
		return ""
	}
	switch against := m.Against(); against {
	case "label":
		return fmt.Sprintf("It holds output %q against the dataset's labels: label = \"…\" in the dataset names their field.", name)
	case "baseline":
		return fmt.Sprintf("It holds output %q against that of the baseline.", name)
	default:
		return fmt.Sprintf("It holds output %q against the dataset's target %q.", name, against)
	}
}

func (g *grader) estimate(m Metric, i int, data *tensor.Shards, base, out *tensor.File) (metrics.Estimate, error) {
	c, err := g.figure(m, i, data, base, out)
	if err != nil || !m.Change {
		if err != nil {
			return metrics.Estimate{}, err
		}
		return c.estimate()
	}
	b, err := g.figure(m, 0, data, base, base)
	if err != nil {
		return metrics.Estimate{}, err
	}
	switch {
	case b.hits != nil:
		return metrics.PairedDrop(b.hits, c.hits)
	case kinds[m.Kind].lower:
		return metrics.Drop(c.measure, b.measure)
	}
	return metrics.Drop(b.measure, c.measure)
}

// figure gives a metric of subject i, which its change needs too.
func (g *grader) figure(m Metric, i int, data *tensor.Shards, base, out *tensor.File) (figure, error) {
	m.Name, m.Change = m.plainName(), false
	b, err := json.Marshal(m)
	if err != nil {
		return figure{}, err
	}
	key := fmt.Sprintf("%d %s %s", i, b, m.Tokenizer)
	if f, ok := g.figures[key]; ok {
		return f, nil
	}
	x, ref, err := g.pair(m, i, base, out)
	if err != nil {
		return figure{}, err
	}
	r := &subjectReader{m: m, g: g, data: data, out: x, base: ref, samples: data.Samples()}
	f, err := r.figure()
	if err != nil {
		return figure{}, err
	}
	if g.figures == nil {
		g.figures = map[string]figure{}
	}
	g.figures[key] = f
	return f, nil
}

// pair gives the output of subject i that a metric reads, and the baseline's of the same name.
func (g *grader) pair(m Metric, i int, base, out *tensor.File) (x, ref tensor.Tensor, err error) {
	var outputs []Output
	for _, name := range base.Names() {
		outputs = append(outputs, Output{Name: name})
	}
	name, err := m.outputOf(outputs)
	if err != nil {
		return x, ref, err
	}
	if ref, err = base.Tensor(name); err != nil {
		return x, ref, err
	}
	if _, ok := out.Info(name); !ok {
		return x, ref, problemf(g.spec.Subjects[i].Name, "A candidate keeps the names of the baseline's outputs.",
			"the baseline has an output %q; the candidate has %s", name, some(out.Names()))
	}
	x, err = out.Tensor(name)
	return x, ref, err
}
