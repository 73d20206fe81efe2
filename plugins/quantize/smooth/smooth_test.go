package smooth

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

const dim = 8

var grid = Grid{QMax: 127, PerChannel: true, Step: func(lo, hi float64) float64 { return (hi - lo) / 255 }}

// net normalizes in one of several forms and multiplies: a MatMul and a Gemm that reads its weight transposed. With
// residual, something else reads the normalized value too.
func net(form string, residual bool) *onnx.Model {
	rng := rand.New(rand.NewPCG(1, 2))
	m := onnx.NewModel("net", 17)
	g := m.Graph
	random := func(name string, dims ...int64) string {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		g.AddInitializer(onnx.NewFloats(name, v, dims...))
		return name
	}
	node := func(op, out string, in []string, attrs ...*onnx.Attribute) string {
		domain := ""
		if strings.HasPrefix(op, "Skip") {
			domain = microsoft
		}
		g.AppendNode(onnx.NewNode(op, domain, out, in, []string{out}, attrs...))
		return out
	}
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(4, dim)))
	var y string
	switch form {
	case "whole":
		y = node("LayerNormalization", "ln", []string{"x", random("g", dim), random("b", dim)}, onnx.IntAttr("axis", -1))
	case "without bias":
		y = node("LayerNormalization", "ln", []string{"x", random("g", dim)}, onnx.IntAttr("axis", -1))
	case "skip":
		m.SetOpset(microsoft, 1)
		y = node("SkipLayerNormalization", "ln", []string{"x", "x", random("g", dim), random("b", dim)})
	case "written out", "rms":
		g.AddInitializer(onnx.NewFloats("eps", []float32{1e-5}, 1))
		g.AddInitializer(onnx.NewFloats("two", []float32{2}, 1))
		c := "x"
		if form == "written out" {
			c = node("Sub", "c", []string{"x", node("ReduceMean", "mean", []string{"x"}, onnx.IntsAttr("axes", -1))})
		}
		v := node("ReduceMean", "var", []string{node("Pow", "sq", []string{c, "two"})}, onnx.IntsAttr("axes", -1))
		s := node("Sqrt", "std", []string{node("Add", "ve", []string{v, "eps"})})
		if form == "rms" {
			y = node("Mul", "ln", []string{random("g", dim), node("Mul", "n", []string{"x", node("Reciprocal", "r", []string{s})})})
		} else {
			y = node("Add", "ln", []string{node("Mul", "ln.m", []string{node("Div", "n", []string{c, s}), random("g", dim)}), random("b", dim)})
		}
	}
	a := node("MatMul", "mm", []string{y, random("mm.w", dim, 6)})
	b := node("Gemm", "gemm", []string{y, random("gemm.w", 6, dim), random("gemm.b", 6)}, onnx.IntAttr("transB", 1))
	g.AddOutput(onnx.NewValueInfo(node("Add", "sum", []string{a, b}), onnx.Float, nil))
	if residual {
		g.AddOutput(onnx.NewValueInfo(node("Relu", "side", []string{y}), onnx.Float, nil))
	}
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
	if err := m.Graph.TopoSort(); err != nil {
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
	rng := rand.New(rand.NewPCG(3, 3))
	x := make([]float32, 4*dim)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	out, err := s.Run(map[string]tensor.Tensor{"x": tensor.Of([]int64{4, dim}, x)}, nil)
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

func all(*onnx.Node) bool { return true }

// TestApply: the model computes the same, in every form of normalization, whether the factors are folded or not.
func TestApply(t *testing.T) {
	for _, form := range []string{"whole", "without bias", "skip", "written out", "rms"} {
		for _, residual := range []bool{false, true} {
			before := run(t, net(form, residual))
			m := net(form, residual)
			groups := Find(m, all)
			if len(groups) != 1 || groups[0].K != dim || strings.Join(groups[0].Nodes(), " ") != "mm gemm" {
				t.Fatalf("%s: groups %+v", form, groups)
			}
			scale := make([]float32, dim)
			for i := range scale {
				scale[i] = float32(math.Exp(float64(i) - 3))
			}
			how, err := groups[0].Apply(scale)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(how, "folded into ") == residual {
				t.Errorf("%s, residual %v: %s", form, residual, how)
			}
			muls := 0
			for n := range m.Graph.Nodes() {
				if strings.HasSuffix(n.Name, "/Smooth") {
					muls++
				}
			}
			if (muls == 1) != residual {
				t.Errorf("%s, residual %v: %d new nodes", form, residual, muls)
			}
			after := run(t, m)
			for name, want := range before {
				var most, worst float64
				for i, v := range want {
					most = max(most, math.Abs(float64(v)))
					worst = max(worst, math.Abs(float64(v)-float64(after[name][i])))
				}
				if worst > 1e-5*most {
					t.Errorf("%s, residual %v: output %q is off by %v of %v", form, residual, name, worst, most)
				}
			}
		}
	}
}

// TestFindLeavesAlone: what is not wanted, has a weight that others read, or is no normalization over the last axis.
func TestFindLeavesAlone(t *testing.T) {
	m := net("whole", false)
	if g := Find(m, func(n *onnx.Node) bool { return n.Is("Gemm") }); len(g) != 1 || !g[0].shared || len(g[0].units) != 1 {
		t.Errorf("a product that is not wanted: %+v", g)
	}
	m.Graph.AppendNode(onnx.NewNode("Identity", "", "i", []string{"mm.w"}, []string{"i"}))
	if g := Find(m, all); len(g) != 1 || !g[0].shared || len(g[0].units) != 1 {
		t.Errorf("a weight with another reader: %+v", g)
	}
	m = net("whole", false)
	m.Graph.NodeByName("ln").SetAttr(onnx.IntAttr("axis", 0))
	if g := Find(m, all); len(g) != 0 {
		t.Errorf("another axis: %+v", g)
	}
	m = net("written out", false)
	m.Graph.NodeByName("std").OpType = "Exp"
	if g := Find(m, all); len(g) != 0 {
		t.Errorf("no normalization: %+v", g)
	}
}

// sample measures a group on made-up activations whose channels are as large as told.
func sample(size []float64) *Stats {
	rng := rand.New(rand.NewPCG(9, 9))
	s := NewStats(dim)
	for range 500 {
		x := make([]float32, dim)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * size[i])
		}
		if !s.Add(x) {
			panic("not finite")
		}
	}
	return s
}

// TestStats: bounds and energies of each channel, and what is no number.
func TestStats(t *testing.T) {
	s := NewStats(2)
	if !s.Add([]float32{1, -2, 3, 4, -5, 0}) || s.Rows != 3 || !slices.Equal(s.Min, []float64{-5, -2}) || !slices.Equal(s.Max, []float64{3, 4}) || !slices.Equal(s.Square, []float64{35, 20}) {
		t.Errorf("%+v", s)
	}
	for _, x := range []float64{math.NaN(), math.Inf(-1)} {
		if NewStats(2).Add([]float32{1, float32(x)}) {
			t.Errorf("%v is taken", x)
		}
	}
}

// TestSearch: an outlier is found and moved, and what the search expects is what quantizing really gives.
func TestSearch(t *testing.T) {
	g := Find(net("whole", false), all)[0]
	size := []float64{1, 1, 1, 50, 1, 1, 1, 1}
	s := sample(size)
	c, err := g.Search(s, grid, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c.Channel != 3 || c.Outlier < 20 || math.IsNaN(c.Alpha) || !(c.After < c.Before/3) || !(c.Scale[3] > 3*c.Scale[0]) {
		t.Errorf("choice %+v", c)
	}
	for _, scale := range [][]float32{nil, c.Scale} {
		expected := c.Before
		if scale != nil {
			expected = c.After
		}
		if got := simulate(t, g, size, s, scale); got < expected/2 || got > expected*2 {
			t.Errorf("scale %v: error %v, expected %v", scale, got, expected)
		}
	}
	// Channels and weights that are alike: little is to be gained, and the choice is never worse.
	c, err = g.Search(sample([]float64{1, 1, 1, 1, 1, 1, 1, 1}), grid, 1)
	if err != nil || c.After > c.Before || c.Outlier > 2 {
		t.Errorf("choice %+v, %v", c, err)
	}
	if _, err := g.Search(&Stats{}, grid, 3); err == nil {
		t.Error("statistics of another size are taken")
	}
	bad := sample(size)
	bad.Max[2] = math.Inf(1)
	if _, err := g.Search(bad, grid, 3); err == nil || !strings.Contains(err.Error(), "channel 2") {
		t.Errorf("error %v", err)
	}
	dead := &Stats{Min: make([]float64, dim), Max: make([]float64, dim), Square: make([]float64, dim)}
	if c, err := g.Search(dead, grid, 3); err != nil || c.Scale != nil {
		t.Errorf("dead: %+v %v", c, err)
	}
}

// simulate quantizes activations and weights element by element and returns the error of the products relative to their
// energy.
func simulate(t *testing.T, g *Group, size []float64, s *Stats, scale []float32) float64 {
	t.Helper()
	f := make([]float64, dim)
	lo, hi := 0.0, 0.0
	for i := range f {
		f[i] = 1
		if scale != nil {
			f[i] = float64(scale[i])
		}
		lo, hi = min(lo, s.Min[i]/f[i]), max(hi, s.Max[i]/f[i])
	}
	step := grid.Step(lo, hi)
	rng := rand.New(rand.NewPCG(9, 9))
	var noise, energy float64
	for range 500 {
		x := make([]float64, dim)
		for i := range x {
			x[i] = rng.NormFloat64() * size[i]
		}
		for _, u := range g.units {
			w, err := u.rows()
			if err != nil {
				t.Fatal(err)
			}
			for o := range u.n {
				var top, y, q float64
				for i := range dim {
					top = max(top, math.Abs(float64(w[o*dim+i])*f[i]))
				}
				unit := top / 127
				for i := range dim {
					v := float64(w[o*dim+i])
					y += x[i] * v
					q += math.RoundToEven(x[i]/f[i]/step) * step * math.RoundToEven(v*f[i]/unit) * unit
				}
				noise += (y - q) * (y - q)
				energy += y * y
			}
		}
	}
	return noise / energy
}
