package accuracy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Choice is one form that a layer can have.
type Choice struct {
	Form string
	// Cost in bytes.
	Cost int64
	// Noise as in Layer, when this layer alone has the form.
	Noise float64
}

// TooSmallError tells that even the cheapest forms cost more than is allowed.
type TooSmallError struct{ Least, Limit int64 }

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("the smallest choice takes %d bytes, and %d are allowed", e.Least, e.Limit)
}

// Allocate chooses a form for each layer, as an index of its choices, so that the costs stay within the limit and the
// noises, which are taken to add up, are small: from the form with the least noise on, it takes the step that adds least
// noise for each byte saved, along the lower convex hull of each layer's forms, and at the end gives back what still
// fits. Ties go to the layer that comes first.
func Allocate(layers [][]Choice, limit int64) ([]int, error) {
	hulls := make([][]int, len(layers))
	at := make([]int, len(layers)) // position on the hull
	var cost, least int64
	for i, choices := range layers {
		hulls[i] = hull(choices)
		cost += choices[hulls[i][0]].Cost
		least += choices[hulls[i][len(hulls[i])-1]].Cost
	}
	if least > limit {
		return nil, &TooSmallError{least, limit}
	}
	for cost > limit {
		best, price := -1, math.Inf(1)
		for i, h := range hulls {
			if at[i]+1 == len(h) {
				continue
			}
			a, b := layers[i][h[at[i]]], layers[i][h[at[i]+1]]
			if p := (b.Noise - a.Noise) / float64(a.Cost-b.Cost); best < 0 || p < price {
				best, price = i, p
			}
		}
		h := hulls[best]
		cost -= layers[best][h[at[best]]].Cost - layers[best][h[at[best]+1]].Cost
		at[best]++
	}
	out := make([]int, len(layers))
	for i, h := range hulls {
		out[i] = h[at[i]]
	}
	// The last step may have saved more than was needed: the form that takes most noise away and still fits comes back.
	for {
		layer, form, gain := -1, 0, 0.0
		for i, choices := range layers {
			now := choices[out[i]]
			for f, c := range choices {
				if g := now.Noise - c.Noise; c.Cost-now.Cost <= limit-cost && g > gain {
					layer, form, gain = i, f, g
				}
			}
		}
		if layer < 0 {
			return out, nil
		}
		cost += layers[layer][form].Cost - layers[layer][out[layer]].Cost
		out[layer] = form
	}
}

// hull is the lower convex hull of noise over cost, from the form with the least noise to the cheapest.
func hull(choices []Choice) []int {
	order := make([]int, len(choices))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(choices[a].Noise, choices[b].Noise), cmp.Compare(choices[a].Cost, choices[b].Cost))
	})
	var out []int
	for _, i := range order {
		c := choices[i]
		if len(out) > 0 && c.Cost >= choices[out[len(out)-1]].Cost {
			continue // more noise, and no byte saved
		}
		for len(out) > 1 {
			a, b := choices[out[len(out)-2]], choices[out[len(out)-1]]
			if (b.Noise-a.Noise)*float64(b.Cost-c.Cost) < (c.Noise-b.Noise)*float64(a.Cost-b.Cost) {
				break
			}
			out = out[:len(out)-1]
		}
		out = append(out, i)
	}
	return out
}
