package accuracy

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func TestAllocate(t *testing.T) {
	three := func(bytes int64, n8, n4 float64) []Choice {
		return []Choice{{"float", bytes, 0}, {"int8", bytes / 4, n8}, {"int4", bytes / 8, n4}}
	}
	layers := [][]Choice{three(800, 1e-4, 1e-2), three(800, 1e-2, 1), three(80, 1e-4, 1e-3)}
	for _, c := range []struct {
		limit int64
		want  [3]int
	}{
		{1680, [3]int{0, 0, 0}}, // everything fits
		{1679, [3]int{1, 0, 0}}, // the cheapest for each byte saved
		{1090, [3]int{1, 0, 0}}, // the large one that does not hurt, and the small one comes back
		{420, [3]int{1, 1, 1}},
		{320, [3]int{2, 1, 1}},
		{210, [3]int{2, 2, 2}},
	} {
		got, err := Allocate(layers, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if [3]int(got) != c.want {
			t.Errorf("limit %d: %v, want %v", c.limit, got, c.want)
		}
	}
	var small *TooSmallError
	if _, err := Allocate(layers, 209); !errors.As(err, &small) || small.Least != 210 {
		t.Errorf("error %v", err)
	}
}

// TestAllocateNearBest compares with all choices: never over the limit, and close to the least noise.
func TestAllocateNearBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var worst float64
	for range 300 {
		layers := make([][]Choice, 5)
		var most, least int64
		for i := range layers {
			b := 64 + rng.Int64N(2000)
			n := math.Exp(-10 * rng.Float64())
			layers[i] = []Choice{{"float", b, 0}, {"int8", b / 4, n / (10 + 100*rng.Float64())}, {"int4", b / 7, n}}
			most, least = most+b, least+b/7
		}
		limit := least + rng.Int64N(most-least)
		got, err := Allocate(layers, limit)
		if err != nil {
			t.Fatal(err)
		}
		total := func(pick func(i int) int) (cost int64, noise float64) {
			for i, l := range layers {
				cost += l[pick(i)].Cost
				noise += l[pick(i)].Noise
			}
			return cost, noise
		}
		cost, noise := total(func(i int) int { return got[i] })
		if cost > limit {
			t.Fatalf("%d bytes, %d are allowed", cost, limit)
		}
		best := math.Inf(1)
		for code := range 243 {
			c, n := total(func(i int) int { return code / int(math.Pow(3, float64(i))) % 3 })
			if c <= limit {
				best = min(best, n)
			}
		}
		worst = max(worst, noise-best)
		if noise > best+0.2 {
			t.Errorf("noise %v, the best choice has %v", noise, best)
		}
	}
	t.Logf("at most %v above the best", worst)
}
