package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/sdk/plugintest"
)

func TestContract(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "optimize-plugin-strip")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	plugintest.Test(t, plugintest.Options{Command: []string{bin}})
}
