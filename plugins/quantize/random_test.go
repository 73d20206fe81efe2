package quantize

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// randomNet puts operators together as nobody would on purpose: values that many nodes read, outputs in the middle, clamps
// before and behind everything, joints of what was joined. All values are images of 8 channels but for a head.
func randomNet(r *rand.Rand) *builder {
	b := newBuilder([]int64{11, 12, 13, 17}[r.IntN(4)])
	b.seed = r.Uint32() | 1
	values := []string{b.input("x", 8, 6, 6)}
	any := func() string { return values[max(r.IntN(len(values)), r.IntN(len(values)))] } // rather a late one
	n := 6 + r.IntN(10)
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		x := any()
		switch r.IntN(14) {
		case 0, 1, 2:
			x = b.conv(name, x, 8, 8)
		case 3:
			x = b.node("Conv", name, []string{x, b.random(name+".w", 0.4, 8, 1, 3, 3)}, onnx.IntAttr("group", 8), onnx.IntsAttr("pads", 1, 1, 1, 1))
		case 4:
			x = b.relu(name, x)
		case 5:
			x = b.node("Clip", name, []string{x, b.scalar(name+".lo", float32(-r.IntN(2))), b.scalar(name+".hi", 2)})
		case 6, 7:
			x = b.node("Add", name, []string{x, any()})
		case 8:
			x = b.node("Mul", name, []string{x, b.node("Sigmoid", name+".s", []string{any()})})
		case 9:
			cat := b.node("Concat", name+".cat", []string{x, any()}, onnx.IntAttr("axis", 1))
			x = b.node("Conv", name, []string{cat, b.random(name+".w", 0.3, 8, 16, 1, 1), b.random(name+".b", 0.3, 8)})
		case 10:
			x = b.node("MaxPool", name, []string{x}, onnx.IntsAttr("kernel_shape", 3, 3), onnx.IntsAttr("pads", 1, 1, 1, 1))
		case 11:
			x = b.node("Transpose", name, []string{x}, onnx.IntsAttr("perm", 0, 1, 3, 2))
		case 12:
			x = b.node("Add", name, []string{b.node("MatMul", name+".m", []string{x, b.random(name+".w", 0.3, 6, 6)}), b.random(name+".b", 0.3, 6)})
		case 13:
			x = b.node("LeakyRelu", name, []string{x})
		}
		values = append(values, x)
		if r.IntN(8) == 0 {
			b.output(x)
		}
	}
	last := values[len(values)-1]
	if r.IntN(2) == 0 {
		f := b.node("Flatten", "flat", []string{b.node("GlobalAveragePool", "gap", []string{last})})
		last = b.node("Gemm", "head", []string{f, b.random("head.w", 0.4, 8, 5), b.random("head.b", 0.3, 5)})
	}
	if !b.m.Graph.IsOutput(last) {
		b.output(last)
	}
	return b
}

// TestRandomNets: whatever stands beside what, the form for each target obeys the engine's rules, accounts for all that
// multiplies, and computes what the model does. OPTIMIZE_CHAOS sets how many nets are tried.
func TestRandomNets(t *testing.T) {
	needRuntime(t)
	nets := 12
	if n, err := strconv.Atoi(os.Getenv("OPTIMIZE_CHAOS")); err == nil {
		nets = n
	}
	for i := range nets {
		r := rand.New(rand.NewPCG(uint64(i), 3))
		b := randomNet(r)
		b.shapeOutputs(t)
		in := map[string]tensor.Tensor{"x": b.noise(1, 6, 8, 6, 6)}
		data, model := writeDataset(t, in), writeModel(t, b.m)
		want := runModel(t, b.m, in)
		for _, target := range TargetNames() {
			j, _ := testJob(t)
			res, err := quantizeStatic(t.Context(), j, StaticConfig{Model: model, Calibration: &data, Target: target, PerChannel: r.IntN(4) > 0, Search: "off", Smooth: ptr(false)})
			var d sdk.Diagnostic
			if errors.As(err, &d) && d.Summary == "the model has nothing that quantize_static can quantize" {
				continue
			}
			if err != nil {
				t.Errorf("net %d, %s: %v", i, target, err)
				continue
			}
			m, err := onnx.ReadFile(j.outDir + "/" + res.Outputs["model"].Path)
			if err != nil {
				t.Fatal(err)
			}
			obeys(t, m, target)
			accounted(t, m, res.Facts.(StaticFacts), target)
			got := runModel(t, m, in)
			for name, w := range want {
				var energy float64
				for _, v := range w {
					energy += float64(v) * float64(v)
				}
				if db := sqnr(w, got[name]); energy > 0 && !(db > 12) && !math.IsInf(db, 1) {
					t.Errorf("net %d, %s: output %q has %.1f dB", i, target, name, db)
				}
			}
			if t.Failed() {
				t.Fatalf("net %d, %s", i, target)
			}
		}
	}
}
