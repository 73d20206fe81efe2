package onnx

import (
	"math"
	"runtime"
	"testing"
)

// TestHostileValues: constants and attributes that would make an operator divide by zero,
// count beyond 64 bits or fill any memory, were they believed. What is inferred and folded
// must neither panic nor grow; MaxGrowth is 64 MiB.
func TestHostileValues(t *testing.T) {
	const n, huge = 200_000, math.MaxInt64 / 2
	ramp := make([]float32, n)
	ints := func(name string, v ...int64) *Tensor { return NewInt64s(name, v, int64(len(v))) }
	scalar := func(name string, v int64) *Tensor { return NewInt64s(name, []int64{v}) }
	column, row := NewFloats("a", ramp, n, 1), NewFloats("b", ramp, 1, n)
	empty := func(name string, dims ...int64) *Tensor { return NewFloats(name, nil, dims...) }
	for name, c := range map[string]struct {
		n     *Node
		inits []*Tensor
	}{
		"Range":                  {node("Range", "y", "a", "b", "d"), []*Tensor{scalar("a", 0), scalar("b", huge), scalar("d", 1)}},
		"Range of reals":         {node("Range", "y", "a", "b", "d"), []*Tensor{NewFloats("a", []float32{0}), NewFloats("b", []float32{1e30}), NewFloats("d", []float32{1e-9})}},
		"Range without step":     {node("Range", "y", "a", "b", "d"), []*Tensor{scalar("a", 0), scalar("b", huge), scalar("d", 0)}},
		"ConstantOfShape":        {node("ConstantOfShape", "y", "a"), []*Tensor{ints("a", 1<<30, 1<<30)}},
		"ConstantOfShape over 0": {node("ConstantOfShape", "y", "a"), []*Tensor{ints("a", -1, huge)}},
		"Expand":                 {node("Expand", "y", "a", "b"), []*Tensor{NewFloats("a", []float32{1}), ints("b", 1<<20, 1<<20)}},
		"Tile":                   {node("Tile", "y", "a", "b"), []*Tensor{NewFloats("a", []float32{1}, 1), ints("b", 1<<40)}},
		"Pad":                    {node("Pad", "y", "a", "b"), []*Tensor{NewFloats("a", []float32{1}, 1), ints("b", huge, huge)}},
		"OneHot":                 {node("OneHot", "y", "a", "b", "v"), []*Tensor{ints("a", 1, 2), scalar("b", 1<<40), NewFloats("v", []float32{0, 1}, 2)}},
		"Add":                    {node("Add", "y", "a", "b"), []*Tensor{column, row}},
		"MatMul":                 {node("MatMul", "y", "a", "b"), []*Tensor{column, row}},
		"MatMul of nothing":      {node("MatMul", "y", "a", "b"), []*Tensor{empty("a", 1<<40, 0), empty("b", 0, 1<<40)}},
		"Gemm":                   {node("Gemm", "y", "a", "b"), []*Tensor{column, row}},
		"Gather":                 {node("Gather", "y", "b", "i"), []*Tensor{row, NewInt64s("i", make([]int64, n), n)}},
		"Gather of nothing":      {with(node("Gather", "y", "a", "i"), IntAttr("axis", 1)), []*Tensor{empty("a", 1<<40, 0), ints("i", 0)}},
		"Reshape":                {node("Reshape", "y", "a", "s"), []*Tensor{column, ints("s", -1, huge)}},
		"EyeLike":                {node("EyeLike", "y", "a"), []*Tensor{empty("a", 1<<40, 0)}},
		"Transpose":              {node("Transpose", "y", "a"), []*Tensor{empty("a", 1<<40, 0, 1<<40)}},
		"Split":                  {with(node("Split", "y", "a"), IntAttr("num_outputs", huge)), []*Tensor{empty("a", huge, 0)}},
		"Split along nothing":    {with(node("Split", "y", "x"), IntAttr("axis", huge), IntAttr("num_outputs", 0)), nil},
		"Concat":                 {with(node("Concat", "y", "a", "a"), IntAttr("axis", 0)), []*Tensor{empty("a", huge, 0)}},
		"ReduceSum":              {node("ReduceSum", "y", "a", "b"), []*Tensor{empty("a", 1<<40, 0), ints("b", 1)}},
		"ArgMax":                 {with(node("ArgMax", "y", "a"), IntAttr("axis", 1)), []*Tensor{empty("a", 1<<40, 0)}},
		"CumSum":                 {node("CumSum", "y", "a", "b"), []*Tensor{empty("a", 1<<40, 0), scalar("b", 0)}},
		"Slice":                  {node("Slice", "y", "a", "s", "e"), []*Tensor{empty("a", huge, 0), ints("s", -huge), ints("e", huge)}},
		"Mod":                    {node("Mod", "y", "a", "b"), []*Tensor{ints("a", 5), ints("b", 0)}},
		"Div":                    {node("Div", "y", "a", "b"), []*Tensor{ints("a", math.MinInt64), ints("b", -1)}},
		"Pow":                    {node("Pow", "y", "a", "b"), []*Tensor{ints("a", 3), ints("b", huge)}},
		"BitShift":               {with(node("BitShift", "y", "a", "b"), StringAttr("direction", "LEFT")), []*Tensor{ints("a", 3), ints("b", -1)}},
		"TopK":                   {node("TopK", "y", "b", "k"), []*Tensor{row, ints("k", huge)}},
		"SpaceToDepth":           {with(node("SpaceToDepth", "y", "x"), IntAttr("blocksize", 0)), nil},
		"DepthToSpace":           {with(node("DepthToSpace", "y", "x"), IntAttr("blocksize", 1<<32)), nil},
		"Conv":                   {with(node("Conv", "y", "x", "w"), IntsAttr("strides", 0, 0), IntsAttr("dilations", huge, huge), IntAttr("group", 0)), []*Tensor{NewFloats("w", ramp[:9], 1, 1, 3, 3)}},
		"MaxPool":                {with(node("MaxPool", "y", "x"), IntsAttr("strides", 0, 0), IntsAttr("kernel_shape", huge, huge), IntsAttr("pads", huge, huge, huge, huge)), nil},
		"ConvTranspose":          {with(node("ConvTranspose", "y", "x", "w"), IntsAttr("strides", huge, huge), IntAttr("group", huge)), []*Tensor{NewFloats("w", ramp[:9], 1, 1, 3, 3)}},
		"Resize":                 {node("Resize", "y", "x", "", "s"), []*Tensor{NewFloats("s", []float32{1e30, -1, 0, 1e-30}, 4)}},
		"Einsum":                 {with(node("Einsum", "y", "x"), StringAttr("equation", "......->,,->")), nil},
		"STFT":                   {node("STFT", "y", "x", "s"), []*Tensor{scalar("s", 0)}},
		"Col2Im":                 {node("Col2Im", "y", "x", "s", "b"), []*Tensor{ints("s", 0, 0), ints("b", 0, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewModel("g", 17)
			m.Graph.AddInput(NewValueInfo("x", Float, FixedDims(1, 1, 4, 4)))
			for _, w := range c.inits {
				m.Graph.AddInitializer(w)
			}
			m.Graph.AppendNode(c.n)
			m.Graph.AddOutput(NewValueInfo("y", Float, nil))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if s, err := InferShapes(m); err == nil {
				CountMACs(m, s)
			}
			_, _ = Simplify(m, SimplifyOptions{}) // it may refuse the model
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 3*DefaultMaxGrowth {
				t.Errorf("it took %d bytes", got)
			}
		})
	}
}
