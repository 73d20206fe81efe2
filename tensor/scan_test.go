package tensor

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// TestScanAgrees compares with ToFloat32 for every 8- and 16-bit float.
func TestScanAgrees(t *testing.T) {
	for _, d := range []DType{F16, BF16, F8E4M3, F8E5M2} {
		n := 1 << d.Bits()
		data := make([]byte, n*d.Bits()/8)
		for i := range n {
			if d.Bits() == 16 {
				data[2*i], data[2*i+1] = byte(i), byte(i>>8)
			} else {
				data[i] = byte(i)
			}
		}
		x := Tensor{d, []int64{int64(n)}, data}
		wide, err := ToFloat32(x)
		if err != nil {
			t.Fatal(err)
		}
		want := Numbers{First: -1}
		for i, f := range wide {
			switch {
			case f != f:
				want.NaN++
			case math.IsInf(float64(f), 0):
				want.Inf++
			default:
				continue
			}
			if want.First < 0 {
				want.First = int64(i)
			}
		}
		if got, err := Scan(x); err != nil || got != want || want.NaN == 0 {
			t.Errorf("%s: got %+v, %v, want %+v", d, got, err, want)
		}
	}
}

func TestScan(t *testing.T) {
	inf := math.Inf(-1)
	v := make([]float64, 3*share+5)
	for i := range v {
		v[i] = -math.MaxFloat64
	}
	x := Of(nil, v)
	if got, err := Scan(x); err != nil || got != (Numbers{First: -1}) || CheckFinite(x) != nil {
		t.Errorf("all finite: %+v, %v", got, err)
	}
	v[len(v)-1], v[share*2], v[share*2+1] = math.NaN(), inf, math.Float64frombits(0x7ff0000000000001)
	if got, err := Scan(x); err != nil || got != (Numbers{2, 1, share * 2}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := CheckFinite(x); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "2 are NaN and 1 infinite, the first is element 524288") || !strings.Contains(err.Error(), "-Inf") {
		t.Error(err)
	}
	if got, err := Scan(Of([]int64{2, 1}, []float32{1, float32(inf)})); err != nil || got != (Numbers{0, 1, 1}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, none := range []Tensor{Of(nil, []int32{-1}), Of([]int64{0}, []float32{}), {Bool, []int64{1}, []byte{9}}} {
		if got, err := Scan(none); err != nil || got.First != -1 {
			t.Errorf("%s: %+v, %v", none.DType, got, err)
		}
	}
	if _, err := Scan(Tensor{F32, []int64{2}, nil}); err == nil {
		t.Error("bytes that do not fit the shape were scanned")
	}
}

func BenchmarkScan(b *testing.B) {
	x := Of(nil, make([]float32, 1<<22))
	b.SetBytes(int64(len(x.Data)))
	for b.Loop() {
		if _, err := Scan(x); err != nil {
			b.Fatal(err)
		}
	}
}
