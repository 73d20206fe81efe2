package gram

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// Pair are two values of a model that should be alike.
type Pair struct{ Want, Got string }

// Compare returns the energy of the difference of two values over that of the wanted one, over all samples of src, of
// the pair where it is largest: 0 where all are equal. Values that are no numbers on one side only are an infinite
// difference.
func (w *Workspace) Compare(ctx context.Context, src Source, pairs []Pair) (float64, error) {
	if len(pairs) == 0 {
		return 0, errors.New("calibration: there is nothing to compare: the model has no outputs of real numbers")
	}
	b, err := w.model.Marshal()
	if err != nil {
		return 0, err
	}
	m, err := onnx.Parse(slices.Clone(b))
	if err != nil {
		return 0, err
	}
	p := newProbe(m)
	var names []string
	for _, x := range pairs {
		for _, v := range []string{x.Want, x.Got} {
			c := p.node("Cast", []string{v}, onnx.IntAttr("to", int64(onnx.Float)))
			p.m.Graph.AddOutput(onnx.NewValueInfo(c, onnx.Float, nil))
			names = append(names, c)
		}
	}
	if b, err = p.marshal(); err != nil {
		return 0, err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: w.opts.Threads, Optimize: true, Arena: true, ExternalDataDir: w.dir})
	if err != nil {
		return 0, fmt.Errorf("the model cannot be run for calibration: %w", err)
	}
	defer s.Close()
	signal, noise := make([]float64, len(pairs)), make([]float64, len(pairs))
	total := src.Samples()
	for done := int64(0); done < total; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, start := min(w.opts.Batch, total-done), done
		if w.opts.Fixed > 0 {
			n, start = w.opts.Fixed, min(done, total-w.opts.Fixed)
		}
		all, err := src.Batch(start, n)
		if err != nil {
			return 0, err
		}
		feed := map[string]tensor.Tensor{}
		for _, in := range s.Inputs() {
			feed[in.Name] = all[in.Name]
		}
		out, err := s.Run(feed, nil)
		if err != nil {
			return 0, err
		}
		for i := range pairs {
			a, err := tensor.View[float32](out[names[2*i]])
			if err != nil {
				return 0, err
			}
			b, err := tensor.View[float32](out[names[2*i+1]])
			if err != nil {
				return 0, err
			}
			if len(a) != len(b) {
				return 0, fmt.Errorf("calibration: %q and %q are of different sizes", pairs[i].Want, pairs[i].Got)
			}
			for k, v := range a {
				x, y := float64(v), float64(b[k])
				if math.IsNaN(x) || math.IsInf(x, 0) {
					continue // the original says nothing there
				}
				signal[i] += x * x
				if d := x - y; math.IsNaN(d) {
					noise[i] = math.Inf(1)
				} else {
					noise[i] += d * d
				}
			}
		}
		done = start + n
	}
	worst := 0.0
	for i := range pairs {
		if noise[i] > 0 {
			worst = max(worst, noise[i]/max(signal[i], math.SmallestNonzeroFloat64))
		}
	}
	return worst, nil
}
