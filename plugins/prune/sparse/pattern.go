// Package sparse chooses which weights of a layer become zero, and what becomes of the others. A weight is a matrix of
// outputs and inputs, [n, k], row-major. It goes two ways that do not depend on one another: the pattern that zeros
// keep to (this file, choose.go), and the score of a weight, which says what losing it costs (score.go, obs.go).
package sparse

import (
	"fmt"
	"strconv"
	"strings"
)

// Pattern is what zeros keep to. The zero value lets them lie anywhere.
type Pattern struct {
	Keep, Of   int // at most Keep of every Of weights along the inputs are not zero
	Rows, Cols int // blocks of Rows outputs and Cols inputs are zero as a whole
}

// Unstructured is the name of the pattern whose zeros lie anywhere.
const Unstructured = "unstructured"

// largest bounds the sizes in a pattern.
const largest = 1024

// ParsePattern reads "unstructured", "2:4" (2 of every 4 stay) or "4x1" (blocks of 4 outputs and 1 input).
func ParsePattern(s string) (Pattern, error) {
	if s == Unstructured {
		return Pattern{}, nil
	}
	two := func(sep string) (a, b int, ok bool) {
		x, y, found := strings.Cut(s, sep)
		a, err1 := strconv.Atoi(x)
		b, err2 := strconv.Atoi(y)
		return a, b, found && err1 == nil && err2 == nil && a > 0 && b > 0 && a <= largest && b <= largest
	}
	if n, m, ok := two(":"); ok {
		if n >= m {
			return Pattern{}, fmt.Errorf("%d:%d keeps all weights: the first number, of those that stay, is smaller than the second", n, m)
		}
		return Pattern{Keep: n, Of: m}, nil
	}
	if r, c, ok := two("x"); ok {
		if r*c == 1 {
			return Pattern{}, fmt.Errorf("blocks of 1x1 are single weights: write %q", Unstructured)
		}
		return Pattern{Rows: r, Cols: c}, nil
	}
	return Pattern{}, fmt.Errorf("%q is no pattern: write %q, two numbers such as \"2:4\" (2 of every 4 weights along the inputs stay), or a block such as \"16x1\" (outputs by inputs); numbers go up to %d", s, Unstructured, largest)
}

// Fixed tells whether the pattern says how many weights stay.
func (p Pattern) Fixed() bool { return p.Of > 0 }

// Blocks tells whether blocks become zero as a whole.
func (p Pattern) Blocks() bool { return p.Rows > 0 }

func (p Pattern) String() string {
	switch {
	case p.Fixed():
		return fmt.Sprintf("%d:%d", p.Keep, p.Of)
	case p.Blocks():
		return fmt.Sprintf("%dx%d", p.Rows, p.Cols)
	}
	return Unstructured
}

// Sparsity is the share of zeros that a fixed pattern asks for.
func (p Pattern) Sparsity() float64 {
	if !p.Fixed() {
		return 0
	}
	return 1 - float64(p.Keep)/float64(p.Of)
}

// Holds tells whether a weight, [n, k], keeps to a fixed pattern along its inputs, of which segment lie at one place of a
// kernel; where it does not, at which output and input it fails. Other patterns hold always.
func (p Pattern) Holds(w []float32, n, k, segment int) (ok bool, output, input int) {
	if !p.Fixed() {
		return true, 0, 0
	}
	for o := range n {
		row := w[o*k : (o+1)*k]
		for s := 0; s < k; s += segment {
			for at := s; at < s+segment; at += p.Of {
				alive := 0
				for _, v := range row[at:min(at+p.Of, s+segment)] {
					if v != 0 {
						alive++
					}
				}
				if alive > p.Keep {
					return false, o, at
				}
			}
		}
	}
	return true, 0, 0
}
