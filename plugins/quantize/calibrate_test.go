package quantize

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// calibrated runs quantize_calibrate and returns the file's bytes, the artifact and what was warned.
func calibrated(t *testing.T, c CalibrateConfig, threads int) ([]byte, *sdk.Artifact, []sdk.Diagnostic) {
	t.Helper()
	j, warned := testJob(t)
	j.threads, j.seed = threads, 7
	r, err := calibrateModel(t.Context(), j, c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(j.outDir, r.Outputs["ranges"].Path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, &sdk.Artifact{Kind: "ranges", Format: calibrate.Format, Path: path}, *warned
}

// TestCalibrateOrder: samples in another order and more threads give the same bytes, and several passes the same ranges.
func TestCalibrateOrder(t *testing.T) {
	needRuntime(t)
	x := digitImages(t, "mnist-train.npz", 12)
	v, err := tensor.View[float32](x)
	if err != nil {
		t.Fatal(err)
	}
	back := make([]float32, 0, len(v))
	size := len(v) / 12
	for i := 11; i >= 0; i-- {
		back = append(back, v[i*size:][:size]...)
	}
	data := writeDataset(t, map[string]tensor.Tensor{"input": x})
	reversed := writeDataset(t, map[string]tensor.Tensor{"input": tensor.Of(x.Shape, back)})
	for i, method := range calibrate.Methods {
		c := CalibrateConfig{Model: digitsModel(), Calibration: &data, Method: ptr(string(method)), Histograms: ptr(true), PerChannel: i < 2, Tensors: "all"}
		want, one, _ := calibrated(t, c, 1)
		c.Calibration = &reversed
		got, _, _ := calibrated(t, c, 3)
		if string(got) != string(want) {
			t.Errorf("%s: the order or the threads changed the bytes", method)
		}
		if i > 0 {
			continue
		}
		// Several passes run other graphs, which the engine fuses in other ways: the last digits may differ.
		c.MemoryMB = ptr(int64(1))
		_, several, _ := calibrated(t, c, 2)
		x, err := calibrate.Read(one.Path)
		if err != nil {
			t.Fatal(err)
		}
		y, err := calibrate.Read(several.Path)
		if err != nil {
			t.Fatal(err)
		}
		for name, a := range x.Tensors {
			b := y.Tensors[name]
			if b == nil || a.Elements != b.Elements || math.Abs(float64(a.Seen.Max-b.Seen.Max)) > 1e-4 || len(a.Channels) != len(b.Channels) {
				t.Errorf("%q: %+v in one pass, %+v in several", name, a, b)
			}
		}
	}
}

// TestRangesTwoWays: quantize_static gives the same bytes from ranges as from the data, and chooses anew from histograms.
func TestRangesTwoWays(t *testing.T) {
	needRuntime(t)
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 16)})
	_, ranges, _ := calibrated(t, CalibrateConfig{Model: digitsModel(), Calibration: &data, Histograms: ptr(true)}, 2)
	for _, method := range []*string{nil, ptr("percentile"), ptr("entropy"), ptr("mse"), ptr("moving_average")} {
		base := StaticConfig{Model: digitsModel(), Target: "onnxruntime-x86-vnni", PerChannel: true, Method: method}
		byData, byRanges := base, base
		byData.Calibration, byRanges.Ranges = &data, ranges
		a, _ := static(t, byData)
		b, facts := static(t, byRanges)
		x, err := a.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if string(x) != string(y) {
			t.Errorf("method %v: other bytes from ranges", facts.Method)
		}
		if facts.Samples != 16 || facts.RandomCalibration {
			t.Errorf("facts are %+v", facts)
		}
	}
}

func TestRangesErrors(t *testing.T) {
	needRuntime(t)
	b, data := small()
	d := writeDataset(t, data)
	_, ranges, _ := calibrated(t, CalibrateConfig{Model: writeModel(t, b.m), Calibration: &d}, 1)
	garbage := sdk.Artifact{Path: fileOf(t, []byte("no ranges at all")).Path}
	for _, c := range []struct {
		name  string
		c     StaticConfig
		attr  string
		words []string
	}{
		{"another model", StaticConfig{Model: digitsModel(), Ranges: ranges}, "ranges", []string{"not those of this model", `no tensor "`}},
		{"no histograms", StaticConfig{Model: writeModel(t, b.m), Ranges: ranges, Method: ptr("entropy")}, "method", []string{"histograms = true"}},
		{"both", StaticConfig{Model: writeModel(t, b.m), Ranges: ranges, Calibration: &d}, "ranges", []string{"calibration and ranges are given"}},
		{"none", StaticConfig{Model: writeModel(t, b.m)}, "calibration", []string{"nothing to learn ranges from"}},
		{"garbage", StaticConfig{Model: writeModel(t, b.m), Ranges: &garbage}, "ranges", []string{"cannot be read"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.c.Target, c.c.PerChannel = "onnxruntime-x86", true
			j, _ := testJob(t)
			_, err := quantizeStatic(t.Context(), j, c.c)
			if err == nil {
				t.Fatal("no error")
			}
			wantError(t, err, c.attr, c.words...)
			wantEmpty(t, j.outDir)
		})
	}
	for _, c := range []struct {
		c    CalibrateConfig
		path string
	}{
		{CalibrateConfig{Random: ptr(int64(0))}, "calibration_random"},
		{CalibrateConfig{Batch: ptr(int64(0))}, "batch"},
		{CalibrateConfig{MemoryMB: ptr(int64(0))}, "calibration_memory"},
		{CalibrateConfig{Method: ptr("percentile"), Percentile: ptr(10.0)}, "percentile"},
		{CalibrateConfig{Method: ptr("entropy"), Bins: ptr(int64(100))}, "bins"},
		{CalibrateConfig{Method: ptr("entropy"), Bins: ptr(int64(201))}, "bins"},
		{CalibrateConfig{Percentile: ptr(99.0)}, "percentile"},
		{CalibrateConfig{Method: ptr("mse"), Histograms: ptr(false)}, "histograms"},
	} {
		if ds := c.c.Validate(t.Context()); len(ds) != 1 || ds[0].Path[0] != c.path {
			t.Errorf("%+v: %v, want one about %s", c.c, ds, c.path)
		}
	}
}

// TestRandomCalibration is seeded, and says that it is random.
func TestRandomCalibration(t *testing.T) {
	needRuntime(t)
	c := CalibrateConfig{Model: digitsModel(), Random: ptr(int64(4))}
	a, ranges, warned := calibrated(t, c, 1)
	b, _, _ := calibrated(t, c, 2)
	if string(a) != string(b) {
		t.Error("the same seed gave other bytes")
	}
	if len(warned) != 1 || !strings.Contains(warned[0].Summary, "4 made-up samples") {
		t.Errorf("warnings are %v", warned)
	}
	j, again := testJob(t)
	r, err := quantizeStatic(t.Context(), j, StaticConfig{Model: digitsModel(), Ranges: ranges, Target: "onnxruntime-x86", PerChannel: true})
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Facts.(StaticFacts); !f.RandomCalibration || len(*again) != 1 {
		t.Errorf("facts %+v, warnings %v", f, *again)
	}
}

// TestStates: a state goes from sample to sample, beginning as zeros; whole numbers are inputs too, and one may decide
// on a shape.
func TestStates(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 2)
	b.m.Graph.AddInput(onnx.NewValueInfo("state", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 2}}))
	b.m.Graph.AddInput(onnx.NewValueInfo("times", onnx.Int64, []onnx.Dim{onnx.ParamDim("N")}))
	sum := b.node("Add", "next", []string{x, "state"})
	b.output(sum)
	b.output(b.node("Tile", "tiled", []string{b.node("Reshape", "flat", []string{sum, b.ints("all", -1)}), "times"}))
	data := writeDataset(t, map[string]tensor.Tensor{"x": tensor.Of([]int64{3, 2}, []float32{1, -1, 2, -2, 3, -3}), "times": tensor.Of([]int64{3}, []int64{1, 2, 0})})
	_, ranges, _ := calibrated(t, CalibrateConfig{Model: writeModel(t, b.m), Calibration: &data, States: map[string]string{"state": "next"}, Tensors: "all", Histograms: ptr(true)}, 2)
	r, err := calibrate.Read(ranges.Path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]calibrate.Range{"x": {Min: -3, Max: 3}, "state": {Min: -3, Max: 3}, "next": {Min: -6, Max: 6}, "flat": {Min: -6, Max: 6}, "tiled": {Min: -3, Max: 3}}
	if got := r.Map(); !maps.Equal(got, want) {
		t.Errorf("ranges are %v, want %v", got, want)
	}
	if n := r.Tensors["tiled"].Elements; n != 6 {
		t.Errorf("%d elements of a tensor whose shape depends on the data, want 6", n)
	}
	j, _ := testJob(t)
	_, err = calibrateModel(t.Context(), j, CalibrateConfig{Model: writeModel(t, b.m), Calibration: &data, States: map[string]string{"state": "last"}})
	wantError(t, err, "states", `no output "last"`)
}

// TestCalibrateNaN names the tensor, its node and the sample, by each method.
func TestCalibrateNaN(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	b.output(b.conv("c2", b.node("Sqrt", "root", []string{b.input("x", 2, 4, 4)}), 2, 2))
	x := b.noise(1, 5, 2, 4, 4)
	v, err := tensor.View[float32](x)
	if err != nil {
		t.Fatal(err)
	}
	for i := range v {
		v[i] = float32(math.Abs(float64(v[i])))
	}
	v[3*32+9], v[4*32+1] = -1, -1 // with several runs at the same time too, the first of them is told
	data := writeDataset(t, map[string]tensor.Tensor{"x": x})
	for _, method := range calibrate.Methods {
		for _, threads := range []int{1, 3} {
			j, _ := testJob(t)
			j.threads = threads
			_, err := calibrateModel(t.Context(), j, CalibrateConfig{Model: writeModel(t, b.m), Calibration: &data, Method: ptr(string(method)), PerChannel: true})
			wantError(t, err, "calibration", `Tensor "root", made by node "root" (Sqrt), holds NaN for sample 3`)
			wantEmpty(t, j.outDir)
		}
	}
}
