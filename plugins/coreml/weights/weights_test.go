package weights

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// rng gives the same numbers in every run.
func rng() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) } //nolint:gosec // test data

// normal are floats of a bell; of them every keep-th is kept where keep > 1.
func normal(r *rand.Rand, n, keep int) []float32 {
	f := make([]float32, n)
	for i := range f {
		if keep <= 1 || r.IntN(keep) == 0 {
			f[i] = float32(r.NormFloat64()) * 0.05
		} else if r.IntN(2) == 0 {
			f[i] = float32(math.Copysign(0, -1)) // what a product with a mask leaves
		}
	}
	return f
}

// clustered are floats of few values, for each group of the first axis others.
func clustered(r *rand.Rand, n, values, groups int) []float32 {
	f := make([]float32, n)
	for g := range groups {
		table := normal(r, values, 1)
		for i := g * n / groups; i < (g+1)*n/groups; i++ {
			f[i] = table[r.IntN(values)]
		}
	}
	return f
}

// integers are random steps.
func integers(r *rand.Rand, shape, scales []int64, bits int, signed, zeros bool, keep int) *Steps {
	n, m := int(mil.Type{Shape: shape}.Elements()), int(mil.Type{Shape: scales}.Elements())
	s := &Steps{Shape: shape, Bits: bits, Signed: signed, ScaleShape: scales, Q: make([]byte, n), Scale: make([]float32, m)}
	low := 0
	if signed {
		low = -1 << (bits - 1)
	}
	for i := range m {
		s.Scale[i] = float32(0.001 + 0.01*r.Float64())
		if zeros {
			s.Zero = append(s.Zero, int16(low+r.IntN(1<<bits)))
		}
	}
	for i := range s.Q {
		s.Q[i] = byte(low + r.IntN(1<<bits))
		if keep > 1 && r.IntN(keep) != 0 {
			s.Q[i] = 0
			if zeros {
				s.Q[i] = byte(s.Zero[block(i, shape, scales)])
			}
		}
	}
	return s
}

type sample struct {
	name  string
	shape []int64
	f     []float32
	steps *Steps
	// want are the forms that are chosen, by opset and type: "7 fp16".
	want map[string]string
}

func samples() []sample {
	r := rng()
	conv := []int64{32, 16, 3, 3} // 4608 elements
	n := 32 * 16 * 9
	fromSteps := func(name string, s *Steps, want map[string]string) sample {
		return sample{name, s.Shape, s.Floats(), s, want}
	}
	folded := func(s sample) sample { s.name, s.steps = s.name+", folded", nil; return s }
	ch := []int64{32, 1, 1, 1}
	perChannel := integers(r, conv, ch, 8, true, false, 1)
	all := []sample{
		{"plain", conv, normal(r, n, 1), nil, map[string]string{"5 fp16": "const, fp16", "8 fp32": "const, fp32", "8 fp16": "const, fp16"}},
		{"pruned", conv, normal(r, n, 4), nil, map[string]string{"5 fp16": "const, fp16", "6 fp16": "constexpr_sparse_to_dense, fp16", "8 fp32": "constexpr_sparse_to_dense, fp32"}},
		{"16 values", conv, clustered(r, n, 16, 1), nil, map[string]string{"5 fp32": "const, fp32", "6 fp16": "constexpr_lut_to_dense, 4 bits", "8 fp32": "constexpr_lut_to_dense, 4 bits"}},
		{"7 values", conv, clustered(r, n, 7, 1), nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 4 bits", "8 fp16": "constexpr_lut_to_dense, 3 bits"}},
		{"2 values", conv, clustered(r, n, 2, 1), nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 1 bit", "8 fp32": "constexpr_lut_to_dense, 1 bit"}},
		{"1 value", conv, clustered(r, n, 1, 1), nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 1 bit"}},
		{"no value", conv, make([]float32, n), nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 1 bit"}},
		{"150 values", conv, clustered(r, n, 150, 1), nil, map[string]string{"7 fp32": "constexpr_lut_to_dense, 8 bits", "8 fp32": "constexpr_lut_to_dense, 8 bits"}},
		{"tables of groups", conv, clustered(r, n, 16, 4), nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 6 bits", "8 fp16": "constexpr_lut_to_dense, 4 bits in groups"}},
		fromSteps("int8", integers(r, conv, []int64{1, 1, 1, 1}, 8, true, false, 1), map[string]string{"6 fp16": "constexpr_affine_dequantize, int8", "8 fp16": "constexpr_blockwise_shift_scale, int8"}),
		fromSteps("int8 of channels", perChannel, map[string]string{"5 fp16": "const, fp16", "7 fp32": "constexpr_affine_dequantize, int8", "8 fp32": "constexpr_blockwise_shift_scale, int8"}),
		fromSteps("uint8 of channels", integers(r, conv, ch, 8, false, true, 1), map[string]string{"7 fp16": "constexpr_affine_dequantize, uint8", "8 fp16": "constexpr_blockwise_shift_scale, uint8"}),
		fromSteps("uint8 of the second axis", integers(r, conv, []int64{1, 16, 1, 1}, 8, false, true, 1), map[string]string{"7 fp32": "constexpr_affine_dequantize, uint8", "8 fp32": "constexpr_blockwise_shift_scale, uint8"}),
		fromSteps("int4 of channels", integers(r, conv, ch, 4, true, false, 1), map[string]string{"7 fp16": "constexpr_affine_dequantize, int8", "8 fp16": "constexpr_blockwise_shift_scale, int4"}),
		fromSteps("int4", integers(r, conv, []int64{1, 1, 1, 1}, 4, true, false, 1), map[string]string{"7 fp16": "constexpr_lut_to_dense, 4 bits", "8 fp16": "constexpr_blockwise_shift_scale, int4"}),
		fromSteps("uint4 of blocks", integers(r, []int64{64, 128}, []int64{64, 4}, 4, false, true, 1), map[string]string{"7 fp32": "constexpr_sparse_to_dense, fp32", "8 fp32": "constexpr_blockwise_shift_scale, uint4"}),
		fromSteps("int2 of blocks", integers(r, []int64{64, 128}, []int64{64, 4}, 2, true, false, 1), map[string]string{"8 fp32": "constexpr_lut_to_dense with constexpr_blockwise_shift_scale, uint2"}),
		fromSteps("int8 pruned", integers(r, conv, ch, 8, true, false, 8), map[string]string{"8 fp16": "constexpr_sparse_blockwise_shift_scale, int8"}),
		fromSteps("uint8 pruned", integers(r, conv, []int64{1, 1, 1, 1}, 8, false, true, 8), map[string]string{"8 fp32": "constexpr_sparse_blockwise_shift_scale, uint8"}),
	}
	pruned := clustered(r, n, 15, 1)
	for i := range pruned {
		if r.IntN(4) != 0 {
			pruned[i] = 0
		}
	}
	all = append(all, sample{"pruned and clustered", conv, pruned, nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 4 bits", "8 fp16": "constexpr_lut_to_sparse, 4 bits"}})
	half := normal(r, n, 1)
	for i := range half {
		half[i] = float32(round(mil.Float16, float64(half[i])))
	}
	all = append(all, sample{"halves", conv, half, nil, map[string]string{"5 fp32": "const, fp32", "7 fp32": "constexpr_cast, fp16", "7 fp16": "const, fp16"}})
	for _, s := range all {
		if s.name == "int8 of channels" {
			s = folded(s)
			all = append(all, s)
		}
	}
	odd := sample{"odd", []int64{3, 701}, clustered(r, 2103, 9, 1), nil, map[string]string{"7 fp16": "constexpr_lut_to_dense, 4 bits"}}
	vector := sample{"vector", []int64{4096}, clustered(r, 4096, 2, 1), nil, map[string]string{"8 fp16": "const, fp16"}}
	small := sample{"small", []int64{8, 8}, clustered(r, 64, 2, 1), nil, map[string]string{"8 fp16": "const, fp16"}}
	return append(all, odd, vector, small)
}

// TestForms writes every form of every sample for every operator set and type, and decodes it with code of its own: each
// element must be what it was, rounded as documented; what was counted must be what was written, and what is chosen the least.
func TestForms(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			for opset := 5; opset <= 8; opset++ {
				for _, typ := range []mil.DataType{mil.Float16, mil.Float32} {
					x := &source{typ: mil.Type{DataType: typ, Shape: s.shape}, f: s.f, opset: opset, name: "w", spare: [2]string{"w_1", "w_2"}}
					forms := []form{x.dense()}
					least := int64(math.MaxInt64)
					keep := func(fs []form) { forms = append(forms, fs...) }
					if opset >= 6 && len(s.shape) > 1 {
						keep(x.cast())
						if typ == mil.Float16 {
							valueForms(x, halvesOf(s.f), &least, keep)
						} else {
							valueForms(x, wordsOf(s.f), &least, keep)
						}
						if s.steps != nil {
							keep(x.stepForms(s.steps, false))
							keep(x.stepForms(s.steps, true))
						}
					}
					chosen := x.choose(s.steps, 64)
					forms = append(forms, chosen)
					var size int64
					for _, f := range forms {
						got, counted, real := written(t, f, opset)
						if d := counted - real; d < -8 || d > 8 {
							t.Errorf("%s, %s: %d bytes are counted, %d written", describe(opset, typ), f.name, counted, real)
						}
						size = real
						if at := differs(s, typ, f, got); at >= 0 {
							t.Fatalf("%s, %s: element %d is %v of %v", describe(opset, typ), f.name, at, got[at], s.f[at])
						}
					}
					for _, f := range forms {
						if n := f.bytes(64); n < size-8 && len(s.f) >= leastElements {
							t.Errorf("%s: %s with %d bytes was chosen, %s has %d", describe(opset, typ), chosen.name, size, f.name, n)
						}
					}
					key := strings.TrimPrefix(describe(opset, typ), "CoreML")
					if want, ok := s.want[key]; ok && want != chosen.name {
						t.Errorf("%s: %s was chosen, not %s", key, chosen.name, want)
					}
				}
			}
		})
	}
}

func halvesOf(f []float32) []uint16 {
	out := make([]uint16, len(f))
	b := mil.Halves(f)
	for i := range out {
		out[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return out
}

func wordsOf(f []float32) []uint32 {
	out := make([]uint32, len(f))
	for i, v := range f {
		out[i] = math.Float32bits(v)
	}
	return out
}

// differs finds the first element that is not what it was: to the last bit, but for integers whose scale was rounded to half
// precision.
func differs(s sample, typ mil.DataType, f form, got []float64) int {
	if len(got) != len(s.f) {
		return min(len(got), len(s.f)-1)
	}
	scaled := typ == mil.Float16 && (strings.Contains(f.name, "affine") || strings.Contains(f.name, "blockwise"))
	for i, v := range s.f {
		want := round(typ, float64(v))
		if got[i] != want && (!scaled || math.Abs(got[i]-float64(v)) > math.Abs(float64(v))*0x1p-10+0x1p-25) {
			return i
		}
	}
	return -1
}

// TestScalesThatHalfCannotHold: integers are not written where their scale would lose bits; a scale of zeros only is free.
func TestScalesThatHalfCannotHold(t *testing.T) {
	s := integers(rng(), []int64{64, 64}, []int64{64, 1}, 8, true, false, 1)
	name := func() string {
		x := &source{typ: mil.Type{DataType: mil.Float16, Shape: s.Shape}, f: s.Floats(), opset: 7, name: "w"}
		return x.choose(s, 64).name
	}
	if got := name(); got != "constexpr_affine_dequantize, int8" {
		t.Error(got)
	}
	for i := range s.Scale {
		s.Scale[i] *= 0x1p-9
	}
	if got := name(); got != "const, fp16" {
		t.Error(got)
	}
	for i := range s.Scale {
		s.Scale[i] *= 0x1p9
	}
	s.Scale[3] = 1.01e-6 // of a channel that is next to nothing beside the others
	if got := name(); got != "constexpr_affine_dequantize, int8" {
		t.Error(got)
	}
	s.Scale[3] = 1e-30
	for i := range 64 {
		s.Q[3*64+i] = 0
	}
	if got := name(); got != "constexpr_affine_dequantize, int8" {
		t.Error(got)
	}
	s.Q[3*64] = 100
	s.Scale[3] = 1000
	s.Q[3*64] = 100
	if got := name(); got != "const, fp16" {
		t.Error(got)
	}
}

// TestFindSteps: integers that some tool made floats of are found again, to the last bit.
func TestFindSteps(t *testing.T) {
	r := rng()
	for _, scales := range [][]int64{{1, 1}, {48, 1}, {1, 96}} {
		for _, zeros := range []bool{false, true} {
			s := integers(r, []int64{48, 96}, scales, 8, !zeros, zeros, 1)
			f := s.Floats()
			got := findSteps(s.Shape, f)
			if got == nil {
				t.Errorf("scales %v, zeros %v: not found", scales, zeros)
				continue
			}
			if !slices.Equal(got.Floats(), f) {
				t.Errorf("scales %v, zeros %v: other floats", scales, zeros)
			}
			f[77] *= 1 + 0x1p-20
			if findSteps(s.Shape, f) != nil {
				t.Errorf("scales %v, zeros %v: found where one element is off", scales, zeros)
			}
		}
	}
	if findSteps([]int64{64, 64}, normal(r, 4096, 1)) != nil {
		t.Error("found in floats")
	}
	f := normal(r, 4096, 1)
	f[5] = float32(math.NaN())
	f[9] = float32(math.Inf(1))
	if findSteps([]int64{1024, 4}, f) != nil {
		t.Error("found in what is no number")
	}
}
