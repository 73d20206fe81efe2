package lower

import (
	"github.com/optimize-hcl/optimize/onnx"
)

// ONNX has the gates of an LSTM as input, output, forget, cell; MIL as input, forget, output, cell.
var (
	lstmOrder = []int64{0, 2, 1, 3}
	asGiven   = []int64{0, 1, 2, 3}
)

func lowerLSTM(c *Context, n *onnx.Node) error {
	c.single("lstm")
	return c.lstm(n, c.In(n, 1), c.In(n, 2))
}

// lstm lowers a node of which the weights are given.
func (c *Context) lstm(n *onnx.Node, w, r Value) error {
	l := c.recurrentLayer(n, 4, "Sigmoid", "Tanh", "Tanh")
	if l == nil || !l.weights(w, r) {
		return c.err
	}
	l.cell = c.In(n, 6)
	if l.layout && l.cell.Valid() {
		l.cell = c.Transpose(l.cell, 1, 0, 2)
	}
	if c.Has(n, 7) {
		l.peephole, l.plain = c.In(n, 7), false
	}
	if !l.plain || n.IntAttr("input_forget", 0) != 0 {
		return l.written(l.lstmSteps)
	}
	args := []any{"x", l.x, "initial_h", l.all(l.h), "initial_c", l.all(l.cell), "direction", l.direction, "output_sequence", true,
		"recurrent_activation", l.milActivation(0), "cell_activation", l.milActivation(1), "activation", l.milActivation(2)}
	for d, suffix := range []string{"", "_back"}[:l.directions] {
		d := int64(d)
		args = append(args, "weight_ih"+suffix, l.part(l.w, d, lstmOrder...), "weight_hh"+suffix, l.part(l.r, d, lstmOrder...),
			"bias"+suffix, l.bias(d, lstmOrder...))
	}
	out := c.EmitAll("lstm", args...)
	if c.err != nil {
		return c.err
	}
	return l.give(out[0], out[1], out[2])
}

// lstmSteps writes a direction out.
//
//	i, o, f = σ(x·W + h·R + b + p·c)   c' = f·c + i·tanh(..)   h' = o·tanh(c')
//
// where the output gate's peephole sees the new cell.
func (l *recurrent) lstmSteps(d int64) (Value, []Value) {
	c, n := l.c, l.n
	r, b := l.part(l.r, d, asGiven...), l.bias(d, asGiven...)
	var peep []Value
	if l.peephole.Valid() {
		p := c.Emit("squeeze", "x", c.Slice(l.peephole, 0, d, d+1), "axes", []int64{0})
		peep = c.Chunks(p, 0, l.hidden, l.hidden, l.hidden)
	}
	looked := func(x Value, i int, cell Value) Value {
		if peep == nil {
			return x
		}
		return c.Binary("add", x, c.Binary("mul", cell, peep[i]))
	}
	coupled := n.IntAttr("input_forget", 0) != 0
	return l.unroll(d, l.part(l.w, d, asGiven...), b, []Value{l.start(l.h, d), l.start(l.cell, d)}, func(xt Value, s []Value) []Value {
		g := c.Chunks(c.Binary("add", xt, c.affine(s[0], r, Value{})), 1, l.hidden, l.hidden, l.hidden, l.hidden)
		i := l.activate(looked(g[0], 0, s[1]), d, 0)
		var f Value
		if coupled {
			f = c.Binary("sub", 1.0, i)
		} else {
			f = l.activate(looked(g[2], 2, s[1]), d, 0)
		}
		cell := c.Binary("add", c.Binary("mul", f, s[1]), c.Binary("mul", i, l.activate(g[3], d, 1)))
		o := l.activate(looked(g[1], 1, cell), d, 0)
		return []Value{c.Binary("mul", o, l.activate(cell, d, 2)), cell}
	})
}

func lowerGRU(c *Context, n *onnx.Node) error {
	l := c.recurrentLayer(n, 3, "Sigmoid", "Tanh")
	if l == nil || !l.weights(c.In(n, 1), c.In(n, 2)) {
		return c.err
	}
	after := n.IntAttr("linear_before_reset", 0) != 0
	return l.written(func(d int64) (Value, []Value) { return l.gruSteps(d, after) })
}

// gruSteps writes a direction out.
//
//	z, r = σ(x·W + h·R + b)   n = tanh(x·W + (r·h)·R + b)   h' = (1-z)·n + z·h
//
// or, where the reset gate works after the product, n = tanh(x·W + b + r·(h·R + b')).
func (l *recurrent) gruSteps(d int64, after bool) (Value, []Value) {
	c := l.c
	w := l.part(l.w, d, 0, 1, 2)
	gates, fresh := l.part(l.r, d, 0, 1), l.part(l.r, d, 2)
	bias, state := Value{}, Value{}
	gateBias := Value{}
	if l.b.Valid() {
		bias, _ = l.biases(d, 0, 1, 2)
		_, gateBias = l.biases(d, 0, 1)
		_, state = l.biases(d, 2)
	}
	return l.unroll(d, w, bias, []Value{l.start(l.h, d)}, func(xt Value, s []Value) []Value {
		h := s[0]
		x := c.Chunks(xt, 1, 2*l.hidden, l.hidden)
		zr := c.Chunks(l.activate(c.Binary("add", x[0], c.affine(h, gates, gateBias)), d, 0), 1, l.hidden, l.hidden)
		z, r := zr[0], zr[1]
		var more Value
		if after {
			more = c.Binary("mul", r, c.affine(h, fresh, state))
		} else {
			more = c.affine(c.Binary("mul", r, h), fresh, state)
		}
		candidate := l.activate(c.Binary("add", x[1], more), d, 1)
		return []Value{c.Binary("add", candidate, c.Binary("mul", z, c.Binary("sub", h, candidate)))}
	})
}

func lowerRNN(c *Context, n *onnx.Node) error {
	c.single("rnn")
	l := c.recurrentLayer(n, 1, "Tanh")
	if l == nil || !l.weights(c.In(n, 1), c.In(n, 2)) {
		return c.err
	}
	if !l.plain {
		return l.written(l.rnnSteps)
	}
	ys, hs := make([]Value, l.directions), make([]Value, l.directions)
	for d := range l.directions {
		direction := "forward"
		if l.direction == "reverse" || d == 1 {
			direction = "reverse"
		}
		out := c.EmitAll("rnn", "x", l.x, "initial_h", l.start(l.h, d), "weight_ih", l.part(l.w, d, 0), "weight_hh", l.part(l.r, d, 0),
			"bias", l.bias(d, 0), "direction", direction, "output_sequence", true, "activation", l.milActivation(0))
		if c.err != nil {
			return c.err
		}
		ys[d], hs[d] = out[0], out[1]
	}
	return l.give(c.Join(2, ys...), c.Join(1, hs...))
}

func (l *recurrent) rnnSteps(d int64) (Value, []Value) {
	c, r := l.c, l.part(l.r, d, 0)
	return l.unroll(d, l.part(l.w, d, 0), l.bias(d, 0), []Value{l.start(l.h, d)}, func(xt Value, s []Value) []Value {
		return []Value{l.activate(c.Binary("add", xt, c.affine(s[0], r, Value{})), d, 0)}
	})
}
