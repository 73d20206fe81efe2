package float16

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestWholeSamples: a scalar and a state take a sample as it is, so the model runs sample by sample.
func TestWholeSamples(t *testing.T) {
	needRuntime(t)
	dir := t.TempDir()
	index := tensor.Index{Samples: 3, Shards: []tensor.Shard{{File: "a.safetensors", Samples: 3}}}
	fields := []tensor.Named{
		{Name: "x", Tensor: tensor.Of([]int64{3, 2}, []float32{1, 2, 3, 4, 5, 6})},
		{Name: "k", Tensor: tensor.Of([]int64{3}, []int64{10, 20, 30})},
		{Name: "h", Tensor: tensor.Of([]int64{3, 2, 1, 2}, make([]float32, 12))},
	}
	for _, f := range fields {
		index.Fields = append(index.Fields, tensor.Field{Name: f.Name, DType: f.Tensor.DType, Shape: f.Tensor.Shape[1:]})
	}
	if err := tensor.WriteFile(filepath.Join(dir, "a.safetensors"), fields, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(dir, index); err != nil {
		t.Fatal(err)
	}
	data, err := tensor.OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	model := func(first onnx.Dim) *onnx.Model {
		m := onnx.NewModel("test", 13)
		m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{first, {Value: 2}}))
		m.Graph.AddInput(onnx.NewValueInfo("k", onnx.Int64, []onnx.Dim{}))
		m.Graph.AddInput(onnx.NewValueInfo("h", onnx.Float, []onnx.Dim{{Value: 2}, onnx.ParamDim("N"), {Value: 2}}))
		m.Graph.AppendNode(onnx.NewNode("Cast", "", "cast", []string{"k"}, []string{"k32"}, onnx.IntAttr("to", int64(onnx.Float))))
		m.Graph.AppendNode(onnx.NewNode("Mul", "", "mul", []string{"x", "k32"}, []string{"xk"}))
		m.Graph.AppendNode(onnx.NewNode("Add", "", "add", []string{"xk", "h"}, []string{"y"}))
		m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 2}, onnx.ParamDim("N"), {Value: 2}}))
		return m
	}
	var sums []float32
	err = Data{Shards: data, Threads: 1}.Run(t.Context(), model(onnx.ParamDim("N")), []string{"y"}, func(out map[string]tensor.Tensor) error {
		y, err := tensor.View[float32](out["y"])
		if err == nil {
			sums = append(sums, y[0]+y[1]+y[2]+y[3])
		}
		return err
	})
	if err != nil || len(sums) != 3 || sums[0] != 60 || sums[1] != 280 || sums[2] != 660 {
		t.Fatal(sums, err)
	}
	err = Data{Shards: data, Threads: 1}.Run(t.Context(), model(onnx.Dim{Value: 3}), []string{"y"}, func(map[string]tensor.Tensor) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `3 samples at a time at input "x", and one at input`) {
		t.Fatal(err)
	}
}
