package prune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/sdk"
)

// gauge turns the figures of an evaluation into a loss, of which less is better, and a limit on it.
type gauge struct {
	ask   string // "" asks for the defaults of the task
	loss  func(float64) float64
	limit float64
}

func same(x float64) float64 { return x }

// gauge finds what the block accuracy bounds.
func (a *ChannelsAccuracy) gauge() (gauge, error) {
	m := a.Metric
	changes := strings.HasSuffix(m, "_drop") || strings.HasSuffix(m, "_rise")
	errors := m == "mse" || m == "mae" || m == "perplexity"
	if a.Minimum != nil {
		switch {
		case m == "":
			return gauge{}, fmt.Errorf("minimum needs a metric: write its name")
		case changes || errors:
			return gauge{}, fmt.Errorf("less of %s is better: there is no minimum that it should reach. Write max_drop instead", m)
		}
		return gauge{m, func(x float64) float64 { return -x }, -*a.Minimum}, nil
	}
	limit := 0.0
	if a.MaxDrop != nil {
		limit = *a.MaxDrop
	}
	switch {
	case m == "":
		return gauge{limit: limit}, nil
	case m == "agreement" || m == "cosine":
		return gauge{m, func(x float64) float64 { return 1 - x }, limit}, nil
	case m == "sqnr":
		return gauge{}, fmt.Errorf("sqnr compares with the original, whose own is without bound: there is nothing that it could drop from. Write minimum, in decibels, instead of max_drop")
	case m == "perplexity":
		return gauge{"perplexity_rise", same, limit}, nil
	case changes || errors:
		return gauge{m, same, limit}, nil
	}
	return gauge{m + "_drop", same, limit}, nil
}

// trials makes candidates and has the core measure them.
type trials struct {
	w     *work
	j     job
	data  *samples // to repair candidates on, nil where they are not
	count int
	most  int
	facts *SearchFacts
}

// candidate writes the model of a selection into the scratch folder. Each is cut out of the model read anew, since a cut
// changes it.
func (t *trials) candidate(ctx context.Context, s *groups.Selection, name string) (sdk.Artifact, error) {
	w, err := t.w.config.open(newKeeper(t.w.config.Keep))
	if err != nil {
		return sdk.Artifact{}, err
	}
	defer func() { _ = w.done() }()
	if err := w.a.Cut(s, t.j.threads); err != nil {
		return sdk.Artifact{}, err
	}
	if t.data != nil && w.config.repairs() != repairOff {
		if _, err := w.repair(ctx, t.j, s, w.model, t.data); err != nil {
			return sdk.Artifact{}, err
		}
	}
	path, err := writeScratch(w.model, filepath.Join(t.j.scratch, name))
	if err != nil {
		return sdk.Artifact{}, err
	}
	return sdk.Artifact{Kind: "model", Format: "onnx", Path: path}, nil
}

// writeScratch writes a model into a folder of its own, in the place of what was there, and returns the file's path.
func writeScratch(m *onnx.Model, dir string) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name, _, err := m.WriteArtifact(dir, largest)
	if err != nil {
		return "", fmt.Errorf("a candidate cannot be written: %w", err)
	}
	return onnx.ModelFile(filepath.Join(dir, name))
}

func (t *trials) left(s *groups.Selection) float64 {
	return shareOf(t.w.a.Cost(s).MACs, t.w.before.MACs)
}

// search finds the selection that takes most among those that hold, by halving between nothing and all: a share of
// multiply-accumulates that holds goes lower, one that does not goes higher.
func (t *trials) search(ctx context.Context, holds func(context.Context, *groups.Selection) (bool, error)) (*groups.Selection, error) {
	var best *groups.Selection
	all, _, err := t.w.smallest(func(groups.Cost) bool { return false })
	if err != nil {
		return nil, err
	}
	low, high := t.left(all), 1.0
	tried := map[groups.Cost]bool{}
	for t.count < t.most && high-low > 0.004 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		mid := (low + high) / 2
		s, _, err := t.w.smallest(func(c groups.Cost) bool { return float64(c.MACs) <= mid*float64(t.w.before.MACs) })
		if err != nil {
			return nil, err
		}
		cost := t.w.a.Cost(s)
		if s.Empty() || tried[cost] { // steps of round_to are coarser than this
			high = mid
			if s.Empty() {
				break
			}
			low = max(low, mid-(high-low)/4)
			t.count++
			continue
		}
		tried[cost] = true
		ok, err := holds(ctx, s)
		if err != nil {
			return nil, err
		}
		t.count++
		if ok {
			best, high = s, min(mid, t.left(s))
		} else {
			low = mid
		}
	}
	return best, nil
}

// accurate finds the most that may leave within a bound on accuracy.
func (w *work) accurate(ctx context.Context, j job, data *samples) (*groups.Selection, *SearchFacts, error) {
	g, err := w.config.Accuracy.gauge()
	if err != nil {
		return nil, nil, sdk.AttrError("accuracy", "this bound does not fit the metric", err.Error())
	}
	t := &trials{w: w, j: j, data: data, most: int(w.config.Accuracy.Trials), facts: &SearchFacts{Trials: []string{}}}
	figures := map[*groups.Selection]float64{}
	best, err := t.search(ctx, func(ctx context.Context, s *groups.Selection) (bool, error) {
		j.progress("accuracy", int64(t.count), int64(t.most), "trials")
		a, err := t.candidate(ctx, s, "candidate")
		if err != nil {
			return false, err
		}
		got, _, err := j.evaluate(ctx, sdk.Evaluation{Candidate: a, Baseline: w.config.Model.Artifact, Dataset: *w.config.Validation,
			Runtime: "onnxruntime", Metrics: g.metrics()})
		if err != nil {
			var ds sdk.Diagnostics
			if errors.As(err, &ds) {
				return false, sdk.AttrError("accuracy", "a candidate cannot be measured", err.Error())
			}
			return false, err
		}
		if g.ask == "" {
			if err := g.settle(got); err != nil {
				return false, err
			}
		}
		e, ok := got[g.ask]
		if !ok {
			return false, sdk.AttrError("accuracy.metric", fmt.Sprintf("the evaluation gave no %s", g.ask), "Name a metric that fits the model's outputs and the data.")
		}
		t.facts.Metric, figures[s] = g.ask, e.Value
		t.facts.Trials = append(t.facts.Trials, fmt.Sprintf("%.3f of the multiply-accumulates: %s %.4g", t.left(s), g.ask, e.Value))
		return g.loss(e.Value) <= g.limit, nil
	})
	if err != nil {
		return nil, nil, err
	}
	j.progress("accuracy", int64(t.most), int64(t.most), "trials")
	if best == nil {
		return nil, nil, sdk.AttrError("accuracy", "no candidate holds the bound",
			strings.Join(t.facts.Trials, "\n")+"\nAllow more loss, write more trials, a smaller round_to, or importance = \"activation\" with calibration data.")
	}
	t.facts.Held, t.facts.Figure = true, figures[best]
	return best, t.facts, nil
}

func (g *gauge) metrics() []string {
	if g.ask == "" {
		return nil
	}
	return []string{g.ask}
}

// settle chooses by what the defaults of the task gave.
func (g *gauge) settle(got map[string]sdk.Estimate) error {
	if _, ok := got["top1_drop"]; ok {
		g.ask, g.loss = "top1_drop", same
		return nil
	}
	if _, ok := got["cosine"]; ok {
		g.ask, g.loss = "cosine", func(x float64) float64 { return 1 - x }
		return nil
	}
	return sdk.AttrError("accuracy.metric", "there is no metric to go by", "The defaults of this task hold neither top1_drop nor cosine: name a metric.")
}

// lap is how long each side of a race is timed.
const lap = 2 * time.Second

// faster finds the least that leaves for a speed.
func (w *work) faster(ctx context.Context, j job, _ *samples) (*groups.Selection, *SearchFacts, error) {
	b := w.config.Budget
	data := w.config.Validation
	if data == nil {
		data = w.config.Calibration
	}
	t := &trials{w: w, j: j, most: 7, facts: &SearchFacts{Metric: "speedup", Trials: []string{}}}
	figures := map[*groups.Selection]float64{}
	fast := map[*groups.Selection]bool{}
	var seen []*groups.Selection
	time := func(ctx context.Context, s *groups.Selection) (bool, error) {
		j.progress("time candidates", int64(t.count), int64(t.most), "candidates")
		a, err := t.candidate(ctx, s, "candidate")
		if err != nil {
			return false, err
		}
		laps, err := j.race(ctx, sdk.Race{Candidates: []sdk.Artifact{w.config.Model.Artifact, a}, Dataset: *data, Runtime: "onnxruntime",
			Batch: int(b.Batch), Threads: int(b.Threads), Duration: lap})
		if err != nil {
			return false, err
		}
		for _, l := range laps {
			if l.Lost != nil {
				return false, sdk.AttrError("budget.speedup", "a candidate cannot be timed", l.Lost.Error())
			}
		}
		x := laps[1].Metrics["speedup"].Value
		figures[s], seen = x, append(seen, s)
		t.facts.Trials = append(t.facts.Trials, fmt.Sprintf("%.3f of the multiply-accumulates: speedup %.3g", t.left(s), x))
		fast[s] = x >= *b.Speedup
		return !fast[s], nil // what is too slow must lose more
	}
	if _, err := t.search(ctx, time); err != nil {
		return nil, nil, err
	}
	seen = slices.DeleteFunc(seen, func(s *groups.Selection) bool { return !fast[s] })
	if len(seen) == 0 { // the last resort: all that may leave
		all, _, err := w.smallest(func(groups.Cost) bool { return false })
		if err != nil {
			return nil, nil, err
		}
		if _, err := time(ctx, all); err != nil {
			return nil, nil, err
		}
		if fast[all] {
			seen = append(seen[:0], all)
		} else {
			return nil, nil, sdk.AttrError("budget.speedup", "no candidate is fast enough",
				strings.Join(t.facts.Trials, "\n")+"\nAsk for less, allow a larger max_ratio, or quantize what comes out: the two multiply.")
		}
	}
	best := slices.MaxFunc(seen, func(a, b *groups.Selection) int { return compare(t.left(a), t.left(b)) })
	t.facts.Held, t.facts.Figure = true, figures[best]
	return best, t.facts, nil
}
