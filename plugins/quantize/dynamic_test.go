package quantize

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// encoder is a transformer layer in small: three products of one activation, attention, a feed-forward part.
func encoder(b *builder) {
	g := b.m.Graph
	g.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N"), {Value: 8}}))
	x := b.node("Gather", "emb", []string{b.random("table", 1, 50, 32), "ids"})
	lin := func(out, in string, k, n int64) string {
		return b.node("Add", out, []string{b.node("MatMul", out+".m", []string{in, b.random(out+".w", 0.3, k, n)}), b.random(out+".b", 0.3, n)})
	}
	q, k, v := lin("q", x, 32, 32), lin("k", x, 32, 32), lin("v", x, 32, 32)
	kt := b.node("Transpose", "kt", []string{k}, onnx.IntsAttr("perm", 0, 2, 1))
	p := b.node("Softmax", "p", []string{b.node("MatMul", "scores", []string{q, kt})}, onnx.IntAttr("axis", -1))
	a := lin("o", b.node("MatMul", "mix", []string{p, v}), 32, 32)
	h := b.node("Add", "res", []string{a, x})
	f := lin("f2", b.relu("act", lin("f1", h, 32, 64)), 64, 32)
	flat := b.node("Flatten", "flat", []string{f})
	b.output(b.node("Gemm", "out", []string{flat, b.random("g.w", 0.1, 6, 256), b.random("g.b", 1, 6)},
		onnx.IntAttr("transB", 1), onnx.FloatAttr("alpha", 0.5), onnx.FloatAttr("beta", 3)))
}

func dynamic(t testing.TB, c DynamicConfig) (*onnx.Model, Facts) {
	t.Helper()
	j, _ := testJob(t)
	r, err := quantizeDynamic(t.Context(), j, c)
	if err != nil {
		t.Fatalf("quantize_dynamic: %v", err)
	}
	m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
	if err != nil {
		t.Fatal(err)
	}
	return m, r.Facts.(Facts)
}

func TestDynamic(t *testing.T) {
	needRuntime(t)
	b := newBuilder(11)
	encoder(b)
	b.shapeOutputs(t)
	ids := make([]int64, 16*8)
	for i := range ids {
		ids[i] = int64(i * 7 % 50)
	}
	in := map[string]tensor.Tensor{"ids": tensor.Of([]int64{16, 8}, ids)}
	float := runModel(t, b.m, in)["out"]
	for _, c := range []struct {
		name   string
		c      DynamicConfig
		minDB  float64
		nodes  int64 // the table among them, where it is taken
		float  []string
		engine map[string]int
	}{
		{
			name: "per channel", c: DynamicConfig{Target: "onnxruntime-x86-vnni", PerChannel: true, Embeddings: true}, minDB: 30, nodes: 8,
			float: []string{"scores (MatMul): its second operand", "mix (MatMul): its second operand"},
			// The three products of one activation share its quantization; the others become one kernel each.
			engine: map[string]int{"Gather": 2, "Mul": 1, "DynamicQuantizeLinear": 1, "MatMulIntegerToFloat": 3, "DynamicQuantizeMatMul": 4, "FusedMatMul": 1, "MatMul": 1, "Softmax": 1, "Relu": 1, "Add": 1},
		},
		{
			name: "per tensor", c: DynamicConfig{Target: "onnxruntime-x86-vnni"}, minDB: 28, nodes: 7,
			float: []string{"emb (Gather)", "scores (MatMul)", "mix (MatMul)"},
		},
		{
			name: "7 bits", c: DynamicConfig{Target: "onnxruntime-x86", PerChannel: true, Embeddings: true}, minDB: 26, nodes: 8,
			float: []string{"scores (MatMul)", "mix (MatMul)"},
		},
		{
			name: "keep_float", c: DynamicConfig{Target: "onnxruntime-x86-vnni", PerChannel: true, KeepFloat: []string{"f?.m", "out"}}, minDB: 30, nodes: 4,
			float: []string{"emb (Gather)", "scores (MatMul)", "mix (MatMul)", `f1.m (MatMul): kept by keep_float "f?.m"`, "f2.m (MatMul): kept", "out (Gemm): kept"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.c.Model = writeModel(t, b.m)
			m, facts := dynamic(t, c.c)
			if db := sqnr(float, runModel(t, m, in)["out"]); !(db >= c.minDB) {
				t.Errorf("%.1f dB, want %.0f", db, c.minDB)
			}
			products := int(c.nodes)
			if c.c.Embeddings {
				products--
			}
			if n := counts(m)["DynamicQuantizeLinear"]; n != products-2 {
				t.Errorf("%d activations are quantized for %d products, three of which read the same one", n, products)
			}
			if facts.NodesQuantized != c.nodes || !slices.EqualFunc(facts.NodesFloat, c.float, strings.HasPrefix) {
				t.Errorf("facts are %+v", facts)
			}
			if facts.ShareMACs <= 0.3 || facts.ShareMACs >= 1 || facts.ShareWeightBytes <= 0.3 || facts.ShareWeightBytes >= 1 {
				t.Errorf("shares are %v of MACs, %v of weight bytes", facts.ShareMACs, facts.ShareWeightBytes)
			}
			if got := counts(engineGraph(t, m), movement...); c.engine != nil && !maps.Equal(got, c.engine) {
				t.Errorf("the engine runs %s,\n                  want %s", show(got), show(c.engine))
			}
		})
	}
}

// TestDynamicDeterministic needs no engine.
func TestDynamicDeterministic(t *testing.T) {
	var first string
	for range 3 {
		b := newBuilder(13)
		encoder(b)
		j, _ := testJob(t)
		if _, err := quantizeDynamic(t.Context(), j, DynamicConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86", PerChannel: true, Embeddings: true}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(j.outDir, outputFile))
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(got)
		}
		if string(got) != first {
			t.Fatal("the same input gave other bytes")
		}
	}
}

func TestDynamicNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(b *builder)
		want  []string
	}{
		{"convolutions only", func(b *builder) { b.output(b.conv("c1", b.input("x", 4, 8, 8), 4, 4)) },
			[]string{"nothing that quantize_dynamic can quantize", "Its 1 convolutions", "use quantize_static", "c1 (Conv): a dynamic convolution"}},
		{"no weights", func(b *builder) { b.output(b.relu("r", b.input("x", 4))) },
			[]string{"nothing that quantize_dynamic can quantize", "no MatMul, Gemm, LSTM or Gather"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(13)
			c.build(b)
			j, _ := testJob(t)
			_, err := quantizeDynamic(t.Context(), j, DynamicConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86", PerChannel: true, Embeddings: true})
			wantError(t, err, "model", c.want...)
			wantEmpty(t, j.outDir)
		})
	}
}

func TestDynamicLeavesConvolutions(t *testing.T) {
	b := newBuilder(13)
	x := b.input("x", 4, 4, 4)
	f := b.node("Flatten", "f", []string{b.conv("c1", x, 4, 4)})
	b.output(b.node("Gemm", "out", []string{f, b.random("w", 0.1, 64, 4)}))
	m, facts := dynamic(t, DynamicConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86", PerChannel: true, Embeddings: true})
	if n := counts(m); n["Conv"] != 1 || n["ConvInteger"] != 0 || n["MatMulInteger"] != 1 {
		t.Errorf("operators are %s", show(n))
	}
	if len(facts.NodesFloat) != 1 || !strings.Contains(facts.NodesFloat[0], "4 to 5 times slower") {
		t.Errorf("left in float: %q", facts.NodesFloat)
	}
}
