package evaluate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/tensor"
)

// Output describes an output of a model. A nil Shape is not known; of an axis -1 is not known. Axis 0 counts samples.
type Output struct {
	Name, DType string
	Shape       []int64
}

// outputOf gives the name of the output that a metric reads. The outputs are those of the baseline, in the model's
// order; none are known when there are none.
func (m Metric) outputOf(outputs []Output) (string, error) {
	var names []string
	for _, o := range outputs {
		names = append(names, o.Name)
	}
	switch {
	case len(names) == 0:
		return m.Output, nil
	case m.Output != "":
		if !slices.Contains(names, m.Output) {
			return "", fmt.Errorf("the model has no output %q; it has %s", m.Output, some(names))
		}
		return m.Output, nil
	case len(names) > 1 && m.Against() != "baseline":
		return "", fmt.Errorf("the model has the outputs %s, and which one to take is not said: metric %q { output = %q }", some(names), m.plainName(), names[0])
	}
	return names[0], nil
}

// plainName is the name of a metric without what makes it a change.
func (m Metric) plainName() string {
	if !m.Change {
		return m.Name
	}
	return strings.TrimSuffix(strings.TrimSuffix(m.Name, "_drop"), "_rise")
}

// Check tells whether a metric can be taken of a model with these outputs, as far as their shapes are known. The error
// says what is there and what is needed.
func (m Metric) Check(outputs []Output) error {
	name, err := m.outputOf(outputs)
	if err != nil || name == "" {
		return err
	}
	o := outputs[slices.IndexFunc(outputs, func(o Output) bool { return o.Name == name })]
	if d, err := tensor.ParseDType(o.DType); err == nil && d.IsInteger() && slices.Contains([]reading{readsScores, readsTokens, readsPositive}, kinds[m.Kind].reads) {
		return fmt.Errorf("%s needs scores, but output %q holds integers (%s)", m.Name, o.Name, o.DType)
	}
	if o.Shape == nil {
		return nil
	}
	have := func(need string) error {
		return fmt.Errorf("%s needs %s, but output %q has shape %s", m.Name, need, o.Name, axes(o.Shape))
	}
	at := func(i int) int64 {
		if i < len(o.Shape) {
			return o.Shape[i]
		}
		return -1
	}
	switch kinds[m.Kind].reads {
	case readsScores:
		if len(o.Shape) != 2 {
			return have("scores of shape [N, C], a row of classes for each sample")
		}
		if c := at(1); m.K > 0 && c >= 0 && m.K > c {
			return fmt.Errorf("%s looks at the %d highest scores, but output %q has %d classes: shape %s", m.Name, m.K, o.Name, c, axes(o.Shape))
		}
	case readsPositive:
		if len(o.Shape) > 2 {
			return have("scores of shape [N, C], or [N] of the positive class")
		}
	case readsTokens:
		if len(o.Shape) != 2 && len(o.Shape) != 3 {
			return have("scores of shape [N, T, C], or [N, C]")
		}
	case readsTexts:
		return m.checkText(o, have)
	}
	return nil
}

func (m Metric) checkText(o Output, have func(string) error) error {
	shape := o.Shape
	d, err := tensor.ParseDType(o.DType)
	whole := err == nil && d.IsInteger()
	switch {
	case m.Decode == "ctc" && (whole || len(shape) < 3):
		return have("scores of shape [N, T, C], the classes of each step in time")
	case whole && len(shape) != 2:
		return have("numbers of tokens of shape [N, T]")
	case !whole && len(shape) < 3:
		return have("numbers of tokens, [N, T] of integers, or their scores, [N, T, C]")
	}
	if whole {
		return nil
	}
	if c := shape[len(shape)-1]; c >= 0 && len(m.Alphabet) > 0 && c != m.letters() {
		return m.wrongAlphabet(o.Name, c)
	}
	return nil
}

// letters is how many classes the alphabet makes.
func (m Metric) letters() int64 {
	if m.Decode == "ctc" {
		return int64(len(m.Alphabet)) + 1
	}
	return int64(len(m.Alphabet))
}

func (m Metric) wrongAlphabet(output string, classes int64) error {
	with := ""
	if m.Decode == "ctc" {
		with = " and a blank"
	}
	return fmt.Errorf("the alphabet has %d texts%s, which makes %d classes, but output %q has %d", len(m.Alphabet), with, m.letters(), output, classes)
}

// axes prints a shape as "[N, 10, ?]".
func axes(shape []int64) string {
	s := make([]string, len(shape))
	for i, d := range shape {
		switch {
		case i == 0:
			s[i] = "N"
		case d < 0:
			s[i] = "?"
		default:
			s[i] = fmt.Sprint(d)
		}
	}
	return "[" + strings.Join(s, ", ") + "]"
}

// some lists the first of many names.
func some(names []string) string {
	const most = 12
	var out []string
	for i, n := range names {
		if i == most {
			return fmt.Sprintf("%s and %d more", strings.Join(out, ", "), len(names)-most)
		}
		out = append(out, fmt.Sprintf("%q", n))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// InspectedOutputs reads the outputs from a document of the schema optimize.inspect/v1; what it does not say is not known.
func InspectedOutputs(doc []byte) []Output {
	var d struct {
		Outputs []struct {
			Name  string            `json:"name"`
			DType string            `json:"dtype"`
			Shape []json.RawMessage `json:"shape"`
		} `json:"outputs"`
	}
	if json.Unmarshal(doc, &d) != nil {
		return nil
	}
	var out []Output
	for _, o := range d.Outputs {
		x := Output{Name: o.Name, DType: o.DType}
		if o.Shape != nil {
			x.Shape = make([]int64, len(o.Shape))
			for i, axis := range o.Shape {
				if json.Unmarshal(axis, &x.Shape[i]) != nil {
					x.Shape[i] = -1 // a name, or "?"
				}
			}
		}
		out = append(out, x)
	}
	return out
}
