package repair

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestAddPatches compares with one look-up for each element of each patch, for strides, dilations, pads that are uneven or
// negative, one to three axes, kernels larger than the image, and more threads than channels.
func TestAddPatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		w     Window
		shape []int64
	}{
		{Window{[]int{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, []int{1, 1}}, []int64{2, 3, 7, 40}},
		{Window{[]int{3, 5}, []int{2, 2}, []int{1, 1}, []int{1, 2}, []int{0, 1}}, []int64{1, 2, 9, 20}},
		{Window{[]int{2, 3}, []int{3, 1}, []int{2, 3}, []int{0, 4}, []int{3, 0}}, []int64{2, 1, 11, 13}},
		{Window{[]int{5, 5}, []int{1, 1}, []int{1, 1}, []int{2, 2}, []int{2, 2}}, []int64{1, 4, 3, 2}},
		{Window{[]int{3, 3}, []int{1, 2}, []int{1, 1}, []int{-1, -2}, []int{-1, 0}}, []int64{1, 2, 8, 12}},
		{Window{[]int{1, 1}, []int{1, 1}, []int{1, 1}, []int{0, 0}, []int{0, 0}}, []int64{3, 2, 4, 33}},
		{Window{[]int{7}, []int{4}, []int{1}, []int{3}, []int{3}}, []int64{2, 2, 50}},
		{Window{[]int{2, 3, 3}, []int{1, 2, 1}, []int{1, 1, 2}, []int{1, 0, 2}, []int{0, 1, 2}}, []int64{1, 2, 4, 6, 18}},
		{Window{[]int{4, 4}, []int{1, 1}, []int{1, 1}, []int{0, 0}, []int{0, 0}}, []int64{1, 1, 3, 9}}, // it fits nowhere
	} {
		size, places := 1, 1
		for _, d := range c.shape[2:] {
			size *= int(d)
		}
		for _, k := range c.w.Kernel {
			places *= k
		}
		x := make([]float32, int(c.shape[0]*c.shape[1])*size)
		for i := range x {
			x[i] = rng.Float32()*2 - 0.5
		}
		want, rows := directPatches(c.w, x, c.shape, size, places)
		var first []float64
		for _, threads := range []int{1, 3} {
			got := make([]float64, len(want))
			n, err := c.w.AddPatches(got, x, c.shape, threads)
			if err != nil || n != rows {
				t.Errorf("%+v of %v: %v patches (%v), want %v", c.w, c.shape, n, err, rows)
				continue
			}
			for i, v := range want {
				if !(math.Abs(got[i]-v) <= 1e-5*(1+math.Abs(v))) {
					t.Errorf("%+v of %v: sum %d is %v, want %v", c.w, c.shape, i, got[i], v)
				}
			}
			for i := range first {
				if first[i] != got[i] {
					t.Errorf("%+v of %v: sum %d is %v on three threads, %v on one", c.w, c.shape, i, got[i], first[i])
				}
			}
			first = got
		}
	}
}

func directPatches(w Window, x []float32, shape []int64, size, places int) (sum []float64, rows float64) {
	axes := len(w.Kernel)
	sum = make([]float64, int(shape[1])*places)
	steps := make([]int, axes)
	rows = float64(shape[0])
	for i := range axes {
		room := int(shape[i+2]) + w.Before[i] + w.After[i] - (w.Kernel[i]-1)*w.Dilations[i] - 1
		if room >= 0 {
			steps[i] = room/w.Strides[i] + 1
		}
		rows *= float64(steps[i])
	}
	digits := func(v int, base []int) []int {
		out := make([]int, len(base))
		for i := len(base) - 1; i >= 0; i-- {
			out[i], v = v%base[i], v/base[i]
		}
		return out
	}
	all := 1
	for _, s := range steps {
		all *= s
	}
	for plane := range int(shape[0] * shape[1]) {
		for o := range all {
			at := digits(o, steps)
			for k := range places {
				place, index, in := digits(k, w.Kernel), 0, true
				for i := range axes {
					p := at[i]*w.Strides[i] - w.Before[i] + place[i]*w.Dilations[i]
					in = in && p >= 0 && p < int(shape[i+2])
					index = index*int(shape[i+2]) + p
				}
				if in {
					sum[plane%int(shape[1])*places+k] += float64(x[plane*size+index])
				}
			}
		}
	}
	return sum, rows
}

func TestSumsRefuse(t *testing.T) {
	w := Window{[]int{2}, []int{1}, []int{1}, []int{0}, []int{0}}
	for name, err := range map[string]error{
		"axes":       second(w.AddPatches(make([]float64, 2), make([]float32, 4), []int64{1, 1, 2, 2}, 1)),
		"elements":   second(w.AddPatches(make([]float64, 2), make([]float32, 5), []int64{1, 1, 4}, 1)),
		"no number":  second(w.AddPatches(make([]float64, 2), []float32{1, float32(math.NaN()), 2, 3}, []int64{1, 1, 4}, 1)),
		"rows":       second(AddRows(make([]float64, 3), make([]float32, 4))),
		"no columns": second(AddRows(nil, nil)),
		"infinite":   second(AddRows(make([]float64, 2), []float32{1, float32(math.Inf(1))})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	sum := []float64{1, 1}
	if rows, err := AddRows(sum, []float32{1, 2, 3, 4}); err != nil || rows != 2 || sum[0] != 5 || sum[1] != 7 {
		t.Errorf("%v rows, sums %v, %v", rows, sum, err)
	}
}

func second(_ float64, err error) error { return err }
