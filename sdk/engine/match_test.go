package engine

import (
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestMatch: whatever does not fit is said with both sides, all of it at once; what helps is said where it is known.
func TestMatch(t *testing.T) {
	image := sdk.TensorInfo{Name: "image", DType: tensor.F32, Shape: []int64{-1, 3, 8, 9}}
	field := func(name string, d tensor.DType, shape ...int64) tensor.Field {
		return tensor.Field{Name: name, DType: d, Shape: shape}
	}
	for name, c := range map[string]struct {
		inputs []sdk.TensorInfo
		fields []tensor.Field
		fixed  int64
		// Names of inputs without axes, and of those that take a sample whole.
		scalars, whole string
		says           []string
		not            string
	}{
		"fits":             {inputs: []sdk.TensorInfo{image}, fields: []tensor.Field{field("image", tensor.F32, 3, 8, 9)}},
		"no shape":         {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32}}, fields: []tensor.Field{field("x", tensor.F32, 5, 5)}},
		"dynamic":          {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{-1, -1, 4}}}, fields: []tensor.Field{field("x", tensor.F32, 99, 4)}},
		"fixed batch":      {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{4, 2}}}, fields: []tensor.Field{field("x", tensor.F32, 2)}, fixed: 4},
		"channels last":    {inputs: []sdk.TensorInfo{image}, fields: []tensor.Field{field("image", tensor.F32, 8, 9, 3)}, says: []string{"[3, 8, 9]", "[8, 9, 3]", `layout = "nchw"`, "transposed"}},
		"one channel last": {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{-1, 1, 8, 9}}}, fields: []tensor.Field{field("x", tensor.F32, 8, 9, 1)}, says: []string{"shape = [1, 8, 9]", `"x"`}, not: "layout"},
		"flat":             {inputs: []sdk.TensorInfo{image}, fields: []tensor.Field{field("image", tensor.F32, 216)}, says: []string{"shape = [3, 8, 9]"}},
		"not flat":         {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{-1, 72}}}, fields: []tensor.Field{field("x", tensor.F32, 8, 9)}, says: []string{"shape = [72]"}},
		"no axis":          {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{-1, 1}}}, fields: []tensor.Field{field("x", tensor.F32)}, says: []string{"shape = [1]"}},
		"other numbers":    {inputs: []sdk.TensorInfo{image}, fields: []tensor.Field{field("image", tensor.F32, 3, 8, 8)}, says: []string{"[3, 8, 9]", "[3, 8, 8]"}, not: "shape ="},
		"rank of dynamic":  {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{-1, 3, -1, -1}}}, fields: []tensor.Field{field("x", tensor.F32, 3, 8)}, says: []string{"[3, ?, ?]", "[3, 8]"}},
		"type and shape":   {inputs: []sdk.TensorInfo{image}, fields: []tensor.Field{field("image", tensor.U8, 8, 9)}, says: []string{"takes F32, but the dataset gives U8", "[8, 9]"}},
		"names":            {inputs: []sdk.TensorInfo{image, {Name: "mask", DType: tensor.I64, Shape: []int64{-1}}}, fields: []tensor.Field{field("img", tensor.F32, 3, 8, 9), field("label", tensor.I64)}, says: []string{`nothing for the input "image"`, `nothing for the input "mask"`, `no input "img"`, `no input "label"`, `"mask" I64 []`}},
		"scalar":           {inputs: []sdk.TensorInfo{image, {Name: "x", DType: tensor.F32, Shape: []int64{}}}, fields: []tensor.Field{field("image", tensor.F32, 3, 8, 9), field("x", tensor.F32)}, scalars: "x"},
		"scalar and axes":  {inputs: []sdk.TensorInfo{{Name: "x", DType: tensor.F32, Shape: []int64{}}}, fields: []tensor.Field{field("x", tensor.F32, 1)}, says: []string{"takes one number", "[1]"}},
		"state":            {inputs: []sdk.TensorInfo{{Name: "h", DType: tensor.F32, Shape: []int64{2, -1, 64}}, {Name: "x", DType: tensor.F32, Shape: []int64{-1, 9}}}, fields: []tensor.Field{field("h", tensor.F32, 2, 1, 64), field("x", tensor.F32, 9)}, fixed: 1, whole: "h"},
		"state and batch": {inputs: []sdk.TensorInfo{{Name: "h", DType: tensor.F32, Shape: []int64{2, -1, 64}}, {Name: "x", DType: tensor.F32, Shape: []int64{4, 9}}},
			fields: []tensor.Field{field("h", tensor.F32, 2, 1, 64), field("x", tensor.F32, 9)}, says: []string{`input "x" takes 4 samples in a run, input "h" takes 1`}},
		"batches": {inputs: []sdk.TensorInfo{{Name: "a", DType: tensor.F32, Shape: []int64{2, 1}}, {Name: "b", DType: tensor.F32, Shape: []int64{3, 1}}},
			fields: []tensor.Field{field("a", tensor.F32, 1), field("b", tensor.F32, 1)}, says: []string{`input "b" takes 3 samples in a run, input "a" takes 2`}},
		"nothing": {inputs: []sdk.TensorInfo{image}, says: []string{"The dataset gives: nothing"}},
	} {
		how, err := match(c.inputs, c.fields)
		if len(c.says) == 0 {
			if err != nil || how.fixed != c.fixed || strings.Join(how.scalars, " ") != c.scalars || strings.Join(how.whole, " ") != c.whole {
				t.Errorf("%s: %v, %v", name, how, err)
			}
			continue
		}
		says(t, err, append(c.says, "The model takes, per sample: ", "The dataset gives: ")...)
		if err != nil && c.not != "" && strings.Contains(err.Error(), c.not) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
