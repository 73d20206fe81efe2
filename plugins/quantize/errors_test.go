package quantize

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// wantError checks that an error points at an argument and says certain things.
func wantError(t *testing.T, err error, attr string, words ...string) {
	t.Helper()
	var d sdk.Diagnostic
	if !errors.As(err, &d) {
		t.Fatalf("error %v is no diagnostic", err)
	}
	if len(d.Path) == 0 || d.Path[0] != attr {
		t.Errorf("%v points at %v, want %s", err, d.Path, attr)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// wantEmpty checks that a failed step leaves nothing behind.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	e, err := os.ReadDir(dir)
	if err != nil || len(e) > 0 {
		t.Errorf("the output folder holds %v (%v)", e, err)
	}
}

// small is a network that quantizes, and data for it.
func small() (*builder, map[string]tensor.Tensor) {
	b := newBuilder(13)
	x := b.input("x", 2, 4, 4)
	b.output(b.conv("c2", b.relu("r", b.conv("c1", x, 2, 2)), 2, 2))
	return b, map[string]tensor.Tensor{"x": b.noise(1, 10, 2, 4, 4)}
}

func TestStaticErrors(t *testing.T) {
	needRuntime(t)
	nan := float32(math.NaN())
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, b *builder, data map[string]tensor.Tensor, c *StaticConfig)
		attr   string
		words  []string
	}{
		{"missing model", func(t *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			c.Model.Path = filepath.Join(t.TempDir(), "none.onnx")
		}, "model", []string{"cannot be read", "none.onnx"}},
		{"empty model", func(t *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) { c.Model = fileOf(t, nil) }, "model", nil},
		{"random bytes", func(t *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			c.Model = fileOf(t, []byte("this is no protobuf at all, whoever reads it"))
		}, "model", nil},
		{"truncated model", func(t *testing.T, b *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			m, err := b.m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			c.Model = fileOf(t, m[:len(m)/2])
		}, "model", nil},
		{"already quantized", func(t *testing.T, b *builder, data map[string]tensor.Tensor, c *StaticConfig) {
			m, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Calibration: ptr(writeDataset(t, data)), Target: "onnxruntime-x86", PerChannel: true})
			c.Model = writeModel(t, m)
		}, "model", []string{"quantized already", `"x_QuantizeLinear"`, "QuantizeLinear"}},
		{"nothing to quantize", func(t *testing.T, _ *builder, data map[string]tensor.Tensor, c *StaticConfig) {
			b := newBuilder(13)
			b.output(b.relu("r", b.input("x", 2, 4, 4)))
			c.Model = writeModel(t, b.m)
		}, "model", []string{"nothing that quantize_static can quantize"}},
		{"everything kept in float", func(_ *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			c.KeepFloat = []string{"*"}
		},
			"model", []string{"nothing that quantize_static can quantize", `kept by keep_float "*"`}},
		{"field of another name", func(_ *testing.T, _ *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			data["image"] = data["x"]
			delete(data, "x")
		}, "calibration", []string{`No field goes to input "x"`, `The model takes "x" F32 [N, 2, 4, 4]`, `the dataset has "image" F32 [N, 2, 4, 4]`}},
		{"surplus field", func(_ *testing.T, b *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			data["more"] = data["x"]
		},
			"calibration", []string{`no input for field "more"`}},
		{"field of another shape", func(_ *testing.T, b *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			data["x"] = b.noise(1, 10, 2, 5, 4)
		}, "calibration", []string{"shapes", "[N, 2, 4, 4]", "[N, 2, 5, 4]"}},
		{"field of another rank", func(_ *testing.T, b *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			data["x"] = b.noise(1, 10, 32)
		}, "calibration", []string{"[N, 2, 4, 4]", "[N, 32]"}},
		{"field of another type", func(_ *testing.T, _ *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			data["x"] = tensor.Of([]int64{10, 2, 4, 4}, make([]uint8, 320))
		}, "calibration", []string{`Input "x" takes F32 and its field holds U8`}},
		{"no samples", func(_ *testing.T, _ *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			data["x"] = tensor.Of([]int64{0, 2, 4, 4}, []float32{})
		}, "calibration", []string{"no samples"}},
		{"no dataset", func(_ *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			c.Calibration.Path = "/none"
		},
			"calibration", []string{"cannot be read"}},
		{"NaN in the data", func(_ *testing.T, _ *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			v, _ := tensor.View[float32](data["x"])
			v[5*32+3] = nan
		}, "calibration", []string{`Model input "x" holds NaN`, "sample 5"}},
		{"infinity in the data", func(_ *testing.T, _ *builder, data map[string]tensor.Tensor, _ *StaticConfig) {
			v, _ := tensor.View[float32](data["x"])
			v[7] = float32(math.Inf(-1))
		}, "calibration", []string{`Model input "x" holds an infinity`}},
		{"NaN made inside", func(t *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			b := newBuilder(13)
			x := b.input("x", 2, 4, 4)
			b.output(b.conv("c2", b.node("Sqrt", "root", []string{b.conv("c1", x, 2, 2)}), 2, 2))
			c.Model = writeModel(t, b.m)
		}, "calibration", []string{`Tensor "root", made by node "root" (Sqrt), holds NaN`, "keep_float"}},
		{"NaN in a weight", func(t *testing.T, b *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			w := b.noise(1, 2, 2, 3, 3)
			v, _ := tensor.View[float32](w)
			v[4] = nan
			b.m.Graph.AddInitializer(onnx.NewTensor("c2.w", w))
			c.Model = writeModel(t, b.m)
		}, "model", []string{`Element 4 of "c2.w", which node "c2" (Conv) reads, is NaN`}},
		{"more samples at a time than there are", func(t *testing.T, b *builder, _ map[string]tensor.Tensor, c *StaticConfig) {
			b.m.Graph.Inputs()[0].Type.Shape[0] = onnx.Dim{Value: 16}
			c.Model = writeModel(t, b.m)
		}, "calibration", []string{"16 samples at a time and there are 10"}},
		{"unknown target", func(_ *testing.T, _ *builder, _ map[string]tensor.Tensor, c *StaticConfig) { c.Target = "abacus" },
			"target", []string{`no target "abacus"`, "onnxruntime-x86-vnni"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, data := small()
			cfg := StaticConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86-vnni", PerChannel: true}
			unset := sdk.Dataset{Artifact: sdk.Artifact{Path: "unset"}}
			cfg.Calibration = &unset
			c.damage(t, b, data, &cfg)
			if cfg.Calibration.Path == "unset" {
				cfg.Calibration = ptr(writeDataset(t, data))
			}
			j, _ := testJob(t)
			_, err := quantizeStatic(t.Context(), j, cfg)
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			wantError(t, err, c.attr, c.words...)
			if strings.Contains(err.Error(), "goroutine") {
				t.Errorf("a stack trace: %v", err)
			}
			wantEmpty(t, j.outDir)
		})
	}
}

func fileOf(t *testing.T, b []byte) sdk.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.onnx")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return sdk.Model{Artifact: sdk.Artifact{Path: path}}
}

func TestWeightErrors(t *testing.T) {
	b, _ := small()
	w := b.noise(1, 2, 2, 3, 3)
	v, _ := tensor.View[float32](w)
	v[4] = float32(math.Inf(1))
	b.m.Graph.AddInitializer(onnx.NewTensor("c2.w", w))
	target := row(t, "onnxruntime-x86")
	shapes, err := prepare(b.m, target.MinOpset)
	if err != nil {
		t.Fatal(err)
	}
	p := place(b.m, shapes, target, placeOptions{})
	r := ranges{}
	for _, v := range p.values {
		r[v] = Range{-1, 1}
	}
	_, err = lowerStatic(b.m, p, target, r, true)
	wantError(t, err, "model", `weight "c2.w" of node "c2"`, "element 4 is +Inf")
}

func TestStop(t *testing.T) {
	needRuntime(t)
	b, data := small()
	ctx, cancel := context.WithCancel(t.Context())
	j, _ := testJob(t)
	batch := int64(1)
	j.progress = func(_ string, done, _ int64, _ string) {
		if done == 2 {
			cancel()
		}
		if done > 2 {
			t.Errorf("sample %d was run after the stop", done)
		}
	}
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: ptr(writeDataset(t, data)), Target: "onnxruntime-x86", PerChannel: true, Batch: &batch}
	if _, err := quantizeStatic(ctx, j, c); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	wantEmpty(t, j.outDir)
}

func TestUnwritableOutput(t *testing.T) {
	needRuntime(t)
	b, data := small()
	j, _ := testJob(t)
	j.outDir = filepath.Join(j.outDir, "not", "there")
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: ptr(writeDataset(t, data)), Target: "onnxruntime-x86", PerChannel: true}
	if _, err := quantizeStatic(t.Context(), j, c); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("error is %v", err)
	}
}

func TestUnusedPatternWarns(t *testing.T) {
	needRuntime(t)
	b, data := small()
	j, warned := testJob(t)
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: ptr(writeDataset(t, data)), Target: "onnxruntime-x86", PerChannel: true, KeepFloat: []string{"c1", "stem*"}}
	if _, err := quantizeStatic(t.Context(), j, c); err != nil {
		t.Fatal(err)
	}
	if w := *warned; len(w) != 1 || w[0].Severity != sdk.SeverityWarning || !strings.Contains(w[0].Summary, `"stem*"`) {
		t.Errorf("warnings are %v", w)
	}
}

// TestAlsoWarns: what also_quantize names and the model lacks is told, and what it has is not.
func TestAlsoWarns(t *testing.T) {
	conv, _ := small()
	net := newBuilder(11)
	encoder(net)
	for _, c := range []struct {
		b    *builder
		want string
	}{
		{conv, "attention elementwise embeddings output_projection"},
		{net, ""},
	} {
		shapes, err := onnx.InferShapes(c.b.m)
		if err != nil {
			t.Fatal(err)
		}
		j, warned := testJob(t)
		(StaticConfig{Also: []string{alsoAttention, alsoElementals, alsoEmbeddings, alsoOutput}}).warnAlso(j, c.b.m, shapes)
		var got []string
		for _, w := range *warned {
			got = append(got, strings.Trim(strings.Fields(w.Summary)[1], `"`))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("warned of %v, want %s", got, c.want)
		}
	}
}

// TestFixedBatch: a model that takes just four samples sees all ten, and learns the same ranges.
func TestFixedBatch(t *testing.T) {
	needRuntime(t)
	measure := func(fix int64, batch int64) ranges {
		b, data := small()
		if fix > 0 {
			b.m.Graph.Inputs()[0].Type.Shape[0] = onnx.Dim{Value: fix}
		}
		target := row(t, "onnxruntime-x86")
		shapes, err := prepare(b.m, target.MinOpset)
		if err != nil {
			t.Fatal(err)
		}
		before, err := b.m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		shards, err := writeDataset(t, data).Open()
		if err != nil {
			t.Fatal(err)
		}
		defer shards.Close()
		var steps []int64
		got, err := calibrate.Collect(t.Context(), calibrate.Job{Model: b.m, Tensors: place(b.m, shapes, target, placeOptions{}).values, Data: shards, Batch: batch, Threads: 1,
			Progress: func(done, _ int64) { steps = append(steps, done) }})
		if err != nil {
			t.Fatal(err)
		}
		if steps[len(steps)-1] != 10 {
			t.Errorf("batch %d of %d: progress %v", batch, fix, steps)
		}
		after, err := b.m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Error("calibration changed the model")
		}
		return rangesOf(got)
	}
	want := measure(0, 10)
	if len(want) != 3 {
		t.Fatalf("ranges are %v", want)
	}
	for _, c := range [][2]int64{{0, 0}, {0, 3}, {0, 1}, {0, 100}, {4, 0}, {1, 0}} {
		got := measure(c[0], c[1])
		for v, w := range want {
			g := got[v]
			if math.Abs(float64(g.Min-w.Min)) > 1e-5 || math.Abs(float64(g.Max-w.Max)) > 1e-5 {
				t.Errorf("fixed %d batch %d: %q ranges over %v, want %v", c[0], c[1], v, g, w)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	r, err := StaticConfig{Target: "auto"}.Plan(t.Context(), &sdk.PlanRun{Threads: 3})
	if _, fits := resolveTarget("auto", ThisCPU()); fits != nil {
		wantError(t, err, "target", "onnxruntime-x86-vnni or onnxruntime-x86")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Fingerprint; f["target"] == "auto" || f["target"] == "" || f["threads"] != "3" || f["cpu"] == "" {
		t.Errorf("fingerprint is %v", f)
	}
	_, err = ort.Find()
	var missing *ort.NotFoundError
	if errors.As(err, &missing) {
		if len(r.Missing) != 1 || r.Missing[0].Command != "optimize init" {
			t.Errorf("missing is %v", r.Missing)
		}
	} else if r.Fingerprint["onnxruntime_digest"] == "" || len(r.Missing) != 0 {
		t.Errorf("plan is %+v", r)
	}
	d, err := DynamicConfig{Target: "onnxruntime-x86"}.Plan(t.Context(), &sdk.PlanRun{Threads: 3})
	if err != nil || len(d.Fingerprint) != 1 || d.Fingerprint["target"] != "onnxruntime-x86" || len(d.Missing) != 0 {
		t.Errorf("plan is %+v (%v)", d, err)
	}
}

func TestPlanTarget(t *testing.T) {
	_, err := planTarget("auto", CPU{Arch: "riscv64"})
	wantError(t, err, "target", "riscv64", "onnxruntime-x86-vnni or onnxruntime-x86")
	r, err := planTarget("onnxruntime-x86-vnni", CPU{Arch: "amd64", Features: []string{"AVX2"}})
	if err != nil || len(r.Diagnostics) != 1 || r.Diagnostics.HasErrors() {
		t.Errorf("plan for a target that this machine is not: %+v, %v", r, err)
	}
	r, err = planTarget("auto", CPU{Arch: "amd64", Features: []string{"AVX2"}})
	if err != nil || len(r.Diagnostics) != 0 || r.Fingerprint["target"] != "onnxruntime-x86" {
		t.Errorf("plan: %+v, %v", r, err)
	}
}

func TestValidate(t *testing.T) {
	zero := int64(0)
	ds := StaticConfig{Calibration: &sdk.Dataset{}, KeepFloat: []string{"a", ""}, Batch: &zero}.Validate(t.Context())
	if len(ds) != 2 || ds[0].Path[0] != "keep_float" || ds[1].Path[0] != "batch" {
		t.Errorf("diagnostics are %v", ds)
	}
	if ds := (DynamicConfig{KeepFloat: []string{"a*"}}).Validate(t.Context()); len(ds) != 0 {
		t.Errorf("diagnostics are %v", ds)
	}
}

func TestPlugin(t *testing.T) {
	p := Plugin("0.1.0")
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if p.Name != "quantize" || p.Version != "0.1.0" || len(p.Steps) == 0 {
		t.Errorf("plugin is %+v", p)
	}
}
