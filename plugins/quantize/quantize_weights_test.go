package quantize

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// weightsConfig is a configuration with the defaults of the schema.
func weightsConfig(c WeightsConfig) WeightsConfig {
	if c.BlockSize == 0 {
		c.BlockSize = 32
	}
	if c.Algorithm == "" {
		c.Algorithm = "rtn"
	}
	if c.Damping == 0 {
		c.Damping = 0.01
	}
	c.Embeddings = true
	return c
}

// weights runs quantize_weights.
func weights(t testing.TB, c WeightsConfig) (*onnx.Model, WeightsFacts) {
	t.Helper()
	if ds := c.Validate(t.Context()); len(ds) > 0 {
		t.Fatalf("%+v: %v", c, ds)
	}
	j, _ := testJob(t)
	j.threads = 2
	r, err := quantizeWeights(t.Context(), j, t.TempDir(), c)
	if err != nil {
		t.Fatalf("quantize_weights: %v", err)
	}
	m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
	if err != nil {
		t.Fatal(err)
	}
	return m, r.Facts.(WeightsFacts)
}

// language is a network with each kind of weight: a table, a MatMul, Gemms with the weight either way round and with
// factors, a weight that two nodes share, and one in a Constant node. No size is a multiple of every block.
func language(b *builder, table bool) {
	x := "rows"
	if table {
		b.m.Graph.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N"), {Value: 6}}))
		b.random("table", 1, 50, 48)
		b.node("Gather", x, []string{"table", "ids"}, onnx.IntAttr("axis", 0))
	} else {
		x = b.input("x", 6, 48)
	}
	h := b.node("MatMul", "mm", []string{x, b.random("w1", 0.3, 48, 40)})
	h = b.node("LayerNormalization", "ln", []string{h, b.ones("gamma", 40), b.random("beta", 0.2, 40)}, onnx.IntAttr("axis", -1))
	h = b.node("Reshape", "flat", []string{h, b.ints("to2", -1, 40)})
	h = b.node("Gemm", "gemm", []string{h, b.random("w2", 0.3, 72, 40), b.random("b2", 0.5, 72)},
		onnx.IntAttr("transB", 1), onnx.FloatAttr("alpha", 0.5), onnx.FloatAttr("beta", 2))
	h = b.node("Relu", "relu", []string{h})
	b.random("w3", 0.3, 72, 72)
	h = b.node("MatMul", "share1", []string{h, "w3"})
	h = b.node("Gemm", "share2", []string{h, "w3", b.random("b3", 0.5, 72)})
	v := onnx.NewTensor("", b.noise(0.3, 72, 33))
	b.m.Graph.AppendNode(onnx.NewNode("Constant", "", "k", nil, []string{"w4"}, onnx.TensorAttr("value", v)))
	h = b.node("MatMul", "last", []string{h, "w4"})
	b.output(b.node("Reshape", "y", []string{h, b.ints("to3", -1, 6, 33)}))
}

func (b *builder) ones(name string, n int64) string {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	b.m.Graph.AddInitializer(onnx.NewFloats(name, v, n))
	return name
}

func ids(n int64) tensor.Tensor {
	v := make([]int64, n*6)
	for i := range v {
		v[i] = int64(i*7%50+i/50) % 50
	}
	return tensor.Of([]int64{n, 6}, v)
}

// maxDiff is the largest difference relative to the largest magnitude.
func maxDiff(a, b []float32) float64 {
	var d, m float64
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
		m = max(m, math.Abs(float64(a[i])))
	}
	if len(a) != len(b) || math.IsNaN(d) {
		return math.Inf(1)
	}
	return d / m
}

func TestWeightForms(t *testing.T) {
	needRuntime(t)
	b := newBuilder(17)
	language(b, true)
	model := writeModel(t, b.m)
	in := map[string]tensor.Tensor{"ids": ids(4)}
	want := runModel(t, b.m, in)["y"]
	data := writeDataset(t, map[string]tensor.Tensor{"ids": ids(16)})
	for _, c := range []struct {
		WeightsConfig
		worst float64 // of the outputs, against float
		bits  float64
		ops   map[string]int
	}{
		{WeightsConfig{Format: "int4"}, 0.25, 7, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1, "MatMul": 0, "Gemm": 0}},
		{WeightsConfig{Format: "int4", Symmetric: true, BlockSize: 16}, 0.25, 8, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1}},
		{WeightsConfig{Format: "int8"}, 0.02, 12.5, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1}},
		{WeightsConfig{Format: "int8", Symmetric: true, BlockSize: 128}, 0.02, 30, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1}},
		{WeightsConfig{Format: "int4", Compute: "int8"}, 0.25, 7, map[string]int{"MatMulNBits": 5}},
		{WeightsConfig{Format: "int4", Form: "standard"}, 0.25, 7, map[string]int{"MatMul": 5, "DequantizeLinear": 6, "Gather": 1}},
		{WeightsConfig{Format: "int4", Form: "standard", Symmetric: true, BlockSize: 16}, 0.25, 8, map[string]int{"MatMul": 5, "DequantizeLinear": 6}},
		{WeightsConfig{Format: "int8", Form: "standard"}, 0.02, 12.5, map[string]int{"MatMul": 5, "DequantizeLinear": 6, "Gather": 1}},
		{WeightsConfig{Format: "int8", Form: "standard", Symmetric: true}, 0.02, 10, map[string]int{"MatMul": 5, "DequantizeLinear": 6, "Gather": 1}},
		{WeightsConfig{Format: "nf4", BlockSize: 64}, 0.25, 4.6, map[string]int{"MatMulBnb4": 5, "Gather": 1}},
		{WeightsConfig{Format: "fp4", BlockSize: 64}, 0.5, 4.6, map[string]int{"MatMulBnb4": 5, "Gather": 1}},
		{WeightsConfig{Format: "fp8"}, 0.1, 9, map[string]int{"MatMul": 5, "DequantizeLinear": 6, "Gather": 1}},
		{WeightsConfig{Format: "int4", Algorithm: "hqq"}, 0.25, 8, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1}},
		{WeightsConfig{Format: "int4", Algorithm: "hqq", Form: "standard"}, 0.25, 8, map[string]int{"MatMul": 5}},
		{WeightsConfig{Format: "int8", Algorithm: "hqq"}, 0.02, 14, map[string]int{"MatMulNBits": 5}},
		{WeightsConfig{Format: "int4", Algorithm: "gptq", Calibration: &data}, 0.25, 7, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1}},
		{WeightsConfig{Format: "int4", Algorithm: "gptq", Calibration: &data, ActOrder: true, Symmetric: true, Form: "standard"}, 0.25, 7, map[string]int{"MatMul": 5}},
		{WeightsConfig{Format: "int4", Algorithm: "awq", Calibration: &data}, 0.25, 7, map[string]int{"MatMulNBits": 5, "GatherBlockQuantized": 1}},
	} {
		c.Model = model
		cfg := weightsConfig(c.WeightsConfig)
		t.Run(fmt.Sprintf("%s %s %s %d %v %v %s", cfg.Format, cfg.form(), cfg.Algorithm, cfg.BlockSize, cfg.Symmetric, cfg.ActOrder, cfg.Compute), func(t *testing.T) {
			m, f := weights(t, cfg)
			got := counts(m)
			for op, n := range c.ops {
				if got[op] != n {
					t.Errorf("%d %s, want %d: %v", got[op], op, n, show(got))
				}
			}
			y := runModel(t, m, in)["y"]
			if d := maxDiff(want, y); d > c.worst || d == 0 {
				t.Errorf("outputs differ by %.3f of the largest", d)
			}
			// What the operators compute is what the codes say: the same with float weights.
			tol := 2e-5
			if cfg.Compute == "int8" {
				tol = 0.05
			}
			if d := maxDiff(runModel(t, decoded(t, m), in)["y"], y); d > tol {
				t.Errorf("the engine and the decoded weights differ by %.2g", d)
			}
			if f.BitsPerWeight > c.bits || f.BitsPerWeight < 4 {
				t.Errorf("%.2f bits a weight", f.BitsPerWeight)
			}
			var bytes int64
			for x := range m.Graph.Initializers() {
				bytes += x.Bytes()
			}
			if f.BytesAfter > bytes || f.BytesAfter < bytes-2000 && cfg.Format[0] != 'n' && cfg.Format != "fp4" {
				t.Errorf("%d bytes reported, the model's constants have %d", f.BytesAfter, bytes)
			}
			t.Logf("%.2f bits, SQNR %.1f dB, outputs %.3f, %v", f.BitsPerWeight, f.WeightSQNR, maxDiff(want, y), f.Scaled)
		})
	}
}

// decoded replaces every operator on packed weights by the plain one on float weights, read from the packed bytes by
// the formulas of the operators' documentation.
func decoded(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m, err = onnx.Parse(append([]byte(nil), b...))
	if err != nil {
		t.Fatal(err)
	}
	g := m.Graph
	raw := func(name string) []byte { return g.Initializer(name).Raw }
	f32 := func(name string) []float32 {
		v, err := g.Initializer(name).Float32s()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	at := func(b []byte, i, bits int) float32 {
		if bits == 8 {
			return float32(b[i])
		}
		return float32(b[i/2] >> (i % 2 * 4) & 15)
	}
	for n := range g.Nodes() {
		switch n.OpType {
		case "MatMulNBits", "GatherBlockQuantized":
			bits, size := int(n.IntAttr("bits", 4)), int(n.IntAttr("block_size", 0))
			wi, zi := 1, 3
			var rows, k, stride int
			if n.OpType == "MatMulNBits" {
				rows, k = int(n.IntAttr("N", 0)), int(n.IntAttr("K", 0))
				stride = (k + size - 1) / size * size
			} else {
				wi = 0
				d := g.Initializer(n.Input(0)).Dims
				rows, k = int(d[0]), int(d[1])*8/bits
				stride = k
			}
			per := (k + size - 1) / size
			w, q, s := make([]float32, rows*k), raw(n.Input(wi)), f32(n.Input(2))
			zero := func(r, i int) float32 { return float32(int(1) << (bits - 1)) }
			if n.Input(zi) != "" {
				if z := g.Initializer(n.Input(zi)); z.DataType == onnx.Float {
					v := f32(n.Input(zi))
					zero = func(r, i int) float32 { return v[r*per+i] }
				} else {
					width := (per*bits + 7) / 8 * 8 / bits
					zero = func(r, i int) float32 { return at(z.Raw, r*width+i, bits) }
				}
			}
			for r := range rows {
				for i := range k {
					w[r*k+i] = (at(q, r*stride+i, bits) - zero(r, i/size)) * s[r*per+i/size]
				}
			}
			if n.OpType == "MatMulNBits" {
				plain(g, n, "MatMul", []string{n.Input(0), matrix(g, w, rows, k)})
			} else {
				name := g.UniqueName("decoded")
				g.AddInitializer(onnx.NewFloats(name, w, int64(rows), int64(k)))
				plain(g, n, "Gather", []string{name, n.Input(1)})
			}
		case "MatMulBnb4":
			rows, k, size := int(n.IntAttr("N", 0)), int(n.IntAttr("K", 0)), int(n.IntAttr("block_size", 0))
			values := []float32{-1, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0,
				0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1}
			if n.IntAttr("quant_type", -1) == 0 {
				values = []float32{0, 0.0625 / 12, 8. / 12, 1, 4. / 12, 6. / 12, 2. / 12, 3. / 12, 0, -0.0625 / 12, -8. / 12, -1, -4. / 12, -6. / 12, -2. / 12, -3. / 12}
			}
			w, q, s := make([]float32, rows*k), raw(n.Input(1)), f32(n.Input(2))
			for i := range w {
				w[i] = values[q[i/2]>>(4-i%2*4)&15] * s[i/size]
			}
			plain(g, n, "MatMul", []string{n.Input(0), matrix(g, w, rows, k)})
		case "DequantizeLinear":
			decodeDQ(t, g, n)
		}
	}
	g.Prune()
	return m
}

// decodeDQ makes a constant of a DequantizeLinear of a constant; one behind lookups stays as it is.
func decodeDQ(t *testing.T, g *onnx.Graph, n *onnx.Node) {
	q := g.Initializer(n.Input(0))
	if q == nil {
		return
	}
	scale, err := g.Initializer(n.Input(1)).Float32s()
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := int(q.Dims[0]), int(q.Dims[1])
	code := func(q *onnx.Tensor, i int) float32 {
		switch q.DataType {
		case onnx.Uint8:
			return float32(q.Raw[i])
		case onnx.Int8:
			return float32(int8(q.Raw[i]))
		case onnx.Uint4:
			return float32(q.Raw[i/2] >> (i % 2 * 4) & 15)
		case onnx.Int4:
			return float32(int8(q.Raw[i/2]>>(i%2*4)<<4) >> 4)
		}
		c := q.Raw[i] // E4M3
		e, f := int(c>>3&15), float64(c&7)
		v := math.Ldexp(1+f/8, e-7)
		if e == 0 {
			v = math.Ldexp(f/8, -6)
		}
		if c&0x80 != 0 {
			v = -v
		}
		return float32(v)
	}
	axis, size := int(n.IntAttr("axis", 1)), int(n.IntAttr("block_size", 0))
	w := make([]float32, rows*cols)
	for r := range rows {
		for c := range cols {
			var s int
			switch {
			case size == 0 && axis == 0:
				s = r
			case size == 0:
				s = c
			case axis == 0:
				s = r/size*cols + c
			default:
				s = r*((cols+size-1)/size) + c/size
			}
			v := code(q, r*cols+c)
			if n.Input(2) != "" {
				v -= code(g.Initializer(n.Input(2)), s)
			}
			w[r*cols+c] = v * scale[s]
		}
	}
	name := g.UniqueName("decoded")
	g.AddInitializer(onnx.NewFloats(name, w, int64(rows), int64(cols)))
	g.ReplaceAllUses(n.Output(0), name)
}

// matrix adds [n, k] as [k, n].
func matrix(g *onnx.Graph, w []float32, n, k int) string {
	out := make([]float32, len(w))
	for r := range n {
		for c := range k {
			out[c*n+r] = w[r*k+c]
		}
	}
	name := g.UniqueName("decoded")
	g.AddInitializer(onnx.NewFloats(name, out, int64(k), int64(n)))
	return name
}

func plain(g *onnx.Graph, n *onnx.Node, op string, inputs []string) {
	out, next := n.Output(0), n.Next()
	g.RemoveNode(n)
	p := onnx.NewNode(op, "", g.UniqueName("decoded"), inputs, []string{out})
	if next == nil {
		g.AppendNode(p)
	} else {
		g.InsertBefore(next, p)
	}
}

func TestWeightsStepErrors(t *testing.T) {
	b := newBuilder(17)
	language(b, false)
	model := writeModel(t, b.m)
	data := sdk.Dataset{}
	for _, c := range []struct {
		cfg  WeightsConfig
		attr string
	}{
		{WeightsConfig{Format: "int4", BlockSize: 48}, "block_size"},
		{WeightsConfig{Format: "int4", BlockSize: 8}, "block_size"},
		{WeightsConfig{Format: "nf4", Algorithm: "hqq"}, "algorithm"},
		{WeightsConfig{Format: "fp8", Form: "onnxruntime"}, "form"},
		{WeightsConfig{Format: "nf4", Form: "standard"}, "form"},
		{WeightsConfig{Format: "int4", Form: "standard", Compute: "int8"}, "compute"},
		{WeightsConfig{Format: "fp8", Symmetric: true}, "symmetric"},
		{WeightsConfig{Format: "int4", Damping: -1}, "damping"},
	} {
		ds := weightsConfig(c.cfg).Validate(t.Context())
		if len(ds) != 1 || ds[0].Path[0] != c.attr || ds[0].Detail == "" {
			t.Errorf("%+v: %v, want one about %s", c.cfg, ds, c.attr)
		}
	}
	// Validate does not see artifacts: whether data are given is for Plan to tell.
	for _, c := range []WeightsConfig{{Format: "int4", Algorithm: "gptq"}, {Format: "int4", Calibration: &data}} {
		if ds := weightsConfig(c).Validate(t.Context()); len(ds) > 0 {
			t.Errorf("%+v: Validate says %v", c, ds)
		}
		r, err := weightsConfig(c).Plan(t.Context(), &sdk.PlanRun{Threads: 1})
		if err != nil || len(r.Diagnostics) != 1 || r.Diagnostics[0].Path[0] != "calibration" {
			t.Errorf("%+v: Plan says %+v, %v", c, r, err)
		}
	}
	j, _ := testJob(t)
	_, err := quantizeWeights(t.Context(), j, t.TempDir(), weightsConfig(WeightsConfig{Model: model, Format: "int4", KeepFloat: []string{"*"}}))
	wantError(t, err, "model", "nothing that quantize_weights", `kept by keep_float "*"`)
	v, _ := b.m.Graph.Initializer("w1").Float32s()
	v[5] = float32(math.NaN())
	_, err = quantizeWeights(t.Context(), j, t.TempDir(), weightsConfig(WeightsConfig{Model: writeModel(t, b.m), Format: "int4"}))
	wantError(t, err, "model", `"w1"`, `"mm"`, "element 5 is NaN")
	if e, _ := os.ReadDir(j.outDir); len(e) > 0 {
		t.Errorf("left behind: %v", e)
	}
}
