package quantize

import (
	"math"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// TestMargins: a class that stays by a hair counts less than one that stays by far.
func TestMargins(t *testing.T) {
	row := func(lead float32) []float32 { return []float32{0, lead, -1} }
	agreement := func(leads, moved []float32) float64 {
		var m margins
		for i, l := range leads {
			m.add(row(l), row(l+moved[i]), 1)
		}
		return m.agreement()
	}
	far, near := make([]float32, 64), make([]float32, 64)
	noise := make([]float32, 64)
	for i := range far {
		far[i], near[i] = 10+float32(i)/64, 0.3+float32(i)/640
		noise[i] = 0.2 * float32(1-2*(i%2))
	}
	if a := agreement(far, noise); a < 0.999999 {
		t.Errorf("leads of 10 that move by 0.2 keep %v", a)
	}
	// Leads of 0.3 to 0.4 that move by 0.2 all stay here, and would not for others: the mean of the normal distribution at
	// 1.5 to 2 standard deviations is 0.958.
	if a := agreement(near, noise); math.Abs(a-0.958) > 0.005 {
		t.Errorf("leads of 0.3 to 0.4 that move by 0.2 keep %v", a)
	}
	// More flips than chance explains are believed: 16 of 64, of which 4 may be chance.
	flipped := append([]float32{}, make([]float32, 64)...)
	for i := range 16 {
		flipped[i*4] = -20
	}
	if a := agreement(far, flipped); a > 0.8125 {
		t.Errorf("a quarter of the classes flips and %v is claimed", a)
	}
	if a := agreement(far, make([]float32, 64)); a != 1 {
		t.Errorf("nothing moves and %v stays", a)
	}
	var none margins
	if !math.IsNaN(none.agreement()) {
		t.Error("no samples agree")
	}
	// Probabilities compare by their logarithms: a lead of 1e-4 against 1e-8 is a large one.
	var m margins
	for range 20 {
		m.add([]float32{0.0001, 0.9999, 0, 0.5, 0.3, 0.2}, []float32{0.0002, 0.9998, 0, 0.45, 0.33, 0.22}, 2)
	}
	if math.Abs(m.margin[0]-math.Log(9999)) > 1e-3 || math.Abs(m.margin[1]-math.Log(0.5/0.3)) > 1e-6 || m.samples != 40 {
		t.Errorf("margins are %v of %d samples", m.margin[:2], m.samples)
	}
	// Equal scores are no flip.
	m = margins{}
	m.add([]float32{1, 2, 0}, []float32{2, 2, 0}, 1)
	if m.same != 1 {
		t.Error("a tie counts as a flip")
	}
}

// TestSure: numbers that have a largest one by chance are no scores of classes.
func TestSure(t *testing.T) {
	b := newBuilder(17)
	row := func(lead float32) tensor.Tensor {
		x := b.noise(1, 1, 100)
		v, err := tensor.View[float32](x)
		if err != nil {
			t.Fatal(err)
		}
		v[7] += lead
		return x
	}
	for _, c := range []struct {
		name string
		make func() tensor.Tensor
		want bool
	}{
		{"chance", func() tensor.Tensor { return row(0) }, false},
		{"a class", func() tensor.Tensor { return row(3) }, true},
		{"probabilities", func() tensor.Tensor { return tensor.Of([]int64{1, 4}, []float32{0.26, 0.25, 0.25, 0.24}) }, true},
		{"all equal", func() tensor.Tensor { return tensor.Of([]int64{1, 4}, []float32{2, 2, 2, 2}) }, false},
	} {
		ref := reference{classes: "y", batch: 1}
		for range 9 {
			ref.answers = append(ref.answers, map[string]tensor.Tensor{"y": c.make()})
		}
		if got := ref.sure(); got != c.want {
			t.Errorf("%s: sure %v", c.name, got)
		}
	}
}
