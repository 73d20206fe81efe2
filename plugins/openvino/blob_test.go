package openvino

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// The runtime takes the compiled form where it fits, and else compiles the IR: both answer the same, and say what was taken.
func TestRunsCompiled(t *testing.T) {
	needLibrary(t)
	dir, _ := exported(t, ExportConfig{Model: model(digits), Simplify: true, Compiled: "CPU", Precision: "f32"})
	data := dataset(t, tensor.Named{Name: "input", Tensor: noise(3, 1, 28, 28)})
	want := predict(t, open(t, digits, "", nil), data, 3)["logits"]
	taken := func(what, blob string, options map[string]string) {
		t.Helper()
		s := open(t, dir, formatIR, options)
		if got := s.Info().Facts; got["compiled"] != blob || got["precision"] == "" || got["threads"] != "1" {
			t.Errorf("%s: %v", what, got)
		}
		if far := apart(t, predict(t, s, data, 3)["logits"], want); far > 1e-5 && options["precision"] == "" {
			t.Errorf("%s: %g away", what, far)
		}
	}
	taken("as it was written", compiledFile, nil)
	taken("side by side", compiledFile, map[string]string{"hint": "throughput", "streams": "1"})
	taken("another precision", "", map[string]string{"precision": "auto"})
	path := filepath.Join(dir, compiledNote)
	note, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"another release": {`"openvino": "`, `"openvino": "1`}, "another processor": {`"full_name": "`, `"full_name": "old `},
		"another device": {`"device": "CPU"`, `"device": "GPU"`}, "no note": {`{`, `[`}, "another machine": {`"arch": "`, `"arch": "not `},
	} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(note), change[0], change[1], 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		taken(what, "", nil)
	}
	if err := os.WriteFile(path, note, 0o644); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, compiledFile)
	st, err := os.Stat(blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blob, st.Size()-1); err != nil {
		t.Fatal(err)
	}
	taken("cut", "", nil)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	taken("gone", "", nil)
}
