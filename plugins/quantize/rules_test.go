package quantize

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// rule is one small network, what the engine must make of its quantized form, and what must be left in float.
type rule struct {
	name   string
	opset  int64
	build  func(b *builder)
	engine map[string]int // operators of the engine's own graph, without data movement
	float  []string       // beginnings of Facts.NodesFloat
	keep   []string
	minDB  float64 // 0: 22
	check  func(t *testing.T, m *onnx.Model)
}

// movement is what the engine may add or drop without computing.
var movement = []string{"Transpose", "Reshape", "Flatten", "ReorderInput", "ReorderOutput", "Unsqueeze", "Squeeze", "Cast"}

var rules = []rule{
	{
		name: "R1 R4 R6: Relu between two convolutions vanishes",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			b.output(b.conv("c2", b.relu("r1", b.conv("c1", x, 4, 8)), 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 1},
		check: func(t *testing.T, m *onnx.Model) {
			if n := counts(m)["Relu"]; n != 0 {
				t.Errorf("%d Relu are left", n)
			}
			if z := zeroPoint(t, m, "r1"); z != 0 {
				t.Errorf("zero point behind the Relu is %d", z)
			}
		},
	},
	{
		name: "R6: Clip(0, 6) that saturation does",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			c := b.node("Clip", "r1", []string{b.conv("c1", x, 4, 8), b.scalar("lo", 0), b.scalar("hi", 6)})
			b.output(b.conv("c2", c, 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 1},
	},
	{
		// The engine then drops it itself, in front of its QuantizeLinear, and only a change of scale is left.
		name: "R6: Relu whose input has another reader stays",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			c := b.conv("c1", x, 4, 4)
			b.output(b.conv("c3", b.node("Add", "a", []string{b.conv("c2", b.relu("r1", c), 4, 4), c}), 4, 4))
		},
		engine: map[string]int{"QuantizeLinear": 2, "QLinearConv": 3, "QLinearAdd": 1, "DequantizeLinear": 2},
	},
	{
		name: "R6: Relu that shares a scale with negative values stays",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			cat := b.node("Concat", "cat", []string{b.relu("r1", b.conv("c1", x, 4, 4)), b.conv("c2", x, 4, 4)}, onnx.IntAttr("axis", 1))
			b.output(b.conv("c3", cat, 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 2, "QLinearConv": 3, "Relu": 1, "QLinearConcat": 1, "DequantizeLinear": 2},
		check: func(t *testing.T, m *onnx.Model) {
			sameScale(t, m, "r1", "c2", "cat")
			if z := zeroPoint(t, m, "cat"); z == 0 {
				t.Error("the joint zero point is 0, as if nothing were negative")
			}
		},
	},
	{
		name: "R8: Concat of two Relu shares one scale and drops both",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			cat := b.node("Concat", "cat", []string{b.relu("r1", b.conv("c1", x, 4, 4)), b.relu("r2", b.conv("c2", x, 4, 4))}, onnx.IntAttr("axis", 1))
			b.output(b.conv("c3", cat, 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 3, "QLinearConcat": 1, "DequantizeLinear": 1},
		check:  func(t *testing.T, m *onnx.Model) { sameScale(t, m, "r1", "r2", "cat") },
	},
	{
		name: "R8: MaxPool passes integers on",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			p := b.node("MaxPool", "p", []string{b.relu("r1", b.conv("c1", x, 4, 8))}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
			b.output(b.conv("c2", p, 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "NhwcMaxPool": 1, "DequantizeLinear": 1},
		check:  func(t *testing.T, m *onnx.Model) { sameScale(t, m, "r1", "p") },
	},
	{
		name: "R8: Transpose, Reshape, Split, Slice and nearest Resize pass integers on",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			r := b.relu("r1", b.conv("c1", x, 4, 8))
			tr := b.node("Transpose", "tr", []string{r}, onnx.IntsAttr("perm", 0, 1, 3, 2))
			b.m.Graph.AppendNode(onnx.NewNode("Split", "", "sp", []string{tr}, []string{"s1", "s2"}, onnx.IntAttr("axis", 1)))
			re := b.node("Resize", "re", []string{"s1", "", b.scales("sc", 1, 1, 2, 2)}, onnx.StringAttr("mode", "nearest"))
			sl := b.node("Slice", "sl", []string{re, b.ints("st", 0, 0), b.ints("en", 8, 8), b.ints("ax", 2, 3)})
			rs := b.node("Reshape", "rs", []string{sl, b.ints("shape", 0, 4, 8, 8)})
			b.output(b.node("Add", "out", []string{b.conv("c2", rs, 4, 4), b.conv("c3", "s2", 4, 4)}))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 3, "Split": 1, "Resize": 1, "Slice": 1, "DequantizeLinear": 2, "Add": 1},
		float:  []string{"out (Add): it does not lie between two quantized nodes"},
		check:  func(t *testing.T, m *onnx.Model) { sameScale(t, m, "r1", "tr", "s1", "s2", "re", "sl", "rs") },
	},
	{
		name: "R7: residual addition of two branches, with and without Relu",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			r := b.relu("r1", b.conv("c1", x, 4, 4))
			a1 := b.node("Add", "a1", []string{b.conv("c2", r, 4, 4), r})
			r2 := b.relu("r2", a1)
			a2 := b.node("Add", "a2", []string{b.conv("c3", r2, 4, 4), r2})
			b.output(b.conv("c4", a2, 4, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 4, "QLinearAdd": 2, "DequantizeLinear": 1},
	},
	{
		name: "squeeze and excitation",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			r := b.relu("r1", b.conv("c1", x, 4, 8))
			g := b.node("GlobalAveragePool", "g", []string{r})
			f := b.relu("r2", b.node("Conv", "f1", []string{g, b.random("f1.w", 0.6, 4, 8, 1, 1)}))
			s := b.node("Sigmoid", "s", []string{b.node("Conv", "f2", []string{f, b.random("f2.w", 0.6, 8, 4, 1, 1)})})
			b.output(b.conv("c2", b.node("Mul", "m", []string{r, s}), 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 4, "QLinearGlobalAveragePool": 1, "QLinearSigmoid": 1, "QLinearMul": 1, "DequantizeLinear": 1},
	},
	{
		name: "LeakyRelu and AveragePool have scales of their own",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			l := b.node("LeakyRelu", "l", []string{b.conv("c1", x, 4, 8)}, onnx.FloatAttr("alpha", 0.1))
			p := b.node("AveragePool", "p", []string{l}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
			b.output(b.conv("c2", p, 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "QLinearLeakyRelu": 1, "QLinearAveragePool": 1, "DequantizeLinear": 1},
	},
	{
		name: "R4: a value that is a graph output and read inside stays an output in float",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			r := b.relu("r1", b.conv("c1", x, 4, 4))
			b.output(r)
			b.output(b.conv("c2", r, 4, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 2},
	},
	{
		name: "depthwise, grouped and strided convolutions, one without bias",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			d := b.relu("r1", b.node("Conv", "dw", []string{x, b.random("dw.w", 0.5, 4, 1, 3, 3)}, onnx.IntAttr("group", 4), onnx.IntsAttr("pads", 1, 1, 1, 1)))
			g := b.relu("r2", b.node("Conv", "gr", []string{d, b.random("gr.w", 0.5, 8, 2, 3, 3), b.random("gr.b", 0.5, 8)}, onnx.IntAttr("group", 2), onnx.IntsAttr("strides", 2, 2)))
			b.output(b.conv("c2", g, 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 3, "DequantizeLinear": 1},
	},
	{
		name: "Gemm: transB, alpha, beta, a bias for all, float answer",
		build: func(b *builder) {
			x := b.input("x", 32)
			h := b.relu("h", b.node("Gemm", "g1", []string{x, b.random("g1.w", 0.3, 16, 32), b.random("g1.b", 1, 16)},
				onnx.IntAttr("transB", 1), onnx.FloatAttr("alpha", 0.5), onnx.FloatAttr("beta", 2)))
			h2 := b.relu("h2", b.node("Gemm", "g2", []string{h, b.random("g2.w", 0.3, 16, 16), b.random("g2.b", 1, 1)}))
			b.output(b.node("Gemm", "g3", []string{h2, b.random("g3.w", 0.3, 16, 10), b.random("g3.b", 1, 1, 10)}))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QGemm": 3},
	},
	{
		name: "MatMul answers in float and its bias and Relu follow there",
		build: func(b *builder) {
			x := b.input("x", 6, 32)
			a := b.node("Add", "a", []string{b.node("MatMul", "m1", []string{x, b.random("m1.w", 0.3, 32, 16)}), b.random("m1.b", 0.5, 16)})
			b.output(b.node("MatMul", "m2", []string{b.relu("r", a), b.random("m2.w", 0.3, 16, 8)}))
		},
		engine: map[string]int{"QuantizeLinear": 2, "MatMulIntegerToFloat": 2, "Add": 1},
	},
	{
		name: "R15: products of two activations stay, by role and not by operator",
		build: func(b *builder) {
			x := b.input("x", 6, 32)
			q := b.node("MatMul", "q", []string{x, b.random("q.w", 0.3, 32, 16)})
			k := b.node("Transpose", "kt", []string{b.node("MatMul", "k", []string{x, b.random("k.w", 0.3, 32, 16)})}, onnx.IntsAttr("perm", 0, 2, 1))
			b.output(b.node("MatMul", "scores", []string{q, k}))
		},
		engine: map[string]int{"QuantizeLinear": 1, "MatMulIntegerToFloat": 2, "FusedMatMul": 1},
		float:  []string{"scores (MatMul): its second operand is not a constant"},
	},
	{
		name: "a weight that two nodes share is stored once",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			b.random("w", 0.3, 4, 4, 1, 1)
			h := b.node("Conv", "c2", []string{b.relu("r", b.node("Conv", "c1", []string{x, "w"})), "w"})
			b.output(h)
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 1},
		check: func(t *testing.T, m *onnx.Model) {
			n := 0
			for i := range m.Graph.Initializers() {
				if i.DataType == onnx.Int8 && len(i.Dims) == 4 {
					n++
				}
			}
			if n != 1 {
				t.Errorf("the weight is there %d times", n)
			}
		},
	},
	{
		name: "keep_float: the node stays and the rest does not",
		keep: []string{"c2"},
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			c2 := b.conv("c2", b.relu("r1", b.conv("c1", x, 4, 8)), 8, 8)
			b.output(b.conv("c3", b.relu("r2", c2), 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 2, "QLinearConv": 2, "DequantizeLinear": 2, "Conv": 1},
		float:  []string{`c2 (Conv): kept by keep_float "c2"`},
	},
	{
		name: "the engine does not quantize by itself what stays in float between quantized nodes",
		keep: []string{"g?"},
		build: func(b *builder) {
			x := b.input("x", 4, 4, 4)
			up := b.node("ConvTranspose", "up", []string{b.conv("c1", x, 4, 4), b.random("up.w", 0.4, 4, 4, 2, 2)}, onnx.IntsAttr("strides", 2, 2))
			dw := b.node("Conv", "gd", []string{b.conv("c2", up, 4, 4), b.random("gd.w", 0.4, 4, 1, 3, 3)}, onnx.IntAttr("group", 4))
			f := b.node("Flatten", "f", []string{b.conv("c3", dw, 4, 4)})
			h := b.node("Gemm", "g1", []string{f, b.random("g1.w", 0.2, 144, 16)})
			b.output(b.node("Gemm", "out", []string{b.relu("r", h), b.random("g2.w", 0.2, 16, 4)}))
		},
		engine: map[string]int{"QuantizeLinear": 4, "QLinearConv": 3, "DequantizeLinear": 3, "ConvTranspose": 1, "Conv": 1, "Gemm": 1, "QGemm": 1},
		float:  []string{"up (ConvTranspose)", "gd (Conv)", "g1 (Gemm)"},
	},
	{
		name: "ConvTranspose, computed weights and other operators stay, with the reason",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			c := b.relu("r1", b.conv("c1", x, 4, 4))
			up := b.node("ConvTranspose", "up", []string{c, b.random("up.w", 0.4, 4, 4, 2, 2)}, onnx.IntsAttr("strides", 2, 2))
			w := b.node("Celu", "w", []string{b.random("w0", 1, 4, 4, 1, 1)})
			b.output(b.node("Conv", "dyn", []string{up, w}))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1, "ConvTranspose": 1, "Conv": 1},
		float:  []string{"up (ConvTranspose): onnxruntime-x86-vnni has no 8-bit operator for it", "dyn (Conv): its weight is no constant but worked out from constants by Celu \"w\""},
	},
	{
		name: "R12: BatchNormalization is folded and an old opset raised", opset: 9,
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			c := b.node("Conv", "c1", []string{x, b.random("c1.w", 0.4, 8, 4, 3, 3)})
			g := b.m.Graph
			for _, v := range []string{"gamma", "var"} {
				g.AddInitializer(onnx.NewTensor(v, tensor.Of([]int64{8}, []float32{1, 2, 3, 0.5, 1, 1, 2, 1})))
			}
			n := b.node("BatchNormalization", "bn", []string{c, "gamma", b.random("beta", 0.5, 8), b.random("mean", 0.5, 8), "var"})
			b.output(b.conv("c2", b.relu("r", n), 8, 4))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 1},
		check: func(t *testing.T, m *onnx.Model) {
			if o := m.Opset(onnx.DefaultDomain); o < 13 {
				t.Errorf("opset is %d", o)
			}
		},
	},
	{
		name: "a dead channel keeps its bias, and a huge bias does not overflow",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			w := b.noise(0.4, 4, 4, 1, 1)
			v, _ := tensor.View[float32](w)
			for i := range 4 {
				v[i], v[4+i] = 0, 1e-9 // channel 0 has no weights, channel 1 hardly any
			}
			b.m.Graph.AddInitializer(onnx.NewTensor("c1.w", w))
			b.m.Graph.AddInitializer(onnx.NewTensor("c1.b", tensor.Of([]int64{4}, []float32{0.7, 3, 0.1, -0.1})))
			r := b.relu("r", b.node("Conv", "c1", []string{x, "c1.w", "c1.b"}))
			b.output(b.node("Conv", "c2", []string{r, b.random("c2.w", 0.4, 4, 4, 1, 1)}))
		},
		engine: map[string]int{"QuantizeLinear": 1, "QLinearConv": 2, "DequantizeLinear": 1},
	},
	{
		name: "R6: Relu whose input is a graph output stays",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			c := b.conv("c1", x, 4, 4)
			b.output(c)
			b.output(b.conv("c2", b.relu("r", c), 4, 4))
		},
		// Two outputs, and from one scale to the other.
		engine: map[string]int{"QuantizeLinear": 2, "QLinearConv": 2, "DequantizeLinear": 3},
	},
	{
		name: "an addition in front of the first convolution stays in float",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			b.output(b.conv("c1", b.node("Add", "a", []string{b.node("Exp", "e", []string{x}), x}), 4, 4))
		},
		engine: map[string]int{"Exp": 1, "Add": 1, "QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1},
		float:  []string{"a (Add): it does not lie between two quantized nodes"},
	},
	{
		name: "a float value keeps its float readers",
		build: func(b *builder) {
			x := b.input("x", 4, 8, 8)
			e := b.node("Exp", "e", []string{x})
			b.output(b.node("Sub", "out", []string{b.conv("c1", e, 4, 4), e}))
		},
		engine: map[string]int{"Exp": 1, "QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1, "Sub": 1},
		check: func(t *testing.T, m *onnx.Model) {
			if in := m.Graph.NodeByName("out").Input(1); in != "e" {
				t.Errorf("the subtraction reads %q, not the exact value", in)
			}
		},
	},
}

func (b *builder) scales(name string, v ...float32) string {
	b.m.Graph.AddInitializer(floats(name, []int64{int64(len(v))}, v))
	return name
}

func TestRules(t *testing.T) {
	needRuntime(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			b := newBuilder(max(r.opset, 13))
			if r.opset != 0 {
				b = newBuilder(r.opset)
			}
			r.build(b)
			b.shapeOutputs(t)
			if err := onnx.Check(b.m); err != nil {
				t.Fatalf("the test's own graph: %v", err)
			}
			shape := []int64{24}
			for _, d := range b.m.Graph.Inputs()[0].Type.Shape[1:] {
				shape = append(shape, d.Value)
			}
			x := b.noise(1, shape...)
			float := runModel(t, b.m, map[string]tensor.Tensor{"x": x})
			m, facts := static(t, StaticConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86-vnni", PerChannel: true,
				KeepFloat: r.keep, Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": x}))})
			got := counts(engineGraph(t, m), movement...)
			if !maps.Equal(got, r.engine) {
				t.Errorf("the engine runs %s,\n                  want %s", show(got), show(r.engine))
			}
			if !slices.EqualFunc(facts.NodesFloat, r.float, strings.HasPrefix) {
				t.Errorf("left in float: %q, want %q", facts.NodesFloat, r.float)
			}
			if strings.HasPrefix(r.name, "an addition in front") && !slices.Equal(facts.OthersFloat, []string{"1 Exp: onnxruntime-x86-vnni has no 8-bit operator for it"}) {
				t.Errorf("others in float: %q", facts.OthersFloat)
			}
			limit := r.minDB
			if limit == 0 {
				limit = 22
			}
			for name, out := range runModel(t, m, map[string]tensor.Tensor{"x": x}) {
				if db := sqnr(float[name], out); !(db >= limit) {
					t.Errorf("output %q: %.1f dB, want %.0f", name, db, limit)
				}
			}
			structure(t, m)
			if r.check != nil {
				r.check(t, m)
			}
		})
	}
}

// structure checks what holds for every lowered model: the types of weights and biases, and the scale of each bias.
func structure(t *testing.T, m *onnx.Model) {
	t.Helper()
	g := m.Graph
	for n := range g.Nodes() {
		if !n.Is("DequantizeLinear") {
			continue
		}
		q := g.Initializer(n.Input(0))
		if q == nil {
			continue
		}
		scale, err := g.Initializer(n.Input(1)).Float32s()
		if err != nil {
			t.Fatal(err)
		}
		switch q.DataType {
		case onnx.Int8: // R9, R10
			v, err := q.Ints()
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(v, -128) {
				t.Errorf("%s holds -128: the range is not symmetric", q.Name())
			}
			if zp, err := g.Initializer(n.Input(2)).Ints(); err != nil || slices.ContainsFunc(zp, func(z int64) bool { return z != 0 }) {
				t.Errorf("%s has zero points %v (%v)", q.Name(), zp, err)
			}
		case onnx.Int32: // R5: the scale of a bias is that of the product
			c := g.Consumers(n.Output(0))[0]
			sx, err := g.Initializer(g.Producer(c.Input(0)).Input(1)).Float32s()
			if err != nil {
				t.Fatal(err)
			}
			sw, err := g.Initializer(g.Producer(c.Input(1)).Input(1)).Float32s()
			if err != nil {
				t.Fatal(err)
			}
			for i := range scale {
				if scale[i] != sx[0]*sw[i] {
					t.Errorf("bias %s has scale %v at channel %d, want %v*%v", q.Name(), scale[i], i, sx[0], sw[i])
				}
			}
		default:
			t.Errorf("constant %s is dequantized from %s", q.Name(), q.DataType)
		}
	}
}

// quantizer returns the QuantizeLinear whose pair ends in value.
func quantizer(t *testing.T, m *onnx.Model, value string) *onnx.Node {
	t.Helper()
	g := m.Graph
	dq := g.Producer(value)
	if dq == nil || !dq.Is("DequantizeLinear") {
		dq = g.Producer(value + "_dequantized")
	}
	if dq == nil {
		t.Fatalf("%q is not quantized", value)
	}
	return g.Producer(dq.Input(0))
}

func zeroPoint(t *testing.T, m *onnx.Model, value string) int64 {
	t.Helper()
	z, err := m.Graph.Initializer(quantizer(t, m, value).Input(2)).Ints()
	if err != nil {
		t.Fatal(err)
	}
	return z[0]
}

func sameScale(t *testing.T, m *onnx.Model, values ...string) {
	t.Helper()
	first := quantizer(t, m, values[0])
	for _, v := range values[1:] {
		if q := quantizer(t, m, v); q.Input(1) != first.Input(1) || q.Input(2) != first.Input(2) {
			t.Errorf("%q and %q have scales of their own", values[0], v)
		}
	}
}

// sqnr is the signal to quantization noise ratio in decibels.
func sqnr(want, got []float32) float64 {
	var signal, noise float64
	for i, w := range want {
		d := float64(w) - float64(got[i])
		signal += float64(w) * float64(w)
		noise += d * d
	}
	return 10 * math.Log10(signal/noise)
}

// TestPlaceOptions: what the caller of place leaves out stays in float, with the reason, and the rest does not.
func TestPlaceOptions(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 4, 8, 8)
	c := b.relu("r2", b.conv("c2", b.relu("r1", b.conv("c1", x, 4, 4)), 4, 4))
	p := b.node("MaxPool", "p", []string{b.conv("c3", c, 4, 4)}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
	f := b.node("Flatten", "f", []string{b.conv("c4", p, 4, 4)})
	h := b.node("MatMul", "h", []string{f, b.random("h.w", 0.3, 64, 16)})
	b.output(b.node("MatMul", "out", []string{h, b.random("out.w", 0.3, 16, 4)}))
	b.shapeOutputs(t)
	in := map[string]tensor.Tensor{"x": b.noise(1, 8, 4, 8, 8)}
	float := runModel(t, b.m, in)["out"]
	target := row(t, "onnxruntime-x86-vnni")
	for _, c := range []struct {
		name   string
		o      placeOptions
		engine map[string]int
		float  []string
	}{
		{"exclude", placeOptions{Exclude: map[string]string{"c2": "it costs 3 dB"}},
			map[string]int{"Conv": 1, "QLinearConv": 3, "QLinearMatMul": 1, "MatMulIntegerToFloat": 1}, []string{"c2 (Conv): it costs 3 dB"}},
		{"first convolutions", placeOptions{FloatConvs: 2},
			map[string]int{"Conv": 2, "QLinearConv": 2, "QLinearMatMul": 1, "MatMulIntegerToFloat": 1},
			[]string{"c1 (Conv): this layout leaves the first convolutions in float, up to number 2", "c2 (Conv): this layout leaves the first convolutions in float, up to number 2"}},
		{"operators", placeOptions{FloatOps: []string{"MaxPool", "MatMul"}},
			map[string]int{"QLinearConv": 4, "MatMul": 2}, []string{"h (MatMul): MatMul stays", "out (MatMul): MatMul stays"}},
		{"dynamic", placeOptions{Dynamic: map[string]bool{"h": true, "out": true}},
			map[string]int{"QLinearConv": 4, "DynamicQuantizeMatMul": 2}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := onnx.ReadFile(writeModel(t, b.m).Path)
			if err != nil {
				t.Fatal(err)
			}
			shapes, err := prepare(m, target.MinOpset)
			if err != nil {
				t.Fatal(err)
			}
			p := place(m, shapes, target, c.o)
			if _, err := lowerStatic(m, p, target, measured(t, m, p.values, in), true); err != nil {
				t.Fatal(err)
			}
			got := counts(engineGraph(t, m))
			for op, n := range c.engine {
				if got[op] != n && !(op == "Conv" && got["FusedConv"]+got["Conv"] == n) {
					t.Errorf("the engine runs %d %s, want %d: %s", got[op], op, n, show(got))
				}
			}
			if got := describe(p.floats); !slices.EqualFunc(got, c.float, strings.HasPrefix) {
				t.Errorf("left in float: %q", got)
			}
			if db := sqnr(float, runModel(t, m, in)["out"]); !(db >= 25) {
				t.Errorf("%.1f dB", db)
			}
		})
	}
}
