package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// mlp is a chain of wide products with one that is delicate: its activation has a channel a hundred times as large as the
// others.
func mlp() *builder {
	b := newBuilder(13)
	x := b.input("x", 64)
	for i, name := range []string{"a", "b", "c"} {
		w := b.noise(0.3, 64, 64)
		if i == 1 {
			v, _ := tensor.View[float32](w)
			for c := range 64 {
				v[c] *= 0.01 // row 0 of [K, N]: the large channel counts for little
			}
		}
		if i == 0 {
			v, _ := tensor.View[float32](w)
			for r := range 64 {
				v[64*r] *= 100 // output 0
			}
		}
		b.m.Graph.AddInitializer(onnx.NewTensor(name+".w", w))
		x = b.relu(name+".relu", b.node("MatMul", name, []string{x, name + ".w"}))
	}
	b.output(x)
	return b
}

func runBudget(t *testing.T, c StaticConfig, race func(context.Context, sdk.Race) ([]sdk.Lap, error)) (*onnx.Model, StaticFacts, error) {
	t.Helper()
	b := mlp()
	data := writeDataset(t, map[string]tensor.Tensor{"x": newBuilder(13).noise(1, 16, 64)})
	c.Model, c.Calibration, c.Target, c.PerChannel = writeModel(t, b.m), &data, "onnxruntime-x86-vnni", true
	j, _ := testJob(t)
	j.race, j.scratch = race, t.TempDir()
	r, err := quantizeStatic(t.Context(), j, c)
	if err != nil {
		return nil, StaticFacts{}, err
	}
	path := filepath.Join(j.outDir, outputFile)
	m, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Facts.(StaticFacts); c.Budget.Size != nil && float64(st.Size()) > *c.Budget.Size*float64(c.Model.Size+mlpBytes) {
		t.Errorf("the file has %d bytes: %+v", st.Size(), f.Budget)
	}
	runModel(t, m, map[string]tensor.Tensor{"x": newBuilder(13).noise(1, 16, 64)})
	return m, r.Facts.(StaticFacts), nil
}

// mlpBytes is a little more than the float model takes.
const mlpBytes = 3*64*64*4 + 1000

// TestBudgetSize: the smaller the size, the fewer bits, and the delicate layer keeps the most.
func TestBudgetSize(t *testing.T) {
	needRuntime(t)
	var last float64 = 300
	for _, c := range []struct {
		size float64
		want string
	}{{0.8, "a: int8 b: float c: float"}, {0.55, "a: int8 b: float c: int8"}, {0.3, "a: int8 b: int8 c: int8"}, {0.24, ""}} {
		m, f, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Size: &c.size, Int4: true, Threads: 1}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var forms []string
		for _, l := range f.Budget.Layers {
			forms = append(forms, strings.Split(l, ",")[0])
		}
		t.Logf("size %v: %+v %s", c.size, *f.Budget, show(counts(m)))
		if got := strings.Join(forms, " "); c.want != "" && got != c.want {
			t.Errorf("size %v: %s, want %s", c.size, got, c.want)
		}
		if c.size == 0.24 && (!strings.Contains(strings.Join(forms, " "), "int4") || counts(m)["MatMulNBits"] == 0) {
			t.Errorf("size %v: %v, %s", c.size, forms, show(counts(m)))
		}
		if f.Budget.Size > c.size || f.Budget.SQNR > last {
			t.Errorf("size %v: %+v", c.size, *f.Budget)
		}
		last = f.Budget.SQNR
	}
	_, _, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Size: ptr(0.1), Int4: true, Threads: 1}}, nil)
	var d sdk.Diagnostic
	if !errors.As(err, &d) || d.Path[1] != "size" || !strings.Contains(d.Detail, "smallest form") {
		t.Errorf("error %v", err)
	}
}

// TestBudgetSpeed: layers stay in float as long as the time allows; a race that favours integers decides.
func TestBudgetSpeed(t *testing.T) {
	needRuntime(t)
	race := func(_ context.Context, r sdk.Race) ([]sdk.Lap, error) {
		if r.Runtime != "onnxruntime" || len(r.Candidates) != 2 || r.Threads != 2 {
			t.Errorf("race %+v", r)
		}
		m, err := onnx.ReadFile(r.Candidates[1].Path)
		if err != nil {
			t.Fatal(err)
		}
		float := 0 // products whose weight is float
		for n := range m.Graph.Nodes() {
			if n.Is("MatMul") && m.Graph.Initializer(n.Input(1)) != nil {
				float++
			}
		}
		return []sdk.Lap{{}, {Metrics: map[string]sdk.Estimate{"speedup": {Value: 3 / (1 + 0.6*float64(float))}}}}, nil
	}
	for _, c := range []struct {
		factor float64
		float  int
	}{{3, 0}, {1.8, 1}, {1.3, 2}} {
		_, f, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Speedup: &c.factor, Threads: 2}}, race)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(strings.Join(f.Budget.Layers, "\n"), ": float"); got != c.float || f.Budget.Speedup < c.factor {
			t.Errorf("speed-up %v: %+v", c.factor, *f.Budget)
		}
	}
	_, _, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Speedup: ptr(4.0), Threads: 2}}, race)
	var d sdk.Diagnostic
	if !errors.As(err, &d) || d.Path[1] != "speedup" || !strings.Contains(d.Detail, "3 times as fast") {
		t.Errorf("error %v", err)
	}
}

func TestBudgetArguments(t *testing.T) {
	for _, c := range []struct {
		config BudgetConfig
		arg    string
	}{
		{BudgetConfig{Threads: 1}, "size"},
		{BudgetConfig{Size: ptr(0.5), Speedup: ptr(2.0), Threads: 1}, "speedup"},
		{BudgetConfig{Size: ptr(1.5), Threads: 1}, "size"},
		{BudgetConfig{Size: ptr(math.NaN()), Threads: 1}, "size"},
		{BudgetConfig{Speedup: ptr(0.0), Threads: 1}, "speedup"},
		{BudgetConfig{Speedup: ptr(2.0)}, "threads"},
	} {
		if ds := (StaticConfig{Budget: &c.config}).Validate(t.Context()); len(ds) != 1 || ds[0].Path[1] != c.arg {
			t.Errorf("%+v: %+v", c.config, ds)
		}
	}
	vnni := row(t, "onnxruntime-x86-vnni")
	size := &BudgetConfig{Size: ptr(0.5), Threads: 1}
	for _, c := range []struct {
		config StaticConfig
		target *Target
		arg    string
	}{
		{StaticConfig{Budget: size}, vnni, "validation"},
		{StaticConfig{Budget: size, Accuracy: &AccuracyConfig{}, Validation: &sdk.Dataset{}}, vnni, "budget"},
		{StaticConfig{Budget: &BudgetConfig{Speedup: ptr(2.0)}, Validation: &sdk.Dataset{}}, row(t, "tensorrt"), "budget"},
	} {
		if ds := c.config.planAccuracy(c.target); len(ds) != 1 || ds[0].Path[0] != c.arg {
			t.Errorf("%+v: %+v", c.config, ds)
		}
	}
}

// TestBudgetTables: a table that Gather looks up is a layer of a size, unless keep_float names it.
func TestBudgetTables(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	b.m.Graph.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N"), {Value: 4}}))
	x := b.node("Gather", "table", []string{b.random("table.w", 1, 400, 64), "ids"})
	b.output(b.node("MatMul", "y", []string{x, b.random("y.w", 0.3, 64, 64)}))
	ids := make([]int64, 16*4)
	for i := range ids {
		ids[i] = int64(i * 37 % 400)
	}
	in := map[string]tensor.Tensor{"ids": tensor.Of([]int64{16, 4}, ids)}
	data := writeDataset(t, in)
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86-vnni", PerChannel: true,
		Budget: &BudgetConfig{Size: ptr(0.3), Int4: true, Threads: 1}}
	m, f := static(t, c)
	if got := strings.Join(f.Budget.Layers, "\n"); !strings.Contains(got, "table: int8") && !strings.Contains(got, "table: int4") || counts(m)["GatherBlockQuantized"] != 1 {
		t.Errorf("%s\n%s", got, show(counts(m)))
	}
	if s := sqnrOf(t, b.m, m, in); s < 18 || f.ShareWeightBytes != 1 {
		t.Errorf("%.1f dB, %+v", s, f)
	}
	c.KeepFloat = []string{"table"}
	j, _ := testJob(t)
	var d sdk.Diagnostic
	if _, err := quantizeStatic(t.Context(), j, c); !errors.As(err, &d) || d.Path[1] != "size" {
		t.Errorf("error %v", err)
	}
}

// TestBudgetSizeOfConvolutions: a Conv has no 4-bit form, so none is weighed as if it cost nothing: a size that 8 bits hold
// is held, and the least that is told does not depend on what was asked for.
func TestBudgetSizeOfConvolutions(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 16, 8, 8)
	for _, name := range []string{"a", "b", "c"} {
		x = b.relu(name+".relu", b.node("Conv", name, []string{x, b.random(name+".w", 0.1, 16, 16, 3, 3)}))
	}
	b.output(x)
	data := writeDataset(t, map[string]tensor.Tensor{"x": newBuilder(13).noise(1, 16, 16, 8, 8)})
	c := StaticConfig{Model: writeModel(t, b.m), Calibration: &data, Target: "onnxruntime-x86-vnni", PerChannel: true}
	for _, v := range []struct {
		size float64
		int8 int
	}{{0.8, 1}, {0.55, 2}, {0.35, 3}} {
		c.Budget = &BudgetConfig{Size: &v.size, Int4: true, Threads: 1}
		_, f := static(t, c)
		got := strings.Join(f.Budget.Layers, "\n")
		if strings.Contains(got, "int4") || strings.Count(got, "int8") != v.int8 || f.Budget.Size > v.size {
			t.Errorf("size %v: %+v", v.size, *f.Budget)
		}
	}
	for _, size := range []float64{0.05, 0.2} {
		c.Budget = &BudgetConfig{Size: &size, Int4: true, Threads: 1}
		j, _ := testJob(t)
		var d sdk.Diagnostic
		if _, err := quantizeStatic(t.Context(), j, c); !errors.As(err, &d) || d.Path[1] != "size" || !strings.Contains(d.Detail, "0.317 of") {
			t.Errorf("size %v: %+v", size, d)
		}
	}
}

// TestBudgetSizeBetweenForms: every size down to the least that is told is held, though a choice that was reckoned to fit
// takes a little more and the next form of a layer is far from it.
func TestBudgetSizeBetweenForms(t *testing.T) {
	needRuntime(t)
	for _, int4 := range []bool{false, true} {
		_, _, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Size: ptr(0.01), Int4: int4, Threads: 1}}, nil)
		var d sdk.Diagnostic
		if !errors.As(err, &d) {
			t.Fatalf("error %v", err)
		}
		var bytes, whole, rest int64
		var share float64
		if _, err := fmt.Sscanf(d.Detail, "With the smallest form for each layer it takes %d bytes, %g of the %d of the float model; %d bytes", &bytes, &share, &whole, &rest); err != nil {
			t.Fatalf("%s: %v", d.Detail, err)
		}
		least := float64(bytes) / float64(whole)
		for _, size := range []float64{least + 1e-5, least + 0.001, least + 0.003, least + 0.01, least + 0.03, 0.4, 0.5, 0.52, 0.6, 0.7, 0.78} {
			_, f, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Size: &size, Int4: int4, Threads: 1}}, nil)
			if err != nil {
				t.Errorf("int4 %v, size %v, least %v: %v", int4, size, least, err)
			} else if f.Budget.Size > size {
				t.Errorf("int4 %v, size %v: %+v", int4, size, *f.Budget)
			}
		}
		if _, _, err := runBudget(t, StaticConfig{Budget: &BudgetConfig{Size: ptr(least - 1e-3), Int4: int4, Threads: 1}}, nil); !errors.As(err, &d) || !strings.Contains(d.Detail, fmt.Sprintf("takes %d bytes", bytes)) {
			t.Errorf("int4 %v: below the least: %v", int4, err)
		}
	}
}
