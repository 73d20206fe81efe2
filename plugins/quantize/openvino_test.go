package quantize

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// TestOpenVINO asks the real engine: in its execution graph every convolution and every product with a constant weight
// must run in 8 bits. OPTIMIZE_REFEREE_OPENVINO names a Python that has openvino and numpy.
func TestOpenVINO(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_OPENVINO")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_OPENVINO is not set")
	}
	needRuntime(t)
	dir := t.TempDir()
	digits, _ := static(t, StaticConfig{Model: digitsModel(), Target: "openvino", PerChannel: true,
		Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"input": digitImages(t, "mnist-train.npz", 64)}))})
	b := newBuilder(13)
	residual(b)
	b.shapeOutputs(t)
	net, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Target: "openvino", PerChannel: true,
		Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 16, 3, 8, 8)}))})
	args := []string{"testdata/execgraph.py"}
	for name, m := range map[string]interface{ WriteFile(string) error }{"digits": digits, "residual": net} {
		path := filepath.Join(dir, name+".onnx")
		if err := m.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
