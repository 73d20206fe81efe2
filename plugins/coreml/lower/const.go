package lower

import (
	"errors"
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/plugins/coreml/weights"
)

// Const is a constant. One of floats is read when the package is written; moving its axes and cutting it are noted until
// then, and integers that it is stored in stay integers.
type Const struct {
	shape []int64
	float bool
	truth bool // with ints: truth values
	ints  []int64
	// floats gives the elements of one of floats, row-major.
	floats func() ([]float32, error)
	// steps gives the integers that the floats are stored in, nil where there are none.
	steps func() (*weights.Steps, error)
	// tensor is the model's own, where it is one as it is.
	tensor *onnx.Tensor
}

// Shape are its axes.
func (k *Const) Shape() []int64 { return k.shape }

// Stored tells whether its floats are stored in integers, as QDQ models have their weights.
func (k *Const) Stored() bool { return k.steps != nil }

// Floats reads the elements.
func (k *Const) Floats() ([]float32, error) {
	if k.float {
		return k.floats()
	}
	out := make([]float32, len(k.ints))
	for i, v := range k.ints {
		out[i] = float32(v)
	}
	return out, nil
}

func (k *Const) dataType() mil.DataType {
	switch {
	case k.float:
		return mil.Float32
	case k.truth:
		return mil.Bool
	}
	return mil.Int32
}

// newConst takes a tensor of the model. Integers are read now, and must fit into 32 bits.
func newConst(t *onnx.Tensor) (*Const, error) {
	n := t.Elements()
	if n < 0 {
		return nil, fmt.Errorf("the tensor %q has the shape %v", t.Name(), t.Dims)
	}
	k := &Const{shape: slices.Clone(t.Dims)}
	switch t.DataType {
	case onnx.Float, onnx.Float16, onnx.Double, onnx.BFloat16:
		k.float, k.tensor = true, t
		k.floats = t.Float32s
		return k, nil
	case onnx.Bool:
		k.truth = true
	case onnx.Int8, onnx.Uint8, onnx.Int16, onnx.Uint16, onnx.Int32, onnx.Int64, onnx.Uint32, onnx.Uint64:
	default:
		return nil, fmt.Errorf("the tensor %q is of %s, which Core ML does not have", t.Name(), t.DataType)
	}
	v, err := t.Ints()
	if err != nil {
		if k.truth {
			f, err := t.Float32s()
			if err != nil {
				return nil, err
			}
			v = make([]int64, len(f))
			for i := range f {
				if f[i] != 0 {
					v[i] = 1
				}
			}
		} else {
			return nil, fmt.Errorf("the tensor %q: %w", t.Name(), err)
		}
	}
	for i, x := range v {
		switch {
		case x == int64(int32(x)):
		case x > 1<<62 || x < -1<<62:
			// The ends of int64 stand for "as far as there is" in slices and ranges.
			v = slices.Clone(v)
			v[i] = max(min(x, 1<<31-1), -1<<31)
		default:
			return nil, fmt.Errorf("the tensor %q holds the number %d, which does not fit into the 32 bits that Core ML has", t.Name(), x)
		}
	}
	k.ints = v
	return k, nil
}

// Transpose changes the order of the axes.
func (k *Const) Transpose(perm []int64) *Const {
	out := &Const{float: k.float, truth: k.truth, shape: weights.PermuteShape(k.shape, perm)}
	if !k.float {
		out.ints = weights.Permute(k.ints, k.shape, perm)
		return out
	}
	out.floats = func() ([]float32, error) {
		f, err := k.floats()
		return weights.Permute(f, k.shape, perm), err
	}
	if k.steps != nil {
		out.steps = func() (*weights.Steps, error) {
			s, err := k.steps()
			if err != nil {
				return nil, err
			}
			return s.Transpose(perm), nil
		}
	}
	return out
}

// Reshape gives it other axes of as many elements.
func (k *Const) Reshape(shape []int64) *Const {
	out := *k
	out.tensor = nil
	out.shape = slices.Clone(shape)
	if k.steps != nil {
		out.steps = func() (*weights.Steps, error) {
			s, err := k.steps()
			if err != nil {
				return nil, err
			}
			return s.Reshape(shape), nil
		}
	}
	return &out
}

// Take picks places along an axis, in a new order: the gates of a recurrent layer, the columns of a part.
func (k *Const) Take(axis int, places []int64) *Const {
	out := &Const{float: k.float, truth: k.truth, shape: slices.Clone(k.shape)}
	out.shape[axis] = int64(len(places))
	if !k.float {
		out.ints = weights.Take(k.ints, k.shape, axis, places)
		return out
	}
	out.floats = func() ([]float32, error) {
		f, err := k.floats()
		return weights.Take(f, k.shape, axis, places), err
	}
	if k.steps != nil {
		out.steps = func() (*weights.Steps, error) {
			s, err := k.steps()
			if err != nil {
				return nil, err
			}
			return s.Take(axis, places), nil
		}
	}
	return out
}

// Map changes each element when it is read; it is stored in floats then.
func (k *Const) Map(f func(float32) float32) *Const {
	return &Const{float: true, shape: k.shape, floats: func() ([]float32, error) {
		in, err := k.Floats()
		if err != nil {
			return nil, err
		}
		out := make([]float32, len(in))
		for i, v := range in {
			out[i] = f(v)
		}
		return out, nil
	}}
}

// Combine makes a constant of others, element by element or in any way: f gets their elements when the package is written.
func Combine(shape []int64, f func(in [][]float32) ([]float32, error), parts ...*Const) *Const {
	return &Const{float: true, shape: slices.Clone(shape), floats: func() ([]float32, error) {
		in := make([][]float32, len(parts))
		for i, p := range parts {
			var err error
			if in[i], err = p.Floats(); err != nil {
				return nil, err
			}
		}
		out, err := f(in)
		if err == nil && int64(len(out)) != product(shape) {
			err = errors.New("a combined constant has another number of elements than its shape says")
		}
		return out, err
	}}
}

func product(s []int64) int64 { return mil.Type{Shape: s}.Elements() }

// emitConst adds an operation const, and gives its name. Small ones of floats and all integers are immediate; others become
// bytes when the package is written.
func (p *program) emitConst(k *Const, t mil.DataType, hint string) string {
	typ := mil.Type{DataType: t, Shape: k.shape}
	switch {
	case !k.float && t == mil.Bool:
		b := make([]bool, len(k.ints))
		for i, v := range k.ints {
			b[i] = v != 0
		}
		v := mil.Truths(b...)
		v.Shape = k.shape
		return p.addConst(hint, v)
	case !k.float && !t.Float():
		v := mil.Ints(k.ints...)
		v.Shape = k.shape
		return p.addConst(hint, v)
	case len(k.shape) == 0:
		if f, err := k.Floats(); err == nil && len(f) == 1 {
			return p.addConst(hint, mil.Scalar(t, float64(f[0])))
		}
	}
	name := p.names.fresh(hint)
	p.types[name] = mil.Known{Type: typ, Const: true}
	var spare [2]string
	if p.main.Opset >= 8 && len(k.shape) > 1 {
		spare = [2]string{p.names.fresh(name + "_part"), p.names.fresh(name + "_part")}
	}
	p.main.Ops = append(p.main.Ops, &mil.Operation{Type: "const", Outputs: []mil.Named{{Name: name, Type: typ}},
		Weight: &weights.Weight{Floats: k.Floats, Steps: k.steps, Opset: p.main.Opset, Tally: p.tally, Spare: spare}})
	return name
}

// addConst adds a constant whose bytes are immediate.
func (p *program) addConst(hint string, v mil.Value) string {
	name := p.names.fresh(hint)
	p.types[name] = mil.Known{Type: v.Type, Const: true, Value: &v}
	p.main.Ops = append(p.main.Ops, &mil.Operation{Type: "const", Outputs: []mil.Named{{Name: name, Type: v.Type}},
		Attrs: []mil.Attr{{Key: "val", Value: v}}})
	return name
}

// immediate gives the name of a constant argument. Equal ones are one.
func (p *program) immediate(key string, v mil.Value) string {
	id := fmt.Sprintf("%d %v %q %x", v.DataType, v.Type.Shape, v.Texts, v.Data)
	if v.Strings > 0 {
		return p.addConst(key, v)
	}
	if name, ok := p.shared[id]; ok {
		return name
	}
	name := p.addConst(key, v)
	p.shared[id] = name
	return name
}
