package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenVINO has a recipe measure one model on ONNX Runtime's own kernels and on OpenVINO, a provider of another wheel, which pip
// fetches: it needs OPTIMIZE_REFEREE_PYTHON and a package index to reach.
func TestOpenVINO(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	p := newPlace(t)
	wheel := filepath.Join(p.dir, "wheel")
	if out, err := exec.Command(python, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--target", wheel, "onnxruntime-openvino==1.24.1").CombinedOutput(); err != nil {
		t.Skipf("onnxruntime-openvino cannot be had here: %s", out)
	}
	write := func(settings string) {
		t.Helper()
		text := `
model "digits" {
  source = "digits.onnx"
}
dataset "test" {
  source = "mnist-test.npz"
  label  = "label"
  limit  = 500
  input "input" {
    field = "image"
    scale = 1 / 255
  }
}
evaluate "digits" {
  dataset    = dataset.test
  baseline   = model.digits
  candidates = { openvino = model.digits }
  metrics    = ["top1", "agreement", "mse"]

  engine "openvino" {
    providers = ["OpenVINO"]
` + settings + `
  }
  benchmark {
    duration = "100ms"
  }
  ensure "same" {
    condition = self.openvino.agreement == 1 && self.openvino.mse < 1e-6 && self.openvino.mse > 0
  }
}
`
		if err := os.WriteFile(filepath.Join(p.dir, "recipe.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	contains := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
	write(`OpenVINO = { device_type = "CPU", precision = "FP32", num_of_threads = 1 }
    fallback = false`)
	contains(p.run(t, 1, "plan", "recipe.hcl", "--no-color"), "has no execution provider OpenVINO; it has", "onnxruntime-openvino")

	p.env = append(p.env, "OPTIMIZE_ONNXRUNTIME="+wheel)
	contains(p.run(t, 0, "apply", "recipe.hcl", "--no-color"), "OpenVINO: 1 OpenVINO-EP-subgraph", "held same")
	contains(p.run(t, 0, "apply", "recipe.hcl", "--no-color", "--reuse-benchmarks"), "cached")

	// The engine leaves a device that is not there to its own kernels without a word; such figures are not taken.
	write(`OpenVINO = { device_type = "TOASTER" }
    fallback = false`)
	contains(p.run(t, 1, "apply", "recipe.hcl", "--no-color"), "running nodes on the CPU is forbidden")
	write(`OpenVINO = { device_type = "TOASTER" }`)
	contains(p.run(t, 1, "apply", "recipe.hcl", "--no-color"), "the execution provider OpenVINO ran nothing of the model", "left all of it to CPU")
	write(`OpenVINO = { no_such_setting = 1 }`)
	contains(p.run(t, 1, "plan", "recipe.hcl", "--no-color"), "the execution provider OpenVINO cannot be used", "Check its settings")
}
