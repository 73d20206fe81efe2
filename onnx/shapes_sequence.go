package onnx

import "slices"

// Sequences and optional values: a valueType whose item is set is one of them, and
// item is what is known of what is in it.

func registerSequence() {
	register(inferSequenceConstruct, "SequenceConstruct")
	register(func(c *inferContext) {
		c.out(0, &valueType{item: &valueType{elem: DataType(c.n.IntAttr("dtype", int64(Float)))}})
	}, "SequenceEmpty")
	register(inferSequenceInsert, "SequenceInsert")
	register(func(c *inferContext) { c.out(0, c.in(0)) }, "SequenceErase")
	register(inferItem, "SequenceAt", "OptionalGetElement")
	register(inferConcatFromSequence, "ConcatFromSequence")
	register(inferSplitToSequence, "SplitToSequence")
	register(inferSequenceMap, "SequenceMap")
	register(inferOptional, "Optional")
	register(func(c *inferContext) { c.tensor(0, Bool) }, "OptionalHasElement")
}

// containerType reads a sequence or optional type, whose message this package keeps as
// bytes: field 1 of both is the type of what is in it.
func containerType(t *Type, depth int) *valueType {
	if t == nil || depth > 4 {
		return unknownType
	}
	switch t.Kind {
	case KindTensor:
		return &valueType{elem: t.Elem, ranked: t.HasShape, dims: t.Shape}
	case KindSequence, KindOptional:
		other := rareOf(t.rare).other
		r := reader{b: other, session: newSession(len(other))}
		for r.next() {
			if r.key == 1<<3|wireBytes {
				inner, err := r.typeProto()
				if err != nil {
					break
				}
				return &valueType{item: containerType(inner, depth+1)}
			}
		}
		return &valueType{item: unknownType}
	}
	return unknownType
}

func inferSequenceConstruct(c *inferContext) {
	item := c.in(0)
	for i := 1; i < len(c.n.inputs); i++ {
		item = common(item, c.in(i))
	}
	c.out(0, &valueType{item: item.of(item.elem)})
}

func inferSequenceInsert(c *inferContext) {
	seq, x := c.in(0), c.in(1)
	if seq.item == nil {
		return
	}
	c.out(0, &valueType{item: common(seq.item, x)})
}

// inferItem takes one value out. An optional's operators take a bare value too.
func inferItem(c *inferContext) {
	x := c.in(0)
	if x.item != nil {
		c.out(0, x.item)
	} else if c.n.OpType == "OptionalGetElement" {
		c.out(0, x.of(x.elem))
	}
}

func inferConcatFromSequence(c *inferContext) {
	item := c.in(0).item
	if item == nil {
		return
	}
	if !item.ranked {
		c.elemOnly(0, item.elem)
		return
	}
	if c.n.IntAttr("new_axis", 0) != 0 {
		if k, ok := axis(c.n.IntAttr("axis", 0), len(item.dims)+1); ok {
			c.tensor(0, item.elem, slices.Insert(slices.Clone(item.dims), k, anyDim)...)
		}
		return
	}
	if k, ok := axis(c.n.IntAttr("axis", 0), len(item.dims)); ok {
		dims := slices.Clone(item.dims)
		dims[k] = anyDim
		c.tensor(0, item.elem, dims...)
	}
}

func inferSplitToSequence(c *inferContext) {
	x := c.in(0)
	item := &valueType{elem: x.elem}
	k, ok := axis(c.n.IntAttr("axis", 0), len(x.dims))
	if x.ranked && ok {
		dims := slices.Clone(x.dims)
		size := anyDim
		if !c.has(1) {
			size = Dim{Value: 1}
			if c.n.IntAttr("keepdims", 1) == 0 {
				item.ranked, item.dims = true, slices.Delete(dims, k, k+1)
				c.out(0, &valueType{item: item})
				return
			}
		} else if parts, known := c.ints(1); known && len(parts) > 0 {
			size = Dim{Value: parts[0]}
			scalar := c.in(1).ranked && len(c.in(1).dims) == 0
			if scalar && (!dims[k].Fixed() || parts[0] <= 0 || dims[k].Value%parts[0] != 0) ||
				slices.ContainsFunc(parts, func(p int64) bool { return p != parts[0] || p < 0 }) {
				size = anyDim
			}
		}
		dims[k] = size
		item.ranked, item.dims = true, dims
	}
	c.out(0, &valueType{item: item})
}

func inferSequenceMap(c *inferContext) {
	a := c.n.Attr("body")
	if a == nil || a.Graph() == nil {
		return
	}
	var inputs []*valueType
	for i := range c.n.inputs {
		t := c.in(i)
		if t.item != nil {
			t = t.item
		}
		inputs = append(inputs, t)
	}
	if c.err = c.graph(a.Graph(), inputs); c.err != nil {
		return
	}
	for i, t := range c.outputsOf(a.Graph()) {
		c.out(i, &valueType{item: t.of(t.elem)})
	}
}

func inferOptional(c *inferContext) {
	if c.has(0) {
		c.out(0, &valueType{item: c.in(0)})
		return
	}
	c.out(0, &valueType{item: unknownType})
}
