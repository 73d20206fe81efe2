package quantize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// stopwatch stands for the core: how fast a candidate is depends on what is in it, not on the weather.
type stopwatch struct {
	t     *testing.T
	speed func(ops map[string]int, m *onnx.Model) float64 // 0: the engine refuses it
	laps  int
	races int
}

func (s *stopwatch) race(_ context.Context, r sdk.Race) ([]sdk.Lap, error) {
	s.races++
	var out []sdk.Lap
	for _, c := range r.Candidates {
		s.laps++
		m, err := onnx.ReadFile(c.Path)
		if err != nil {
			s.t.Errorf("a candidate cannot be read: %v", err)
			return nil, err
		}
		x := s.speed(counts(m), m)
		if x == 0 {
			out = append(out, sdk.Lap{Lost: errors.New("the engine refuses it")})
			continue
		}
		out = append(out, sdk.Lap{Metrics: map[string]sdk.Estimate{"speedup": {Value: x, Low: 0.99 * x, High: 1.01 * x}, "latency_p50": {Value: 1 / x}}})
	}
	return out, nil
}

func digitsConfig(t *testing.T) StaticConfig {
	data := writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 16)})
	return StaticConfig{Model: digitsModel(), Calibration: &data, Target: "onnxruntime-x86", PerChannel: true, Search: "on"}
}

// quantizedConvs are the convolutions that read integers.
func quantizedConvs(m *onnx.Model) int {
	n := 0
	for x := range m.Graph.Nodes() {
		if p := m.Graph.Producer(x.Input(0)); x.Is("Conv") && p != nil && p.Is("DequantizeLinear") {
			n++
		}
	}
	return n
}

func searched(t *testing.T, c StaticConfig, s *stopwatch) (r *sdk.Result, dir string, warned []sdk.Diagnostic) {
	t.Helper()
	j, w := testJob(t)
	j.scratch, j.race = t.TempDir(), s.race
	r, err := quantizeStatic(t.Context(), j, c)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(j.scratch); err != nil || len(left) > 0 {
		t.Errorf("the search left %v, %v", left, err)
	}
	return r, j.outDir, *w
}

// TestSearch: the layout whose first convolutions are in float is found where the engine likes it, and given to another
// step it makes the same bytes.
func TestSearch(t *testing.T) {
	needRuntime(t)
	if !row(t, "onnxruntime-x86").fits(ThisCPU()) {
		t.Skip("no x86")
	}
	for _, want := range []int{1, 2} {
		t.Run(fmt.Sprintf("first %d in float", want), func(t *testing.T) {
			c := digitsConfig(t)
			s := &stopwatch{t: t, speed: func(ops map[string]int, m *onnx.Model) float64 {
				if ops["QuantizeLinear"] == 0 {
					return 1
				}
				off := 9 - quantizedConvs(m) - want
				return 1.8 - 0.1*float64(off*off)
			}}
			r, dir, _ := searched(t, c, s)
			facts := r.Facts.(StaticFacts)
			got, err := onnx.ReadFile(filepath.Join(dir, r.Outputs["model"].Path))
			if err != nil {
				t.Fatal(err)
			}
			if n := quantizedConvs(got); n != 9-want {
				t.Errorf("%d of 9 convolutions are in integers: %s", n, strings.Join(facts.Candidates, "\n"))
			}
			chosen := slices.IndexFunc(facts.Candidates, func(l string) bool { return strings.HasPrefix(l, facts.Layout+": chosen, ") })
			if chosen != 0 || !strings.Contains(facts.Candidates[chosen], ": chosen, speed-up 1.80 (1.78 to 1.82), SQNR ") || facts.Noise != "1.00 (0.99 to 1.01)" || facts.Declined != "" || facts.Samples != 16 {
				t.Errorf("facts are %+v", facts)
			}
			if len(facts.Candidates) < 8 || s.races < 3 || s.races > 5 || !strings.Contains(facts.Candidates[chosen], ", agreement ") {
				t.Errorf("%d races of %d candidates: %s", s.races, len(facts.Candidates), strings.Join(facts.Candidates, "\n"))
			}
			// The layout alone.
			again := digitsConfig(t)
			again.Layout = &sdk.Artifact{Kind: layout.Kind, Format: layout.Format, Path: filepath.Join(dir, r.Outputs["layout"].Path)}
			never := &stopwatch{t: t, speed: func(map[string]int, *onnx.Model) float64 { t.Error("a race although the layout is given"); return 1 }}
			r2, dir2, _ := searched(t, again, never)
			for _, f := range []string{outputFile, layoutFile} {
				a, err1 := os.ReadFile(filepath.Join(dir, f))
				b, err2 := os.ReadFile(filepath.Join(dir2, f))
				if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
					t.Errorf("%s has other bytes given the layout: %v %v", f, err1, err2)
				}
			}
			if f := r2.Facts.(StaticFacts); f.Layout != facts.Layout || f.Search != "the layout is given" || len(f.Candidates) != 0 {
				t.Errorf("facts are %+v", f)
			}
		})
	}
}

// TestSearchDeclines: where integers lose, the model stays in float, in the form that is faster, and the reason is told.
func TestSearchDeclines(t *testing.T) {
	needRuntime(t)
	if !row(t, "onnxruntime-x86").fits(ThisCPU()) {
		t.Skip("no x86")
	}
	for _, c := range []struct {
		name  string
		speed func(ops map[string]int, m *onnx.Model) float64
		min   *float64
		why   string
	}{
		{"slower", func(ops map[string]int, _ *onnx.Model) float64 {
			if ops["QuantizeLinear"] > 0 {
				return 0.6
			}
			return 1
		}, nil, "integers lose on this machine"},
		{"refused", func(ops map[string]int, _ *onnx.Model) float64 {
			if ops["QuantizeLinear"] > 0 {
				return 0
			}
			return 1
		}, nil, "no quantized candidate runs here"},
		{"not good enough", func(map[string]int, *onnx.Model) float64 { return 1 }, ptr(90.0), "keeps 90 dB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := digitsConfig(t)
			cfg.MinSQNR = c.min
			r, dir, warned := searched(t, cfg, &stopwatch{t: t, speed: c.speed})
			facts := r.Facts.(StaticFacts)
			m, err := onnx.ReadFile(filepath.Join(dir, r.Outputs["model"].Path))
			if err != nil {
				t.Fatal(err)
			}
			if n := counts(m); n["QuantizeLinear"] != 0 || n["Conv"] != 9 {
				t.Errorf("the model is %s", show(n))
			}
			if !strings.Contains(facts.Declined, c.why) || facts.Layout != "float" || facts.ShareMACs != 0 {
				t.Errorf("facts are %+v", facts)
			}
			if len(warned) != 1 || !strings.Contains(warned[0].Detail, c.why) {
				t.Errorf("the user is told %v", warned)
			}
			l, err := layout.ReadFile(filepath.Join(dir, layoutFile))
			if err != nil || !l.Float {
				t.Errorf("the layout is %+v, %v", l, err)
			}
		})
	}
}

// TestSearchFails: a race that cannot be held costs the search, not the step.
func TestSearchFails(t *testing.T) {
	needRuntime(t)
	if !row(t, "onnxruntime-x86").fits(ThisCPU()) {
		t.Skip("no x86")
	}
	j, warned := testJob(t)
	j.scratch = t.TempDir()
	j.race = func(context.Context, sdk.Race) ([]sdk.Lap, error) { return nil, sdk.ErrNoHost }
	r, err := quantizeStatic(t.Context(), j, digitsConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Facts.(StaticFacts); f.ShareMACs != 1 || !strings.Contains(f.Search, sdk.ErrNoHost.Error()) || len(*warned) != 1 {
		t.Errorf("facts are %+v, warnings %v", f, *warned)
	}
	ctx, cancel := context.WithCancel(t.Context())
	j.race = func(context.Context, sdk.Race) ([]sdk.Lap, error) { cancel(); return nil, context.Canceled }
	if _, err := quantizeStatic(ctx, j, digitsConfig(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// TestNoSearch: what is not timed says why, and only what is timed is not deterministic.
func TestNoSearch(t *testing.T) {
	data := &sdk.Dataset{}
	vnni := CPU{Arch: "amd64", Features: []string{"AVX512VNNI"}}
	for _, c := range []struct {
		c    StaticConfig
		cpu  CPU
		want string
	}{
		{StaticConfig{Calibration: data, Target: "auto"}, vnni, ""},
		{StaticConfig{Calibration: data, Target: "onnxruntime-x86"}, CPU{Arch: "amd64"}, ""},
		{StaticConfig{Calibration: data, Target: "onnxruntime-x86-vnni"}, CPU{Arch: "amd64"}, "this machine is no onnxruntime-x86-vnni"},
		{StaticConfig{Calibration: data, Target: "onnxruntime-arm64"}, vnni, "this machine is no onnxruntime-arm64"},
		{StaticConfig{Calibration: data, Target: "tensorrt"}, vnni, "layouts for tensorrt cannot be timed"},
		{StaticConfig{Calibration: data, Target: "auto", Search: "off"}, vnni, `search = "off"`},
		{StaticConfig{Calibration: data, Target: "auto", Layout: &sdk.Artifact{}}, vnni, "the layout is given"},
		{StaticConfig{Calibration: data, Target: "auto", States: map[string]string{"h": "hn"}}, vnni, "states"},
		{StaticConfig{Ranges: &sdk.Artifact{}, Target: "auto"}, vnni, "no calibration data"},
	} {
		tt, err := resolveTarget(c.c.Target, c.cpu)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.c.noSearch(tt, c.cpu); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", c.c.Target, got, c.want)
		}
	}
	p, err := (StaticConfig{Calibration: data, Target: "tensorrt", Search: "on"}).Plan(t.Context(), &sdk.PlanRun{Threads: 1})
	if err != nil || p.Nondeterministic {
		t.Errorf("tensorrt is planned as %+v, %v", p, err)
	}
	states := map[string]string{"h": "hn"}
	for search, want := range map[string]int{"on": 1, "off": 0} {
		c := StaticConfig{Calibration: data, Target: "onnxruntime-x86-vnni", Search: search, States: states}
		if ds := c.planSearch(row(t, c.Target), vnni); len(ds) != want {
			t.Errorf("states with search %s: %v", search, ds)
		}
	}
	cpu := ThisCPU()
	if target, err := resolveTarget("auto", cpu); err == nil && target.Engine == "onnxruntime" {
		for search, want := range map[string]bool{"on": true, "off": false} {
			p, err := (StaticConfig{Calibration: data, Target: "auto", Search: search}).Plan(t.Context(), &sdk.PlanRun{Threads: 1})
			if err != nil || p.Nondeterministic != want {
				t.Errorf("search %s is planned as %+v, %v", search, p, err)
			}
		}
	}
}

// TestLayoutErrors: a layout that cannot be used is refused with the reason.
func TestLayoutErrors(t *testing.T) {
	needRuntime(t)
	for _, c := range []struct{ text, summary, detail string }{
		{`{"schema":"optimize.layout/v1","target":"tensorrt"}`, "the layout is for tensorrt, not for onnxruntime-x86", "search again"},
		{`nonsense`, "the layout cannot be read", "no JSON"},
		{`{"schema":"optimize.layout/v1","target":"onnxruntime-x86","float_convs":99,"float_ops":["Gemm"]}`, "the layout does not fit this model", "nothing"},
	} {
		path := filepath.Join(t.TempDir(), "layout.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := digitsConfig(t)
		cfg.Layout = &sdk.Artifact{Path: path}
		j, _ := testJob(t)
		_, err := quantizeStatic(t.Context(), j, cfg)
		var d sdk.Diagnostic
		if !errors.As(err, &d) || !strings.Contains(d.Summary, c.summary) || !strings.Contains(d.Detail, c.detail) || len(d.Path) == 0 || d.Path[0] != "layout" {
			t.Errorf("%s: %+v", c.text, err)
		}
		if left, _ := os.ReadDir(j.outDir); len(left) > 0 {
			t.Errorf("%s left %v", c.text, left)
		}
	}
}

// TestSearchTables: of layouts as fast as each other, the one whose tables are small is taken. The table is too little of
// this model to be stored so in any case.
func TestSearchTables(t *testing.T) {
	needRuntime(t)
	if !row(t, "onnxruntime-x86").fits(ThisCPU()) {
		t.Skip("no x86")
	}
	b := newBuilder(17)
	b.m.Graph.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N"), {Value: 8}}))
	x := b.node("Gather", "emb", []string{b.random("table", 1, 256, 64), "ids"})
	x = b.node("MatMul", "a", []string{x, b.random("wa", 0.2, 64, 64)})
	x = b.node("Relu", "r", []string{x})
	b.output(b.node("MatMul", "b", []string{x, b.random("wb", 0.2, 64, 5000)}))
	ids := make([]int64, 16*8)
	for i := range ids {
		ids[i] = int64(i*37) % 256
	}
	data := writeDataset(t, map[string]tensor.Tensor{"ids": tensor.Of([]int64{16, 8}, ids)})
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86", PerChannel: true, Search: "on"}
	r, dir, _ := searched(t, c, &stopwatch{t: t, speed: func(ops map[string]int, _ *onnx.Model) float64 {
		if ops["MatMulInteger"] > 0 {
			return 2
		}
		return 1
	}})
	m, err := onnx.ReadFile(filepath.Join(dir, outputFile))
	if err != nil {
		t.Fatal(err)
	}
	facts := r.Facts.(StaticFacts)
	if n := counts(m); n["Gather"] != 2 || n["MatMulInteger"] != 2 || facts.ShareWeightBytes != 1 || !strings.Contains(facts.Layout, "tables of 8 bits") {
		t.Errorf("the model is %s, facts %+v", show(n), facts)
	}
	feed := map[string]tensor.Tensor{"ids": tensor.Of([]int64{1, 8}, ids[:8])}
	want, got := runModel(t, b.m, feed), runModel(t, m, feed)
	for name := range want {
		var signal, noise float64
		for i, x := range want[name] {
			d := float64(got[name][i] - x)
			signal, noise = signal+float64(x)*float64(x), noise+d*d
		}
		if noise == 0 || noise > 1e-3*signal {
			t.Errorf("output %s has the energy %v and an error of %v", name, signal, noise)
		}
	}
}

// TestGates: a hard swish is integers throughout, and the addition of a number behind it is done by scales.
func TestGates(t *testing.T) {
	needRuntime(t)
	for _, whole := range []bool{false, true} {
		b := newBuilder(17)
		b.input("x", 8, 12, 12)
		x := b.node("Conv", "c1", []string{"x", b.random("w1", 0.3, 16, 8, 3, 3), b.random("b1", 0.5, 16)}, onnx.IntsAttr("pads", 1, 1, 1, 1))
		if whole {
			x = b.node("HardSwish", "hs", []string{x})
		} else {
			g := b.node("HardSigmoid", "g", []string{x}, onnx.FloatAttr("alpha", 1.0/6), onnx.FloatAttr("beta", 0.5))
			x = b.node("Mul", "hs", []string{x, g})
		}
		b.m.Graph.AddInitializer(onnx.NewFloats("shift", []float32{0.31}, 1))
		x = b.node("Add", "add", []string{x, "shift"})
		b.output(b.node("Conv", "c2", []string{x, b.random("w2", 0.3, 8, 16, 3, 3)}, onnx.IntsAttr("pads", 1, 1, 1, 1)))
		values := make([]float32, 16*8*144)
		for i := range values {
			values[i] = float32(i*7919%1009)/250 - 2
		}
		data := writeDataset(t, map[string]tensor.Tensor{"x": tensor.Of([]int64{16, 8, 12, 12}, values)})
		for _, c := range []struct {
			l    layout.Layout
			want map[string]int
		}{
			{layout.Layout{GateTable: true, Absorb: true}, map[string]int{"QLinearLeakyRelu": 1, "QLinearMul": 1, "QLinearConv": 2, "QuantizeLinear": 1, "QLinearAdd": 0, "HardSigmoid": 0, "Add": 0}},
			{layout.Layout{Absorb: true}, map[string]int{"QLinearLeakyRelu": 0, "QLinearConv": 2}},
		} {
			c.l.Target = "onnxruntime-x86"
			text, err := c.l.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "layout.json")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			m, facts := static(t, StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86", PerChannel: true, Layout: &sdk.Artifact{Path: path}})
			g := counts(engineGraph(t, m))
			for op, n := range c.want {
				if g[op] != n {
					t.Errorf("HardSwish whole %v, %s: the engine runs %d %s, want %d: %s", whole, facts.Layout, g[op], op, n, show(g))
				}
			}
			feed := map[string]tensor.Tensor{"x": tensor.Of([]int64{1, 8, 12, 12}, values[:8*144])}
			want, got := runModel(t, b.m, feed), runModel(t, m, feed)
			for name := range want {
				var signal, noise float64
				for i, x := range want[name] {
					d := float64(got[name][i] - x)
					signal, noise = signal+float64(x)*float64(x), noise+d*d
				}
				if !(noise < 2e-3*signal) {
					t.Errorf("%s: output %s has the energy %v and an error of %v", facts.Layout, name, signal, noise)
				}
			}
		}
	}
}

// TestBadDataIsNoFailedSearch: of a dataset that does not fit the model, the error alone tells.
func TestBadDataIsNoFailedSearch(t *testing.T) {
	needRuntime(t)
	if !row(t, "onnxruntime-x86").fits(ThisCPU()) {
		t.Skip("no x86")
	}
	for _, x := range []tensor.Tensor{tensor.Of([]int64{4, 3}, make([]float32, 12)), tensor.Of([]int64{4, 1, 28, 28}, make([]int64, 4*28*28))} {
		c := digitsConfig(t)
		c.Calibration = ptr(writeDataset(t, map[string]tensor.Tensor{"input": x}))
		j, warned := testJob(t)
		j.scratch, j.race = t.TempDir(), (&stopwatch{t: t}).race
		_, err := quantizeStatic(t.Context(), j, c)
		wantError(t, err, "calibration", "input")
		if len(*warned) != 0 {
			t.Errorf("before the error: %v", *warned)
		}
	}
}
