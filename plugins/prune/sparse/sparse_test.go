package sparse

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/gram/solve"
)

func noise(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func TestParsePattern(t *testing.T) {
	for s, want := range map[string]Pattern{"unstructured": {}, "2:4": {Keep: 2, Of: 4}, "1:8": {Keep: 1, Of: 8}, "16x1": {Rows: 16, Cols: 1}} {
		p, err := ParsePattern(s)
		if err != nil || p != want || p.String() != s {
			t.Errorf("%s: %+v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "2", "4:2", "2:2", "0:4", "-1:4", "1x1", "0x4", "2:4:8", "a:b", "2:99999", "2 :4"} {
		if _, err := ParsePattern(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

// TestSelect: the threshold takes just as many as asked for, and none that is larger than one that stays.
func TestSelect(t *testing.T) {
	for _, n := range []int{1, 7, fewScores, fewScores + 1, 5000} {
		scores := noise(uint64(n), n)
		for i, v := range scores {
			scores[i] = float32(math.Round(float64(v*v)*8)) / 8 // many are equal
		}
		sorted := slices.Clone(scores)
		slices.Sort(sorted)
		for _, count := range []int{0, 1, n / 3, n - 1, n} {
			th := Select([][]float32{scores[:n/2], scores[n/2:]}, int64(count))
			one := Select([][]float32{scores}, int64(count))
			if th != one {
				t.Fatalf("%d of %d: in two parts %+v, in one %+v", count, n, th, one)
			}
			taken, most := 0, float32(-1)
			for _, s := range scores {
				if th.Takes(s) {
					taken, most = taken+1, max(most, s)
				}
			}
			if taken != max(count, 0) || count > 0 && most != sorted[count-1] {
				t.Errorf("%d of %d: took %d up to %v", count, n, taken, most)
			}
		}
	}
}

func zeros(w []float32) int {
	n := 0
	for _, v := range w {
		if v == 0 {
			n++
		}
	}
	return n
}

func TestMask(t *testing.T) {
	const n, k = 6, 24
	w := noise(1, n*k)
	for _, c := range []struct {
		name   string
		choice Choice
		zeros  int
	}{
		{"half", Choice{Sparsity: 0.5}, 72},
		{"of each output", Choice{Sparsity: 0.25, PerOutput: true}, 36},
		{"2:4", Choice{Pattern: Pattern{Keep: 2, Of: 4}, Segment: 24}, 72},
		{"2:4 at three places", Choice{Pattern: Pattern{Keep: 2, Of: 4}, Segment: 8}, 72},
		{"2:4 of three channels", Choice{Pattern: Pattern{Keep: 2, Of: 4}, Segment: 3}, 48}, // of each 3, one goes
		{"2:4 of six channels", Choice{Pattern: Pattern{Keep: 2, Of: 4}, Segment: 6}, 48},   // of each 4 two, of the 2 left none
		{"4:8", Choice{Pattern: Pattern{Keep: 4, Of: 8}, Segment: 24}, 72},
		{"blocks", Choice{Pattern: Pattern{Rows: 2, Cols: 4}, Sparsity: 0.5}, 72},
		{"blocks over the edge", Choice{Pattern: Pattern{Rows: 4, Cols: 24}, Sparsity: 0.5}, 48}, // one of two: it is of 4 or of 2 outputs
	} {
		got := map[int]bool{}
		for _, threads := range []int{1, 3} {
			c.choice.Threads = threads
			v := slices.Clone(w)
			Apply(v, c.choice.Mask(Magnitude(v), n, k))
			if c.choice.PerOutput {
				for o := range n {
					if z := zeros(v[o*k : (o+1)*k]); z != 6 {
						t.Errorf("%s: output %d has %d zeros", c.name, o, z)
					}
				}
			}
			if ok, o, i := c.choice.Pattern.Holds(v, n, k, max(c.choice.Segment, 1)); !ok {
				t.Errorf("%s: output %d breaks the pattern at input %d", c.name, o, i)
			}
			got[zeros(v)] = true
		}
		if c.name == "blocks over the edge" {
			if got[48] || got[96] {
				continue
			}
		}
		if !got[c.zeros] || len(got) != 1 {
			t.Errorf("%s: zeros %v, want %d", c.name, got, c.zeros)
		}
	}
	// What stays is larger than what goes.
	v := slices.Clone(w)
	Apply(v, Choice{Sparsity: 0.5}.Mask(Magnitude(v), n, k))
	var gone, stays float32 = 0, math.MaxFloat32
	for i := range v {
		if v[i] == 0 {
			gone = max(gone, w[i]*w[i])
		} else {
			stays = min(stays, w[i]*w[i])
		}
	}
	if gone > stays {
		t.Errorf("a weight of %v goes and one of %v stays", gone, stays)
	}
	if ok, _, _ := (Pattern{Keep: 2, Of: 4}).Holds(w, n, k, k); ok {
		t.Error("a dense weight holds 2:4")
	}
}

// TestLAMP compares with the definition.
func TestLAMP(t *testing.T) {
	w := noise(3, 50)
	w[7] = 0
	for i, s := range LAMP(w) {
		var sum float64
		for _, v := range w {
			if v*v >= w[i]*w[i] {
				sum += float64(v) * float64(v)
			}
		}
		if want := float64(w[i]) * float64(w[i]) / sum; math.Abs(float64(s)-want) > 1e-6 {
			t.Errorf("weight %v scores %v, want %v", w[i], s, want)
		}
	}
	for _, s := range LAMP(make([]float32, 3)) {
		if s != 0 {
			t.Errorf("a weight of zeros scores %v", s)
		}
	}
}

// data are inputs whose elements depend on one another, and the sum of their products.
func data(k int) []float32 {
	const rows = 300
	mix, x := noise(11, k*k), make([]float32, rows*k)
	for r := range rows {
		z := noise(uint64(100+r), k)
		for i := range k {
			v := z[i] * 0.5
			for j := range k / 3 {
				v += mix[i*k+j] * z[j] / 3
			}
			x[r*k+i] = v * float32(1+i%5)
		}
	}
	h := make([]float32, k*k)
	for r := range rows {
		for i := range k {
			for j := range k {
				h[i*k+j] += x[r*k+i] * x[r*k+j]
			}
		}
	}
	return h
}

func lost(t *testing.T, before, after, h []float32, n, k int) float64 {
	t.Helper()
	d := make([]float32, len(before))
	for i := range d {
		d[i] = before[i] - after[i]
	}
	e, err := solve.OutputError(d, n, k, h, solve.Plain{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestSparseGPT: in every pattern it loses less than Wanda, which loses less than magnitudes; it keeps the pattern, the
// number of zeros, and what it does does not depend on threads.
func TestSparseGPT(t *testing.T) {
	const n, k = 20, 160 // more than a panel
	h, w := data(k), noise(4, n*k)
	for _, c := range []struct {
		choice Choice
		zeros  int
	}{
		{Choice{Sparsity: 0.5, Segment: k}, n * k / 2},
		{Choice{Pattern: Pattern{Keep: 2, Of: 4}, Segment: k}, n * k / 2},
		{Choice{Pattern: Pattern{Keep: 2, Of: 4}, Segment: 10}, n * k / 10 * 4}, // 10 channels: 4, 4 and 2
		{Choice{Pattern: Pattern{Keep: 1, Of: 4}, Segment: k}, n * k * 3 / 4},
		{Choice{Pattern: Pattern{Rows: 4, Cols: 2}, Sparsity: 0.5, Segment: k}, n * k / 2},
	} {
		magnitude, wanda := slices.Clone(w), slices.Clone(w)
		Apply(magnitude, c.choice.Mask(Magnitude(w), n, k))
		per := c.choice
		per.PerOutput = true
		Apply(wanda, per.Mask(Wanda(w, h, n, k), n, k))
		var first []float32
		for _, threads := range []int{1, 2} {
			c.choice.Threads = threads
			v := slices.Clone(w)
			if err := SparseGPT(v, n, k, slices.Clone(h), c.choice, 0.01, solve.Plain{}); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = v
			} else if !slices.Equal(first, v) {
				t.Errorf("%v: the result depends on threads", c.choice.Pattern)
			}
		}
		if z := zeros(first); z != c.zeros {
			t.Errorf("%v: %d zeros, want %d", c.choice.Pattern, z, c.zeros)
		}
		if ok, o, i := c.choice.Pattern.Holds(first, n, k, c.choice.Segment); !ok {
			t.Errorf("%v: output %d breaks the pattern at input %d", c.choice.Pattern, o, i)
		}
		m, a, s := lost(t, w, magnitude, h, n, k), lost(t, w, wanda, h, n, k), lost(t, w, first, h, n, k)
		if !(s < a*0.8 && a < m) {
			t.Errorf("%v: lost %.4g by SparseGPT, %.4g by Wanda, %.4g by magnitude", c.choice.Pattern, s, a, m)
		}
	}
}

// TestSparseGPTIsOptimalForOneWeight: with one weight to lose, what is left is the least-squares answer without it.
func TestSparseGPTIsOptimalForOneWeight(t *testing.T) {
	const k = 4
	h, w := data(k), noise(9, k)
	v := slices.Clone(w)
	if err := SparseGPT(v, 1, k, slices.Clone(h), Choice{Sparsity: 0.25, Segment: k}, 1e-6, solve.Plain{}); err != nil {
		t.Fatal(err)
	}
	at := slices.Index(v, 0)
	if at < 0 || zeros(v) != 1 {
		t.Fatalf("zeros: %v", v)
	}
	// The inputs behind the lost one solve h[rest,rest]*d = h[rest,at]*w[at]; check the gradient there.
	for i := at + 1; i < k; i++ {
		var gradient float64
		for j := range k {
			gradient += float64(h[i*k+j]) * float64(v[j]-w[j])
		}
		if math.Abs(gradient) > 1e-3*float64(h[i*k+i]) {
			t.Errorf("weight %d could still lower the error: gradient %v", i, gradient)
		}
	}
}

func TestPatternErrorNamesTheForms(t *testing.T) {
	_, err := ParsePattern("half")
	for _, want := range []string{"unstructured", "2:4", "16x1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
