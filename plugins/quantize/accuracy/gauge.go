package accuracy

import (
	"fmt"
	"slices"
	"strings"
)

// Gauge turns the figures of an evaluation into a loss: a number of which less is better.
type Gauge struct {
	// Ask is the metric to ask for; "" asks for the defaults of the task.
	Ask string
	// Label is how the loss is called in a report.
	Label string
	kind  gaugeKind
}

type gaugeKind uint8

const (
	isLoss    gaugeKind = iota // the figure itself: a drop, a rise, an error
	fromOne                    // what a share is short of 1
	isQuality                  // the figure with its sign changed
	chosen                     // by what the defaults of the task hold
)

// shares compare two models, and are 1 when they are alike.
var shares = []string{"agreement", "cosine"}

// errors are 0 when nothing is lost, and have no upper bound.
var errorMetrics = []string{"mse", "mae"}

// DropGauge measures how much worse than the float model a candidate is by a metric of a name as in an evaluate block; ""
// lets the task choose: top-1 accuracy where the data has labels, else the cosine of the outputs. Metrics of which less
// is better may rise by as much.
func DropGauge(metric string) (Gauge, error) {
	base := metric
	for _, s := range []string{"_drop", "_rise"} {
		base = strings.TrimSuffix(base, s)
	}
	switch {
	case metric == "":
		return Gauge{kind: chosen}, nil
	case base != metric:
		return Gauge{Ask: metric, Label: metric}, nil
	case slices.Contains(shares, metric):
		return Gauge{Ask: metric, Label: "1 - " + metric, kind: fromOne}, nil
	case slices.Contains(errorMetrics, metric):
		return Gauge{Ask: metric, Label: metric}, nil
	case metric == "sqnr":
		return Gauge{}, fmt.Errorf("sqnr compares with the float model, whose own is without bound: there is nothing that it could drop from. Write minimum, in decibels, instead of max_drop")
	case metric == "perplexity":
		return Gauge{Ask: "perplexity_rise", Label: "perplexity_rise"}, nil
	}
	return Gauge{Ask: metric + "_drop", Label: metric + "_drop"}, nil
}

// LevelGauge measures how good a candidate is by a metric of which more is better. Its losses are below zero: the limit
// that goes with it is the smallest figure accepted, with its sign changed.
func LevelGauge(metric string) (Gauge, error) {
	if metric == "" {
		return Gauge{}, fmt.Errorf("minimum needs a metric: write its name")
	}
	if slices.Contains(errorMetrics, metric) || metric == "perplexity" || strings.HasSuffix(metric, "_drop") || strings.HasSuffix(metric, "_rise") {
		return Gauge{}, fmt.Errorf("less of %s is better: there is no minimum that it should reach. Write max_drop instead", metric)
	}
	return Gauge{Ask: metric, Label: metric, kind: isQuality}, nil
}

// Metrics are what to ask an evaluation for; nil is the defaults.
func (g Gauge) Metrics() []string {
	if g.Ask == "" {
		return nil
	}
	return []string{g.Ask}
}

// Settle chooses by the names of what the defaults gave; a Gauge with a metric stays as it is.
func (g Gauge) Settle(has func(metric string) bool) (Gauge, error) {
	if g.kind != chosen {
		return g, nil
	}
	for _, m := range []string{"top1_drop", "cosine"} {
		if has(m) {
			return DropGauge(m)
		}
	}
	return g, fmt.Errorf("the defaults of this task hold neither top1_drop nor cosine: name a metric")
}

// Loss is that of a figure. Of an interval, the end with the greater loss is the worst.
func (g Gauge) Loss(value, low, high float64) (loss, worst float64) {
	of := func(v float64) float64 {
		switch g.kind {
		case fromOne:
			return 1 - v
		case isQuality:
			return -v
		}
		return v
	}
	return of(value), max(of(low), of(high))
}

// Show writes a loss as the figure that a reader knows.
func (g Gauge) Show(loss float64) string {
	if g.kind == isQuality {
		return fmt.Sprintf("%s %.4g", g.Label, -loss)
	}
	return fmt.Sprintf("%s %.4g", g.Label, loss)
}
