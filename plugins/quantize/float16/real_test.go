package float16

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestRealModels converts each float model of the folder that OPTIMIZE_FIXTURES names, runs both in the engine and
// compares all outputs. It is for the slow tier: the models are those of packages, fetched by name.
func TestRealModels(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("OPTIMIZE_FIXTURES names no folder of models")
	}
	needRuntime(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no models in %s (%v)", dir, err)
	}
	for _, path := range files {
		if strings.HasPrefix(filepath.Base(path), "light_") {
			continue // a graph without weights
		}
		for _, o := range []Options{
			{To: onnx.Float16, KeepIO: true}, {To: onnx.Float16}, {To: onnx.Float16, WeightsOnly: true, KeepIO: true},
			{To: onnx.BFloat16, WeightsOnly: true, KeepIO: true},
		} {
			t.Run(fmt.Sprintf("%s/%s io=%v weights=%v", filepath.Base(path), o.To, o.KeepIO, o.WeightsOnly), func(t *testing.T) {
				compareReal(t, path, o)
			})
		}
	}
}

func compareReal(t *testing.T, path string, o Options) {
	original, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := m.Size()
	if err := Prepare(m); err != nil {
		t.Fatal(err)
	}
	r, err := Convert(m, o)
	if err != nil {
		t.Fatal(err)
	}
	want, wantErr := runReal(original, nil)
	if wantErr != nil {
		t.Skipf("the engine does not run the original on made-up data: %v", wantErr)
	}
	got, err := runReal(m, original)
	if err != nil {
		t.Fatalf("the engine does not run the result: %v", err)
	}
	worst := math.Inf(1)
	for name, w := range want {
		worst = min(worst, sqnr(w, got[name]))
	}
	t.Logf("SQNR %.1f dB, size %.2f, %d half, %d kept, %d followed, %d casts, %d+%d+%d overflowed, vanished, denormal", worst,
		float64(m.Size())/float64(before), r.Half, len(r.Kept), r.Followed, r.Casts, r.Overflowed, r.Vanished, r.Denormal)
	// A detector of text sees none in such data: its outputs are near zero, and so is the signal. What it is worth on
	// pages is for an evaluation to tell.
	least := 25.0
	if o.To == onnx.BFloat16 {
		least = 10
	}
	if worst < least {
		t.Errorf("the outputs agree to %.1f dB", worst)
	}
	for _, n := range backToBack(m) {
		t.Errorf("Cast %s reads a Cast", n.Label())
	}
}

// backToBack finds Casts that read a Cast of float types.
func backToBack(m *onnx.Model) []*onnx.Node {
	var out []*onnx.Node
	for n := range m.Graph.AllNodes() {
		if !n.Is("Cast") {
			continue
		}
		to := onnx.DataType(n.IntAttr("to", 0))
		v := home(n.Graph(), n.Input(0))
		if p := v.g.Producer(v.name); p != nil && p.Is("Cast") && to.DType().IsFloat() && onnx.DataType(p.IntAttr("to", 0)).DType().IsFloat() {
			out = append(out, n)
		}
	}
	return out
}

// sqnr compares two lists of numbers, in dB.
func sqnr(want, got []float32) float64 {
	if len(want) != len(got) {
		return math.Inf(-1)
	}
	var s, n float64
	for i, w := range want {
		d := float64(w) - float64(got[i])
		if math.IsNaN(d) {
			return math.Inf(-1)
		}
		s += float64(w) * float64(w)
		n += d * d
	}
	if n == 0 {
		return math.Inf(1)
	}
	return 10 * math.Log10(s/n)
}

// runReal runs a model on made-up inputs; types are those of like where that is given, converted to what m takes.
func runReal(m, like *onnx.Model) (map[string][]float32, error) {
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 2, Optimize: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	feed := map[string]tensor.Tensor{}
	for i, in := range s.Inputs() {
		f, err := madeUp(in, i)
		if err != nil {
			return nil, err
		}
		feed[in.Name] = f
	}
	out, err := s.Run(feed, nil)
	if err != nil {
		return nil, err
	}
	r := map[string][]float32{}
	for name, v := range out {
		if r[name], err = tensor.ToFloat32(v); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// madeUp makes an input: smooth images with sharp marks, waves for sounds, small numbers for tokens, ones for masks.
func madeUp(in ort.Info, seed int) (tensor.Tensor, error) {
	shape := append([]int64(nil), in.Shape...)
	for i, d := range shape {
		switch {
		case d > 0:
		case i == 0:
			shape[i] = 1
		case len(shape) == 4 && i == 1:
			shape[i] = 3
		case len(shape) == 4:
			shape[i] = 192
		case len(shape) == 3 && in.DType.IsFloat(): // the state of a recurrent net
			shape[i] = 1
		case strings.Contains(in.Name, "input") && in.DType.IsFloat():
			shape[i] = 512 + 64
		default:
			shape[i] = 24
		}
	}
	n, err := tensor.Elements(shape)
	if err != nil {
		return tensor.Tensor{}, err
	}
	switch in.DType {
	case tensor.F32, tensor.F16, tensor.BF16:
		v := make([]float32, n)
		width := int64(1)
		if len(shape) > 0 {
			width = max(shape[len(shape)-1], 1)
		}
		for i := range v {
			x, y := float64(int64(i)%width), float64(int64(i)/width)
			v[i] = float32(0.5*math.Sin(x/9+float64(seed)) + 0.3*math.Cos(y/7))
			if int(x)%11 < 3 && int(y)%13 < 8 {
				v[i] = -0.9
			}
			if strings.HasPrefix(in.Name, "state") || in.Name == "h" || in.Name == "c" {
				v[i] *= 0.1
			}
		}
		return tensor.FromFloat32(in.DType, shape, v)
	case tensor.I64, tensor.I32:
		v := make([]int64, n)
		for i := range v {
			v[i] = int64(1 + 37*i%43)
			switch {
			case strings.Contains(in.Name, "mask"):
				v[i] = 1
				if i > int(n)*3/4 {
					v[i] = 0
				}
			case strings.Contains(in.Name, "type"):
				v[i] = 0
			case in.Name == "sr":
				v[i] = 16000
			}
		}
		if in.DType == tensor.I64 {
			return tensor.Of(shape, v), nil
		}
		w := make([]int32, n)
		for i := range v {
			w[i] = int32(v[i])
		}
		return tensor.Of(shape, w), nil
	}
	return tensor.Tensor{}, fmt.Errorf("input %q is of type %s", in.Name, in.DType)
}

// needRuntime loads the engine, or skips the test where there is none.
func needRuntime(t testing.TB) {
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
