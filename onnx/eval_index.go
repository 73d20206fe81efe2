package onnx

import (
	"math"
	"slices"
)

// Evaluation of operators that pick or place elements by their index.

func registerIndexing() {
	registerEvaluator(evalGather, "Gather")
	registerEvaluator(evalGatherElements, "GatherElements")
	registerEvaluator(evalGatherND, "GatherND")
	registerEvaluator(evalScatterND, "ScatterND")
	registerEvaluator(evalScatterElements, "ScatterElements")
	registerEvaluator(evalWhere, "Where")
	registerEvaluator(evalNonZero, "NonZero")
	registerEvaluator(evalOneHot, "OneHot")
	registerEvaluator(evalCompress, "Compress")
}

func evalGather(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil || e.arg(1) == nil {
		return nil, errNotEvaluated
	}
	index, err := e.arg(1).Ints()
	k, ok := axis(e.n.IntAttr("axis", 0), len(p.dims))
	if err != nil || !ok {
		return nil, errNotEvaluated
	}
	shape := slices.Concat(p.dims[:k], e.arg(1).Dims, p.dims[k+1:])
	out, err := e.alloc(shape, p.width)
	if err != nil {
		return nil, err
	}
	block := elementsOf(p.dims[k+1:]) * int64(p.width)
	to := out
	for outer := range elementsOf(p.dims[:k]) {
		for _, i := range index {
			if i < 0 {
				i += p.dims[k]
			}
			if i < 0 || i >= p.dims[k] {
				return nil, errNotEvaluated
			}
			from := (outer*p.dims[k] + i) * block
			to = to[copy(to, p.data[from:from+block]):]
		}
	}
	return p.tensor(shape, out), nil
}

func evalGatherElements(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil || e.arg(1) == nil {
		return nil, errNotEvaluated
	}
	index, err := e.arg(1).Ints()
	k, ok := axis(e.n.IntAttr("axis", 0), len(p.dims))
	shape := e.arg(1).Dims
	if err != nil || !ok || len(shape) != len(p.dims) || p.count() > math.MaxInt32 {
		return nil, errNotEvaluated
	}
	for i, d := range shape {
		if i != k && d > p.dims[i] {
			return nil, errNotEvaluated
		}
	}
	out, err := e.alloc(shape, p.width)
	if err != nil {
		return nil, err
	}
	strides := stridesOf(p.dims)
	step := strides[k]
	strides[k] = 0
	from := walk(shape, strides, 0)
	for i := range from {
		j, ok := axis(index[i], int(p.dims[k]))
		if !ok {
			return nil, errNotEvaluated
		}
		from[i] += int32(int64(j) * step)
	}
	p.gather(out, from)
	return p.tensor(shape, out), nil
}

// blocksND resolves a tensor of index tuples: which blocks of x they name, as
// offsets in elements, and how long each block is.
func blocksND(x plain, t *Tensor, batch int) (at []int64, block int64, err error) {
	index, err := t.Ints()
	if err != nil || len(t.Dims) == 0 {
		return nil, 0, errNotEvaluated
	}
	depth := t.Dims[len(t.Dims)-1]
	if depth < 1 || depth > int64(len(x.dims)-batch) {
		return nil, 0, errNotEvaluated
	}
	strides := stridesOf(x.dims)
	block = elementsOf(x.dims[batch+int(depth):])
	tuples := int64(len(index)) / depth
	perBatch := tuples
	if batch > 0 {
		if b := elementsOf(x.dims[:batch]); b > 0 {
			perBatch = tuples / b
		}
	}
	for i := range tuples {
		offset := int64(0)
		if batch > 0 && perBatch > 0 {
			offset = i / perBatch * strides[batch-1]
		}
		for d := range depth {
			k, ok := axis(index[i*depth+d], int(x.dims[batch+int(d)]))
			if !ok {
				return nil, 0, errNotEvaluated
			}
			offset += int64(k) * strides[batch+int(d)]
		}
		if offset+block > x.count() {
			return nil, 0, errNotEvaluated
		}
		at = append(at, offset)
	}
	return at, block, nil
}

func evalGatherND(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	t := e.arg(1)
	batch := e.n.IntAttr("batch_dims", 0)
	if err != nil || t == nil || len(t.Dims) == 0 || batch < 0 || batch >= int64(min(len(p.dims), len(t.Dims))) ||
		!slices.Equal(p.dims[:batch], t.Dims[:batch]) {
		return nil, errNotEvaluated
	}
	at, block, err := blocksND(p, t, int(batch))
	if err != nil {
		return nil, err
	}
	depth := t.Dims[len(t.Dims)-1]
	shape := slices.Concat(t.Dims[:len(t.Dims)-1], p.dims[batch+depth:])
	out, err := e.alloc(shape, p.width)
	if err != nil {
		return nil, err
	}
	to, w := out, int64(p.width)
	for _, offset := range at {
		to = to[copy(to, p.data[offset*w:(offset+block)*w]):]
	}
	return p.tensor(shape, out), nil
}

func evalScatterND(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	u, err2 := e.plain(2)
	if err != nil || err2 != nil || e.arg(1) == nil || u.elem != p.elem || e.n.StringAttr("reduction", "none") != "none" || int64(len(p.data)) > e.room {
		return nil, errNotEvaluated
	}
	at, block, err := blocksND(p, e.arg(1), 0)
	if err != nil || int64(len(at))*block != u.count() {
		return nil, errNotEvaluated
	}
	out := slices.Clone(p.data)
	w := int64(p.width)
	for i, offset := range at {
		copy(out[offset*w:], u.data[int64(i)*block*w:int64(i+1)*block*w])
	}
	return p.tensor(p.dims, out), nil
}

func evalScatterElements(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	u, err2 := e.plain(2)
	t := e.arg(1)
	if err != nil || err2 != nil || t == nil || u.elem != p.elem || !slices.Equal(t.Dims, u.dims) || len(t.Dims) != len(p.dims) ||
		e.n.StringAttr("reduction", "none") != "none" || int64(len(p.data)) > e.room || p.count() > math.MaxInt32 {
		return nil, errNotEvaluated
	}
	k, ok := axis(e.n.IntAttr("axis", 0), len(p.dims))
	index, err := t.Ints()
	if err != nil || !ok {
		return nil, errNotEvaluated
	}
	for i, d := range t.Dims {
		if i != k && d > p.dims[i] {
			return nil, errNotEvaluated
		}
	}
	strides := stridesOf(p.dims)
	step := strides[k]
	strides[k] = 0
	out, w := slices.Clone(p.data), p.width
	for i, offset := range walk(t.Dims, strides, 0) {
		j, ok := axis(index[i], int(p.dims[k]))
		if !ok {
			return nil, errNotEvaluated
		}
		copy(out[(int(offset)+j*int(step))*w:], u.data[i*w:(i+1)*w])
	}
	return p.tensor(p.dims, out), nil
}

func evalWhere(e *evaluation) ([]*Tensor, error) {
	c, err := e.plain(0)
	x, err2 := e.plain(1)
	y, err3 := e.plain(2)
	if err != nil || err2 != nil || err3 != nil || c.elem != Bool || x.elem != y.elem {
		return nil, errNotEvaluated
	}
	shape, err := broadcastSizes(c.dims, x.dims, y.dims)
	if err != nil {
		return nil, err
	}
	out, err := e.alloc(shape, x.width)
	if err != nil || elementsOf(shape) > math.MaxInt32 {
		return nil, errNotEvaluated
	}
	at := [3][]int32{places(c.dims, shape), places(x.dims, shape), places(y.dims, shape)}
	w := x.width
	for i := range int(elementsOf(shape)) {
		from, k := x, 1
		if c.data[placeOf(at[0], i)] == 0 {
			from, k = y, 2
		}
		j := placeOf(at[k], i)
		copy(out[i*w:], from.data[j*w:(j+1)*w])
	}
	return x.tensor(shape, out), nil
}

func placeOf(at []int32, i int) int {
	if at == nil {
		return i
	}
	return int(at[i])
}

func evalNonZero(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	if err != nil || isFloat(p.elem) && p.elem != Float && p.elem != Double {
		return nil, errNotEvaluated
	}
	x, err := e.numbers(0)
	if err != nil {
		return nil, err
	}
	var found []int64
	for i := range int64(x.count()) {
		if x.ints != nil && x.ints[i] != 0 || x.floats != nil && x.floats[i] != 0 {
			found = append(found, i)
		}
	}
	rank, count := int64(len(x.dims)), int64(len(found))
	if rank == 0 {
		return nil, errNotEvaluated // versions of runtimes do not agree on it
	}
	shape := []int64{rank, count}
	if _, err := e.alloc(shape, 8); err != nil {
		return nil, err
	}
	out := make([]int64, rank*count)
	for k, step := range stridesOf(x.dims) {
		for j, i := range found {
			out[int64(k)*count+int64(j)] = i / step % x.dims[k]
		}
	}
	return numbers{elem: Int64, dims: shape, ints: out}.result()
}

func evalOneHot(e *evaluation) ([]*Tensor, error) {
	x, err := e.numbers(0)
	depth, err2 := e.numbers(1)
	values, err3 := e.plain(2)
	if err != nil || err2 != nil || err3 != nil || x.floats != nil || len(depth.ints) != 1 || values.count() != 2 {
		return nil, errNotEvaluated
	}
	k, ok := axis(e.n.IntAttr("axis", -1), len(x.dims)+1)
	if !ok || depth.ints[0] < 0 {
		return nil, errNotEvaluated
	}
	shape := slices.Insert(slices.Clone(x.dims), k, depth.ints[0])
	out, err := e.alloc(shape, values.width)
	if err != nil {
		return nil, err
	}
	w := values.width
	for i := 0; i < len(out); i += w {
		copy(out[i:], values.data[:w])
	}
	inner := elementsOf(x.dims[k:])
	for i, v := range x.ints {
		j, ok := axis(v, int(depth.ints[0]))
		if !ok {
			continue // out of range: it stays off
		}
		at := (int64(i)/inner*depth.ints[0]+int64(j))*inner + int64(i)%inner
		copy(out[int(at)*w:], values.data[w:])
	}
	return values.tensor(shape, out), nil
}

func evalCompress(e *evaluation) ([]*Tensor, error) {
	p, err := e.plain(0)
	c, err2 := e.numbers(1)
	if err != nil || err2 != nil || c.elem != Bool || len(c.dims) != 1 {
		return nil, errNotEvaluated
	}
	dims, k := p.dims, 0
	if e.n.Attr("axis") == nil {
		dims = []int64{p.count()}
	} else {
		var ok bool
		if k, ok = axis(e.n.IntAttr("axis", 0), len(dims)); !ok {
			return nil, errNotEvaluated
		}
	}
	var chosen []int64
	for i, v := range c.ints {
		if v != 0 && int64(i) < dims[k] {
			chosen = append(chosen, int64(i))
		}
	}
	shape := slices.Clone(dims)
	shape[k] = int64(len(chosen))
	block := elementsOf(dims[k+1:]) * int64(p.width)
	var out []byte
	for outer := range elementsOf(dims[:k]) {
		for _, i := range chosen {
			from := (outer*dims[k] + i) * block
			out = append(out, p.data[from:from+block]...)
		}
	}
	return p.tensor(shape, out), nil
}
