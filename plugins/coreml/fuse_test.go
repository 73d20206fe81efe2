package coreml

import (
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

// TestFuse: patterns become operators where they are what they seem, and stay where they are not.
func TestFuse(t *testing.T) {
	norm := func(axes []int64, square string, more ...*onnx.Node) *onnx.Model {
		in := "d two"
		if square == "Mul" {
			in = "d d"
		}
		nodes := append([]*onnx.Node{node("ReduceMean", "m", "x", "m", onnx.IntsAttr("axes", axes...)), node("Sub", "d", "x m", "d"), node(square, "p", in, "p"),
			node("ReduceMean", "v", "p", "v", onnx.IntsAttr("axes", axes...)), node("Add", "a", "v eps", "a"), node("Sqrt", "s", "a", "s"), node("Div", "norm", "d s", "n")}, more...)
		m := graph(onnx.Float, onnx.FixedDims(2, 3, 4), nodes...)
		m.Graph.AddInitializer(onnx.NewFloats("two", []float32{2}))
		m.Graph.AddInitializer(onnx.NewFloats("eps", []float32{1e-5}))
		m.Graph.AddInitializer(onnx.NewFloats("w", []float32{1, 2, 3, 4}, 4))
		m.Graph.AddInitializer(onnx.NewFloats("b", []float32{1, 2, 3, 4}, 1, 1, 4))
		m.Graph.AddInitializer(onnx.NewFloats("c", []float32{1, 2, 3}, 3, 1))
		for name, v := range map[string]float32{"root": 1.4142135, "one": 1, "half": 0.5} {
			m.Graph.AddInitializer(onnx.NewFloats(name, []float32{v}))
		}
		return m
	}
	gelu := graph(onnx.Float, onnx.FixedDims(4), node("Div", "d", "x root", "d"), node("Erf", "e", "d", "e"), node("Add", "a", "e one", "a"), node("Mul", "m", "x a", "m"), node("Mul", "y", "m half", "y"))
	for name, v := range map[string]float32{"root": 1.4142135, "one": 1, "half": 0.5} {
		gelu.Graph.AddInitializer(onnx.NewFloats(name, []float32{v}))
	}
	for name, c := range map[string]struct {
		m    *onnx.Model
		want string
	}{
		"silu":               {graph(onnx.Float, onnx.FixedDims(4), node("Sigmoid", "s", "x", "s"), node("Mul", "m", "x s", "y")), "Swish"},
		"gelu":               {gelu, "Gelu"},
		"norm":               {norm([]int64{-1}, "Pow"), "LayerNormalization"},
		"norm of two":        {norm([]int64{1, 2}, "Mul"), "LayerNormalization"},
		"norm, scaled":       {norm([]int64{2}, "Mul", node("Mul", "w", "n w", "y")), "LayerNormalization"},
		"norm, shifted":      {norm([]int64{-1}, "Pow", node("Mul", "w", "w n", "z"), node("Add", "b", "z b", "y")), "LayerNormalization"},
		"another scale":      {norm([]int64{-1}, "Pow", node("Mul", "w", "n c", "y")), "LayerNormalization Mul"},
		"not the last axis":  {norm([]int64{1}, "Pow"), "ReduceMean Sub Pow ReduceMean Add Sqrt Div"},
		"read elsewhere too": {norm([]int64{-1}, "Pow", node("Add", "b", "n v", "y")), "ReduceMean Sub Pow ReduceMean Add Sqrt Div Add"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fuse(c.m); err != nil {
				t.Fatal(err)
			}
			var ops []string
			for n := range c.m.Graph.Nodes() {
				ops = append(ops, n.OpType)
			}
			if got := strings.Join(ops, " "); got != c.want {
				t.Errorf("it is %s, not %s", got, c.want)
			}
			if err := onnx.Check(c.m); err != nil {
				t.Error(err)
			}
			converted(t, Config{Model: written(t, c.m)})
		})
	}
}

// TestWideSums: a long sum and what is worked out of it compute in single precision, up to what is larger; a short one does not.
func TestWideSums(t *testing.T) {
	for n, want := range map[int64]string{64: "", 4096: "sum mean sq var"} {
		m := graph(onnx.Float, onnx.FixedDims(n), node("ReduceSum", "sum", "x", "sum"), node("Mul", "a", "sum k", "mean"), node("Mul", "b", "mean mean", "sq"),
			node("Sub", "c", "sq k", "var"), node("Mul", "d", "x var", "y"))
		m.Graph.AddInitializer(onnx.NewFloats("k", []float32{0.001}))
		wide := map[string]bool{}
		if err := wideSums(m, wide); err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, v := range []string{"sum", "mean", "sq", "var", "y"} {
			if wide[v] {
				got = append(got, v)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("of %d: %v, not %s", n, got, want)
		}
	}
}
