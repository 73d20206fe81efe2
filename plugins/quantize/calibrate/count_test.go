package calibrate

import (
	"math"
	"reflect"
	"testing"
)

// plainLoops turns the loops in vectors off until the test's end.
func plainLoops(t testing.TB) {
	was := vectors
	vectors = false
	t.Cleanup(func() { vectors = was })
}

// TestVectors: the loops in vectors find the very bounds and counts that the plain ones do, whatever the length and the
// alignment, and leave nothing in the counts behind.
func TestVectors(t *testing.T) {
	if !vectors {
		t.Skip("this CPU has none")
	}
	all := values(5000, 4)
	for i := range all {
		if i%3 == 0 {
			all[i] = 0 // as behind a Relu
		}
	}
	pieces := [][]float32{all, all[1:], all[3:4003]}
	for n := 1; n < 140; n++ {
		pieces = append(pieces, all[n%7:][:n])
	}
	type result struct {
		r    Range
		hist []uint64
	}
	count := func() (out []result) {
		for _, v := range pieces {
			h := newHistogram(channelHalf)
			r, ok := scan(v, h)
			if !ok {
				t.Fatal("a number is taken for none")
			}
			for i, c := range h.counts[:cap(h.counts)][len(h.counts):] {
				if c != 0 {
					t.Fatalf("%d values are left in lane %d", c, i)
				}
			}
			out = append(out, result{r, h.counts})
		}
		return out
	}
	got := count()
	t.Run("plain", func(t *testing.T) {
		plainLoops(t)
		for i, want := range count() {
			if !reflect.DeepEqual(got[i], want) {
				t.Errorf("piece %d of %d values: bounds %v, want %v, or other counts", i, len(pieces[i]), got[i].r, want.r)
			}
		}
	})
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for at := range 100 {
			v := make([]float32, 100)
			v[at] = bad
			if _, ok := bounds(v); ok {
				t.Fatalf("%v at %d is not seen", bad, at)
			}
		}
	}
}

func BenchmarkScan(b *testing.B) {
	v := values(1<<20, 1)
	for i := range v {
		v[i] = max(float32(math.Sin(float64(i)))*3, 0)
	}
	for _, name := range []string{"vectors", "plain"} {
		for _, histogram := range []bool{false, true} {
			b.Run(name+map[bool]string{false: "/bounds", true: "/histogram"}[histogram], func(b *testing.B) {
				if name == "plain" {
					plainLoops(b)
				}
				var h *Histogram
				if histogram {
					h = newHistogram(tensorHalf)
				}
				b.SetBytes(int64(4 * len(v)))
				for b.Loop() {
					scan(v, h)
				}
			})
		}
	}
}
