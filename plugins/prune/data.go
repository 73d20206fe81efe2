package prune

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// fitData checks that a dataset has what a model takes, field by field. fixed is how many samples the model takes at a
// time, 0 for any. An input whose axes are those of one sample takes samples one at a time, without an axis for them.
func fitData(argument string, m *onnx.Model, data *tensor.Shards) (src gram.Source, fixed int64, err error) {
	feeds := m.Graph.Feeds()
	fields := map[string]tensor.Field{}
	var have []string
	for _, f := range data.Fields() {
		if f.Name != tensor.LabelName {
			fields[f.Name] = f
			have = append(have, fmt.Sprintf("%q %s %v", f.Name, f.DType, f.Shape))
		}
	}
	mismatch := func(format string, args ...any) error {
		var want []string
		for _, in := range feeds {
			want = append(want, describeInput(in))
		}
		return sdk.AttrError(argument, "the dataset does not fit the model", fmt.Sprintf(format, args...)+
			fmt.Sprintf(" The model takes %s; a sample of the dataset has %s.", strings.Join(want, ", "), strings.Join(have, ", ")))
	}
	var whole []string
	for _, in := range feeds {
		f, ok := fields[in.Name()]
		t := in.Type
		switch {
		case !ok:
			return nil, 0, mismatch("No field goes to input %q: an input block in the dataset names it.", in.Name())
		case t == nil || t.Kind != onnx.KindTensor:
			return nil, 0, sdk.AttrError("model", "the model takes an input that is no tensor", fmt.Sprintf("Input %q cannot be fed from a dataset.", in.Name()))
		case t.Elem.DType() != f.DType:
			return nil, 0, mismatch("Input %q takes %s and its field holds %s: scale or dtype in the dataset's input block converts.", in.Name(), t.Elem.DType(), f.DType)
		}
		delete(fields, in.Name())
		if !t.HasShape {
			continue
		}
		n := int64(0)
		switch {
		case fits(t.Shape, f.Shape):
			whole, n = append(whole, in.Name()), 1
		case len(t.Shape) == 0 || !fits(t.Shape[1:], f.Shape):
			return nil, 0, mismatch("The shapes of input %q and its field differ.", in.Name())
		case t.Shape[0].Fixed():
			n = t.Shape[0].Value
		}
		if n > 0 && fixed > 0 && n != fixed {
			return nil, 0, sdk.AttrError("model", "the model's inputs take different numbers of samples", fmt.Sprintf("Input %q takes %d at a time, another one %d.", in.Name(), n, fixed))
		}
		fixed = max(fixed, n)
	}
	for _, f := range data.Fields() {
		if _, surplus := fields[f.Name]; surplus {
			return nil, 0, mismatch("The model has no input for field %q.", f.Name)
		}
	}
	if fixed > data.Samples() {
		return nil, 0, mismatch("The model takes %d samples at a time and there are %d.", fixed, data.Samples())
	}
	if len(whole) == 0 {
		return data, fixed, nil
	}
	return &singles{data, whole}, fixed, nil
}

func fits(want []onnx.Dim, got []int64) bool {
	return slices.EqualFunc(want, got, func(w onnx.Dim, g int64) bool { return !w.Fixed() || w.Value == g })
}

func describeInput(in *onnx.ValueInfo) string {
	if in.Type == nil || !in.Type.HasShape {
		return fmt.Sprintf("%q", in.Name())
	}
	var dims []string
	for _, d := range in.Type.Shape {
		switch {
		case d.Fixed():
			dims = append(dims, fmt.Sprint(d.Value))
		case d.Param != "":
			dims = append(dims, d.Param)
		default:
			dims = append(dims, "?")
		}
	}
	return fmt.Sprintf("%q %s [%s]", in.Name(), in.Type.Elem.DType(), strings.Join(dims, " "))
}

// singles gives samples one at a time, and some fields without an axis for samples.
type singles struct {
	gram.Source
	whole []string
}

// Batch implements gram.Source.
func (s *singles) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	all, err := s.Source.Batch(start, n)
	if err != nil {
		return nil, err
	}
	for _, name := range s.whole {
		t := all[name]
		t.Shape = t.Shape[1:]
		all[name] = t
	}
	return all, nil
}
