package rewrite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// net builds a small model; constants are made as they are named.
type net struct {
	m *onnx.Model
	r *rand.Rand
}

func newNet(opset int64, in, out *onnx.ValueInfo) *net {
	m := &onnx.Model{IRVersion: 8, Graph: onnx.NewGraph("test")}
	m.SetOpset("", opset)
	m.Graph.AddInput(in)
	m.Graph.AddOutput(out)
	return &net{m, rand.New(rand.NewPCG(1, 2))}
}

func (n *net) constant(name string, v []float32, shape ...int64) {
	n.m.Graph.AddInitializer(onnx.NewFloats(name, v, shape...))
}

func (n *net) weights(name string, shape ...int64) {
	size := int64(1)
	for _, d := range shape {
		size *= d
	}
	v := make([]float32, size)
	for i := range v {
		v[i] = float32(n.r.NormFloat64() / 2)
	}
	n.constant(name, v, shape...)
}

// node adds a node written like "y = Mul(x, c)".
func (n *net) node(line string, attrs ...*onnx.Attribute) {
	out, rest, _ := strings.Cut(line, " = ")
	op, in, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
	domain := ""
	if i := strings.LastIndexByte(op, '.'); i >= 0 {
		domain, op = op[:i], op[i+1:]
	}
	n.m.Graph.AppendNode(onnx.NewNode(op, domain, "node_"+out, strings.Split(in, ", "), []string{out}, attrs...))
}

// ops counts the nodes of each operator.
func ops(m *onnx.Model) map[string]int {
	out := map[string]int{}
	for n := range m.Graph.AllNodes() {
		out[n.OpType]++
	}
	return out
}

func value(name string, elem onnx.DataType, dims ...int64) *onnx.ValueInfo {
	shape := onnx.FixedDims(dims...)
	for i, d := range dims {
		if d < 0 {
			shape[i] = onnx.ParamDim(fmt.Sprintf("n%d", i))
		}
	}
	return onnx.NewValueInfo(name, elem, shape)
}

// run computes the one output of a model; ok is false without a runtime.
func run(t *testing.T, m *onnx.Model, in tensor.Tensor) (out []float32, ok bool) {
	t.Helper()
	lib, err := ort.Locate()
	if err == nil {
		err = ort.Load(lib)
	}
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatal(err)
		}
		return nil, false
	}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Run(map[string]tensor.Tensor{"x": in}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tensor.View[float32](got[m.Graph.Outputs()[0].Name()])
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), v...), true
}

// check rewrites the model and compares what both compute, and how often the rewrite kind was done.
func (n *net) check(t *testing.T, kind string, times int, in tensor.Tensor) map[string]int {
	t.Helper()
	if err := onnx.Check(n.m); err != nil {
		t.Fatal(err)
	}
	want, ok := run(t, n.m, in)
	st, err := Apply(n.m, Options{Contrib: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := onnx.Check(n.m); err != nil {
		t.Fatal(err)
	}
	if st.Matches[kind] != times {
		t.Errorf("%s was done %d times, not %d: %v", kind, st.Matches[kind], times, ops(n.m))
	}
	if ok {
		got, _ := run(t, n.m, in)
		closeTo(t, got, want)
	}
	return ops(n.m)
}

// closeTo holds the promise of the package: 2e-5 of the range of the values.
func closeTo(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d numbers, not %d", len(got), len(want))
	}
	var lo, hi, worst float64
	for i, w := range want {
		lo, hi = min(lo, float64(w)), max(hi, float64(w))
		worst = max(worst, math.Abs(float64(got[i]-w)))
		if math.IsNaN(float64(got[i])) {
			t.Fatalf("element %d is NaN", i)
		}
	}
	if hi == lo || worst > 2e-5*(hi-lo) {
		t.Errorf("differs by %g in a range of %g", worst, hi-lo)
	}
}

func noise(shape ...int64) tensor.Tensor {
	size := int64(1)
	for _, d := range shape {
		size *= d
	}
	r := rand.New(rand.NewPCG(3, 4))
	v := make([]float32, size)
	for i := range v {
		v[i] = float32(4 * r.NormFloat64())
	}
	return tensor.Of(shape, v)
}

func TestHardSwish(t *testing.T) {
	for name, c := range map[string]struct {
		opset int64
		lines []string
		times int
	}{
		"divided at the end":      {13, []string{"a = Add(x, three)", "b = Clip(a, zero, six)", "c = Mul(x, b)", "y = Div(c, six)"}, 1},
		"multiplied at the end":   {13, []string{"a = Add(three, x)", "b = Clip(a, zero, six)", "c = Mul(b, x)", "y = Mul(sixth, c)"}, 1},
		"divided before":          {13, []string{"a = Add(x, three)", "b = Clip(a, zero, six)", "c = Div(b, six)", "y = Mul(x, c)"}, 1},
		"bounds as attributes":    {9, []string{"a = Add(x, three)", "b = Clip(a)", "c = Mul(x, b)", "y = Div(c, six)"}, 1},
		"another height":          {13, []string{"a = Add(x, three)", "b = Clip(a, zero, three)", "c = Mul(x, b)", "y = Div(c, six)"}, 0},
		"not from zero":           {13, []string{"a = Add(x, three)", "b = Clip(a, sixth, six)", "c = Mul(x, b)", "y = Div(c, six)"}, 0},
		"the clipped is read too": {13, []string{"a = Add(x, three)", "b = Clip(a, zero, six)", "c = Div(b, six)", "y = Mul(b, c)"}, 0},
		"divided by x":            {13, []string{"a = Add(x, three)", "b = Clip(a, zero, six)", "c = Mul(x, b)", "y = Div(six, c)"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNet(c.opset, value("x", onnx.Float, -1, 8), value("y", onnx.Float, -1, 8))
			n.constant("zero", []float32{0})
			n.constant("three", []float32{3})
			n.constant("six", []float32{6})
			n.constant("sixth", []float32{1.0 / 6})
			for _, l := range c.lines {
				var attrs []*onnx.Attribute
				if strings.HasSuffix(l, "Clip(a)") {
					attrs = []*onnx.Attribute{onnx.FloatAttr("min", 0), onnx.FloatAttr("max", 6)}
				}
				n.node(l, attrs...)
			}
			got := n.check(t, "hard-sigmoid", c.times, noise(5, 8))
			if c.times == 1 && (got["HardSigmoid"] != 1 || got["Mul"] != 1 || got["Clip"]+got["Add"]+got["Div"] != 0) {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func TestAffine(t *testing.T) {
	for name, c := range map[string]struct {
		lines          []string
		shape          []int64 // of the constants
		kernel, groups int64
		pad            int64
		times, left    int // how often done, Mul and Add left
	}{
		"into 1x1":                   {[]string{"a = Mul(x, s)", "b = Add(a, t)", "y = Conv(b, w, bias)"}, []int64{1}, 1, 1, 0, 2, 0},
		"without bias":               {[]string{"a = Mul(s, x)", "b = Add(t, a)", "y = Conv(b, w)"}, []int64{}, 1, 1, 0, 2, 0},
		"a number a channel":         {[]string{"a = Mul(x, s)", "b = Add(a, t)", "y = Conv(b, w, bias)"}, []int64{1, 4, 1, 1}, 1, 1, 0, 2, 0},
		"in groups":                  {[]string{"a = Mul(x, s)", "b = Add(a, t)", "y = Conv(b, w, bias)"}, []int64{4, 1, 1}, 3, 2, 0, 2, 0},
		"the border stays zero":      {[]string{"a = Mul(x, s)", "b = Add(a, t)", "y = Conv(b, w, bias)"}, []int64{1}, 3, 2, 1, 1, 1},
		"a product alone, padded":    {[]string{"b = Mul(x, s)", "y = Conv(b, w, bias)"}, []int64{4, 1, 1}, 3, 1, 1, 1, 0},
		"a sum alone, padded":        {[]string{"b = Add(x, t)", "y = Conv(b, w, bias)"}, []int64{1}, 3, 1, 1, 0, 1},
		"along another axis":         {[]string{"b = Mul(x, s)", "y = Conv(b, w, bias)"}, []int64{1, 1, 4, 1}, 1, 1, 0, 0, 1},
		"another reader of the sum":  {[]string{"a = Mul(x, s)", "b = Relu(a)", "c = Conv(a, w)", "d = Conv(b, w)", "y = Add(c, d)"}, []int64{1}, 1, 1, 0, 0, 2},
		"several convolutions after": {[]string{"b = Mul(x, s)", "c = Conv(b, w)", "d = Conv(b, w2)", "y = Add(c, d)"}, []int64{1}, 1, 1, 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNet(13, value("x", onnx.Float, -1, 4, 4, 4), value("y", onnx.Float, -1, -1, -1, -1))
			n.weights("s", c.shape...)
			n.weights("t", c.shape...)
			n.weights("w", 6, 4/c.groups, c.kernel, c.kernel)
			n.weights("w2", 6, 4/c.groups, c.kernel, c.kernel)
			n.weights("bias", 6)
			for _, l := range c.lines {
				var attrs []*onnx.Attribute
				if strings.Contains(l, "Conv") {
					attrs = []*onnx.Attribute{onnx.IntAttr("group", c.groups), onnx.IntsAttr("pads", c.pad, c.pad, c.pad, c.pad)}
				}
				n.node(l, attrs...)
			}
			got := n.check(t, "affine", c.times, noise(3, 4, 4, 4))
			if got["Mul"]+got["Add"] != c.left {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func TestGate(t *testing.T) {
	for name, times := range map[string]int{"g": 1, "x": 0} {
		n := newNet(13, value("x", onnx.Float, -1, 4, 5, 5), value("y", onnx.Float, -1, 4, 5, 5))
		n.node("g = GlobalAveragePool(x)")
		n.node("m = Mul(x, " + name + ")")
		n.node("y = Add(m, x)")
		got := n.check(t, "gate", times, noise(2, 4, 5, 5))
		if times == 1 && (got["Mul"] != 1 || got["Add"] != 1) {
			t.Errorf("left: %v", got)
		}
	}
}

func TestOneHotAndTable(t *testing.T) {
	ints := func(v ...int32) tensor.Tensor { return tensor.Of([]int64{1, int64(len(v))}, v) }
	build := func(last string) *net {
		n := newNet(13, value("x", onnx.Int32, -1, 6), value("y", onnx.Float, -1, 6, 3))
		n.m.Graph.AddInitializer(onnx.NewTensor("all", tensor.Of([]int64{1, 1, 4}, []int32{0, 1, 2, 3})))
		n.m.Graph.AddInitializer(onnx.NewInt64s("axis", []int64{2}, 1))
		n.weights("w", 4, 3)
		n.weights("bias", 1, 1, 3)
		n.constant("half", []float32{0.5})
		n.node("u = Unsqueeze(x, axis)")
		n.node("e = Equal(u, all)")
		n.node("o = Cast(e)", onnx.IntAttr("to", 1))
		for _, l := range strings.Split(last, "; ") {
			n.node(l)
		}
		return n
	}
	// 9 and -3 are no rows: the product gives zeros for them.
	got := build("y = MatMul(o, w)").check(t, "one-hot", 1, ints(0, 3, 9, 1, -3, 2))
	if got["MatMul"]+got["Equal"]+got["Cast"] != 0 || got["Gather"] != 1 {
		t.Errorf("left: %v", got)
	}
	got = build("a = MatMul(o, w); b = Add(a, bias); c = Tanh(b); d = Mul(b, c); y = Mul(d, half)").check(t, "table", 1, ints(0, 3, 9, 1, -3, 2))
	if got["Tanh"]+got["Mul"]+got["Add"] != 0 || got["Gather"] != 1 {
		t.Errorf("left: %v", got)
	}
	// Two values are needed of the work on the rows: two lookups would be no gain.
	build("a = MatMul(o, w); b = Add(a, bias); c = Tanh(b); d = Softmax(b); e2 = Softmax(c); y = Add(d, e2)").check(t, "table", 0, ints(0, 3, 9, 1, -3, 2))
}

func TestOneHotOperatorCountsFromTheEnd(t *testing.T) {
	n := newNet(13, value("x", onnx.Int64, -1), value("y", onnx.Float, -1, 3))
	n.m.Graph.AddInitializer(onnx.NewInt64s("depth", []int64{4}, 1))
	n.constant("values", []float32{0, 1}, 2)
	n.weights("w", 4, 3)
	n.node("o = OneHot(x, depth, values)")
	n.node("y = MatMul(o, w)")
	n.check(t, "one-hot", 1, tensor.Of([]int64{9}, []int64{0, 3, 4, 7, -1, -4, -5, -9, 2}))
}

func TestGELU(t *testing.T) {
	for _, lines := range []string{
		"c = Mul(k, x); d = Mul(x, c); e = Mul(x, d); f = Add(x, e); g = Mul(root, f); h = Tanh(g); i = Add(one, h); j = Mul(half, i); y = Mul(x, j)",
		"c = Pow(x, three); e = Mul(k, c); f = Add(x, e); g = Mul(f, root); h = Tanh(g); i = Add(h, one); j = Mul(x, half); y = Mul(j, i)",
		"c = Mul(x, x); d = Mul(c, x); e = Mul(d, k); f = Add(e, x); g = Mul(f, root); h = Tanh(g); i = Add(h, one); j = Mul(x, i); y = Mul(j, half)",
	} {
		build := func(k float32) *net {
			n := newNet(13, value("x", onnx.Float, -1, 64), value("y", onnx.Float, -1, 64))
			for name, v := range map[string]float32{"k": k, "root": 0.7978845608, "one": 1, "half": 0.5, "three": 3} {
				n.constant(name, []float32{v})
			}
			for _, l := range strings.Split(lines, "; ") {
				n.node(l)
			}
			return n
		}
		if got := build(0.044715).check(t, "gelu", 1, noise(3, 64)); got["FastGelu"] != 1 || len(got) != 1 {
			t.Errorf("left: %v", got)
		}
		build(0.05).check(t, "gelu", 0, noise(3, 64))
		n := build(0.044715)
		if st, err := Apply(n.m, Options{}); err != nil || st.Matches["gelu"] != 0 {
			t.Errorf("an operator of one engine was written unasked: %v %v", st, err)
		}
	}
}

func TestConvTranspose(t *testing.T) {
	for name, c := range map[string]struct {
		stride, channels, times int64
	}{"tail": {2, 1, 1}, "two channels": {2, 2, 1}, "overlapping": {1, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			n := newNet(11, value("x", onnx.Float, -1, 3, -1, -1), value("y", onnx.Float, -1, c.channels, -1, -1))
			n.weights("w1", 3, 4, 2, 2)
			n.weights("b1", 4)
			n.weights("w2", 4, c.channels, 3, 3)
			n.weights("b2", c.channels)
			n.node("a = ConvTranspose(x, w1, b1)", onnx.IntsAttr("strides", c.stride, c.stride))
			n.node("b = Relu(a)")
			n.node("c = ConvTranspose(b, w2, b2)", onnx.IntsAttr("strides", 3, 3))
			n.node("y = Sigmoid(c)")
			got := n.check(t, "conv-transpose", int(c.times), noise(2, 3, 4, 5))
			if c.times == 1 && (got["ConvTranspose"] != 0 || got["Conv"] != 2) {
				t.Errorf("left: %v", got)
			}
		})
	}
}

// Two applications give the same bytes, and the second finds nothing to do.
func TestRewritingIsDeterministicAndComplete(t *testing.T) {
	build := func() *onnx.Model {
		n := newNet(13, value("x", onnx.Float, -1, 4, 4, 4), value("y", onnx.Float, -1, -1, -1, -1))
		n.weights("s", 1, 4, 1, 1)
		n.weights("t", 1)
		n.weights("w", 4, 4, 3, 3)
		n.node("a = Mul(x, s)")
		n.node("b = Add(a, t)")
		n.node("c = Conv(b, w)", onnx.IntsAttr("pads", 1, 1, 1, 1))
		n.node("g = GlobalAveragePool(c)")
		n.node("m = Mul(c, g)")
		n.node("y = Add(m, c)")
		return n.m
	}
	var bytes [2]string
	for i := range bytes {
		m := build()
		if _, err := Apply(m, Options{}); err != nil {
			t.Fatal(err)
		}
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		bytes[i] = string(b)
		if st, err := Apply(m, Options{}); err != nil || st.Matches["affine"]+st.Matches["gate"] != 0 {
			t.Errorf("again: %v %v", st, err)
		}
	}
	if bytes[0] != bytes[1] {
		t.Error("two runs give different bytes")
	}
	if _, err := Apply(build(), Options{Skip: []string{"nothing"}}); err == nil {
		t.Error("an unknown name is skipped without a word")
	}
}

// OPTIMIZE_TEST_MODELS names a folder of real models with images as their only input.
func TestRealModels(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_TEST_MODELS")
	if dir == "" {
		t.Skip("OPTIMIZE_TEST_MODELS names no folder of models")
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".onnx") {
			continue
		}
		t.Run(f.Name(), func(t *testing.T) {
			m, err := onnx.ReadFile(dir + "/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			n := &net{m: m}
			feeds := m.Graph.Feeds()
			if len(feeds) != 1 || feeds[0].Name() != "x" || len(feeds[0].Type.Shape) != 4 {
				t.Skip("it takes something else")
			}
			n.check(t, "", 0, noise(1, 3, 48, 192))
		})
	}
}
