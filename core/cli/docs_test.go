package cli_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedDocs: what docs/ says of commands, functions and step types is what the program says of them.
func TestGeneratedDocs(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command(binary, "docs", "--out", dir)
	c.Env = append(os.Environ(), "OPTIMIZE_CACHE="+t.TempDir())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		made[name] = true
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		kept := filepath.Join("../../docs", name)
		if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
			return os.WriteFile(kept, want, 0o644)
		}
		if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the program says (%v): run optimize docs --out docs", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kept, _ := filepath.Glob("../../docs/steps/*.md")
	for _, k := range kept {
		if name := filepath.Join("steps", filepath.Base(k)); !made[name] {
			t.Errorf("docs/%s documents a step type that there is not", name)
		}
	}
	if len(made) < 4 {
		t.Errorf("only %d pages were made", len(made))
	}
}

// Every page of the documentation can be read in a terminal, and no line of it is wider than the terminal but for what
// cannot be broken.
func TestDocsPages(t *testing.T) {
	run := func(args ...string) string {
		c := exec.Command(binary, args...)
		c.Env = append(os.Environ(), "OPTIMIZE_CACHE="+filepath.Join(t.TempDir(), "c"))
		out, err := c.Output()
		if err != nil {
			t.Fatalf("optimize %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	files, _ := filepath.Glob("../../docs/*.md")
	list := run("docs")
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".md")
		if name == "decisions" || name == "dependencies" || name == "README" {
			continue
		}
		if !strings.Contains(list, "\n"+name+" ") {
			t.Errorf("optimize docs does not list %s", name)
		}
		text := run("docs", name)
		for _, l := range strings.Split(text, "\n") {
			if n := len([]rune(l)); n > 100 && !strings.HasPrefix(l, "    ") {
				t.Errorf("docs %s: a line of %d columns: %s", name, n, l)
			}
		}
		raw := run("docs", name, "--format", "md")
		if b, err := os.ReadFile(f); err != nil || raw != string(b) {
			t.Errorf("docs %s --format md is not the page (%v)", name, err)
		}
	}
}
