package ov

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

const digits = "../../../recipes/digits/digits.onnx"

// needLibrary loads OpenVINO, or skips where there is none.
func needLibrary(t testing.TB) Library {
	t.Helper()
	l, err := Find()
	var none *NotFoundError
	if errors.As(err, &none) && os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Load(l); err != nil {
		t.Fatal(err)
	}
	l, _ = Loaded()
	return l
}

func read(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// answer runs a model once, in f32 on one thread.
func answer(t *testing.T, m *Model, inputs ...tensor.Tensor) []float32 {
	t.Helper()
	c, err := m.Compile("CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return answers(t, c, inputs...)
}

func answers(t *testing.T, c *Compiled, inputs ...tensor.Tensor) []float32 {
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

// image is 28x28 numbers from 0 to 1.
func image() tensor.Tensor {
	x := make([]float32, 784)
	for i := range x {
		x[i] = float32(i%255) / 255
	}
	return tensor.Of([]int64{1, 1, 28, 28}, x)
}

func TestIR(t *testing.T) {
	l := needLibrary(t)
	t.Log(l.Version, l.Build, l.Dir)
	m := read(t, digits)
	in, out, err := m.Ports()
	if err != nil || len(in) != 1 || len(out) != 1 || in[0].Name != "input" || out[0].Name != "logits" || in[0].Type != F32 {
		t.Fatal(in, out, err)
	}
	if got := in[0].Lengths(); !slices.Equal(got, []int64{-1, 1, 28, 28}) {
		t.Error(got)
	}
	xml := filepath.Join(t.TempDir(), "m.xml")
	if err := m.Save(xml, false); err != nil {
		t.Fatal(err)
	}
	want := answer(t, m, image())
	ir := read(t, xml)
	if got := answer(t, ir, image()); !slices.Equal(got, want) {
		t.Errorf("the IR answers %v, the ONNX %v", got, want)
	}
	if i, o, err := ir.Ports(); err != nil || i[0].String() != in[0].String() || o[0].String() != out[0].String() {
		t.Error(i, o, err)
	}
	half := filepath.Join(t.TempDir(), "h.xml")
	if err := m.Save(half, true); err != nil {
		t.Fatal(err)
	}
	if a, b := size(t, xml), size(t, half); b > a*6/10 {
		t.Errorf("%d bytes of weights in f16, %d in f32", b, a)
	}
}

func size(t *testing.T, xml string) int64 {
	t.Helper()
	st, err := os.Stat(strings.TrimSuffix(xml, ".xml") + ".bin")
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

func TestReshape(t *testing.T) {
	needLibrary(t)
	m := read(t, digits)
	if err := m.Reshape(map[string][]Dim{"input": {{1, 8}, Fixed(1), Fixed(28), Fixed(28)}}); err != nil {
		t.Fatal(err)
	}
	in, out, err := m.Ports()
	if err != nil || in[0].String() != `"input" f32 [1..8, 1, 28, 28]` || out[0].String() != `"logits" f32 [1..8, 10]` {
		t.Error(in, out, err)
	}
	for _, wrong := range []map[string][]Dim{
		{"input": {Fixed(1), Fixed(3), Fixed(28), Fixed(28)}}, {"input": {Fixed(1)}}, {"nosuch": {Fixed(1)}},
		{"input": make([]Dim, 17)},
	} {
		if err := m.Reshape(wrong); err == nil {
			t.Errorf("reshaped to %v", wrong)
		} else {
			t.Log(err)
		}
	}
}

// What is folded in does what it says: a u8 image in NHWC, of another size, in the other order of channels.
func TestPrepare(t *testing.T) {
	needLibrary(t)
	m := read(t, digits)
	want := answer(t, m, image())
	if err := m.Prepare([]Preparation{{Input: "input", Type: U8, Layout: "NHWC", ModelLayout: "NCHW", Mean: []float32{0}, Scale: []float32{255}}}); err != nil {
		t.Fatal(err)
	}
	in, _, err := m.Ports()
	if err != nil || in[0].String() != `"input" u8 [?, 28, 28, 1]` {
		t.Fatal(in, err)
	}
	x := make([]byte, 784)
	for i := range x {
		x[i] = byte(i % 255)
	}
	got := answer(t, m, tensor.Tensor{DType: tensor.U8, Shape: []int64{1, 28, 28, 1}, Data: x})
	for i := range want {
		if d := got[i] - want[i]; d > 1e-4 || d < -1e-4 {
			t.Fatalf("%v, not %v", got, want)
		}
	}
	sized := read(t, digits)
	if err := sized.Prepare([]Preparation{{Input: "input", Layout: "NCHW", ModelLayout: "NCHW", Height: 56, Width: 14, Resize: Linear}}); err != nil {
		t.Fatal(err)
	}
	if in, _, err := sized.Ports(); err != nil || in[0].String() != `"input" f32 [?, 1, 56, 14]` {
		t.Error(in, err)
	}
	for _, wrong := range []Preparation{
		{Input: "nosuch"}, {Input: "input", Layout: "NCHW", Mean: []float32{1, 2}}, {Input: "input", Layout: "N!"},
		{Input: "input", ReverseChannels: true},
	} {
		m := read(t, digits)
		if err := m.Prepare([]Preparation{wrong}); err == nil {
			t.Errorf("prepared as %+v", wrong)
		} else {
			t.Log(err)
		}
	}
}

func TestCompiled(t *testing.T) {
	needLibrary(t)
	m := read(t, digits)
	c, err := m.Compile("CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f32"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if hint, err := c.Property("INFERENCE_PRECISION_HINT"); err != nil || hint != "f32" {
		t.Error(hint, err)
	}
	blob := filepath.Join(t.TempDir(), "m.blob")
	if err := c.Export(blob); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Import(b, "CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f32"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, want := answers(t, again, image()), answers(t, c, image()); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	g, err := c.RuntimeModel()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	xml := filepath.Join(t.TempDir(), "g.xml")
	if err := g.Save(xml, false); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(xml); err != nil || !strings.Contains(string(b), "runtimePrecision") {
		t.Error("the engine's graph has no runtimePrecision", err)
	}
}

// Each fault is an error with OpenVINO's own words, and what comes after works.
func TestFaults(t *testing.T) {
	l := needLibrary(t)
	m := read(t, digits)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.onnx")
	if err := os.WriteFile(broken, []byte("no model"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := m.Compile("CPU", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name, try := range map[string]func() error{
		"no folder": func() error { return m.Save(filepath.Join(broken, "such", "m.xml"), false) },
		"no file":   func() error { _, err := Read(filepath.Join(dir, "none.onnx")); return err },
		"no model":  func() error { _, err := Read(broken); return err },
		"no device": func() error { _, err := m.Compile("ABACUS", nil); return err },
		"no property": func() error {
			_, err := m.Compile("CPU", map[string]string{"COLOUR": "red"})
			return err
		},
		"no value": func() error {
			_, err := m.Compile("CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f33"})
			return err
		},
		"many properties": func() error {
			p := map[string]string{}
			for i := range 17 {
				p[string(rune('A'+i))] = "1"
			}
			_, err := m.Compile("CPU", p)
			return err
		},
		"no blob":      func() error { _, err := Import([]byte("no blob at all"), "CPU", nil); return err },
		"empty blob":   func() error { _, err := Import(nil, "CPU", nil); return err },
		"no export":    func() error { return c.Export(filepath.Join(dir, "no", "such.blob")) },
		"no question":  func() error { _, err := c.Property("COLOUR"); return err },
		"other device": func() error { _, err := DeviceProperty("ABACUS", "FULL_DEVICE_NAME"); return err },
		"no inputs":    func() error { return r.Bind(nil) },
		"wrong shape":  func() error { return bound(r, tensor.Of([]int64{1, 784}, make([]float32, 784))) },
		"wrong type":   func() error { return bound(r, tensor.Of([]int64{1, 1, 28, 28}, make([]float64, 784))) },
		"few bytes":    func() error { return bound(r, tensor.Tensor{DType: tensor.F32, Shape: []int64{1, 1, 28, 28}}) },
		"no output":    func() error { _, err := r.Output(7); return err },
		"other library": func() error {
			o := l
			o.Dir = dir
			return Load(o)
		},
	} {
		err := try()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		t.Logf("%s: %v", name, err)
		if s := err.Error(); strings.Contains(s, "Exception from") || strings.Contains(s, ".cpp:") || strings.Contains(s, "\n") {
			t.Errorf("%s: %q", name, s)
		}
	}
	if d, err := Devices(); err != nil || !slices.Contains(d, "CPU") {
		t.Error(d, err)
	}
	if name, err := DeviceProperty("CPU", "FULL_DEVICE_NAME"); err != nil || name == "" {
		t.Error(name, err)
	}
	if got := answer(t, m, image()); len(got) != 10 {
		t.Error(got)
	}
}

func bound(r *Run, x tensor.Tensor) error {
	if err := r.Bind([]tensor.Tensor{x}); err != nil {
		return err
	}
	return r.Do()
}
