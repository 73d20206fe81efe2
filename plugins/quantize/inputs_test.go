package quantize

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// steps that quantize a model, each with the rest of its configuration; they return the model that was written.
var quantizers = map[string]func(t *testing.T, j job, m sdk.Model, data map[string]tensor.Tensor) (*sdk.Result, error){
	"quantize_static": func(t *testing.T, j job, m sdk.Model, data map[string]tensor.Tensor) (*sdk.Result, error) {
		return quantizeStatic(t.Context(), j, StaticConfig{Model: m, Target: "onnxruntime-x86-vnni", PerChannel: true, Search: "off", Calibration: ptr(writeDataset(t, data))})
	},
	"quantize_dynamic": func(t *testing.T, j job, m sdk.Model, _ map[string]tensor.Tensor) (*sdk.Result, error) {
		return quantizeDynamic(t.Context(), j, DynamicConfig{Model: m, Target: "onnxruntime-x86-vnni", PerChannel: true, Embeddings: true})
	},
	"quantize_weights": func(t *testing.T, j job, m sdk.Model, _ map[string]tensor.Tensor) (*sdk.Result, error) {
		return quantizeWeights(t.Context(), j, t.TempDir(), WeightsConfig{Model: m, Format: "int8", Form: "auto", Algorithm: "rtn", BlockSize: 32, Embeddings: true, Compute: "float32", Damping: 0.01})
	},
	"quantize_weights, standard": func(t *testing.T, j job, m sdk.Model, _ map[string]tensor.Tensor) (*sdk.Result, error) {
		return quantizeWeights(t.Context(), j, t.TempDir(), WeightsConfig{Model: m, Format: "int8", Form: "standard", Algorithm: "rtn", BlockSize: 32, Embeddings: true, Compute: "float32", Damping: 0.01})
	},
	"quantize_cluster": func(t *testing.T, j job, m sdk.Model, _ map[string]tensor.Tensor) (*sdk.Result, error) {
		return quantizeCluster(t.Context(), j, ClusterConfig{Model: m, Bits: 6})
	},
	"quantize_float16": func(t *testing.T, j job, m sdk.Model, _ map[string]tensor.Tensor) (*sdk.Result, error) {
		return quantizeFloat16(t.Context(), j, Float16Config{Model: m, DType: "float16", KeepIO: true})
	},
	"quantize_calibrate": func(t *testing.T, j job, m sdk.Model, data map[string]tensor.Tensor) (*sdk.Result, error) {
		return calibrateModel(t.Context(), j, CalibrateConfig{Model: m, Tensors: "quantizable", Calibration: ptr(writeDataset(t, data))})
	},
}

// matrix appends x*w for a constant w of [k, n].
func (b *builder) matrix(out, in string, k, n int64) string {
	return b.node("MatMul", out, []string{in, b.random(out+".w", 0.3, k, n)})
}

// pair appends QuantizeLinear and DequantizeLinear on one scale, or one for each index of axis 0.
func (b *builder) pair(out, in string, scales []float32, zero tensor.Tensor) string {
	b.m.Graph.AddInitializer(onnx.NewTensor(out+".z", zero))
	b.m.Graph.AddInitializer(floats(out+".s", zero.Shape, scales))
	q := b.node("QuantizeLinear", out+".q", []string{in, out + ".s", out + ".z"}, onnx.IntAttr("axis", 0))
	return b.node("DequantizeLinear", out, []string{q, out + ".s", out + ".z"}, onnx.IntAttr("axis", 0))
}

func unsigned(zero byte) tensor.Tensor { return tensor.Tensor{DType: tensor.U8, Data: []byte{zero}} }

// branch is a subgraph of an If that multiplies x with a weight of its own, or with one of the model's.
func branch(b *builder, name, weight string, inside bool) *onnx.Graph {
	g := onnx.NewGraph(name)
	if inside {
		g.AddInitializer(onnx.NewTensor(weight, b.noise(0.3, 32, 16)))
	} else {
		b.random(weight, 0.3, 32, 16)
	}
	g.AppendNode(onnx.NewNode("MatMul", "", name+".m", []string{"x", weight}, []string{name + ".y"}))
	g.AddOutput(onnx.NewValueInfo(name+".y", onnx.Float, nil))
	return g
}

func addIf(b *builder) string {
	mean := b.node("ReduceMean", "mean", []string{"x"}, onnx.IntAttr("keepdims", 0))
	cond := b.node("Greater", "cond", []string{mean, b.scalar("zero", 0)})
	return b.node("If", "if", []string{cond}, onnx.GraphAttr("then_branch", branch(b, "then", "w.in", true)), onnx.GraphAttr("else_branch", branch(b, "else", "w.out", false)))
}

// recurrentNet is x, a sequence of one batch, through a recurrent operator and a product.
func recurrentNet(b *builder, op string, gates, directions int64) {
	x := b.node("Unsqueeze", "seq", []string{b.input("x", 32), b.ints("one", 1)})
	const hidden = 16
	direction := "forward"
	if directions == 2 {
		direction = "bidirectional"
	}
	b.m.Graph.AppendNode(onnx.NewNode(op, "", "rnn", []string{x, b.random("W", 0.3, directions, gates*hidden, 32), b.random("R", 0.3, directions, gates*hidden, hidden), b.random("B", 0.3, directions, 2*gates*hidden)},
		[]string{"", "state"}, onnx.IntAttr("hidden_size", hidden), onnx.StringAttr("direction", direction)))
	last := b.node("Reshape", "last", []string{b.node("Transpose", "turned", []string{"state"}, onnx.IntsAttr("perm", 1, 0, 2)), b.ints("flat", 1, hidden*directions)})
	b.output(b.matrix("y", last, hidden*directions, 8))
}

// TestInputs: awkward models through every step. Each gives a model that ONNX Runtime loads and that agrees with the
// float one, or is refused with the reason.
func TestInputs(t *testing.T) {
	needRuntime(t)
	for _, c := range []struct {
		name   string
		opset  int64
		build  func(b *builder)
		shape  []int64
		refuse map[string][]string // words of the error, by step
		minDB  float64             // 15 without it
		ops    map[string]int      // of quantize_dynamic's result, -1: not there
		float  string              // begins a line of quantize_dynamic's nodes_float
	}{
		{
			name: "quantizers on float weights, as training writes them", shape: []int64{4, 4, 4}, minDB: math.Inf(1),
			build: func(b *builder) {
				x := b.pair("xd", b.input("x", 4, 4, 4), []float32{0.01}, unsigned(128))
				w := b.pair("wd", b.random("w", 0.4, 4, 4, 1, 1), []float32{0.01, 0.02, 0.03, 0.011}, tensor.Tensor{DType: tensor.I8, Shape: []int64{4}, Data: make([]byte, 4)})
				b.output(b.pair("y", b.node("Conv", "c", []string{x, w}), []float32{0.02}, unsigned(3)))
			},
			refuse: map[string][]string{"quantize_calibrate": {"quantized already", `"xd.q"`}, "quantize_cluster": {"quantized already"}, "quantize_float16": {"half precision", "c (Conv): it is computed in integers"}},
			ops:    map[string]int{"QuantizeLinear": 2, "DequantizeLinear": 3},
		},
		{
			name: "quantized whole", shape: []int64{4, 4, 4},
			build: func(b *builder) {
				x := b.pair("xd", b.input("x", 4, 4, 4), []float32{0.01}, unsigned(128))
				b.m.Graph.AddInitializer(onnx.NewTensor("wq", tensor.Of([]int64{4, 4, 1, 1}, make([]int8, 16))))
				w := b.node("DequantizeLinear", "wd", []string{"wq", b.scalar("ws", 0.1)})
				b.output(b.pair("y", b.node("Conv", "c", []string{x, w}), []float32{0.02}, unsigned(0)))
			},
			refuse: map[string][]string{"quantize_static": {"quantized already", `"xd.q"`}, "quantize_dynamic": {"quantized already"}, "quantize_weights": {"quantized already"},
				"quantize_weights, standard": {"quantized already"}, "quantize_calibrate": {"quantized already"}, "quantize_cluster": {"quantized already"}, "quantize_float16": {"half precision", "c (Conv): it is computed in integers"}},
		},
		{
			name: "QLinearConv and a float product behind", shape: []int64{4, 4, 4},
			build: func(b *builder) {
				g := b.m.Graph
				for name, v := range map[string]byte{"zx": 128, "zy": 128} {
					g.AddInitializer(onnx.NewTensor(name, unsigned(v)))
				}
				g.AddInitializer(onnx.NewTensor("zw", tensor.Tensor{DType: tensor.I8, Data: []byte{0}}))
				q := make([]int8, 64)
				for i := range q {
					q[i] = int8(i*37%255 - 127)
				}
				g.AddInitializer(onnx.NewTensor("wq", tensor.Of([]int64{16, 4, 1, 1}, q)))
				x := b.node("QuantizeLinear", "xq", []string{b.input("x", 4, 4, 4), b.scalar("sx", 0.01), "zx"})
				y := b.node("QLinearConv", "c", []string{x, "sx", "zx", "wq", b.scalar("sw", 0.01), "zw", b.scalar("sy", 0.03), "zy"})
				f := b.node("Flatten", "f", []string{b.node("DequantizeLinear", "yd", []string{y, "sy", "zy"})})
				b.output(b.matrix("y", f, 256, 8))
			},
			ops: map[string]int{"QLinearConv": 1, "MatMulInteger": 1},
		},
		{
			name: "If with weights inside and outside, and a product behind", shape: []int64{32},
			build: func(b *builder) {
				b.input("x", 32)
				b.output(b.matrix("y", addIf(b), 16, 8))
			},
			ops: map[string]int{"MatMulInteger": 3, "DynamicQuantizeLinear": 3, "MatMul": -1},
		},
		{
			name: "an If alone", shape: []int64{32},
			build:  func(b *builder) { b.input("x", 32); b.output(addIf(b)) },
			refuse: map[string][]string{"quantize_static": {"nothing that quantize_static", `then.m (MatMul): it is in a subgraph of If "if"`, "onnxruntime_simplify", "quantize_dynamic"}},
			ops:    map[string]int{"MatMulInteger": 2, "MatMul": -1},
		},
		{
			name: "a Loop", shape: []int64{32},
			build: func(b *builder) {
				body := onnx.NewGraph("body")
				body.AddInput(onnx.NewValueInfo("i", onnx.Int64, []onnx.Dim{}))
				body.AddInput(onnx.NewValueInfo("go", onnx.Bool, []onnx.Dim{}))
				body.AddInput(onnx.NewValueInfo("s", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 32}}))
				b.random("w", 0.2, 32, 32)
				body.AppendNode(onnx.NewNode("MatMul", "", "step", []string{"s", "w"}, []string{"p"}))
				body.AppendNode(onnx.NewNode("Tanh", "", "tanh", []string{"p"}, []string{"s2"}))
				body.AppendNode(onnx.NewNode("Identity", "", "on", []string{"go"}, []string{"go2"}))
				body.AddOutput(onnx.NewValueInfo("go2", onnx.Bool, nil))
				body.AddOutput(onnx.NewValueInfo("s2", onnx.Float, nil))
				b.m.Graph.AddInitializer(onnx.NewTensor("times", tensor.Of([]int64{}, []int64{3})))
				b.m.Graph.AddInitializer(onnx.NewTensor("true", tensor.Tensor{DType: tensor.Bool, Data: []byte{1}}))
				b.output(b.matrix("y", b.node("Loop", "loop", []string{"times", "true", b.input("x", 32)}, onnx.GraphAttr("body", body)), 32, 8))
			},
			refuse: map[string][]string{"quantize_cluster": {`w: a subgraph of Loop "loop" reads it`, "y.w: it has 256 elements"}},
			ops:    map[string]int{"MatMulInteger": 2, "MatMul": -1},
		},
		{
			name: "a Scan", shape: []int64{32},
			build: func(b *builder) {
				body := onnx.NewGraph("body")
				body.AddInput(onnx.NewValueInfo("s", onnx.Float, []onnx.Dim{{Value: 16}}))
				body.AddInput(onnx.NewValueInfo("e", onnx.Float, []onnx.Dim{{Value: 32}}))
				body.AddInitializer(onnx.NewTensor("w", b.noise(0.2, 32, 16)))
				body.AppendNode(onnx.NewNode("MatMul", "", "step", []string{"e", "w"}, []string{"p"}))
				body.AppendNode(onnx.NewNode("Add", "", "sum", []string{"p", "s"}, []string{"s2"}))
				body.AppendNode(onnx.NewNode("Identity", "", "copy", []string{"s2"}, []string{"o"}))
				body.AddOutput(onnx.NewValueInfo("s2", onnx.Float, nil))
				body.AddOutput(onnx.NewValueInfo("o", onnx.Float, nil))
				b.m.Graph.AddInitializer(floats("start", []int64{16}, make([]float32, 16)))
				b.m.Graph.AppendNode(onnx.NewNode("Scan", "", "scan", []string{"start", b.input("x", 32)}, []string{"last", "y"}, onnx.IntAttr("num_scan_inputs", 1), onnx.GraphAttr("body", body)))
				b.output("y")
			},
			refuse: map[string][]string{"quantize_static": {`step (MatMul): it is in a subgraph of Scan "scan"`}, "quantize_calibrate": {"nothing to calibrate", "onnxruntime_simplify"}},
			ops:    map[string]int{"MatMulInteger": 1, "MatMul": -1},
		},
		{name: "LSTM", shape: []int64{32}, build: func(b *builder) { recurrentNet(b, "LSTM", 4, 1) }, ops: map[string]int{"DynamicQuantizeLSTM": 1, "LSTM": -1}},
		{name: "LSTM of two directions", shape: []int64{32}, build: func(b *builder) { recurrentNet(b, "LSTM", 4, 2) }, ops: map[string]int{"DynamicQuantizeLSTM": 1, "LSTM": -1}},
		{name: "GRU", shape: []int64{32}, build: func(b *builder) { recurrentNet(b, "GRU", 3, 2) }, ops: map[string]int{"GRU": 1, "MatMulInteger": 1}, float: "rnn (GRU): the engine has no integer kernel"},
		{name: "RNN", shape: []int64{32}, build: func(b *builder) { recurrentNet(b, "RNN", 1, 1) }, ops: map[string]int{"RNN": 1}, float: "rnn (RNN): the engine has no"},
		{
			name: "weights in Constant nodes, one transposed", shape: []int64{32},
			build: func(b *builder) {
				b.m.Graph.AppendNode(onnx.NewNode("Constant", "", "k1", nil, []string{"w1"}, onnx.TensorAttr("value", onnx.NewTensor("", b.noise(0.3, 32, 16)))))
				b.m.Graph.AppendNode(onnx.NewNode("Constant", "", "k2", nil, []string{"w2"}, onnx.TensorAttr("value", onnx.NewTensor("", b.noise(0.3, 8, 16)))))
				w2 := b.node("Transpose", "w2t", []string{"w2"}, onnx.IntsAttr("perm", 1, 0))
				b.output(b.node("MatMul", "y", []string{b.node("MatMul", "h", []string{b.input("x", 32), "w1"}), w2}))
			},
			ops: map[string]int{"MatMulInteger": 2, "Constant": -1, "Transpose": -1},
		},
		{
			name: "initializers that are inputs, as IR 3 demands", opset: 9, shape: []int64{32},
			build: func(b *builder) {
				b.m.IRVersion = 3
				b.output(b.matrix("y", b.input("x", 32), 32, 8))
				b.m.Graph.AddInput(onnx.NewValueInfo("y.w", onnx.Float, onnx.FixedDims(32, 8)))
			},
			refuse: map[string][]string{"quantize_cluster": {"y.w: it has 256 elements"}},
			ops:    map[string]int{"MatMulInteger": 1},
		},
		{
			name: "shapes and types declared wrong", shape: []int64{32},
			build: func(b *builder) {
				h := b.relu("r", b.matrix("h", b.input("x", 32), 32, 16))
				b.output(b.matrix("y", h, 16, 8))
				b.m.Graph.SetValueInfo(onnx.NewValueInfo("h", onnx.Float, onnx.FixedDims(7, 99)))
				b.m.Graph.SetValueInfo(onnx.NewValueInfo("r", onnx.Float, onnx.FixedDims(5)))
			},
			ops: map[string]int{"MatMulInteger": 2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			opset := c.opset
			if opset == 0 {
				opset = 17
			}
			b := newBuilder(opset)
			c.build(b)
			x := b.noise(1, append([]int64{12}, c.shape...)...)
			data := map[string]tensor.Tensor{"x": x}
			source := writeModel(t, b.m)
			if strings.Contains(c.name, "wrong") { // the engine takes no such model
				for _, v := range slices.Clone(b.m.Graph.ValueInfos()) {
					b.m.Graph.RemoveValueInfo(v.Name())
				}
			}
			want := runModel(t, b.m, data)["y"]
			if out := b.m.Graph.Outputs()[0].Name(); out != "y" {
				want = runModel(t, b.m, data)[out]
			}
			for name, step := range quantizers {
				t.Run(name, func(t *testing.T) {
					j, _ := testJob(t)
					r, err := step(t, j, source, data)
					if words := c.refuse[name]; words != nil {
						if err == nil {
							t.Fatal("it was not refused")
						}
						wantError(t, err, "model", words...)
						wantEmpty(t, j.outDir)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if name == "quantize_calibrate" {
						return
					}
					m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
					if err != nil {
						t.Fatal(err)
					}
					limit := c.minDB
					if limit == 0 {
						limit = 15
					}
					if db := sqnr(want, runModel(t, m, data)[m.Graph.Outputs()[0].Name()]); !(db >= limit) {
						t.Errorf("%.1f dB, want %.0f", db, limit)
					}
					if name != "quantize_dynamic" {
						return
					}
					n := counts(m)
					for op, want := range c.ops {
						if n[op] != max(want, 0) {
							t.Errorf("%s is there %d times, want %d: %s", op, n[op], max(want, 0), show(n))
						}
					}
					if f := r.Facts.(Facts); c.float != "" && !slices.ContainsFunc(f.NodesFloat, func(s string) bool { return strings.HasPrefix(s, c.float) }) {
						t.Errorf("in float: %q, want %q", f.NodesFloat, c.float)
					}
				})
			}
		})
	}
}

// TestFoldGolden: rounding of a quantizer on a float weight, to the numbers of the operator's definition.
func TestFoldGolden(t *testing.T) {
	b := newBuilder(13)
	b.m.Graph.AddInitializer(floats("w", []int64{2, 5}, []float32{0.25, 0.75, -0.25, 100, -100, 0.25, 0.75, 1.25, 3, -3}))
	d := b.pair("d", "w", []float32{0.5, 0.1}, tensor.Tensor{DType: tensor.U8, Shape: []int64{2}, Data: []byte{10, 128}})
	b.output(b.node("Add", "y", []string{b.input("x", 5), d}))
	if n, err := foldQuantized(b.m); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	q, err := b.m.Graph.Initializer("d.q").Ints()
	if err != nil {
		t.Fatal(err)
	}
	// Half to even: .5 to 0, 1.5 to 2, -.5 to 0; 2.5 to 2, 7.5 to 8, 12.5 to 12.
	if want := []int64{10, 12, 10, 210, 0, 130, 136, 140, 158, 98}; !slices.Equal(q, want) {
		t.Errorf("codes are %v, want %v", q, want)
	}
	b.m.Graph.AddInitializer(floats("d.s", []int64{3}, []float32{1, 1, 1}))
	b.m.Graph.AppendNode(onnx.NewNode("QuantizeLinear", "", "again", []string{"w", "d.s"}, []string{"q2"}, onnx.IntAttr("axis", 0)))
	if _, err := foldQuantized(b.m); err == nil || !strings.Contains(err.Error(), `"again"`) || !strings.Contains(err.Error(), "[2 5]") {
		t.Errorf("three scales for two rows: %v", err)
	}
}
