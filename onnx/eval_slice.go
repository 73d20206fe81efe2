package onnx

import (
	"math"
	"slices"
)

// Evaluation of operators that cut, repeat and fill.

func evalSlice(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil {
		return nil, err
	}
	starts, ok1, err1 := e.list("starts", 1)
	ends, ok2, err2 := e.list("ends", 2)
	axes, given, err3 := e.list("axes", 3)
	if err1 != nil || err2 != nil || err3 != nil || !ok1 || !ok2 || len(starts) != len(ends) {
		return nil, errNotEvaluated
	}
	var steps []int64
	if t := e.arg(4); t != nil {
		if steps, err = t.Ints(); err != nil || len(steps) != len(starts) {
			return nil, errNotEvaluated
		}
	}
	if given && len(axes) != len(starts) || !given && len(starts) > len(p.dims) {
		return nil, errNotEvaluated
	}
	shape, strides, first := slices.Clone(p.dims), stridesOf(p.dims), int64(0)
	seen := make([]bool, len(shape))
	for i := range starts {
		k, ok := i, true
		if given {
			k, ok = axis(axes[i], len(shape))
		}
		step := int64(1)
		if steps != nil {
			step = steps[i]
		}
		if !ok || seen[k] {
			return nil, errNotEvaluated
		}
		seen[k] = true
		at, length, ok := sliceOf(shape[k], starts[i], ends[i], step)
		if !ok {
			return nil, errNotEvaluated
		}
		if length > 0 {
			first += at * strides[k]
		}
		shape[k] = length
		strides[k] *= step
	}
	if elementsOf(shape) == 0 {
		return p.tensor(shape, []byte{}), nil
	}
	return e.view(p, shape, strides, first)
}

func evalSplit(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil {
		return nil, err
	}
	k, ok := axis(e.n.IntAttr("axis", 0), len(p.dims))
	parts, given, err := e.list("split", 1)
	if err != nil || !ok {
		return nil, errNotEvaluated
	}
	count := int64(len(e.n.outputs))
	if !given {
		if n := e.n.IntAttr("num_outputs", count); n != count {
			return nil, errNotEvaluated
		}
		each := (p.dims[k] + count - 1) / count
		for i := range count {
			parts = append(parts, max(0, min(each, p.dims[k]-each*i)))
		}
	}
	if int64(len(parts)) != count {
		return nil, errNotEvaluated
	}
	var out []*Tensor
	strides, at := stridesOf(p.dims), int64(0)
	for _, size := range parts {
		if size < 0 || size > p.dims[k]-at {
			return nil, errNotEvaluated
		}
		shape := slices.Clone(p.dims)
		shape[k] = size
		t, err := e.view(p, shape, strides, at*strides[k])
		if err != nil {
			return nil, err
		}
		out = append(out, t[0])
		at += size
	}
	if at != p.dims[k] {
		return nil, errNotEvaluated
	}
	return out, nil
}

func evalExpand(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	target, ok, err2 := e.list("", 1)
	if err != nil || err2 != nil || !ok || slices.ContainsFunc(target, func(d int64) bool { return d < 0 }) {
		return nil, errNotEvaluated
	}
	shape, err := broadcastSizes(p.dims, target)
	if err != nil {
		return nil, err
	}
	return e.spread(p, shape)
}

// spread broadcasts p to a larger shape.
func (e *evaluation) spread(p plain, shape []int64) ([]*Tensor, error) {
	out, err := e.alloc(shape, p.width)
	if err != nil || elementsOf(shape) > math.MaxInt32 {
		return nil, errNotEvaluated
	}
	if at := places(p.dims, shape); at != nil {
		p.gather(out, at)
	} else {
		copy(out, p.data)
	}
	return p.tensor(shape, out), nil
}

func evalTile(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	repeats, ok, err2 := e.list("", 1)
	if err != nil || err2 != nil || !ok || len(repeats) != len(p.dims) {
		return nil, errNotEvaluated
	}
	// Each axis becomes two: how often, and the axis itself.
	var shape, strides, final []int64
	from := stridesOf(p.dims)
	for i, r := range repeats {
		size, ok := mul(r, p.dims[i])
		if r < 0 || !ok {
			return nil, errNotEvaluated
		}
		shape, strides = append(shape, r, p.dims[i]), append(strides, 0, from[i])
		final = append(final, size)
	}
	out, err := e.view(p, shape, strides, 0)
	if err != nil {
		return nil, err
	}
	out[0].Dims = final
	return out, nil
}

func evalPad(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	pads, ok, err2 := e.list("pads", 1)
	if err != nil || err2 != nil || !ok || e.arg(3) != nil || len(pads) != 2*len(p.dims) || e.n.StringAttr("mode", "constant") != "constant" {
		return nil, errNotEvaluated
	}
	fill := make([]byte, p.width)
	switch c := e.arg(2); {
	case c != nil:
		v, err := plainOf(c)
		if err != nil || v.elem != p.elem || v.count() != 1 {
			return nil, errNotEvaluated
		}
		fill = v.data
	case e.n.FloatAttr("value", 0) != 0:
		return nil, errNotEvaluated
	}
	rank := len(p.dims)
	shape := slices.Clone(p.dims)
	for i := range shape {
		if pads[i] < 0 || pads[i+rank] < 0 || pads[i] > math.MaxInt32 || pads[i+rank] > math.MaxInt32 {
			return nil, errNotEvaluated
		}
		shape[i] += pads[i] + pads[i+rank]
	}
	out, err := e.alloc(shape, p.width)
	if err != nil || elementsOf(shape) > math.MaxInt32 {
		return nil, errNotEvaluated
	}
	for i := 0; i < len(out); i += p.width {
		copy(out[i:], fill)
	}
	to := stridesOf(shape)
	start := int64(0)
	for i := range shape {
		start += pads[i] * to[i]
	}
	for i, k := range walk(p.dims, to, start) {
		copy(out[int(k)*p.width:], p.data[i*p.width:(i+1)*p.width])
	}
	return p.tensor(shape, out), nil
}

func evalConstantOfShape(e *evaluation) ([]*Tensor, error) {
	shape, ok, err := e.list("", 0)
	if err != nil || !ok || slices.ContainsFunc(shape, func(d int64) bool { return d < 0 }) {
		return nil, errNotEvaluated
	}
	p := plain{elem: Float, data: make([]byte, 4), width: 4}
	if t := e.n.TensorAttr("value"); t != nil {
		if p, err = plainOf(t); err != nil || p.count() != 1 {
			return nil, errNotEvaluated
		}
	}
	out, err := e.alloc(shape, p.width)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(p.data, func(b byte) bool { return b != 0 }) && len(out) > 0 {
		copy(out, p.data)
		for n := p.width; n < len(out); n *= 2 {
			copy(out[n:], out[:n])
		}
	}
	return p.tensor(shape, out), nil
}

func evalTrilu(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil || len(p.dims) < 2 {
		return nil, errNotEvaluated
	}
	diagonal := int64(0)
	if t := e.arg(1); t != nil {
		v, err := t.Ints()
		if err != nil || len(v) != 1 {
			return nil, errNotEvaluated
		}
		diagonal = max(min(v[0], math.MaxInt32), -math.MaxInt32)
	}
	upper := e.n.IntAttr("upper", 1) != 0
	out, err := e.alloc(p.dims, p.width)
	if err != nil {
		return nil, err
	}
	rows, columns := p.dims[len(p.dims)-2], p.dims[len(p.dims)-1]
	for i := range p.count() {
		row, column := i/columns%rows, i%columns
		if keep := column >= row+diagonal; keep && upper || !upper && column <= row+diagonal {
			copy(out[i*int64(p.width):], p.data[i*int64(p.width):(i+1)*int64(p.width)])
		}
	}
	return p.tensor(p.dims, out), nil
}

func evalEyeLike(e *evaluation) ([]*Tensor, error) {
	t := e.arg(0)
	if t == nil || len(t.Dims) != 2 {
		return nil, errNotEvaluated
	}
	elem := DataType(e.n.IntAttr("dtype", int64(t.DataType)))
	if !isFloat(elem) && !isInteger(elem) {
		return nil, errNotEvaluated
	}
	if _, err := e.alloc(t.Dims, elem.Bits()/8); err != nil {
		return nil, err
	}
	k := max(min(e.n.IntAttr("k", 0), math.MaxInt32), -math.MaxInt32)
	values := make([]float64, t.Elements())
	for row := range t.Dims[0] {
		if column := row + k; column >= 0 && column < t.Dims[1] {
			values[row*t.Dims[1]+column] = 1
		}
	}
	return castTo(elem, numbers{elem: Double, dims: t.Dims, floats: values})
}
