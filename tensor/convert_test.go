package tensor

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestManyAsOne: what is converted four at a time is what each is on its own, wherever it lies.
func TestManyAsOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	order := r.Perm(1 << 16)
	for _, n := range []int{1 << 16, 1, 2, 3, 5, 7, 4099, 1 << 19} { // the last on all cores, and in room that is not cleared
		halves := make([]uint16, n)
		for i := range halves {
			halves[i] = uint16(order[i%len(order)])
		}
		for _, d := range []DType{F16, BF16} {
			got, err := ToFloat32(Tensor{DType: d, Shape: []int64{int64(n)}, Data: bytesOf(halves)})
			if err != nil {
				t.Fatal(err)
			}
			for i, h := range halves {
				want := F16ToFloat32(h)
				if d == BF16 {
					want = BF16ToFloat32(h)
				}
				if math.Float32bits(got[i]) != math.Float32bits(want) {
					t.Fatalf("%s %#x at %d of %d is %#x, want %#x", d, h, i, n, math.Float32bits(got[i]), math.Float32bits(want))
				}
			}
		}
		reals := make([]float32, n)
		for i := range reals {
			switch bits := r.Uint32(); r.IntN(3) {
			case 0:
				reals[i] = math.Float32frombits(bits) // of any size, and NaN
			case 1:
				reals[i] = float32(r.NormFloat64())
			default: // halfway between two, or nearly
				reals[i] = math.Float32frombits(bits&0xffff0000 | 0x8000 + bits&1 - bits>>1&1)
			}
		}
		reals[0] = float32(math.Inf(-1))
		for d, one := range map[DType]func(float32) uint16{F16: Float32ToF16, BF16: Float32ToBF16} {
			x, err := FromFloat32(d, []int64{int64(n)}, reals)
			if err != nil {
				t.Fatal(err)
			}
			got, err := View[uint16](Tensor{DType: U16, Shape: x.Shape, Data: x.Data})
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range reals {
				if want := one(v); got[i] != want {
					t.Fatalf("%v (%#x) at %d of %d is %s %#x, want %#x", v, math.Float32bits(v), i, n, d, got[i], want)
				}
			}
		}
	}
}
