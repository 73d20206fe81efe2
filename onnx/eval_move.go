package onnx

import (
	"math"
	"slices"
)

// Evaluation of operators that move elements and do not look at them.

func registerMoves() {
	registerEvaluator(evalIdentity, "Identity")
	registerEvaluator(evalReshape, "Reshape", "Squeeze", "Unsqueeze", "Flatten")
	registerEvaluator(evalTranspose, "Transpose")
	registerEvaluator(evalConcat, "Concat")
	registerEvaluator(evalSlice, "Slice")
	registerEvaluator(evalSplit, "Split")
	registerEvaluator(evalExpand, "Expand")
	registerEvaluator(evalTile, "Tile")
	registerEvaluator(evalPad, "Pad")
	registerEvaluator(evalShape, "Shape", "Size")
	registerEvaluator(evalConstantOfShape, "ConstantOfShape")
	registerEvaluator(evalTrilu, "Trilu")
	registerEvaluator(evalEyeLike, "EyeLike")
}

func evalIdentity(e *evaluation) ([]*Tensor, error) {
	if e.arg(0) == nil {
		return nil, errNotEvaluated
	}
	return one(e.arg(0).WithName("")), nil
}

// evalReshape gives the elements another shape: it copies nothing.
func evalReshape(e *evaluation) ([]*Tensor, error) {
	t := e.arg(0)
	if t == nil {
		return nil, errNotEvaluated
	}
	var dims []int64
	var err error
	switch e.n.OpType {
	case "Reshape":
		dims, err = e.reshaped(t.Dims)
	case "Squeeze":
		dims, err = e.squeezed(t.Dims)
	case "Unsqueeze":
		dims, err = e.unsqueezed(t.Dims)
	default:
		at := e.n.IntAttr("axis", 1)
		if at < 0 {
			at += int64(len(t.Dims))
		}
		if at < 0 || at > int64(len(t.Dims)) {
			return nil, errNotEvaluated
		}
		dims = []int64{elementsOf(t.Dims[:at]), elementsOf(t.Dims[at:])}
	}
	if err != nil || elementsOf(dims) != t.Elements() {
		return nil, errNotEvaluated
	}
	out := t.WithName("")
	out.Dims, out.raw = dims, nil
	return one(out), nil
}

// elementsOf is for shapes of tensors that exist.
func elementsOf(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

func (e *evaluation) reshaped(from []int64) ([]int64, error) {
	target, ok, err := e.list("shape", 1)
	if err != nil || !ok {
		return nil, errNotEvaluated
	}
	dims := slices.Clone(target)
	free, rest := -1, int64(1)
	for i, d := range dims {
		switch {
		case d == -1:
			if free >= 0 {
				return nil, errNotEvaluated
			}
			free = i
			continue
		case d == 0 && e.n.IntAttr("allowzero", 0) == 0:
			if i >= len(from) {
				return nil, errNotEvaluated
			}
			dims[i] = from[i]
		case d < 0:
			return nil, errNotEvaluated
		}
		if rest, ok = mul(rest, dims[i]); !ok {
			return nil, errNotEvaluated
		}
	}
	if free >= 0 {
		if rest == 0 || elementsOf(from)%rest != 0 {
			return nil, errNotEvaluated
		}
		dims[free] = elementsOf(from) / rest
	}
	return dims, nil
}

func (e *evaluation) squeezed(from []int64) ([]int64, error) {
	axes, given, err := e.list("axes", 1)
	if err != nil {
		return nil, errNotEvaluated
	}
	drop := make([]bool, len(from))
	for _, a := range axes {
		k, ok := axis(a, len(from))
		if !ok {
			return nil, errNotEvaluated
		}
		drop[k] = true
	}
	dims := []int64{}
	for i, d := range from {
		if drop[i] || !given && d == 1 {
			continue
		}
		dims = append(dims, d)
	}
	return dims, nil
}

func (e *evaluation) unsqueezed(from []int64) ([]int64, error) {
	axes, given, err := e.list("axes", 1)
	if err != nil || !given || len(axes) > maxData {
		return nil, errNotEvaluated
	}
	dims := make([]int64, len(from)+len(axes))
	for _, a := range axes {
		k, ok := axis(a, len(dims))
		if !ok || dims[k] != 0 {
			return nil, errNotEvaluated
		}
		dims[k] = -1 // marks it: a size may be 0
	}
	for i := range dims {
		if dims[i] == -1 {
			dims[i] = 1
		} else {
			dims[i], from = from[0], from[1:]
		}
	}
	return dims, nil
}

// gather copies the elements at the given places.
func (p plain) gather(to []byte, from []int32) {
	switch p.width {
	case 1:
		for i, k := range from {
			to[i] = p.data[k]
		}
	case 4:
		for i, k := range from {
			copy(to[4*i:4*i+4], p.data[4*int(k):])
		}
	case 8:
		for i, k := range from {
			copy(to[8*i:8*i+8], p.data[8*int(k):])
		}
	default:
		w := p.width
		for i, k := range from {
			copy(to[w*i:w*i+w], p.data[w*int(k):])
		}
	}
}

// view lists elements by strides and makes a tensor of them.
func (e *evaluation) view(p plain, shape, strides []int64, start int64) ([]*Tensor, error) {
	out, err := e.alloc(shape, p.width)
	if err != nil || p.count() > math.MaxInt32 || elementsOf(shape) > math.MaxInt32 {
		return nil, errNotEvaluated
	}
	p.gather(out, walk(shape, strides, start))
	return p.tensor(shape, out), nil
}

func evalTranspose(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil {
		return nil, err
	}
	perm := e.n.IntsAttr("perm")
	if len(perm) == 0 {
		for i := range p.dims {
			perm = append(perm, int64(len(p.dims)-1-i))
		}
	}
	if len(perm) != len(p.dims) {
		return nil, errNotEvaluated
	}
	from := stridesOf(p.dims)
	shape, strides := make([]int64, len(perm)), make([]int64, len(perm))
	seen := make([]bool, len(perm))
	for i, a := range perm {
		k, ok := axis(a, len(perm))
		if !ok || seen[k] {
			return nil, errNotEvaluated
		}
		seen[k] = true
		shape[i], strides[i] = p.dims[k], from[k]
	}
	return e.view(p, shape, strides, 0)
}

func evalConcat(e *evaluation) ([]*Tensor, error) {
	if len(e.in) > 0 && e.arg(0) != nil && e.arg(0).DataType == String {
		return evalConcatStrings(e)
	}
	var parts []plain
	for i := range e.in {
		p, err := e.plain(i)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, errNotEvaluated
	}
	first := parts[0]
	k, ok := axis(e.n.IntAttr("axis", 1), len(first.dims))
	if !ok {
		return nil, errNotEvaluated
	}
	shape := slices.Clone(first.dims)
	for _, p := range parts[1:] {
		if p.elem != first.elem || len(p.dims) != len(shape) || !slices.Equal(p.dims[:k], shape[:k]) || !slices.Equal(p.dims[k+1:], shape[k+1:]) {
			return nil, errNotEvaluated
		}
		shape[k] += p.dims[k]
	}
	out, err := e.alloc(shape, first.width)
	if err != nil {
		return nil, err
	}
	to := out
	for outer := range elementsOf(shape[:k]) {
		for _, p := range parts {
			block := elementsOf(p.dims[k:]) * int64(p.width)
			copy(to, p.data[outer*block:(outer+1)*block])
			to = to[block:]
		}
	}
	return first.tensor(shape, out), nil
}

func evalConcatStrings(e *evaluation) ([]*Tensor, error) {
	out := &Tensor{DataType: String, Dims: []int64{0}}
	for _, t := range e.in {
		if t == nil || t.DataType != String || len(t.Dims) != 1 || int64(len(t.Strings)) != t.Dims[0] {
			return nil, errNotEvaluated
		}
		out.Strings = append(out.Strings, t.Strings...)
		out.Dims[0] += t.Dims[0]
	}
	return one(out), nil
}

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

func evalShape(e *evaluation) ([]*Tensor, error) {
	t := e.arg(0)
	if t == nil {
		return nil, errNotEvaluated
	}
	if e.n.OpType == "Size" {
		return one(NewInt64s("", []int64{t.Elements()})), nil
	}
	start, end := shapeRange(e.n, len(t.Dims))
	dims := slices.Clone(t.Dims[start:end])
	return one(NewInt64s("", dims, int64(len(dims)))), nil
}

// shapeRange resolves the attributes start and end of Shape.
func shapeRange(n *Node, rank int) (start, end int) {
	clamp := func(v int64) int {
		if v < 0 {
			v += int64(rank)
		}
		return int(min(max(v, 0), int64(rank)))
	}
	start = clamp(n.IntAttr("start", 0))
	return start, max(clamp(n.IntAttr("end", int64(rank))), start)
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
