package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenVINORecipes runs the recipes for OpenVINO against the real library: their budgets hold, the engine runs all layers in
// 8 bits, and where accuracy control gives some back to float, just the others.
func TestOpenVINORecipes(t *testing.T) {
	if !openvino() {
		t.Skip("OpenVINO is not installed")
	}
	p := newPlace(t)
	if err := os.Symlink(".", filepath.Join(p.dir, "digits")); err != nil { // the recipes read ../digits
		t.Skip(err)
	}
	recipe := func(name string) {
		b, err := os.ReadFile(filepath.Join("../../recipes", name, "recipe.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.dir, name, "recipe.hcl"), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
	recipe("openvino-int8")
	says(p.run(t, 0, "apply", "openvino-int8", "--no-color"), "held accuracy", "held size", ", openvino 20", " (cpu, f32)", "int8 runs as 9 of 9 Conv int8, 1 of 1 MatMul int8")
	says(p.run(t, 0, "inspect", "openvino-int8/dist/digits-int8", "--no-color"), "openvino-ir, IR 11", "quantized   yes", "input F32 [? 1 28 28]", "logits F32 [? 10]")
	says(p.run(t, 0, "inspect", "openvino-int8/dist/digits-int8/model.xml", "--for", "openvino-cpu", "--no-color"), "9 of 9 Conv int8", "1 of 1 MatMul int8")

	recipe("openvino-accuracy")
	says(p.run(t, 0, "apply", "openvino-accuracy", "--no-color"), "held accuracy", "runs as 9 of 9 Conv int8")
	// As it is the recipe loses nothing: without its biases corrected it does.
	at := filepath.Join(p.dir, "openvino-accuracy", "recipe.hcl")
	b, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("target      = \"openvino\"\n"), []byte("target      = \"openvino\"\n  bias_correction = false\n"), 1)
	if err := os.WriteFile(at, b, 0o644); err != nil {
		t.Fatal(err)
	}
	out := p.run(t, 0, "apply", "openvino-accuracy", "--no-color", "--var", "max_drop=0")
	says(out, "held accuracy", "accuracy control gave it back its float form", " of 9 Conv int8")
	if strings.Contains(out, "9 of 9 Conv int8") {
		t.Errorf("nothing was given back:\n%s", out)
	}
}
