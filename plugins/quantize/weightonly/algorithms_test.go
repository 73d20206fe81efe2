package weightonly

import (
	"math"
	"os"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

func needRuntime(t testing.TB) {
	t.Helper()
	lib, err := ort.Find()
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatalf("ONNX Runtime is required here: %v", err)
		}
		t.Skipf("no ONNX Runtime: %v", err)
	}
	if err := ort.Load(lib); err != nil {
		t.Fatal(err)
	}
}

const width, rows = 64, 400

// inputs are rows of which neighbours are alike and every tenth channel is large.
func inputs() []float32 {
	x := noise(8, rows*width)
	for i := range x {
		if i%width > 0 {
			x[i] = 0.8*x[i-1] + 0.5*x[i]
		}
	}
	for i := range x {
		if i%width%10 == 3 {
			x[i] *= 8
		}
	}
	return x
}

type source []float32

func (s source) Samples() int64 { return int64(len(s) / width) }
func (s source) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	return map[string]tensor.Tensor{"x": tensor.Of([]int64{n, width}, s[start*width:(start+n)*width])}, nil
}

// net is x -> how -> two products of it -> Add -> one more product; how is what AWQ's scale can go into, or not.
func net(how string) *onnx.Model {
	m := onnx.NewModel("net", 17)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: width}}))
	constant := func(name string, seed uint64, size, add float32, dims ...int64) {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		v := noise(seed, int(n))
		for i := range v {
			v[i] = v[i]*size + add
		}
		g.AddInitializer(onnx.NewFloats(name, v, dims...))
	}
	constant("gamma", 11, 0.2, 1, width)
	constant("beta", 12, 0.3, 0, width)
	node := func(op string, in []string, out string, attrs ...*onnx.Attribute) {
		g.AppendNode(onnx.NewNode(op, "", out, in, []string{out}, attrs...))
	}
	h := "h"
	switch how {
	case "norm":
		node("LayerNormalization", []string{"x", "gamma", "beta"}, h, onnx.IntAttr("axis", -1))
	case "written out":
		node("Mul", []string{"x", "gamma"}, "scaled")
		node("Add", []string{"beta", "scaled"}, h)
	case "elsewhere": // the normalized values are read by a node that does not multiply, so they must stay
		node("LayerNormalization", []string{"x", "gamma", "beta"}, h, onnx.IntAttr("axis", -1))
		node("Relu", []string{h}, "other")
		g.AddOutput(onnx.NewValueInfo("other", onnx.Float, nil))
	default:
		h = "x"
	}
	constant("w1", 1, 0.2, 0, width, 48)
	constant("w2", 2, 0.2, 0, 48, width) // transposed
	constant("w3", 3, 0.2, 0, 48, 20)
	node("MatMul", []string{h, "w1"}, "p1")
	node("Gemm", []string{h, "w2"}, "p2", onnx.IntAttr("transB", 1))
	node("Add", []string{"p1", "p2"}, "sum")
	node("MatMul", []string{"sum", "w3"}, "y")
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	return m
}

func quantized(t *testing.T, m *onnx.Model, o Options) *Report {
	t.Helper()
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	if o.Data, err = gram.Open(m, t.TempDir(), source(inputs()), gram.Options{Batch: 100, Threads: 2}); err != nil {
		t.Fatal(err)
	}
	o.Gemm = solve.Plain{Threads: 2}
	o.Keep = func(string) string { return "" }
	if o.BlockSize == 0 {
		o.BlockSize = 32
	}
	o.Form = FormRuntime
	r, err := Quantize(t.Context(), m, shapes, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func outputs(t *testing.T, m *onnx.Model) map[string]tensor.Tensor {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(map[string]tensor.Tensor{"x": tensor.Of([]int64{rows, width}, inputs())}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// noiseShare is the energy of the difference over that of what is wanted.
func noiseShare(t *testing.T, want, got tensor.Tensor) float64 {
	t.Helper()
	a, err := tensor.View[float32](want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tensor.View[float32](got)
	if err != nil || len(a) != len(b) {
		t.Fatal(err, len(a), len(b))
	}
	var s, n float64
	for i, v := range a {
		d := float64(v) - float64(b[i])
		s, n = s+float64(v)*float64(v), n+d*d
	}
	return n / s
}

// TestAlgorithms: on data whose inputs depend on one another and differ in size, both algorithms that look at them beat
// those that do not, in what they report and in what the model computes; and what is reported of a layer that
// sees the float inputs is what the engine computes.
func TestAlgorithms(t *testing.T) {
	needRuntime(t)
	for _, how := range []string{"norm", "written out", "elsewhere", "input"} {
		want := outputs(t, net(how))
		total := map[string]float64{}
		for _, algorithm := range []string{RTN, GPTQ, AWQ} {
			m := net(how)
			r := quantized(t, m, Options{Format: Int4, Algorithm: algorithm, Threads: 2, Damping: 0.01})
			got := outputs(t, m)
			total[algorithm] = noiseShare(t, want["y"], got["y"])
			if how == "elsewhere" && noiseShare(t, want["other"], got["other"]) > 1e-10 {
				t.Errorf("%s, %s: an output that nobody multiplies has changed", how, algorithm)
			}
			if len(r.Quantized) != 3 {
				t.Fatalf("%s, %s: %d weights", how, algorithm, len(r.Quantized))
			}
			if algorithm == AWQ && how != "written out" && len(r.Scaled) == 0 {
				t.Errorf("%s: nothing is scaled", how)
			}
			for _, l := range r.Quantized {
				if (l.Output >= 0) != (algorithm != RTN) || l.Output > 0.1 {
					t.Errorf("%s, %s: %s has an error of %v", how, algorithm, l.Weight, l.Output)
				}
			}
			t.Logf("%s, %s: %.5f, scaled %v", how, algorithm, total[algorithm], r.Scaled)
		}
		if total[GPTQ] > 0.7*total[RTN] || total[AWQ] > 0.9*total[RTN] {
			t.Errorf("%s: errors %v", how, total)
		}
	}
}

// TestAWQScales: scaling weights up and inputs down changes nothing but the rounding: with 8 bits the outputs stay.
func TestAWQScales(t *testing.T) {
	needRuntime(t)
	for _, how := range []string{"norm", "written out", "elsewhere", "input"} {
		want := outputs(t, net(how))
		m := net(how)
		r := quantized(t, m, Options{Format: Int8, Algorithm: AWQ, Threads: 2})
		if e := noiseShare(t, want["y"], outputs(t, m)["y"]); e > 2e-4 {
			t.Errorf("%s: the outputs changed by %v; %v", how, e, r.Scaled)
		}
	}
	s := awqScale([]float64{0, 1, 4}, 0.5)
	if math.Abs(float64(s[2]/s[1])-2) > 1e-6 || s[0] <= 0 || math.Abs(float64(s[0])*float64(s[2])-1) > 1e-4 {
		t.Errorf("scales %v: want the root of the means, and 1 in the geometric middle", s)
	}
	if s := awqScale([]float64{3, 7}, 0); s[0] != 1 || s[1] != 1 {
		t.Errorf("alpha 0 scales by %v", s)
	}
}

// TestReported: the error of a product that GPTQ reports for the first layers is the one that the engine sees.
func TestReported(t *testing.T) {
	needRuntime(t)
	m := net("input")
	for _, o := range []string{"p1", "p2"} {
		m.Graph.AddOutput(onnx.NewValueInfo(o, onnx.Float, nil))
	}
	want := outputs(t, m)
	r := quantized(t, m, Options{Format: Int4, Algorithm: GPTQ, Threads: 2, Damping: 0.01})
	got := outputs(t, m)
	for _, l := range r.Quantized[:2] {
		e := noiseShare(t, want[l.Names[0]], got[l.Names[0]])
		if math.Abs(e/l.Output-1) > 0.01 {
			t.Errorf("%s: %v is reported, the engine computes %v", l.Names[0], l.Output, e)
		}
	}
}

// TestChunks: sums of a chunk stay below the bound, an input is measured once in a chunk, and every unit is in one.
func TestChunks(t *testing.T) {
	q := &quantizer{}
	var units []*unit
	taps := map[*unit][]string{}
	for i, v := range []string{"a", "a", "b", "c", "c", "d"} {
		u := &unit{k: 4096, n: i}
		if v == "d" {
			u.k = 16384 // larger than the bound by itself
		}
		units = append(units, u)
		taps[u] = []string{v}
	}
	var got [][]string
	n := 0
	for _, c := range q.chunks(units, taps) {
		var names []string
		for _, t := range c.taps {
			names = append(names, t.Value)
		}
		got = append(got, names)
		n += len(c.units)
	}
	if want := [][]string{{"a", "b"}, {"c"}, {"d"}}; n != len(units) || !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%d units in chunks of %v, want %v", n, got, want)
	}
}
