// Package trial runs models on made-up inputs, to see whether two compute the same.
package trial

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// Inputs makes up what the model takes, always the same for a seed: numbers from -1 to 1, ones where it wants integers,
// which are mostly indexes and masks, and usual sizes where it leaves them open.
func Inputs(m *onnx.Model, seed uint64) (map[string]tensor.Tensor, error) {
	shapes, err := onnx.TypicalShapes(m)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, 0x70727565)) //nolint:gosec // made-up data
	out := map[string]tensor.Tensor{}
	for _, in := range m.Graph.Feeds() {
		elem, dims, ok := shapes.Of(in.Name())
		if !ok || dims == nil {
			return nil, fmt.Errorf("input %q: the model does not say which shape it takes", in.Name())
		}
		t := tensor.Tensor{DType: elem.DType(), Shape: make([]int64, len(dims))}
		for i, d := range dims {
			if !d.Fixed() {
				return nil, fmt.Errorf("input %q: the model does not say how large axis %d is", in.Name(), i)
			}
			t.Shape[i] = d.Value
		}
		n, err := tensor.Elements(t.Shape)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", in.Name(), err)
		}
		size := t.DType.Bits() / 8
		if size == 0 {
			return nil, fmt.Errorf("input %q: values of type %s cannot be made up", in.Name(), t.DType)
		}
		t.Data = make([]byte, int(n)*size)
		fill(t, r)
		out[in.Name()] = t
	}
	return out, nil
}

func fill(t tensor.Tensor, r *rand.Rand) {
	put := func(i, size int, bits uint64) {
		for b := range size {
			t.Data[i*size+b] = byte(bits >> (8 * b)) //nolint:gosec // one byte of it
		}
	}
	size := t.DType.Bits() / 8
	for i := range len(t.Data) / size {
		x := 2*r.Float32() - 1
		switch t.DType {
		case tensor.F32:
			put(i, 4, uint64(math.Float32bits(x)))
		case tensor.F64:
			put(i, 8, math.Float64bits(float64(x)))
		case tensor.F16:
			put(i, 2, uint64(tensor.Float32ToF16(x)))
		case tensor.BF16:
			put(i, 2, uint64(tensor.Float32ToBF16(x)))
		default:
			put(i, size, 1)
		}
	}
}

// Outputs are what a model gives, by name.
type Outputs map[string]tensor.Tensor

// Run loads a model and runs it on inputs. The model is as it is in memory; what it computes in is all float.
func Run(m *onnx.Model, inputs map[string]tensor.Tensor, threads int) (Outputs, error) {
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	out, err := s.Run(inputs, nil)
	return out, err
}

// RunFile is Run for a model in a file.
func RunFile(path string, inputs map[string]tensor.Tensor, threads int) (Outputs, error) {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	out, err := s.Run(inputs, nil)
	return out, err
}

// Load sees whether the engine takes a model.
func Load(path string, threads int) error {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: threads})
	if err != nil {
		return err
	}
	return s.Close()
}

// Finite is an error where an output holds what is no number.
func Finite(out Outputs) error {
	for name, x := range out {
		if err := tensor.CheckFinite(x); err != nil {
			return fmt.Errorf("output %q: %w", name, err)
		}
	}
	return nil
}

// Difference is the largest difference between elements of two models' outputs, as a share of the largest magnitude in
// that output (or of 1 where that is less), and the output that it is in. Shapes that differ, and numbers on one side
// only, are an error.
func Difference(a, b Outputs) (worst float64, output string, err error) {
	for name, x := range a {
		y, ok := b[name]
		if !ok || fmt.Sprint(x.Shape) != fmt.Sprint(y.Shape) || x.DType != y.DType {
			return 0, name, fmt.Errorf("output %q is %s%v, and was %s%v", name, y.DType, y.Shape, x.DType, x.Shape)
		}
		u, err := tensor.ToFloat32(x)
		if err != nil {
			return 0, name, err
		}
		v, err := tensor.ToFloat32(y)
		if err != nil {
			return 0, name, err
		}
		most, diff := 1.0, 0.0
		for i := range u {
			p, q := float64(u[i]), float64(v[i])
			if math.IsNaN(p) && math.IsNaN(q) || p == q {
				continue
			}
			if math.IsNaN(p) || math.IsNaN(q) || math.IsInf(p, 0) || math.IsInf(q, 0) {
				return 0, name, fmt.Errorf("output %q has %v where it was %v, at element %d", name, q, p, i)
			}
			most, diff = max(most, math.Abs(p)), max(diff, math.Abs(p-q))
		}
		if d := diff / most; d > worst || output == "" {
			worst, output = d, name
		}
	}
	return worst, output, nil
}
