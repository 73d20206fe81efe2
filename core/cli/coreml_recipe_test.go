package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCoreMLRecipe runs recipes/coreml-clustered: its budget holds, and the package has its weights in lookup tables.
func TestCoreMLRecipe(t *testing.T) {
	needRuntime(t)
	p := newPlace(t)
	if err := os.Symlink(".", filepath.Join(p.dir, "digits")); err != nil { // the recipe reads ../digits
		t.Skip(err)
	}
	b, err := os.ReadFile("../../recipes/coreml-clustered/recipe.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(p.dir, "clustered"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "clustered", "recipe.hcl"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	out := p.run(t, 0, "apply", "clustered", "--no-color")
	for _, want := range []string{"held accuracy", "constexpr lut to dense, 6 bits"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, err := os.Stat(filepath.Join(p.dir, "clustered", "dist", "digits.mlpackage", "Manifest.json")); err != nil {
		t.Error(err)
	}
}
