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
	out.Dims, out.raw = dims, ""
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
	var all [][]byte
	for _, t := range e.in {
		if t == nil || t.DataType != String || len(t.Dims) != 1 || int64(len(t.Strings())) != t.Dims[0] {
			return nil, errNotEvaluated
		}
		all = append(all, t.Strings()...)
	}
	return one(newStrings(all, int64(len(all)))), nil
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
