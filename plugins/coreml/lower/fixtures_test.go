package lower_test

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestFixtures takes each model of the folder that OPTIMIZE_FIXTURES names whole, in single precision and in half.
func TestFixtures(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("OPTIMIZE_FIXTURES names no folder of models")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no models in %s: %v", dir, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".onnx"), func(t *testing.T) {
			r := newReferee(t)
			m, err := onnx.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			inputs := noise(t, m, filepath.Base(f))
			b, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := want(b, inputs)
			if err != nil {
				t.Skipf("ONNX Runtime does not run it on noise: %v", err)
			}
			// What a model gives is chances and scores, of which ONNX Runtime itself loses about 5e-6.
			r.floor = 1
			// Models of integers round activations where the program does not, those of half precision at other places.
			single, half := 1e-5, 1e-2
			switch {
			case has(m, func(n *onnx.Node) bool {
				return strings.HasPrefix(n.OpType, "DynamicQuantize") || strings.HasSuffix(n.OpType, "Integer")
			}):
				single, half = 0.1, 0.1
			case halves(m):
				single = half
			case strings.Contains(f, "PP-OCRv4_rec"):
				half = 3e-2 // a deep net, unsure of a picture without text: its chances move by 2%
			}
			r.add(t, "single", b, inputs, wanted, lower.Options{Opset: 7}, single)
			if !strings.HasPrefix(filepath.Base(f), "light_") { // their made-up weights give numbers that half precision does not have
				// A variance as the mean of squares less the square of the mean is lost in half precision.
				keep := func(n *onnx.Node) bool { return strings.Contains(n.Output(0), "LayerNorm") }
				r.add(t, "half", b, inputs, wanted, lower.Options{Opset: 7, Half: true, Keep: keep}, half)
			}
			r.judge(t)
		})
	}
}

func has(m *onnx.Model, is func(*onnx.Node) bool) bool {
	for n := range m.Graph.AllNodes() {
		if is(n) {
			return true
		}
	}
	return false
}

// halves tells whether a model computes in half precision.
func halves(m *onnx.Model) bool {
	for t := range m.AllTensors() {
		if t.DataType == onnx.Float16 {
			return true
		}
	}
	return has(m, func(n *onnx.Node) bool { return n.OpType == "Cast" && n.IntAttr("to", 0) == int64(onnx.Float16) })
}

// noise fixes the model's open axes and makes inputs: smooth pictures and numbers from -1 to 1, whole ones from 0 to 39. The inputs of the
// model are what it has left.
func noise(t *testing.T, m *onnx.Model, name string) []tensor.Named {
	t.Helper()
	shapes, values := map[string][]int64{}, map[string]float64{}
	for _, in := range m.Graph.Feeds() {
		free := map[int][]int64{2: {1, 24}, 3: {2, 1, 128}, 4: {1, 3, 64, 64}}[len(in.Type.Shape)]
		if strings.Contains(name, "rec") && len(in.Type.Shape) == 4 {
			free = []int64{1, 3, 48, 96}
		}
		if strings.Contains(name, "silero") && len(in.Type.Shape) == 2 {
			free = []int64{1, 512}
		}
		if strings.Contains(name, "magika") && len(in.Type.Shape) == 2 {
			free = []int64{1, 2048}
		}
		var shape []int64
		for i, d := range in.Type.Shape {
			n := d.Value
			if n <= 0 && i < len(free) {
				n = free[i]
			}
			shape = append(shape, max(n, 1))
		}
		if in.Name() == "sr" {
			values["sr"] = 16000
			continue
		}
		shapes[in.Name()] = shape
	}
	if err := onnx.FixInputs(m, shapes, values); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	var out []tensor.Named
	for _, in := range m.Graph.Feeds() {
		x := noiseOf(rng, in)
		if len(x.Shape) == 4 && x.DType == tensor.F32 {
			x = picture(x.Shape)
		}
		out = append(out, tensor.Named{Name: in.Name(), Tensor: x})
	}
	return out
}

func noiseOf(rng *rand.Rand, in *onnx.ValueInfo) tensor.Tensor {
	n, shape := int64(1), []int64{}
	for _, d := range in.Type.Shape {
		n *= d.Value
		shape = append(shape, d.Value)
	}
	mask := strings.Contains(in.Name(), "mask")
	whole := func(int) int64 {
		if mask {
			return 1
		}
		return rng.Int64N(40)
	}
	switch in.Type.Elem {
	case onnx.Int64:
		return tensor.Of(shape, made(n, whole))
	case onnx.Int32:
		return tensor.Of(shape, made(n, func(i int) int32 { return int32(whole(i)) }))
	case onnx.Uint8:
		return tensor.Of(shape, made(n, func(i int) uint8 { return uint8(whole(i)) }))
	case onnx.Float16:
		x, _ := tensor.FromFloat32(tensor.F16, shape, made(n, func(int) float32 { return float32(math.Round(64*(2*rng.Float64()-1)) / 64) }))
		return x
	}
	return tensor.Of(shape, made(n, func(int) float32 { return float32(2*rng.Float64() - 1) }))
}

func made[T any](n int64, f func(i int) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = f(i)
	}
	return out
}

// picture is smooth, from -1 to 1.
func picture(shape []int64) tensor.Tensor {
	h, w := shape[2], shape[3]
	return tensor.Of(shape, made(shape[0]*shape[1]*h*w, func(i int) float32 {
		p := int64(i)
		c, y, x := float64(p/(h*w)), float64(p/w%h), float64(p%w)
		return float32(math.Sin(0.31*y+c) * math.Cos(0.23*x-0.5*c))
	}))
}
