//go:build unix

package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPythonPlugin has a plugin in Python, which knows the protocol alone, keep every rule of the contract, work in a
// recipe, have its candidate graded by the core, and trace into the run's trace. It needs OPTIMIZE_REFEREE_PYTHON with
// the packages of bench/requirements.txt.
func TestPythonPlugin(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	p := newPlace(t)
	dir := filepath.Join(p.dir, "python")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../../sdk/plugintest/testdata/python/optimize_plugin_snake.py")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "optimize_plugin_snake.py")
	if err := os.WriteFile(script, source, 0o644); err != nil {
		t.Fatal(err)
	}
	generate := exec.Command(python, "-m", "grpc_tools.protoc", "-I../../sdk/pluginv1", "--python_out="+dir, "--grpc_python_out="+dir, "../../sdk/pluginv1/plugin.proto")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	plugin := filepath.Join(dir, "optimize-plugin-snake")
	if err := os.WriteFile(plugin, fmt.Appendf(nil, "#!/bin/sh\nexec '%s' '%s' \"$@\"\n", python, script), 0o755); err != nil {
		t.Fatal(err)
	}
	out := p.run(t, 0, "plugin", "check", plugin)
	if !strings.Contains(out, "Sound: snake 1.0.0") || !strings.Contains(out, " 0 failed") {
		t.Error(out)
	}

	if err := os.WriteFile(filepath.Join(p.dir, "recipe.hcl"), []byte(`
recipe {
  required_plugins {
    snake = { version = "~> 1.0" }
  }
}
model "digits" {
  source = "digits.onnx"
}
dataset "test" {
  source = "mnist-test.npz"
  label  = "label"
  limit  = 200
  input "input" {
    field = "image"
    scale = 1 / 255
  }
}
step "snake_copy" "copy" {
  model = model.digits
  data  = dataset.test
}
output "top1" {
  value = step.copy.result.top1
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "OPTIMIZE_PLUGINS="+dir)
	out = p.run(t, 0, "apply", "recipe.hcl")
	if !strings.Contains(out, "top1 = 0.9") {
		t.Error(out)
	}
	traces, _ := filepath.Glob(filepath.Join(p.dir, ".optimize/runs/*/trace.jsonl"))
	if len(traces) != 1 {
		t.Fatal(traces)
	}
	b, err := os.ReadFile(traces[0])
	if err != nil || !strings.Contains(string(b), "optimize-plugin-snake") {
		t.Errorf("no span of the Python plugin is in the trace: %v", err)
	}
}
