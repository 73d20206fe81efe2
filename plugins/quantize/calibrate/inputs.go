package calibrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// MatchInputs checks that the dataset has what the model takes, field by field, and returns the names of the inputs
// that it feeds and the number of samples that the model takes at a time, 0 when any. An input whose axes are those of one
// sample takes samples one at a time; Data gives them so afterwards.
func (j *Job) MatchInputs() (names []string, fixed int64, err error) {
	feeds, data := j.Model.Graph.Feeds(), j.Data
	fields := map[string]tensor.Field{}
	for _, f := range data.Fields() {
		if f.Name != tensor.LabelName {
			fields[f.Name] = f
		}
	}
	outputs := j.Model.Graph.Outputs()
	for in, out := range j.States {
		if !slices.ContainsFunc(feeds, func(v *onnx.ValueInfo) bool { return v.Name() == in }) {
			return nil, 0, sdk.AttrError("states", fmt.Sprintf("the model has no input %q", in), "It takes "+describeInputs(feeds)+".")
		}
		if !slices.ContainsFunc(outputs, func(v *onnx.ValueInfo) bool { return v.Name() == out }) {
			return nil, 0, sdk.AttrError("states", fmt.Sprintf("the model has no output %q", out), "It gives "+describeInputs(outputs)+".")
		}
	}
	mismatch := func(format string, args ...any) error {
		return sdk.AttrError(j.argument(), "the dataset does not fit the model",
			fmt.Sprintf(format, args...)+" The model takes "+describeInputs(feeds)+"; the dataset has "+describeFields(data.Fields())+".")
	}
	if data.Samples() == 0 {
		return nil, 0, sdk.AttrError(j.argument(), "the dataset has no samples", "Calibration needs at least one; a few dozen are enough.")
	}
	whole := WholeInputs(data.Fields(), func(input string) ([]int64, bool) {
		i := slices.IndexFunc(feeds, func(v *onnx.ValueInfo) bool { return v.Name() == input })
		if i < 0 || feeds[i].Type == nil || !feeds[i].Type.HasShape {
			return nil, false
		}
		var dims []int64
		for _, d := range feeds[i].Type.Shape {
			dims = append(dims, d.Value)
		}
		return dims, true
	})
	count := "" // the input that says how many samples a run takes
	takes := func(n int64, input string) error {
		if fixed > 0 && fixed != n {
			return sdk.AttrError("model", "the model's inputs take different numbers of samples",
				fmt.Sprintf("Input %q takes %d at a time, input %q %d. It takes %s.", count, fixed, input, n, describeInputs(feeds)))
		}
		fixed, count = n, input
		return nil
	}
	for _, in := range feeds {
		if _, state := j.States[in.Name()]; state {
			continue
		}
		names = append(names, in.Name())
		f, ok := fields[in.Name()]
		if !ok {
			return nil, 0, mismatch("No field goes to input %q: an input block in the dataset names it.", in.Name())
		}
		delete(fields, in.Name())
		t := in.Type
		if t == nil || t.Kind != onnx.KindTensor {
			return nil, 0, sdk.AttrError("model", "the model takes an input that is no tensor", fmt.Sprintf("Input %q cannot be fed from a dataset.", in.Name()))
		}
		if want := t.Elem.DType(); want != f.DType {
			return nil, 0, mismatch("Input %q takes %s and its field holds %s: scale or dtype in the dataset's input block converts.", in.Name(), want, f.DType)
		}
		if !t.HasShape {
			continue
		}
		if slices.Contains(whole, in.Name()) {
			if err := takes(1, in.Name()); err != nil {
				return nil, 0, err
			}
			continue
		}
		if len(t.Shape) == 0 {
			return nil, 0, mismatch("Input %q is one number, and a sample of its field is not.", in.Name())
		}
		if !fits(t.Shape[1:], f.Shape) {
			return nil, 0, mismatch("The shapes of input %q and its field differ.", in.Name())
		}
		if n := t.Shape[0]; n.Fixed() {
			if err := takes(n.Value, in.Name()); err != nil {
				return nil, 0, err
			}
			if fixed == 0 || fixed > data.Samples() {
				return nil, 0, mismatch("The model takes %d samples at a time and there are %d.", fixed, data.Samples())
			}
		}
	}
	if len(fields) > 0 {
		for _, f := range data.Fields() {
			if _, surplus := fields[f.Name]; surplus {
				return nil, 0, mismatch("The model has no input for field %q.", f.Name)
			}
		}
	}
	j.Data = SingleSamples(data, whole)
	return names, fixed, nil
}

func fits(want []onnx.Dim, got []int64) bool {
	return slices.EqualFunc(want, got, func(w onnx.Dim, g int64) bool { return !w.Fixed() || w.Value == g })
}

func describeInputs(feeds []*onnx.ValueInfo) string {
	parts := make([]string, len(feeds))
	for i, in := range feeds {
		var dims []string
		elem, shape := "?", "of unknown shape"
		if t := in.Type; t != nil {
			elem = t.Elem.DType().String()
			if t.HasShape {
				for _, d := range t.Shape {
					switch {
					case d.Fixed():
						dims = append(dims, fmt.Sprint(d.Value))
					case d.Param != "":
						dims = append(dims, d.Param)
					default:
						dims = append(dims, "?")
					}
				}
				shape = "[" + strings.Join(dims, ", ") + "]"
			}
		}
		parts[i] = fmt.Sprintf("%q %s %s", in.Name(), elem, shape)
	}
	return list(parts)
}

func describeFields(fields []tensor.Field) string {
	var parts []string
	for _, f := range fields {
		dims := []string{"N"}
		for _, d := range f.Shape {
			dims = append(dims, fmt.Sprint(d))
		}
		parts = append(parts, fmt.Sprintf("%q %s [%s]", f.Name, f.DType, strings.Join(dims, ", ")))
	}
	return list(parts)
}

func list(parts []string) string {
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
