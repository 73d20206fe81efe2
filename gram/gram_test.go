package gram

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

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

func noise(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// samples is a Source of one input.
type samples struct {
	name  string
	shape []int64 // of one sample
	data  []float32
	asked []int64 // how many each time
}

func (s *samples) size() int {
	n := 1
	for _, d := range s.shape {
		n *= int(d)
	}
	return n
}
func (s *samples) Samples() int64 { return int64(len(s.data) / s.size()) }
func (s *samples) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	s.asked = append(s.asked, n)
	size := int64(s.size())
	return map[string]tensor.Tensor{s.name: tensor.Of(append([]int64{n}, s.shape...), s.data[start*size:(start+n)*size])}, nil
}

// layers is x -> MatMul w1 -> Relu -> MatMul w2, with rows of 5 to a sample.
func layers(opset int64) *onnx.Model {
	m := onnx.NewModel("layers", opset)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 5}, {Value: 8}}))
	g.AddInitializer(onnx.NewFloats("w1", noise(1, 8*600), 8, 600)) // large enough to lie outside of the model
	g.AddInitializer(onnx.NewFloats("w2", noise(2, 600*3), 600, 3))
	g.AppendNode(onnx.NewNode("MatMul", "", "m1", []string{"x", "w1"}, []string{"h"}))
	g.AppendNode(onnx.NewNode("Relu", "", "relu", []string{"h"}, []string{"r"}))
	g.AppendNode(onnx.NewNode("MatMul", "", "m2", []string{"r", "w2"}, []string{"y"}))
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	return m
}

func open(t *testing.T, m *onnx.Model, src Source, o Options) *Workspace {
	t.Helper()
	w, err := Open(m, t.TempDir(), src, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// check compares with the sums of rows of k elements.
func check(t *testing.T, s *Stat, rows []float32) {
	t.Helper()
	k := s.K
	if int(s.Rows)*k != len(rows) {
		t.Fatalf("%v rows of %d, want %d", s.Rows, k, len(rows)/k)
	}
	gram, sum, abs := make([]float64, k*k), make([]float64, k), make([]float64, k)
	for r := 0; r < len(rows); r += k {
		for i, v := range rows[r : r+k] {
			sum[i] += float64(v)
			abs[i] += math.Abs(float64(v))
			for j, u := range rows[r : r+k] {
				gram[i*k+j] += float64(v) * float64(u)
			}
		}
	}
	for i := range gram {
		if i < k && (math.Abs(sum[i]-s.Sum[i]) > 1e-3 || math.Abs(abs[i]-s.Abs[i]) > 1e-3*(1+abs[i])) {
			t.Fatalf("input %d: sums %v and %v, want %v and %v", i, s.Sum[i], s.Abs[i], sum[i], abs[i])
		}
		if math.Abs(gram[i]-float64(s.Gram[i])) > 1e-3*(1+math.Abs(gram[i])) {
			t.Fatalf("element %d of the Gram matrix is %v, want %v", i, s.Gram[i], gram[i])
		}
	}
}

func hidden(x, w1 []float32) []float32 {
	h, _ := solve.Plain{}.Mul(x, w1, len(x)/8, 8, 600)
	for i, v := range h {
		h[i] = max(v, 0)
	}
	return h
}

// TestMeasure: what is measured does not depend on how many samples are run at a time, nor on the opset's ReduceSum.
func TestMeasure(t *testing.T) {
	needRuntime(t)
	x := noise(3, 7*40)
	h := hidden(x, noise(1, 8*600))
	for _, c := range []struct {
		opset, batch int64
		asked        []int64
	}{{11, 0, []int64{1, 7}}, {13, 3, []int64{3, 3, 1}}, {17, 1, []int64{1, 1, 1, 1, 1, 1, 1}}, {21, 100, []int64{7}}} {
		src := &samples{name: "x", shape: []int64{5, 8}, data: x}
		var done []int64
		w := open(t, layers(c.opset), src, Options{Batch: c.batch, Threads: 2, Progress: func(n, total int64) { done = append(done, n, total) }})
		s, err := w.Measure(t.Context(), []Tap{{Value: "x", K: 8}, {Value: "r", K: 600}})
		if err != nil {
			t.Fatal(err)
		}
		check(t, s[0], x)
		check(t, s[1], h)
		if !slices.Equal(src.asked, c.asked) {
			t.Errorf("opset %d: batches of %v, want %v", c.opset, src.asked, c.asked)
		}
		if !slices.Equal(done[len(done)-2:], []int64{7, 7}) {
			t.Errorf("progress: %v", done)
		}
	}
}

// TestMeasureFixed: a model that takes just four samples sees all seven; some twice.
func TestMeasureFixed(t *testing.T) {
	needRuntime(t)
	m := layers(13)
	in := m.Graph.Inputs()[0]
	m.Graph.RemoveInput("x")
	in.Type.Shape[0] = onnx.Dim{Value: 4}
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, in.Type.Shape))
	x := noise(3, 7*40)
	w := open(t, m, &samples{name: "x", shape: []int64{5, 8}, data: x}, Options{Fixed: 4})
	s, err := w.Measure(t.Context(), []Tap{{Value: "x", K: 8}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, s[0], append(slices.Clone(x[:4*40]), x[3*40:]...))
}

// TestReplace: what follows a weight is measured with what the weight became, wherever its data lie.
func TestReplace(t *testing.T) {
	needRuntime(t)
	x := noise(3, 7*40)
	w := open(t, layers(13), &samples{name: "x", shape: []int64{5, 8}, data: x}, Options{})
	for seed := uint64(5); seed < 7; seed++ {
		other := noise(seed, 8*600)
		if err := w.Replace("w1", other); err != nil {
			t.Fatal(err)
		}
		s, err := w.Measure(t.Context(), []Tap{{Value: "r", K: 600}})
		if err != nil {
			t.Fatal(err)
		}
		check(t, s[0], hidden(x, other))
	}
	for _, c := range []struct {
		name string
		n    int
	}{{"w1", 3}, {"nothing", 3}} {
		if err := w.Replace(c.name, make([]float32, c.n)); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestMeasureErrors(t *testing.T) {
	needRuntime(t)
	x := noise(3, 7*40)
	x[3*40+1] = float32(math.NaN())
	w := open(t, layers(13), &samples{name: "x", shape: []int64{5, 8}, data: x}, Options{Batch: 2})
	_, err := w.Measure(t.Context(), []Tap{{Value: "r", K: 600}})
	if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), `"r", samples 2 to 3`) {
		t.Errorf("a NaN: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := w.Measure(ctx, []Tap{{Value: "r", K: 600}}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// TestPatches compares a convolution's patches with its definition: groups, strides, dilations and pads.
func TestPatches(t *testing.T) {
	needRuntime(t)
	const n, height, width = 3, 9, 7
	for _, c := range []struct {
		in, out, groups, kh, kw, sh, sw, dh, dw, top, left, bottom, right int
	}{
		{4, 6, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
		{4, 6, 2, 3, 2, 2, 1, 1, 2, 0, 1, 2, 0},
		{4, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1},
		{3, 5, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
	} {
		per := c.in / c.groups
		m := onnx.NewModel("conv", 13)
		g := m.Graph
		g.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: int64(c.in)}, {Value: height}, {Value: width}}))
		g.AddInitializer(onnx.NewFloats("w", noise(1, c.out*per*c.kh*c.kw), int64(c.out), int64(per), int64(c.kh), int64(c.kw)))
		conv := onnx.NewNode("Conv", "", "c", []string{"x", "w"}, []string{"y"}, onnx.IntAttr("group", int64(c.groups)),
			onnx.IntsAttr("strides", int64(c.sh), int64(c.sw)), onnx.IntsAttr("dilations", int64(c.dh), int64(c.dw)),
			onnx.IntsAttr("pads", int64(c.top), int64(c.left), int64(c.bottom), int64(c.right)))
		g.AppendNode(conv)
		g.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
		x := noise(2, n*c.in*height*width)
		w := open(t, m, &samples{name: "x", shape: []int64{int64(c.in), height, width}, data: x}, Options{Batch: 2})
		k := per * c.kh * c.kw
		s, err := w.Measure(t.Context(), []Tap{{Value: "x", K: k, Groups: c.groups, Conv: conv, Weight: []int64{int64(c.out), int64(per), int64(c.kh), int64(c.kw)}}})
		if err != nil {
			t.Fatal(err)
		}
		oh := (height+c.top+c.bottom-c.dh*(c.kh-1)-1)/c.sh + 1
		ow := (width+c.left+c.right-c.dw*(c.kw-1)-1)/c.sw + 1
		for group := range c.groups {
			var rows []float32
			for i := range n {
				for place := range oh * ow {
					for e := range k {
						ch, y, z := group*per+e/(c.kh*c.kw), place/ow*c.sh-c.top+e/c.kw%c.kh*c.dh, place%ow*c.sw-c.left+e%c.kw*c.dw
						v := float32(0)
						if y >= 0 && y < height && z >= 0 && z < width {
							v = x[((i*c.in+ch)*height+y)*width+z]
						}
						rows = append(rows, v)
					}
				}
			}
			check(t, &Stat{K: k, Rows: s[0].Rows, Gram: s[0].Gram[group*k*k : (group+1)*k*k], Sum: s[0].Sum[group*k : (group+1)*k], Abs: s[0].Abs[group*k : (group+1)*k]}, rows)
		}
	}
}

func TestGemm(t *testing.T) {
	needRuntime(t)
	g, err := NewGemm(2)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, d := range [][3]int{{1, 1, 1}, {3, 70, 9}, {40, 5, 33}} {
		m, k, n := d[0], d[1], d[2]
		a, b := noise(1, m*k), noise(2, k*n)
		got, err := g.Mul(a, b, m, k, n)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := solve.Plain{}.Mul(a, b, m, k, n)
		for i := range want {
			if math.Abs(float64(want[i]-got[i])) > 1e-4 {
				t.Fatalf("%v: element %d is %v, want %v", d, i, got[i], want[i])
			}
		}
	}
}

// TestRunnerReuses: batches of one shape are written to the same place, and one of another shape to its own.
func TestRunnerReuses(t *testing.T) {
	needRuntime(t)
	m := layers(13)
	p := newProbe(m)
	p.add(Tap{Value: "r", K: 600})
	b, err := p.marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := runner{s: s}
	defer r.close()
	var last *byte
	for i, n := range []int64{2, 2, 2, 1} {
		x := noise(uint64(i), int(n)*40)
		out, err := r.run(map[string]tensor.Tensor{"x": tensor.Of([]int64{n, 5, 8}, x)})
		if err != nil {
			t.Fatal(err)
		}
		if r.bound == nil {
			t.Fatal("the engine was given no places")
		}
		gram := out[p.outputs[0].gram]
		if same := last == &gram.Data[0]; same != (i == 1 || i == 2) {
			t.Errorf("run %d: the same place: %v", i, same)
		}
		last = &gram.Data[0]
		stat := &Stat{Groups: 1, K: 600, Gram: make([]float32, 600*600), Sum: make([]float64, 600), Abs: make([]float64, 600)}
		if err := stat.add(out, p.outputs[0], 1); err != nil {
			t.Fatal(err)
		}
		check(t, stat, hidden(x, noise(1, 8*600)))
	}
}

// TestTarget: the products of what a layer should give with what it reads, of chosen channels, and moments of channels.
func TestTarget(t *testing.T) {
	needRuntime(t)
	x := noise(3, 7*40)
	w := open(t, layers(13), &samples{name: "x", shape: []int64{5, 8}, data: x}, Options{Batch: 3})
	pick := []int64{599, 0, 17}
	s, err := w.Measure(t.Context(), []Tap{{Value: "x", K: 8, Target: "r", Select: pick, N: 3}, {Value: "x", K: 8, Target: "r", N: 600}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, s[0], x)
	h := hidden(x, noise(1, 8*600))
	for n, c := range pick {
		for k := range 8 {
			var cross, sum, square float64
			for r := range 35 {
				y := float64(h[r*600+int(c)])
				cross, sum, square = cross+y*float64(x[r*8+k]), sum+y, square+y*y
			}
			for at, got := range map[float64]float64{cross: float64(s[0].Cross[n*8+k]), sum: s[0].Target[n], square: s[0].TargetSquare[n]} {
				if math.Abs(at-got) > 1e-3*(1+math.Abs(at)) {
					t.Fatalf("channel %d, input %d: %v, want %v", c, k, got, at)
				}
			}
			if s[1].Cross[int(c)*8+k] != s[0].Cross[n*8+k] {
				t.Fatalf("channel %d differs when all are asked for", c)
			}
		}
	}
}

// TestTargetOfConv: each group's outputs pair with that group's patches, and channels are chosen before groups are cut.
func TestTargetOfConv(t *testing.T) {
	needRuntime(t)
	m := onnx.NewModel("conv", 13)
	g := m.Graph
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 4}, {Value: 3}, {Value: 3}}))
	g.AddInitializer(onnx.NewFloats("w", noise(1, 6*2), 6, 2, 1, 1))
	conv := onnx.NewNode("Conv", "", "c", []string{"x", "w"}, []string{"y"}, onnx.IntAttr("group", 2))
	g.AppendNode(conv)
	g.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	x := noise(2, 5*4*9)
	w := open(t, m, &samples{name: "x", shape: []int64{4, 3, 3}, data: x}, Options{Batch: 2})
	s, err := w.Measure(t.Context(), []Tap{
		{Value: "x", K: 2, Groups: 2, Conv: conv, Weight: []int64{6, 2, 1, 1}, Target: "y", Select: []int64{2, 0, 5, 3}, N: 4},
		{Value: "y", K: 6, Moments: true}})
	if err != nil {
		t.Fatal(err)
	}
	weight := noise(1, 12)
	y := func(i, c, place int) float64 {
		var v float64
		for k := range 2 {
			v += float64(weight[c*2+k]) * float64(x[(i*4+c/3*2+k)*9+place])
		}
		return v
	}
	for n, c := range []int{2, 0, 5, 3} {
		for k := range 2 {
			var want float64
			for i := range 5 {
				for place := range 9 {
					want += y(i, c, place) * float64(x[(i*4+n/2*2+k)*9+place])
				}
			}
			if got := float64(s[0].Cross[n*2+k]); math.Abs(got-want) > 1e-4*(1+math.Abs(want)) {
				t.Errorf("channel %d, input %d: %v, want %v", c, k, got, want)
			}
		}
	}
	for c := range 6 {
		var sum, square float64
		for i := range 5 {
			for place := range 9 {
				sum, square = sum+y(i, c, place), square+y(i, c, place)*y(i, c, place)
			}
		}
		if math.Abs(sum-s[1].Sum[c]) > 1e-4*(1+math.Abs(sum)) || math.Abs(square-s[1].Square[c]) > 1e-4*(1+square) || s[1].Rows != 45 {
			t.Errorf("channel %d: moments %v and %v of %v rows, want %v and %v of 45", c, s[1].Sum[c], s[1].Square[c], s[1].Rows, sum, square)
		}
	}
}
