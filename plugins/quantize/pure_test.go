package quantize

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func TestParams(t *testing.T) {
	s8 := Scheme{DType: tensor.I8, QMin: -127, QMax: 127, Symmetric: true}
	for _, c := range []struct {
		name  string
		s     Scheme
		r     Range
		scale float32
		zero  int32
	}{
		{"after a Relu the zero point is the smallest integer", u8, Range{0, 2.55}, float32(float64(float32(2.55)) / 255), 0},
		{"a range above zero is widened to hold it", u8, Range{1, 2.55}, float32(float64(float32(2.55)) / 255), 0},
		{"a range below zero too", u8, Range{-2, -1}, float32(2.0 / 255), 255},
		{"both sides", u8, Range{-1, 1}, float32(2.0 / 255), 128},
		{"rounding half to even", u8, Range{-0.5, 254.5}, 1, 0},
		{"dead", u8, Range{0, 0}, 1, 0},
		{"subnormal width counts as dead", u8, Range{-1e-44, 1e-44}, 1, 0},
		{"widest", u8, Range{-math.MaxFloat32, math.MaxFloat32}, float32(2 * math.MaxFloat32 / 255.0), 128},
		{"symmetric", s8, Range{-3, 1}, float32(3.0 / 127), 0},
		{"symmetric dead", s8, Range{0, 0}, 1, 0},
		{"skewed: nothing negative", skew8, Range{0, 2.55}, float32(float64(float32(2.55)) / 255), 0},
		{"skewed: half is not less than half", skew8, Range{-1, 2}, float32(4.0 / 255), 128},
		{"skewed: lopsided", skew8, Range{-0.5, 2.05}, float32(float64(float32(0.5)+float32(2.05)) / 255), 50},
		{"skewed: lopsided downwards", skew8, Range{-2.05, 0.5}, float32(float64(float32(0.5)+float32(2.05)) / 255), 205},
		{"skewed: nothing positive", skew8, Range{-2, 0}, float32(2.0 / 255), 255},
		{"skewed: dead", skew8, Range{0, 0}, 1, 0},
	} {
		if got := c.s.Params(c.r); got.Scale != c.scale || got.Zero != c.zero || got.DType != c.s.DType {
			t.Errorf("%s: %v gives %+v, want scale %v zero %v", c.name, c.r, got, c.scale, c.zero)
		}
	}
}

// quantized is what QuantizeLinear computes.
func quantized(s Scheme, p Params, x float64) int32 {
	q := math.RoundToEven(float64(float32(x)/p.Scale)) + float64(p.Zero)
	return int32(min(max(q, float64(s.QMin)), float64(s.QMax)))
}

func TestClampRedundant(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		name   string
		r      Range
		lo, hi float64
		want   bool
	}{
		{"Relu on its own range", Range{0, 3}, 0, inf, true},
		{"Relu on a range that shares a scale with negative values", Range{-1, 3}, 0, inf, false},
		{"Relu6 that saturates", Range{0, 6}, 0, 6, true},
		{"Relu6 whose values stay below", Range{0, 2}, 0, 6, true},
		{"Relu6 on a wider shared range", Range{0, 20}, 0, 6, false},
		{"Clip(-1, 1.55)", Range{-1, 1.55}, -1, 1.55, true},
		{"Clip(-1, 1): its bounds fall between two steps", Range{-1, 1}, -1, 1, false},
		{"Clip(-1, 1) on a wider range", Range{-2, 1}, -1, 1, false},
		{"no bounds", Range{-2, 1}, -inf, inf, true},
		{"dead Relu", Range{0, 0}, 0, inf, true},
	} {
		if got := u8.clampRedundant(u8.Params(c.r), c.lo, c.hi); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	// Whenever it says so, saturating equals clamping for every x.
	rng := rand.New(rand.NewPCG(1, 2))
	yes := 0
	for range 20000 {
		lo, hi := -3*rng.Float64(), 3*rng.Float64()
		r := Range{float32(-3 * rng.Float64()), float32(3 * rng.Float64())}
		if rng.IntN(2) == 0 { // what calibration behind the clamp would see
			r = Range{max(r.Min, float32(lo)), min(r.Max, float32(hi))}
		}
		p := u8.Params(r)
		if !u8.clampRedundant(p, lo, hi) {
			continue
		}
		yes++
		for range 20 {
			x := 10 * (rng.Float64() - 0.5)
			if a, b := quantized(u8, p, x), quantized(u8, p, min(max(x, float64(float32(lo))), float64(float32(hi)))); a != b {
				t.Fatalf("range %v clamp [%v, %v] x %v: %d without the clamp, %d with it", r, lo, hi, x, a, b)
			}
		}
	}
	if yes < 1000 {
		t.Fatalf("only %d cases were redundant", yes)
	}
}

func TestRound8(t *testing.T) {
	for v := float32(-200); v <= 200; v += 0.015625 {
		want := int8(min(max(math.RoundToEven(float64(v)), -127), 127))
		if got := round8(v, -127, 127); got != want {
			t.Fatalf("round8(%v) = %d, want %d", v, got, want)
		}
	}
	for _, c := range []struct {
		v    float32
		want int8
	}{{math.MaxFloat32, 64}, {-math.MaxFloat32, -64}, {0.5, 0}, {1.5, 2}, {-0.5, 0}, {-1.5, -2}, {0.49999997, 0}} {
		if got := round8(c.v, -64, 64); got != c.want {
			t.Errorf("round8(%v) = %d, want %d", c.v, got, c.want)
		}
	}
}

func TestChannelLayout(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		axis  int
		want  channelsOf
	}{
		{[]int64{64, 32, 3, 3}, 0, channelsOf{1, 64, 288}},
		{[]int64{64, 32, 3, 3}, 1, channelsOf{64, 32, 9}},
		{[]int64{64, 32}, 1, channelsOf{64, 32, 1}},
		{[]int64{64, 32}, perTensor, channelsOf{1, 1, 2048}},
	} {
		if got := channelLayout(c.shape, c.axis); got != c.want {
			t.Errorf("channelLayout(%v, %d) = %v, want %v", c.shape, c.axis, got, c.want)
		}
	}
}

// TestWeightKernels compares the parallel kernels with the definition, on shapes large enough to be split.
func TestWeightKernels(t *testing.T) {
	s := Targets[0].Weight
	for _, shape := range [][]int64{{64, 32, 3, 3}, {512, 300}, {1000, 257}, {3, 5}, {1, 1}, {7, 4, 9}} {
		for _, axis := range []int{0, 1, perTensor} {
			l := channelLayout(shape, axis)
			rng := rand.New(rand.NewPCG(7, 7))
			w := make([]float32, l.outer*l.channels*l.inner)
			for i := range w {
				w[i] = float32(rng.NormFloat64())
			}
			absmax, err := channelMax(w, l)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]float32, l.channels)
			for i, v := range w {
				c := i / l.inner % l.channels
				want[c] = max(want[c], abs(v))
			}
			if !slices.Equal(absmax, want) {
				t.Fatalf("shape %v axis %d: magnitudes differ", shape, axis)
			}
			scales := s.weightScales(absmax)
			q := s.quantizeWeights(w, l, scales)
			for i, v := range w {
				c := i / l.inner % l.channels
				if want := int8(math.RoundToEven(float64(v / scales[c]))); q[i] != want {
					t.Fatalf("shape %v axis %d element %d: %d, want %d", shape, axis, i, q[i], want)
				}
			}
			if slices.Contains(q, -128) {
				t.Fatalf("shape %v axis %d: out of range", shape, axis)
			}
		}
	}
}

func TestChannelMaxNonFinite(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for _, l := range []channelsOf{{1, 4, 100000}, {100000, 4, 1}} {
			w := make([]float32, 400000)
			w[123456], w[399999] = bad, bad
			_, err := channelMax(w, l)
			var e *nonFiniteError
			if !errors.As(err, &e) || e.index != 123456 {
				t.Errorf("%v in %v: %v, want element 123456", bad, l, err)
			}
		}
	}
}

func TestFitBias(t *testing.T) {
	t.Run("overflow widens the channel", func(t *testing.T) {
		scales, absmax := []float32{1e-6, 1e-2}, []float32{127e-6, 1.27}
		bias := []float32{1000, 1}
		if !fitBias(scales, absmax, bias, 1e-3) || scales[1] != 1e-2 {
			t.Fatalf("scales are %v", scales)
		}
		q, _ := quantizeBias(bias, scales, 1e-3)
		if f := float64(q[0]) / maxBias; f < 0.99 || f > 1.01 {
			t.Errorf("bias became %d, want about 2^30", q[0])
		}
	})
	t.Run("a channel without weights keeps its bias", func(t *testing.T) {
		scales, absmax := []float32{1, 1}, []float32{0, 127}
		bias := []float32{0.01, 0.01}
		fitBias(scales, absmax, bias, 0.05)
		q, s := quantizeBias(bias, scales, 0.05)
		if got := float64(q[0]) * float64(s[0]); math.Abs(got-0.01) > 1e-7 {
			t.Errorf("bias of the dead channel became %v", got)
		}
	})
	t.Run("a scale that underflows", func(t *testing.T) {
		scales, absmax := []float32{1e-30}, []float32{1e-28}
		fitBias(scales, absmax, []float32{1}, 1e-20)
		if _, s := quantizeBias([]float32{1}, scales, 1e-20); s[0] < smallestNormal {
			t.Errorf("bias scale %v is subnormal", s[0])
		}
	})
	t.Run("nothing to do", func(t *testing.T) {
		scales := []float32{0.01, 0.02}
		if fitBias(scales, []float32{1.27, 2.54}, []float32{1, -1}, 0.1) || !slices.Equal(scales, []float32{0.01, 0.02}) {
			t.Errorf("scales changed: %v", scales)
		}
	})
}

func TestResolveTarget(t *testing.T) {
	for _, c := range []struct {
		name string
		cpu  CPU
		want string
		err  string
	}{
		{"auto", CPU{"amd64", []string{"AVX2", "AVX512VNNI"}}, "onnxruntime-x86-vnni", ""},
		{"auto", CPU{"amd64", []string{"AVX2", "AVXVNNI"}}, "onnxruntime-x86-vnni", ""},
		{"auto", CPU{"amd64", []string{"AVX2", "AVX512F"}}, "onnxruntime-x86", ""},
		{"", CPU{"amd64", nil}, "onnxruntime-x86", ""},
		{"auto", CPU{"arm64", []string{"ASIMDDP"}}, "onnxruntime-arm64", ""},
		{"auto", CPU{"riscv64", nil}, "", "onnxruntime-x86-vnni or onnxruntime-x86"},
		{"onnxruntime-x86", CPU{"arm64", nil}, "onnxruntime-x86", ""},
		{"onnxruntime-x86-vnni", CPU{"amd64", nil}, "onnxruntime-x86-vnni", ""},
		{"tensorrt", CPU{"amd64", nil}, "tensorrt", ""},
		{"abacus", CPU{"amd64", nil}, "", "there is no target"},
	} {
		got, err := resolveTarget(c.name, c.cpu)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s on %v: error %v, want %q in it", c.name, c.cpu, err, c.err)
			}
		case err != nil:
			t.Errorf("%s on %v: %v", c.name, c.cpu, err)
		case got.Name != c.want:
			t.Errorf("%s on %v: %s, want %s", c.name, c.cpu, got.Name, c.want)
		}
	}
}

// TestTargetTable holds the configurations to the table, and the weights of each row to what its kernel can add.
func TestTargetTable(t *testing.T) {
	var dynamic []string
	for _, row := range Targets {
		if row.Dynamic != nil {
			dynamic = append(dynamic, row.Name)
		}
	}
	for c, names := range map[any][]string{reflect.TypeFor[StaticConfig](): TargetNames(), reflect.TypeFor[DynamicConfig](): dynamic} {
		want := "auto," + strings.Join(names, ",")
		c := c.(reflect.Type)
		f, _ := c.FieldByName("Target")
		if got := f.Tag.Get("oneof"); got != want {
			t.Errorf("%s: oneof is %q, the table says %q", c, got, want)
		}
	}
	for _, row := range Targets {
		if slices.Equal(row.Arch, x86) && row.Activation.QMax*row.Weight.QMax*2 > math.MaxInt16 && len(row.Needs) == 0 {
			t.Errorf("%s: two products saturate 16 bits, and nothing says that the CPU adds in 32", row.Name)
		}
		if !row.Weight.Symmetric || row.Doc == "" || row.MinOpset < 13 {
			t.Errorf("%s: incomplete row", row.Name)
		}
	}
}

// TestNeeds: what was measured fits into what is said, without saying twice as much.
func TestNeeds(t *testing.T) {
	for model, peak := range map[int64]int64{18: 170, 72: 436, 180: 1085} {
		if n := staticNeeds(model<<20, 3); n.Memory < peak<<20 || n.Memory > 2*peak<<20 || n.Cores != 3 {
			t.Errorf("static, %d MB: %+v", model, n)
		}
	}
	for model, peak := range map[int64]int64{32: 76, 128: 244, 256: 485} {
		if n := dynamicNeeds(model << 20); n.Memory < peak<<20 || n.Memory > 2*peak<<20 {
			t.Errorf("dynamic, %d MB: %+v", model, n)
		}
	}
	if n := staticNeeds(0, 2); n.Memory != 0 {
		t.Errorf("of a model that is not there: %+v", n)
	}
}
