package calibrate

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// WholeInputs are the fields that a model takes sample by sample, without an axis that counts samples: those whose shape
// is the input's own, as of a recurrent state or a scalar. shape gives an input's axes, -1 for one of any size, and tells
// whether the model states them.
func WholeInputs(fields []tensor.Field, shape func(input string) ([]int64, bool)) []string {
	var whole []string
	for _, f := range fields {
		want, ok := shape(f.Name)
		if ok && slices.EqualFunc(want, f.Shape, func(w, g int64) bool { return w < 0 || w == g }) {
			whole = append(whole, f.Name)
		}
	}
	return whole
}

// SingleSamples gives the samples one at a time, and the fields of the given names without an axis for samples.
func SingleSamples(src Source, whole []string) Source {
	if _, done := src.(*singles); done || len(whole) == 0 {
		return src
	}
	return &singles{src, whole}
}

type singles struct {
	Source
	whole []string
}

func (s *singles) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	if n != 1 {
		return nil, fmt.Errorf("%d samples at a time were asked for, and the model takes %q without an axis for samples", n, s.whole[0])
	}
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
