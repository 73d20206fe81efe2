package openvino

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
)

// foreign is a model with operators that nobody has.
func foreign(t *testing.T) string {
	t.Helper()
	m := onnx.NewModel("foreign", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 4}}))
	m.Graph.AppendNode(onnx.NewNode("Relu", "", "first", []string{"x"}, []string{"a"}))
	m.Graph.AppendNode(onnx.NewNode("Frobnicate", "com.acme", "wobble", []string{"a"}, []string{"b"}))
	m.Graph.AppendNode(onnx.NewNode("Frobnicate", "com.acme", "", []string{"b"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{{Value: 1}, {Value: 4}}))
	m.SetOpset("com.acme", 1)
	path := filepath.Join(t.TempDir(), "foreign.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLackingOperator(t *testing.T) {
	needLibrary(t)
	d := refused(t, ExportConfig{Model: model(foreign(t))})
	for _, want := range []string{`Node "wobble" (com.acme.Frobnicate)`, `node "y" (com.acme.Frobnicate)`} {
		if !strings.Contains(d.Detail, want) {
			t.Errorf("%q lacks %s", d.Detail, want)
		}
	}
	if d.Code != codeModel || d.Path[0] != "model" || strings.Contains(d.Detail, ".cpp") || strings.Contains(d.Detail, "first") {
		t.Errorf("%+v", d)
	}
}

func TestBadModels(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	whole, err := os.ReadFile(digits)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": nil, "words": []byte("no model"), "cut": whole[:len(whole)/2]} {
		path := filepath.Join(dir, name+".onnx")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if d := refused(t, ExportConfig{Model: model(path)}); d.Path[0] != "model" || d.Code != codeModel {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if _, err := export(t.Context(), job{dir, 1, func(string) {}}, ExportConfig{Model: model(filepath.Join(dir, "none.onnx"))}); err == nil {
		t.Error("what is not there was read")
	}
}

func TestUnwritable(t *testing.T) {
	needLibrary(t)
	m, err := ov.Read(digits)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err = write(m, filepath.Join(file, "such"), false, func(string) bool { return false }, &ExportFacts{})
	if err == nil || !strings.Contains(err.Error(), "the model cannot be written") {
		t.Error(err)
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		// A disk that is full: OpenVINO itself says nothing.
		dir := t.TempDir()
		if err := os.Symlink("/dev/full", filepath.Join(dir, weightsFile)); err != nil {
			t.Fatal(err)
		}
		err := write(m, dir, false, func(string) bool { return false }, &ExportFacts{})
		if err == nil {
			t.Error("written to a full disk")
		}
		t.Log(err)
	}
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]ExportConfig{
		`"many" is no length`:           {Shapes: map[string][]string{"x": {"1", "many"}}},
		`"-5" is no length`:             {Shapes: map[string][]string{"x": {"-5"}}},
		"the range 8..1 ends before":    {Shapes: map[string][]string{"x": {"8..1"}}},
		`"cpu" is no device`:            {Compiled: "cpu"},
		`"CPU,GPU" is no device`:        {Compiled: "CPU,GPU"},
		`"NHWX" is no layout`:           {Inputs: map[string]InputConfig{"x": {Layout: "NHWX"}}},
		`"NCC" is no layout`:            {Inputs: map[string]InputConfig{"x": {ModelLayout: "NCC"}}},
		"size is a height and a width":  {Inputs: map[string]InputConfig{"x": {Layout: "NHWC", Resize: "linear", Size: []int64{1}}}},
		"size without resize":           {Inputs: map[string]InputConfig{"x": {Layout: "NHWC", Size: []int64{1, 2}}}},
		"names no height and width":     {Inputs: map[string]InputConfig{"x": {Resize: "linear"}}},
		"names no channels":             {Inputs: map[string]InputConfig{"x": {ReverseChannels: true}}},
		"2 means and 3 scales":          {Inputs: map[string]InputConfig{"x": {Layout: "NHWC", Mean: []float64{1, 2}, Scale: []float64{1, 2, 3}}}},
		"a scale is 0":                  {Inputs: map[string]InputConfig{"x": {Scale: []float64{1e-46}}}},
		"a number in mean is too large": {Inputs: map[string]InputConfig{"x": {Mean: []float64{-1e39}}}},
	} {
		ds := c.Validate(context.Background())
		if len(ds) != 1 || !strings.Contains(ds[0].Summary, want) || ds[0].Detail == "" || len(ds[0].Path) == 0 {
			t.Errorf("%s: %+v", want, ds)
		}
	}
	sound := ExportConfig{Compiled: "GPU.1", Shapes: map[string][]string{"x": {"1", "?", "-1", "1..8", "2.."}},
		Inputs: map[string]InputConfig{"x": {Layout: "NHWC", Resize: "linear", Size: []int64{4, 5}, Mean: []float64{1}, Scale: []float64{1, 2, 3}, ReverseChannels: true}}}
	if ds := sound.Validate(context.Background()); len(ds) != 0 {
		t.Error(ds)
	}
}

func TestDevices(t *testing.T) {
	needLibrary(t)
	d := refused(t, ExportConfig{Model: model(digits), Compiled: "ABACUS"})
	if !strings.Contains(d.Summary, "finds no device ABACUS") || !strings.Contains(d.Detail, "CPU") || d.Path[0] != "compiled" {
		t.Errorf("%+v", d)
	}
	m, err := ov.Read(digits)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d = compileError(m, "NPU", &ov.Error{Doing: "compile the model for NPU", Text: "dynamic shapes"}).(sdk.Diagnostic)
	if !strings.Contains(d.Detail, `these are not: "input" f32 [?, 1, 28, 28]. Set them by shapes`) {
		t.Errorf("%+v", d)
	}
}
