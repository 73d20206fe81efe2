package quantize

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// gates is how many matrices an LSTM's weights are stacked of.
const gates = 4

// lstmWeights returns the two weights of an LSTM, of the input and of the recurrence, or why it stays in float.
func lstmWeights(n *onnx.Node) ([]*onnx.Tensor, *refusal) {
	no := func(format string, args ...any) ([]*onnx.Tensor, *refusal) {
		return nil, &refusal{fmt.Sprintf(format, args...), true}
	}
	if n.IntAttr("layout", 0) != 0 {
		return no("its batch comes first (layout 1), which DynamicQuantizeLSTM does not take")
	}
	var weights []*onnx.Tensor
	for i, what := range []string{"", "weight", "recurrent weight"} {
		if i == 0 {
			continue
		}
		t, err := constant(n.Graph(), n.Input(i))
		switch {
		case err != nil:
			return no("its %s %v", what, err)
		case len(t.Dims) != 3 || t.Dims[1]%gates != 0 || t.Dims[0] < 1 || t.Dims[1] < gates || t.Dims[2] < 1:
			return no("its %s has the shape %v", what, t.Dims)
		}
		weights = append(weights, t)
	}
	if w, r := weights[0].Dims, weights[1].Dims; w[0] != r[0] || w[1] != r[1] {
		return no("its weights have the shapes %v and %v, which do not fit together", w, r)
	}
	return weights, nil
}

// lowerLSTM puts ONNX Runtime's DynamicQuantizeLSTM in the place of a node: both weights are integers, [directions, in,
// 4*hidden] there; the input and the state are quantized while it runs.
func (l *dynamicLowering) lowerLSTM(m *onnx.Model, n *onnx.Node, weights []*onnx.Tensor) error {
	parts := make([]dynamicWeight, len(weights))
	for i, w := range weights {
		var err error
		if parts[i], err = l.gateWeights(n, w); err != nil {
			return err
		}
	}
	m.SetOpset(microsoft, 1)
	inputs := make([]string, 12)
	for i := range 8 {
		inputs[i] = n.Input(i)
	}
	inputs[1], inputs[2] = parts[0].q, parts[1].q
	inputs[8], inputs[9], inputs[10], inputs[11] = parts[0].scale, parts[0].zero, parts[1].scale, parts[1].zero
	g, name := n.Graph(), nodeName(n)
	var attrs []*onnx.Attribute
	for _, a := range n.Attributes() {
		if a.Name != "layout" {
			attrs = append(attrs, a)
		}
	}
	lstm := onnx.NewNode("DynamicQuantizeLSTM", microsoft, l.graph.UniqueName(name+"/DynamicQuantizeLSTM"), inputs, n.Outputs(), attrs...)
	before := n.Prev()
	g.RemoveNode(n)
	if before == nil {
		g.PrependNode(lstm)
	} else {
		g.InsertAfter(before, lstm)
	}
	return nil
}

// gateWeights quantizes [directions, 4*hidden, in] with a scale for each output of each direction, or one for all.
func (l *dynamicLowering) gateWeights(n *onnx.Node, t *onnx.Tensor) (dynamicWeight, error) {
	if w, ok := l.recurrences[t]; ok {
		return w, nil
	}
	v, err := l.floats(t)
	if err != nil {
		return dynamicWeight{}, fmt.Errorf("weight of node %q: %w", nodeName(n), err)
	}
	directions, outputs, in := int(t.Dims[0]), int(t.Dims[1]), int(t.Dims[2])
	// One channel after the other lies together: all directions are one row of channels.
	lay := channelsOf{1, directions * outputs, in}
	shape := []int64{t.Dims[0], t.Dims[1]}
	if !l.perChannel {
		lay, shape = channelsOf{1, directions, outputs * in}, []int64{t.Dims[0]}
	}
	absmax, err := channelMax(v, lay)
	if err != nil {
		return dynamicWeight{}, fmt.Errorf("weight %q of node %q: %w: integers cannot stand for it", t.Name(), nodeName(n), err)
	}
	scales := l.target.Weight.weightScales(absmax)
	q := l.target.Weight.quantizeWeights(v, lay, scales)
	turned := make([]int8, 0, len(q))
	for d := range directions {
		turned = append(turned, transpose(q[d*outputs*in:(d+1)*outputs*in], outputs, in)...)
	}
	w := l.put(t, tensor.Of([]int64{t.Dims[0], t.Dims[2], t.Dims[1]}, turned), scales, shape)
	l.recurrences[t] = w
	l.done(t)
	return w, nil
}

// recurs tells whether a node is an LSTM that gets integer weights.
func (o *placeOptions) recurs(n *onnx.Node, t *Target) bool {
	if !o.Recurrent || !n.Is("LSTM") || !slices.Contains(t.Dynamic, "LSTM") || globs(o.Keep).match(nodeName(n)) >= 0 || o.Exclude[nodeName(n)] != "" {
		return false
	}
	_, no := lstmWeights(n)
	return no == nil
}
