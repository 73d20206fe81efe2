package float16

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// graph makes small models.
type graph struct {
	m *onnx.Model
	g *onnx.Graph
	r *rand.Rand
}

func newGraph(opset int64) *graph {
	m := onnx.NewModel("test", opset)
	return &graph{m, m.Graph, rand.New(rand.NewPCG(1, 2))}
}

func (b *graph) inner(name string) *graph { return &graph{b.m, onnx.NewGraph(name), b.r} }

func (b *graph) input(name string, dims ...int64) string {
	b.g.AddInput(onnx.NewValueInfo(name, onnx.Float, onnx.FixedDims(dims...)))
	return name
}

func (b *graph) output(name string) {
	b.g.AddOutput(onnx.NewValueInfo(name, onnx.Float, nil))
}

func (b *graph) noise(name string, dims ...int64) string {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = b.r.Float32() - 0.5
	}
	b.g.AddInitializer(onnx.NewFloats(name, v, dims...))
	return name
}

func (b *graph) floats(name string, v ...float32) string {
	if len(v) == 1 {
		b.g.AddInitializer(onnx.NewFloats(name, v))
	} else {
		b.g.AddInitializer(onnx.NewFloats(name, v, int64(len(v))))
	}
	return name
}

func (b *graph) ints(name string, v ...int64) string {
	b.g.AddInitializer(onnx.NewInt64s(name, v, int64(len(v))))
	return name
}

func (b *graph) node(op, out string, in []string, attrs ...*onnx.Attribute) string {
	b.g.AppendNode(onnx.NewNode(op, "", out, in, []string{out}, attrs...))
	return out
}

// convertTest converts a copy, checks both in the engine on the same noise, and returns the result.
func convertTest(t *testing.T, m *onnx.Model, o Options, scale float32) (*onnx.Model, *Report) {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	half, err := onnx.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if o.To == 0 {
		o.To = onnx.Float16
	}
	if err := Prepare(half); err != nil {
		t.Fatal(err)
	}
	r, err := Convert(half, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range backToBack(half) {
		t.Errorf("Cast %s reads a Cast", n.Label())
	}
	needRuntime(t)
	want, got := runNoise(t, m, scale), runNoise(t, half, scale)
	for name, w := range want {
		least := 45.0
		if o.To == onnx.BFloat16 {
			least = 30
		}
		if db := sqnr(w, got[name]); db < least {
			t.Errorf("output %q agrees to %.1f dB: %v, want %v", name, db, got[name][:min(4, len(got[name]))], w[:min(4, len(w))])
		}
	}
	return half, r
}

func runNoise(t *testing.T, m *onnx.Model, scale float32) map[string][]float32 {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	feed := map[string]tensor.Tensor{}
	for _, in := range s.Inputs() {
		r := rand.New(rand.NewPCG(7, 9))
		n, err := tensor.Elements(in.Shape)
		if err != nil {
			t.Fatal(err)
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = scale * (r.Float32() - 0.3)
		}
		if feed[in.Name], err = tensor.FromFloat32(in.DType, in.Shape, v); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.Run(feed, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := map[string][]float32{}
	for name, v := range out {
		if r[name], err = tensor.ToFloat32(v); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func count(m *onnx.Model, op string) (n int) {
	for x := range m.Graph.AllNodes() {
		if x.OpType == op {
			n++
		}
	}
	return n
}

// reasonOf is why a node stays in float, "" when it does not.
func reasonOf(r *Report, name string) string {
	for _, k := range r.Kept {
		if k.Node.Name == name {
			return k.Reason
		}
	}
	return ""
}

// TestMask: an attention mask of the lowest float would become minus infinity, and NaN where a whole row is masked.
func TestMask(t *testing.T) {
	b := newGraph(17)
	x := b.input("x", 4, 8)
	s := b.node("MatMul", "scores", []string{x, b.noise("w", 8, 6)})
	b.g.AddInitializer(onnx.NewFloats("mask", slices.Repeat([]float32{0, -math.MaxFloat32, 0, 0, -math.MaxFloat32, 0}, 1), 6))
	s = b.node("Add", "masked", []string{s, "mask"})
	s = b.node("Softmax", "weights", []string{s}, onnx.IntAttr("axis", -1))
	b.node("MatMul", "y", []string{s, b.noise("v", 6, 5)})
	b.output("y")
	m, r := convertTest(t, b.m, Options{KeepIO: true}, 1)
	if why := reasonOf(r, "masked"); !strings.Contains(why, `"mask"`) {
		t.Errorf("the Add stays in float because %q", why)
	}
	if why := reasonOf(r, "weights"); !strings.Contains(why, "too large") {
		t.Errorf("the Softmax stays in float because %q", why)
	}
	// In, around the two nodes, out.
	if r.Half != 2 || r.Casts != 4 || count(m, "Cast") != 4 {
		t.Errorf("%d nodes in half precision, %d Casts", r.Half, r.Casts)
	}
}

// TestLayerNorm: written out as nodes, its epsilon of 1e-12 would vanish and its squares overflow. From the squares on
// it stays in float, between one Cast in and one out.
func TestLayerNorm(t *testing.T) {
	b := newGraph(13)
	x := b.input("x", 4, 16)
	h := b.node("MatMul", "h", []string{x, b.noise("w", 16, 16)})
	mean := b.node("ReduceMean", "mean", []string{h}, onnx.IntsAttr("axes", -1))
	d := b.node("Sub", "d", []string{h, mean})
	sq := b.node("Pow", "sq", []string{d, b.floats("two", 2)})
	v := b.node("ReduceMean", "var", []string{sq}, onnx.IntsAttr("axes", -1))
	v = b.node("Add", "vareps", []string{v, b.floats("eps", 1e-12)})
	v = b.node("Sqrt", "std", []string{v})
	n := b.node("Div", "n", []string{d, v})
	n = b.node("Mul", "scaled", []string{n, b.noise("gamma", 16)})
	b.node("MatMul", "y", []string{n, b.noise("w2", 16, 16)})
	b.output("y")
	m, r := convertTest(t, b.m, Options{KeepIO: true}, 2000)
	if why := reasonOf(r, "vareps"); !strings.Contains(why, `"eps"`) {
		t.Errorf("the Add of epsilon stays in float because %q", why)
	}
	if r.Casts != 4 || count(m, "Cast") != 4 {
		t.Errorf("%d Casts", r.Casts)
	}
	for n := range m.Graph.Nodes() {
		if slices.Contains([]string{"sq", "var", "vareps", "std", "n"}, n.Name) && slices.Contains(r.Nodes, n) {
			t.Errorf("%s is in half precision", n.Label())
		}
	}
}

// TestResize: scales and sizes are float32 by the operator's schema, whatever the image is.
func TestResize(t *testing.T) {
	for _, allow := range []bool{false, true} {
		b := newGraph(13)
		x := b.input("x", 1, 3, 8, 8)
		h := b.node("Conv", "h", []string{x, b.noise("w", 4, 3, 3, 3)}, onnx.IntsAttr("pads", 1, 1, 1, 1))
		h = b.node("Resize", "big", []string{h, "", b.floats("scales", 1, 1, 2, 2)}, onnx.StringAttr("mode", "nearest"))
		b.node("Conv", "y", []string{h, b.noise("w2", 2, 4, 3, 3)})
		b.output("y")
		o := Options{KeepIO: true}
		if allow {
			o.AllowOps = []string{"Resize"}
		}
		m, r := convertTest(t, b.m, o, 1)
		if got := m.Graph.Initializer("scales"); got == nil || got.DataType != onnx.Float {
			t.Errorf("scales are %v", got)
		}
		if want := map[bool]int{true: 2, false: 4}[allow]; r.Casts != want {
			t.Errorf("allowed %v: %d Casts, want %d", allow, r.Casts, want)
		}
	}
}

// TestShared: a weight that a node in float reads keeps its digits there, and the other gets half precision.
func TestShared(t *testing.T) {
	b := newGraph(13)
	x := b.input("x", 4, 16)
	w := b.noise("w", 16, 16)
	h := b.node("MatMul", "h", []string{x, w})
	b.node("MatMul", "y", []string{h, w})
	b.output("y")
	o := Options{KeepIO: true, Keep: func(n *onnx.Node) (string, bool) { return "by test", n.Name == "y" }}
	m, r := convertTest(t, b.m, o, 1)
	half, float := m.Graph.Initializer("w_float16"), m.Graph.Initializer("w")
	if half == nil || half.DataType != onnx.Float16 || float == nil || float.DataType != onnx.Float {
		t.Fatalf("weights are %v and %v", half, float)
	}
	if reasonOf(r, "y") != "by test" || r.Weights != 1 || r.Casts != 2 {
		t.Errorf("%+v", r)
	}
}

// TestIO: without keep_io the whole model is in half precision, and its outputs keep their names.
func TestIO(t *testing.T) {
	b := newGraph(13)
	x := b.input("x", 4, 16)
	h := b.node("MatMul", "h", []string{x, b.noise("w", 16, 16)})
	b.node("Exp", "e", []string{h})
	b.node("Relu", "y", []string{h})
	b.output("y")
	b.output("e")
	m, r := convertTest(t, b.m, Options{}, 1)
	if in := m.Graph.Inputs()[0]; in.Type.Elem != onnx.Float16 {
		t.Errorf("the input is %s", in.Type.Elem)
	}
	for i, name := range []string{"y", "e"} {
		if o := m.Graph.Outputs()[i]; o.Name() != name || o.Type.Elem != onnx.Float16 {
			t.Errorf("output %d is %q, %s", i, o.Name(), o.Type.Elem)
		}
	}
	if r.Casts != 2 { // around Exp
		t.Errorf("%d Casts", r.Casts)
	}
}

// TestBranches: subgraphs are converted with their graph: values of the same name in two branches, values of the outer
// graph, weights in Constant nodes, a recurrent layer, and an If whose result goes on in half precision.
func TestBranches(t *testing.T) {
	b := newGraph(16)
	x := b.input("x", 5, 1, 8)
	h := b.node("Relu", "outer", []string{b.node("MatMul", "h", []string{x, b.noise("w", 8, 8)})})
	branch := func(name string, lstm bool) *onnx.Graph {
		s := b.inner(name)
		if lstm {
			s.noise("W", 1, 32, 8)
			s.noise("R", 1, 32, 8)
			s.g.AppendNode(onnx.NewNode("LSTM", "", name+".lstm", []string{"outer", "W", "R"}, []string{"seq"}, onnx.IntAttr("hidden_size", 8)))
			s.node("Squeeze", name+".y", []string{"seq", s.ints("axis", 1)})
		} else {
			c := b.noise("tmp", 8, 8)
			tmp := b.g.Initializer(c)
			b.g.RemoveInitializer(c)
			s.g.AppendNode(onnx.NewNode("Constant", "", name+".c", nil, []string{"K"}, onnx.TensorAttr("value", tmp)))
			s.node("MatMul", name+".y", []string{"outer", "K"})
		}
		s.g.AddOutput(onnx.NewValueInfo(name+".y", onnx.Float, nil))
		return s.g
	}
	b.g.AddInitializer(onnx.NewTensor("yes", tensor.Tensor{DType: tensor.Bool, Shape: []int64{}, Data: []byte{1}}))
	big := b.node("ReduceMax", "largest", []string{h}, onnx.IntAttr("keepdims", 0))
	cond := b.node("Greater", "cond", []string{big, b.floats("zero", 0)})
	r := b.node("If", "r", []string{cond}, onnx.GraphAttr("then_branch", branch("then", true)), onnx.GraphAttr("else_branch", branch("else", false)))
	b.node("MatMul", "y", []string{r, b.noise("w2", 8, 3)})
	b.output("y")
	m, rep := convertTest(t, b.m, Options{KeepIO: true}, 1)
	// In and out, and one for what decides: the branches and what follows need none.
	if rep.Casts != 3 || count(m, "Cast") != 3 {
		for n := range m.Graph.AllNodes() {
			t.Log(n.OpType, n.Inputs(), n.Outputs())
		}
		t.Errorf("%d Casts", rep.Casts)
	}
	for n := range m.Graph.AllNodes() {
		for _, g := range n.Subgraphs() {
			if e := g.Outputs()[0].Type.Elem; e != onnx.Float16 {
				t.Errorf("branch %s gives %s", g.Name, e)
			}
		}
	}
}

// TestSizes: what computes sizes in float keeps doing so; half precision rounds 4097 to 4096.
func TestSizes(t *testing.T) {
	b := newGraph(13)
	x := b.input("x", 1, 4097)
	s := b.node("Cast", "sf", []string{b.node("Shape", "s", []string{x})}, onnx.IntAttr("to", int64(onnx.Float)))
	s = b.node("Mul", "twice", []string{s, b.floats("one", 1)})
	s = b.node("Cast", "si", []string{s}, onnx.IntAttr("to", int64(onnx.Int64)))
	h := b.node("Reshape", "r", []string{b.node("Relu", "relu", []string{x}), s})
	b.node("MatMul", "y", []string{h, b.noise("w", 4097, 2)})
	b.output("y")
	_, r := convertTest(t, b.m, Options{KeepIO: true}, 1)
	if why := reasonOf(r, "twice"); why != "it computes sizes" {
		t.Errorf("twice: %q", why)
	}
}

// TestData: what the samples show decides over what the graph does not tell.
func TestData(t *testing.T) {
	b := newGraph(13)
	x := b.input("x", 4, 16)
	h := b.node("MatMul", "h", []string{x, b.noise("w", 16, 16)})
	h = b.node("Mul", "up", []string{h, h})
	h = b.node("Mul", "down", []string{h, b.floats("c", 1e-3)})
	b.node("MatMul", "y", []string{h, b.noise("w2", 16, 16)})
	b.output("y")
	_, r := convertTest(t, b.m, Options{KeepIO: true, Magnitudes: map[string]float64{"x": 700, "h": 900, "up": 8e5, "down": 800, "y": 1000}}, 1000)
	for _, n := range []string{"up", "down"} {
		if why := reasonOf(r, n); !strings.Contains(why, `"up" reached 8e+05`) {
			t.Errorf("%s stays because %q", n, why)
		}
	}
	if r.Half != 2 || r.Casts != 4 {
		t.Errorf("%d nodes, %d Casts", r.Half, r.Casts)
	}
}

// TestWeightsOnly stores both kinds.
func TestWeightsOnly(t *testing.T) {
	for _, to := range []onnx.DataType{onnx.Float16, onnx.BFloat16} {
		b := newGraph(11)
		x := b.input("x", 4, 16)
		h := b.node("MatMul", "h", []string{x, b.noise("w", 16, 16)})
		big := slices.Repeat([]float32{1e6, 1}, 128)
		b.g.AddInitializer(onnx.NewFloats("big", big, 16, 16))
		b.node("MatMul", "y", []string{h, "big"})
		b.output("y")
		m, r := convertTest(t, b.m, Options{To: to, WeightsOnly: true, KeepIO: true}, 1)
		kept := 1
		if to == onnx.BFloat16 {
			kept = 0
		}
		if len(r.WeightsFloat) != kept || r.Weights != int64(2-kept) || count(m, "Cast") != 2-kept {
			t.Errorf("%s: %+v", to, r)
		}
	}
}

// TestLoss counts what is lost, element by element.
func TestLoss(t *testing.T) {
	v := []float32{1, 65504, 65519, 65520, -1e9, 6e-5, 6e-8, 2e-8, float32(math.Copysign(0, -1)), 0, float32(math.Inf(1)), 1.0009766}
	h, l, err := convert(onnx.NewFloats("w", v, int64(len(v))), onnx.Float16, "w")
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	want := []float32{1, 65504, 65504, 65504, -65504, 6.0021877e-05, 5.9604645e-08, 0, 0, 0, float32(math.Inf(1)), 1.0009766}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if l.Overflowed != 2 || l.Vanished != 1 || l.Denormal != 2 || l.Elements != 12 || l.Worst != 1e9 {
		t.Errorf("%+v", l)
	}
}

// TestCut compares the minimum cut of small networks with that of all divisions.
func TestCut(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		n := 2 + r.IntN(7)
		type edge struct{ a, b, room int32 }
		var edges []edge
		net := newNetwork(n)
		for range 2 * n {
			e := edge{int32(r.IntN(n)), int32(r.IntN(n)), int32(r.IntN(9))}
			if e.a != e.b {
				edges = append(edges, e)
				net.edge(e.a, e.b, e.room)
			}
		}
		cost := func(side func(int32) bool) (c int32) {
			for _, e := range edges {
				if side(e.a) && !side(e.b) {
					c += e.room
				}
			}
			return c
		}
		side := net.cut(0, 1)
		if !side[0] || side[1] {
			t.Fatal("source or sink is on the wrong side")
		}
		best := int32(math.MaxInt32)
		for mask := range 1 << n {
			if mask&1 != 0 && mask&2 == 0 {
				best = min(best, cost(func(i int32) bool { return mask>>i&1 != 0 }))
			}
		}
		if got := cost(func(i int32) bool { return side[i] }); got != best {
			t.Fatalf("the cut costs %d, the best %d: %v", got, best, edges)
		}
	}
}

// TestSameBytes: maps are walked in no order of their own.
func TestSameBytes(t *testing.T) {
	var first []byte
	for range 5 {
		b := newGraph(17)
		x := b.input("x", 4, 8)
		for i := range 12 {
			h := b.node("MatMul", fmt.Sprint("h", i), []string{x, b.noise(fmt.Sprint("w", i), 8, 8)})
			x = b.node([]string{"Exp", "Relu", "Sqrt"}[i%3], fmt.Sprint("f", i), []string{b.node("Sigmoid", fmt.Sprint("s", i), []string{h})})
			b.output(h)
		}
		b.output(x)
		if err := Prepare(b.m); err != nil {
			t.Fatal(err)
		}
		if _, err := Convert(b.m, Options{To: onnx.Float16, KeepIO: true}); err != nil {
			t.Fatal(err)
		}
		got, err := b.m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(first, got) {
			t.Fatal("the same model gave other bytes")
		}
	}
}
