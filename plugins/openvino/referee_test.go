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
			r, err := export(t.Context(), job{dir, 2, func(string) {}}, ExportConfig{Model: model(m), Simplify: simplify})
			if err != nil {
				t.Log(filepath.Base(m), err) // not every model of a folder is one that OpenVINO reads
				break
			}
			// Engines round what is in 8 or 16 bits at other places.
			tolerance := "1e-5"
			if weights := r.Facts.(ExportFacts).Weights; weights["i8"]+weights["u8"] > 0 {
				tolerance = "0.1"
			} else if weights["f16"] > 0 {
				tolerance = "2e-3"
			}
			out, err := exec.Command(python, "testdata/referee.py", tolerance, m, filepath.Join(dir, irFolder, irFile)).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(m), err)
			}
			t.Logf("%s", out)
		}
	}
}
