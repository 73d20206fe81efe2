package tensor

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestDTypeSpelling(t *testing.T) {
	for d := Bool; d <= F8E5M2; d++ {
		got, err := ParseDType(d.String())
		if err != nil || got != d || d.Bits() == 0 {
			t.Errorf("%s: got %s, %v, %d bits", d, got, err, d.Bits())
		}
		text, err := d.MarshalText()
		var back DType
		if err != nil || back.UnmarshalText(text) != nil || back != d {
			t.Errorf("%s does not survive as text", d)
		}
		if d.IsFloat() && d.IsInteger() {
			t.Errorf("%s is both", d)
		}
	}
	for _, s := range []string{"", "f32", "INVALID", "F128", strings.Repeat("x", 1000)} {
		if d, err := ParseDType(s); err == nil || len(err.Error()) > 300 {
			t.Errorf("%q: got %s, %v", s, d, err)
		}
	}
	if _, err := Invalid.MarshalText(); err == nil || DType(200).Bits() != 0 || DType(200).String() != "DType(200)" {
		t.Error("an invalid type must not be written")
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		d     DType
		shape []int64
		want  int64
		err   string
	}{
		{F32, []int64{2, 3}, 24, ""},
		{F64, nil, 8, ""},
		{U4, []int64{3, 3}, 5, ""},
		{Bool, []int64{0, math.MaxInt64, math.MaxInt64}, 0, ""},
		{F32, []int64{-1, 3}, 0, "negative"},
		{F32, []int64{0, -1}, 0, "negative"},
		{U8, []int64{math.MaxInt64, 2}, 0, "64 bits"},
		{F64, []int64{math.MaxInt64 / 4}, 0, "64 bits"},
		{Invalid, []int64{1}, 0, "no element type"},
	} {
		got, err := Size(c.d, c.shape)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s %v: got %d, %v", c.d, c.shape, got, err)
		}
	}
}

func TestView(t *testing.T) {
	type level int8
	if v, err := View[level](Of(nil, []int8{-1, 2})); err != nil || !slices.Equal(v, []level{-1, 2}) {
		t.Errorf("a defined type: %v, %v", v, err)
	}
	x := Of([]int64{2, 2}, []float32{1, 2, 3, 4})
	v, err := View[float32](x)
	if err != nil || !slices.Equal(v, []float32{1, 2, 3, 4}) {
		t.Fatalf("got %v, %v", v, err)
	}
	if unsafe.Pointer(&v[0]) != unsafe.Pointer(&x.Data[0]) {
		t.Error("an aligned view must not copy")
	}
	if _, err := View[int32](x); err == nil || !strings.Contains(err.Error(), "F32, not I32") {
		t.Errorf("another type: %v", err)
	}
	shifted := append([]byte{0}, x.Data...)[1:]
	v, err = View[float32](Tensor{F32, []int64{4}, shifted})
	if err != nil || !slices.Equal(v, []float32{1, 2, 3, 4}) {
		t.Errorf("unaligned: got %v, %v", v, err)
	}
	if b, err := View[uint8](Tensor{Bool, []int64{2}, []byte{0, 1}}); err != nil || len(b) != 2 {
		t.Errorf("Bool: got %v, %v", b, err)
	}
	if v, err := View[float32](Tensor{F32, []int64{0}, nil}); err != nil || len(v) != 0 {
		t.Errorf("empty: got %v, %v", v, err)
	}
	for _, bad := range []Tensor{{F32, []int64{3}, make([]byte, 8)}, {F32, []int64{-1}, nil}, {}} {
		if _, err := View[float32](bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	c := x.Clone()
	c.Data[0], c.Shape[0] = 9, 9
	if x.Data[0] == 9 || x.Shape[0] == 9 {
		t.Error("a clone shares memory")
	}
}

func TestRows(t *testing.T) {
	x := Of([]int64{3, 2}, []int16{1, 2, 3, 4, 5, 6})
	r, err := x.Rows(1, 2)
	if err != nil || !slices.Equal(r.Shape, []int64{2, 2}) {
		t.Fatal(r, err)
	}
	if v, _ := View[int16](r); !slices.Equal(v, []int16{3, 4, 5, 6}) {
		t.Errorf("got %v", v)
	}
	for _, at := range [][2]int64{{-1, 1}, {0, -1}, {2, 2}, {4, 0}, {1, math.MaxInt64}} {
		if _, err := x.Rows(at[0], at[1]); err == nil {
			t.Errorf("rows %v lie outside, but there is no error", at)
		}
	}
	if _, err := (Tensor{U4, []int64{2, 3}, make([]byte, 3)}).Rows(0, 1); err == nil {
		t.Error("rows of three nibbles cannot be cut")
	}
	if r, err := (Tensor{U4, []int64{2, 4}, []byte{1, 2, 3, 4}}).Rows(1, 1); err != nil || r.Data[0] != 3 {
		t.Error(r, err)
	}
	if _, err := Of([]int64{}, []int8{1}).Rows(0, 1); err == nil {
		t.Error("a scalar has no rows")
	}
}

func TestToFloat32(t *testing.T) {
	nan := float32(math.NaN())
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		in   Tensor
		want []float32
	}{
		{Of(nil, []float32{1.5}), []float32{1.5}},
		{Of(nil, []float64{1.5, 1e300}), []float32{1.5, inf}},
		{Of(nil, []uint8{0, 255}), []float32{0, 255}},
		{Of(nil, []int8{-128, 127}), []float32{-128, 127}},
		{Of(nil, []uint16{65535}), []float32{65535}},
		{Of(nil, []int16{-32768}), []float32{-32768}},
		{Of(nil, []uint32{math.MaxUint32}), []float32{1 << 32}},
		{Of(nil, []int32{-5}), []float32{-5}},
		{Of(nil, []uint64{math.MaxUint64}), []float32{1 << 64}},
		{Of(nil, []int64{-7}), []float32{-7}},
		{Tensor{Bool, []int64{3}, []byte{0, 1, 2}}, []float32{0, 1, 1}},
		{Tensor{U4, []int64{3}, []byte{0xf1, 0x02}}, []float32{1, 15, 2}},
		{Tensor{I4, []int64{3}, []byte{0xf7, 0x08}}, []float32{7, -1, -8}},
		{Tensor{F16, []int64{4}, []byte{0, 0x3c, 0, 0xc0, 1, 0, 0, 0xfc}}, []float32{1, -2, 0x1p-24, -inf}},
		{Tensor{BF16, []int64{2}, []byte{0x80, 0x3f, 0xc0, 0x7f}}, []float32{1, nan}},
		// The corners of the OCP tables: largest, smallest subnormal, smallest normal.
		{Tensor{F8E4M3, []int64{6}, []byte{0x7e, 0x01, 0x08, 0x7f, 0xb8, 0x38}}, []float32{448, 0x1p-9, 0x1p-6, nan, -1, 1}},
		{Tensor{F8E5M2, []int64{5}, []byte{0x7b, 0x01, 0x04, 0x7c, 0xbc}}, []float32{57344, 0x1p-16, 0x1p-14, inf, -1}},
	} {
		got, err := ToFloat32(c.in)
		same := func(a, b float32) bool { return a == b || a != a && b != b }
		if err != nil || !slices.EqualFunc(got, c.want, same) {
			t.Errorf("%s: got %v, %v, want %v", c.in.DType, got, err, c.want)
		}
	}
	for _, bad := range []Tensor{{}, {F16, []int64{2}, []byte{0}}, {F32, []int64{2}, nil}} {
		if _, err := ToFloat32(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestHalfIsExact(t *testing.T) {
	// All halves in order of value, to find the nearest by hand.
	var halves []float64
	for h := range 0x7c00 {
		halves = append(halves, float64(F16ToFloat32(uint16(h))))
	}
	if !slices.IsSorted(halves) || halves[0x7bff] != 65504 || halves[1] != 0x1p-24 {
		t.Fatal("halves are not in order")
	}
	for h := range 1 << 16 {
		f := F16ToFloat32(uint16(h))
		back := Float32ToF16(f)
		if f != f {
			if b := F16ToFloat32(back); b == b {
				t.Fatalf("NaN %#x became %#x", h, back)
			}
			continue
		}
		if back != uint16(h) {
			t.Fatalf("%#x became %v and then %#x", h, f, back)
		}
	}
	state := uint32(1)
	for range 200_000 {
		state = state*1664525 + 1013904223
		f := math.Float32frombits(state)
		if a := math.Abs(float64(f)); a > 70000 || a < 1e-8 || f != f {
			f = float32(state) / (1 << 28) * float32(math.Exp2(float64(state%40)-30))
		}
		a := math.Abs(float64(f))
		if a >= 65520 {
			continue
		}
		k, _ := slices.BinarySearch(halves, a)
		best := min(k, len(halves)-1)
		if k > 0 && k < len(halves) {
			below, above := a-halves[k-1], halves[k]-a
			if below < above || below == above && (k-1)%2 == 0 {
				best = k - 1
			}
		}
		if got := Float32ToF16(f) & 0x7fff; got != uint16(best) {
			t.Fatalf("%v became %#x, but %#x is nearest", f, got, best)
		}
	}
	for _, c := range []struct {
		f float32
		h uint16
	}{{65504, 0x7bff}, {65519.99, 0x7bff}, {65520, 0x7c00}, {-1e30, 0xfc00}, {0x1p-25, 0}, {0x1.000002p-25, 1}, {0x1.8p-24, 2}, {1 + 0x1p-11, 0x3c00}, {1 + 0x3p-11, 0x3c02}} {
		if got := Float32ToF16(c.f); got != c.h {
			t.Errorf("%v became %#x, want %#x", c.f, got, c.h)
		}
	}
	for _, c := range []struct {
		f float32
		h uint16
	}{{1, 0x3f80}, {1 + 0x1p-8, 0x3f80}, {1 + 0x3p-8, 0x3f82}, {math.MaxFloat32, 0x7f80}, {float32(math.Inf(-1)), 0xff80}} {
		if got := Float32ToBF16(c.f); got != c.h {
			t.Errorf("%v became %#x, want %#x", c.f, got, c.h)
		}
	}
	// A NaN whose payload lies in the dropped bits must not become infinity.
	if b := BF16ToFloat32(Float32ToBF16(math.Float32frombits(0x7f800001))); b == b {
		t.Error("NaN was lost in bfloat16")
	}
}

func TestFromFloat32(t *testing.T) {
	in := []float32{0, 1, -2.5, 65504}
	for _, d := range []DType{F16, BF16, F32, F64} {
		x, err := FromFloat32(d, []int64{2, 2}, in)
		if err != nil || x.DType != d || x.Validate() != nil {
			t.Fatal(d, x, err)
		}
		got, _ := ToFloat32(x)
		want := slices.Clone(in)
		if d == BF16 {
			want[3] = 65536
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v", d, got)
		}
	}
	if _, err := FromFloat32(I8, []int64{4}, in); err == nil {
		t.Error("rounding to integers is not this function's work")
	}
	if _, err := FromFloat32(F16, []int64{3}, in); err == nil {
		t.Error("the shape does not fit")
	}
}
