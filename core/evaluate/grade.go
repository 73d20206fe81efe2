package evaluate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// Quality lists the quality metrics that can be asked for by name.
//
//	top1       share of samples whose highest score is their label
//	top1_drop  the baseline's top1 minus the candidate's, paired by sample
//	agreement  share of samples for which baseline and candidate rate the same class highest
//	sqnr       signal to quantization noise ratio against the baseline's outputs, dB, mean over samples
//	cosine     cosine similarity to the baseline's outputs, mean over samples
var Quality = []string{"top1", "top1_drop", "agreement", "sqnr", "cosine"}

// Always lists the metrics that every evaluation gives: size in bytes, parameters, and multiply-accumulate
// operations for one sample.
var Always = []string{"size", "parameters", "macs"}

// Latency lists what a benchmark adds: percentiles of one run in milliseconds, and the speed-up over the baseline as a
// factor.
var Latency = []string{"latency_p50", "latency_p90", "latency_p99", "speedup"}

// chosen are the quality metrics of this evaluation: those asked for, else the defaults of the task, which is
// classification when there are labels and one output [N, C].
func (g *grader) chosen(outputs *tensor.File, labelled bool) []string {
	if len(g.spec.Metrics) > 0 {
		return g.spec.Metrics
	}
	if names := outputs.Names(); labelled && len(names) == 1 {
		if info, ok := outputs.Info(names[0]); ok && len(info.Shape) == 2 {
			return []string{"top1", "top1_drop", "agreement"}
		}
	}
	return []string{"sqnr", "cosine"}
}

// grade adds the quality metrics of subject i. The baseline gets what means something without a comparison.
func (g *grader) grade(ctx context.Context, i int, m *Measurement) error {
	data, err := g.dataset()
	if err != nil {
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
	for _, name := range g.chosen(base, data.HasLabels()) {
		if i == 0 && name != "top1" {
			continue
		}
		if m.Metrics[name], err = g.metric(name, i, data, base, out); err != nil {
			return err
		}
	}
	return nil
}

func (g *grader) metric(name string, i int, data *tensor.Shards, base, out *tensor.File) (metrics.Estimate, error) {
	switch name {
	case "top1":
		h, err := g.top1(i, data, out)
		if err != nil {
			return metrics.Estimate{}, err
		}
		return metrics.Proportion(h)
	case "top1_drop":
		b, err := g.top1(0, data, base)
		if err != nil {
			return metrics.Estimate{}, err
		}
		c, err := g.top1(i, data, out)
		if err != nil {
			return metrics.Estimate{}, err
		}
		return metrics.PairedDrop(b, c)
	}
	compare := map[string]func(ref, x tensor.Tensor) (metrics.Estimate, error){
		"agreement": metrics.Agreement, "sqnr": metrics.SQNR, "cosine": metrics.Cosine,
	}[name]
	if compare == nil {
		return metrics.Estimate{}, problemf("", "Metrics are "+strings.Join(Quality, ", ")+".", "there is no metric %q", name)
	}
	ref, x, err := g.pair(i, base, out)
	if err != nil {
		return metrics.Estimate{}, err
	}
	e, err := compare(ref, x)
	if err != nil {
		return e, problemf(g.spec.Subjects[i].Name, "", "%s cannot be computed: %v", name, err)
	}
	return e, nil
}

// pair gives the first output of the baseline and the output of the same name of subject i.
func (g *grader) pair(i int, base, out *tensor.File) (ref, x tensor.Tensor, err error) {
	name := base.Names()[0]
	if ref, err = base.Tensor(name); err != nil {
		return ref, x, err
	}
	if !slices.Contains(out.Names(), name) {
		return ref, x, problemf(g.spec.Subjects[i].Name, "A candidate keeps the names of the baseline's outputs.",
			"the baseline has an output %q; the candidate has %s", name, strings.Join(out.Names(), ", "))
	}
	x, err = out.Tensor(name)
	return ref, x, err
}

// top1 tells for each sample whether subject i was right.
func (g *grader) top1(i int, data *tensor.Shards, out *tensor.File) ([]bool, error) {
	if h, ok := g.hits[i]; ok {
		return h, nil
	}
	name := g.spec.Subjects[i].Name
	lt, ok := data.Labels()
	if !ok {
		return nil, problemf("", "Name the field that holds the labels: label = \"label\".", "the dataset has no labels, which top1 needs")
	}
	labels, err := tensor.View[int64](lt)
	if err != nil {
		return nil, err
	}
	names := out.Names()
	if len(names) != 1 {
		return nil, problemf(name, "Ask for other metrics: metrics = [\"sqnr\", \"cosine\"].",
			"top1 needs a model with one output; this one has %s", strings.Join(names, ", "))
	}
	logits, err := out.Tensor(names[0])
	if err != nil {
		return nil, err
	}
	h, err := metrics.Top1(logits, labels)
	if err != nil {
		return nil, problemf(name, fmt.Sprintf("It was computed from output %q and the labels of the dataset.", names[0]), "top1 cannot be computed: %v", err)
	}
	if g.hits == nil {
		g.hits = map[int][]bool{}
	}
	g.hits[i] = h
	return h, nil
}
