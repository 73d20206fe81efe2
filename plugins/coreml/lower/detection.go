package lower

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// detections choose among boxes.
var detections = []Rule{
	{Op: "NonMaxSuppression", Covers: "Boxes and scores of known shapes with constant limits, by MIL's non_maximum_suppression for each class of each picture; how many boxes are chosen is open. From iOS 17 on it needs a score_threshold of at least 0.", Lower: lowerNonMaxSuppression},
}

// mostClasses bounds the classes of all pictures, each of which is an operation.
const mostClasses = 1024

// lowerNonMaxSuppression lists (picture, class, box) of the chosen boxes: MIL's operation gives the boxes of a class, the
// best first, and how many of them count; those of all classes stand in one table, and what does not count is left out.
func lowerNonMaxSuppression(c *Context, n *onnx.Node) error {
	boxes, scores := c.In(n, 0), c.In(n, 1)
	if c.err != nil {
		return c.err
	}
	if boxes.Rank() != 3 || scores.Rank() != 3 || !boxes.Fixed() || !scores.Fixed() {
		return c.Failf("its boxes %v and scores %v must have known shapes", boxes.Shape(), scores.Shape())
	}
	limit := func(i int, def float64) float64 {
		if !c.Has(n, i) {
			return def
		}
		v, ok := c.Floats(n, i)
		if !ok || len(v) != 1 {
			_ = c.Failf("its limits are not constant")
			return def
		}
		return float64(v[0])
	}
	most, iou, least := int64(limit(2, 0)), limit(3, 0), limit(4, -largest(mil.Float16))
	if c.err != nil {
		return c.err
	}
	batch, classes, count := scores.Dim(0), scores.Dim(1), scores.Dim(2)
	most = min(most, count)
	if most < 1 {
		return c.Failf("it chooses no boxes, and Core ML has no empty tensors")
	}
	if batch*classes > mostClasses {
		return c.Failf("%d classes of %d pictures are more than %d", classes, batch, mostClasses)
	}
	if n.IntAttr("center_point_box", 0) == 0 {
		boxes = c.centred(boxes)
	}
	last := c.Opset() >= 7 // boxes lie along the last axis then, and nothing tells how many were chosen
	switch {
	case !last:
		scores = c.Transpose(scores, 0, 2, 1)
	case least < 0:
		return c.Failf("from iOS17 or macOS14 on, a score_threshold of at least 0 must tell boxes from what fills their list up")
	default:
		boxes = c.Transpose(boxes, 0, 2, 1)
	}
	var chosen, valid []Value
	for k := range classes {
		args := []any{"iou_threshold", iou, "max_boxes", most, "per_class_suppression", false}
		if last {
			args = append(args, "boxes", boxes, "scores", c.Slice(scores, 1, k, k+1))
		} else {
			args = append(args, "boxes", boxes, "scores", c.Slice(scores, 2, k, k+1), "score_threshold", least)
		}
		out := c.EmitAll("non_maximum_suppression", args...)
		if c.err != nil {
			return c.err
		}
		on := c.Binary("greater_equal", out[2], mil.Int(0)) // [batch, most]
		if !last {
			on = c.Binary("less", c.Counting(most, 1, 2), c.Reshape(out[3], batch, 1))
		}
		if c.Has(n, 4) {
			// The best come first, so that what is below the threshold hides no other box.
			on = c.Binary("logical_and", on, c.Binary("greater", c.Reshape(out[1], batch, most), least))
		}
		chosen = append(chosen, c.Emit("expand_dims", "x", out[2], "axes", []int64{1})) // [batch, 1, most]
		valid = append(valid, c.Emit("expand_dims", "x", c.Cast(on, mil.Int32), "axes", []int64{1}))
	}
	rows := batch * classes * most
	at := c.Reshape(c.Join(1, chosen...), rows, 1)
	on := c.Reshape(c.Join(1, valid...), rows)
	names := make([]int64, 0, rows*2)
	for b := range batch {
		for k := range classes {
			for range most {
				names = append(names, b, k)
			}
		}
	}
	table := c.Join(1, c.IntsConst([]int64{rows, 2}, names), at)
	places := c.Emit("squeeze", "x", c.Emit("non_zero", "x", on), "axes", []int64{1})
	c.Set(n, 0, c.Gather(table, places, 0))
	return c.err
}

// centred makes x, y, width and height of two corners y1, x1, y2, x2 in any order.
func (c *Context) centred(boxes Value) Value {
	p := c.Chunks(boxes, 2, 1, 1, 1, 1)
	mid := func(a, b Value) Value { return c.Binary("mul", c.Binary("add", a, b), 0.5) }
	side := func(a, b Value) Value { return c.Emit("abs", "x", c.Binary("sub", a, b)) }
	return c.Join(2, mid(p[1], p[3]), mid(p[0], p[2]), side(p[1], p[3]), side(p[0], p[2]))
}
