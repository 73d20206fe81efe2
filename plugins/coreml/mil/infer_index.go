package mil

import "slices"

// indexOps look elements up by index, or tell indexes.
func indexOps() map[string]func(*call) []Type {
	m := map[string]func(*call) []Type{
		"gather": gather, "gather_along_axis": gatherAlong, "gather_nd": gatherND,
		"topk": topk,
		"argsort": func(c *call) []Type {
			c.axis("axis", len(c.t("x").Shape))
			return one(of(Int32, c.t("x").Shape...))
		},
		"non_zero": func(c *call) []Type { return one(of(Int32, -1, int64(len(c.t("x").Shape)))) },
		"one_hot": func(c *call) []Type {
			t := c.t("indices")
			n := int64(-1)
			if v, ok := c.known("one_hot_vector_size"); ok && len(v) == 1 {
				n = v[0]
			}
			c.scalars("one_hot_vector_size", "on_value", "off_value")
			at := c.axis("axis", len(t.Shape)+1)
			return one(of(c.t("on_value").DataType, slices.Insert(slices.Clone(t.Shape), at, n)...))
		},
		"non_maximum_suppression": func(c *call) []Type {
			b, s := c.t("boxes"), c.t("scores")
			if !c.rank("boxes", 3, 3) || !c.rank("scores", 3, 3) {
				return one(b)
			}
			c.scalars("iou_threshold", "score_threshold", "per_class_suppression")
			n, k := s.Shape[0], c.int("max_boxes")
			if c.spec >= 8 { // boxes lie along the last axis, and nothing tells how many were chosen
				c.shape("boxes", n, 4, s.Shape[2])
				return []Type{of(b.DataType, n, 4, k), of(s.DataType, n, s.Shape[1], k), of(Int32, n, k)}
			}
			c.shape("boxes", n, s.Shape[1], 4)
			return []Type{of(b.DataType, n, k, 4), of(s.DataType, n, k, s.Shape[2]), of(Int32, n, k), of(Int32, n)}
		},
	}
	update := func(mode func(*call)) func(*call) []Type {
		return func(c *call) []Type {
			c.text("mode", "add", "div", "max", "min", "mul", "sub", "update")
			mode(c)
			return one(c.t("data"))
		}
	}
	m["scatter"] = update(func(c *call) {
		x, i := c.t("data").Shape, c.t("indices").Shape
		at := c.axis("axis", len(x))
		if c.err == nil {
			c.shape("updates", slices.Concat(x[:at], i, x[at+1:])...)
		}
	})
	m["scatter_along_axis"] = update(func(c *call) {
		x := c.t("data").Shape
		c.axis("axis", len(x))
		c.rank("indices", len(x), len(x))
		c.shape("updates", c.t("indices").Shape...)
	})
	m["scatter_nd"] = update(func(c *call) {
		x, i := c.t("data").Shape, c.t("indices").Shape
		if len(i) == 0 || i[len(i)-1] < 0 || int(i[len(i)-1]) > len(x) {
			c.failf("indices of %v do not index %v", i, x)
			return
		}
		c.shape("updates", slices.Concat(i[:len(i)-1], x[i[len(i)-1]:])...)
	})
	return m
}

// batchDims are how many leading axes an operation repeats over.
func (c *call) batchDims() int {
	if !c.has("batch_dims") {
		return 0
	}
	b := c.int("batch_dims")
	if b < 0 || int(b) > min(len(c.t("x").Shape), len(c.t("indices").Shape)) {
		c.failf("batch_dims is %d", b)
		return 0
	}
	return int(b)
}

func gather(c *call) []Type {
	x, i := c.t("x"), c.t("indices")
	at, b := c.axis("axis", len(x.Shape)), c.batchDims()
	if c.err == nil && b > at {
		c.failf("batch_dims is beyond the axis")
	}
	if c.err != nil {
		return one(x)
	}
	return one(of(x.DataType, slices.Concat(x.Shape[:at], i.Shape[b:], x.Shape[at+1:])...))
}

func gatherAlong(c *call) []Type {
	x, i := c.t("x"), c.t("indices")
	at := c.axis("axis", len(x.Shape))
	if len(i.Shape) != len(x.Shape) {
		c.failf("indices have %d axes, and x %d", len(i.Shape), len(x.Shape))
		return one(x)
	}
	for k := range x.Shape {
		if k != at {
			c.agree("lengths of x and indices", x.Shape[k], i.Shape[k])
		}
	}
	return one(of(x.DataType, i.Shape...))
}

func gatherND(c *call) []Type {
	x, i, b := c.t("x"), c.t("indices").Shape, c.batchDims()
	if len(i) == 0 || i[len(i)-1] < 0 || int(i[len(i)-1])+b > len(x.Shape) || b > len(i)-1 {
		c.failf("indices of %v do not index %v", i, x.Shape)
		return one(x)
	}
	return one(of(x.DataType, slices.Concat(i[:len(i)-1], x.Shape[b+int(i[len(i)-1]):])...))
}

func topk(c *call) []Type {
	x := c.t("x")
	at, k := c.axis("axis", len(x.Shape)), c.int("k")
	c.scalars("ascending", "sort", "return_indices")
	if c.err != nil {
		return one(x)
	}
	if d := x.Shape[at]; d >= 0 && (k < 1 || k > d) {
		c.failf("k is %d along an axis of %d", k, d)
	}
	out := slices.Clone(x.Shape)
	out[at] = k
	d := Int32
	if c.has("output_indices_dtype") {
		d = c.typeNamed("output_indices_dtype")
	}
	ts := []Type{of(x.DataType, out...), of(d, out...)}
	if c.has("return_indices") && c.int("return_indices") == 0 {
		return ts[:1]
	}
	return ts
}
