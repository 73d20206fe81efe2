package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// noiseMetric is the loss without labels.
const noiseMetric = "noise"

// lossOf measures candidates.
type lossOf struct {
	name  string
	of    func(ctx context.Context, a sdk.Artifact) (loss float64, low, high *float64, err error)
	close func()
}

func (s *scan) close() {
	if s.loss != nil && s.loss.close != nil {
		s.loss.close()
	}
}

// measure finds what the loss is and how it is measured.
func (s *scan) measure(ctx context.Context) error {
	if s.config.Validation != nil {
		return s.graded()
	}
	return s.compared(ctx)
}

// graded has the core grade candidates.
func (s *scan) graded() error {
	g, err := (&ChannelsAccuracy{Metric: s.config.Metric}).gauge()
	if err != nil {
		return sdk.AttrError("metric", "no loss is told by this metric", err.Error())
	}
	shards, err := openData("validation", s.config.Validation)
	if err != nil {
		return err
	}
	s.samples = shards.Samples()
	if err := shards.Close(); err != nil {
		return err
	}
	s.loss = &lossOf{name: g.ask}
	s.loss.of = func(ctx context.Context, a sdk.Artifact) (float64, *float64, *float64, error) {
		got, n, err := s.job.evaluate(ctx, sdk.Evaluation{Candidate: a, Baseline: s.config.Model.Artifact, Dataset: *s.config.Validation, Runtime: "onnxruntime", Metrics: g.metrics()})
		if err != nil {
			var ds sdk.Diagnostics
			if errors.As(err, &ds) {
				return 0, nil, nil, sdk.AttrError("validation", "a candidate cannot be measured", err.Error())
			}
			return 0, nil, nil, err
		}
		s.samples = n
		if g.ask == "" {
			if err := g.settle(got); err != nil {
				return 0, nil, nil, sdk.AttrError("metric", "there is no metric to go by", "The defaults of this task hold neither top1_drop nor cosine: name a metric.")
			}
			s.loss.name = g.ask
		}
		e, ok := got[g.ask]
		if !ok {
			return 0, nil, nil, sdk.AttrError("metric", fmt.Sprintf("the evaluation gave no %s", g.ask), "Name a metric that fits the model's outputs and the data.")
		}
		loss, low, high := g.loss(e.Value), g.loss(e.Low), g.loss(e.High)
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return 0, nil, nil, sdk.AttrError("metric", fmt.Sprintf("%s of a candidate is %v", g.ask, e.Value), "Name another metric.")
		}
		if low == high || math.IsNaN(low+high) || math.IsInf(low, 0) || math.IsInf(high, 0) {
			return loss, nil, nil, nil
		}
		low, high = min(low, high), max(low, high)
		return loss, &low, &high, nil
	}
	return nil
}

// answersBytes bounds the original's answers that are held.
const answersBytes = 512 << 20

// compared runs candidates here, beside what the original answered.
func (s *scan) compared(ctx context.Context) error {
	m, unmap, err := mapModel(s.config.Model.Path)
	if err != nil {
		return err
	}
	defer func() { _ = unmap() }() // only read
	data, err := (ChannelsConfig{Calibration: s.config.Calibration}).calibration(m)
	if err != nil {
		return err
	}
	s.loss = &lossOf{name: noiseMetric, close: data.close}
	file, err := onnx.ModelFile(s.config.Model.Path)
	if err != nil {
		return sdk.AttrError("model", "the model cannot be read", err.Error())
	}
	var feeds []map[string]tensor.Tensor
	var want []map[string][]float32
	bytes := 0
	total := whole{data.source, data.batch}.Samples()
	err = s.session(file, func(e *ort.Session) error {
		for start := int64(0); start < total && bytes < answersBytes; start += data.batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.job.progress("run the original", start, total, "samples")
			in, err := data.source.Batch(start, data.batch)
			if err != nil {
				return err
			}
			feed := map[string]tensor.Tensor{}
			for _, i := range e.Inputs() {
				feed[i.Name] = in[i.Name]
			}
			out, err := answer(e, feed)
			if err != nil {
				return err
			}
			for name, v := range out {
				out[name] = slices.Clone(v) // the engine's memory goes with the session
				bytes += 4 * len(v)
			}
			feeds, want = append(feeds, feed), append(want, out)
			s.samples += data.batch
		}
		return nil
	})
	if err != nil {
		data.close()
		s.loss.close = nil
		return dataError("calibration", err)
	}
	if len(want) == 0 || len(want[0]) == 0 {
		return sdk.AttrError("model", "there is nothing to compare", "The model has no outputs of real numbers. Measure a metric on validation data.")
	}
	s.loss.of = func(ctx context.Context, a sdk.Artifact) (float64, *float64, *float64, error) {
		signal, noise := map[string]float64{}, map[string]float64{}
		err := s.session(a.Path, func(e *ort.Session) error {
			for i, feed := range feeds {
				if err := ctx.Err(); err != nil {
					return err
				}
				out, err := answer(e, feed)
				if err != nil {
					return err
				}
				for name, x := range want[i] {
					y := out[name]
					if len(y) != len(x) {
						return fmt.Errorf("output %q of a candidate has another size", name)
					}
					for k, v := range x {
						if d := float64(v) - float64(y[k]); !math.IsNaN(d) {
							signal[name], noise[name] = signal[name]+float64(v)*float64(v), noise[name]+d*d
						}
					}
				}
			}
			return nil
		})
		worst := 0.0
		for name, n := range noise {
			if n > 0 {
				worst = max(worst, n/max(signal[name], math.SmallestNonzeroFloat32))
			}
		}
		return min(worst, math.MaxFloat32), nil, nil, err
	}
	return nil
}

func (s *scan) session(path string, f func(*ort.Session) error) error {
	e, err := ort.NewSessionFile(path, ort.Options{Threads: s.job.threads, Optimize: true, Arena: true})
	if err != nil {
		return err
	}
	return errors.Join(f(e), e.Close())
}

// answer are the outputs of real numbers.
func answer(e *ort.Session, feed map[string]tensor.Tensor) (map[string][]float32, error) {
	out, err := e.Run(feed, nil)
	if err != nil {
		return nil, err
	}
	got := map[string][]float32{}
	for name, t := range out {
		if t.DType.IsFloat() {
			if got[name], err = tensor.ToFloat32(t); err != nil {
				return nil, err
			}
		}
	}
	return got, nil
}

// facts tell about a scan.
func (s *scan) facts() SensitivityFacts {
	f := SensitivityFacts{What: s.file.What, Metric: s.file.Metric, Groups: int64(len(s.file.Groups)), Trials: s.trials, Samples: s.samples, Left: s.left}
	if f.Left == nil {
		f.Left = []string{}
	}
	show := func(loss float64) float64 { return loss }
	f.Sensitivity = sdk.Chart{Title: "Loss of the model when one group alone loses a share", X: "share that left", Y: s.file.Metric}
	if s.file.Metric == noiseMetric {
		// Noise spans orders of magnitude.
		f.Sensitivity.Y = "SQNR at the outputs, dB"
		show = func(loss float64) float64 { return -10 * math.Log10(max(loss, 1e-12)) }
	}
	middle := func(g *sensitivity.Group) sensitivity.Point { return g.Points[len(g.Points)/2] }
	order := make([]*sensitivity.Group, len(s.file.Groups))
	for i := range s.file.Groups {
		g := &s.file.Groups[i]
		order[i] = g
		l := sdk.ChartLine{Name: g.Name}
		for _, p := range g.Points {
			l.X, l.Y = append(l.X, p.Ratio), append(l.Y, show(p.Loss))
		}
		f.Sensitivity.Lines = append(f.Sensitivity.Lines, l)
	}
	slices.SortStableFunc(order, func(a, b *sensitivity.Group) int { return compare(middle(b).Loss, middle(a).Loss) })
	line := func(g *sensitivity.Group) string {
		p := middle(g)
		return fmt.Sprintf("%s: %s %.4g when %.3g of it left", g.Name, s.file.Metric, p.Loss, p.Ratio)
	}
	const most = 5
	f.Most, f.Least = []string{}, []string{}
	for _, g := range order[:min(most, len(order))] {
		f.Most = append(f.Most, line(g))
	}
	for i := len(order) - 1; i >= max(len(order)-most, most); i-- {
		f.Least = append(f.Least, line(order[i]))
	}
	return f
}
