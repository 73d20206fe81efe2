package prune

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// residual is a chain of blocks x + relu(x*w)*v, the i-th of the given size.
func residual(t testing.TB, sizes ...float32) sdk.Model {
	t.Helper()
	m := onnx.NewModel("residual", 13)
	g := m.Graph
	dims := []onnx.Dim{onnx.ParamDim("N"), {Value: 8}}
	g.AddInput(onnx.NewValueInfo("x", onnx.Float, dims))
	seed := uint32(7)
	weight := func(name string, scale float32, dims ...int64) {
		v := make([]float32, dims[0]*dims[1])
		for i := range v {
			seed = seed*1664525 + 1013904223
			v[i] = scale * (float32(seed>>8)/(1<<23) - 1)
		}
		g.AddInitializer(onnx.NewFloats(name, v, dims...))
	}
	add := func(op, name string, in ...string) string {
		g.AppendNode(onnx.NewNode(op, "", name, in, []string{name}))
		return name
	}
	x := "x"
	for i, size := range sizes {
		w, v := fmt.Sprintf("w%d", i), fmt.Sprintf("v%d", i)
		weight(w, 1, 8, 16)
		weight(v, size, 16, 8)
		h := add("Relu", fmt.Sprintf("relu%d", i), add("MatMul", fmt.Sprintf("up%d", i), x, w))
		x = add("Add", fmt.Sprintf("block%d", i), x, add("MatMul", fmt.Sprintf("down%d", i), h, v))
	}
	weight("head", 1, 8, 3)
	g.AddOutput(onnx.NewValueInfo(add("MatMul", "y", x, "head"), onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 3}}))
	path := filepath.Join(t.TempDir(), "residual.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}
}

func depthData(t testing.TB, n int64) *sdk.Dataset {
	t.Helper()
	dir := t.TempDir()
	v := make([]float32, 8*n)
	seed := uint32(3)
	for i := range v {
		seed = seed*1664525 + 1013904223
		v[i] = float32(seed>>8)/(1<<23) - 1
	}
	i := tensor.Index{Samples: n, Fields: []tensor.Field{{Name: "x", DType: tensor.F32, Shape: []int64{8}}},
		Shards: []tensor.Shard{{File: "shard-00000.safetensors", Samples: n}}}
	if err := tensor.WriteFile(filepath.Join(dir, i.Shards[0].File), []tensor.Named{{Name: "x", Tensor: tensor.Of([]int64{n, 8}, v)}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(dir, i); err != nil {
		t.Fatal(err)
	}
	return &sdk.Dataset{Artifact: sdk.Artifact{Kind: "dataset", Path: dir}}
}

// TestDepth drops the blocks that do least, first the smallest, and repairs the rest.
func TestDepth(t *testing.T) {
	loadRuntime(t)
	model, data := residual(t, 0.5, 0.02, 0.4, 0.05), depthData(t, 128)
	for _, c := range []struct {
		config DepthConfig
		want   []string
	}{
		{DepthConfig{Blocks: num(int64(2))}, []string{"block1", "block3"}},
		{DepthConfig{Blocks: num(int64(1)), Keep: []string{"block1"}}, []string{"block3"}},
		{DepthConfig{MACs: num(0.8)}, []string{"block1"}},
		{DepthConfig{MinSQNR: num(8.0)}, []string{"block1", "block3"}},
		{DepthConfig{Blocks: num(int64(2)), Repair: repairWeights}, []string{"block1", "block3"}},
		{DepthConfig{Blocks: num(int64(0))}, nil},
		{DepthConfig{MinSQNR: num(150.0)}, nil},
	} {
		j, said := channelsJob(t)
		c.config.Model, c.config.Calibration = model, data
		if c.config.Repair == "" {
			c.config.Repair = repairOff
		}
		if ds := c.config.Validate(context.Background()); len(ds) > 0 {
			t.Fatal(ds)
		}
		r, err := pruneDepth(context.Background(), j, c.config)
		if err != nil {
			t.Fatal(err)
		}
		f := r.Facts.(DepthFacts)
		var got []string
		for _, d := range f.Dropped {
			name, _, _ := strings.Cut(d, ":")
			got = append(got, name)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%+v: dropped %v, want %v", c.config, f.Dropped, c.want)
		}
		path := filepath.Join(j.outDir, r.Outputs["model"].Path)
		if len(c.want) == 0 {
			a, _ := os.ReadFile(path)
			b, _ := os.ReadFile(model.Path)
			if !bytes.Equal(a, b) || len(*said) != 1 {
				t.Error("the model changed, or nobody said that it did not")
			}
			continue
		}
		m, err := onnx.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := m.Graph.NumNodes(); n != 17-4*len(c.want) || f.MACsAfter >= f.MACsBefore {
			t.Errorf("%+v: %d nodes, %+v", c.config, n, f)
		}
		if c.config.Repair == repairWeights && (!f.Repair.Used || f.Repair.After < f.Repair.Before+3) {
			t.Errorf("repair: %+v", f.Repair)
		}
	}
}

// TestDepthMessages names what is wrong and the way round.
func TestDepthMessages(t *testing.T) {
	ctx := context.Background()
	for want, c := range map[string]DepthConfig{
		"nothing says how much": {}, "blocks and macs say": {Blocks: num(int64(1)), MACs: num(0.5)}, "blocks is -1": {Blocks: num(int64(-1))}, "macs is 0": {MACs: num(0.0)},
	} {
		if ds := c.Validate(ctx); !strings.Contains(fmt.Sprint(ds), want) {
			t.Errorf("%s: %v", want, ds)
		}
	}
	loadRuntime(t)
	model, data := residual(t, 0.5, 0.1), depthData(t, 8)
	j, _ := channelsJob(t)
	for want, c := range map[string]DepthConfig{
		"no data to try blocks on":               {Blocks: num(int64(1)), Model: model},
		"only 2 that could be dropped":           {Blocks: num(int64(3)), Model: model, Calibration: data},
		"no residual blocks":                     {Blocks: num(int64(1)), Model: plainModel(t), Calibration: data},
		"cannot be reached by dropping":          {MACs: num(0.01), Model: model, Calibration: data},
		"the dataset does not fit":               {Blocks: num(int64(1)), Model: model, Calibration: digitData(t, 2)},
		"no residual blocks that could be dropp": {Blocks: num(int64(1)), Model: model, Calibration: data, Keep: []string{"*"}},
	} {
		c.Repair = repairOff
		_, err := pruneDepth(ctx, j, c)
		var d sdk.Diagnostic
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &d) {
			t.Errorf("%s: %v", want, err)
		}
	}
	r, err := (DepthConfig{Blocks: num(int64(3)), Model: model}).Plan(ctx, &sdk.PlanRun{Threads: 1})
	if err != nil || !strings.Contains(fmt.Sprint(r.Diagnostics), "only 2 that could be dropped") || !strings.Contains(fmt.Sprint(r.Diagnostics), "no data") {
		t.Error(r.Diagnostics, err)
	}
}
