package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// fit is how the samples of a dataset go into a model.
type fit struct {
	fixed int64 // samples that the model takes in one run, no more and no fewer; 0: any number
	// scalars are the inputs without axes. The samples of one run share their value.
	scalars []string
	// whole are the inputs that take one sample as it is, without an axis that counts samples: there fixed is 1.
	whole []string
}

// match checks that the dataset's fields are the model's inputs, by name, element
// type and the shape of one sample. A floating-point field fits an input of another
// floating-point type: a model in half precision and its original are compared on one
// dataset. An input whose axes are just those of one sample, such as a recurrent state
// or a scalar, takes it without an axis for samples. What does not fit is said with
// both sides.
func match(inputs []sdk.TensorInfo, fields []tensor.Field) (how fit, err error) {
	var wrong, hints []string
	counts := "" // the input that says how many samples a run takes
	takes := func(n int64, input string) {
		if how.fixed > 0 && n != how.fixed {
			wrong = append(wrong, fmt.Sprintf("input %q takes %d samples in a run, input %q takes %d", input, n, counts, how.fixed))
		}
		how.fixed, counts = n, input
	}
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
		switch {
		case len(in.Shape) == 0 && len(f.Shape) == 0:
			how.scalars = append(how.scalars, in.Name)
			continue
		case len(in.Shape) > 0 && fits(in.Shape, f.Shape):
			how.whole = append(how.whole, in.Name)
			takes(1, in.Name)
			continue
		case len(in.Shape) == 0:
			wrong = append(wrong, fmt.Sprintf("input %q takes one number, but a sample of the dataset has the shape %s", in.Name, shape(f.Shape)))
			continue
		}
		if !fits(in.Shape[1:], f.Shape) {
			wrong = append(wrong, fmt.Sprintf("input %q takes samples of shape %s, but the dataset gives %s", in.Name, shape(in.Shape[1:]), shape(f.Shape)))
			if h := shapeHint(in.Name, in.Shape[1:], f.Shape); h != "" {
				hints = append(hints, h)
			}
		}
		if n := in.Shape[0]; n > 0 {
			takes(n, in.Name)
		}
	}
	for _, f := range fields {
		if !slices.ContainsFunc(inputs, func(in sdk.TensorInfo) bool { return in.Name == f.Name }) {
			wrong = append(wrong, fmt.Sprintf("the model has no input %q", f.Name))
		}
	}
	if len(wrong) == 0 {
		return how, nil
	}
	var model, data []string
	for _, in := range inputs {
		s := "any shape"
		if in.Shape != nil {
			s = shape(in.Shape[min(1, len(in.Shape)):])
		}
		model = append(model, fmt.Sprintf("%q %s %s", in.Name, in.DType, s))
	}
	for _, f := range fields {
		data = append(data, fmt.Sprintf("%q %s %s", f.Name, f.DType, shape(f.Shape)))
	}
	for i, h := range hints {
		hints[i] = " " + h
	}
	return fit{}, fmt.Errorf(
		"%s. The model takes, per sample: %s. The dataset gives: %s. Its input blocks say which field goes to which input, and convert types.%s",
		strings.Join(wrong, "; "), list(model), list(data), strings.Join(hints, ""))
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

// rounded tells the floating-point types that [fit.feed] converts into one another.
func rounded(d tensor.DType) bool {
	return d == tensor.F32 || d == tensor.F16 || d == tensor.BF16
}

// agreeing tells how many of a batch's first samples, n in all, can go into one run:
// those that share the values of the inputs without axes.
func (f fit) agreeing(batch map[string]tensor.Tensor, n int64) int64 {
	for _, name := range f.scalars {
		t := batch[name]
		size := int64(len(t.Data)) / t.Shape[0]
		for i := int64(1); i < n; i++ {
			if !bytes.Equal(t.Data[:size], t.Data[i*size:(i+1)*size]) {
				n = i
			}
		}
	}
	return n
}

// feed makes of a batch what the model takes: the element types of its inputs, to
// which values are rounded where those are narrower, and their axes. The samples agree
// in the inputs without axes.
func (f fit) feed(batch map[string]tensor.Tensor, inputs []sdk.TensorInfo) error {
	for _, in := range inputs {
		t, ok := batch[in.Name]
		if !ok {
			continue
		}
		if slices.Contains(f.scalars, in.Name) || slices.Contains(f.whole, in.Name) {
			t = tensor.Tensor{DType: t.DType, Shape: t.Shape[1:], Data: t.Data[:int64(len(t.Data))/t.Shape[0]]}
		}
		if t.DType != in.DType {
			v, err := tensor.ToFloat32(t)
			if err == nil {
				t, err = tensor.FromFloat32(in.DType, t.Shape, v)
			}
			if err != nil {
				return fmt.Errorf("input %q: %w", in.Name, err)
			}
		}
		batch[in.Name] = t
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
