package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// recurrences go through a sequence step by step.
var recurrences = []Rule{
	{Op: "LSTM", Covers: "All directions, lengths of sequences, peepholes, activations and clips; by MIL's lstm where it has the same, else step by step for sequences of a known length.", Lower: lowerLSTM},
	{Op: "GRU", Covers: "All directions, lengths of sequences, activations and clips, step by step for sequences of a known length: MIL's gru does not say where its reset gate works.", Lower: lowerGRU},
	{Op: "RNN", Covers: "As LSTM, by MIL's rnn where it has the same.", Lower: lowerRNN},
}

// mostSteps bounds a sequence that is written out step by step.
const mostSteps = 2048

// recurrent is a node of a recurrent layer.
type recurrent struct {
	c                  *Context
	n                  *onnx.Node
	gates              int64
	x                  Value // [steps, batch, size]
	w, r, b            Value // [directions, gates*hidden, size], [.., hidden], [directions, 2*gates*hidden] or none
	h, cell            Value // [directions, batch, hidden] or none
	lengths            Value // of the sequences, where they differ
	peephole           Value
	hidden, directions int64
	direction          string
	clip               float64
	activations        [][]activation // by direction
	layout, stateful   bool           // batch first; with a cell state
	plain              bool           // nothing that MIL's own layer does not have
	steps, batch       int64
}

// activation is a function and its parameters.
type activation struct {
	name   string
	params []float32
}

// recurrentLayer reads what the layers have in common. The weights are inputs 1 and 2, unless they are given.
func (c *Context) recurrentLayer(n *onnx.Node, gates int64, defaults ...string) *recurrent {
	l := &recurrent{c: c, n: n, gates: gates, x: c.In(n, 0), b: c.In(n, 3), h: c.In(n, 5), stateful: gates == 4,
		direction: n.StringAttr("direction", "forward"), clip: float64(n.FloatAttr("clip", 0)), layout: n.IntAttr("layout", 0) != 0, plain: true}
	if c.err != nil {
		return nil
	}
	if l.x.Rank() != 3 {
		_ = c.Failf("it takes [steps, batch, size], and %v is given", l.x.Shape())
		return nil
	}
	l.directions = 1
	switch l.direction {
	case "forward", "reverse":
	case "bidirectional":
		l.directions = 2
	default:
		_ = c.Failf("there is no direction %q", l.direction)
		return nil
	}
	if l.layout {
		l.x = c.Transpose(l.x, 1, 0, 2)
		if l.h.Valid() {
			l.h = c.Transpose(l.h, 1, 0, 2)
		}
	}
	l.plain = l.clip == 0
	l.readActivations(defaults)
	if c.err != nil {
		return nil
	}
	l.steps, l.batch = l.x.Dim(0), l.x.Dim(1)
	l.readLengths()
	return l
}

// readActivations reads the names, and gives those parameters that take some.
func (l *recurrent) readActivations(defaults []string) {
	var names []string
	if a := l.n.Attr("activations"); a != nil {
		for _, s := range a.Strings() {
			names = append(names, string(s))
		}
	}
	if names == nil {
		names = slices.Repeat(defaults, int(l.directions))
	}
	if len(names) != len(defaults)*int(l.directions) {
		_ = l.c.Failf("it names %d activations, and has %d", len(names), len(defaults)*int(l.directions))
		return
	}
	alphas, betas := l.n.FloatsAttr("activation_alpha"), l.n.FloatsAttr("activation_beta")
	pop := func(from *[]float32, def float32) float32 {
		if len(*from) == 0 {
			return def
		}
		v := (*from)[0]
		*from = (*from)[1:]
		return v
	}
	for i, name := range names {
		a := activation{name: name}
		switch name {
		case "LeakyRelu":
			a.params = []float32{pop(&alphas, 0.01)}
		case "ThresholdedRelu", "Elu":
			a.params = []float32{pop(&alphas, 1)}
		case "HardSigmoid":
			a.params = []float32{pop(&alphas, 0.2), pop(&betas, 0.5)}
		case "ScaledTanh", "Affine":
			a.params = []float32{pop(&alphas, 1), pop(&betas, 1)}
		}
		d := i / len(defaults)
		if d == len(l.activations) {
			l.activations = append(l.activations, nil)
		}
		l.activations[d] = append(l.activations[d], a)
	}
	for _, as := range l.activations {
		l.plain = l.plain && slices.EqualFunc(as, l.activations[0], func(a, b activation) bool { return a.name == b.name }) &&
			!slices.ContainsFunc(as, func(a activation) bool { return milActivations[a.name] == "" })
	}
}

// milActivations are the names in MIL's layers of those that it has without parameters.
var milActivations = map[string]string{"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu"}

// readLengths reads the lengths of the sequences. Those that are all whole are none.
func (l *recurrent) readLengths() {
	c := l.c
	if !c.Has(l.n, 4) {
		return
	}
	if v, ok := c.Ints(l.n, 4); ok && !slices.ContainsFunc(v, func(n int64) bool { return n != l.steps }) {
		return
	}
	l.lengths, l.plain = c.In(l.n, 4), false
}

// weights sets the weights, and checks their shapes.
func (l *recurrent) weights(w, r Value) bool {
	c := l.c
	if c.err != nil {
		return false
	}
	l.w, l.r = w, r
	if r.Rank() != 3 || w.Rank() != 3 || r.Dim(0) != l.directions || r.Dim(1) != l.gates*r.Dim(2) || w.Dim(1) != r.Dim(1) {
		_ = c.Failf("its weights are %v and %v", w.Shape(), r.Shape())
		return false
	}
	l.hidden = r.Dim(2)
	l.plain = l.plain && w.Const() != nil && r.Const() != nil && (!l.b.Valid() || l.b.Const() != nil)
	return true
}

// part is one direction's share of a weight, as a matrix or vector, with its gates in another order.
func (l *recurrent) part(v Value, d int64, order ...int64) Value {
	c, shape := l.c, v.Shape()[1:]
	if k := v.Const(); k != nil {
		return c.From(k.Take(0, []int64{d}).Reshape(shape).Take(0, l.places(order)))
	}
	v = c.Emit("squeeze", "x", c.Slice(v, 0, d, d+1), "axes", []int64{0})
	rows := l.places(order)
	if !slices.IsSorted(order) || int64(len(rows)) != v.Dim(0) {
		v = c.Gather(v, c.IntsConst([]int64{int64(len(rows))}, rows), 0)
	}
	return v
}

// places are the rows of gates, in an order.
func (l *recurrent) places(order []int64) []int64 {
	var rows []int64
	for _, g := range order {
		for i := range l.hidden {
			rows = append(rows, g*l.hidden+i)
		}
	}
	return rows
}

// bias is the sum of both biases of a direction, Value{} where there are none.
func (l *recurrent) bias(d int64, order ...int64) Value {
	if !l.b.Valid() {
		return Value{}
	}
	a, b := l.biases(d, order...)
	if a.Const() != nil {
		return l.c.From(Combine(a.Shape(), func(in [][]float32) ([]float32, error) {
			out := slices.Clone(in[0])
			for i, v := range in[1] {
				out[i] += v
			}
			return out, nil
		}, a.Const(), b.Const()))
	}
	return l.c.Binary("add", a, b)
}

// biases are those of the input and of the state.
func (l *recurrent) biases(d int64, order ...int64) (input, state Value) {
	if !l.b.Valid() {
		return Value{}, Value{}
	}
	second := make([]int64, len(order))
	for i, g := range order {
		second[i] = g + l.gates
	}
	return l.part(l.b, d, order...), l.part(l.b, d, second...)
}

// start is a state before the first step for a direction, [batch, hidden]; zeros where none is given.
func (l *recurrent) start(state Value, d int64) Value {
	c := l.c
	if state.Valid() {
		return c.Emit("squeeze", "x", c.Slice(state, 0, d, d+1), "axes", []int64{0})
	}
	return l.zeros(l.hidden)
}

// zeros are [batch, size], also where the batch is open.
func (l *recurrent) zeros(size int64) Value {
	c := l.c
	if l.batch >= 0 {
		return c.FloatsConst([]int64{l.batch, size}, make([]float32, l.batch*size))
	}
	batch := c.Slice(c.Emit("shape", "x", l.x), 0, 1, 2)
	return c.Emit("fill", "shape", c.Join(0, batch, c.IntsConst([]int64{1}, []int64{size})), "value", 0.0)
}

// all is a state before the first step for all directions, [batch, directions*hidden], as MIL's layers take it.
func (l *recurrent) all(state Value) Value {
	c := l.c
	if !state.Valid() {
		return l.zeros(l.directions * l.hidden)
	}
	if l.directions == 1 {
		return c.Emit("squeeze", "x", state, "axes", []int64{0})
	}
	return c.Join(1, l.start(state, 0), l.start(state, 1))
}

// give sets the outputs: y [steps, batch, directions*hidden], and states [batch, directions*hidden].
func (l *recurrent) give(y Value, states ...Value) error {
	c, n := l.c, l.n
	if c.err != nil {
		return c.err
	}
	if c.Wants(n, 0) {
		// ONNX has [steps, directions, batch, hidden], or [batch, steps, directions, hidden].
		parts := []Value{y}
		if l.directions == 2 {
			parts = c.Chunks(y, 2, l.hidden, l.hidden)
		}
		axis := int64(1)
		if l.layout {
			axis = 2
		}
		for i := range parts {
			if l.layout {
				parts[i] = c.Transpose(parts[i], 1, 0, 2)
			}
			parts[i] = c.Emit("expand_dims", "x", parts[i], "axes", []int64{axis})
		}
		c.Set(n, 0, c.Join(int(axis), parts...))
	}
	for i, s := range states {
		if !c.Wants(n, i+1) {
			continue
		}
		parts := []Value{s}
		if l.directions == 2 {
			parts = c.Chunks(s, 1, l.hidden, l.hidden)
		}
		axis := int64(0)
		if l.layout {
			axis = 1
		}
		for j := range parts {
			parts[j] = c.Emit("expand_dims", "x", parts[j], "axes", []int64{axis})
		}
		c.Set(n, i+1, c.Join(int(axis), parts...))
	}
	return c.err
}

// single makes the node compute in single precision where a layer of MIL takes no other: before iOS 17.
func (c *Context) single(op string) {
	if !mil.Accepts(op, c.Opset(), "x", c.float) {
		c.float = mil.Float32
	}
}

// activate applies activation i of a direction.
func (l *recurrent) activate(x Value, d, i int64) Value {
	if l.clip > 0 {
		x = l.c.Emit("clip", "x", x, "alpha", -l.clip, "beta", l.clip)
	}
	a := l.activations[d][i]
	return l.c.activated(x, a.name, a.params)
}

// known checks that the sequence can be written out.
func (l *recurrent) known() error {
	if l.steps < 0 || l.batch < 0 {
		return l.c.Failf("it is lowered step by step, and the length of its sequence or its batch is open")
	}
	if l.steps > mostSteps {
		return l.c.Failf("it is lowered step by step, and %d steps are more than %d", l.steps, mostSteps)
	}
	return nil
}

// affine is x times a matrix [out, in], plus a bias that may be left out.
func (c *Context) affine(x, w, b Value) Value {
	if w.Const() != nil && (!b.Valid() || b.Const() != nil) {
		return c.Emit("linear", "x", x, "weight", w, "bias", b)
	}
	y := c.Emit("matmul", "x", x, "y", w, "transpose_x", false, "transpose_y", true)
	if b.Valid() {
		y = c.Binary("add", y, b)
	}
	return y
}

// cellFunc is one step: xt [batch, gates*hidden] holds the input's part of the gates; it gives the new states.
type cellFunc func(xt Value, states []Value) []Value

// unroll goes through a direction step by step. gates are the input's part of the gates for all steps.
func (l *recurrent) unroll(d int64, w, b Value, states []Value, cell cellFunc) (y Value, last []Value) {
	c := l.c
	reverse := l.direction == "reverse" || d == 1
	x := l.x
	if l.lengths.Valid() && reverse {
		x = c.Emit("reverse_sequence", "x", x, "lengths", l.lengths, "seq_axis", 0, "batch_axis", 1)
	}
	gates := c.affine(x, w, b)
	steps := c.Chunks(gates, 0, slices.Repeat([]int64{1}, int(l.steps))...)
	if l.steps == 1 {
		steps = []Value{gates}
	}
	outs := make([]Value, l.steps)
	for i := range l.steps {
		t := i
		if reverse && !l.lengths.Valid() {
			t = l.steps - 1 - i
		}
		if c.err != nil {
			return Value{}, nil
		}
		next := cell(c.Emit("squeeze", "x", steps[t], "axes", []int64{0}), states)
		out := next[0]
		if l.lengths.Valid() {
			on := c.Emit("expand_dims", "x", c.Binary("greater", l.lengths, mil.Int(t)), "axes", []int64{1})
			for j := range next {
				next[j] = c.Select(on, next[j], states[j])
			}
			out = c.Select(on, out, c.Filled(out, 0))
		}
		states, outs[t] = next, c.Emit("expand_dims", "x", out, "axes", []int64{0})
	}
	y = c.Join(0, outs...)
	if l.lengths.Valid() && reverse {
		y = c.Emit("reverse_sequence", "x", y, "lengths", l.lengths, "seq_axis", 0, "batch_axis", 1)
	}
	return y, states
}

// written goes through all directions step by step, and sets the outputs.
func (l *recurrent) written(direction func(d int64) (Value, []Value)) error {
	c := l.c
	if err := l.known(); err != nil {
		return err
	}
	y, states := direction(0)
	if l.directions == 2 {
		back, more := direction(1)
		if c.err != nil {
			return c.err
		}
		y = c.Join(2, y, back)
		for i := range states {
			states[i] = c.Join(1, states[i], more[i])
		}
	}
	return l.give(y, states...)
}

// milActivation is the name of activation i in MIL.
func (l *recurrent) milActivation(i int) string { return milActivations[l.activations[0][i].name] }
