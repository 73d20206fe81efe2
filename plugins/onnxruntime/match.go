package onnxruntime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// match checks that the dataset's fields are the model's inputs, by name, element
// type and the shape of one sample. A floating-point field fits an input of another
// floating-point type: a model in half precision and its original are compared on one
// dataset. It returns how many samples the model takes in
// one run, 0 when any number. What does not fit is said with both sides.
func match(inputs []ort.Info, fields []tensor.Field) (fixed int64, err error) {
	var wrong, hints []string
	for _, in := range inputs {
		i := slices.IndexFunc(fields, func(f tensor.Field) bool { return f.Name == in.Name })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("the dataset has nothing for the input %q", in.Name))
			continue
		}
		f := fields[i]
		if f.DType != in.DType && !(rounded(f.DType) && rounded(in.DType)) {
			wrong = append(wrong, fmt.Sprintf("input %q takes %s, but the dataset gives %s", in.Name, in.DType, f.DType))
		}
		if in.Shape == nil {
			continue // the model does not say
		}
		if len(in.Shape) == 0 {
			wrong = append(wrong, fmt.Sprintf("input %q is a scalar, so it cannot take samples", in.Name))
			continue
		}
		if !fits(in.Shape[1:], f.Shape) {
			wrong = append(wrong, fmt.Sprintf("input %q takes samples of shape %s, but the dataset gives %s", in.Name, shape(in.Shape[1:]), shape(f.Shape)))
			if h := shapeHint(in.Name, in.Shape[1:], f.Shape); h != "" {
				hints = append(hints, h)
			}
		}
		if n := in.Shape[0]; n > 0 {
			if fixed > 0 && n != fixed {
				wrong = append(wrong, fmt.Sprintf("input %q takes %d samples in a run, another input takes %d", in.Name, n, fixed))
			}
			fixed = n
		}
	}
	for _, f := range fields {
		if !slices.ContainsFunc(inputs, func(in ort.Info) bool { return in.Name == f.Name }) {
			wrong = append(wrong, fmt.Sprintf("the model has no input %q", f.Name))
		}
	}
	if len(wrong) == 0 {
		return fixed, nil
	}
	var model, data []string
	for _, in := range inputs {
		s := "any shape"
		if len(in.Shape) > 0 {
			s = shape(in.Shape[1:])
		}
		model = append(model, fmt.Sprintf("%q %s %s", in.Name, in.DType, s))
	}
	for _, f := range fields {
		data = append(data, fmt.Sprintf("%q %s %s", f.Name, f.DType, shape(f.Shape)))
	}
	for i, h := range hints {
		hints[i] = " " + h
	}
	return 0, sdk.CodeError(codeMismatch, "the dataset does not fit the model", fmt.Sprintf(
		"%s. The model takes, per sample: %s. The dataset gives: %s. Its input blocks say which field goes to which input, and convert types.%s",
		strings.Join(wrong, "; "), list(model), list(data), strings.Join(hints, "")))
}

// shapeHint tells what helps when samples have the right numbers in another shape: axes of length 1 that are there or
// not, all in one row, or the channels at the other end.
func shapeHint(input string, want, got []int64) string {
	if slices.ContainsFunc(want, func(d int64) bool { return d < 0 }) {
		return ""
	}
	long := func(dims []int64) []int64 { // without axes of length 1, which change nothing
		return slices.DeleteFunc(slices.Clone(dims), func(d int64) bool { return d == 1 })
	}
	product := func(dims []int64) (n int64) {
		n = 1
		for _, d := range dims {
			n *= d
		}
		return n
	}
	w, g := long(want), long(got)
	switch {
	case slices.Equal(w, g), (len(w) <= 1 || len(g) <= 1) && product(w) == product(g):
		return fmt.Sprintf("Write shape = %s in the input block %q.", shape(want), input)
	case slices.Equal(slices.Sorted(slices.Values(w)), slices.Sorted(slices.Values(g))):
		return fmt.Sprintf("Input %q has the axes in another order: of images, layout = \"nchw\" or \"nhwc\" says where the channels go; an array is to be transposed before it is saved.", input)
	}
	return ""
}

// rounded tells the floating-point types that [fed] converts into one another.
func rounded(d tensor.DType) bool {
	return d == tensor.F32 || d == tensor.F16 || d == tensor.BF16
}

// fed gives a batch in the element types that the model's inputs take; values are
// rounded to the nearest where those are narrower.
func fed(batch map[string]tensor.Tensor, inputs []ort.Info) error {
	for _, in := range inputs {
		t, ok := batch[in.Name]
		if !ok || t.DType == in.DType {
			continue
		}
		v, err := tensor.ToFloat32(t)
		if err == nil {
			batch[in.Name], err = tensor.FromFloat32(in.DType, t.Shape, v)
		}
		if err != nil {
			return fmt.Errorf("input %q: %w", in.Name, err)
		}
	}
	return nil
}

func list(s []string) string {
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, ", ")
}

// shape prints axes as "[1, 28, ?]".
func shape(dims []int64) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = "?"
		if d >= 0 {
			s[i] = fmt.Sprint(d)
		}
	}
	return "[" + strings.Join(s, ", ") + "]"
}

func fits(want, got []int64) bool {
	return slices.EqualFunc(want, got, func(w, g int64) bool { return w < 0 || w == g })
}

// pad copies a batch and repeats its last sample until there are n: for models that
// take just n.
func pad(in map[string]tensor.Tensor, n int64) map[string]tensor.Tensor {
	out := make(map[string]tensor.Tensor, len(in))
	for name, t := range in {
		have := t.Shape[0]
		row := int64(len(t.Data)) / have
		data := make([]byte, 0, n*row)
		data = append(data, t.Data...)
		for range n - have {
			data = append(data, t.Data[(have-1)*row:]...)
		}
		out[name] = tensor.Tensor{DType: t.DType, Shape: append([]int64{n}, t.Shape[1:]...), Data: data}
	}
	return out
}
