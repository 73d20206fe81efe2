package float16

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/tensor"
)

// Data are samples to run a model on.
type Data struct {
	Shards   *tensor.Shards
	Threads  int
	Progress func(done, total int64) // may be nil
}

// batchSize is how many samples a run takes where the model leaves it open: their activations are in memory together.
const batchSize = 4

// DataError tells that samples do not fit the model.
type DataError struct{ Reason string }

func (e *DataError) Error() string { return e.Reason }

// Run runs a session's outputs over all samples, for m that it was made of, and hands them to take.
func (d Data) Run(ctx context.Context, m *onnx.Model, outputs []string, take func(map[string]tensor.Tensor) error) error {
	b, err := m.Marshal()
	if err != nil {
		return err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: d.Threads, Optimize: true, Arena: true})
	if err != nil {
		return err
	}
	defer s.Close()
	return d.each(ctx, m, func(feed map[string]tensor.Tensor) error {
		out, err := s.Run(feed, outputs)
		if err != nil {
			return err
		}
		return take(out)
	})
}

// each runs a session over all samples, a few at a time. A model that takes just k gets the last k again at the end.
func (d Data) each(ctx context.Context, m *onnx.Model, run func(feed map[string]tensor.Tensor) error) error {
	total := d.Shards.Samples()
	if total == 0 {
		return &DataError{"the dataset has no samples"}
	}
	n := int64(batchSize)
	whole := calibrate.WholeInputs(d.Shards.Fields(), axes(m))
	if len(whole) > 0 {
		n = 1
	}
	samples := calibrate.SingleSamples(d.Shards, whole)
	for _, in := range m.Graph.Feeds() {
		if slices.Contains(whole, in.Name()) {
			continue
		}
		if t := in.Type; t != nil && t.HasShape && len(t.Shape) > 0 && t.Shape[0].Fixed() {
			n = t.Shape[0].Value
			if n < 1 || n > total {
				return &DataError{fmt.Sprintf("the model takes %d samples at a time and there are %d", n, total)}
			}
			if n > 1 && len(whole) > 0 {
				return &DataError{fmt.Sprintf("the model takes %d samples at a time at input %q, and one at input %q", n, in.Name(), whole[0])}
			}
			break
		}
	}
	n = min(n, total)
	for done := int64(0); done < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		all, err := samples.Batch(min(done, total-n), n)
		if err != nil {
			return err
		}
		feed := map[string]tensor.Tensor{}
		for _, in := range m.Graph.Feeds() {
			f, ok := all[in.Name()]
			if !ok {
				return &DataError{fmt.Sprintf("no field goes to input %q; the dataset has %s", in.Name(), fieldNames(d.Shards))}
			}
			feed[in.Name()] = f
		}
		if err := run(feed); err != nil {
			return err
		}
		done = min(done+n, total)
		if d.Progress != nil {
			d.Progress(done, total)
		}
	}
	return nil
}

// axes gives the sizes of an input's axes, -1 for one that the model leaves open.
func axes(m *onnx.Model) func(input string) ([]int64, bool) {
	return func(input string) ([]int64, bool) {
		for _, in := range m.Graph.Feeds() {
			if t := in.Type; in.Name() == input && t != nil && t.HasShape {
				var sizes []int64
				for _, d := range t.Shape {
					sizes = append(sizes, d.Value)
				}
				return sizes, true
			}
		}
		return nil, false
	}
}

func fieldNames(s *tensor.Shards) string {
	var names []string
	for _, f := range s.Fields() {
		if f.Name != tensor.LabelName {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Observe returns the largest magnitude of each float value that the nodes of the model's own graph make and of each
// float input, over all samples. Activations are reduced where they are made and never kept. Infinities count.
func Observe(ctx context.Context, m *onnx.Model, d Data) (map[string]float64, error) {
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, err
	}
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	tapped, err := onnx.Parse(b) // a copy that shares the weights
	if err != nil {
		return nil, err
	}
	g := tapped.Graph
	var values []string
	add := func(v string) {
		if e, _, ok := shapes.Of(v); ok && e == onnx.Float && v != "" {
			values = append(values, v)
		}
	}
	for _, in := range g.Feeds() {
		add(in.Name())
	}
	for n := range g.Nodes() {
		for _, out := range n.Outputs() {
			add(out)
		}
	}
	for _, o := range append([]*onnx.ValueInfo(nil), g.Outputs()...) {
		g.RemoveOutput(o.Name())
	}
	flat := g.UniqueName("flat")
	g.AddInitializer(onnx.NewInt64s(flat, []int64{-1}, 1))
	taps := []string{g.UniqueName("observed_least"), g.UniqueName("observed_most")}
	for i, op := range []string{"ReduceMin", "ReduceMax"} {
		parts := make([]string, len(values))
		for k, v := range values {
			r := g.UniqueName("observed")
			parts[k] = g.UniqueName("observed_part")
			g.AppendNode(onnx.NewNode(op, "", r, []string{v}, []string{r}, onnx.IntAttr("keepdims", 1)))
			g.AppendNode(onnx.NewNode("Reshape", "", parts[k], []string{r, flat}, []string{parts[k]}))
		}
		g.AppendNode(onnx.NewNode("Concat", "", taps[i], parts, []string{taps[i]}, onnx.IntAttr("axis", 0)))
		g.AddOutput(onnx.NewValueInfo(taps[i], onnx.Float, onnx.FixedDims(int64(len(values)))))
	}
	most := make([]float64, len(values))
	err = d.Run(ctx, tapped, taps, func(out map[string]tensor.Tensor) error {
		for _, tap := range taps {
			v, err := tensor.View[float32](out[tap])
			if err != nil || len(v) != len(values) {
				return fmt.Errorf("%d magnitudes came back for %d values (%v)", len(v), len(values), err)
			}
			for i, x := range v {
				if a := math.Abs(float64(x)); a > most[i] { // a NaN is greater than nothing
					most[i] = a
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := make(map[string]float64, len(values))
	for i, v := range values {
		r[v] = most[i]
	}
	return r, nil
}

// Agreement says how near the outputs of two models are on the same samples.
type Agreement struct {
	SQNR      float64 // of the output that agrees least, in dB; +Inf when all are equal
	Output    string  // its name
	NotFinite int64   // elements that are finite in the first model and not in the second
}

// Compare runs both models over the samples. The second may have inputs and outputs in half precision.
func Compare(ctx context.Context, before, after *onnx.Model, d Data) (Agreement, error) {
	var sessions [2]*ort.Session
	for i, m := range []*onnx.Model{before, after} {
		b, err := m.Marshal()
		if err != nil {
			return Agreement{}, err
		}
		if sessions[i], err = ort.NewSession(b, ort.Options{Threads: d.Threads, Optimize: true, Arena: true}); err != nil {
			return Agreement{}, err
		}
		defer sessions[i].Close()
	}
	types := map[string]tensor.DType{}
	for _, in := range sessions[1].Inputs() {
		types[in.Name] = in.DType
	}
	signal, noise := map[string]float64{}, map[string]float64{}
	var a Agreement
	err := d.each(ctx, before, func(feed map[string]tensor.Tensor) error {
		want, err := sessions[0].Run(feed, nil)
		if err != nil {
			return err
		}
		for name, f := range feed {
			if to := types[name]; to != f.DType && f.DType == tensor.F32 {
				v, err := tensor.View[float32](f)
				if err != nil {
					return err
				}
				if feed[name], err = tensor.FromFloat32(to, f.Shape, v); err != nil {
					return err
				}
			}
		}
		got, err := sessions[1].Run(feed, nil)
		if err != nil {
			return err
		}
		for name, w := range want {
			if !w.DType.IsFloat() {
				continue
			}
			x, err := tensor.ToFloat32(w)
			if err != nil {
				return err
			}
			y, err := tensor.ToFloat32(got[name])
			if err != nil {
				return err
			}
			if len(x) != len(y) {
				return fmt.Errorf("output %q has %d elements in float and %d in half precision", name, len(x), len(y))
			}
			for i := range x {
				p, q := float64(x[i]), float64(y[i])
				switch {
				case math.IsNaN(p) || math.IsInf(p, 0):
				case math.IsNaN(q) || math.IsInf(q, 0):
					a.NotFinite++
				default:
					signal[name] += p * p
					noise[name] += (p - q) * (p - q)
				}
			}
		}
		return nil
	})
	a.SQNR = math.Inf(1)
	for _, o := range before.Graph.Outputs() {
		n := o.Name()
		if noise[n] == 0 {
			continue
		}
		if db := 10 * math.Log10(signal[n]/noise[n]); db < a.SQNR {
			a.SQNR, a.Output = db, n
		}
	}
	return a, err
}
