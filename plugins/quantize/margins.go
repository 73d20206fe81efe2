package quantize

import (
	"cmp"
	"math"
	"slices"
)

// margins compares the classes of a candidate with the model's. A few dozen samples say little about a class that flips
// once in a hundred, so that how far each was from flipping counts too.
type margins struct {
	samples, same int
	margin, moved []float64 // of each sample: the winner's lead in the model, and by how much the candidate changes it
}

// add takes the scores of some samples, row by row: the model's and the candidate's.
func (m *margins) add(model, candidate []float32, rows int) {
	n := len(model) / rows
	for r := range rows {
		a, b := model[r*n:(r+1)*n], candidate[r*n:(r+1)*n]
		shared := probabilities(a) && probabilities(b)
		first := 0
		for i, x := range a {
			if x > a[first] {
				first = i
			}
		}
		second := -1
		for i, x := range a {
			if i != first && (second < 0 || x > a[second]) {
				second = i
			}
		}
		m.samples++
		// Scores that are equal to the winner's are no flip: which one comes first is chance.
		if b[first] >= slices.Max(b) {
			m.same++
		}
		lead := score(a[first], shared) - score(a[second], shared)
		m.margin = append(m.margin, lead)
		m.moved = append(m.moved, score(b[first], shared)-score(b[second], shared)-lead)
	}
}

// smallest stands for a probability of 0 in a logarithm.
const smallest = 1e-9

// score is a number whose differences compare: of probabilities the logarithm.
func score(x float32, probability bool) float64 {
	if probability {
		return math.Log(max(float64(x), smallest))
	}
	return float64(x)
}

// probabilities tells whether numbers are shares of one.
func probabilities(v []float32) bool {
	var sum float64
	for _, x := range v {
		if !(x >= 0) {
			return false
		}
		sum += float64(x)
	}
	return math.Abs(sum-1) < 1e-3
}

// neighbours is how many samples of a like lead say how far a lead moves: large ones move further.
const neighbours = 16

// agreement is the share of samples whose class stays: the one to expect of other samples with such leads, or the share
// that was seen, its flips less their standard error, if that is less still. A lead is expected to move as a normal variable does, by as much as leads of
// about its size moved here. NaN where there is no sample.
func (m *margins) agreement() float64 {
	n := m.samples
	if n == 0 {
		return math.NaN()
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(m.margin[a], m.margin[b]) })
	var expected float64
	for i, k := range order {
		from := max(0, min(i-neighbours/2, n-neighbours))
		near := order[from:min(from+neighbours, n)]
		var sum float64
		for _, j := range near {
			sum += m.moved[j] * m.moved[j]
		}
		if spread := math.Sqrt(sum / float64(len(near))); spread > 0 {
			expected += 1 - 0.5*math.Erfc(m.margin[k]/spread/math.Sqrt2)
		} else {
			expected++
		}
	}
	flips := float64(n - m.same)
	return min(1-(flips-math.Sqrt(flips))/float64(n), expected/float64(n))
}
