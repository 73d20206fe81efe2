package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// Detection makes a model that gives all boxes a detector: a pipeline with Core ML's own non-maximum suppression.
type Detection struct {
	// Boxes and Scores are outputs of the model: [1, boxes, 4] and [1, boxes, classes], either with its last two axes swapped.
	// One output may hold both: the boxes first, then the classes.
	Boxes, Scores string
	// Corners tells that a box is its left, top, right and bottom, not the middle, the width and the height.
	Corners bool
	// Width and Height are what boxes are divided by; 1 where they are shares of the picture already.
	Width, Height float64
	mil.Detector
}

// takes tells whether an output goes into the detector.
func (d *Detection) takes(output string) bool {
	return d != nil && (output == d.Boxes || output == d.Scores)
}

// detector emits what makes [boxes, 4] and [boxes, classes] of the model's outputs.
func (p *program) detector(c *Context, d *Detection) error {
	classes := int64(len(d.Labels))
	table := func(name string, width int64) Value {
		val := p.lookup(name)
		if val == nil {
			_ = c.Failf("there is no output %q", name)
			return Value{}
		}
		x := Value{v: val, Type: val.base}
		x.Type.DataType = c.float
		if x.Rank() == 3 && x.Dim(0) == 1 {
			x = c.Emit("squeeze", "x", x, "axes", []int64{0})
		}
		switch {
		case c.err != nil:
		case x.Rank() != 2 || x.Dim(0) != width && x.Dim(1) != width:
			_ = c.Failf("%s is %v, and [1, boxes, %d] is needed", name, x.Shape(), width)
		case x.Dim(1) != width:
			x = c.Emit("transpose", "x", x, "perm", []int64{1, 0})
		}
		return x
	}
	columns := func(x Value, from, to int64) Value {
		return c.Emit("slice_by_index", "x", x, "begin", []int64{0, from}, "end", []int64{0, to}, "stride", []int64{1, 1},
			"begin_mask", []bool{true, false}, "end_mask", []bool{true, false})
	}
	var boxes, scores Value
	if d.Boxes == d.Scores {
		all := table(d.Boxes, 4+classes)
		boxes, scores = columns(all, 0, 4), columns(all, 4, 4+classes)
	} else {
		boxes, scores = table(d.Boxes, 4), table(d.Scores, classes)
	}
	if c.err == nil && boxes.Dim(0) != scores.Dim(0) {
		return c.Failf("there are %d boxes, and scores of %d", boxes.Dim(0), scores.Dim(0))
	}
	if d.Corners {
		low, high := columns(boxes, 0, 2), columns(boxes, 2, 4)
		middle := c.Emit("mul", "x", c.Emit("add", "x", low, "y", high), "y", 0.5)
		boxes = c.Emit("concat", "values", []Value{middle, c.Emit("sub", "x", high, "y", low)}, "axis", 1, "interleave", false)
	}
	if d.Width != 1 || d.Height != 1 {
		w, h := float32(1/d.Width), float32(1/d.Height)
		boxes = c.Emit("mul", "x", boxes, "y", c.FloatsConst([]int64{1, 4}, []float32{w, h, w, h}))
	}
	for _, o := range []struct {
		x    Value
		name *string
		want string
	}{{scores, &d.Confidence, "raw_confidence"}, {boxes, &d.Coordinates, "raw_coordinates"}} {
		if c.err != nil {
			return c.err
		}
		*o.name = p.names.fresh(o.want)
		t := p.output(c, o.x.v, mil.Float32, *o.name)
		p.main.Outputs = append(p.main.Outputs, *o.name)
		p.model.Outputs = append(p.model.Outputs, mil.Feature{Name: *o.name, Type: t})
	}
	d.Labels = slices.Clone(d.Labels)
	p.model.Detector = &d.Detector
	return c.err
}
