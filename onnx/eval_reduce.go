package onnx

import (
	"math"
	"slices"
)

// Evaluation of operators that sum up, and of small products of matrices.

func registerFolds() {
	registerEvaluator(evalReduce, "ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceL1", "ReduceL2",
		"ReduceSumSquare")
	registerEvaluator(evalArg, "ArgMax", "ArgMin")
	registerEvaluator(evalCumSum, "CumSum")
	registerEvaluator(evalMatMul, "MatMul")
	registerEvaluator(evalMean, "Mean")
}

// reducers combine what came before with the next element.
var reducers = map[string]struct {
	start float64
	step  func(a, x float64) float64
}{
	"ReduceSum":       {0, func(a, x float64) float64 { return a + x }},
	"ReduceMean":      {0, func(a, x float64) float64 { return a + x }},
	"ReduceProd":      {1, func(a, x float64) float64 { return a * x }},
	"ReduceMax":       {math.Inf(-1), math.Max},
	"ReduceMin":       {math.Inf(1), math.Min},
	"ReduceL1":        {0, func(a, x float64) float64 { return a + math.Abs(x) }},
	"ReduceL2":        {0, func(a, x float64) float64 { return a + x*x }},
	"ReduceSumSquare": {0, func(a, x float64) float64 { return a + x*x }},
}

var intReducers = map[string]func(a, x int64) int64{
	"ReduceSum":  func(a, x int64) int64 { return a + x },
	"ReduceProd": func(a, x int64) int64 { return a * x },
	"ReduceMax":  func(a, x int64) int64 { return max(a, x) },
	"ReduceMin":  func(a, x int64) int64 { return min(a, x) },
}

func evalReduce(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	if err != nil || x.elem == Bool || x.elem == Uint64 || x.count() == 0 {
		return nil, errNotEvaluated
	}
	axes, _, err := e.list("axes", 1)
	if err != nil {
		return nil, errNotEvaluated
	}
	if len(axes) == 0 && e.n.IntAttr("noop_with_empty_axes", 0) != 0 {
		return nil, errNotEvaluated
	}
	reduced := make([]bool, len(x.dims))
	for _, a := range axes {
		k, ok := axis(a, len(x.dims))
		if !ok {
			return nil, errNotEvaluated
		}
		reduced[k] = true
	}
	shape, strides := []int64{}, make([]int64, len(x.dims))
	kept, size := int64(1), int64(1)
	for i := len(x.dims) - 1; i >= 0; i-- {
		if len(axes) == 0 || reduced[i] {
			size *= x.dims[i]
			if e.n.IntAttr("keepdims", 1) != 0 {
				shape = append(shape, 1)
			}
			continue
		}
		strides[i] = kept
		kept *= x.dims[i]
		shape = append(shape, x.dims[i])
	}
	slices.Reverse(shape)
	to := walk(x.dims, strides, 0)
	if isFloat(x.elem) {
		r := reducers[e.n.OpType]
		out := slices.Repeat([]float64{r.start}, int(kept))
		for i, v := range x.floats {
			out[to[i]] = r.step(out[to[i]], v)
		}
		for i := range out {
			switch e.n.OpType {
			case "ReduceMean":
				out[i] /= float64(size)
			case "ReduceL2":
				out[i] = math.Sqrt(out[i])
			}
		}
		return numbers{elem: x.elem, dims: shape, floats: out}.result()
	}
	step := intReducers[e.n.OpType]
	if step == nil {
		return nil, errNotEvaluated
	}
	out, seen := make([]int64, kept), make([]bool, kept)
	for i, v := range x.ints {
		if k := to[i]; seen[k] {
			out[k] = step(out[k], v)
		} else {
			out[k], seen[k] = v, true
		}
	}
	return numbers{elem: x.elem, dims: shape, ints: out}.result()
}

func evalArg(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	k, ok := axis(e.n.IntAttr("axis", 0), len(x.dims))
	if err != nil || !ok || x.count() == 0 || x.elem == Uint64 || e.n.IntAttr("select_last_index", 0) != 0 {
		return nil, errNotEvaluated
	}
	inner, size := elementsOf(x.dims[k+1:]), x.dims[k]
	sign := 1.0
	if e.n.OpType == "ArgMin" {
		sign = -1
	}
	value := func(i int64) float64 {
		if x.floats != nil {
			return x.floats[i]
		}
		return float64(x.ints[i])
	}
	shape := slices.Clone(x.dims)
	shape[k] = 1
	out := make([]int64, elementsOf(shape))
	for i := range out {
		first := int64(i)/inner*inner*size + int64(i)%inner
		for j := range size {
			if sign*value(first+j*inner) > sign*value(first+out[i]*inner) {
				out[i] = j
			}
		}
	}
	if e.n.IntAttr("keepdims", 1) == 0 {
		shape = slices.Delete(shape, k, k+1)
	}
	return numbers{elem: Int64, dims: shape, ints: out}.result()
}

func evalCumSum(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	at, err2 := e.numbers(1)
	if err != nil || err2 != nil || x.elem == Bool || x.elem == Uint64 || len(at.ints) != 1 || e.n.IntAttr("reverse", 0) != 0 || e.n.IntAttr("exclusive", 0) != 0 {
		return nil, errNotEvaluated
	}
	k, ok := axis(at.ints[0], len(x.dims))
	if !ok {
		return nil, errNotEvaluated
	}
	inner, size := elementsOf(x.dims[k+1:]), x.dims[k]
	for i := range int64(x.count()) {
		if i/inner%size == 0 {
			continue
		}
		if x.floats != nil {
			x.floats[i] += x.floats[i-inner]
		} else {
			x.ints[i] += x.ints[i-inner]
		}
	}
	return x.result()
}

func evalMatMul(e *evaluation) ([]*Tensor, error) {
	a, err := e.numbers(0)
	b, err2 := e.numbers(1)
	if err != nil || err2 != nil || a.elem != b.elem || len(a.dims) != 2 || len(b.dims) != 2 || a.dims[1] != b.dims[0] || a.elem == Bool || a.elem == Uint64 {
		return nil, errNotEvaluated
	}
	rows, inner, columns := a.dims[0], a.dims[1], b.dims[1]
	work, ok := mul(rows, columns)
	if ok {
		work, ok = mul(work, inner)
	}
	if !ok || work > maxWork || rows*columns > e.room/8 {
		return nil, errNotEvaluated
	}
	out := numbers{elem: a.elem, dims: []int64{rows, columns}}
	if isFloat(a.elem) {
		out.floats = product2(a.floats, b.floats, rows, inner, columns)
	} else {
		out.ints = product2(a.ints, b.ints, rows, inner, columns)
	}
	return out.result()
}

func product2[T int64 | float64](a, b []T, rows, inner, columns int64) []T {
	out := make([]T, rows*columns)
	for i := range rows {
		row := out[i*columns : (i+1)*columns]
		for k := range inner {
			x := a[i*inner+k]
			for j, y := range b[k*columns : (k+1)*columns] {
				row[j] += x * y
			}
		}
	}
	return out
}

func evalMean(e *evaluation) ([]*Tensor, error) {
	if len(e.in) != 1 {
		return nil, errNotEvaluated
	}
	return evalIdentity(e)
}
