package weightonly

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func noise(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// TestNearestGolden holds blocks worked out by hand.
func TestNearestGolden(t *testing.T) {
	for _, c := range []struct {
		name        string
		symmetric   bool
		w           []float32
		scale, zero float32
		codes       []uint8
	}{
		{"both signs", false, []float32{-3, 0, 12, 4.5}, 1, 3, []uint8{0, 3, 15, 8}},
		{"all above zero: zero is held", false, []float32{7.5, 15, 1, 3}, 1, 0, []uint8{8, 15, 1, 3}},
		{"all below zero", false, []float32{-15, -1, -7.4, -2}, 1, 15, []uint8{0, 14, 8, 13}},
		{"nothing", false, []float32{0, 0, 0, 0}, 0, 8, []uint8{8, 8, 8, 8}},
		{"the larger bound is below", true, []float32{-8, 7, 3.4, -0.6}, 1, 8, []uint8{0, 15, 11, 7}},
		{"the larger bound is above", true, []float32{8, -7, 3.4, 0}, -1, 8, []uint8{0, 15, 5, 8}},
		{"too small for a scale", true, []float32{1e-38, 0, 0, 0}, 0, 8, []uint8{8, 8, 8, 8}},
	} {
		b := grid{size: 4, bits: 4, symmetric: c.symmetric}.nearest(c.w, 1, 4)
		if b.Scales[0] != c.scale || b.Zeros[0] != c.zero || !slices.Equal(b.Codes, c.codes) {
			t.Errorf("%s: scale %v, zero %v, codes %v; want %v, %v, %v", c.name, b.Scales[0], b.Zeros[0], b.Codes, c.scale, c.zero, c.codes)
		}
	}
	for x, want := range map[float32]float32{0.5: 1, 1.5: 2, 2.4999: 2, -0.5: -1, -2.5: -3, 0: 0} {
		if got := roundHalfAway(x); got != want {
			t.Errorf("%v is rounded to %v, want %v", x, got, want)
		}
	}
}

// TestBlocksWithinHalfAStep: nothing within the range is off by more than half a step, whatever the sizes.
func TestBlocksWithinHalfAStep(t *testing.T) {
	for _, bits := range []int{4, 8} {
		for _, symmetric := range []bool{false, true} {
			for _, k := range []int{16, 33, 100} {
				g := grid{size: 32, bits: bits, symmetric: symmetric, threads: 3}
				w := noise(uint64(k), 9*k)
				b := g.nearest(w, 9, k)
				back := b.Dequantize(2)
				for i, v := range w {
					// The symmetric grid has one code fewer on one side: there the largest may be a whole step off.
					off, step := math.Abs(float64(v-back[i])), float64(abs(b.Scales[i/k*b.PerRow()+i%k/32]))
					if off > step*0.5001 && (!symmetric || off > step*1.0001) {
						t.Fatalf("%d bits, symmetric %v, k %d: element %d is off by %v of a step", bits, symmetric, k, i, off/step)
					}
				}
				for _, threads := range []int{1, 7} {
					g.threads = threads
					if again := g.nearest(w, 9, k); !bytes.Equal(again.Codes, b.Codes) || !slices.Equal(again.Scales, b.Scales) {
						t.Errorf("%d threads give other blocks", threads)
					}
				}
			}
		}
	}
}

// TestBetterThanNearest: HQQ by the mean error, refined ranges by the squared one, weighted too; the zeros of HQQ are codes
// where they must be.
func TestBetterThanNearest(t *testing.T) {
	const n, k = 16, 128
	w := noise(3, n*k)
	r := rand.New(rand.NewPCG(4, 4))
	for i := range w {
		if r.IntN(60) == 0 {
			w[i] *= 6
		}
	}
	imp := make([]float32, k)
	for i := range imp {
		imp[i] = float32(math.Exp(2 * r.NormFloat64()))
	}
	errors := func(b *Blocks) (mean, square, weighted float64) {
		for i, v := range b.Dequantize(1) {
			d := math.Abs(float64(w[i] - v))
			mean, square, weighted = mean+d, square+d*d, weighted+d*d*float64(imp[i%k])
		}
		return mean, square, weighted
	}
	for _, bits := range []int{4, 8} {
		for _, symmetric := range []bool{false, true} {
			g := grid{size: 32, bits: bits, symmetric: symmetric, threads: 2}
			mean, square, weighted := errors(g.nearest(w, n, k))
			whole, real := g.hqq(w, n, k, false), g.hqq(w, n, k, true)
			if e, _, _ := errors(whole); e > mean || e == mean && bits == 4 {
				t.Errorf("%d bits, symmetric %v: HQQ's mean error is %v, the nearest's %v", bits, symmetric, e, mean)
			}
			if e, _, _ := errors(real); e > mean {
				t.Errorf("%d bits, symmetric %v: HQQ's mean error with real zeros is %v, the nearest's %v", bits, symmetric, e, mean)
			}
			if symmetric == real.FloatZeros || whole.FloatZeros {
				t.Errorf("symmetric %v: float zeros %v and %v", symmetric, real.FloatZeros, whole.FloatZeros)
			}
			for i, z := range whole.Zeros {
				if z != float32(uint8(z)) || symmetric && z != g.mid() {
					t.Fatalf("zero %d is %v", i, z)
				}
			}
			if _, e, _ := errors(g.refined(w, n, k, nil)); e > square || e == square && bits == 4 {
				t.Errorf("%d bits, symmetric %v: refined ranges have a squared error of %v, the nearest %v", bits, symmetric, e, square)
			}
			if _, _, e := errors(g.refined(w, n, k, imp)); e > weighted || e == weighted && bits == 4 {
				t.Errorf("%d bits, symmetric %v: weighted: %v, the nearest %v", bits, symmetric, e, weighted)
			}
		}
	}
	// Awkward blocks: all alike, one value, almost alike and far from zero.
	for _, v := range [][]float32{{0, 0, 0, 0}, {3, 3, 3, 3}, {-5}, {1e30, 1e30, 1e30, 1.0000001e30}, {1e-40, -1e-40, 0, 0}} {
		for _, real := range []bool{false, true} {
			b := grid{size: 4, bits: 4}.hqq(v, 1, len(v), real)
			for i, x := range b.Dequantize(1) {
				if math.Abs(float64(x-v[i])) > 0.04*math.Abs(float64(v[i]))+1e-37 {
					t.Errorf("%v: element %d becomes %v", v, i, x)
				}
			}
		}
	}
}

// TestFourBit: each value is its own code, and what lies between two goes to the nearer.
func TestFourBit(t *testing.T) {
	for name, f := range map[string]*fourBit{"nf4": nf4, "fp4": fp4} {
		for c, v := range f.values {
			if got := f.code(v); f.values[got] != v {
				t.Errorf("%s: %v has the code %d, want %d", name, v, got, c)
			}
		}
		for x := float32(-1); x <= 1; x += 1. / 512 {
			nearest := math.Inf(1)
			for _, v := range f.values {
				nearest = min(nearest, math.Abs(float64(v-x)))
			}
			if d := math.Abs(float64(f.values[f.code(x)] - x)); d > nearest+1e-6 {
				t.Errorf("%s: %v becomes %v, %v away and not %v", name, x, f.values[f.code(x)], d, nearest)
			}
		}
		w := noise(1, 101)
		packed, absmax := f.quantize(w, 16, 3)
		if len(packed) != 51 || len(absmax) != 7 {
			t.Fatalf("%s: %d bytes, %d blocks", name, len(packed), len(absmax))
		}
		for i, v := range f.dequantize(packed, absmax, 16, len(w)) {
			if math.Abs(float64(v-w[i])) > 0.17*float64(absmax[i/16]) {
				t.Errorf("%s: element %d, %v, becomes %v", name, i, w[i], v)
			}
		}
	}
	// The first element is in the high half of a byte.
	packed, absmax := nf4.quantize([]float32{-2, 2, 0}, 16, 1)
	if !bytes.Equal(packed, []byte{0x0f, 0x77}) || absmax[0] != 2 {
		t.Errorf("%x %v", packed, absmax)
	}
}

// TestE4M3 goes through all codes of the 8-bit float, the middles between them and what lies beyond.
func TestE4M3(t *testing.T) {
	for c := range 256 {
		v := fromE4M3(uint8(c))
		if c&0x7f == 0x7f {
			if !math.IsNaN(float64(v)) {
				t.Errorf("code %#x is %v, not NaN", c, v)
			}
			continue
		}
		if got := toE4M3(v); got != uint8(c) {
			t.Errorf("code %#x is %v, which has the code %#x", c, v, got)
		}
		if c&0x7f < 0x7e {
			next := fromE4M3(uint8(c + 1))
			even := uint8(c + c&1)
			if got := toE4M3((v + next) / 2); got != even {
				t.Errorf("half way between %v and %v has the code %#x, want the even one, %#x", v, next, got, even)
			}
		}
	}
	for x, want := range map[float32]uint8{448: 0x7e, 1e9: 0x7e, -1e9: 0xfe, 464: 0x7e, 1: 0x38, -1.5: 0xbc, 0x1p-9: 1, 0x1p-11: 0} {
		if got := toE4M3(x); got != want {
			t.Errorf("%v has the code %#x, want %#x", x, got, want)
		}
	}
	w := noise(5, 3*50)
	clear(w[50:100])
	codes, scales := fp8Rows(w, 3, 50, 2, nil)
	if scales[1] != 1 {
		t.Errorf("a row of zeros has the scale %v", scales[1])
	}
	for i, c := range codes {
		if got := fromE4M3(c) * scales[i/50]; math.Abs(float64(got-w[i])) > math.Abs(float64(w[i]))/16+float64(scales[i/50])/512 {
			t.Errorf("element %d, %v, becomes %v", i, w[i], got)
		}
	}
}

func TestPacking(t *testing.T) {
	if got := nibbles([]uint8{1, 2, 15}); !bytes.Equal(got, []byte{0x21, 0x0f}) {
		t.Errorf("nibbles: %x", got)
	}
	if got := signed([]uint8{0, 8, 15, 7}, 4); !bytes.Equal(got, []byte{8, 0, 7, 15}) {
		t.Errorf("signed, 4 bits: %v", got)
	}
	if got := signed([]uint8{0, 128, 255}, 8); !bytes.Equal(got, []byte{128, 0, 127}) {
		t.Errorf("signed, 8 bits: %v", got)
	}
	// Two rows of three elements in blocks of two.
	b := &Blocks{N: 2, K: 3, Size: 2, Bits: 4, Codes: []uint8{1, 2, 3, 4, 5, 6}, Scales: make([]float32, 4), Zeros: []float32{7, 8, 9, 10}}
	if got := b.blobs(); !bytes.Equal(got, []byte{0x21, 0x83, 0x54, 0xa6}) { // beyond a row lie zeros
		t.Errorf("blobs: %x", got)
	}
	if got := b.zeroRows(); !bytes.Equal(got, []byte{0x87, 0xa9}) {
		t.Errorf("zeroRows: %x", got)
	}
	if got := b.codeRows(); !bytes.Equal(got, []byte{0x21, 0x03, 0x54, 0x06}) {
		t.Errorf("codeRows: %x", got)
	}
	b.Bits = 8
	if got := b.blobs(); !bytes.Equal(got, []byte{1, 2, 3, 8, 4, 5, 6, 10}) {
		t.Errorf("blobs of 8 bits: %x", got)
	}
	if got := b.zeroRows(); !bytes.Equal(got, []byte{7, 8, 9, 10}) {
		t.Errorf("zeroRows of 8 bits: %x", got)
	}
	v := make([]int, 70*45)
	for i := range v {
		v[i] = i
	}
	for i, x := range transpose(v, 70, 45) {
		if want := i%70*45 + i/70; x != want {
			t.Fatalf("transpose: element %d is %d, want %d", i, x, want)
		}
	}
}
