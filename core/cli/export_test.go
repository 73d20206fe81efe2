package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExportedModels runs the scripts of docs/bring-your-model.md with both exporters of PyTorch, and the recipes on
// what they export: the model works as it did in PyTorch, and its budget holds after quantization.
func TestExportedModels(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set: make test-slow runs this")
	}
	if out, err := exec.Command(python, "-c", "import torch, transformers, onnxscript").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: %s has no torch, transformers and onnxscript (bench/setup.sh export brings them): %s", python, out)
	}
	for _, kind := range []string{"pytorch", "huggingface"} {
		for _, exporter := range []string{"dynamo", "legacy"} {
			t.Run(kind+"/"+exporter, func(t *testing.T) {
				p := newPlace(t)
				script, err := filepath.Abs("../../scripts/export-" + kind + ".py")
				if err != nil {
					t.Fatal(err)
				}
				recipe, err := os.ReadFile("../../recipes/" + kind + "/recipe.hcl")
				if err != nil {
					t.Fatal(err)
				}
				c := exec.Command(python, script, "--out", filepath.Join(p.dir, "model"), "--exporter", exporter)
				c.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "PYTHONDONTWRITEBYTECODE=1")
				said, err := c.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", script, err, said)
				}
				if err := os.WriteFile(filepath.Join(p.dir, "model/recipe.hcl"), recipe, 0o644); err != nil {
					t.Fatal(err)
				}
				p.run(t, 0, "init", "model/recipe.hcl")
				if out := p.run(t, 0, "inspect", "model/model.onnx"); !strings.Contains(out, "pytorch") || !strings.Contains(out, "[batch ") {
					t.Errorf("the model's batch is not free:\n%s", out)
				}
				p.run(t, 0, "plan", "model")
				out := p.run(t, 0, "apply", "model")
				for _, want := range []string{"held the_original_works", "held accuracy", "int8"} {
					if !strings.Contains(out, want) {
						t.Errorf("no %q in\n%s", want, out)
					}
				}
				// What PyTorch itself reached on the same samples.
				_, top1, _ := strings.Cut(string(said), "top-1 ")
				top1 = strings.TrimSpace(top1)
				if len(top1) != 6 || !strings.Contains(out, " "+top1) {
					t.Errorf("PyTorch's own top-1 is %q, which is not in\n%s", top1, out)
				}
				if _, err := os.Stat(filepath.Join(p.dir, "model/dist/model-int8.onnx")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
