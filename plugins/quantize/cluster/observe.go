package cluster

import (
	"errors"
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// Taps add outputs to a model: the mean square of each input channel of the nodes whose weights may be clustered.
type Taps struct {
	// Model is a copy that has them as its only outputs.
	Model *onnx.Model
	// Outputs are their names.
	Outputs []string

	nodes map[string][]*onnx.Node // of the original, by output
	sums  map[string][]float64
	runs  float64
}

// NewTaps prepares the model's own graph; nodes of subgraphs are not looked at. An error is a model without any.
func NewTaps(m *onnx.Model) (*Taps, error) {
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, err
	}
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	c, err := onnx.Parse(b) // shares the weights
	if err != nil {
		return nil, err
	}
	t := &Taps{Model: c, nodes: map[string][]*onnx.Node{}, sums: map[string][]float64{}}
	g := c.Graph
	type tap struct {
		value string
		conv  bool
	}
	made := map[tap]string{}
	for _, o := range append([]*onnx.ValueInfo(nil), g.Outputs()...) {
		g.RemoveOutput(o.Name())
	}
	for n := range m.Graph.Nodes() {
		w := weightOf(m.Graph, n.Input(1))
		conv := n.Is("Conv")
		if w == nil || !conv && !n.Is("MatMul") && !(n.Is("Gemm") && n.IntAttr("transA", 0) == 0) {
			continue
		}
		elem, dims, ok := shapes.Of(n.Input(0))
		if !ok || elem != onnx.Float || len(dims) < 2 {
			continue
		}
		k := tap{n.Input(0), conv}
		if made[k] == "" {
			channel := len(dims) - 1
			if conv {
				channel = 1
			}
			var axes []int64
			for i := range dims {
				if i != channel {
					axes = append(axes, int64(i))
				}
			}
			square, name := g.UniqueName(k.value+"_square"), g.UniqueName(k.value+"_importance")
			g.AppendNode(onnx.NewNode("Mul", "", square, []string{k.value, k.value}, []string{square}))
			// Axes are an attribute up to opset 17 and an input after that.
			if m.Opset(onnx.DefaultDomain) < 18 {
				g.AppendNode(onnx.NewNode("ReduceMean", "", name, []string{square}, []string{name}, onnx.IntAttr("keepdims", 0), onnx.IntsAttr("axes", axes...)))
			} else {
				in := g.UniqueName(name + "_axes")
				g.AddInitializer(onnx.NewInt64s(in, axes, int64(len(axes))))
				g.AppendNode(onnx.NewNode("ReduceMean", "", name, []string{square, in}, []string{name}, onnx.IntAttr("keepdims", 0)))
			}
			g.AddOutput(onnx.NewValueInfo(name, onnx.Float, nil))
			made[k] = name
			t.Outputs = append(t.Outputs, name)
		}
		t.nodes[made[k]] = append(t.nodes[made[k]], n)
	}
	if len(t.Outputs) == 0 {
		return nil, errors.New("no weights of Conv, Gemm or MatMul")
	}
	return t, nil
}

// Add takes the outputs of one run.
func (t *Taps) Add(out map[string]tensor.Tensor) error {
	t.runs++
	for _, name := range t.Outputs {
		v, err := tensor.ToFloat32(out[name])
		if err != nil {
			return err
		}
		s := t.sums[name]
		if s == nil {
			s = make([]float64, len(v))
			t.sums[name] = s
		}
		if len(s) != len(v) {
			return fmt.Errorf("the channels of %q change from %d to %d", name, len(s), len(v))
		}
		for i, x := range v {
			s[i] += float64(x)
		}
	}
	return nil
}

// Importance is the mean over all runs.
func (t *Taps) Importance() map[*onnx.Node][]float32 {
	r := map[*onnx.Node][]float32{}
	for name, nodes := range t.nodes {
		v := make([]float32, len(t.sums[name]))
		for i, s := range t.sums[name] {
			v[i] = float32(s / max(t.runs, 1))
		}
		for _, n := range nodes {
			r[n] = v
		}
	}
	return r
}
