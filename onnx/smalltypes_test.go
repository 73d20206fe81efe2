package onnx

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
)

func allCodes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestSmallTypes(t *testing.T) {
	for _, c := range []struct {
		elem DataType
		n    int64
		raw  []byte
		want []float32
	}{
		{Uint2, 5, []byte{0b11100100, 0b10}, []float32{0, 1, 2, 3, 2}},
		{Int2, 4, []byte{0b11100100}, []float32{0, 1, -2, -1}},
		{Float4E2M1, 3, []byte{0xf1, 0x07}, []float32{0.5, -6, 6}},
		{Float6E2M3, 9, []byte{0x40, 0x20, 0x0c, 0x44, 0x61, 0x1c, 0x08}, []float32{0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1}},
		{Float6E3M2, 9, []byte{0x40, 0x20, 0x0c, 0x44, 0x61, 0x1c, 0x08}, []float32{0, 0.0625, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.4375, 0.5}},
		{Float6E2M3, 1, []byte{0x3f}, []float32{-7.5}},
		{Float6E3M2, 1, []byte{0x3f}, []float32{-28}},
		{Float8E8M0, 3, []byte{127, 128, 0}, []float32{1, 2, float32(math.Ldexp(1, -127))}},
		{Float8E4M3FNUZ, 3, []byte{0x7f, 0x01, 0xff}, []float32{240, 1.0 / 1024, -240}},
		{Float8E5M2FNUZ, 2, []byte{0x7f, 0x01}, []float32{57344, float32(math.Ldexp(1, -17))}},
		{Uint4, 3, []byte{0x21, 0x0f}, []float32{1, 2, 15}},
		{Int4, 2, []byte{0x8f}, []float32{-1, -8}},
	} {
		tensor := rawTensor(c.elem, []int64{c.n}, c.raw)
		got, err := tensor.Float32s()
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, %v, want %v", c.elem, got, err, c.want)
		}
		ints, err := tensor.Ints()
		if whole := c.elem == Uint2 || c.elem == Int2 || c.elem == Uint4 || c.elem == Int4; whole != (err == nil) {
			t.Errorf("%v as integers: %v, %v", c.elem, ints, err)
		}
		for i, v := range ints {
			if float32(v) != c.want[i] {
				t.Errorf("%v as integers: %v", c.elem, ints)
			}
		}
		if _, err := rawTensor(c.elem, []int64{99}, c.raw).Float32s(); err == nil {
			t.Errorf("%v: too few bytes are no error", c.elem)
		}
	}
}

func TestRefereeSmallTypes(t *testing.T) {
	r := newReferee(t)
	var want map[string][]any
	if err := json.Unmarshal(r.ask("dtypes", "all"), &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != 10 {
		t.Fatalf("%d types", len(want))
	}
	for elem, values := range want {
		n, _ := strconv.Atoi(elem)
		got, err := rawTensor(DataType(n), []int64{int64(len(values))}, allCodes()).Float32s()
		if err != nil {
			t.Errorf("%v: %v", DataType(n), err)
			continue
		}
		for i, v := range values {
			text := fmt.Sprint(v)
			f, _ := strconv.ParseFloat(text, 64)
			if !(float64(got[i]) == f || math.IsNaN(f) && math.IsNaN(float64(got[i]))) {
				t.Errorf("%v: code %d is %v, want %v", DataType(n), i, got[i], v)
			}
		}
	}
}
