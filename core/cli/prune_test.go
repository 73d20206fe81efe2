package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPruneRecipe runs the recipe for pruning, without its timing: half of the work leaves, the repair wins the accuracy
// back, and what is left is quantized.
func TestPruneRecipe(t *testing.T) {
	p := newPlace(t)
	if err := os.Symlink(".", filepath.Join(p.dir, "digits")); err != nil { // the recipe reads ../digits
		t.Skip(err)
	}
	b, err := os.ReadFile("../../recipes/prune/recipe.hcl")
	if err != nil {
		t.Fatal(err)
	}
	b = regexp.MustCompile(`(?s)  benchmark \{.*?\n  \}\n`).ReplaceAll(unsearched(b), nil)
	if err := os.Mkdir(filepath.Join(p.dir, "prune"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "prune/recipe.hcl"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	out := p.run(t, 0, "apply", "prune", "--no-color")
	for _, want := range []string{"held accuracy", "held quantized", "held work", "held repair", "b2b/conv: 32 of 64 channels stay, with b2s/conv", "of 9 Conv int8"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
