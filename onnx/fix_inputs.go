package onnx

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// FixInputs tells a model what its inputs always are, so that Simplify can work out what depends on it, such as the
// condition of an If.
//
// shapes gives the sizes of an input's axes; -1 leaves an axis as it is. Axes that the model calls by one name have one
// size, in its other inputs and its outputs too. values gives the one number that an input, each element of it, always
// is: its readers get a constant. Such an input stays one of the model's, so that callers need not change, but nothing
// reads it any more.
//
// An error is a *FixError: an input that the model does not have, a shape of another rank, a size or a number that
// contradicts the model. The model is unchanged then.
func FixInputs(m *Model, shapes map[string][]int64, values map[string]float64) error {
	f := &inputFixer{graph: m.Graph, named: map[string]int64{}}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		if err := f.shape(name, shapes[name]); err != nil {
			return &FixError{false, err}
		}
	}
	constants := map[string]*Tensor{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		t, err := f.value(name, shapes[name], values[name])
		if err != nil {
			return &FixError{true, err}
		}
		constants[name] = t
	}
	g := m.Graph
	set := func(v *ValueInfo, want []int64) {
		if v.Type == nil || v.Type.Kind != KindTensor || !v.Type.HasShape {
			return
		}
		for i := range v.Type.Shape {
			d := &v.Type.Shape[i]
			if n, ok := f.named[d.Param]; ok && !d.Fixed() && d.Param != "" {
				d.Value, d.Param = n, ""
			}
			if want != nil && want[i] >= 0 {
				d.Value, d.Param = want[i], ""
			}
		}
	}
	for _, v := range g.inputs {
		if want := shapes[v.name]; want != nil && v.Type != nil && !v.Type.HasShape {
			v.Type.HasShape, v.Type.Shape = true, make([]Dim, len(want))
			for i := range want {
				v.Type.Shape[i] = Dim{Value: -1}
			}
		}
		set(v, shapes[v.name])
	}
	for _, v := range slices.Concat(g.outputs, g.values) {
		set(v, nil)
	}
	for _, name := range slices.Sorted(maps.Keys(constants)) {
		fixed := g.UniqueName(name + "_fixed")
		g.AddInitializer(constants[name].WithName(fixed))
		g.ReplaceAllUses(name, fixed)
	}
	return nil
}

// FixError says what FixInputs cannot do.
type FixError struct {
	// Value tells that it is about a number, not about a shape.
	Value bool
	error
}

type inputFixer struct {
	graph *Graph
	named map[string]int64 // sizes of axes by name
}

// input returns an input that callers feed.
func (f *inputFixer) input(name string) (*ValueInfo, error) {
	var names []string
	for _, v := range f.graph.Feeds() {
		if v.name == name {
			if v.Type == nil || v.Type.Kind != KindTensor {
				return nil, fmt.Errorf("input %q is no tensor", name)
			}
			return v, nil
		}
		names = append(names, fmt.Sprintf("%q", v.name))
	}
	return nil, fmt.Errorf("the model has no input %q: it takes %s", name, strings.Join(names, ", "))
}

func (f *inputFixer) shape(name string, want []int64) error {
	v, err := f.input(name)
	if err != nil {
		return err
	}
	if v.Type.HasShape && len(v.Type.Shape) != len(want) {
		return fmt.Errorf("input %q has %d axes, not %d", name, len(v.Type.Shape), len(want))
	}
	for i, n := range want {
		switch {
		case n == 0 || n < -1:
			return fmt.Errorf("axis %d of input %q cannot be %d: it is a size from 1 on, or -1 where any will do", i, name, n)
		case n < 0 || !v.Type.HasShape:
			continue
		}
		d := v.Type.Shape[i]
		if d.Fixed() && d.Value != n {
			return fmt.Errorf("axis %d of input %q is %d in the model, not %d", i, name, d.Value, n)
		}
		if d.Fixed() || d.Param == "" || placeholder(d.Param) {
			continue
		}
		if was, ok := f.named[d.Param]; ok && was != n {
			return fmt.Errorf("axis %d of input %q is called %q, which is %d elsewhere, not %d", i, name, d.Param, was, n)
		}
		f.named[d.Param] = n
	}
	return nil
}

// value makes the constant that stands for an input.
func (f *inputFixer) value(name string, shape []int64, x float64) (*Tensor, error) {
	v, err := f.input(name)
	if err != nil {
		return nil, err
	}
	if f.graph.IsOutput(name) {
		return nil, fmt.Errorf("input %q is an output of the model too", name)
	}
	declared := v.Type.Shape
	if !v.Type.HasShape {
		if shape == nil {
			return nil, fmt.Errorf("input %q has no shape in the model: give it too", name)
		}
		declared = make([]Dim, len(shape))
		for i := range declared {
			declared[i] = Dim{Value: -1}
		}
	}
	dims, count := make([]int64, len(declared)), int64(1)
	for i, d := range declared {
		n := d.Value
		if shape != nil && shape[i] > 0 {
			n = shape[i]
		}
		if size, ok := f.named[d.Param]; ok && n < 0 {
			n = size
		}
		if n < 0 {
			return nil, fmt.Errorf("input %q has an axis without a size: give its shape too", name)
		}
		dims[i] = n
		if n > maxFixed || count*n > maxFixed {
			return nil, fmt.Errorf("input %q has more than %d elements", name, maxFixed)
		}
		count *= n
	}
	raw, err := v.Type.Elem.encode(x)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", name, err)
	}
	return rawTensor(v.Type.Elem, dims, slices.Repeat(raw, int(count))), nil
}

// maxFixed bounds what a constant in the place of an input may hold.
const maxFixed = 1 << 20

// encode writes a number as an element, little-endian, if the type has it.
func (t DataType) encode(x float64) ([]byte, error) {
	integer := func(lo, hi float64, size int) ([]byte, error) {
		if x != math.Trunc(x) || x < lo || x > hi {
			return nil, fmt.Errorf("%v is no %s", x, t)
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(int64(x)))[:size], nil
	}
	switch t {
	case Float:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(x))), nil
	case Double:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(x)), nil
	case Int64:
		return integer(-1<<53, 1<<53, 8)
	case Int32:
		return integer(math.MinInt32, math.MaxInt32, 4)
	case Int8:
		return integer(math.MinInt8, math.MaxInt8, 1)
	case Uint8:
		return integer(0, math.MaxUint8, 1)
	case Bool:
		return integer(0, 1, 1)
	}
	return nil, fmt.Errorf("its type %s cannot be given as a number", t)
}
