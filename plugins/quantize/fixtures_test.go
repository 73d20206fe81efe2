package quantize

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// madeUp are samples for a model of any kind: small whole numbers are tokens of every vocabulary, and noise is as good as
// an image to compare two forms of a model on.
func madeUp(m *onnx.Model, n int64, sequence, height, width int64) (map[string]tensor.Tensor, error) {
	r := rand.New(rand.NewPCG(7, 11))
	out := map[string]tensor.Tensor{}
	for _, in := range m.Graph.Feeds() {
		shape := []int64{n}
		if in.Type == nil || len(in.Type.Shape) == 0 {
			return nil, fmt.Errorf("input %q is a scalar", in.Name())
		}
		for i, d := range in.Type.Shape {
			size := d.Value
			switch {
			case i == 0:
				continue
			case size > 0:
			case len(in.Type.Shape) < 4:
				size = sequence
			case i == 2:
				size = height
			case i == 3:
				size = width
			default:
				size = 3
			}
			shape = append(shape, size)
		}
		count, err := tensor.Elements(shape)
		if err != nil {
			return nil, err
		}
		switch in.Type.Elem {
		case onnx.Float:
			v := make([]float32, count)
			for i := range v {
				v[i] = float32(r.NormFloat64()) / 2
			}
			out[in.Name()] = tensor.Of(shape, v)
		case onnx.Int64, onnx.Int32:
			v := make([]int64, count)
			for i := range v {
				if v[i] = 1 + r.Int64N(8); strings.Contains(in.Name(), "mask") {
					v[i] = 1
				}
			}
			x := tensor.Of(shape, v)
			if in.Type.Elem == onnx.Int32 {
				w := make([]int32, count)
				for i := range v {
					w[i] = int32(v[i])
				}
				x = tensor.Of(shape, w)
			}
			out[in.Name()] = x
		default:
			return nil, fmt.Errorf("input %q is of type %s", in.Name(), in.Type.Elem)
		}
	}
	return out, nil
}

// answers runs a model as it is written, or as the engine optimizes it.
func answers(path string, in map[string]tensor.Tensor, optimize bool) (map[string]tensor.Tensor, error) {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: 1, Optimize: optimize})
	if err != nil {
		return nil, err
	}
	out, err := s.Run(in, nil)
	return out, errors.Join(err, s.Close())
}

// TestFixtureTargets takes each model of the folder that OPTIMIZE_FIXTURES names through the plain rules of each target:
// what comes out obeys the engine's rules node by node, loads, and computes what the model does when it is read literally;
// or the model is refused with a reason.
func TestFixtureTargets(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("OPTIMIZE_FIXTURES names no folder of models")
	}
	needRuntime(t)
	paths, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s has no models: %v", dir, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".onnx"), func(t *testing.T) {
			in, want := fixture(t, path)
			data := writeDataset(t, in)
			for _, target := range TargetNames() {
				j, _ := testJob(t)
				j.threads = 2
				r, err := quantizeStatic(t.Context(), j, StaticConfig{Model: sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}},
					Calibration: &data, Target: target, PerChannel: true, Search: "off", Smooth: ptr(false)})
				var d sdk.Diagnostic
				if errors.As(err, &d) && d.Summary != "" && d.Detail != "" {
					t.Logf("%s: refused: %s: %.150s", target, d.Summary, strings.ReplaceAll(d.Detail, "\n", " | "))
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", target, err)
					continue
				}
				out := filepath.Join(j.outDir, r.Outputs["model"].Path)
				q, err := onnx.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				obeys(t, q, target)
				f := r.Facts.(StaticFacts)
				accounted(t, q, f, target)
				for _, optimize := range []bool{false, true} {
					if optimize && row(t, target).Engine != "onnxruntime" {
						continue
					}
					got, err := answers(out, in, optimize)
					if err != nil {
						t.Errorf("%s, optimized %v: the engine does not run it: %v", target, optimize, err)
						continue
					}
					db := worstSQNR(t, want, got)
					t.Logf("%s, optimized %v: %.1f dB, MACs %.2f, weights %.2f, %d in float", target, optimize, db, f.ShareMACs, f.ShareWeightBytes, len(f.NodesFloat))
					// The detector answers almost zero everywhere where there is no text.
					if !(db > 3) && !strings.Contains(path, "det_infer") {
						t.Errorf("%s, optimized %v: %.1f dB", target, optimize, db)
					}
				}
			}
		})
	}
}

// fixture makes data up for a model and runs it; a model that made-up data are no use to is skipped.
func fixture(t *testing.T, path string) (in, want map[string]tensor.Tensor) {
	t.Helper()
	m, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	samples := int64(2)
	if f := m.Graph.Feeds(); len(f) > 0 && f[0].Type != nil && len(f[0].Type.Shape) > 0 && f[0].Type.Shape[0].Value > 0 {
		samples = f[0].Type.Shape[0].Value
	}
	for _, s := range [][3]int64{{576, 48, 192}, {16, 64, 64}, {512, 320, 320}} {
		if in, err = madeUp(m, samples, s[0], s[1], s[2]); err != nil {
			t.Skip(err)
		}
		if want, err = answers(path, in, true); err == nil {
			return in, want
		}
	}
	t.Skipf("the engine does not run it on made-up data: %v", err)
	return nil, nil
}

// TestFixtureSteps takes each model of the folder that OPTIMIZE_FIXTURES names through the steps that need no target: what
// comes out loads and agrees as far as the form can, or the model is refused with a reason.
func TestFixtureSteps(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("OPTIMIZE_FIXTURES names no folder of models")
	}
	needRuntime(t)
	paths, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s has no models: %v", dir, err)
	}
	weights := func(format string, block int64) func(j job, m sdk.Model) (*sdk.Result, error) {
		return func(j job, m sdk.Model) (*sdk.Result, error) {
			return quantizeWeights(t.Context(), j, t.TempDir(), WeightsConfig{Model: m, Format: format, Form: "auto", Algorithm: "rtn", BlockSize: block, Embeddings: true, Compute: "float32", Damping: 0.01})
		}
	}
	steps := []struct {
		name  string
		least float64 // dB
		run   func(j job, m sdk.Model) (*sdk.Result, error)
	}{
		{"dynamic", 5, func(j job, m sdk.Model) (*sdk.Result, error) {
			return quantizeDynamic(t.Context(), j, DynamicConfig{Model: m, Target: "onnxruntime-x86-vnni", PerChannel: true, Embeddings: true})
		}},
		{"int8", 15, weights("int8", 32)}, {"int4", 2, weights("int4", 32)}, {"nf4", 2, weights("nf4", 64)}, {"fp4", 2, weights("fp4", 64)}, {"fp8", 10, weights("fp8", 32)},
		{"cluster of 8 bits", 15, func(j job, m sdk.Model) (*sdk.Result, error) {
			return quantizeCluster(t.Context(), j, ClusterConfig{Model: m, Bits: 8})
		}},
		{"cluster of 7 bits in groups", 10, func(j job, m sdk.Model) (*sdk.Result, error) {
			return quantizeCluster(t.Context(), j, ClusterConfig{Model: m, Bits: 7, GroupSize: 16})
		}},
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".onnx"), func(t *testing.T) {
			in, want := fixture(t, path)
			for _, s := range steps {
				j, _ := testJob(t)
				j.threads = 2
				r, err := s.run(j, sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}})
				var d sdk.Diagnostic
				if errors.As(err, &d) && d.Summary != "" && d.Detail != "" {
					t.Logf("%s: refused: %s: %.120s", s.name, d.Summary, strings.ReplaceAll(d.Detail, "\n", " | "))
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", s.name, err)
					continue
				}
				got, err := answers(filepath.Join(j.outDir, r.Outputs["model"].Path), in, true)
				if err != nil {
					t.Errorf("%s: the engine does not run it: %v", s.name, err)
					continue
				}
				db := worstSQNR(t, want, got)
				t.Logf("%s: %.1f dB", s.name, db)
				if !(db > s.least) && !strings.Contains(path, "det_infer") {
					t.Errorf("%s: %.1f dB", s.name, db)
				}
			}
		})
	}
}

// worstSQNR is that of the output that agrees least.
func worstSQNR(t *testing.T, want, got map[string]tensor.Tensor) float64 {
	t.Helper()
	worst := math.Inf(1)
	for name, w := range want {
		if !w.DType.IsFloat() {
			continue
		}
		a, err := tensor.ToFloat32(w)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tensor.ToFloat32(got[name])
		if err != nil || len(a) != len(b) {
			t.Fatalf("output %q has %d elements, had %d: %v", name, len(b), len(a), err)
		}
		worst = min(worst, sqnr(a, b))
	}
	return worst
}

// accounted: each node that multiplies is in integers, or there is a reason why not.
func accounted(t *testing.T, m *onnx.Model, f StaticFacts, target string) {
	t.Helper()
	for n := range m.Graph.Nodes() {
		if !n.Is("Conv") && !n.Is("ConvTranspose") && !n.Is("Gemm") && !n.Is("MatMul") {
			continue
		}
		if dq := m.Graph.Producer(n.Input(1)); dq != nil && dq.Is("DequantizeLinear") {
			continue
		}
		if !slices.ContainsFunc(f.NodesFloat, func(s string) bool { return strings.HasPrefix(s, nodeName(n)+" (") && len(s) > len(nodeName(n))+10 }) {
			t.Errorf("%s: %s %q is in float and no reason is given", target, n.OpType, nodeName(n))
		}
	}
}
