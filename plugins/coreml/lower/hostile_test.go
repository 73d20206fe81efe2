package lower_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
)

// TestHostileNodes gives every rule nodes that are wrong: inputs are missing, swapped or of other shapes and types,
// attributes are gone or out of range. A rule may refuse them, and must not fall over them.
func TestHostileNodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	wrong := []operand{none, x(), x(1), x(2, 3, 4, 5, 2), numbers32(-4, 9, 3), ints(-9, 9), ints(), scalar(2), truths(2, 3), scalarInt(-1)}
	for _, c := range cases() {
		if c.build != nil {
			continue
		}
		for range 12 {
			broken := c
			broken.in = append([]operand(nil), c.in...)
			broken.attrs = nil
			for _, a := range c.attrs {
				if rng.IntN(3) > 0 {
					broken.attrs = append(broken.attrs, a)
				}
			}
			switch k := rng.IntN(4); {
			case k == 0 && len(broken.in) > 0:
				broken.in = broken.in[:rng.IntN(len(broken.in))]
			case k == 1 && len(broken.in) > 1:
				i, j := rng.IntN(len(broken.in)), rng.IntN(len(broken.in))
				broken.in[i], broken.in[j] = broken.in[j], broken.in[i]
			case k == 2 && len(broken.attrs) > 0:
				i := rng.IntN(len(broken.attrs))
				broken.attrs[i] = ai(broken.attrs[i].Name, []int64{-1 << 62, -7, 0, 99, 1 << 40}[rng.IntN(5)])
			case len(broken.in) > 0:
				broken.in[rng.IntN(len(broken.in))] = wrong[rng.IntN(len(wrong))]
			}
			lowerHostile(t, broken, 5+rng.IntN(4))
		}
	}
}

func lowerHostile(t *testing.T, c opCase, opset int) {
	t.Helper()
	defer func() {
		if e := recover(); e != nil {
			t.Errorf("%s, of %s: %v\n%s", c.name, describe(c), e, debug.Stack())
		}
	}()
	m := onnx.NewModel("case", c.opset)
	if c.domain != "" {
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: c.domain, Version: 1})
	}
	names := make([]string, 0, len(c.in))
	for i, o := range c.in {
		name := fmt.Sprintf("x%d", i)
		switch {
		case o.absent:
			name = ""
		case o.constant:
			m.Graph.AddInitializer(onnx.NewTensor(name, o.value))
		default:
			m.Graph.AddInput(onnx.NewValueInfo(name, onnx.DataTypeOf(o.value.DType), onnx.FixedDims(o.value.Shape...)))
		}
		names = append(names, name)
	}
	outs := []string{"y0", "y1", "y2"}[:min(c.outs, 3)]
	m.Graph.AppendNode(onnx.NewNode(c.op, c.domain, "node", names, outs, c.attrs...))
	for _, o := range outs {
		m.Graph.AddOutput(onnx.NewValueInfo(o, onnx.Float, nil))
	}
	lower.Lower(m, lower.Options{Opset: opset, Half: opset%2 == 0})
}

func describe(c opCase) string {
	s := ""
	for _, o := range c.in {
		s += fmt.Sprintf(" %v", o.value.Shape)
	}
	for _, a := range c.attrs {
		s += " " + a.Name
	}
	return s
}
