package quantize

import (
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// lookup is a table, a product and whatever else a test adds.
func lookup(rows, columns int64) *builder {
	b := newBuilder(17)
	b.m.Graph.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N"), {Value: 8}}))
	b.node("Gather", "emb", []string{b.random("table", 1, rows, 64), "ids"})
	b.output(b.node("MatMul", "y", []string{"emb", b.random("w", 0.2, 64, columns)}))
	return b
}

func lookupIDs(rows int) tensor.Tensor {
	ids := make([]int64, 16*8)
	for i := range ids {
		ids[i] = int64(i*37) % int64(rows)
	}
	return tensor.Of([]int64{16, 8}, ids)
}

// TestTablesWeigh: tables are stored in 8 bits without being asked where they are much of the model, the engine can look
// integers up, and nothing but look-ups reads them.
func TestTablesWeigh(t *testing.T) {
	for _, c := range []struct {
		name, target  string
		rows, columns int64
		change        func(b *builder)
		keep          []string
		want          bool
	}{
		{name: "most of the model", rows: 1000, columns: 64, want: true},
		{name: "little of it", rows: 256, columns: 6000},
		{name: "small", rows: 255, columns: 64},
		{name: "kept", rows: 1000, columns: 64, keep: []string{"em*"}},
		{name: "another engine", target: "tensorrt", rows: 1000, columns: 64},
		{name: "multiplied with too", rows: 1000, columns: 64, change: func(b *builder) {
			b.output(b.node("Gemm", "tied", []string{"ids2", "table"}, onnx.IntAttr("transB", 1)))
		}},
		{name: "an output", rows: 1000, columns: 64, change: func(b *builder) { b.output("table") }},
	} {
		b := lookup(c.rows, c.columns)
		if c.change != nil {
			c.change(b)
		}
		if c.target == "" {
			c.target = "onnxruntime-arm64"
		}
		if got := tablesWeigh(b.m.Graph, row(t, c.target), placeOptions{Keep: c.keep}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestPlainTables: with plain rules too, at the price of little error; also_quantize gives them blocks.
func TestPlainTables(t *testing.T) {
	needRuntime(t)
	b := lookup(1000, 64)
	in := map[string]tensor.Tensor{"ids": lookupIDs(1000)}
	data := writeDataset(t, in)
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86-vnni", PerChannel: true, Search: "off"}
	m, f := static(t, c)
	if n := counts(m); n["Gather"] != 2 || f.ShareWeightBytes != 1 || m.Size() > b.m.Size()*3/10 {
		t.Errorf("%s, %d bytes of %d, %+v", show(n), m.Size(), b.m.Size(), f)
	}
	with := sqnrOf(t, b.m, m, in)
	c.KeepFloat = []string{"emb"}
	m, f = static(t, c)
	if n := counts(m); n["Gather"] != 1 || f.ShareWeightBytes > 0.1 {
		t.Errorf("%s, %+v", show(n), f)
	}
	if without := sqnrOf(t, b.m, m, in); with < without-3 || with < 35 {
		t.Errorf("%.1f dB, with a float table %.1f", with, without)
	}
	c.KeepFloat, c.Also = nil, []string{alsoEmbeddings}
	if m, _ = static(t, c); counts(m)["GatherBlockQuantized"] != 1 {
		t.Errorf("also_quantize gives %s", show(counts(m)))
	}
}
