package calibrate

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// values are numbers of many magnitudes, with zeros of both signs and subnormal ones.
func values(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64() * math.Exp2(float64(rng.IntN(40)-20)))
		switch i % 50 {
		case 0:
			v[i] = 0
		case 1:
			v[i] = float32(math.Copysign(0, -1))
		case 2:
			v[i] = -math.SmallestNonzeroFloat32
		case 3:
			v[i] = float32(i%7) - 3
		}
	}
	return v
}

func observed(v []float32, pieces int) *observer {
	o := newObserver(true, -1)
	for part := range slices.Chunk(v, (len(v)+pieces-1)/pieces) {
		o.observe(part, []int64{int64(len(part))}, Options{})
	}
	return o
}

// TestOrder: the same values in any order and in any pieces give the same histogram and bounds.
func TestOrder(t *testing.T) {
	v := values(30000, 3)
	want := observed(v, 1)
	for i, pieces := range []int{1, 7, 300, 5000} {
		w := slices.Clone(v)
		rng := rand.New(rand.NewPCG(9, uint64(i)))
		rng.Shuffle(len(w), func(a, b int) { w[a], w[b] = w[b], w[a] })
		if i == 3 {
			slices.Sort(w) // grows at every step, from the other side
			slices.Reverse(w)
		}
		got := observed(w, pieces)
		if !reflect.DeepEqual(got.hist, want.hist) || got.seen != want.seen {
			t.Errorf("in %d pieces: other counts, or bounds %v instead of %v", pieces, got.seen, want.seen)
		}
	}
	if n := want.hist.Total(); n != uint64(len(v)) {
		t.Errorf("%d values are counted of %d", n, len(v))
	}
}

// TestBins: each value is in the bin that its magnitude says.
func TestBins(t *testing.T) {
	for _, c := range []struct {
		v   float32
		bin int
	}{{0, 0}, {float32(math.Copysign(0, -1)), 0}, {1, 1}, {1.5, 1}, {-0.5, -1}, {-1, -2}, {-1.5, -2}, {-1e-45, -1}, {1e-45, 0}, {tensorHalf - 1, tensorHalf - 1}, {-(tensorHalf - 1), -tensorHalf}} {
		h := newHistogram(tensorHalf)
		h.widen(0)
		h.add([]float32{c.v}, Range{c.v, c.v})
		if h.Exponent != 0 || h.count(c.bin) != 1 {
			t.Errorf("%v is not in bin %d of width 2^%d", c.v, c.bin, h.Exponent)
		}
	}
	for _, x := range []float32{math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32} {
		h := newHistogram(tensorHalf)
		h.add([]float32{x, 0}, Range{min(x, 0), max(x, 0)})
		if h.Total() != 2 {
			t.Errorf("%v is lost", x)
		}
	}
}

func TestRebin(t *testing.T) {
	v := values(20000, 5)
	for i := range v {
		v[i] = min(max(v[i], -6), 5)
	}
	o := observed(v, 1)
	for _, bins := range []int{128, 2047, 2048} {
		got := o.hist.Rebin(bins, 6)
		want := make([]uint64, bins)
		for _, x := range v {
			want[min(int((float64(x)+6)/12*float64(bins)), bins-1)]++
		}
		var total, off uint64
		var g, w int64
		for i := range got {
			total += got[i]
			g, w = g+int64(got[i]), w+int64(want[i])
			off = max(off, uint64(max(g-w, w-g)))
		}
		// Up to each edge only the values of the one bin that it cuts may be on the wrong side.
		if total != uint64(len(v)) || off > 600 {
			t.Errorf("%d bins: %d values, up to %d on the wrong side of an edge", bins, total, off)
		}
	}
}

func TestExactSum(t *testing.T) {
	v := values(3000, 8)
	var a, b exactSum
	for i := range v {
		a.add(v[i])
		b.add(v[len(v)-1-i])
	}
	if x, y := a.mean(3000), b.mean(3000); x != y {
		t.Errorf("the mean depends on the order: %v, %v", x, y)
	}
	var s exactSum
	for _, x := range []float32{1e30, 1, -1e30, 1e-45, 2} {
		s.add(x)
	}
	if got := s.mean(5); got != 0.6 {
		t.Errorf("mean is %v, want 0.6", got)
	}
}

func TestBounds(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for n := 1; n < 20; n++ {
		for _, bad := range []float32{nan, inf, -inf} {
			for at := range n {
				v := values(n+4, 2)[4:]
				want := Range{slices.Min(v) + 0, slices.Max(v) + 0}
				if r, ok := bounds(v); !ok || r != want {
					t.Fatalf("bounds of %v are %v", v, r)
				}
				v[at] = bad
				if _, ok := bounds(v); ok {
					t.Fatalf("%v at %d of %d is not seen", bad, at, n)
				}
			}
		}
	}
}

// sample are ranges as Collect makes them.
func sample(t testing.TB) *Ranges {
	r := &Ranges{Options: Options{Method: Percentile}.withDefaults(), Samples: 3, Tensors: map[string]*Tensor{}}
	for i, name := range []string{"b", "a", "dead", "none"} {
		var v []float32
		if i < 2 {
			v = values(4096, uint64(i))
		} else if i == 2 {
			v = make([]float32, 64)
		}
		o := newObserver(i != 1, -1)
		if i == 1 {
			o.axis = 1
		}
		o.observe(v, []int64{2, 4, int64(len(v) / 8)}, r.Options)
		r.Tensors[name] = o.result(r.Options)
	}
	return r
}

func TestFile(t *testing.T) {
	r := sample(t)
	path := filepath.Join(t.TempDir(), "ranges.safetensors")
	var before []byte
	for range 2 {
		if err := r.Write(path); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && string(b) != string(before) {
			t.Error("the same ranges gave other bytes")
		}
		before = b
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("read back: %+v, want %+v", got, r)
	}
	if err := got.Choose(Options{Method: MSE}, 2); err == nil {
		t.Error("a tensor without a histogram has a range of least error")
	}
	if err := got.Choose(Options{Method: MinMax}, 2); err != nil || got.Tensors["a"].Chosen != got.Tensors["a"].Seen {
		t.Errorf("chosen anew: %v, %v", got.Tensors["a"], err)
	}
	for name, bad := range map[string][]byte{"empty": nil, "cut short": before[:len(before)-1], "text": []byte("ranges")} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzParse: no file panics, and what is read can be written and read again.
func FuzzParse(f *testing.F) {
	path := filepath.Join(f.TempDir(), "r")
	if err := sample(f).Write(path); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		p := filepath.Join(t.TempDir(), "r")
		if err := r.Write(p); err != nil {
			t.Fatal(err)
		}
		again, err := Read(p)
		if err != nil || len(again.Tensors) != len(r.Tensors) {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		_ = r.Choose(Options{Method: Percentile, Bins: 128}, 1)
	})
}
