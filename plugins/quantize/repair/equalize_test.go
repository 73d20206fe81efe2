package repair

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// net is a chain of a convolution, a depthwise one with another step, a pointwise one and two products, with channels of
// very different ranges. extra reads a value in the middle, so that its pair must be left alone.
func net(t *testing.T, extra bool) *onnx.Model {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 5))
	m := onnx.NewModel("net", 13)
	g := m.Graph
	weights := func(name string, dims ...int64) string {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			// One range for each index of axis 0.
			v[i] = float32(rng.NormFloat64() * math.Exp(2*math.Sin(float64(i)/float64(n)*float64(dims[0])*3.7)))
		}
		g.AddInitializer(onnx.NewFloats(name, v, dims...))
		return name
	}
	node := func(op, out string, in []string, attrs ...*onnx.Attribute) string {
		g.AppendNode(onnx.NewNode(op, "", out, in, []string{out}, attrs...))
		return out
	}
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 3, 8, 8)))
	x := node("Conv", "a", []string{"x", weights("a.w", 8, 3, 3, 3), weights("a.b", 8)}, onnx.IntsAttr("pads", 1, 1, 1, 1))
	x = node("Relu", "a.relu", []string{x})
	x = node("Conv", "dw", []string{x, weights("dw.w", 16, 1, 3, 3)}, onnx.IntAttr("group", 8))
	x = node("LeakyRelu", "dw.relu", []string{x}, onnx.FloatAttr("alpha", 0.1))
	x = node("MaxPool", "pool", []string{x}, onnx.IntsAttr("kernel_shape", 2, 2))
	if extra {
		node("Relu", "side", []string{x})
		g.AddOutput(onnx.NewValueInfo("side", onnx.Float, nil))
	}
	x = node("Conv", "pw", []string{x, weights("pw.w", 6, 8, 1, 1), weights("pw.b", 6)}, onnx.IntAttr("group", 2))
	x = node("GlobalAveragePool", "gap", []string{node("Relu", "pw.relu", []string{x})})
	x = node("Flatten", "flat", []string{x})
	x = node("Gemm", "fc", []string{x, weights("fc.w", 6, 10), weights("fc.b", 10)})
	x = node("Relu", "fc.relu", []string{x})
	x = node("Gemm", "out", []string{x, weights("out.w", 4, 10), weights("out.b", 4)}, onnx.IntAttr("transB", 1), onnx.FloatAttr("alpha", 0.5))
	g.AddOutput(onnx.NewValueInfo(x, onnx.Float, nil))
	return m
}

func run(t *testing.T, m *onnx.Model) map[string][]float32 {
	t.Helper()
	lib, err := ort.Find()
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no ONNX Runtime: %v", err)
	}
	if err := ort.Load(lib); err != nil {
		t.Fatal(err)
	}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, 2*3*8*8)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	out, err := s.Run(map[string]tensor.Tensor{"x": tensor.Of([]int64{2, 3, 8, 8}, x)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := map[string][]float32{}
	for k, v := range out {
		if r[k], err = tensor.ToFloat32(v); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestEqualize: the outputs stay what they were to 1e-5 of the largest, and the ranges of channels come together, through
// a depthwise convolution, groups, pools and a flattening.
func TestEqualize(t *testing.T) {
	for _, c := range []struct {
		extra bool
		pairs string
	}{{false, "a-dw dw-pw pw-fc fc-out "}, {true, "a-dw pw-fc fc-out "}} {
		before := run(t, net(t, c.extra))
		m := net(t, c.extra)
		pairs, err := FindPairs(m).Equalize(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, p := range pairs {
			got += p.First + "-" + p.Second + " "
			t.Log(p)
			if !(p.After <= p.Before) {
				t.Errorf("the ranges moved apart: %v", p)
			}
		}
		if got != c.pairs {
			t.Errorf("pairs %q, want %q", got, c.pairs)
		}
		after := run(t, m)
		for name, want := range before {
			var most, worst float64
			for i, v := range want {
				most = max(most, math.Abs(float64(v)))
				worst = max(worst, math.Abs(float64(v)-float64(after[name][i])))
			}
			if worst > 1e-5*most {
				t.Errorf("output %q is off by %v of %v", name, worst, most)
			}
		}
	}
}

// TestEqualizeLeavesAlone: nothing changes where scaling would not commute, or where a constant has another reader.
func TestEqualizeLeavesAlone(t *testing.T) {
	for name, change := range map[string]func(*onnx.Graph){
		"Relu6 between":       func(g *onnx.Graph) { g.NodeByName("a.relu").OpType = "Clip" },
		"a shared weight":     func(g *onnx.Graph) { g.AppendNode(onnx.NewNode("Identity", "", "i", []string{"a.w"}, []string{"i"})) },
		"the value is output": func(g *onnx.Graph) { g.AddOutput(onnx.NewValueInfo("a.relu", onnx.Float, nil)) },
		"a weight without numbers": func(g *onnx.Graph) {
			t := g.Initializer("a.w")
			v, _ := t.Float32s()
			v = append([]float32(nil), v...)
			v[3] = float32(math.Inf(1))
			g.RemoveInitializer("a.w")
			g.AddInitializer(onnx.NewFloats("a.w", v, t.Dims...))
		},
	} {
		m := net(t, false)
		change(m.Graph)
		pairs, err := FindPairs(m).Equalize(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			if p.First == "a" {
				t.Errorf("%s: %v", name, p)
			}
		}
	}
}

// TestEqualizeBound: a channel with small weights and a large bias is not blown up.
func TestEqualizeBound(t *testing.T) {
	m := net(t, false)
	w := m.Graph.Initializer("a.w")
	v, err := w.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	v = append([]float32(nil), v...)
	for i := range 27 {
		v[i] *= 1e-4 // output 0
	}
	m.Graph.RemoveInitializer("a.w")
	m.Graph.AddInitializer(onnx.NewFloats("a.w", v, w.Dims...))
	act := []float64{3, 8, 2, 1, 4, 1, 1, 1}
	e := FindPairs(m)
	if got := e.Values()[0]; got != "a.relu" {
		t.Fatalf("values %v", e.Values())
	}
	if _, err := e.Equalize(map[string][]float64{"a.relu": act}); err != nil {
		t.Fatal(err)
	}
	for c, s := range e.pairs[0][0].out {
		if act[c]/s > 8*(1+1e-9) {
			t.Errorf("channel %d reaches %v, the largest was 8", c, act[c]/s)
		}
	}
}
