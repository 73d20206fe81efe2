package openvino

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReferee has Python's openvino read each IR and agree with what ONNX Runtime computes of the ONNX. OPTIMIZE_REFEREE_OPENVINO
// names a Python that has openvino, onnxruntime and numpy; OPTIMIZE_FIXTURES a folder of further models.
func TestReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_OPENVINO")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_OPENVINO is not set")
	}
	needLibrary(t)
	models := []string{digits, colour(t)}
	if dir := os.Getenv("OPTIMIZE_FIXTURES"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		models = append(models, more...)
	}
	for _, m := range models {
		for _, simplify := range []bool{true, false} {
			dir := t.TempDir()
			if _, err := export(t.Context(), job{dir, 2, func(string) {}}, ExportConfig{Model: model(m), Simplify: simplify}); err != nil {
				t.Log(filepath.Base(m), err) // not every model of a folder is one that OpenVINO reads
				break
			}
			out, err := exec.Command(python, "testdata/referee.py", "1e-5", m, filepath.Join(dir, irFolder, irFile)).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(m), err)
			}
			t.Logf("%s", out)
		}
	}
}
