package score

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/tensor"
)

// Run says how a model is run on data.
type Run struct {
	Source gram.Source
	// Batch is how many samples are run at a time.
	Batch    int64
	Threads  int
	Progress func(done, total int64)
}

// Measure sums up x*x of the inputs that nodes sum over, for each channel. The engine adds up; no activation is kept.
func Measure(ctx context.Context, a *groups.Analysis, r Run) (map[Axis][]float64, error) {
	b, err := a.Model.Marshal()
	if err != nil {
		return nil, err
	}
	m, err := onnx.Parse(b)
	if err != nil {
		return nil, err
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, err
	}
	taps := map[Axis]string{}
	for _, g := range a.Groups {
		for _, k := range g.Sums {
			at := Axis{k.Node.Input(k.Input), k.Axis}
			if taps[at] != "" {
				continue
			}
			elem, dims, ok := shapes.Of(at.Value)
			if !ok || dims == nil {
				return nil, fmt.Errorf("the shape of %q cannot be inferred", at.Value)
			}
			taps[at] = tap(m, at, len(dims), elem)
		}
	}
	names := slices.Sorted(maps.Values(taps))
	if b, err = m.Marshal(); err != nil {
		return nil, err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: r.Threads, Arena: true, Outputs: names})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	out := map[Axis][]float64{}
	total := r.Source.Samples()
	for at := int64(0); at < total; at += r.Batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		in, err := r.Source.Batch(at, min(r.Batch, total-at))
		if err != nil {
			return nil, err
		}
		got, err := s.Run(in, names)
		if err != nil {
			return nil, err
		}
		for k, name := range taps {
			x, err := tensor.ToFloat32(got[name])
			if err != nil {
				return nil, err
			}
			if out[k] == nil {
				out[k] = make([]float64, len(x))
			}
			for i, v := range x {
				out[k][i] += float64(v)
			}
		}
		if r.Progress != nil {
			r.Progress(min(at+r.Batch, total), total)
		}
	}
	return out, nil
}

// tap adds an output with the sum of squares of each index of an axis, and returns its name.
func tap(m *onnx.Model, at Axis, rank int, elem onnx.DataType) string {
	g := m.Graph
	value := at.Value
	if elem != onnx.Float { // half precision would not hold the sum
		value = g.UniqueName(at.Value + "_float")
		g.AppendNode(onnx.NewNode("Cast", "", value, []string{at.Value}, []string{value}, onnx.IntAttr("to", int64(onnx.Float))))
	}
	var axes []int64
	for i := range rank {
		if i != at.Axis {
			axes = append(axes, int64(i))
		}
	}
	out := g.UniqueName(strings.TrimPrefix(at.Value, "/") + "_energy")
	n := onnx.NewNode("ReduceSumSquare", "", out, []string{value}, []string{out}, onnx.IntAttr("keepdims", 0))
	switch {
	case len(axes) == 0:
		n = onnx.NewNode("Mul", "", out, []string{value, value}, []string{out})
	case m.Opset(onnx.DefaultDomain) >= 18:
		name := g.UniqueName(out + "_axes")
		g.AddInitializer(onnx.NewInt64s(name, axes, int64(len(axes))))
		n.SetInput(1, name)
	default:
		n.SetAttr(onnx.IntsAttr("axes", axes...))
	}
	g.AppendNode(n)
	g.AddOutput(onnx.NewValueInfo(out, onnx.Float, []onnx.Dim{{Value: -1}}))
	return out
}
