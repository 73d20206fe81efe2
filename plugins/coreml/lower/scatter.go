package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// scatters put elements at places of a tensor.
var scatters = []Rule{
	{Op: "Scatter", Covers: "As ScatterElements.", Lower: lowerScatterElements},
	{Op: "ScatterElements", Covers: "All reductions, constant and computed indices, also negative ones.", Lower: lowerScatterElements},
	{Op: "ScatterND", Covers: "All reductions, constant and computed indices of tensors of a known shape.", Lower: lowerScatterND},
}

// scatterModes are MIL's names of ONNX's reductions. MIL's default is to add.
var scatterModes = map[string]string{"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}

// scattered emits one of MIL's scatters. Bools go as integers.
func (c *Context) scattered(n *onnx.Node, op string, data, updates Value, args ...any) Value {
	mode, ok := scatterModes[n.StringAttr("reduction", "none")]
	if !ok {
		_ = c.Failf("there is no reduction %q", n.StringAttr("reduction", ""))
		return Value{}
	}
	args = append(args, "mode", mode)
	if mil.Takes(op, c.Opset(), "validate_indices") {
		args = append(args, "validate_indices", false)
	}
	if updates.Valid() && updates.Type.DataType == mil.Bool {
		updates = c.Cast(updates, mil.Int32)
	}
	return c.Carried(data, func(data Value) Value {
		return c.Emit(op, append([]any{"data", data, "updates", updates}, args...)...)
	})
}

func lowerScatterElements(c *Context, n *onnx.Node) error {
	data, i, updates := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	if !data.Fixed() || !i.Fixed() {
		return c.Failf("the length of an axis is open")
	}
	axis := c.Axis(n.IntAttr("axis", 0), data.Rank())
	if c.err != nil {
		return c.err
	}
	i = c.Places(i, data.Dim(axis))
	whole := true // but for the axis, the indices are as long as the data, as MIL wants them
	for a := range data.Rank() {
		whole = whole && (a == axis || data.Dim(a) == i.Dim(a))
	}
	if c.err != nil {
		return c.err
	}
	if whole {
		c.Set(n, 0, c.scattered(n, "scatter_along_axis", data, updates, "indices", i, "axis", axis))
		return c.err
	}
	// All elements as one axis: the place of an element is worked out from its place in the indices.
	each, size := strides(data.Shape()), product(i.Shape())
	base := make([]int64, size)
	counts := strides(i.Shape())
	for p := range base {
		for a, s := range counts {
			if a != axis {
				base[p] += int64(p) / s % i.Dim(a) * each[a]
			}
		}
	}
	flat := c.Reshape(i, size)
	if k := flat.Const(); k != nil {
		for p := range base {
			base[p] += k.ints[p] * each[axis]
		}
		flat = c.IntsConst([]int64{size}, base)
	} else {
		flat = c.Binary("add", c.Binary("mul", flat, mil.Int(each[axis])), c.IntsConst([]int64{size}, base))
	}
	y := c.scattered(n, "scatter", c.Reshape(data, product(data.Shape())), c.Reshape(updates, size), "indices", flat, "axis", 0)
	c.Set(n, 0, c.Reshape(y, data.Shape()...))
	return c.err
}

// lowerScatterND puts rows into the tensor made flat over the axes that are indexed.
func lowerScatterND(c *Context, n *onnx.Node) error {
	data, i, updates := c.In(n, 0), c.In(n, 1), c.In(n, 2)
	if c.err != nil {
		return c.err
	}
	if !data.Fixed() || !i.Fixed() {
		return c.Failf("the length of an axis is open")
	}
	if i.Rank() == 0 || int(i.Dim(-1)) > data.Rank() {
		return c.Failf("its indices %v do not fit a tensor %v", i.Shape(), data.Shape())
	}
	lead := data.Shape()[:i.Dim(-1)]
	rest := slices.Clone(data.Shape()[len(lead):])
	flat := c.Flat(i, lead, 0)
	if c.err != nil {
		return c.err
	}
	count := product(flat.Shape())
	flat = c.Reshape(flat, count)
	rows := []int64{product(lead), product(rest)}
	y := c.scattered(n, "scatter", c.Reshape(data, rows...), c.Reshape(updates, count, rows[1]), "indices", flat, "axis", 0)
	c.Set(n, 0, c.Reshape(y, data.Shape()...))
	return c.err
}
