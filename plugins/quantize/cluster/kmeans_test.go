package cluster

import (
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func noise(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func inertia(v, imp, centers []float32) (sum float64) {
	for i, x := range Assign(v, centers) {
		d := float64(v[i]) - float64(centers[x])
		w := 1.0
		if imp != nil {
			w = float64(imp[i])
		}
		sum += w * d * d
	}
	return sum
}

// TestExact compares with all divisions of a few values into runs.
func TestExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		n, k := 3+r.IntN(8), 2+r.IntN(3)
		v := noise(r, n)
		if round%3 == 0 {
			v[1] = v[0]
		}
		var imp []float32
		if round%2 == 0 {
			imp = make([]float32, n)
			for i := range imp {
				imp[i] = r.Float32() + 0.01
			}
		}
		s := make([]int, n)
		for i := range s {
			s[i] = i
		}
		slices.SortFunc(s, func(a, b int) int {
			if v[a] < v[b] {
				return -1
			}
			return 1
		})
		best := math.Inf(1)
		for cuts := range 1 << (n - 1) {
			parts, cost := 1, 0.0
			var w, wv, wvv float64
			for i, at := range s {
				x, y := float64(v[at]), 1.0
				if imp != nil {
					y = float64(imp[at])
				}
				w, wv, wvv = w+y, wv+y*x, wvv+y*x*x
				if i == n-1 || cuts>>i&1 != 0 {
					cost += wvv - wv*wv/w
					w, wv, wvv = 0, 0, 0
					if i < n-1 {
						parts++
					}
				}
			}
			if parts <= k {
				best = min(best, cost)
			}
		}
		c := Centers(v, imp, k)
		if len(c) > k || !slices.IsSorted(c) {
			t.Fatalf("centers are %v", c)
		}
		if got := inertia(v, imp, c); got > best*(1+1e-5)+1e-9 {
			t.Fatalf("%d values in %d clusters: %v, the best is %v", n, k, got, best)
		}
	}
}

// TestLarge: joining points first costs next to nothing against the best that is known, a normal distribution's
// quantizers of Max (1960, table I): their mean squared errors.
func TestLarge(t *testing.T) {
	v := noise(rand.New(rand.NewPCG(5, 6)), 100_000)
	var power float64
	for _, x := range v {
		power += float64(x) * float64(x)
	}
	for k, want := range map[int]float64{2: 0.3634, 4: 0.1175, 8: 0.03454, 16: 0.009497, 32: 0.002499} {
		if got := inertia(v, nil, Centers(v, nil, k)) / power; got > want*1.02 || got < want*0.95 {
			t.Errorf("%d clusters: %.6f, Max has %.6f", k, got, want)
		}
	}
}

func TestZeros(t *testing.T) {
	v := noise(rand.New(rand.NewPCG(5, 6)), 6000)
	for i := range v {
		if i%2 == 0 {
			v[i] = 0
		}
	}
	c := Centers(v, nil, 16)
	if !slices.Contains(c, 0) {
		t.Errorf("zero is not among %v", c)
	}
	if got := Centers([]float32{3, 1, 3, 2}, nil, 4); !slices.Equal(got, []float32{1, 2, 3}) {
		t.Errorf("a few values give %v", got)
	}
}

// TestRefereeKMeans: no run of scikit-learn's KMeans is better.
func TestRefereeKMeans(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	if err := exec.Command(python, "-c", "import sklearn").Run(); err != nil {
		t.Skip("it has no scikit-learn")
	}
	v := noise(rand.New(rand.NewPCG(9, 9)), 20_000)
	var text strings.Builder
	for _, x := range v {
		text.WriteString(strconv.FormatFloat(float64(x), 'g', -1, 32) + "\n")
	}
	for _, k := range []int{4, 16, 64} {
		cmd := exec.Command(python, "-c", `import sys, numpy
from sklearn.cluster import KMeans
v = numpy.array(sys.stdin.read().split(), dtype=numpy.float64).reshape(-1, 1)
print(KMeans(int(sys.argv[1]), n_init=3, random_state=0).fit(v).inertia_)`, strconv.Itoa(k))
		cmd.Stdin = strings.NewReader(text.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			t.Fatal(err)
		}
		ours := inertia(v, nil, Centers(v, nil, k))
		t.Logf("%d clusters: ours %.4f, scikit-learn's %.4f", k, ours, theirs)
		if ours > theirs*1.0005 {
			t.Errorf("%d clusters: %v, scikit-learn has %v", k, ours, theirs)
		}
	}
}

// TestPack reads the stream back bit by bit.
func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for bits := 1; bits <= 8; bits++ {
		w := wordOf(bits)
		if w.bytes*8 != w.values*bits {
			t.Errorf("%d bits: a word of %+v wastes some", bits, w)
		}
		index := make([]uint8, 101)
		for i := range index {
			index[i] = uint8(r.IntN(1 << bits))
		}
		out := make([]byte, w.packed(len(index)))
		pack(out, index, bits)
		for i, want := range index {
			var got uint8
			for b := range bits {
				at := i*bits + b
				got |= out[at>>3] >> (at & 7) & 1 << b
			}
			if got != want {
				t.Fatalf("%d bits: index %d is %d, want %d", bits, i, got, want)
			}
		}
	}
}

func BenchmarkCenters(b *testing.B) {
	v := noise(rand.New(rand.NewPCG(5, 6)), 1<<20)
	for _, k := range []int{16, 256} {
		b.Run(strconv.Itoa(k), func(b *testing.B) {
			for b.Loop() {
				Centers(v, nil, k)
			}
		})
	}
}
