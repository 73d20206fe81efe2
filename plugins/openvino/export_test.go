package openvino

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

const digits = "../../recipes/digits/digits.onnx"

// needLibrary skips a test where OpenVINO is not installed, unless OPTIMIZE_REQUIRE_RUNTIME=1 says that it must be.
func needLibrary(t testing.TB) {
	t.Helper()
	_, err := load()
	switch {
	case err == nil:
	case os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1":
		t.Fatal(err)
	default:
		t.Skipf("needs OpenVINO: %s", err)
	}
}

func model(path string) sdk.Model {
	return sdk.Model{Artifact: sdk.Artifact{Format: "onnx", Path: path}}
}

// exported runs the step; the folder with the IR and the facts.
func exported(t *testing.T, c ExportConfig) (string, ExportFacts) {
	t.Helper()
	dir := t.TempDir()
	r, err := export(t.Context(), job{dir, 2, func(string) {}}, c)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, r.Outputs["model"].Path), r.Facts.(ExportFacts)
}

func refused(t *testing.T, c ExportConfig) sdk.Diagnostic {
	t.Helper()
	dir := t.TempDir()
	_, err := export(t.Context(), job{dir, 2, func(string) {}}, c)
	var d sdk.Diagnostic
	if !errors.As(err, &d) {
		t.Fatalf("%+v: %v", c, err)
	}
	t.Log(d.Summary, "|", d.Detail)
	return d
}

// run gives the model's first output.
func run(t *testing.T, path string, inputs ...tensor.Tensor) []float32 {
	t.Helper()
	m, err := ov.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c, err := m.Compile("CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return outputOf(t, c, inputs...)
}

func outputOf(t *testing.T, c *ov.Compiled, inputs ...tensor.Tensor) []float32 {
	t.Helper()
	r, err := c.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Bind(inputs); err != nil {
		t.Fatal(err)
	}
	if err := r.Do(); err != nil {
		t.Fatal(err)
	}
	y, err := r.Output(0)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tensor.View[float32](y)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ramp(shape ...int64) tensor.Tensor {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%251) / 250
	}
	return tensor.Of(shape, x)
}

func TestExport(t *testing.T) {
	needLibrary(t)
	dir, facts := exported(t, ExportConfig{Model: model(digits), Simplify: true})
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 || filepath.Base(files[0]) != "model.bin" || filepath.Base(files[1]) != "model.xml" {
		t.Fatal(files, err)
	}
	x := ramp(3, 1, 28, 28)
	same(t, run(t, filepath.Join(dir, irFile), x), run(t, digits, x), 1e-5)
	if facts.OpenVINO == "" || facts.Operations["Convolution"] != 9 || facts.Inputs["input"] != "f32 [?, 1, 28, 28]" || facts.Outputs["logits"] != "f32 [?, 10]" {
		t.Errorf("%+v", facts)
	}
	var size int64
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += st.Size()
	}
	if facts.Size != size || facts.Weights["f32"] < 300_000 {
		t.Errorf("%+v", facts)
	}
	_, half := exported(t, ExportConfig{Model: model(digits), CompressToFP16: true})
	if half.Weights["f16"] < 150_000 || half.Size > facts.Size*7/10 {
		t.Errorf("%+v", half)
	}
}

// The same model gives the same bytes, whatever OpenVINO did before in the process.
func TestSameBytes(t *testing.T) {
	needLibrary(t)
	first := map[string]string{}
	for i := range 6 {
		c := ExportConfig{Model: model(digits), Simplify: i%2 == 0, CompressToFP16: i%2 == 0, Inputs: map[string]InputConfig{"input": {Type: "u8", Layout: "NHWC", Mean: []float64{3}, Scale: []float64{255}}}}
		dir, _ := exported(t, c)
		for _, f := range []string{irFile, weightsFile} {
			b, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprint(f, c.Simplify)
			if i < 2 {
				first[key] = string(b)
			} else if string(b) != first[key] {
				t.Fatalf("%s differs:\n%s", key, firstDifference(string(b), first[key]))
			}
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + "\n" + y[i]
		}
	}
	return "in length"
}

func TestShapes(t *testing.T) {
	needLibrary(t)
	_, facts := exported(t, ExportConfig{Model: model(digits), Shapes: map[string][]string{"input": {"1..8", "1", "28", "28"}}})
	if facts.Inputs["input"] != "f32 [1..8, 1, 28, 28]" || facts.Outputs["logits"] != "f32 [1..8, 10]" {
		t.Errorf("%+v", facts)
	}
	for want, shapes := range map[string]map[string][]string{
		`no input "image"`:           {"image": {"1"}},
		"has 4 axes, not 1":          {"input": {"1"}},
		"does not take these shapes": {"input": {"1", "3", "28", "28"}},
	} {
		if d := refused(t, ExportConfig{Model: model(digits), Shapes: shapes}); !strings.Contains(d.Summary, want) || d.Path[0] != "shapes" || !strings.Contains(d.Detail, `"input" f32 [?, 1, 28, 28]`) {
			t.Errorf("%s: %+v", want, d)
		}
	}
}

// colour is a model that passes a picture of 3 channels on, in NCHW.
func colour(t *testing.T) string {
	t.Helper()
	m := onnx.NewModel("colour", 13)
	m.Graph.AddInput(onnx.NewValueInfo("image", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 3}, {Value: 2}, {Value: 2}}))
	m.Graph.AddInitializer(onnx.NewFloats("one", []float32{1}))
	m.Graph.AppendNode(onnx.NewNode("Add", "", "plus", []string{"image", "one"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 3}, {Value: 2}, {Value: 2}}))
	path := filepath.Join(t.TempDir(), "colour.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// The preparation computes what the recipe says: worked out by hand.
func TestPreparation(t *testing.T) {
	needLibrary(t)
	dir, facts := exported(t, ExportConfig{Model: model(colour(t)), Inputs: map[string]InputConfig{"image": {
		Type: "u8", Layout: "NHWC", ReverseChannels: true, Mean: []float64{10, 20, 30}, Scale: []float64{2, 4, 5}}}})
	if facts.Inputs["image"] != "u8 [1, 2, 2, 3]" {
		t.Errorf("%+v", facts)
	}
	picture := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} // RGB, row by row
	got := run(t, filepath.Join(dir, irFile), tensor.Tensor{DType: tensor.U8, Shape: []int64{1, 2, 2, 3}, Data: picture})
	var want []float32
	for c, channel := range []int{2, 1, 0} { // BGR
		mean, scale := []float32{10, 20, 30}[c], []float32{2, 4, 5}[c]
		for p := range 4 {
			want = append(want, (float32(picture[3*p+channel])-mean)/scale+1)
		}
	}
	for i := range want {
		if d := got[i] - want[i]; d > 1e-5 || d < -1e-5 {
			t.Fatalf("%v, not %v", got, want)
		}
	}

	// A picture of twice the size, of which each four equal points become one.
	dir, facts = exported(t, ExportConfig{Model: model(colour(t)), Inputs: map[string]InputConfig{"image": {Layout: "NCHW", Size: []int64{4, 4}, Resize: "linear"}}})
	if facts.Inputs["image"] != "f32 [1, 3, 4, 4]" {
		t.Errorf("%+v", facts)
	}
	big := make([]float32, 48)
	want = nil
	for c := range 3 {
		for y := range 4 {
			for x := range 4 {
				big[16*c+4*y+x] = float32(4*c + 2*(y/2) + x/2)
			}
		}
		want = append(want, float32(4*c)+1, float32(4*c)+2, float32(4*c)+3, float32(4*c)+4)
	}
	if got := run(t, filepath.Join(dir, irFile), tensor.Of([]int64{1, 3, 4, 4}, big)); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if _, facts = exported(t, ExportConfig{Model: model(colour(t)), Inputs: map[string]InputConfig{"image": {Layout: "NHWC", Resize: "cubic"}}}); facts.Inputs["image"] != "f32 [1, ?, ?, 3]" {
		t.Errorf("%+v", facts)
	}
	for want, c := range map[string]InputConfig{
		"has 3 axes, the input 4":   {Layout: "HWC"},
		"2 numbers in mean, for 3":  {Layout: "NHWC", Mean: []float64{1, 2}},
		"2 numbers in scale, for 3": {Layout: "NHWC", Scale: []float64{1, 2}},
		"does not fit the model":    {Layout: "NHWC", ModelLayout: "NCWD"},
	} {
		if d := refused(t, ExportConfig{Model: model(colour(t)), Inputs: map[string]InputConfig{"image": c}}); !strings.Contains(d.Summary, want) || d.Path[0] != "input" || d.Path[1] != sdk.Key("image") {
			t.Errorf("%s: %+v", want, d)
		}
	}
	free := ExportConfig{Model: model(colour(t)), Shapes: map[string][]string{"image": {"1", "3", "?", "?"}}, Inputs: map[string]InputConfig{"image": {Layout: "NHWC", Resize: "linear"}}}
	if d := refused(t, free); !strings.Contains(d.Summary, "there is no size to resize to") {
		t.Errorf("%+v", d)
	}
}
