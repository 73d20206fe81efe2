package onnx

import "slices"

// inferStandard holds the operators of the standard domain by name.
var inferStandard map[string]func(*inferContext)

func init() {
	inferStandard = map[string]func(*inferContext){
		"Where":    inferWhere,
		"PRelu":    inferFirst,
		"Cast":     inferCast,
		"CastLike": func(c *inferContext) { c.out(0, c.in(0).of(c.in(1).elem)) },
		"Dropout":  inferDropout,
		"Clip":     inferFirst,
		"Identity": inferIdentity,
		"Shape":    inferShape,
		"Size":     inferSize,
		"Constant": inferConstant,
		"If":       inferIf,
		"Loop":     inferLoop,
		"Scan":     inferScan,
	}
	register(inferFirst, "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh",
		"Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Hardmax", "LeakyRelu", "Log", "LogSoftmax",
		"Mish", "Neg", "Not", "BitwiseNot", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
		"Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "CumSum", "CumProd", "LRN", "LpNormalization",
		"MeanVarianceNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "Trilu",
		"ScatterElements", "Scatter", "ScatterND", "ReverseSequence", "TensorScatter", "RotaryEmbedding")
	register(inferBroadcast, "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "And", "Or", "Xor",
		"BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
	register(inferCompare, "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
	register(func(c *inferContext) { c.out(0, c.in(0).of(Bool)) }, "IsNaN", "IsInf")
	register(func(c *inferContext) { c.tensor(0, Int64) }, "SequenceLength")
	registerConv()
	registerLayout()
	registerReduce()
	registerQuantized()
	registerSignal()
	registerSequence()
}

func register(f func(*inferContext), ops ...string) {
	for _, op := range ops {
		inferStandard[op] = f
	}
}

// of returns a value of the same shape and another element type, without its data.
func (t *valueType) of(elem DataType) *valueType {
	return &valueType{elem: elem, ranked: t.ranked, dims: t.dims}
}

// inferFirst is for operators whose output has the type of their first input.
func inferFirst(c *inferContext) { c.out(0, c.in(0).of(c.in(0).elem)) }

func inferIdentity(c *inferContext) { c.out(0, c.in(0)) }

func inferBroadcast(c *inferContext) {
	elem, shapes, ok := c.in(0).elem, [][]Dim(nil), true
	for i := range c.n.inputs {
		ok = ok && c.in(i).ranked
		shapes = append(shapes, c.in(i).dims)
	}
	if c.opset < 7 && c.n.IntAttr("broadcast", 0) != 0 {
		shapes = shapes[:1] // B is broadcast to A, from an axis
	}
	switch {
	case !ok:
		c.elemOnly(0, elem)
	default:
		c.tensor(0, elem, broadcast(shapes...)...)
		c.outs[0].data = c.arithmetic()
	}
}

// arithmetic works out integer arithmetic on two tensors that describe shapes.
func (c *inferContext) arithmetic() []Dim { return c.elementwise(c.calculate) }

// elementwise combines the elements of two tensors that describe shapes.
func (c *inferContext) elementwise(f func(a, b Dim) Dim) []Dim {
	a, b := c.in(0).data, c.in(1).data
	if len(c.n.inputs) != 2 || a == nil || b == nil || len(a) != len(b) && len(a) != 1 && len(b) != 1 {
		return nil
	}
	out := make([]Dim, max(len(a), len(b)))
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	for i := range out {
		out[i] = f(a[i%len(a)], b[i%len(b)])
	}
	return out
}

func (c *inferContext) calculate(a, b Dim) Dim {
	isNumber := func(d Dim, v int64) bool { return known(d) && d.Value == v }
	if !known(a) || !known(b) {
		// A name stays itself where the other operand changes nothing.
		switch c.n.OpType {
		case "Add":
			if isNumber(a, 0) {
				return b
			}
			if isNumber(b, 0) {
				return a
			}
		case "Mul":
			if isNumber(a, 1) {
				return b
			}
			if isNumber(b, 1) {
				return a
			}
		case "Sub":
			if isNumber(b, 0) {
				return a
			}
		case "Div":
			if isNumber(b, 1) {
				return a
			}
		}
		return anyNumber
	}
	x, y := a.Value, b.Value
	switch c.n.OpType {
	case "Add":
		return Dim{Value: x + y}
	case "Sub":
		return Dim{Value: x - y}
	case "Mul":
		if p, ok := mul(x, y); ok {
			return Dim{Value: p}
		}
	case "Div":
		if y != 0 && y != -1 {
			return Dim{Value: x / y}
		}
	case "Min":
		return Dim{Value: min(x, y)}
	case "Max":
		return Dim{Value: max(x, y)}
	case "Mod":
		if y > 0 && x >= 0 {
			return Dim{Value: x % y}
		}
	}
	return anyNumber
}

func inferCompare(c *inferContext) {
	if !c.in(0).ranked || !c.in(1).ranked {
		c.elemOnly(0, Bool)
		return
	}
	c.tensor(0, Bool, broadcast(c.in(0).dims, c.in(1).dims)...)
	if c.n.OpType == "Equal" {
		c.outs[0].data = c.elementwise(equalNumbers)
	}
}

// equalNumbers: the size of an axis is never negative, which tells it from the -1 that
// exporters compare shapes with.
func equalNumbers(a, b Dim) Dim {
	switch {
	case known(a) && known(b):
		if a.Value == b.Value {
			return Dim{Value: 1}
		}
		return Dim{Value: 0}
	case a.Param == b.Param && a.Param != unknownNumber:
		return Dim{Value: 1}
	case known(a) && a.Value < 0 && b.Param != unknownNumber, known(b) && b.Value < 0 && a.Param != unknownNumber:
		return Dim{Value: 0}
	}
	return anyNumber
}

func inferWhere(c *inferContext) {
	elem := c.in(1).elem
	if elem == Undefined {
		elem = c.in(2).elem
	}
	if !c.in(0).ranked || !c.in(1).ranked || !c.in(2).ranked {
		c.elemOnly(0, elem)
		return
	}
	c.tensor(0, elem, broadcast(c.in(0).dims, c.in(1).dims, c.in(2).dims)...)
	which, x, y := c.in(0).data, c.in(1).data, c.in(2).data
	n := max(len(which), len(x), len(y))
	for _, d := range [][]Dim{which, x, y} {
		if len(d) != n && len(d) != 1 {
			return
		}
	}
	if len(c.outs[0].dims) > 1 || n == 0 {
		return
	}
	data := make([]Dim, n)
	for i := range data {
		a, b := x[i%len(x)], y[i%len(y)]
		switch w := which[i%len(which)]; {
		case known(w) && w.Value != 0:
			data[i] = a
		case known(w):
			data[i] = b
		case a.Param == b.Param && a.Value == b.Value:
			data[i] = a
		default:
			data[i] = anyNumber
		}
	}
	c.outs[0].data = data
}

func inferCast(c *inferContext) {
	t := c.in(0).of(DataType(c.n.IntAttr("to", 0)))
	if from := c.in(0).elem; (t.elem == Int64 || t.elem == Int32) && (from == Int64 || from == Int32 || from == Bool) {
		t.data = c.in(0).data
	}
	c.out(0, t)
}

func inferDropout(c *inferContext) {
	inferFirst(c)
	mask := Bool
	if c.opset < 10 {
		mask = c.in(0).elem
	}
	c.out(1, c.in(0).of(mask))
}

func inferShape(c *inferContext) {
	in := c.in(0)
	if !in.ranked {
		c.tensor(0, Int64, anyDim)
		return
	}
	rank := int64(len(in.dims))
	clamp := func(v int64) int64 {
		if v < 0 {
			v += rank
		}
		return min(max(v, 0), rank)
	}
	start := clamp(c.n.IntAttr("start", 0))
	end := max(clamp(c.n.IntAttr("end", rank)), start)
	c.tensor(0, Int64, Dim{Value: end - start})
	data := make([]Dim, 0, end-start)
	for _, d := range in.dims[start:end] {
		data = append(data, number(d))
	}
	c.outs[0].data = data
}

func inferSize(c *inferContext) {
	c.tensor(0, Int64)
	if c.in(0).ranked {
		c.outs[0].data = []Dim{number(product(c.in(0).dims))}
	}
}

func inferConstant(c *inferContext) {
	if t := constantValue(c.n); t != nil {
		c.out(0, ofTensor(t))
		return
	}
	// A sparse tensor: its dims are field 3, its values' type is not looked up.
	c.out(0, unknownType)
}

func inferIf(c *inferContext) {
	var branches [][]*valueType
	for _, name := range []string{"then_branch", "else_branch"} {
		a := c.n.Attr(name)
		if a == nil || a.Graph() == nil {
			return
		}
		if c.err = c.graph(a.Graph(), nil); c.err != nil {
			return
		}
		branches = append(branches, c.outputsOf(a.Graph()))
	}
	for i := range c.outs {
		if i < len(branches[0]) && i < len(branches[1]) {
			c.out(i, common(branches[0][i], branches[1][i]))
		}
	}
}

func (x *inference) outputsOf(g *Graph) []*valueType {
	out := make([]*valueType, len(g.outputs))
	for i, v := range g.outputs {
		out[i] = x.values[v.name]
		if out[i] == nil {
			out[i] = fromType(v.Type)
		}
	}
	return out
}

// common is what is true of both.
func common(a, b *valueType) *valueType {
	out := &valueType{}
	if a.elem == b.elem {
		out.elem = a.elem
	}
	if a.ranked && b.ranked && len(a.dims) == len(b.dims) {
		out.ranked, out.dims = true, slices.Clone(a.dims)
		for i := range out.dims {
			if !sameDim(a.dims[i], b.dims[i]) {
				out.dims[i] = anyDim
			}
		}
	}
	if a.item != nil && b.item != nil {
		out.item = common(a.item, b.item)
	}
	return out
}

func inferLoop(c *inferContext) {
	a := c.n.Attr("body")
	if a == nil || a.Graph() == nil {
		return
	}
	carried := max(len(c.n.inputs)-2, 0)
	inputs := []*valueType{{elem: Int64, ranked: true}, {elem: Bool, ranked: true}}
	for i := range carried {
		// The shape may change from one round to the next.
		inputs = append(inputs, &valueType{elem: c.in(i + 2).elem})
	}
	if c.err = c.graph(a.Graph(), inputs); c.err != nil {
		return
	}
	for i, t := range c.outputsOf(a.Graph()) {
		switch {
		case i == 0: // the condition
		case i <= carried:
			c.out(i-1, common(t, c.in(i+1)))
		case t.ranked: // one slice of each round
			c.tensor(i-1, t.elem, append([]Dim{anyDim}, t.dims...)...)
		default:
			c.elemOnly(i-1, t.elem)
		}
	}
}

func inferScan(c *inferContext) {
	a := c.n.Attr("body")
	scanned := int(c.n.IntAttr("num_scan_inputs", 0))
	states := len(c.n.inputs) - scanned
	if a == nil || a.Graph() == nil || scanned < 0 || states < 0 {
		return
	}
	if c.opset < 9 {
		inferScan8(c, a.Graph(), scanned)
		return
	}
	axisOf := func(attr string, i, rank int) (int, bool) {
		v := c.n.IntsAttr(attr)
		if i < len(v) {
			return axis(v[i], rank)
		}
		return axis(0, rank)
	}
	var inputs []*valueType
	length := Dim{Value: 1} // all are equally long
	for i := range c.n.inputs {
		t := c.in(i)
		if i >= states && t.ranked {
			k, ok := axisOf("scan_input_axes", i-states, len(t.dims))
			if !ok {
				return
			}
			length = broadcastDim(t.dims[k], length)
			t = &valueType{elem: t.elem, ranked: true, dims: slices.Delete(slices.Clone(t.dims), k, k+1)}
		}
		inputs = append(inputs, t)
	}
	if c.err = c.graph(a.Graph(), inputs); c.err != nil {
		return
	}
	for i, t := range c.outputsOf(a.Graph()) {
		switch {
		case i < states: // its shape stays the same
			c.out(i, t.or(c.in(i)))
		case !t.ranked:
			c.elemOnly(i, t.elem)
		default:
			if k, ok := axisOf("scan_output_axes", i-states, len(t.dims)+1); ok {
				c.tensor(i, t.elem, slices.Insert(slices.Clone(t.dims), k, length)...)
			}
		}
	}
}

// inferScan8 is Scan of opset 8: the first input is the lengths of the sequences, and
// axis 0 of every value counts samples, axis 1 of the scanned ones the steps.
func inferScan8(c *inferContext, body *Graph, scanned int) {
	states := len(c.n.inputs) - 1 - scanned
	if states < 0 {
		return
	}
	batch, steps := anyDim, anyDim
	var inputs []*valueType
	for i := 1; i < len(c.n.inputs); i++ {
		t, drop := c.in(i), 1
		if i > states {
			drop = 2
		}
		if t.ranked && len(t.dims) >= drop {
			batch = t.dims[0]
			if drop == 2 {
				steps = t.dims[1]
			}
			t = &valueType{elem: t.elem, ranked: true, dims: t.dims[drop:]}
		}
		inputs = append(inputs, t)
	}
	if c.err = c.graph(body, inputs); c.err != nil {
		return
	}
	for i, t := range c.outputsOf(body) {
		switch {
		case !t.ranked:
			c.elemOnly(i, t.elem)
		case i < states:
			c.tensor(i, t.elem, slices.Concat([]Dim{batch}, t.dims)...)
		default:
			c.tensor(i, t.elem, slices.Concat([]Dim{batch, steps}, t.dims)...)
		}
	}
}
