package prune

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

const digitsFolder = "../../recipes/digits/"

// loadRuntime loads ONNX Runtime, or skips the test where there is none.
func loadRuntime(t testing.TB) {
	t.Helper()
	lib, err := ort.Find()
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatalf("ONNX Runtime is required here: %v", err)
		}
		t.Skipf("no ONNX Runtime: %v", err)
	}
	if err := ort.Load(lib); err != nil {
		t.Fatal(err)
	}
}

// digitBytes reads an array of bytes out of an .npz file.
func digitBytes(t testing.TB, file, field string) []byte {
	t.Helper()
	z, err := zip.OpenReader(digitsFolder + file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open(field + ".npy")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b[10+int(b[8])+int(b[9])<<8:]
}

// readDigits are the first n images of a file, from 0 to 1.
func readDigits(t testing.TB, file string, n int64) tensor.Tensor {
	b := digitBytes(t, file, "image")[:n*784]
	x := make([]float32, len(b))
	for i, v := range b {
		x[i] = float32(v) / 255
	}
	return tensor.Of([]int64{n, 1, 28, 28}, x)
}

func digitData(t testing.TB, n int64) *sdk.Dataset {
	t.Helper()
	dir := t.TempDir()
	x := readDigits(t, "mnist-train.npz", n)
	i := tensor.Index{Samples: n, Fields: []tensor.Field{{Name: "input", DType: tensor.F32, Shape: x.Shape[1:]}},
		Shards: []tensor.Shard{{File: "shard-00000.safetensors", Samples: n}}}
	if err := tensor.WriteFile(filepath.Join(dir, i.Shards[0].File), []tensor.Named{{Name: "input", Tensor: x}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(dir, i); err != nil {
		t.Fatal(err)
	}
	return &sdk.Dataset{Artifact: sdk.Artifact{Kind: "dataset", Path: dir}}
}

// reader grades models that read digits.
type reader struct {
	images tensor.Tensor
	labels []int64
}

func newReader(t testing.TB) *reader {
	const n = 200
	raw := digitBytes(t, "mnist-test.npz", "label")
	labels, err := tensor.View[int64](tensor.Tensor{DType: tensor.I64, Shape: []int64{n}, Data: raw[:8*n]})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{readDigits(t, "mnist-test.npz", n), labels}
}

func (r *reader) top1(path string) (float64, error) {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: 2})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	out, err := s.Run(map[string]tensor.Tensor{"input": r.images}, nil)
	if err != nil {
		return 0, err
	}
	logits, err := tensor.View[float32](out["logits"])
	if err != nil {
		return 0, err
	}
	hits := 0
	for i, want := range r.labels {
		best := 0
		for c, v := range logits[10*i : 10*i+10] {
			if v > logits[10*i+best] {
				best = c
			}
		}
		if int64(best) == want {
			hits++
		}
	}
	return float64(hits) / float64(len(r.labels)), nil
}

// channelsJob collects what the step says.
func channelsJob(t testing.TB) (job, *[]sdk.Diagnostic) {
	var said []sdk.Diagnostic
	return job{outDir: t.TempDir(), scratch: t.TempDir(), threads: 2, seed: 1, progress: func(string, int64, int64, string) {},
		warn: func(d sdk.Diagnostic) { said = append(said, d) }}, &said
}

// defaults are those of the schema.
func channelDefaults(c ChannelsConfig) ChannelsConfig {
	if c.Model.Path == "" {
		c.Model = sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: digitsFolder + "digits.onnx"}}
	}
	if c.Scope == "" {
		c.Scope = "global"
	}
	if c.MaxRatio == 0 {
		c.MaxRatio = 0.9
	}
	if c.RoundTo == nil {
		one := int64(4)
		c.RoundTo = &one
	}
	return c
}

func num[T any](x T) *T { return &x }

func pruned(t testing.TB, j job, c ChannelsConfig) (path string, f ChannelsFacts) {
	t.Helper()
	c = channelDefaults(c)
	if ds := c.Validate(context.Background()); len(ds) > 0 {
		t.Fatal(ds)
	}
	r, err := pruneChannels(context.Background(), j, c)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(j.outDir, r.Outputs["model"].Path), r.Facts.(ChannelsFacts)
}

// TestChannelsOfDigits prunes the digit classifier by each importance and scope.
func TestChannelsOfDigits(t *testing.T) {
	loadRuntime(t)
	grade := newReader(t)
	base, err := grade.top1(digitsFolder + "digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	data := digitData(t, 32)
	top := map[string]float64{}
	for _, importance := range []string{"l1", "l2", "bn_scale", "fpgm", "lamp", "activation", "random"} {
		scopes := []string{"local"}
		if importance == "activation" || importance == "lamp" {
			scopes = append(scopes, "global")
		}
		for _, scope := range scopes {
			j, _ := channelsJob(t)
			c := ChannelsConfig{Ratio: num(0.25), Importance: &importance, Scope: scope}
			if importance == "activation" {
				c.Calibration, c.Repair = data, num(repairOff)
			}
			path, f := pruned(t, j, c)
			if f.ChannelsRemoved < f.ChannelsBefore/8 || f.MACsAfter >= f.MACsBefore*9/10 || f.ParametersAfter >= f.ParametersBefore || f.Difference > 1e-4 || f.Difference < 0 {
				t.Errorf("%s %s: %+v", importance, scope, f)
			}
			got, err := grade.top1(path)
			if err != nil {
				t.Fatal(err)
			}
			top[importance+" "+scope] = got
			t.Logf("%s %s: top-1 %.3f of %.3f at %.2f of the multiply-accumulates", importance, scope, got, base, float64(f.MACsAfter)/float64(f.MACsBefore))
		}
	}
	if best := max(top["activation global"], top["lamp global"]); best < top["random local"]+0.1 {
		t.Errorf("importance is no better than chance: %v", top)
	}
}

// TestChannelsTwice gives the same bytes twice, whatever the number of threads.
func TestChannelsTwice(t *testing.T) {
	loadRuntime(t)
	var files [][]byte
	for _, threads := range []int{1, 3} {
		j, _ := channelsJob(t)
		j.threads = threads
		path, _ := pruned(t, j, ChannelsConfig{Ratio: num(0.4)})
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two runs gave different bytes")
	}
}

// TestChannelsNone takes nothing out: the model is the same, byte by byte.
func TestChannelsNone(t *testing.T) {
	loadRuntime(t)
	for _, c := range []ChannelsConfig{{Ratio: num(0.0)}, {Ratio: num(0.5), RoundTo: num(int64(128))}, {Ratios: map[string]float64{"*": 0}}} {
		j, said := channelsJob(t)
		path, f := pruned(t, j, c)
		want, err := os.ReadFile(digitsFolder + "digits.onnx")
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || f.ChannelsRemoved != 0 || len(*said) != 1 {
			t.Errorf("%+v: %d bytes for %d, %v", c, len(got), len(want), *said)
		}
	}
}

// TestChannelsRounded keeps multiples, patterns and single shares.
func TestChannelsRounded(t *testing.T) {
	loadRuntime(t)
	j, _ := channelsJob(t)
	path, f := pruned(t, j, ChannelsConfig{Ratio: num(0.4), Scope: "local", RoundTo: num(int64(8)), Keep: []string{"b0a/*"}, Ratios: map[string]float64{"b2?/conv": 0.75}})
	m, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for n := range m.Graph.Nodes() {
		if n.Is("Conv") {
			got[n.Name] = m.Graph.Initializer(n.Input(1)).Dims[0]
		}
	}
	want := map[string]int64{"stem/conv": 8, "b0a/conv": 16, "b0b/conv": 8, "b1a/conv": 16, "b1b/conv": 16, "b2a/conv": 16, "b2b/conv": 16}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s has %d channels, want %d; %v", name, got[name], n, f.Groups)
		}
	}
	if !strings.Contains(strings.Join(f.LeftAlone, "\n"), `is kept: keep has "b0a/*"`) {
		t.Error(f.LeftAlone)
	}
}

// TestChannelsBudget holds shares of work and size.
func TestChannelsBudget(t *testing.T) {
	loadRuntime(t)
	for _, scope := range []string{"global", "local"} {
		j, _ := channelsJob(t)
		_, f := pruned(t, j, ChannelsConfig{Scope: scope, Budget: &ChannelsBudget{MACs: num(0.5), Parameters: num(0.6), Batch: 1, Threads: 1}})
		m, p := shareOf(f.MACsAfter, f.MACsBefore), shareOf(f.ParametersAfter, f.ParametersBefore)
		if m > 0.5 || p > 0.6 || m < 0.35 && p < 0.45 {
			t.Errorf("%s: %.3f of the multiply-accumulates and %.3f of the parameters are left", scope, m, p)
		}
	}
	j, _ := channelsJob(t)
	c := channelDefaults(ChannelsConfig{Budget: &ChannelsBudget{MACs: num(0.001), Batch: 1, Threads: 1}})
	if _, err := pruneChannels(context.Background(), j, c); err == nil || !strings.Contains(err.Error(), "the budget cannot be reached") {
		t.Error(err)
	}
	if left, _ := os.ReadDir(j.outDir); len(left) > 0 {
		t.Error("something was written:", left)
	}
}

// TestChannelsAccuracy finds the most that a bound allows.
func TestChannelsAccuracy(t *testing.T) {
	loadRuntime(t)
	grade := newReader(t)
	j, _ := channelsJob(t)
	j.evaluate = func(_ context.Context, e sdk.Evaluation) (map[string]sdk.Estimate, int64, error) {
		a, err := grade.top1(e.Candidate.Path)
		if err != nil {
			return nil, 0, err
		}
		b, err := grade.top1(e.Baseline.Path)
		return map[string]sdk.Estimate{"top1_drop": {Value: b - a}}, 200, err
	}
	data := digitData(t, 32)
	loose, tight := ChannelsConfig{}, ChannelsConfig{}
	var macs []float64
	for i, c := range []*ChannelsConfig{&loose, &tight} {
		c.Calibration, c.Validation, c.Repair = data, data, num(repairOff)
		c.Accuracy = &ChannelsAccuracy{MaxDrop: num([]float64{0.6, 0.15}[i]), Trials: 6}
		path, f := pruned(t, j, *c)
		got, err := grade.top1(path)
		if err != nil {
			t.Fatal(err)
		}
		base, _ := grade.top1(digitsFolder + "digits.onnx")
		if base-got > *c.Accuracy.MaxDrop+1e-9 || !f.Accuracy.Held || len(f.Accuracy.Trials) < 3 {
			t.Errorf("top-1 fell by %.3f: %+v", base-got, f.Accuracy)
		}
		t.Log(f.Accuracy.Trials)
		macs = append(macs, shareOf(f.MACsAfter, f.MACsBefore))
		j.outDir = t.TempDir()
	}
	if macs[0] >= macs[1] {
		t.Errorf("a loose bound leaves %.3f of the work, a tight one %.3f", macs[0], macs[1])
	}
	impossible := channelDefaults(loose)
	impossible.Accuracy = &ChannelsAccuracy{MaxDrop: num(-0.5), Trials: 3}
	if _, err := pruneChannels(context.Background(), j, impossible); err == nil || !strings.Contains(err.Error(), "no candidate holds the bound") {
		t.Error(err)
	}
}

// TestChannelsSpeed asks the core to time candidates until one is fast enough.
func TestChannelsSpeed(t *testing.T) {
	loadRuntime(t)
	j, _ := channelsJob(t)
	races := 0
	j.race = func(_ context.Context, r sdk.Race) ([]sdk.Lap, error) {
		races++
		var macs []int64
		for _, c := range r.Candidates { // as fast as its work is little
			m, err := onnx.ReadFile(c.Path)
			if err != nil {
				return nil, err
			}
			s, err := onnx.TypicalShapes(m)
			if err != nil {
				return nil, err
			}
			n, _ := onnx.CountMACs(m, s)
			macs = append(macs, n)
		}
		lap := func(x float64) sdk.Lap { return sdk.Lap{Metrics: map[string]sdk.Estimate{"speedup": {Value: x}}} }
		return []sdk.Lap{lap(1), lap(float64(macs[0]) / float64(macs[1]))}, nil
	}
	_, f := pruned(t, j, ChannelsConfig{Validation: digitData(t, 8), Budget: &ChannelsBudget{Speedup: num(2.0), Batch: 1, Threads: 1}})
	if x := float64(f.MACsBefore) / float64(f.MACsAfter); x < 2 || x > 2.6 || !f.Accuracy.Held || races > 10 {
		t.Errorf("%.2f times less work after %d races: %+v", x, races, f.Accuracy)
	}
}

// TestChannelsBySensitivity gives each group what a scan says it can lose.
func TestChannelsBySensitivity(t *testing.T) {
	loadRuntime(t)
	scan := sensitivity.File{What: sensitivity.Channels, Method: "l2", Metric: "noise"}
	for _, name := range []string{"stem/conv", "b0a/conv", "b1a/conv", "b1b/conv", "b2a/conv", "b2b/conv"} {
		loss := 0.001 // of no account, but for one
		if name == "b2a/conv" {
			loss = 1
		}
		scan.Groups = append(scan.Groups, sensitivity.Group{Name: name, Nodes: []string{name}, Elements: 100, Channels: 16,
			Points: []sensitivity.Point{{Ratio: 0.4, Loss: loss / 2}, {Ratio: 0.8, Loss: loss}}})
	}
	path := filepath.Join(t.TempDir(), "scan.json")
	if err := scan.Write(path); err != nil {
		t.Fatal(err)
	}
	j, _ := channelsJob(t)
	_, f := pruned(t, j, ChannelsConfig{Ratio: num(0.4), Sensitivity: &sdk.Artifact{Path: path}})
	all := strings.Join(f.Groups, "\n")
	if f.Scope != "sensitivity" || !strings.Contains(all, "b2a/conv: 64 of 64") || !strings.Contains(all, "b1a/conv: 16 of 32") {
		t.Error(f.Scope, all)
	}
	scan.Groups[0].Name = "other"
	if err := scan.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := pruneChannels(context.Background(), j, channelDefaults(ChannelsConfig{Ratio: num(0.4), Sensitivity: &sdk.Artifact{Path: path}})); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Error(err)
	}
}

// TestChannelsMessages names what is wrong and the way round.
func TestChannelsMessages(t *testing.T) {
	ctx := context.Background()
	for want, c := range map[string]ChannelsConfig{
		"ratio is 1":                    {Ratio: num(1.0)},
		"max_ratio is 1":                {Ratio: num(0.5), MaxRatio: 1},
		"round_to is 0":                 {Ratio: num(0.5), RoundTo: num(int64(0))},
		"needs gradients":               {Ratio: num(0.5), Importance: num("taylor")},
		"nothing says how much":         {},
		"two things say":                {Ratio: num(0.5), Budget: &ChannelsBudget{MACs: num(0.5), Batch: 1, Threads: 1}},
		"budget has no bound":           {Budget: &ChannelsBudget{Batch: 1, Threads: 1}},
		"macs is 2":                     {Budget: &ChannelsBudget{MACs: num(2.0), Batch: 1, Threads: 1}},
		"speedup is 0.5":                {Budget: &ChannelsBudget{Speedup: num(0.5), Batch: 1, Threads: 1}},
		"a bound on speed and one":      {Budget: &ChannelsBudget{Speedup: num(1.5), MACs: num(0.5), Batch: 1, Threads: 1}},
		"accuracy has no bound":         {Accuracy: &ChannelsAccuracy{Trials: 3}},
		"accuracy has two bounds":       {Accuracy: &ChannelsAccuracy{MaxDrop: num(0.1), Minimum: num(0.1), Trials: 3}},
		"trials is 0":                   {Accuracy: &ChannelsAccuracy{MaxDrop: num(0.1)}},
		"bound does not fit the metric": {Accuracy: &ChannelsAccuracy{MaxDrop: num(0.1), Metric: "sqnr", Trials: 3}},
		`the ratio of "a" is 1`:         {Ratio: num(0.5), Ratios: map[string]float64{"a": 1}},
	} {
		if ds := channelDefaults(c).Validate(ctx); !strings.Contains(fmt.Sprint(ds), want) {
			t.Errorf("%s: %v", want, ds)
		}
	}
	loadRuntime(t)
	j, _ := channelsJob(t)
	for want, c := range map[string]ChannelsConfig{
		"has no data to learn from":     {Ratio: num(0.5), Repair: num("bias")},
		"has no data to look at":        {Ratio: num(0.5), Importance: num("activation")},
		"has no data to measure on":     {Accuracy: &ChannelsAccuracy{MaxDrop: num(0.1), Trials: 3}},
		"validation does nothing":       {Ratio: num(0.5), Validation: digitData(t, 1)},
		`no group is called "nothing"`:  {Ratio: num(0.5), Ratios: map[string]float64{"nothing": 0.5}},
		"would leave group":             {Ratio: num(0.5), Ratios: map[string]float64{"stem/conv": 0.99}},
		"no channels can be taken out":  {Ratio: num(0.5), Keep: []string{"*"}},
		"the model cannot be read":      {Ratio: num(0.5), Model: sdk.Model{Artifact: sdk.Artifact{Path: "nowhere.onnx"}}},
		"no data to time on":            {Budget: &ChannelsBudget{Speedup: num(1.5), Batch: 1, Threads: 1}},
		"the dataset does not fit":      {Ratio: num(0.5), Calibration: wrongData(t)},
		"the scan cannot be read":       {Ratio: num(0.5), Sensitivity: &sdk.Artifact{Path: "nowhere.json"}},
		"says nothing about this model": {Ratio: num(0.5), Importance: num("bn_scale"), Model: plainModel(t)},
	} {
		_, err := pruneChannels(ctx, j, channelDefaults(c))
		var d sdk.Diagnostic
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &d) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestChannelsPlan tells before the wait what cannot be.
func TestChannelsPlan(t *testing.T) {
	plan := func(c ChannelsConfig) string {
		r, err := channelDefaults(c).Plan(context.Background(), &sdk.PlanRun{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.Diagnostics)
	}
	if got := plan(ChannelsConfig{Ratio: num(0.3)}); got != "" && got != "[]" {
		t.Error(got)
	}
	if got := plan(ChannelsConfig{Ratio: num(0.3), RoundTo: num(int64(128))}); !strings.Contains(got, "takes next to nothing out") {
		t.Error(got)
	}
	if got := plan(ChannelsConfig{Ratio: num(0.3), Keep: []string{"*"}}); !strings.Contains(got, "no channels can be taken out") {
		t.Error(got)
	}
}

func wrongData(t testing.TB) *sdk.Dataset {
	t.Helper()
	d := digitData(t, 2)
	i := tensor.Index{Samples: 2, Fields: []tensor.Field{{Name: "picture", DType: tensor.F32, Shape: []int64{1, 28, 28}}},
		Shards: []tensor.Shard{{File: "other.safetensors", Samples: 2}}}
	if err := tensor.WriteFile(filepath.Join(d.Path, "other.safetensors"), []tensor.Named{{Name: "picture", Tensor: readDigits(t, "mnist-train.npz", 2)}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(d.Path, i); err != nil {
		t.Fatal(err)
	}
	return d
}

// plainModel is two linear layers.
func plainModel(t testing.TB) sdk.Model {
	t.Helper()
	m := onnx.NewModel("plain", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(1, 4)))
	w := make([]float32, 64)
	for i := range w {
		w[i] = float32(i%7) - 3
	}
	m.Graph.AddInitializer(onnx.NewFloats("a", w, 4, 16))
	m.Graph.AddInitializer(onnx.NewFloats("b", w, 16, 4))
	m.Graph.AppendNode(onnx.NewNode("MatMul", "", "first", []string{"x", "a"}, []string{"h"}))
	m.Graph.AppendNode(onnx.NewNode("MatMul", "", "second", []string{"h", "b"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, onnx.FixedDims(1, 4)))
	path := filepath.Join(t.TempDir(), "plain.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}
}

// TestChannelsRepaired wins back what half of the work costs.
func TestChannelsRepaired(t *testing.T) {
	loadRuntime(t)
	grade := newReader(t)
	data := digitData(t, 64)
	top := map[string]float64{}
	for _, how := range []string{repairOff, repairBias, repairNorm, repairWeights} {
		j, _ := channelsJob(t)
		path, f := pruned(t, j, ChannelsConfig{Budget: &ChannelsBudget{MACs: num(0.5), Batch: 1, Threads: 1}, Calibration: data, Repair: &how})
		var err error
		if top[how], err = grade.top1(path); err != nil {
			t.Fatal(err)
		}
		switch {
		case how == repairOff && f.Repair != nil, f.Difference > 1e-4, f.Difference < 0:
			t.Errorf("%s: %+v", how, f)
		case how != repairOff && (!f.Repair.Used || f.Repair.After <= f.Repair.Before || f.Repair.Samples != 56):
			t.Errorf("%s: %+v", how, f.Repair)
		}
	}
	t.Log(top)
	if top[repairWeights] < 0.95 || top[repairWeights] < top[repairBias] || top[repairBias] < top[repairOff]+0.2 || top[repairNorm] < top[repairOff] {
		t.Errorf("top-1 by repair: %v", top)
	}
}
