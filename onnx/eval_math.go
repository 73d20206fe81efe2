package onnx

import (
	"math"
	"math/bits"
)

// Evaluation of operators that calculate element by element. Floats are calculated in
// float64 and rounded once to their type, which for the basic operations of float32
// gives the very bits that a runtime does.

var unaryFloats = map[string]func(float64) float64{
	"Abs": math.Abs, "Ceil": math.Ceil, "Floor": math.Floor, "Sqrt": math.Sqrt, "Exp": math.Exp, "Log": math.Log,
	"Sin": math.Sin, "Cos": math.Cos, "Tan": math.Tan, "Asin": math.Asin, "Acos": math.Acos, "Atan": math.Atan,
	"Sinh": math.Sinh, "Cosh": math.Cosh, "Tanh": math.Tanh, "Asinh": math.Asinh, "Acosh": math.Acosh, "Atanh": math.Atanh,
	"Erf": math.Erf, "Round": math.RoundToEven,
	"Neg":        func(x float64) float64 { return -x },
	"Reciprocal": func(x float64) float64 { return 1 / x },
	"Relu":       func(x float64) float64 { return max(x, 0) },
	"Sigmoid":    func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
	"Softplus":   func(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) },
	"Sign": func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		}
		return x
	},
}

var unaryInts = map[string]func(int64) int64{
	"Neg":  func(x int64) int64 { return -x },
	"Relu": func(x int64) int64 { return max(x, 0) },
	"Abs":  func(x int64) int64 { return max(x, -x) },
	"Sign": func(x int64) int64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		}
		return 0
	},
	"BitwiseNot": func(x int64) int64 { return ^x },
}

var binaryFloats = map[string]func(a, b float64) float64{
	"Add": func(a, b float64) float64 { return a + b }, "Sub": func(a, b float64) float64 { return a - b },
	"Mul": func(a, b float64) float64 { return a * b }, "Div": func(a, b float64) float64 { return a / b },
	"Pow": math.Pow, "Min": math.Min, "Max": math.Max,
	"Sum": func(a, b float64) float64 { return a + b },
}

var binaryInts = map[string]func(a, b int64) int64{
	"Add": func(a, b int64) int64 { return a + b }, "Sub": func(a, b int64) int64 { return a - b },
	"Mul": func(a, b int64) int64 { return a * b },
	"Min": func(a, b int64) int64 { return min(a, b) }, "Max": func(a, b int64) int64 { return max(a, b) },
	"BitwiseAnd": func(a, b int64) int64 { return a & b }, "BitwiseOr": func(a, b int64) int64 { return a | b },
	"BitwiseXor": func(a, b int64) int64 { return a ^ b },
	"And":        func(a, b int64) int64 { return a & b }, "Or": func(a, b int64) int64 { return a | b },
	"Xor": func(a, b int64) int64 { return a ^ b },
}

var compareFloats = map[string]func(a, b float64) bool{
	"Equal": func(a, b float64) bool { return a == b }, "Less": func(a, b float64) bool { return a < b },
	"Greater": func(a, b float64) bool { return a > b }, "LessOrEqual": func(a, b float64) bool { return a <= b },
	"GreaterOrEqual": func(a, b float64) bool { return a >= b },
}

var compareInts = map[string]func(a, b int64) bool{
	"Equal": func(a, b int64) bool { return a == b }, "Less": func(a, b int64) bool { return a < b },
	"Greater": func(a, b int64) bool { return a > b }, "LessOrEqual": func(a, b int64) bool { return a <= b },
	"GreaterOrEqual": func(a, b int64) bool { return a >= b },
}

func registerNumeric() {
	for op := range unaryFloats {
		registerEvaluator(evalUnary, op)
	}
	registerEvaluator(evalUnary, "BitwiseNot")
	registerEvaluator(evalNot, "Not")
	registerEvaluator(evalIsNaN, "IsNaN")
	for op := range binaryFloats {
		registerEvaluator(evalBinary, op)
	}
	for op := range binaryInts {
		registerEvaluator(evalBinary, op)
	}
	for op := range compareFloats {
		registerEvaluator(evalCompare, op)
	}
	registerEvaluator(evalBinary, "Mod", "BitShift")
	registerEvaluator(evalCast, "Cast", "CastLike")
	registerEvaluator(evalClip, "Clip")
	registerEvaluator(evalRange, "Range")
}

func evalUnary(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	if err != nil || x.elem == Bool {
		return nil, errNotEvaluated
	}
	if f := unaryFloats[e.n.OpType]; f != nil && isFloat(x.elem) {
		for i, v := range x.floats {
			x.floats[i] = f(v)
		}
		return x.result()
	}
	f := unaryInts[e.n.OpType]
	if f == nil || isFloat(x.elem) || x.elem == Uint64 {
		return nil, errNotEvaluated
	}
	for i, v := range x.ints {
		x.ints[i] = f(v)
	}
	return x.result()
}

func evalNot(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	if err != nil || x.elem != Bool {
		return nil, errNotEvaluated
	}
	for i, v := range x.ints {
		x.ints[i] = 1 - v&1
	}
	return x.result()
}

func evalIsNaN(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	if err != nil || !isFloat(x.elem) {
		return nil, errNotEvaluated
	}
	out := make([]int64, len(x.floats))
	for i, v := range x.floats {
		if math.IsNaN(v) {
			out[i] = 1
		}
	}
	return numbers{elem: Bool, dims: x.dims, ints: out}.result()
}

// pair reads two operands of one type and what their elements are combined to.
func (e *evaluation) pair(i, k int) (a, b numbers, shape []int64, err error) {
	a, err = e.numbers(i)
	if err != nil {
		return a, b, nil, err
	}
	b, err = e.numbers(k)
	if err != nil {
		return a, b, nil, err
	}
	if a.elem != b.elem && e.n.OpType != "Pow" || e.n.IntAttr("broadcast", 0) != 0 {
		return a, b, nil, errNotEvaluated
	}
	shape, err = broadcastSizes(a.dims, b.dims)
	if err == nil && (elementsOf(shape) > e.room/8 || elementsOf(shape) > math.MaxInt32) {
		err = errNotEvaluated
	}
	return a, b, shape, err
}

func evalBinary(e *evaluation) ([]*Tensor, error) {
	if len(e.in) == 1 && (e.n.OpType == "Sum" || e.n.OpType == "Min" || e.n.OpType == "Max") {
		return evalIdentity(e)
	}
	if len(e.in) < 2 {
		return nil, errNotEvaluated
	}
	left := e.in[0]
	for i := 1; i < len(e.in); i++ {
		step := evaluation{evaluator: e.evaluator, n: e.n, in: []*Tensor{left, e.in[i]}}
		out, err := evalTwo(&step)
		if err != nil {
			return nil, err
		}
		left = out[0]
	}
	return one(left), nil
}

func evalTwo(e *evaluation) ([]*Tensor, error) {
	a, b, shape, err := e.pair(0, 1)
	if err != nil {
		return nil, err
	}
	op := e.n.OpType
	pa, pb := places(a.dims, shape), places(b.dims, shape)
	count := int(elementsOf(shape))
	if isFloat(a.elem) && isFloat(b.elem) {
		f := binaryFloats[op]
		if op == "Mod" && e.n.IntAttr("fmod", 0) != 0 {
			f = math.Mod
		}
		if f == nil {
			return nil, errNotEvaluated
		}
		out := make([]float64, count)
		for i := range out {
			out[i] = f(a.floats[placeOf(pa, i)], b.floats[placeOf(pb, i)])
		}
		return numbers{elem: a.elem, dims: shape, floats: out}.result()
	}
	if isFloat(a.elem) != isFloat(b.elem) || a.elem == Uint64 || b.elem == Uint64 {
		return nil, errNotEvaluated
	}
	logic := op == "And" || op == "Or" || op == "Xor"
	if logic != (a.elem == Bool) {
		return nil, errNotEvaluated
	}
	f := binaryInts[op]
	if f == nil {
		f = checkedInts(e.n)
	}
	if f == nil {
		return nil, errNotEvaluated
	}
	out := make([]int64, count)
	for i := range out {
		y := b.ints[placeOf(pb, i)]
		if y == 0 && (op == "Div" || op == "Mod") || y < 0 && op == "Pow" ||
			op == "BitShift" && (y < 0 || y >= int64(a.elem.Bits()) || a.ints[placeOf(pa, i)] < 0) {
			return nil, errNotEvaluated
		}
		out[i] = f(a.ints[placeOf(pa, i)], y)
	}
	return numbers{elem: a.elem, dims: shape, ints: out}.result()
}

// checkedInts returns the operations that not every second operand suits: the caller
// rules out a divisor of zero and a negative power.
func checkedInts(n *Node) func(a, b int64) int64 {
	switch n.OpType {
	case "Div":
		return func(a, b int64) int64 {
			if b == -1 {
				return -a // the smallest number would trap
			}
			return a / b
		}
	case "Mod":
		trunc := n.IntAttr("fmod", 0) != 0
		return func(a, b int64) int64 {
			if b == -1 {
				return 0
			}
			m := a % b
			if !trunc && m != 0 && (m < 0) != (b < 0) {
				m += b
			}
			return m
		}
	case "Pow":
		return func(a, b int64) int64 {
			out := int64(1)
			for ; b > 0; b >>= 1 {
				if b&1 != 0 {
					out *= a
				}
				a *= a
			}
			return out
		}
	case "BitShift":
		if n.StringAttr("direction", "") == "LEFT" {
			return func(a, b int64) int64 { return a << min(uint64(b), 64) }
		}
		return func(a, b int64) int64 { return int64(uint64(a) >> min(uint64(b), 64)) }
	}
	return nil
}

func evalCompare(e *evaluation) ([]*Tensor, error) {
	a, b, shape, err := e.pair(0, 1)
	if err != nil || a.elem == Uint64 {
		return nil, errNotEvaluated
	}
	pa, pb := places(a.dims, shape), places(b.dims, shape)
	out := make([]int64, elementsOf(shape))
	if isFloat(a.elem) {
		f := compareFloats[e.n.OpType]
		for i := range out {
			if f(a.floats[placeOf(pa, i)], b.floats[placeOf(pb, i)]) {
				out[i] = 1
			}
		}
	} else {
		f := compareInts[e.n.OpType]
		for i := range out {
			if f(a.ints[placeOf(pa, i)], b.ints[placeOf(pb, i)]) {
				out[i] = 1
			}
		}
	}
	return numbers{elem: Bool, dims: shape, ints: out}.result()
}

func evalCast(e *evaluation) ([]*Tensor, error) {
	to := DataType(e.n.IntAttr("to", 0))
	if e.n.OpType == "CastLike" {
		if e.arg(1) == nil {
			return nil, errNotEvaluated
		}
		to = e.arg(1).DataType
	}
	if t := e.arg(0); t != nil && t.DataType == to {
		return one(t.WithName("")), nil
	}
	x, err := e.numbers(0)
	if err != nil {
		return nil, err
	}
	return castTo(to, x)
}

// castTo converts as C does, which is what runtimes do. A float that its integer type
// cannot hold has no answer that they agree on.
func castTo(to DataType, x numbers) ([]*Tensor, error) {
	from := x
	x = numbers{elem: to, dims: from.dims}
	switch {
	case isFloat(to) && isFloat(from.elem):
		x.floats = from.floats
	case isFloat(to):
		if from.elem == Uint64 {
			return nil, errNotEvaluated
		}
		x.floats = make([]float64, len(from.ints))
		for i, v := range from.ints {
			x.floats[i] = float64(v)
		}
	case to == Bool:
		x.ints = make([]int64, from.count())
		for i := range x.ints {
			if from.ints != nil && from.ints[i] != 0 || from.floats != nil && from.floats[i] != 0 {
				x.ints[i] = 1
			}
		}
	case isInteger(to) && isFloat(from.elem):
		x.ints = make([]int64, len(from.floats))
		for i, v := range from.floats {
			n := int64(v)
			if v != v || math.Abs(v) >= 1<<62 || wrap(to, n) != n {
				return nil, errNotEvaluated
			}
			x.ints[i] = n
		}
	case isInteger(to):
		x.ints = from.ints
	default:
		return nil, errNotEvaluated
	}
	return x.result()
}

func evalClip(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	if err != nil || x.elem == Uint64 {
		return nil, errNotEvaluated
	}
	for i, attr := range []string{"min", "max"} {
		bound := numbers{elem: x.elem}
		switch {
		case e.arg(i+1) != nil:
			if bound, err = e.numbers(i + 1); err != nil || bound.elem != x.elem || bound.count() != 1 {
				return nil, errNotEvaluated
			}
		case e.n.Attr(attr) != nil && isFloat(x.elem):
			bound.floats = []float64{float64(e.n.FloatAttr(attr, 0))}
		default:
			continue
		}
		for k := range x.floats {
			if i == 0 {
				x.floats[k] = max(x.floats[k], bound.floats[0])
			} else {
				x.floats[k] = min(x.floats[k], bound.floats[0])
			}
		}
		for k := range x.ints {
			if i == 0 {
				x.ints[k] = max(x.ints[k], bound.ints[0])
			} else {
				x.ints[k] = min(x.ints[k], bound.ints[0])
			}
		}
	}
	return x.result()
}

func evalRange(e *evaluation) ([]*Tensor, error) {
	var v [3]numbers
	for i := range v {
		var err error
		if v[i], err = e.numbers(i); err != nil || v[i].count() != 1 || v[i].elem != v[0].elem {
			return nil, errNotEvaluated
		}
	}
	out := numbers{elem: v[0].elem}
	if isFloat(out.elem) {
		start, limit, step := v[0].floats[0], v[1].floats[0], v[2].floats[0]
		n := math.Ceil((limit - start) / step)
		if !(n < float64(e.room/8)) {
			return nil, errNotEvaluated
		}
		out.floats = make([]float64, int64(max(n, 0)))
		for i := range out.floats {
			out.floats[i] = start + float64(i)*step
		}
	} else {
		n, ok := rangeLength(v[0].ints[0], v[1].ints[0], v[2].ints[0])
		if !ok || n > e.room/8 {
			return nil, errNotEvaluated
		}
		out.ints = make([]int64, n)
		for i := range out.ints {
			out.ints[i] = v[0].ints[0] + int64(i)*v[2].ints[0]
		}
	}
	out.dims = []int64{int64(out.count())}
	return out.result()
}

// rangeLength is how many numbers lie between start and limit; false for a step of
// zero and for what does not fit into an int64.
func rangeLength(start, limit, step int64) (int64, bool) {
	if step == 0 || step == math.MinInt64 {
		return 0, false
	}
	if step < 0 {
		start, limit, step = limit, start, -step
	}
	if limit <= start {
		return 0, true
	}
	width, borrow := bits.Sub64(uint64(limit), uint64(start), 0)
	_ = borrow // the difference of ordered int64s fits
	n := (width-1)/uint64(step) + 1
	return int64(n), n <= math.MaxInt64
}
