package onnx

import (
	"math"
	"slices"
)

func registerLayout() {
	register(inferReshape, "Reshape")
	register(inferFlatten, "Flatten")
	register(inferTranspose, "Transpose")
	register(inferSqueeze, "Squeeze")
	register(inferUnsqueeze, "Unsqueeze")
	register(func(c *inferContext) { inferConcat(c, c.n.inputs, c.in(0).elem) }, "Concat")
	register(inferSplit, "Split")
	register(inferSlice, "Slice")
	register(inferGather, "Gather")
	register(inferGatherElements, "GatherElements")
	register(inferGatherND, "GatherND")
	register(inferConstantOfShape, "ConstantOfShape")
	register(inferExpand, "Expand")
	register(inferTile, "Tile")
	register(inferPad, "Pad")
	register(inferBlocks, "DepthToSpace", "SpaceToDepth")
	register(inferRange, "Range")
	register(inferOneHot, "OneHot")
	register(inferNonZero, "NonZero")
	register(inferRandom, "RandomNormal", "RandomUniform")
	register(inferRandomLike, "RandomNormalLike", "RandomUniformLike", "Bernoulli", "EyeLike")
}

func inferReshape(c *inferContext) {
	x, target := c.in(0), c.in(1).data
	if a := c.n.Attr("shape"); a != nil { // before opset 5
		target = FixedDims(a.Ints...)
	}
	if target == nil {
		if dims, ok := c.dimsFrom(1); ok {
			c.tensor(0, x.elem, dims...)
		} else {
			c.elemOnly(0, x.elem)
		}
		return
	}
	dims := make([]Dim, len(target))
	free := -1
	for i, d := range target {
		switch {
		case !known(d):
			dims[i] = size(d)
		case d.Value == -1:
			if free >= 0 {
				return
			}
			free, dims[i] = i, anyDim
		case d.Value == 0 && c.n.IntAttr("allowzero", 0) == 0:
			dims[i] = anyDim
			if x.ranked && i < len(x.dims) {
				dims[i] = x.dims[i]
			}
		default:
			dims[i] = Dim{Value: max(d.Value, -1)}
		}
	}
	if free >= 0 && x.ranked {
		dims[free] = quotient(x.dims, append(slices.Clone(dims[:free]), dims[free+1:]...))
	}
	c.tensor(0, x.elem, dims...)
	c.outs[0].data = x.data // of a vector or scalar, in whichever rank
	if len(dims) > 1 {
		c.outs[0].data = nil
	}
}

// dimsFrom returns the shape that input i holds, or as many unknown axes as it is
// long; false when not even that is known.
func (c *inferContext) dimsFrom(i int) ([]Dim, bool) {
	v := c.in(i)
	if v.data != nil {
		dims := make([]Dim, len(v.data))
		for k, d := range v.data {
			dims[k] = size(d)
		}
		return dims, true
	}
	if v.ranked && len(v.dims) == 1 && v.dims[0].Fixed() && v.dims[0].Value <= maxData {
		return slices.Repeat([]Dim{anyDim}, int(v.dims[0].Value)), true
	}
	return nil, false
}

// quotient divides the sizes of one shape by those of another: names that are in
// both cancel out, what is left must be numbers or one name.
func quotient(dims, by []Dim) Dim {
	dims = slices.Clone(dims)
	divisor := int64(1)
	for _, d := range by {
		if d.Fixed() {
			var ok bool
			if divisor, ok = mul(divisor, d.Value); !ok {
				return anyDim
			}
			continue
		}
		i := slices.IndexFunc(dims, func(e Dim) bool { return sameDim(d, e) })
		if i < 0 {
			return anyDim
		}
		dims = slices.Delete(dims, i, i+1)
	}
	p := product(dims)
	switch {
	case p.Fixed() && divisor > 0 && p.Value%divisor == 0:
		return Dim{Value: p.Value / divisor}
	case !p.Fixed() && divisor == 1:
		return p
	}
	// A name times a number, divided by that number.
	var names []Dim
	factor := int64(1)
	for _, d := range dims {
		if !d.Fixed() {
			names = append(names, d)
		} else if v, ok := mul(factor, d.Value); ok {
			factor = v
		} else {
			return anyDim
		}
	}
	if len(names) == 1 && factor == divisor {
		return names[0]
	}
	return anyDim
}

func inferFlatten(c *inferContext) {
	x := c.in(0)
	if !x.ranked {
		c.tensor(0, x.elem, anyDim, anyDim)
		return
	}
	at := c.n.IntAttr("axis", 1)
	if at < 0 {
		at += int64(len(x.dims))
	}
	if at < 0 || at > int64(len(x.dims)) {
		return
	}
	c.tensor(0, x.elem, product(x.dims[:at]), product(x.dims[at:]))
}

func inferTranspose(c *inferContext) {
	x := c.in(0)
	perm := c.n.IntsAttr("perm")
	if !x.ranked || len(perm) > 0 && len(perm) != len(x.dims) {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Clone(x.dims)
	slices.Reverse(dims)
	for i, p := range perm {
		k, ok := axis(p, len(dims))
		if !ok {
			return
		}
		dims[i] = x.dims[k]
	}
	c.tensor(0, x.elem, dims...)
}

func inferSqueeze(c *inferContext) {
	x := c.in(0)
	axes, ok := c.intsOr("axes", 1)
	if !x.ranked || !ok {
		c.elemOnly(0, x.elem)
		return
	}
	drop := make([]bool, len(x.dims))
	for _, a := range axes {
		k, ok := axis(a, len(x.dims))
		if !ok {
			return
		}
		drop[k] = true
	}
	var dims []Dim
	for i, d := range x.dims {
		if len(axes) == 0 {
			if !d.Fixed() {
				c.elemOnly(0, x.elem) // it goes if it turns out to be 1
				return
			}
			drop[i] = d.Value == 1
		}
		if !drop[i] {
			dims = append(dims, d)
		}
	}
	c.tensor(0, x.elem, dims...)
	c.outs[0].data = x.data
}

func inferUnsqueeze(c *inferContext) {
	x := c.in(0)
	axes, ok := c.intsOr("axes", 1)
	if !x.ranked || !ok || len(axes) > maxData {
		c.elemOnly(0, x.elem)
		return
	}
	dims := make([]Dim, len(x.dims)+len(axes))
	added := make([]bool, len(dims))
	for _, a := range axes {
		k, ok := axis(a, len(dims))
		if !ok || added[k] {
			return
		}
		added[k], dims[k] = true, Dim{Value: 1}
	}
	rest := x.dims
	for i := range dims {
		if !added[i] {
			dims[i], rest = rest[0], rest[1:]
		}
	}
	c.tensor(0, x.elem, dims...)
	if len(dims) == 1 {
		c.outs[0].data = x.data
	}
}

// inferConcat takes the names of the values to join.
func inferConcat(c *inferContext, values []string, elem DataType) {
	var dims []Dim
	data := []Dim{}
	at := -1
	for _, name := range values {
		v := c.values[name]
		if v == nil || !v.ranked {
			c.elemOnly(0, elem)
			return
		}
		switch {
		case data == nil:
		case v.data != nil:
			data = append(data, v.data...)
		case (elem == Int64 || elem == Int32) && len(v.dims) == 1 && v.dims[0].Fixed() && v.dims[0].Value <= maxData:
			// The other elements of the shape are worth knowing.
			data = append(data, slices.Repeat([]Dim{anyNumber}, int(v.dims[0].Value))...)
		default:
			data = nil
		}
		if dims == nil {
			k, ok := axis(c.n.IntAttr("axis", 1), len(v.dims))
			if !ok {
				return
			}
			at, dims = k, slices.Clone(v.dims)
			continue
		}
		if len(v.dims) != len(dims) {
			return
		}
		for i, d := range v.dims {
			switch {
			case i == at && dims[i].Fixed() && d.Fixed():
				dims[i].Value += d.Value
			case i == at:
				dims[i] = anyDim
			case !dims[i].Fixed() && d.Fixed():
				dims[i] = d
			}
		}
	}
	c.tensor(0, elem, dims...)
	if len(dims) == 1 && len(data) <= maxData {
		c.outs[0].data = data
	}
}

func inferSplit(c *inferContext) {
	x := c.in(0)
	k, ok := axis(c.n.IntAttr("axis", 0), len(x.dims))
	parts, known := c.intsOr("split", 1)
	if !x.ranked || !ok {
		for i := range c.outs {
			c.elemOnly(i, x.elem)
		}
		return
	}
	count := int64(len(c.outs))
	if n := c.n.IntAttr("num_outputs", 0); n > 0 {
		count = n
	}
	for i := range c.outs {
		dims := slices.Clone(x.dims)
		d := anyDim
		switch {
		case known && len(parts) == len(c.outs):
			d = Dim{Value: max(parts[i], -1)}
		case known && len(parts) == 0 && dims[k].Fixed():
			// Equal parts, of which the last may be smaller.
			each := (dims[k].Value + count - 1) / count
			d = Dim{Value: max(0, min(each, dims[k].Value-each*int64(i)))}
		}
		dims[k] = d
		c.tensor(i, x.elem, dims...)
	}
}

func inferConstantOfShape(c *inferContext) {
	elem := Float
	t := c.n.TensorAttr("value")
	if t != nil {
		elem = t.DataType
	}
	dims, ok := c.dimsFrom(0)
	if !ok {
		c.elemOnly(0, elem)
		return
	}
	c.tensor(0, elem, dims...)
	if n := product(dims); t != nil && elem == Int64 && len(dims) <= 1 && n.Fixed() && n.Value <= maxData {
		if v, err := t.Ints(); err == nil && len(v) == 1 {
			c.outs[0].data = slices.Repeat(FixedDims(v[0]), int(n.Value))
		}
	}
}

func inferExpand(c *inferContext) {
	x := c.in(0)
	dims, ok := c.dimsFrom(1)
	if !x.ranked || !ok {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, broadcast(x.dims, dims)...)
	if out := c.outs[0]; len(x.data) == 1 && len(out.dims) == 1 && out.dims[0].Fixed() && out.dims[0].Value <= maxData {
		out.data = slices.Repeat(x.data, int(out.dims[0].Value))
	}
}

func inferTile(c *inferContext) {
	x := c.in(0)
	repeats := c.in(1).data
	if !x.ranked {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Repeat([]Dim{anyDim}, len(x.dims))
	if len(repeats) == len(dims) {
		for i := range dims {
			dims[i] = product([]Dim{x.dims[i], size(repeats[i])})
		}
	}
	c.tensor(0, x.elem, dims...)
}

func inferPad(c *inferContext) {
	x := c.in(0)
	pads, ok := c.intsOr("pads", 1)
	if a := c.n.IntsAttr("paddings"); a != nil { // opset 1
		pads = a
	}
	axes, okAxes := c.ints(3)
	if !x.ranked {
		c.elemOnly(0, x.elem)
		return
	}
	if !c.has(3) {
		okAxes, axes = true, make([]int64, len(x.dims))
		for i := range axes {
			axes[i] = int64(i)
		}
	}
	dims := slices.Clone(x.dims)
	if !ok || !okAxes || len(pads) != 2*len(axes) {
		c.tensor(0, x.elem, slices.Repeat([]Dim{anyDim}, len(dims))...)
		return
	}
	for i, a := range axes {
		k, ok := axis(a, len(dims))
		if !ok {
			return
		}
		if extra := pads[i] + pads[i+len(axes)]; dims[k].Fixed() {
			dims[k] = Dim{Value: max(dims[k].Value+extra, -1)}
		} else if extra != 0 {
			dims[k] = anyDim
		}
	}
	c.tensor(0, x.elem, dims...)
}

func inferBlocks(c *inferContext) {
	x, b := c.in(0), c.n.IntAttr("blocksize", 0)
	if !x.ranked || len(x.dims) != 4 || b <= 0 || b > math.MaxInt16 {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Clone(x.dims)
	for i, d := range dims[1:] {
		if !d.Fixed() {
			dims[i+1] = anyDim
			continue
		}
		var ok bool
		switch grow := c.n.OpType == "SpaceToDepth"; {
		case grow && i == 0:
			d.Value, ok = mul(d.Value, b*b)
		case grow:
			d.Value, ok = d.Value/b, true
		case i == 0:
			d.Value, ok = d.Value/(b*b), true
		default:
			d.Value, ok = mul(d.Value, b)
		}
		if dims[i+1] = d; !ok {
			dims[i+1] = anyDim
		}
	}
	c.tensor(0, x.elem, dims...)
}

func inferRange(c *inferContext) {
	start, ok1 := c.ints(0)
	limit, ok2 := c.ints(1)
	step, ok3 := c.ints(2)
	elem := c.in(0).elem
	d := anyDim
	if ok1 && ok2 && ok3 && len(start) == 1 && len(limit) == 1 && len(step) == 1 && step[0] != 0 {
		n := (limit[0] - start[0]) / step[0]
		if (limit[0]-start[0])%step[0] != 0 && (limit[0] > start[0]) == (step[0] > 0) {
			n++
		}
		d = Dim{Value: max(n, 0)}
	}
	c.tensor(0, elem, d)
	if d.Fixed() && d.Value <= maxData && elem == Int64 {
		data := make([]Dim, d.Value)
		for i := range data {
			data[i] = Dim{Value: start[0] + int64(i)*step[0]}
		}
		c.outs[0].data = data
	}
}

func inferRandom(c *inferContext) {
	c.tensor(0, DataType(c.n.IntAttr("dtype", int64(Float))), FixedDims(c.n.IntsAttr("shape")...)...)
}

func inferRandomLike(c *inferContext) {
	c.out(0, c.in(0).of(DataType(c.n.IntAttr("dtype", int64(c.in(0).elem)))))
}
