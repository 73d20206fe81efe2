package coreml

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// longSum is how many elements a sum has which leaves half precision sooner or later, or has few digits left when another is
// taken from it: half precision ends at 65504, and has 11 bits.
const longSum = 128

// wideSums finds outputs that must not be of half precision: sums of many elements, and what is worked out of them element by
// element until it meets a tensor that is larger. So a variance that is written as the mean of squares less the square of
// the mean keeps its digits.
func wideSums(m *onnx.Model, wide map[string]bool) error {
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return err
	}
	size := func(value string) int64 {
		_, dims, ok := shapes.Of(value)
		if !ok || dims == nil {
			return -1
		}
		n := int64(1)
		for _, d := range dims {
			n *= max(d.Value, 1) // an open axis is at least that long
		}
		return n
	}
	var todo []string
	for n := range m.Graph.Nodes() {
		switch n.OpType {
		case "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceL1":
			if in, out := size(n.Input(0)), size(n.Output(0)); out > 0 && in/out >= longSum && !wide[n.Output(0)] {
				wide[n.Output(0)] = true
				todo = append(todo, n.Output(0))
				// Squares that are summed leave it alone.
				if p := m.Graph.Producer(n.Input(0)); p != nil && (p.Is("Mul") && p.Input(0) == p.Input(1) || p.Is("Pow")) {
					wide[p.Output(0)] = true
				}
			}
		}
	}
	small := []string{"Mul", "Add", "Sub", "Div", "Max", "Min", "Pow", "Sqrt", "Reciprocal", "Abs", "Neg", "Clip", "Relu", "Reshape", "Squeeze", "Unsqueeze"}
	for len(todo) > 0 {
		value := todo[0]
		todo = todo[1:]
		for _, n := range m.Graph.Consumers(value) {
			out := n.Output(0)
			if slices.Contains(small, n.OpType) && !wide[out] && size(out) > 0 && size(out) <= size(value) {
				wide[out] = true
				todo = append(todo, out)
			}
		}
	}
	return nil
}
