package quantize

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// needRuntime loads ONNX Runtime, or skips the test where there is none.
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

// row returns a target of the table.
func row(t testing.TB, name string) *Target {
	t.Helper()
	r, err := resolveTarget(name, CPU{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// writeDataset materialises fields, axis 0 counting samples, as one shard.
func writeDataset(t testing.TB, fields map[string]tensor.Tensor) sdk.Dataset {
	t.Helper()
	dir := t.TempDir()
	x := tensor.Index{}
	var named []tensor.Named
	for name, f := range fields {
		x.Samples = f.Shape[0]
		x.Fields = append(x.Fields, tensor.Field{Name: name, DType: f.DType, Shape: f.Shape[1:]})
		named = append(named, tensor.Named{Name: name, Tensor: f})
	}
	x.Shards = []tensor.Shard{{File: "shard-00000.safetensors", Samples: x.Samples}}
	if err := tensor.WriteFile(filepath.Join(dir, x.Shards[0].File), named, nil); err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteIndex(dir, x); err != nil {
		t.Fatal(err)
	}
	return sdk.Dataset{Artifact: sdk.Artifact{Kind: "dataset", Path: dir}}
}

func ptr[T any](v T) *T { return &v }

// writeModel puts a model into a file of its own.
func writeModel(t testing.TB, m *onnx.Model) sdk.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: path}}
}

// testJob collects what a step says.
func testJob(t testing.TB) (job, *[]sdk.Diagnostic) {
	warned := &[]sdk.Diagnostic{}
	return job{outDir: t.TempDir(), threads: 1,
		progress: func(string, int64, int64, string) {},
		warn:     func(d sdk.Diagnostic) { *warned = append(*warned, d) }}, warned
}

// static runs quantize_static and returns the model and the facts.
func static(t testing.TB, c StaticConfig) (*onnx.Model, StaticFacts) {
	t.Helper()
	j, _ := testJob(t)
	r, err := quantizeStatic(t.Context(), j, c)
	if err != nil {
		t.Fatalf("quantize_static: %v", err)
	}
	m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
	if err != nil {
		t.Fatal(err)
	}
	return m, r.Facts.(StaticFacts)
}

// counts tells how often each operator is in a graph, "Conv 2, Relu 1" in alphabetical order; DequantizeLinear and
// QuantizeLinear are left out when skip says so.
func counts(m *onnx.Model, skip ...string) map[string]int {
	n := map[string]int{}
	for node := range m.Graph.AllNodes() {
		n[node.OpType]++
	}
	for _, s := range skip {
		delete(n, s)
	}
	return n
}

// engineGraph returns the graph that ONNX Runtime makes of a model.
func engineGraph(t testing.TB, m *onnx.Model) *onnx.Model {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "optimized.onnx")
	s, err := ort.NewSession(b, ort.Options{Threads: 1, Optimize: true, OptimizedModelPath: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// runModel computes the outputs of a model.
func runModel(t testing.TB, m *onnx.Model, in map[string]tensor.Tensor) map[string][]float32 {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := map[string][]float32{}
	for name, v := range out {
		f, err := tensor.ToFloat32(v)
		if err != nil {
			t.Fatal(err)
		}
		r[name] = f
	}
	return r
}

// measured returns the range of each value of a model on some input: calibration in its simplest form.
func measured(t testing.TB, m *onnx.Model, values []string, in map[string]tensor.Tensor) ranges {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	tapped, err := onnx.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	r := ranges{}
	for _, v := range values {
		switch x, ok := in[v]; {
		case ok:
			f, err := tensor.ToFloat32(x)
			if err != nil {
				t.Fatal(err)
			}
			r[v] = Range{slices.Min(f), slices.Max(f)}
		case !tapped.Graph.IsOutput(v):
			tapped.Graph.AddOutput(onnx.NewValueInfo(v, onnx.Float, nil))
		}
	}
	out := runModel(t, tapped, in)
	for _, v := range values {
		if _, ok := r[v]; !ok {
			r[v] = Range{slices.Min(out[v]), slices.Max(out[v])}
		}
	}
	return r
}

// npz reads one array of an .npz file: uncompressed or deflated, version 1 headers, little-endian.
func npz(t testing.TB, path, field string) tensor.Tensor {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open(field + ".npy")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, []byte("\x93NUMPY\x01")) {
		t.Fatalf("%s: not a version 1 npy", path)
	}
	n := int(binary.LittleEndian.Uint16(b[8:]))
	head, data := string(b[10:10+n]), b[10+n:]
	out := tensor.Tensor{Data: data}
	switch {
	case strings.Contains(head, "|u1"):
		out.DType = tensor.U8
	case strings.Contains(head, "<i8"):
		out.DType = tensor.I64
	default:
		t.Fatalf("%s: header %s", path, head)
	}
	_, shape, _ := strings.Cut(head, "'shape': (")
	shape, _, _ = strings.Cut(shape, ")")
	for _, d := range strings.Split(shape, ",") {
		if d = strings.TrimSpace(d); d != "" {
			v, err := strconv.ParseInt(d, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			out.Shape = append(out.Shape, v)
		}
	}
	return out
}

const digits = "../../recipes/digits/"

// digitImages returns the first n images of a file as the network takes them.
func digitImages(t testing.TB, file string, n int64) tensor.Tensor {
	t.Helper()
	u8, err := npz(t, digits+file, "image").Rows(0, n)
	if err != nil {
		t.Fatal(err)
	}
	f := make([]float32, len(u8.Data))
	for i, v := range u8.Data {
		f[i] = float32(v) / 255
	}
	return tensor.Of(u8.Shape, f)
}

func digitsModel() sdk.Model {
	return sdk.Model{Artifact: sdk.Artifact{Kind: "model", Format: "onnx", Path: digits + "digits.onnx"}}
}

// builder makes small graphs with reproducible weights.
type builder struct {
	m    *onnx.Model
	seed uint32
}

func newBuilder(opset int64) *builder { return &builder{m: onnx.NewModel("test", opset), seed: 1} }

func (b *builder) input(name string, dims ...int64) string {
	shape := append([]onnx.Dim{onnx.ParamDim("N")}, onnx.FixedDims(dims...)...)
	b.m.Graph.AddInput(onnx.NewValueInfo(name, onnx.Float, shape))
	return name
}

func (b *builder) output(name string) {
	b.m.Graph.AddOutput(onnx.NewValueInfo(name, onnx.Float, nil))
}

// shapeOutputs states the inferred shapes of the outputs: models that tools write have them.
func (b *builder) shapeOutputs(t testing.TB) {
	t.Helper()
	s, err := onnx.InferShapes(b.m)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range slices.Clone(b.m.Graph.Outputs()) {
		_, dims, ok := s.Of(o.Name())
		if !ok {
			t.Fatalf("the shape of %q is not known", o.Name())
		}
		o.Type.Shape, o.Type.HasShape = dims, true
	}
}

// random is an initializer of values between -scale and scale.
func (b *builder) random(name string, scale float32, dims ...int64) string {
	b.m.Graph.AddInitializer(onnx.NewTensor(name, b.noise(scale, dims...)))
	return name
}

func (b *builder) noise(scale float32, dims ...int64) tensor.Tensor {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		b.seed = b.seed*1664525 + 1013904223
		v[i] = scale * (float32(b.seed>>8)/(1<<23) - 1)
	}
	return tensor.Of(dims, v)
}

func (b *builder) ints(name string, v ...int64) string {
	b.m.Graph.AddInitializer(onnx.NewInt64s(name, v, int64(len(v))))
	return name
}

func (b *builder) scalar(name string, v float32) string {
	b.m.Graph.AddInitializer(floats(name, nil, []float32{v}))
	return name
}

// node appends a node called like its output.
func (b *builder) node(op, out string, inputs []string, attrs ...*onnx.Attribute) string {
	b.m.Graph.AppendNode(onnx.NewNode(op, "", out, inputs, []string{out}, attrs...))
	return out
}

// conv appends a 3x3 convolution with bias that keeps the size.
func (b *builder) conv(out, in string, cin, cout int64) string {
	return b.node("Conv", out, []string{in, b.random(out+".w", 0.4, cout, cin, 3, 3), b.random(out+".b", 0.5, cout)},
		onnx.IntsAttr("kernel_shape", 3, 3), onnx.IntsAttr("pads", 1, 1, 1, 1))
}

func (b *builder) relu(out, in string) string { return b.node("Relu", out, []string{in}) }

// show prints a map in a fixed order.
func show(m map[string]int) string { return fmt.Sprint(m) }
