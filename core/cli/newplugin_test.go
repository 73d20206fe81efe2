package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNewPlugin writes a plugin project, builds it, checks it against the contract and uses it, as its README says.
func TestNewPlugin(t *testing.T) {
	p := newPlace(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	p.run(t, 0, "plugin", "new", "acme", "--sdk", root)
	dir := filepath.Join(p.dir, "optimize-plugin-acme")
	gofmt, err := exec.Command("gofmt", "-l", dir).CombinedOutput()
	if err != nil || len(gofmt) > 0 {
		t.Errorf("not formatted: %s (%v)", gofmt, err)
	}
	// The versions that this module pins: `go mod tidy` would ask for the newest.
	for _, f := range []string{"go.sum"} {
		b, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-mod=mod", "-o", "bin/optimize-plugin-acme", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	vet := exec.Command("go", "vet", "-mod=mod", ".")
	vet.Dir = dir
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	out := p.run(t, 0, "plugin", "check", filepath.Join(dir, "bin/optimize-plugin-acme"))
	if !strings.Contains(out, "Sound: acme 0.1.0") || !strings.Contains(out, " 0 failed") {
		t.Error(out)
	}
	p.env = append(p.env, "OPTIMIZE_PLUGINS="+filepath.Join(dir, "bin"))
	out = p.run(t, 0, "apply", filepath.Join(dir, "example"), "--var", "model="+filepath.Join(p.dir, "digits.onnx"))
	if _, err := os.Stat(filepath.Join(dir, "example/dist/model.onnx")); err != nil {
		t.Error(err, out)
	}
	if out := p.run(t, 1, "plugin", "new", "acme"); !strings.Contains(out, "is there already") {
		t.Error(out)
	}
	if out := p.run(t, 2, "plugin", "new", "Acme Corp"); !strings.Contains(out, "no plugin name") {
		t.Error(out)
	}
}
