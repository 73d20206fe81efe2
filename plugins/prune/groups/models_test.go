package groups

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/trial"
)

// transformer is one layer of an encoder as exporters write it; fused reads queries, keys and values from one product.
func transformer(fused bool) *network {
	const d, heads, width, ff = 24, 4, 6, 40
	w := &network{r: rand.New(rand.NewPCG(5, 5)), m: onnx.NewModel("encoder", 17), value: "x"}
	w.m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), onnx.ParamDim("S"), {Value: d}}))
	linear := func(x string, in, out int64) string {
		return w.op("Add", []string{w.op("MatMul", []string{x, w.floats(0.2, in, out)}), w.floats(0.1, out)})
	}
	norm := func(x string) string {
		return w.op("LayerNormalization", []string{x, w.floats(1, d), w.floats(1, d)})
	}
	x := norm("x")
	var qkv []string
	if fused {
		qkv = w.ops2("Split", []string{linear(x, d, 3*heads*width), w.ints(heads*width, heads*width, heads*width)}, 3, onnx.IntAttr("axis", 2))
	} else {
		for range 3 {
			qkv = append(qkv, linear(x, d, heads*width))
		}
	}
	for i, perm := range [][]int64{{0, 2, 1, 3}, {0, 2, 3, 1}, {0, 2, 1, 3}} {
		qkv[i] = w.op("Transpose", []string{w.op("Reshape", []string{qkv[i], w.ints(0, 0, heads, width)})}, onnx.IntsAttr("perm", perm...))
	}
	scores := w.op("Div", []string{w.op("MatMul", qkv[:2]), w.scalar(2.45)})
	y := w.op("MatMul", []string{w.op("Softmax", []string{scores}, onnx.IntAttr("axis", -1)), qkv[2]})
	y = w.op("Reshape", []string{w.op("Transpose", []string{y}, onnx.IntsAttr("perm", 0, 2, 1, 3)), w.ints(0, 0, heads*width)})
	x = norm(w.op("Add", []string{x, linear(y, heads*width, d)}))
	h := linear(x, d, ff)
	h = w.op("Mul", []string{h, w.op("Sigmoid", []string{h})})
	w.value = w.op("Add", []string{x, linear(h, ff, d)})
	w.m.Graph.AddOutput(onnx.NewValueInfo(w.value, onnx.Float, []onnx.Dim{onnx.ParamDim("N"), onnx.ParamDim("S"), {Value: d}}))
	return w
}

// sizes of the groups: units, and channels of each.
func sizes(a *Analysis) (out [][2]int) {
	for _, g := range a.Groups {
		out = append(out, [2]int{len(g.Units), g.Channels})
	}
	return out
}

func bytesOf(t testing.TB, m *onnx.Model) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTransformer(t *testing.T) {
	needRuntime(t)
	for _, fused := range []bool{false, true} {
		b := bytesOf(t, transformer(fused).m)
		a := analyzed(t, b)
		want := [][2]int{{4, 6}, {40, 1}} // whole heads, and numbers between the two products
		if fused {
			want = [][2]int{{4, 18}, {40, 1}}
		}
		if got := sizes(a); !slices.Equal(got, want) {
			t.Errorf("fused %v: groups %v, want %v", fused, got, want)
		}
		left := 0
		for _, l := range a.Left {
			if strings.Contains(l.String(), "combines them with") && l.Stay == l.Channels {
				left++
			}
		}
		if left != 2 {
			t.Errorf("left alone: %v", a.Left)
		}
		agrees(t, b, 1, 0.5, 1e-4)
	}
}

func TestRecurrent(t *testing.T) {
	needRuntime(t)
	for op, gates := range map[string]int64{"LSTM": 4, "GRU": 3, "RNN": 1} {
		for _, dirs := range []int64{1, 2} {
			const in, hidden = 6, 10
			w := &network{r: rand.New(rand.NewPCG(9, 9)), m: onnx.NewModel(op, 14), value: "x"}
			w.m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(5, 3, 4)))
			x := w.op("MatMul", []string{"x", w.floats(0.5, 4, in)})
			attrs := []*onnx.Attribute{onnx.IntAttr("hidden_size", hidden), onnx.StringAttr("direction", "forward")}
			if dirs == 2 {
				attrs[1] = onnx.StringAttr("direction", "bidirectional")
			}
			inputs := []string{x, w.floats(0.5, dirs, gates*hidden, in), w.floats(0.5, dirs, gates*hidden, hidden), w.floats(0.5, dirs, 2*gates*hidden),
				"", w.floats(1, dirs, 3, hidden)}
			if op == "LSTM" {
				inputs = append(inputs, w.floats(1, dirs, 3, hidden), w.floats(1, dirs, 3*hidden))
			}
			outs := w.ops2(op, inputs, 2, attrs...)
			y := w.op("Reshape", []string{w.op("Transpose", []string{outs[0]}, onnx.IntsAttr("perm", 0, 2, 1, 3)), w.ints(5, 3, dirs*hidden)})
			y = w.op("MatMul", []string{y, w.floats(0.3, dirs*hidden, 3)})
			last := w.op("MatMul", []string{outs[1], w.floats(0.3, hidden, 3)})
			w.m.Graph.AddOutput(onnx.NewValueInfo(y, onnx.Float, onnx.FixedDims(5, 3, 3)))
			w.m.Graph.AddOutput(onnx.NewValueInfo(last, onnx.Float, onnx.FixedDims(dirs, 3, 3)))
			b := bytesOf(t, w.m)
			if got := sizes(analyzed(t, b)); !slices.Equal(got, [][2]int{{in, 1}, {hidden, int(gates)}}) {
				t.Errorf("%s %d: groups %v", op, dirs, got)
			}
			agrees(t, b, 3, 0.5, 1e-4)
		}
	}
}

// TestShared reads one weight in two places, one bias in two layers, and a weight inside a branch.
func TestShared(t *testing.T) {
	needRuntime(t)
	w := &network{r: rand.New(rand.NewPCG(2, 2)), m: onnx.NewModel("shared", 13), value: "x"}
	w.m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 8)))
	shared, bias := w.floats(0.3, 8, 12), w.floats(0.3, 12)
	a := w.op("Relu", []string{w.op("Gemm", []string{"x", shared, bias})})
	b := w.op("Tanh", []string{w.op("MatMul", []string{"x", shared})})
	c := w.op("Gemm", []string{a, w.floats(0.3, 12, 12), bias})
	y := w.op("Add", []string{w.op("MatMul", []string{b, w.floats(0.3, 12, 3)}), w.op("MatMul", []string{c, w.floats(0.3, 12, 3)})})
	w.m.Graph.AddOutput(onnx.NewValueInfo(y, onnx.Float, onnx.FixedDims(2, 3)))
	data := bytesOf(t, w.m)
	got := sizes(analyzed(t, data))
	if !slices.Equal(got, [][2]int{{12, 1}, {12, 1}}) {
		t.Errorf("groups %v: the weight ties its readers, the bias does not", got)
	}
	agrees(t, data, 1, 0.5, 1e-4)
}

// TestLeft asks for the reasons why channels stay.
func TestLeft(t *testing.T) {
	build := func(f func(w *network, x string) string) []byte {
		w := &network{r: rand.New(rand.NewPCG(2, 2)), m: onnx.NewModel("left", 13), value: "x"}
		w.m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 8, 6, 6)))
		y := w.op("Conv", []string{f(w, w.conv("x", 8, 8, 1, 3)), w.floats(1, 4, 8, 1, 1)})
		w.m.Graph.AddOutput(onnx.NewValueInfo(y, onnx.Float, nil))
		return bytesOf(t, w.m)
	}
	for want, f := range map[string]func(w *network, x string) string{
		"makes shares of them":       func(w *network, x string) string { return w.op("Softmax", []string{x}, onnx.IntAttr("axis", 1)) },
		"normalizes each by its nei": func(w *network, x string) string { return w.op("LRN", []string{x}, onnx.IntAttr("size", 3)) },
		"combines them with \"x\"":   func(w *network, x string) string { return w.op("Add", []string{x, "x"}) },
		"not followed through":       func(w *network, x string) string { return w.op("Det", []string{x}) },
		"looks at all of them":       func(w *network, x string) string { return w.op("CumSum", []string{x, w.ints(1)}) },
		"works on all of them": func(w *network, x string) string {
			return w.op("Sub", []string{x, w.op("ReduceMax", []string{x}, onnx.IntsAttr("axes", 1))})
		},
		"takes every 2. of them": func(w *network, x string) string {
			y := w.op("Slice", []string{x, w.ints(0), w.ints(8), w.ints(1), w.ints(2)})
			return w.op("Concat", []string{y, y}, onnx.IntAttr("axis", 1))
		},
		"normalizes over them": func(w *network, x string) string {
			y := w.op("InstanceNormalization", []string{w.op("Reshape", []string{x, w.ints(2, 1, -1)}), w.floats(1, 1), w.floats(1, 1)})
			return w.op("Reshape", []string{y, w.ints(2, 8, 6, 6)})
		},
	} {
		a := analyzed(t, build(f))
		if len(a.Groups) != 0 || len(a.Left) == 0 || !strings.Contains(a.Left[0].Reason.String(), want) {
			t.Errorf("%s: groups %v, left %v", want, sizes(a), a.Left)
		}
	}
}

// TestNothing takes nothing out: not a byte changes.
func TestNothing(t *testing.T) {
	a := analyzed(t, bytesOf(t, transformer(true).m))
	before := slices.Clone(bytesOf(t, a.Model))
	if err := a.Cut(a.Select(), 2); err != nil || !slices.Equal(before, bytesOf(t, a.Model)) {
		t.Error("the model changed", err)
	}
}

// TestEmpty refuses to take all channels of a layer.
func TestEmpty(t *testing.T) {
	a := analyzed(t, bytesOf(t, transformer(true).m))
	s := a.Select()
	for _, u := range a.Groups[0].Units {
		s.Remove(u)
	}
	if err := a.Cut(s, 1); err == nil || !strings.Contains(err.Error(), a.Groups[0].Name) {
		t.Error(err)
	}
}

// TestQuantized refuses integers.
func TestQuantized(t *testing.T) {
	m := onnx.NewModel("q", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2)))
	m.Graph.AddInitializer(onnx.NewFloats("s", []float32{1}))
	m.Graph.AppendNode(onnx.NewNode("QuantizeLinear", "", "q", []string{"x", "s"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Uint8, onnx.FixedDims(2)))
	if err := Prepare(m); err == nil || !strings.Contains(err.Error(), `"q"`) {
		t.Error(err)
	}
}

// TestFixtures prunes each float model of the folder that OPTIMIZE_FIXTURES names.
func TestFixtures(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("OPTIMIZE_FIXTURES names no folder of models")
	}
	needRuntime(t)
	files, _ := filepath.Glob(filepath.Join(dir, "*.onnx"))
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			m, err := onnx.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := Prepare(m); err != nil {
				t.Skip(err)
			}
			randomWeights(m)
			b := bytesOf(t, m)
			a := analyzed(t, b)
			t.Logf("%d groups, %d nodes left alone", len(a.Groups), len(a.Left))
			if in, err := trial.Inputs(m, 1); err != nil {
				t.Skip(err)
			} else if _, err := trial.Run(m, in, 2); err != nil {
				t.Skip("it does not take made-up inputs: ", err)
			}
			if len(a.Groups) > 0 {
				t.Logf("%d units removed", agrees(t, b, 1, 0.5, 1e-3))
			}
		})
	}
}

// randomWeights gives models without weights (ONNX's own light ones make them all of one number) some.
func randomWeights(m *onnx.Model) {
	r := rand.New(rand.NewPCG(1, 1))
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return
	}
	for n := range m.Graph.Nodes() {
		elem, dims, ok := shapes.Of(n.Output(0))
		if !n.Is("ConstantOfShape") || !ok || elem != onnx.Float || slices.ContainsFunc(dims, func(d onnx.Dim) bool { return !d.Fixed() }) {
			continue
		}
		shape, count := make([]int64, len(dims)), int64(1)
		for i, d := range dims {
			shape[i] = d.Value
			count *= d.Value
		}
		for _, c := range slices.Clone(m.Graph.Consumers(n.Output(0))) {
			data := make([]float32, max(count, 0))
			for i := range data {
				data[i] = 0.05 * float32(r.NormFloat64())
				if c.Is("BatchNormalization") {
					data[i] = 0.5 + r.Float32()
				}
			}
			for i, in := range c.Inputs() {
				if in == n.Output(0) {
					name := m.Graph.UniqueName("random")
					m.Graph.AddInitializer(onnx.NewFloats(name, data, shape...))
					c.SetInput(i, name)
				}
			}
		}
	}
	m.Graph.Prune()
}
