package calibrate

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// Source has the samples; *tensor.Shards is one.
type Source interface {
	// Samples is their number.
	Samples() int64
	// Fields are what each sample has.
	Fields() []tensor.Field
	// Batch returns n samples from start, field by field, axis 0 first.
	Batch(start, n int64) (map[string]tensor.Tensor, error)
}

// RandomSource makes up samples for the inputs of a model. Sample i depends on the seed and on i alone. Real numbers
// are normally distributed with mean 0 and standard deviation 1; whole numbers are 0 or 1, which is an index into
// almost anything.
type RandomSource struct {
	samples int64
	seed    uint64
	fields  []tensor.Field
}

// NewRandomSource makes up samples of the shapes that the model's inputs state; skip names inputs that get none. An axis
// other than that of the samples must be of a stated size.
func NewRandomSource(m *onnx.Model, samples int64, seed uint64, skip map[string]string) (*RandomSource, error) {
	r := &RandomSource{samples: samples, seed: seed}
	for _, in := range m.Graph.Feeds() {
		if _, ok := skip[in.Name()]; ok {
			continue
		}
		t := in.Type
		fail := func(format string, args ...any) error {
			return sdk.AttrError("calibration_random", "no random samples can be made for this model",
				fmt.Sprintf("Input %q "+format+" Give a dataset as calibration instead.", append([]any{in.Name()}, args...)...))
		}
		if t == nil || t.Kind != onnx.KindTensor || !t.HasShape || len(t.Shape) == 0 {
			return nil, fail("does not state its shape.")
		}
		f := tensor.Field{Name: in.Name(), DType: t.Elem.DType()}
		switch f.DType {
		case tensor.F32, tensor.F16, tensor.BF16, tensor.F64, tensor.I64, tensor.I32, tensor.I16, tensor.I8, tensor.U8, tensor.U16, tensor.U32, tensor.U64, tensor.Bool:
		default:
			return nil, fail("holds %s.", t.Elem)
		}
		for i, d := range t.Shape[1:] {
			if !d.Fixed() {
				return nil, fail("leaves the size of axis %d open.", i+1)
			}
			f.Shape = append(f.Shape, d.Value)
		}
		if _, err := tensor.Size(f.DType, append([]int64{samples}, f.Shape...)); err != nil {
			return nil, fail("cannot be filled: %v.", err)
		}
		r.fields = append(r.fields, f)
	}
	return r, nil
}

// Samples is their number.
func (r *RandomSource) Samples() int64 { return r.samples }

// Fields are the inputs.
func (r *RandomSource) Fields() []tensor.Field { return r.fields }

// Batch makes up n samples from start.
func (r *RandomSource) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	out := make(map[string]tensor.Tensor, len(r.fields))
	for k, f := range r.fields {
		size, err := tensor.Elements(f.Shape)
		if err != nil {
			return nil, err
		}
		v := make([]float32, 0, size*n)
		for i := start; i < start+n; i++ {
			rng := rand.New(rand.NewPCG(r.seed, uint64(i)<<16|uint64(k)))
			for range size {
				if f.DType.IsFloat() {
					v = append(v, float32(rng.NormFloat64()))
				} else {
					v = append(v, float32(rng.IntN(2)))
				}
			}
		}
		if out[f.Name], err = convert(f.DType, append([]int64{n}, f.Shape...), v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// convert turns numbers into another type; whole ones are 0 or 1.
func convert(d tensor.DType, shape []int64, v []float32) (tensor.Tensor, error) {
	if d == tensor.F64 {
		b := make([]byte, 0, 8*len(v))
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(x)))
		}
		return tensor.Tensor{DType: d, Shape: shape, Data: b}, nil
	}
	if d.IsFloat() {
		return tensor.FromFloat32(d, shape, v)
	}
	width := d.Bits() / 8
	b := make([]byte, width*len(v))
	for i, x := range v {
		b[i*width] = byte(x)
	}
	return tensor.Tensor{DType: d, Shape: shape, Data: b}, nil
}
