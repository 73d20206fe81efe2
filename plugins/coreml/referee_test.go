package coreml

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// refereeJob is a package for testdata/referee.py.
type refereeJob struct {
	Name      string `json:"name"`
	Package   string `json:"package"`
	Inputs    string `json:"inputs"`
	Want      string `json:"want"`
	tolerance float64
}

// engineOutputs are ONNX Runtime's outputs for the inputs, in order.
func engineOutputs(t *testing.T, m sdk.Model, feeds map[string]tensor.Tensor) []tensor.Tensor {
	t.Helper()
	b, err := os.ReadFile(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Run(feeds, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []tensor.Tensor
	for _, o := range s.Outputs() {
		out = append(out, got[o.Name].Clone())
	}
	return out
}

// numberedFile writes tensors named by their places.
func numberedFile(t *testing.T, path string, ts ...tensor.Tensor) string {
	t.Helper()
	named := make([]tensor.Named, 0, len(ts))
	for i, x := range ts {
		named = append(named, tensor.Named{Name: strconv.Itoa(i), Tensor: x})
	}
	if err := tensor.WriteFile(path, named, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// needReferee skips a test where OPTIMIZE_REFEREE_COREML names no Python with coremltools, or there is no ONNX Runtime.
func needReferee(t *testing.T) string {
	t.Helper()
	python := os.Getenv("OPTIMIZE_REFEREE_COREML")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_COREML is not set")
	}
	lib, err := ort.Locate()
	if err == nil {
		err = ort.Load(lib)
	}
	if err != nil {
		t.Skipf("needs ONNX Runtime: %s", err)
	}
	return python
}

// fixtureSizes are sizes for the open axes of the inputs of real models, by a part of their files' names.
var fixtureSizes = []struct {
	part   string
	shapes map[string][]string
}{
	{"magika", map[string][]string{"bytes": {"1", "2048"}}}, {"nudenet", map[string][]string{"images": {"1", "3", "160", "160"}}}, {"_cls_", map[string][]string{"x": {"1", "3", "48", "192"}}},
	{"_det_", map[string][]string{"x": {"1", "3", "64", "64"}}}, {"_rec_", map[string][]string{"x": {"1", "3", "48", "96"}}}, {"sequence", map[string][]string{"input": {"4", "576"}}},
	{"openvino_16k", nil}, {"silero", map[string][]string{"input": {"1", "512"}, "state": {"2", "1", "128"}}}, {"slovorez", map[string][]string{"input_layer": {"1", "32"}}},
	{"bilstm", map[string][]string{"input_ids": {"1", "24"}}}, {"rawi", map[string][]string{"input": {"1", "24"}}}, {"MiniLM", map[string][]string{"input_ids": {"1", "16"}, "attention_mask": {"1", "16"}}},
}

// TestRefereeFixtures runs the step on the models of the folder that OPTIMIZE_FIXTURES names, in both precisions.
func TestRefereeFixtures(t *testing.T) {
	python := needReferee(t)
	files, _ := filepath.Glob(filepath.Join(os.Getenv("OPTIMIZE_FIXTURES"), "*.onnx"))
	if os.Getenv("OPTIMIZE_FIXTURES") == "" || len(files) == 0 {
		t.Skip("OPTIMIZE_FIXTURES is not set")
	}
	dir := t.TempDir()
	var jobs []refereeJob
	for _, file := range files {
		if strings.Contains(file, "light_") {
			continue // weights of one number: what they compute tells nothing, and some are of half a gigabyte
		}
		c := Config{Model: modelAt(file)}
		for _, s := range fixtureSizes {
			if strings.Contains(filepath.Base(file), s.part) {
				c.Shapes = s.shapes
				break
			}
		}
		m, err := onnx.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		noise := rand.New(rand.NewPCG(7, 7))
		feeds, in := map[string]tensor.Tensor{}, []tensor.Tensor(nil)
		for _, v := range m.Graph.Feeds() {
			if v.Name() == "sr" {
				c.InputValues = map[string]float64{"sr": 16000}
				feeds["sr"] = tensor.Of([]int64{}, []int64{16000})
				continue
			}
			s, n := []int64{}, int64(1)
			for i, d := range v.Type.Shape {
				size := max(d.Value, 1)
				if t := c.Shapes[v.Name()]; t != nil {
					size, _ = strconv.ParseInt(t[i], 10, 64)
				}
				s, n = append(s, size), n*size
			}
			f := make([]float32, n)
			for i := range f {
				f[i] = 2*noise.Float32() - 1
			}
			x := tensor.Of(s, f)
			ints := make([]int64, n)
			for i := range ints {
				ints[i] = int64(math.Abs(float64(f[i]))*30) + 1
				if strings.Contains(v.Name(), "mask") {
					ints[i] = 1
				}
			}
			switch v.Type.Elem {
			case onnx.Int64:
				x = tensor.Of(s, ints)
			case onnx.Int32:
				narrow := make([]int32, n)
				for i := range narrow {
					narrow[i] = int32(ints[i])
				}
				x = tensor.Of(s, narrow)
			}
			feeds[v.Name()], in = x, append(in, x)
		}
		want := engineOutputs(t, c.Model, feeds)
		single, half := 1e-5, 1e-2
		if strings.Contains(file, "_det_") {
			single = 2e-4 // it ends in the sigmoid of numbers of more than a hundred: a millionth of those
		}
		for x := range m.AllTensors() {
			if x.DataType == onnx.Float16 {
				single = half // ONNX Runtime computes in half precision, too
			}
		}
		for n := range m.Graph.AllNodes() {
			if strings.HasPrefix(n.OpType, "DynamicQuantize") {
				single, half = 0.1, 0.1 // the program does not round activations
			}
		}
		for _, precision := range []string{"float32", "float16"} {
			c.Precision = precision
			_, at, _ := converted(t, c)
			base := filepath.Join(dir, strconv.Itoa(len(jobs)))
			jobs = append(jobs, refereeJob{Name: filepath.Base(file) + ", " + precision, Package: at, Inputs: numberedFile(t, base+"-in.safetensors", in...),
				Want: numberedFile(t, base+"-want.safetensors", want...), tolerance: map[string]float64{"float32": single, "float16": half}[precision]})
		}
	}
	judge(t, python, dir, jobs)
}

// TestReferee has what the step writes read by coremltools, and run there: open shapes at two sizes, pictures, states,
// classifiers, each against ONNX Runtime.
func TestReferee(t *testing.T) {
	python := needReferee(t)
	dir := t.TempDir()
	var jobs []refereeJob
	add := func(name string, c Config, tolerance float64, in []tensor.Tensor, want ...tensor.Tensor) {
		if c.Precision == "" {
			c.Precision = "float32"
		}
		_, at, _ := converted(t, c)
		base := filepath.Join(dir, strconv.Itoa(len(jobs)))
		j := refereeJob{Name: name, Package: at, tolerance: tolerance}
		if want != nil {
			j.Inputs, j.Want = numberedFile(t, base+"-in.safetensors", in...), numberedFile(t, base+"-want.safetensors", want...)
		}
		jobs = append(jobs, j)
	}
	one := tensorOf(28*28, 1, 1, 28, 28)
	two := tensorOf(2*28*28, 2, 1, 28, 28)
	add("digits, half", Config{Model: modelAt(digits), Precision: "float16"}, 1e-2, []tensor.Tensor{one}, engineOutputs(t, modelAt(digits), map[string]tensor.Tensor{"input": one})...)
	for _, x := range []tensor.Tensor{one, two} {
		for name, c := range map[string]Config{"a range": {Shapes: map[string][]string{"input": {"1..8", "1", "28", "28"}}},
			"enumerated":         {Enumerated: map[string][][]int64{"input": {{1, 1, 28, 28}, {2, 1, 28, 28}}}},
			"a range, iOS15":     {Target: "iOS15", Shapes: map[string][]string{"input": {"1..8", "1", "28", "28"}}},
			"a range, iOS18":     {Target: "iOS18", Shapes: map[string][]string{"input": {"1..", "1", "28", "28"}}},
			"kept float, a rest": {Target: "iOS16", Precision: "float16", KeepFloat: []string{"Conv", "Add", "Relu", "Gemm", "Flatten", "GlobalAveragePool"}, Shapes: map[string][]string{"input": {"1..8", "1", "28", "28"}}},
		} {
			c.Model = modelAt(digits)
			add(name+" of "+strconv.Itoa(int(x.Shape[0])), c, map[bool]float64{true: 1e-2, false: 1e-5}[c.Precision == "float16"], []tensor.Tensor{x}, engineOutputs(t, c.Model, map[string]tensor.Tensor{"input": x})...)
		}
	}
	for _, last := range []bool{false, true} {
		// The model is given what the package makes of the pixels: times a scale, plus a bias, channels where it wants them.
		m := convModel(last)
		shapes, layout := []string{"1", "3", "8..16", "8..16"}, "NCHW"
		if last {
			shapes, layout = []string{"1", "8..16", "8..16", "3"}, "NHWC"
		}
		c := Config{Model: written(t, m), Shapes: map[string][]string{"image": shapes},
			Inputs: map[string]InputConfig{"image": {Color: "RGB", Layout: layout, Scale: []float64{0.5, 0.25, 2}, Bias: []float64{-1, 0, 1}}}}
		pixels := tensorOf(3*8*12, 1, 3, 8, 12)
		v, _ := tensor.View[float32](pixels)
		scaled := make([]float32, len(v))
		for i, p := range v {
			ch := i / (8 * 12)
			to := i
			if last {
				to = (i%(8*12))*3 + ch
			}
			scaled[to] = p*float32(c.Inputs["image"].Scale[ch]) + float32(c.Inputs["image"].Bias[ch])
		}
		shape := []int64{1, 3, 8, 12}
		if last {
			shape = []int64{1, 8, 12, 3}
		}
		add("picture "+layout, c, 1e-5, []tensor.Tensor{pixels}, engineOutputs(t, c.Model, map[string]tensor.Tensor{"image": tensor.Of(shape, scaled)})...)
	}
	// States begin as zeros.
	x, zero := tensorOf(4, 1, 4), tensor.Of([]int64{1, 4}, make([]float32, 4))
	m := written(t, counter())
	add("state", Config{Model: m, Target: "iOS18", States: map[string]string{"state": "next"}}, 1e-3, []tensor.Tensor{x},
		engineOutputs(t, m, map[string]tensor.Tensor{"x": x, "state": zero})[:1]...)
	add("classes", Config{Model: modelAt(digits), Classes: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}}, 0, nil)
	names := graph(onnx.Float, onnx.FixedDims(2), node("Exp", "e", "x", "1/y:0"), node("Identity", "i", "1/y:0", "z.z"), node("Abs", "j", "z.z", "y-2"))
	names.Graph.AddOutput(onnx.NewValueInfo("1/y:0", onnx.Float, nil))
	names.Graph.AddOutput(onnx.NewValueInfo("z.z", onnx.Float, nil))
	mn := written(t, names)
	in := tensorOf(2, 2)
	add("names", Config{Model: mn}, 1e-5, []tensor.Tensor{in}, engineOutputs(t, mn, map[string]tensor.Tensor{"x": in})...)

	// The program in a detector: shares of a picture, scores as they are. The suppression is Core ML's own, which is not here.
	cells := tensorOf(5*6, 1, 5, 6)
	v, _ := tensor.View[float32](cells)
	var confidence, middles, corners []float32
	for i := range 5 {
		b := v[6*i:]
		confidence = append(confidence, b[4], b[5])
		middles = append(middles, b[0]/640, b[1]/320, b[2]/640, b[3]/320)
		corners = append(corners, (b[0]+b[2])/2, (b[1]+b[3])/2, b[2]-b[0], b[3]-b[1])
	}
	labels := []string{"a", "b"}
	scores := tensor.Of([]int64{5, 2}, confidence)
	add("detector", Config{Model: written(t, boxesModel(true)), Classes: labels, Detection: &DetectionConfig{Boxes: "all", Size: []int64{640, 320}, IoU: 0.45, Least: 0.25}}, 1e-5,
		[]tensor.Tensor{cells}, scores, tensor.Of([]int64{5, 4}, middles))
	add("detector of corners", Config{Model: written(t, boxesModel(false)), Classes: labels, Detection: &DetectionConfig{Boxes: "boxes", Scores: "scores", Format: "corners", IoU: 0.45, Least: 0.25}}, 1e-5,
		[]tensor.Tensor{cells}, scores, tensor.Of([]int64{5, 4}, corners))

	judge(t, python, dir, jobs)
}

// judge has the referee run the packages, and fails what is too far away.
func judge(t *testing.T, python, dir string, jobs []refereeJob) {
	t.Helper()
	list := filepath.Join(dir, "jobs.json")
	if err := os.WriteFile(list, mustJSON(t, jobs), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "testdata/referee.py", list) //nolint:gosec // the developer names it
	cmd.Stderr, cmd.Env = &stderr, append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != len(jobs) {
		t.Fatalf("%d answers to %d packages:\n%s", len(lines), len(jobs), out)
	}
	for i, line := range lines {
		var v struct {
			Name, Error string
			Away        *float64
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		switch {
		case v.Error != "" || v.Away == nil:
			t.Errorf("%s: %s", v.Name, v.Error)
		case !(*v.Away <= jobs[i].tolerance):
			t.Errorf("%s: %.3g away, of %g at most", v.Name, *v.Away, jobs[i].tolerance)
		default:
			t.Logf("%s: %.2g away", v.Name, *v.Away)
		}
	}
}
